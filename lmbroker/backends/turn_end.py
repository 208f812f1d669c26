"""The interface of a reactor that says when a turn ends; only our own has it (``daemon.reactor``).

It has no imports of ours, so that the reactor can be installed before anything else is imported.
"""

from collections.abc import Callable

from zope.interface import Interface


class ITurnEnd(Interface):
    """A reactor whose turns have an end that one can wait for."""

    def at_end_of_turn(act: Callable[[], None]) -> None:
        """Call ``act`` once, after all events of this turn and before its writes are sent."""
