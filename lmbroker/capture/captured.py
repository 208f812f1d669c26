"""A captured call, read from its lines."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from lmbroker.capture.events import (
    FORMAT,
    Answered,
    AnyEvent,
    Began,
    BodyEnded,
    Broke,
    Chunk,
    Closed,
    Ended,
    Failed,
    Head,
    NotCaptured,
    Out,
    Pinged,
    Refusal,
    Sent,
    Tried,
    event_of,
)

Step = Chunk | Closed | Broke | Pinged


@dataclass(kw_only=True)
class CapturedAttempt:
    """One attempt of a captured call; None and nothing for what it did not come to.

    ``steps`` are what happened to the backend's answer; ``whole``: its body came to a proper end.
    """

    tried: Tried
    sent: Sent | None = None
    answered: Answered | None = None
    steps: list[Step] = field(default_factory=list)
    whole: bool = False
    failed: Failed | None = None

    @property
    def body(self) -> bytes:
        """The backend's answer, as far as it came."""
        return b"".join(step.data for step in self.steps if isinstance(step, Chunk))


@dataclass(kw_only=True)
class CapturedCall:
    """A captured call. ``out`` is what was written of its answer, ``early`` what was before."""

    began: Began
    attempts: list[CapturedAttempt] = field(default_factory=list)
    head: Head | None = None
    early: bytes = b""
    out: bytes = b""
    refusal: Refusal | None = None
    ended: Ended | None = None


def captured(lines: Iterable[bytes]) -> CapturedCall:
    """Return the call that ``lines`` hold; empty ones are none.

    Raises NotCaptured, with the number of the line.
    """
    call: CapturedCall | None = None
    out: list[bytes] = []
    early: list[bytes] = []
    for number, each in enumerate(lines, 1):
        if not each.strip():
            continue
        try:
            event = event_of(each)
            if isinstance(event, Out):
                (early if event.early else out).append(event.data)
            elif isinstance(event, Began):
                if call is not None or event.format != FORMAT:
                    raise NotCaptured(f"expected one call of format {FORMAT}")
                call = CapturedCall(began=event)
            elif call is None:
                raise NotCaptured("expected the beginning of a captured call")
            else:
                _add(call, event)
        except NotCaptured as error:
            raise NotCaptured(f"line {number}: {error}") from None
    if call is None:
        raise NotCaptured("there is no captured call in it")
    call.out, call.early = b"".join(out), b"".join(early)
    return call


def _add(call: CapturedCall, event: AnyEvent) -> None:
    if isinstance(event, Tried):
        call.attempts.append(CapturedAttempt(tried=event))
    elif isinstance(event, Head):
        call.head = event
    elif isinstance(event, Refusal):
        call.refusal = event
    elif isinstance(event, Ended):
        call.ended = event
    elif not call.attempts:
        raise NotCaptured("an attempt must begin before this")
    else:
        _add_to_attempt(call.attempts[-1], event)


def _add_to_attempt(attempt: CapturedAttempt, event: AnyEvent) -> None:
    if isinstance(event, Sent):
        attempt.sent = event
    elif isinstance(event, Answered):
        attempt.answered = event
    elif isinstance(event, Chunk | Closed | Broke | Pinged):
        attempt.steps.append(event)
    elif isinstance(event, BodyEnded):
        attempt.whole = event.whole
    elif isinstance(event, Failed):
        attempt.failed = event
