"""Reloads of a configuration: one at a time, read by a thread while the reactor goes on."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from lmbroker.backends.interfaces import IReactor

SWITCH_SECONDS = 0.0005
"""How long the reading thread may keep others from running at a time: Python's usual 5 ms would be
felt by every stream."""

USUAL_SECONDS = sys.getswitchinterval()


def away(reactor: IReactor, work: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
    """Return what ``work`` returns or raises, done in a thread of ``reactor``.

    To read a configuration of many models takes seconds. It is done at once where the reactor has
    no threads: a clock of tests.
    """
    if not hasattr(reactor, "getThreadPool"):
        return maybeDeferred(work, *arguments)
    return deferToThreadPool(reactor, reactor.getThreadPool(), _politely, work, *arguments)


def _politely(work: Callable[..., Any], *arguments: Any) -> Any:
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        return work(*arguments)
    finally:
        # Not what it was before: another thread may have been at work then.
        sys.setswitchinterval(USUAL_SECONDS)


class Reloads:
    """Calls ``reload`` when it is asked to, once at a time.

    However often it is asked meanwhile, one more follows. Nothing begins once ``running`` says
    no."""

    log = Logger()

    def __init__(self, reload: Callable[[], Awaitable[None]], running: Callable[[], bool]) -> None:
        self._reload = reload
        self._running = running
        self._wanted = False
        self._busy = False

    def ask(self) -> None:
        """Have it done, at once or after the one that is under way."""
        self._wanted = True
        if self._running() and not self._busy:
            self._busy = True
            reloading = Deferred.fromCoroutine(self._while_wanted())
            reloading.addErrback(lambda failure: self.log.failure("A reload failed", failure))

    async def _while_wanted(self) -> None:
        try:
            while self._wanted and self._running():
                self._wanted = False
                await self._reload()
        finally:
            self._busy = False
