"""Puts the parts of a streamed answer in sequence, in whatever order their pieces arrive.

Events carry one part after the other (translation.md 4.4), so pieces are put into a queue of parts.
The first part of the queue is live: its events are emitted as its pieces arrive. It is closed when
it is complete and other parts wait behind it, or when the backend has said that it is over.
"""

from collections import deque
from typing import Generic, TypeVar

from lmbroker.translation.shared.waiting_part import OVER, WaitingPart
from lmbroker.translation.unified.parts import ReasoningPart, Signature, ToolCallPart
from lmbroker.translation.unified.stream import PartDelta, PartStart, PartStop, StreamEvent

P = TypeVar("P", bound=WaitingPart)


class PartQueue(Generic[P]):
    """The parts of one answer that wait or are being sent."""

    __slots__ = ("_ids", "called", "index", "opened", "parts")

    def __init__(self) -> None:
        self.parts: deque[P] = deque()
        self.index = -1
        """The index of the live part, which is open when ``opened``."""
        self.opened = False
        self.called = 0
        """The number of calls that were opened."""
        self._ids: set[str] = set()
        """The ids of those calls."""

    def add(self, part: P) -> P:
        """Append ``part`` to the queue and return it."""
        self.parts.append(part)
        return part

    @property
    def alone(self) -> P | None:
        """The open part where no other one waits, so that its next piece needs no queue.

        It is None otherwise.
        """
        return self.parts[0] if self.opened and len(self.parts) == 1 else None

    def drain(self, events: list[StreamEvent], *, all: bool = False) -> None:
        """Emit all events that can be emitted.

        ``all``: the stream is over and no more pieces come.
        """
        parts = self.parts
        while parts:
            live = parts[0]
            if not self.opened and not self._open(live, events):
                if not all:
                    break
                parts.popleft()
                continue
            self._emit(live, events)
            if not all and not live.over and (len(parts) == 1 or not live.complete):
                break
            self._stop(live, events)
            parts.popleft()

    def _open(self, part: P, events: list[StreamEvent]) -> bool:
        """Open ``part``; return False where too little is known of it."""
        skeleton = part.skeleton()
        if skeleton is None:
            return False
        if isinstance(skeleton, ToolCallPart):
            if part.id in self._ids:
                part.id = ""
                skeleton = part.skeleton() or skeleton
            self._ids.add(part.id)
            self._emit_beside(part, self.called, events)
            self.called += 1
        self.index += 1
        self.opened = True
        events.append(PartStart(self.index, skeleton))
        return True

    def _emit(self, part: P, events: list[StreamEvent], *, last: bool = False) -> None:
        """Emit the text that has arrived since the last time, and its sources.

        Blank arguments count as none. ``last``: the part is over, so an empty object that was held
        back is emitted as well.
        """
        if part.pieces and (part.head == OVER or last):
            text = "".join(part.pieces)
            if part.head != "":
                part.pieces = []
                part.emitted = True
                events.append(PartDelta(self.index, part.delta, text))
        if part.cited:
            events += [PartDelta(self.index, "citation", cited) for cited in part.cited]
            part.cited = []

    def _stop(self, part: P, events: list[StreamEvent]) -> None:
        self._emit(part, events, last=True)
        signature = part.signature()
        if signature is not None:
            events.append(PartDelta(self.index, "signature", signature))
        events.append(PartStop(self.index))
        part.closed = True
        self.opened = False
        if part.is_call:
            self._emit_beside(part, self.called - 1, events)

    def _emit_beside(self, call: P, number: int, events: list[StreamEvent]) -> None:
        """Emit what the backend wants back with a call, as a part of its own.

        The part comes before the call if it has arrived by then, else after it.
        """
        signature: Signature | None = call.beside(number)
        if signature is None:
            return
        self.index += 1
        events += (
            PartStart(self.index, ReasoningPart(signature=signature)),
            PartDelta(self.index, "signature", signature),
            PartStop(self.index),
        )
