"""Stream events -> Anthropic stream (translation.md 4.5).

This code runs for every token, so the bytes around a delta are built once per block. Per delta, one
JSON string is encoded.

The rules of the client SDKs (4.2) that shape the stream: every event has its ``event:`` line; block
indices have no gaps, so blocks that cannot be sent take no index; a thinking block has exactly one
signature, right before its stop; arguments are one JSON object. Arguments that are none are wrapped
in one if nothing of them was sent yet, else the stream ends with an error.
"""

from typing import Any

from lmbroker import json_text
from lmbroker.errors import Broken, ErrorInfo
from lmbroker.json_text import encode, encode_text
from lmbroker.translation.dialects.anthropic_messages import errors
from lmbroker.translation.dialects.anthropic_messages.ending import (
    NO_USAGE,
    encode_stop,
    encode_usage,
    tier_of,
)
from lmbroker.translation.dialects.anthropic_messages.searches import blocks_of, citation_of
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.shared.answer_ids import MESSAGE, answer_id, call_id
from lmbroker.translation.shared.json_scan import ObjectScanner
from lmbroker.translation.shared.signature import seal, to_wire, unseal
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

BAD_ARGUMENTS = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent tool call arguments that are not a JSON object",
    code="bad_upstream_response",
)
ARGUMENTS = "choices[].message.tool_calls[].function.arguments"
"""The path of arguments that are no JSON object and are wrapped for the client, for losses."""
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
COMMENT = b": ping\n\n"
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
_KEYS = {
    "text": b'{"type":"text_delta","text":',
    "reasoning": b'{"type":"thinking_delta","thinking":',
    "args": b'{"type":"input_json_delta","partial_json":',
}


_PLACES = {"text": "choices[].delta.content", "reasoning": "choices[].delta.reasoning_content"}
"""Kind of a delta -> its path in the other dialect, for losses."""


