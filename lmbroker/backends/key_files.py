"""Reads credentials that stand in files (``file:/path``) again when the files change.

Such files are projected service-account tokens, or what agents of Vault, Entra or Google write.
When a call is sent, the files of its backend are checked, each at most once a second. A file whose
modification time, inode or size has changed is read again, so a rename or another target of a
symbolic link counts as well. Where a backend refuses a key, its files are read at once
(``sending``). All of this happens in a thread, one check at a time, and calls wait for it for a
bounded time: where a file system hangs, the old key is used.
"""

import os
import stat
import threading
from contextlib import suppress
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorThreads
from twisted.logger import Logger

from lmbroker.backends.interfaces import IReactor
from lmbroker.call import Backend
from lmbroker.secret import FileSecret

LOOK_SECONDS = 1.0
"""The minimum of seconds between two checks of a file."""

PATIENCE_SECONDS = 0.25
"""How long a call waits for a check: on a local file system that takes a tenth of a millisecond."""

REFUSED_SECONDS = 1.0
"""How long a call whose key was refused waits for its files to be read."""

KEY_BYTES = 64 * 1024
"""The maximum of bytes that are read of a file."""


class _Seen(NamedTuple):
    """The result of a check of one file.

    ``identity`` is None where the file cannot be read, ``text`` is None where the file is the same
    as before, ``problem`` says why a file cannot be read.
    """

    identity: tuple[int, ...] | None
    text: str | None
    problem: str


class _Look:
    """A check of some files that is under way; ``began`` is the time of the reactor's clock."""

    def __init__(self, secrets: tuple[FileSecret, ...], began: float) -> None:
        self.secrets = secrets
        self.began = began
        self.waiting: list[Deferred[None]] = []


class KeyFiles:
    """Keeps the credentials of backends up to date with their files."""

    log = Logger()

    def __init__(self, reactor: IReactor) -> None:
        self._reactor = reactor
        self._look: _Look | None = None

    async def look(self, backend: Backend) -> None:
        """Check the backend's files whose last check is long enough ago."""
        now = self._reactor.seconds()
        due = tuple(secret for secret in backend.key_files if secret.next_look <= now)
        if due and self._look is None:
            await self._wait(self._begin(due, now), PATIENCE_SECONDS)

    async def again(self, backend: Backend) -> None:
        """Read the backend's files now, since a key from them was refused."""
        refused = now = self._reactor.seconds()
        while now < refused + REFUSED_SECONDS:
            look = self._look
            if look is None:
                for secret in backend.key_files:
                    secret.seen = None
                look = self._begin(backend.key_files, now)
                if self._look is None:
                    return
            await self._wait(look, refused + REFUSED_SECONDS - now)
            held = {id(secret) for secret in look.secrets}
            if look.began >= refused and held.issuperset(map(id, backend.key_files)):
                return
            now = self._reactor.seconds()

    def _begin(self, secrets: tuple[FileSecret, ...], now: float) -> _Look:
        for secret in secrets:
            secret.next_look = now + LOOK_SECONDS
        look = _Look(secrets, now)
        files = [(secret.path, secret.seen) for secret in secrets]
        if not IReactorThreads.providedBy(self._reactor):
            # The clocks of tests have no threads.
            self._end(look, _see_all(files))
            return look
        self._look = look

        def see() -> None:
            found = _see_all(files)
            self._reactor.callFromThread(self._end, look, found)

        # Not one of the reactor's threads: those end with the process, and this one may hang.
        threading.Thread(target=see, name="key files", daemon=True).start()
        return look

    async def _wait(self, look: _Look, seconds: float) -> None:
        if self._look is not look:
            return
        waiter: Deferred[None] = Deferred()
        look.waiting.append(waiter)
        with suppress(TimeoutError):
            await waiter.addTimeout(seconds, self._reactor)

    def _end(self, look: _Look, found: list[_Seen]) -> None:
        for secret, seen in zip(look.secrets, found, strict=True):
            self._take(secret, seen)
        if self._look is look:
            self._look = None
        for waiter in look.waiting:
            if not waiter.called:
                waiter.callback(None)

    def _take(self, secret: FileSecret, seen: _Seen) -> None:
        """Take over the key that a file holds; where it holds none, the old one stays."""
        problem = seen.problem
        secret.seen = seen.identity
        if not problem and seen.text is None:
            problem = secret.problem
        elif not problem and seen.text is not None:
            value = seen.text.strip()
            if not value:
                problem = "it is empty"
            elif not value.isascii() or not value.isprintable():
                problem = "it has characters that no HTTP header may hold"
            elif value != secret.reveal():
                secret.turn(value)
                self.log.info(
                    "The key in {path} was read again: it is another one", path=secret.path
                )
        if problem and problem != secret.problem:
            self.log.warn(
                "The key in {path} cannot be read again ({problem}); the old one is used on",
                path=secret.path,
                problem=problem,
            )
        secret.problem = problem


def _see_all(files: list[tuple[str, Any]]) -> list[_Seen]:
    return [_see(path, before) for path, before in files]


def _see(path: str, before: Any) -> _Seen:
    """Return what the file is now, with its text where its identity is another than ``before``."""
    try:
        found = os.stat(path)
        identity = (found.st_mtime_ns, found.st_dev, found.st_ino, found.st_size)
        if identity == before:
            return _Seen(identity, None, "")
        if not stat.S_ISREG(found.st_mode):
            # Opening a FIFO would wait for somebody who writes.
            return _Seen(None, None, "it is no regular file")
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(KEY_BYTES)
    except OSError as error:
        return _Seen(None, None, error.strerror or type(error).__name__)
    except ValueError:
        return _Seen(None, None, "it is not UTF-8 text")
    return _Seen(identity, text, "")
