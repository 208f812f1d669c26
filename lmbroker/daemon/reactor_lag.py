"""Measures how late the reactor comes to its timers, and so perhaps to all that it does."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

SECONDS = 0.1
"""From one timer to the next. A reactor that is blocked for longer is seen for sure, a shorter time
with the chance that it has to be in a client's way."""


class ReactorLag:
    """Calls ``report`` ten times a second with how many seconds late that is."""

    def __init__(self, reactor: IReactorTime, report: Callable[[float], None]) -> None:
        self._reactor = reactor
        self._report = report
        self._due = 0.0
        self._timer: Any = None

    def start(self) -> None:
        """Measure from now on."""
        self._due = self._reactor.seconds() + SECONDS
        self._timer = self._reactor.callLater(SECONDS, self._look)

    def stop(self) -> None:
        """Measure no longer."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        self._report(max(0.0, self._reactor.seconds() - self._due))
        self.start()
