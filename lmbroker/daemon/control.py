"""The control socket: what the owner of a running daemon may ask it, one line of JSON each way.

A request is ``{"command": NAME, "arguments": {...}}``. The answer is any number of lines, each with
a ``kind``, and the last of them is ``{"kind": "done", ...}`` or ``{"kind": "refused", "problem":
WHY}``. Then the next request may come on the same connection. Who closes the connection takes the
request back. It is a Unix socket that only its owner may open, in a folder where nobody else may
put another in its place.
"""

import os
import socket
import stat
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from lmbroker import __version__
from lmbroker.backends.interfaces import IReactor
from lmbroker.daemon.listening import CannotStart

REQUEST_BYTES = 64 * 1024
"""Longest request."""

LAST = ("done", "refused")
"""Kinds of the last line of an answer."""

LAST_WORDS_SECONDS = 2.0
"""How long what is asked may take to end when the daemon stops."""

CONNECTIONS = 16
"""Connections at once; more are closed."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked: a command and its arguments."""

    command: str
    arguments: dict[str, Any] = {}


class Refusal(Exception):
    """A command is not done; the message says why."""


class Asking:
    """A request that is under way, and the way back to who asked.

    ``taken_back`` is called where they close the connection before the end.
    """

    def __init__(self, arguments: dict[str, Any], write: Callable[[bytes, bool], None]) -> None:
        self.arguments = arguments
        self.taken_back: Callable[[], None] = lambda: None
        self.over = False
        self._write = write

    def say(self, kind: str, **fields: Any) -> None:
        """Send a line."""
        if not self.over:
            self.over = kind in LAST
            self._write(msgspec.json.encode({"kind": kind, **fields}), self.over)

    def done(self, **fields: Any) -> None:
        """Send the last line."""
        self.say("done", **fields)

    def refuse(self, problem: str) -> None:
        """Send the last line: nothing is done."""
        self.say("refused", problem=problem)


Command = Callable[[Asking], None]
"""Does what is asked, or begins to. May raise Refusal."""


class _Conversation(LineOnlyReceiver):
    """One connection."""

    delimiter = b"\n"
    MAX_LENGTH = REQUEST_BYTES
    log = Logger()
    transport: Any

    def __init__(self, control: "Control") -> None:
        self._control = control
        self._asking: Asking | None = None

    def connectionMade(self) -> None:
        self._control.conversations.add(self)
        if len(self._control.conversations) > CONNECTIONS:
            self.transport.abortConnection()

    def lineReceived(self, line: bytes) -> None:
        if self._asking is not None and not self._asking.over:
            self._refuse("one request at a time")
            self.transport.loseConnection()
            return
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._refuse(f"this is no request: {error}")
            return
        command = self._control.commands.get(request.command)
        if command is None:
            known = ", ".join(sorted(self._control.commands))
            self._refuse(f"there is no such command; there are {known}")
            return
        asking = self._asking = Asking(request.arguments, self._say)
        try:
            command(asking)
        except Refusal as refusal:
            asking.refuse(str(refusal))
        except Exception:
            self.log.failure("A command of the control socket failed")
            asking.refuse("the broker failed to do this")

    def lineLengthExceeded(self, line: bytes) -> None:
        self._refuse(f"a request has {REQUEST_BYTES} bytes at most")
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._control.conversations.discard(self)
        asking, self._asking = self._asking, None
        if asking is not None and not asking.over:
            asking.over = True
            asking.taken_back()
        emptied = self._control.emptied
        if emptied is not None and not emptied.called and not self._control.conversations:
            emptied.callback(None)

    def end(self) -> None:
        """Close the connection once nothing is under way."""
        if self._asking is None or self._asking.over:
            self.transport.loseConnection()

    def _refuse(self, problem: str) -> None:
        Asking({}, self._say).refuse(problem)

    def _say(self, line: bytes, last: bool) -> None:
        self.transport.writeSequence((line, b"\n"))
        if last and self._control.emptied is not None:
            self.transport.loseConnection()


class _Factory(Factory):
    noisy = False

    def __init__(self, control: "Control") -> None:
        self._control = control

    def buildProtocol(self, address: object) -> _Conversation:
        return _Conversation(self._control)


class Control(Service):
    """Listens on the socket ``path`` while it runs, and has ``commands`` done, by their names.

    Raises CannotStart where that is no place for it.
    """

    log = Logger()

    def __init__(self, path: str, reactor: IReactor, commands: Mapping[str, Command]) -> None:
        self.commands: dict[str, Command] = {"version": _version, **commands}
        self.conversations: set[_Conversation] = set()
        self.emptied: Deferred[None] | None = None
        """Fires when all conversations have ended; None before they should."""
        self._path = path
        self._reactor = reactor
        self._port: Any = None

    def startService(self) -> None:
        """Listen. Raises CannotStart."""
        super().startService()
        try:
            check_folder(os.path.dirname(self._path))
            _make_way(self._path)
            factory = _Factory(self)
            # Also in the moment before the mode is set, nobody else can open it.
            before = os.umask(0o177)
            try:
                self._port = self._reactor.listenUNIX(self._path, factory, mode=0o600)
            finally:
                os.umask(before)
        except Exception as error:
            cause = getattr(error, "socketError", error)
            problem = getattr(cause, "strerror", None) or str(cause)
            failure = CannotStart(f"cannot make the control socket {self._path}: {problem}")
            self.log.critical("{problem}", problem=str(failure))
            failure.print_problem()
            raise failure from None

    def stopService(self) -> "Deferred[None]":
        """Close the socket; fires when all is closed. What is asked may take seconds to end."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await maybeDeferred(super().stopService)
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()
        if not self.conversations:
            return
        self.emptied = Deferred()
        for conversation in list(self.conversations):
            conversation.end()
        timer = self._reactor.callLater(LAST_WORDS_SECONDS, self._abort)
        await self.emptied
        if timer.active():
            timer.cancel()

    def _abort(self) -> None:
        for conversation in list(self.conversations):
            conversation.transport.abortConnection()


def check_folder(folder: str) -> None:
    """Raise Refusal where others could put something else in the place of the socket."""
    try:
        found = os.stat(folder)
    except OSError as error:
        raise Refusal(f"{folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise Refusal(f"{folder} is no folder")
    if found.st_uid not in (0, os.geteuid()):
        raise Refusal(f"{folder} belongs to somebody else")
    if found.st_mode & 0o022:
        raise Refusal(f"others may write to {folder}: chmod go-w")


def _make_way(path: str) -> None:
    """Remove a socket that a daemon has left behind.

    Raises Refusal for one that is in use, and for what is no socket.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Refusal("there is something else by this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            pass
    raise Refusal("another daemon listens there")


def _version(asking: Asking) -> None:
    """Answer the command ``version``: which daemon this is."""
    asking.done(version=__version__, pid=os.getpid())
