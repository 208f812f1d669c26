"""Whole OpenAI answers <-> the Unified Model (translation.md section 3)."""

from typing import Any, Literal

from lmbroker.errors import Broken, ErrorInfo
from lmbroker.json_text import JSON, encode
from lmbroker.translation.dialects.base import Reading, Reply
from lmbroker.translation.dialects.openai.annotations import report_uncited
from lmbroker.translation.dialects.openai.custom_calls import custom_input
from lmbroker.translation.dialects.openai.ending import (
    decode_stop,
    decode_tier,
    decode_usage,
    encode_tier,
    explanation,
)
from lmbroker.translation.dialects.openai.function_calls import function_call
from lmbroker.translation.dialects.openai_chat.annotations import annotations
from lmbroker.translation.dialects.openai_chat.choices import first_choice, one_choice
from lmbroker.translation.dialects.openai_chat.content import (
    arguments_text,
    called,
    calls_of,
    extra_signature,
    report_untranslated,
    signed_content,
    spoken,
    thought,
)
from lmbroker.translation.dialects.openai_chat.ending import CALLED, encode_stop, encode_usage
from lmbroker.translation.dialects.openai_chat.fast_paths import plain_answer, plain_message
from lmbroker.translation.dialects.openai_chat.reasoning_details import (
    TEXT_FIELDS,
    Collected,
    entry,
    signs,
)
from lmbroker.translation.refusals import error_kinds
from lmbroker.translation.shared import stop_words
from lmbroker.translation.shared.answer_ids import COMPLETION, answer_id, call_id, unrepeated
from lmbroker.translation.shared.signature import THINK_TAGS
from lmbroker.translation.shared.think_tags import separated
from lmbroker.translation.unified.parts import (
    OpaquePart,
    Part,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response
from lmbroker.usage import Usage

_BESIDES = ("tool_calls", "function_call", "refusal", *TEXT_FIELDS)
_SIGNED = ("reasoning_details", "thinking_blocks", "extra_content")
_MORE_THAN_TEXT = (*_BESIDES, *_SIGNED)
_SAYS = frozenset(("content", *_BESIDES))
_SILENT = ("refusal", "max_tokens", "context_full")
"""Stop reasons of an answer that may be empty: Azure leaves the message out, Gemini its content."""


def decode_response(body: JSON, reading: Reading | None = None) -> Response:
    """Return the Unified Model of a backend's answer; its choices count as one.

    Raises Broken when it is an error, or has no choice with a message.
    """
    reading = reading or Reading()
    choice = one_choice(body.get("choices"), reading.losses)
    finish, message = choice.get("finish_reason"), choice.get("message")
    message = message if isinstance(message, dict) else {}
    means = stop_words.meaning(finish)
    if means not in _SILENT and _SAYS.isdisjoint(message):
        if body.get("error"):
            raise Broken(error_kinds.stream_error(body), phase="reading")
        raise _broken("the backend's answer has no message")
    failed = stop_words.failure(finish) if means is None else None
    if failed is not None:
        raise Broken(failed, phase="reading")
    report_untranslated(message, "message", reading.losses)
    parts = unrepeated(_parts(message, think_tags=reading.think_tags))
    refusal = message.get("refusal")
    stop = decode_stop(
        finish,
        calls=ToolCallPart in map(type, parts),
        refusal=refusal if isinstance(refusal, str) else "",
        matched=choice.get("stop_reason") or choice.get("matched_stop"),
        means=means,
    )
    if means == "other":
        reading.losses.change("choices[].finish_reason")
    id, model, created = body.get("id"), body.get("model"), body.get("created")
    return Response(
        id=str(id) if isinstance(id, (str, int)) else "",
        model=model if isinstance(model, str) else "",
        created=created if isinstance(created, int) else None,
        parts=tuple(parts),
        stop=stop,
        usage=decode_usage(body.get("usage")),
        tier=decode_tier(body.get("service_tier")),
    )


def gist(body: JSON) -> tuple[Usage | None, str]:
    """Return usage and stop reason (of the first choice) of an answer that is passed through."""
    usage = decode_usage(body.get("usage"))
    finish = first_choice(body.get("choices")).get("finish_reason")
    if not finish:
        return usage, ""
    if finish == "stop":
        return usage, "end"
    return usage, decode_stop(finish, calls=finish in CALLED).reason


def tool_calls(body: JSON) -> int:
    """Return how many tools an answer that is passed through calls."""
    found = 0
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        if isinstance(calls, list):
            found += len(calls)
    return found


def encode_response(response: Response, reply: Reply) -> JSON:
    """Return the body of the answer for the client."""
    body: JSON = {
        "id": answer_id(COMPLETION, response.id, reply.request_id),
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [
            {
                "index": 0,
                "message": _message_of(response, reply),
                "logprobs": None,
                "finish_reason": encode_stop(response.stop, legacy=reply.legacy_functions),
            }
        ],
        "usage": encode_usage(response.usage or Usage()),
    }
    tier = encode_tier(response.tier) if reply.wants_tier else None
    if tier:
        body["service_tier"] = tier
    return body


def _message_of(response: Response, reply: Reply) -> JSON:
    why = explanation(response.stop)
    plain = plain_answer(response, why)
    if plain is not None:
        return plain
    writer = _Message(reply)
    for part in response.parts:
        writer.add(part)
    return writer.message(why)


class _Message:
    """Collects the parts of one answer, and counts the text and the calls so far."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._texts: list[str] = []
        self._chars = 0
        self._refusals: list[str] = []
        self._thoughts: list[str] = []
        self._details: list[JSON] = []
        self._calls: list[JSON] = []
        self._annotations: list[JSON] = []

    def add(self, part: Part) -> None:
        """Add the next part; one that only another vendor understands is left out."""
        if isinstance(part, TextPart):
            if part.extras:
                self._reply.losses.extras(part.extras)
            if part.refusal:
                self._refusals.append(part.text)
                return
            start = self._chars
            self._texts.append(part.text)
            self._chars += len(part.text)
            if part.citations:
                self._annotations += annotations(part.citations, start, self._chars)
                report_uncited(part.citations, self._reply.losses)
        elif isinstance(part, ReasoningPart):
            self._reason(part)
        elif isinstance(part, ToolCallPart):
            self._calls.append(self._call(part))
        elif isinstance(part, OpaquePart):
            self._reply.losses.drop(part.path)

    def message(self, explanation: str) -> JSON:
        """Return the message; ``explanation`` says why it was refused where no part does."""
        text = "".join(self._texts)
        message: JSON = {
            "role": "assistant",
            "content": text if text or not self._calls else None,
            "refusal": "".join(self._refusals) or explanation or None,
        }
        if self._annotations:
            message["annotations"] = self._annotations
        if self._calls and self._reply.legacy_functions:
            if len(self._calls) > 1:
                self._reply.losses.drop("content[].tool_use")
            message["function_call"] = self._calls[0]["function"]
        elif self._calls:
            message["tool_calls"] = self._calls
        if self._thoughts:
            message["reasoning_content"] = "\n\n".join(self._thoughts)
        if self._details:
            message["reasoning_details"] = self._details
        return message

    def _reason(self, part: ReasoningPart) -> None:
        hidden = self._reply.hide_reasoning
        if part.text and not hidden:
            self._thoughts.append(part.text)
        at = f"{self._chars}:{len(self._calls)}" if self._chars or self._calls else None
        detail = entry(len(self._details), part, at, hidden=hidden)
        if detail is not None:
            self._details.append(detail)

    def _call(self, part: ToolCallPart) -> JSON:
        reply = self._reply
        reply.losses.extras(part.extras)
        name = reply.tool_names.get(part.name, part.name)
        id = call_id(part.id, reply.request_id, len(self._calls), reply.tool_id)
        text = part.raw_args if part.raw_args else encode(part.args or {}).decode()
        legacy = reply.legacy_functions
        if (part.kind == "custom" or part.name in reply.custom_tools) and not legacy:
            given = custom_input(part, part.raw_args or "")
            return {"id": id, "type": "custom", "custom": {"name": name, "input": given}}
        return {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


def _parts(message: JSON, *, think_tags: bool | Literal["open"]) -> list[Part]:
    plain = None if think_tags else plain_message(message, _MORE_THAN_TEXT)
    if plain is not None:
        return list[Part](plain)
    parts: list[Part] = []
    reasoning = thought(message)
    if reasoning or signs(message):
        details = Collected()
        details.take(message)
        parts.append(ReasoningPart(text="".join(reasoning), signature=details.signature()))
    if signed_content(message):
        signature = extra_signature(message["extra_content"])
        parts.append(ReasoningPart(signature=signature))
    text = "".join(spoken(message))
    if think_tags:
        inside, text = separated(text, opened=think_tags == "open")
        if inside:
            signature = Signature(origin="text", field=THINK_TAGS)
            parts.append(ReasoningPart(text=inside, signature=signature))
    if text:
        parts.append(TextPart(text=text))
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        parts.append(TextPart(text=refusal, refusal=True))
    number = 0
    for call in calls_of(message):
        part = _decode_call(call)
        if part is None:
            continue
        extra = call.get("extra_content")
        if extra and isinstance(extra, dict):
            parts.append(ReasoningPart(signature=extra_signature(extra, (part.id, number))))
        parts.append(part)
        number += 1
    function = message.get("function_call")
    if isinstance(function, dict):
        part = _decode_call({"function": function})
        if part is not None:
            parts.append(part)
    return parts


def _decode_call(call: Any) -> ToolCallPart | None:
    """Return the part of a call, None for one without a name, which nobody could run."""
    if not isinstance(call, dict):
        return None
    function, kind = called(call)
    name = function.get("name")
    if not isinstance(name, str) or not name:
        return None
    id = call.get("id")
    id = str(id) if isinstance(id, str | int) else ""
    text = arguments_text(function)
    if kind == "custom":
        return ToolCallPart(id=id, name=name, raw_args=text, kind="custom")
    return function_call(id, name, text)


def _broken(message: str) -> Broken:
    return Broken(
        ErrorInfo(kind="bad_upstream", message=message, code="bad_upstream_response"),
        phase="reading",
    )
