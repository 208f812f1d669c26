"""Stream events -> OpenAI chunks (translation.md 4.5).

This code runs for every token, so the bytes around a delta are built once: the envelope when the
answer starts, the keys when a part opens. Per delta, one JSON string is encoded.

The rules of the client SDKs (4.2) that shape the chunks: strings under a repeated key are
concatenated, so role, id, type, name and format are sent once; list entries need an integer
``index``, annotations have none and so go into one chunk; the usage chunk is the last.
"""

from typing import Any

from lmbroker import json_text
from lmbroker.errors import ErrorInfo
from lmbroker.json_text import decode, encode, encode_text
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.openai import errors
from lmbroker.translation.dialects.openai.annotations import report_uncited
from lmbroker.translation.dialects.openai.custom_calls import custom_input
from lmbroker.translation.dialects.openai.ending import encode_tier, explanation
from lmbroker.translation.dialects.openai_chat.annotations import annotations
from lmbroker.translation.dialects.openai_chat.ending import encode_stop, encode_usage
from lmbroker.translation.dialects.openai_chat.reasoning_details import format_of
from lmbroker.translation.shared.answer_ids import COMPLETION, answer_id, call_id
from lmbroker.translation.shared.signature import to_wire
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    ReasoningPart,
    Signature,
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
    UsageUpdate,
)
from lmbroker.usage import Usage

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
_PLACES = {"text": "content[].text", "reasoning": "content[].thinking", "args": "content[].input"}
"""Kind of a delta -> its path in the other dialect, for losses."""


