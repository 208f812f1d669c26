"""The interfaces of a reactor that knows when its turns begin and end (``daemon.reactor``).

The reactor is installed before anything else is imported, so besides the ground nothing of ours is
imported here.
"""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

from lmbroker.call import Turn


class ITurnEnd(Interface):
    """A reactor whose turns have an end that one can wait for."""

    turn = Attribute("The ``Turn`` that is under way.")
    since = Attribute("``turn.since``, without making a ``Turn``.")

    def at_end_of_turn(act: Callable[[], None]) -> None:
        """Call ``act`` once, after all events of this turn and before its writes are sent."""


class Turns(Protocol):
    """The turns of a reactor, as far as they are known."""

    @property
    def turn(self) -> Turn:
        """The turn that is under way."""
        ...

    @property
    def since(self) -> float:
        """A moment before which no byte had come that this turn has read."""
        ...


class UnknownTurns:
    """The turns of a reactor that does not know them: each moment counts as one."""

    def __init__(self, clock: IReactorTime) -> None:
        self._seconds = clock.seconds

    @property
    def turn(self) -> Turn:
        """A turn that begins and ends now."""
        now = self._seconds()
        return Turn(now, now)

    @property
    def since(self) -> float:
        """The present moment."""
        return self._seconds()


def turns_of(reactor: IReactorTime) -> Turns:
    """Return what is known of the turns of ``reactor``."""
    known: Any = reactor if ITurnEnd.providedBy(reactor) else UnknownTurns(reactor)
    found: Turns = known
    return found
