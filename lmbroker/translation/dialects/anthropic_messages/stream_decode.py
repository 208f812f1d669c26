"""Anthropic stream -> stream events (translation.md 4.5), nearly one to one.

It is lenient with servers that only nearly speak the dialect: no signature key, counters only at
the end, a block's whole content in its start, ``message_start`` sent twice, no ``message_stop``.
"""

import re
from collections.abc import Callable
from typing import Any

from lmbroker import json_text
from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON, decode
from lmbroker.sse import Frame
from lmbroker.translation.dialects.anthropic_messages import ending
from lmbroker.translation.dialects.anthropic_messages.blocks import (
    decode_block,
    decode_citation,
    text_at,
)
from lmbroker.translation.dialects.anthropic_messages.fast_paths import DELTAS, NOT_PLAIN
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.refusals import error_kinds, stream_errors
from lmbroker.translation.shared import odd_frames, stop_words
from lmbroker.translation.shared.signature import from_wire
from lmbroker.translation.unified.fold import TRUNCATED
from lmbroker.translation.unified.parts import (
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.stream import (
    Error,
    Finish,
    PartDelta,
    PartStart,
    PartStop,
    Ping,
    Start,
    StreamEvent,
)

_DELTAS: dict[str, tuple[str, Any, str]] = {
    "text_delta": ("text", "text", "text"),
    "thinking_delta": ("thinking", "reasoning", "thinking"),
    "input_json_delta": ("tool_use", "args", "partial_json"),
}
"""Type of a delta -> type of its block, kind of event, key of its text."""
_OPENING = {"text_delta": "text", "thinking_delta": "thinking"}
"""Type of a delta that may come without its block -> type of that block."""
_EMPTY = re.compile(r"\s*\{\s*\}\s*(?=\{)")
_STOPS = ("stop_reason", "stop_sequence", "stop_details")


class AnthropicDecoder:
    """Decodes one stream of one backend (``base.Decoder``)."""

    __slots__ = (
        "_block",
        "_called",
        "_closed",
        "_delta",
        "_empty",
        "_ended",
        "_head",
        "_id",
        "_ids",
        "_index",
        "_kind",
        "_model",
        "_opaque",
        "_pieces",
        "_plain",
        "_plain_kind",
        "_reading",
        "_signature",
        "_started",
        "_usage",
        "stopped",
    )

    def __init__(self, reading: Reading | None = None) -> None:
        self._reading = reading or Reading()
        self._started = False
        self.stopped = False
        self._ended = False
        self._id = ""
        self._model = ""
        self._index = -1
        self._block: Any = None
        """The backend's number of the open block."""
        self._kind = ""
        """The type of the open block, "" when none is open."""
        self._closed: set[int | None] = set()
        """The backend's numbers of the blocks before it."""
        self._signature = ""
        self._opaque: JSON | None = None
        """The open block, if it is opaque."""
        self._pieces: dict[str, list[str]] = {}
        """The deltas of the opaque block: key of the text -> pieces."""
        self._plain: Callable[[bytes], Any] | None = None
        """The decoder of plain deltas of the open block, once one has come; ``_plain_kind`` is the
        kind of their events."""
        self._plain_kind: Any = ""
        self._called = False
        self._empty: str | None = None
        """The arguments of the open call so far without blanks, while they may be an empty object
        before the real one; None once they cannot be."""
        self._head: list[str] = []
        """The same arguments as they came, with blanks."""
        self._ids: set[str] = set()
        """The ids of the calls so far."""
        self._usage: JSON = {}
        self._delta: JSON = {}

    def feed(self, frame: Frame) -> list[StreamEvent]:
        """Return the events of one frame, none after a terminal event. Never raises."""
        if self._ended:
            return []
        data = frame.data
        if not data:
            return [Ping()] if self._started and data is None else []
        if self._plain is not None:
            try:
                plain = self._plain(data)
            except NOT_PLAIN:
                pass
            else:
                if plain.index == self._block:
                    text = plain.delta.text
                    return [PartDelta(self._index, self._plain_kind, text)] if text else []
        try:
            event = decode(data)
        except ValueError:
            if data.strip() == b"[DONE]":
                return []
            error = stream_errors.raw_error(frame.event, data)
            if error is not None:
                return self._broken(error)
            frames = odd_frames.meant(frame, self._reading.losses)
            if frames is None:
                return self._fail("an event that is no JSON")
            return [each for one in frames for each in self.feed(one)]
        if type(event) is not dict:
            error = stream_errors.raw_error(frame.event, data)
            return (
                self._fail("an event that is no JSON object")
                if error is None
                else (self._broken(error))
            )
        kind = event.get("type")
        if kind == "content_block_delta":
            delta = event.get("delta")
            if type(delta) is not dict:
                return self._fail("a delta that is no object")
            if (
                delta.get("type") == "text_delta"
                and self._kind == "text"
                and event.get("index") == self._block
            ):
                text = delta.get("text")
                if type(text) is str:
                    self._plain, self._plain_kind = DELTAS["text"], "text"
                    return [PartDelta(self._index, "text", text)] if text else []
            return self._block_delta(event.get("index"), delta)
        if kind == "error" or frame.event == "error":
            return self._broken(error_kinds.stream_error(event))
        if not isinstance(kind, str):
            error = stream_errors.reported_error("", event)
            return [] if error is None else self._broken(error)
        if kind == "message_start":
            return self._start(event.get("message"))
        if kind == "ping":
            return [Ping()] if self._started else []
        if kind not in _HANDLERS:
            return []
        if not self._started:
            return self._fail("an event before message_start")
        return _HANDLERS[kind](self, event)

    def close(self) -> list[StreamEvent]:
        """Return the events at the end of the body.

        Without ``message_stop`` the answer is complete if there was a stop reason.
        """
        if self._ended:
            return []
        if self._started and self._delta.get("stop_reason"):
            return self._finish({})
        self._ended = True
        return [Error(TRUNCATED)]

    def _start(self, message: Any) -> list[StreamEvent]:
        if not isinstance(message, dict):
            return self._fail("a message_start without a message")
        id = message.get("id")
        id = str(id) if isinstance(id, str | int) else ""
        if self._started:
            if id == self._id and self._index < 0 and not self._kind:
                return []
            return self._fail("a second message in one stream")
        self._started = True
        self._id = id
        self._usage = ending.merged({}, message.get("usage"))
        usage = ending.decode_usage(self._usage)
        tier = usage.tier if usage else None
        self._delta = ending.merged({}, {key: message.get(key) for key in _STOPS})
        self.stopped = bool(self._delta.get("stop_reason"))
        return [
            Start(id, text_at(message, "model"), usage, None, tier),
            *self._content(message.get("content")),
        ]

    def _content(self, blocks: Any) -> list[StreamEvent]:
        """Return the events of content that stands in ``message_start`` already.

        An answer that only runs tools may come so.
        """
        events: list[StreamEvent] = []
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and isinstance(block.get("type"), str):
                events += self._block_start({"content_block": block})
                events += self._close()
        return events

    def _block_start(self, event: JSON) -> list[StreamEvent]:
        block: Any = event.get("content_block")
        part = decode_block(block)
        if part is None:
            return self._fail("a content block without a type")
        events = self._close() if self._kind else []
        self._block = event.get("index")
        self._kind = block["type"]
        self._plain = None
        if isinstance(part, OpaquePart):
            self._opaque = dict(block)
            self._pieces = {}
            return events
        self._index += 1
        return events + self._opened(part, block)

    def _opened(self, part: Part, block: JSON) -> list[StreamEvent]:
        """Return the start of ``part``, and the events of the content that came with it."""
        index = self._index
        if isinstance(part, TextPart):
            events: list[StreamEvent] = [PartStart(index, TextPart(text=""))]
            if part.text:
                events.append(PartDelta(index, "text", part.text))
            return events + [PartDelta(index, "citation", cited) for cited in part.citations]
        if isinstance(part, ReasoningPart) and part.redacted is None:
            self._signature = text_at(block, "signature")
            start = PartStart(index, ReasoningPart())
            return [start, PartDelta(index, "reasoning", part.text)] if part.text else [start]
        if isinstance(part, ToolCallPart):
            self._called = True
            id = "" if part.id in self._ids else part.id
            self._ids.add(id)
            self._empty, self._head = "", []
            start = PartStart(index, ToolCallPart(id=id, name=part.name, args=part.args))
            return [start, PartDelta(index, "args", part.raw_args)] if part.raw_args else [start]
        return [PartStart(index, part)]  # type: ignore[arg-type]

    def _block_delta(self, index: Any, delta: JSON) -> list[StreamEvent]:
        if not self._started:
            return self._fail("an event before message_start")
        kind = delta.get("type")
        if not self._kind or index != self._block:
            known = index is None or isinstance(index, int)
            if kind == "signature_delta" and known and index in self._closed:
                return []
            if self._kind or index in self._closed or kind not in _OPENING:
                return self._fail("a delta for a block that is not open")
            return self._unopened(index, delta)
        if not isinstance(kind, str):
            return []
        if kind in _DELTAS:
            block, event, key = _DELTAS[kind]
            text = text_at(delta, key)
            if self._opaque is not None:
                self._pieces.setdefault(key, []).append(text)
            elif self._kind == block:
                if block == "tool_use":
                    text = self._after_empty(text)
                if block != "tool_use" or self._empty is None:
                    self._plain, self._plain_kind = DELTAS[event], event
                return [PartDelta(self._index, event, text)] if text else []
            elif text and kind in _OPENING and self._kind in ("text", "thinking"):
                return self._close() + self._unopened(index, delta)
            elif text:
                return self._fail("a delta that does not fit its block")
        elif kind == "signature_delta":
            self._signature = text_at(delta, "signature") or self._signature
        elif kind == "citations_delta":
            citation = delta.get("citation")
            if self._kind == "text" and isinstance(citation, dict):
                return [PartDelta(self._index, "citation", decode_citation(citation))]
        elif kind == "compaction_delta" and self._opaque is not None:
            self._opaque.update((key, value) for key, value in delta.items() if key != "type")
        return []

    def _unopened(self, index: Any, delta: JSON) -> list[StreamEvent]:
        """Return the events of a delta whose block was not opened.

        Some servers go from thinking to text in one block, or begin with a delta.
        """
        block = {"type": _OPENING[delta["type"]]}
        events = self._block_start({"index": index, "content_block": block})
        return events + self._block_delta(index, delta)

    def _after_empty(self, text: str) -> str:
        """Return more arguments without the empty object that may stand before the real ones."""
        if self._empty is None:
            return text
        signs = self._empty + text.strip()
        if signs in ("", "{", "{}"):
            self._empty = signs
            self._head.append(text)
            return ""
        before, head = self._empty, "".join(self._head)
        self._empty = None
        if before == "{}" and signs[2:3] == "{":
            return text
        found = _EMPTY.match(head + text)
        return (head + text)[found.end() :] if found else head + text

    def _block_stop(self, event: JSON) -> list[StreamEvent]:
        """Return the events of a stop, none where it is not that of the open block.

        llama.cpp opens a block before it stops the one before.
        """
        return self._close() if event.get("index") == self._block else []

    def _close(self) -> list[StreamEvent]:
        kind, self._kind = self._kind, ""
        self._plain = None
        if not kind:
            return []
        if self._block is None or isinstance(self._block, int):
            self._closed.add(self._block)
        if kind == "tool_use" and self._empty and self._opaque is None:
            self._empty = None
            head = json_text.joined(self._head)
            return [PartDelta(self._index, "args", head), PartStop(self._index)]
        if kind == "thinking":
            signature, self._signature = self._signature, ""
            if signature:
                return [
                    PartDelta(self._index, "signature", from_wire(signature)),
                    PartStop(self._index),
                ]
        elif self._opaque is not None:
            self._index += 1
            part = OpaquePart(origin="anthropic", type=kind, raw=self._whole(self._opaque))
            self._opaque = None
            return [PartStart(self._index, part), PartStop(self._index)]
        return [PartStop(self._index)]

    def _whole(self, block: JSON) -> JSON:
        """Return the opaque block with the content that came in deltas."""
        for key, pieces in self._pieces.items():
            text = json_text.joined(pieces)
            if key != "partial_json":
                block[key] = text_at(block, key) + text
            elif text:
                args = json_text.arguments(text)
                block["input"] = {json_text.INVALID_JSON: text} if args is None else args
        return block

    def _message_delta(self, event: JSON) -> list[StreamEvent]:
        self._usage = ending.merged(self._usage, event.get("usage"))
        delta = event.get("delta")
        if isinstance(delta, dict):
            self._delta = ending.merged(self._delta, delta)
            self.stopped = bool(self._delta.get("stop_reason"))
        return []

    def _finish(self, event: JSON) -> list[StreamEvent]:
        events = self._close()
        self._ended = True
        delta = self._delta
        stop = ending.decode_stop(
            delta.get("stop_reason"),
            delta.get("stop_sequence"),
            delta.get("stop_details"),
            calls=self._called,
        )
        failed = stop_words.failure(delta.get("stop_reason"))
        if failed is not None:
            return [Error(failed)]
        if stop_words.meaning(delta.get("stop_reason")) == "other":
            self._reading.losses.change("stop_reason")
        usage = ending.decode_usage(self._usage)
        return [*events, Finish(stop, usage, usage.tier if usage else None)]

    def _fail(self, what: str) -> list[StreamEvent]:
        return self._broken(
            ErrorInfo(
                kind="bad_upstream",
                message=f"the backend sent {what}",
                code="bad_upstream_response",
            )
        )

    def _broken(self, error: ErrorInfo) -> list[StreamEvent]:
        self._ended = True
        return [Error(error)]


_HANDLERS = {
    "content_block_start": AnthropicDecoder._block_start,
    "content_block_stop": AnthropicDecoder._block_stop,
    "message_delta": AnthropicDecoder._message_delta,
    "message_stop": AnthropicDecoder._finish,
}
