"""Stream events -> whole answer, and back.

``fold(unfold(r)) == r`` for every answer in *normal form*, and folding brings any stream there:

* a text or reasoning part is one part however many deltas it came in; surrogate halves that
  met are one character;
* a tool call whose arguments came as text has ``raw_args`` and, where that text is a JSON object,
  ``args``; one whose arguments came as an object has ``args`` only; one without arguments has
  ``args == {}``;
* where a part has a signature it stands once;
* ``cache`` and ``at`` belong to requests; no stream carries them. The ``extras`` of a text or a
  call, and the namespace of a call, come when it opens.
"""

from collections.abc import Iterable

import msgspec

from lmbroker import json_text
from lmbroker.errors import Broken, ErrorInfo
from lmbroker.translation.unified.parts import (
    Citation,
    Part,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response
from lmbroker.translation.unified.stream import (
    Error,
    Finish,
    PartDelta,
    PartStart,
    PartStop,
    Start,
    StreamEvent,
    UsageUpdate,
)
from lmbroker.usage import Usage

TRUNCATED = ErrorInfo(
    kind="truncated",
    message="upstream closed the stream before completing the response",
    code="upstream_stream_truncated",
)
"""The error of every stream that ended before its terminal event, for clients and records."""


class Folder:
    """Collects the events of one stream; ``result`` is the answer they make."""

    def __init__(self) -> None:
        self._start: Start | None = None
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._parts: list[Part] = []
        self._skeleton: Part | None = None
        self._pieces: list[str] = []
        self._signature: Signature | None = None
        self._citations: list[Citation] = []

    def feed(self, event: StreamEvent) -> None:
        """Add one event. Raises Broken for ``Error``."""
        if isinstance(event, PartDelta):
            if isinstance(event.value, str):
                self._pieces.append(event.value)
            elif isinstance(event.value, Signature):
                self._signature = event.value
            else:
                self._citations.append(event.value)
        elif isinstance(event, PartStart):
            self._close()
            self._skeleton = event.part
        elif isinstance(event, PartStop):
            self._close()
        elif isinstance(event, Start):
            self._start = event
            self._usage = event.usage or self._usage
        elif isinstance(event, UsageUpdate):
            self._usage = event.usage
        elif isinstance(event, Finish):
            self._close()
            self._finish = event
        elif isinstance(event, Error):
            raise Broken(event.error, phase="streaming")

    def result(self) -> Response:
        """Return the whole answer. Raises Broken while the stream has no end."""
        if self._start is None or self._finish is None:
            raise Broken(TRUNCATED, phase="streaming")
        return Response(
            id=self._start.id,
            model=self._start.model,
            created=self._start.created,
            parts=tuple(self._parts),
            stop=self._finish.stop,
            usage=self._finish.usage or self._usage,
            tier=self._finish.tier or self._start.tier,
        )

    def _close(self) -> None:
        """Finish the open part and add it to the answer."""
        part = self._skeleton
        if part is None:
            return
        text = json_text.joined(self._pieces)
        if isinstance(part, TextPart):
            part = msgspec.structs.replace(
                part, text=part.text + text, citations=part.citations + tuple(self._citations)
            )
        elif isinstance(part, ReasoningPart):
            part = msgspec.structs.replace(
                part, text=part.text + text, signature=self._signature or part.signature
            )
        elif isinstance(part, ToolCallPart):
            if part.kind == "custom":
                part = msgspec.structs.replace(part, raw_args=text)
            elif text:
                part = msgspec.structs.replace(part, args=json_text.arguments(text), raw_args=text)
            elif part.args is None:
                part = msgspec.structs.replace(part, args={})
        self._parts.append(part)
        self._skeleton = None
        self._pieces = []
        self._signature = None
        self._citations = []


def fold(events: Iterable[StreamEvent]) -> Response:
    """Return the answer that ``events`` make.

    Raises Broken on ``Error`` or when the end is missing.
    """
    folder = Folder()
    for event in events:
        folder.feed(event)
    return folder.result()


def unfold(response: Response) -> list[StreamEvent]:
    """Return the stream events that would have carried ``response``."""
    usage = response.usage
    if usage is not None:
        # Clients show the counts of the first event at once: the prompt's, and no output yet.
        usage = msgspec.structs.replace(usage, output=0, reasoning=None)
    events: list[StreamEvent] = [
        Start(response.id, response.model, usage, response.created, response.tier)
    ]
    for index, part in enumerate(response.parts):
        events += _deltas(index, part)
        events.append(PartStop(index))
    events.append(Finish(response.stop, response.usage, response.tier))
    return events


def _deltas(index: int, part: Part) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    if isinstance(part, TextPart):
        skeleton: Part = TextPart(text="", refusal=part.refusal, extras=part.extras)
        if part.text:
            events.append(PartDelta(index, "text", part.text))
        events += [PartDelta(index, "citation", citation) for citation in part.citations]
    elif isinstance(part, ReasoningPart):
        skeleton = ReasoningPart(redacted=part.redacted)
        if part.text:
            events.append(PartDelta(index, "reasoning", part.text))
        if part.signature is not None:
            if part.signature.origin != "signable":
                skeleton = ReasoningPart(redacted=part.redacted, signature=part.signature)
            events.append(PartDelta(index, "signature", part.signature))
    elif isinstance(part, ToolCallPart):
        skeleton = ToolCallPart(
            id=part.id,
            name=part.name,
            kind=part.kind,
            args=part.args if part.raw_args is None else None,
            namespace=part.namespace,
            extras=part.extras,
        )
        if part.raw_args:
            events.append(PartDelta(index, "args", part.raw_args))
    else:
        skeleton = part
    return [PartStart(index, skeleton), *events]  # type: ignore[arg-type]