class AnthropicEncoder:
    """Encodes one stream for one client (``base.Encoder``)."""

    __slots__ = (
        "_calls",
        "_counted",
        "_half",
        "_held",
        "_index",
        "_live",
        "_part",
        "_prefix",
        "_reply",
        "_scanner",
        "_sent",
        "_signature",
        "_started",
        "_tier",
    )

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._started = False
        self._counted: Usage | None = None
        self._tier: str | None = None
        self._index = -1
        self._calls = 0
        self._live = ""
        """Kind of the deltas for which ``_prefix`` is ready."""
        self._prefix = b""
        self._part: Any = None
        self._sent = False
        """Whether arguments of the open call were sent."""
        self._scanner: ObjectScanner | None = None
        """Set while arguments of a function are sent."""
        self._signature: Signature | None = None
        self._held: list[str] = []
        self._half = False
        """Whether the last delta ended inside a surrogate pair."""

    def feed(self, event: StreamEvent) -> bytes:
        """Return the bytes of ``event``, b"" where the client gets nothing for it.

        Raises Broken for arguments that turn out to be no JSON object after a part of them was
        sent.
        """
        if type(event) is PartDelta:
            value: Any = event.value
            if event.kind != self._live:
                return self._delta(value)
            if not value:
                return b""
            scanner = self._scanner
            # As ``feed`` begins, without a call.
            if scanner is not None and not (
                scanner.inside and value.isprintable() and '"' not in value and "\\" not in value
            ):
                scanner.feed(value)
                if scanner.broken:
                    raise Broken(BAD_ARGUMENTS, phase="streaming")
            return self._text(value)
        if isinstance(event, PartStart):
            return self._open(event.part)
        if isinstance(event, PartStop):
            return self._close()
        if isinstance(event, Ping):
            return PING if self._started else b""
        if isinstance(event, Start):
            return self._start(event)
        if isinstance(event, Finish):
            return self._finish(event)
        if isinstance(event, Error):
            return stream_error(event.error, self._reply.request_id)
        if isinstance(event, UsageUpdate):
            self._counted = event.usage
        return b""

    def _text(self, value: Any) -> bytes:
        try:
            text = encode_text(value)
        except UnicodeEncodeError:
            self._half, alone = json_text.halves(value, after=self._half)
            if alone:
                self._reply.losses.change(_PLACES.get(self._live, ARGUMENTS))
            text = encode(value)
        return b"".join((self._prefix, text, b"}}\n\n"))

    def _start(self, start: Start) -> bytes:
        reply = self._reply
        self._started = True
        self._counted = start.usage
        self._tier = tier_of(start.tier) if reply.wants_tier else None
        usage = NO_USAGE if start.usage is None else encode_usage(start.usage, self._tier)
        message: dict[str, Any] = {
            "id": answer_id(MESSAGE, start.id, reply.request_id),
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _event("message_start", {"message": message})

    def _open(self, part: Any) -> bytes:
        self._part = part
        self._sent = False
        self._signature = None
        self._held = []
        if isinstance(part, OpaquePart):
            self._part = None
            blocks = blocks_of(part, self._reply.losses)
            return b"".join(self._begin(block) + self._end() for block in blocks)
        return self._begin(self._block(part))

    def _begin(self, block: dict[str, Any]) -> bytes:
        self._index += 1
        return _event("content_block_start", {"index": self._index, "content_block": block})

    def _end(self) -> bytes:
        return _event("content_block_stop", {"index": self._index})

    def _block(self, part: Any) -> dict[str, Any]:
        """Return the block with which ``part`` opens."""
        if isinstance(part, TextPart):
            if part.extras:
                self._reply.losses.extras(part.extras)
            self._ready("text")
            return {"type": "text", "text": ""}
        if isinstance(part, ReasoningPart):
            if part.redacted is not None:
                return {"type": "redacted_thinking", "data": part.redacted}
            if not self._reply.hide_reasoning:
                self._ready("reasoning")
            return {"type": "thinking", "thinking": "", "signature": ""}
        reply = self._reply
        reply.losses.extras(part.extras)
        self._calls += 1
        if part.kind == "function":
            self._scanner = ObjectScanner()
        return {
            "type": "tool_use",
            "id": call_id(part.id, reply.request_id, self._calls - 1, reply.tool_id),
            "name": reply.tool_names.get(part.name, part.name),
            "input": {},
        }

    def _ready(self, kind: str) -> None:
        """Prepare for deltas of ``kind`` in the block that opens next."""
        self._live = kind
        self._prefix = _DELTA % (self._index + 1) + _KEYS[kind]

    def _arguments(self, scanner: ObjectScanner, value: str) -> bytes:
        """Return the bytes of the first arguments, b"" where they are held back.

        Blank ones are, since nothing else may come, and so are broken ones.
        """
        scanner.feed(value)
        self._held.append(value)
        if scanner.broken or value.isspace():
            return b""
        self._sent = True
        self._live, self._prefix = "args", _DELTA % self._index + _KEYS["args"]
        return self._text("".join(self._held))

    def _delta(self, value: str | Signature | Citation) -> bytes:
        """Return the bytes of a delta without a prepared prefix.

        Many are held until their block closes.
        """
        if isinstance(value, Signature):
            self._signature = value
        elif isinstance(value, Citation):
            cited = citation_of(value, self._reply.losses)
            if cited is not None and isinstance(self._part, TextPart):
                return self._detail({"type": "citations_delta", "citation": cited})
        elif self._scanner is not None:
            return self._arguments(self._scanner, value) if value else b""
        elif self._part is not None:
            self._held.append(value)
        return b""

    def _detail(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self) -> bytes:
        part, self._part = self._part, None
        if self._half:
            self._half = False
            self._reply.losses.change(_PLACES.get(self._live, ARGUMENTS))
        self._live = ""
        if part is None:
            return b""
        last = b""
        if isinstance(part, ReasoningPart) and part.redacted is None:
            signature = signature_of(self._signature, json_text.joined(self._held))
            if signature:
                last = self._detail({"type": "signature_delta", "signature": signature})
        elif isinstance(part, ToolCallPart) and not self._sent:
            partial = encode(self._whole(part)).decode()
            last = self._detail({"type": "input_json_delta", "partial_json": partial})
        self._scanner = None
        return last + self._end()

    def _whole(self, part: ToolCallPart) -> dict[str, Any]:
        """Return the whole input of a call none of whose arguments were sent."""
        text = json_text.joined(self._held)
        if self._scanner is None:
            return {"input": text}
        if not self._scanner.broken:
            return part.args or {}
        found = json_text.arguments(text)
        if found is not None:
            return found
        self._reply.losses.change(ARGUMENTS)
        return {json_text.INVALID_JSON: text}

    def _finish(self, finish: Finish) -> bytes:
        start = b"" if self._started else self._start(Start("", ""))
        tier = (tier_of(finish.tier) if self._reply.wants_tier else None) or self._tier
        body = {
            "delta": encode_stop(finish.stop, self._reply.stop),
            "usage": encode_usage(finish.usage or self._counted or Usage(), tier),
        }
        return start + _event("message_delta", body) + _event("message_stop", {})


def signature_of(signature: Signature | None, hidden: str) -> str:
    """Return the value of the signature field of a thinking block.

    Text that the client did not want to see is carried in our own token, so that it can be replayed
    (4.6); Anthropic's signature holds its own text.
    """
    if signature is None:
        return ""
    wire = to_wire(signature)
    kind = unseal(wire) if hidden else None
    return wire if kind is None else seal({**kind, "t": hidden})


def stream_error(error: ErrorInfo, request_id: str) -> bytes:
    """Return the event that ends a broken stream; open blocks stay open."""
    return b"event: error\ndata: " + encode(errors.body(error, request_id)) + b"\n\n"


def _event(kind: str, body: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **body}))