class OpenAIEncoder:
    """Encodes one stream for one client (``base.Encoder``)."""

    __slots__ = (
        "_annotations",
        "_between",
        "_call",
        "_calls",
        "_chars",
        "_citations",
        "_counted",
        "_custom",
        "_entry",
        "_envelope",
        "_half",
        "_half_at",
        "_head",
        "_live",
        "_no_usage",
        "_part",
        "_part_began",
        "_pieces",
        "_prefix",
        "_reasoned",
        "_reasonings",
        "_refused",
        "_reply",
        "_sent",
        "_suffix",
        "_tail",
    )

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._envelope = self._head = self._tail = self._no_usage = b""
        self._counted: Usage | None = None
        self._live = ""
        """Kind of the deltas for which ``_prefix``, ``_between`` and ``_suffix`` are ready."""
        self._prefix = self._suffix = b""
        self._between: bytes | None = None
        """The bytes between the two copies of a text that is sent in two fields; None for one
        copy."""
        self._part: Any = None
        self._chars = 0
        """Code points of content that were sent so far."""
        self._half = ""
        """The kind of the last delta that ended inside a surrogate pair, "" where none did."""
        self._half_at = -1
        """The value of ``_chars`` when half a character came last."""
        self._part_began = 0
        self._calls = 0
        self._call: dict[str, Any] = {}
        self._custom = False
        self._reasonings = 0
        self._entry: dict[str, Any] = {}
        self._reasoned = False
        self._refused = False
        self._sent = False
        """Whether text of the open reasoning or call was sent."""
        self._pieces: list[str] = []
        self._citations: list[Citation] = []
        self._annotations: list[dict[str, Any]] = []

    def feed(self, event: StreamEvent) -> bytes:
        """Return the bytes of ``event``, b"" where the client gets nothing for it."""
        if type(event) is PartDelta:
            kind, value = event.kind, event.value
            if kind != self._live:
                return self._delta(value)
            if not value:
                return b""
            if kind == "text":
                self._chars += len(value)  # type: ignore[arg-type]
            try:
                text = encode_text(value)
            except UnicodeEncodeError:
                text = self._half_character(kind, value)  # type: ignore[arg-type]
            if self._between is None:
                return b"".join((self._prefix, text, self._suffix))
            return b"".join((self._prefix, text, self._between, text, self._suffix))
        if isinstance(event, PartStart):
            return self._open(event.part)
        if isinstance(event, PartStop):
            return self._close()
        if isinstance(event, Ping):
            return PING
        if isinstance(event, Start):
            return self._start(event)
        if isinstance(event, Finish):
            return self._finish(event)
        if isinstance(event, Error):
            return stream_error(event.error)
        if isinstance(event, UsageUpdate):
            self._counted = event.usage
        return b""

    def _encoded(self, kind: str, value: str) -> bytes:
        try:
            return encode_text(value)
        except UnicodeEncodeError:
            return self._half_character(kind, value)

    def _half_character(self, kind: str, value: str) -> bytes:
        """Return the JSON string of a text that begins or ends inside a surrogate pair.

        The pair counts as one character; a half that stays alone is reported.
        """
        if kind == "text":
            if "\udc00" <= value[0] <= "\udfff" and self._chars - len(value) == self._half_at:
                self._chars -= 1
                self._half_at = -1
            if "\ud800" <= value[-1] <= "\udbff":
                self._half_at = self._chars
        ends, alone = json_text.halves(value, after=self._half == kind)
        self._half = kind if ends else ""
        if alone:
            self._reply.losses.change(_PLACES[kind])
        return encode(value)

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return b"".join((self._head, encode(delta), self._tail))

    def _start(self, start: Start) -> bytes:
        reply = self._reply
        envelope: dict[str, Any] = {
            "id": answer_id(COMPLETION, start.id, reply.request_id),
            "object": "chat.completion.chunk",
            "created": reply.created,
            "model": reply.model,
        }
        tier = encode_tier(start.tier)
        if reply.wants_tier and tier:
            envelope["service_tier"] = tier
        self._envelope = b"data: " + encode(envelope)[:-1] + b',"choices":['
        self._no_usage = b',"usage":null}\n\n' if reply.stream_usage else b"}\n\n"
        self._head = self._envelope + b'{"index":0,"delta":'
        self._tail = b',"logprobs":null,"finish_reason":null}]' + self._no_usage
        self._counted = start.usage
        return self._chunk({"role": "assistant", "content": ""})

    def _open(self, part: Any) -> bytes:
        self._part = part
        self._sent = False
        if isinstance(part, TextPart):
            if part.extras:
                self._reply.losses.extras(part.extras)
            self._part_began = self._chars
            self._refused = self._refused or part.refusal
            self._ready("text", b'{"refusal":' if part.refusal else b'{"content":', b"}")
        elif isinstance(part, ReasoningPart):
            return self._open_reasoning(part)
        elif isinstance(part, ToolCallPart):
            return self._open_call(part)
        elif isinstance(part, OpaquePart):
            self._reply.losses.drop(part.path)
        return b""

    def _ready(self, kind: str, before: bytes, after: bytes, between: bytes | None = None) -> None:
        self._live = kind
        self._prefix = self._head + before
        self._between = between
        self._suffix = after + self._tail

    def _open_reasoning(self, part: ReasoningPart) -> bytes:
        self._entry = {
            "index": self._reasonings,
            "type": "reasoning.text",
            "format": format_of(part),
        }
        if self._chars or self._calls:
            self._entry["lmb_at"] = f"{self._chars}:{self._calls}"
        if part.redacted is None:
            return b""
        entry = {**self._once(), "type": "reasoning.encrypted", "data": part.redacted}
        return self._chunk({"reasoning_details": [entry]})

    def _open_call(self, part: ToolCallPart) -> bytes:
        reply = self._reply
        number = self._calls
        self._calls += 1
        reply.losses.extras(part.extras)
        name = reply.tool_names.get(part.name, part.name)
        self._custom = part.name in reply.custom_tools or part.kind == "custom"
        self._pieces = []
        if reply.legacy_functions:
            if number:
                self._part = None
                reply.losses.drop("content[].tool_use")
                return b""
            return self._chunk({"function_call": {"name": name, "arguments": ""}})
        self._call = {
            "index": number,
            "id": call_id(part.id, reply.request_id, number, reply.tool_id),
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        return b"" if self._custom else self._chunk({"tool_calls": [self._call]})

    def _delta(self, value: str | Signature | Citation) -> bytes:
        """Return the bytes of a delta for which no template is ready."""
        part = self._part
        if isinstance(value, Citation):
            self._citations.append(value)
        elif isinstance(value, Signature):
            if isinstance(part, ReasoningPart) and not (self._reply.hide_reasoning and self._sent):
                entry = {**self._once(), "signature": to_wire(value)}
                return self._chunk({"reasoning_details": [entry]})
        elif not value:
            return b""
        elif isinstance(part, ReasoningPart):
            return self._reasoning(value)
        elif isinstance(part, ToolCallPart):
            return self._arguments(value)
        return b""

    def _reasoning(self, value: str) -> bytes:
        """Return the bytes of the first text of a part; the rest of it has a template."""
        self._sent = True
        if self._reply.hide_reasoning:
            return b""
        value = decode(self._encoded("reasoning", value))
        shown = "\n\n" + value if self._reasoned else value
        self._reasoned = True
        entry = {**self._once(), "text": value}
        again = b',"reasoning_details":[{"index":%d,"type":"reasoning.text","text":'
        self._ready("reasoning", b'{"reasoning_content":', b"}]}", again % entry["index"])
        return self._chunk({"reasoning_content": shown, "reasoning_details": [entry]})

    def _once(self) -> dict[str, Any]:
        """Return the head of an entry, with its format and place the first time only."""
        head = self._entry
        if "format" in head:
            self._reasonings += 1
        self._entry = {"index": head["index"], "type": head["type"]}
        return head

    def _arguments(self, value: str) -> bytes:
        self._sent = True
        if self._reply.legacy_functions:
            self._ready("args", b'{"function_call":{"arguments":', b"}}")
        elif self._custom:
            self._pieces.append(value)
            return b""
        else:
            before = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % (self._calls - 1)
            self._ready("args", before, b"}}]}")
        return b"".join((self._prefix, self._encoded("args", value), self._suffix))

    def _close(self) -> bytes:
        part, self._part = self._part, None
        self._live = ""
        if self._half:
            self._reply.losses.change(_PLACES[self._half])
            self._half = ""
        if isinstance(part, TextPart):
            if part.refusal:  # a refusal is no content
                self._chars = self._part_began
            elif self._citations:
                self._annotations += annotations(self._citations, self._part_began, self._chars)
                report_uncited(self._citations, self._reply.losses)
            self._citations = []
        elif isinstance(part, ToolCallPart):
            return self._close_call(part)
        return b""

    def _close_call(self, part: ToolCallPart) -> bytes:
        legacy = self._reply.legacy_functions
        if self._custom and not legacy:
            text = json_text.joined(self._pieces)
            custom = {"name": self._call["function"]["name"], "input": custom_input(part, text)}
            head = {key: self._call[key] for key in ("index", "id")}
            return self._chunk({"tool_calls": [{**head, "type": "custom", "custom": custom}]})
        if self._sent:
            return b""
        function = {"arguments": encode(part.args or {}).decode()}
        if legacy:
            return self._chunk({"function_call": function})
        return self._chunk({"tool_calls": [{"index": self._calls - 1, "function": function}]})

    def _finish(self, finish: Finish) -> bytes:
        reply, stop = self._reply, finish.stop
        out = []
        if not self._head:
            out.append(self._start(Start("", "")))
        if self._annotations:
            out.append(self._chunk({"annotations": self._annotations}))
        why = explanation(stop)
        if why and not self._refused:
            out.append(self._chunk({"refusal": why}))
        reason = encode(encode_stop(stop, legacy=reply.legacy_functions))
        out += (self._head, b'{},"logprobs":null,"finish_reason":', reason, b"}]", self._no_usage)
        if reply.stream_usage:
            usage = encode(encode_usage(finish.usage or self._counted or Usage()))
            out += (self._envelope, b'],"usage":', usage, b"}\n\n")
        out.append(DONE)
        return b"".join(out)


def stream_error(error: ErrorInfo) -> bytes:
    """Return the event that ends a broken stream; no ``[DONE]`` follows it."""
    return b"data: " + encode(errors.body(error)) + b"\n\n"
