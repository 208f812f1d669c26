"""Whole Anthropic answers <-> the Unified Model (translation.md section 3)."""

from typing import Any

from lmbroker.errors import Broken, ErrorInfo
from lmbroker.json_text import INVALID_JSON, JSON
from lmbroker.translation.dialects.anthropic_messages.blocks import (
    decode_block,
    text_at,
)
from lmbroker.translation.dialects.anthropic_messages.ending import (
    decode_stop,
    decode_usage,
    encode_stop,
    encode_usage,
    tier_of,
)
from lmbroker.translation.dialects.anthropic_messages.searches import blocks_of, citation_of
from lmbroker.translation.dialects.anthropic_messages.stream_encode import ARGUMENTS, signature_of
from lmbroker.translation.dialects.base import Reading, Reply
from lmbroker.translation.refusals import error_kinds
from lmbroker.translation.shared import stop_words
from lmbroker.translation.shared.answer_ids import MESSAGE, answer_id, call_id, unrepeated
from lmbroker.translation.unified.parts import (
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response
from lmbroker.usage import Usage


def decode_response(body: JSON, reading: Reading | None = None) -> Response:
    """Return the Unified Model of a backend's answer.

    Raises Broken where it is an error or no message.
    """
    content = body.get("content")
    if isinstance(content, str) and content and not body.get("error"):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        if body.get("error"):
            raise Broken(error_kinds.stream_error(body), phase="reading")
        raise Broken(
            ErrorInfo(
                kind="bad_upstream",
                message="the backend's answer is not a message",
                code="bad_upstream_response",
            ),
            phase="reading",
        )
    failed = stop_words.failure(body.get("stop_reason"))
    if failed is not None:
        raise Broken(failed, phase="reading")
    parts: tuple[Part, ...] = tuple(unrepeated(filter(None, map(decode_block, content))))
    usage = decode_usage(body.get("usage"))
    stop = decode_stop(
        body.get("stop_reason"),
        body.get("stop_sequence"),
        body.get("stop_details"),
        calls=ToolCallPart in map(type, parts),
    )
    if stop_words.meaning(body.get("stop_reason")) == "other" and reading is not None:
        reading.losses.change("stop_reason")
    return Response(
        id=text_at(body, "id"),
        model=text_at(body, "model"),
        parts=parts,
        stop=stop,
        usage=usage,
        tier=usage.tier if usage else None,
    )


def gist(body: JSON) -> tuple[Usage | None, str]:
    """Return the usage and the stop reason of an answer that is passed through."""
    usage, reason = decode_usage(body.get("usage"), billed=True), body.get("stop_reason")
    if not reason:
        return usage, ""
    if reason == "end_turn":
        return usage, "end"
    return usage, decode_stop(reason, None, None, calls=False).reason


def tool_calls(body: JSON) -> int:
    """Return how many tools of its client an answer that is passed through calls."""
    content = body.get("content")
    if not isinstance(content, list):
        return 0
    return sum(isinstance(each, dict) and each.get("type") == "tool_use" for each in content)


def encode_response(response: Response, reply: Reply) -> JSON:
    """Return the body of the answer for the client."""
    content: list[JSON] = []
    calls = 0
    for part in response.parts:
        if isinstance(part, ToolCallPart):
            content.append(_call(part, reply, calls))
            calls += 1
        else:
            content += _blocks(part, reply)
    tier = tier_of(response.tier) if reply.wants_tier else None
    return {
        "id": answer_id(MESSAGE, response.id, reply.request_id),
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        **encode_stop(response.stop, reply.stop),
        "usage": encode_usage(response.usage or Usage(), tier),
    }


def _blocks(part: Part, reply: Reply) -> list[JSON]:
    """Return the blocks of a part, none for a part that only another vendor understands."""
    if isinstance(part, TextPart):
        block: JSON = {"type": "text", "text": part.text}
        reply.losses.extras(part.extras)
        cited = [citation_of(each, reply.losses) for each in part.citations]
        if any(cited):
            block["citations"] = [each for each in cited if each is not None]
        return [block]
    if isinstance(part, ReasoningPart):
        if part.redacted is not None:
            return [{"type": "redacted_thinking", "data": part.redacted}]
        hidden = part.text if reply.hide_reasoning else ""
        thinking = "" if reply.hide_reasoning else part.text
        signature = signature_of(part.signature, hidden)
        return [{"type": "thinking", "thinking": thinking, "signature": signature}]
    return blocks_of(part, reply.losses) if isinstance(part, OpaquePart) else []


def _call(part: ToolCallPart, reply: Reply, number: int) -> JSON:
    args: Any = part.args
    reply.losses.extras(part.extras)
    if part.kind == "custom":
        args = {"input": part.raw_args or ""}
    elif args is None:
        args = {INVALID_JSON: part.raw_args} if part.raw_args else {}
        if part.raw_args:
            reply.losses.change(ARGUMENTS)
    return {
        "type": "tool_use",
        "id": call_id(part.id, reply.request_id, number, reply.tool_id),
        "name": reply.tool_names.get(part.name, part.name),
        "input": args,
    }
