"""The events of one call while it goes on, within the bounds of its capture."""

from collections.abc import Callable
from typing import Any

from lmbroker.capture.events import Event

EVENT_BYTES = 200
"""The bytes that an event counts besides its body."""


class Tape:
    """The events of one call, in the order in which they happened.

    ``seconds`` gives the time. ``take`` takes bytes from what the capture may keep, and returns
    whether there were so many left. ``full``: there were not, and nothing of the call is kept.
    ``secrets`` gets the credentials that are taken out of it in the end.
    """

    __slots__ = ("_began", "_seconds", "_take", "events", "full", "secrets", "taken")

    def __init__(self, seconds: Callable[[], float], take: Callable[[int], bool]) -> None:
        self.events: list[Event] = []
        self.full = False
        self.taken = 0
        """The bytes that were taken."""
        self.secrets: list[str] = []
        self._seconds = seconds
        self._take = take
        self._began = seconds()

    def note(self, kind: Callable[..., Event], **fields: Any) -> None:
        """Keep an event of ``kind``, which happens now."""
        if self.full:
            return
        size = EVENT_BYTES + len(fields.get("data", b""))
        if not self._take(size):
            self.full = True
            self.events.clear()
            return
        self.taken += size
        self.events.append(kind(at=round(self._seconds() - self._began, 6), **fields))
