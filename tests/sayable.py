"""What each dialect can say of an answer: two answers of which this is the same are the same to a
client of the dialect."""

from typing import Any

import msgspec
from strategies import STOP_STRINGS

from lmbroker import json_text
from lmbroker.translation.dialects.anthropic_messages.searches import blocks_of, citation_of
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.openai_responses.output_items import searches
from lmbroker.translation.dialects.openai_responses.reasoning_tokens import encrypted_content
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.shared.answer_ids import (
    COMPLETION,
    MESSAGE,
    RESPONSE,
    answer_id,
    call_id,
)
from lmbroker.translation.shared.json_scan import ObjectScanner
from lmbroker.translation.shared.signature import to_wire
from lmbroker.translation.unified.parts import (
    OpaquePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response
from lmbroker.usage import Usage

REPLY = Reply(model="alias", created=1795000000, request_id="req_1", stop=STOP_STRINGS)


def sayable(dialect: str, response: Response) -> Any:
    """What is left of ``response`` when it has been told in ``dialect`` as a stream."""
    return _IN[dialect](response)


def _in_openai(response: Response) -> Any:
    """One text, one reasoning, one refusal, and the calls: how they stood among each other is
    lost, as are what only another vendor understands, citations (which are told but not read),
    the reason of most stops, and all but the numbers of the usage. Where one block of reasoning
    ends and another begins is a blank line more or less."""
    texts = [part for part in response.parts if isinstance(part, TextPart)]
    thoughts = [part.text for part in response.parts if isinstance(part, ReasoningPart)]
    calls = [
        ("custom", id, part.name, part.raw_args or "")
        if part.kind == "custom"
        else ("function", id, part.name, object_or_text(part))
        for id, part in calls_of(response)
    ]
    refusal = "".join(part.text for part in texts if part.refusal) or _explanation(response)
    usage = response.usage or Usage()
    return (
        answer_id(COMPLETION, response.id, REPLY.request_id),
        json_text.joined(part.text for part in texts if not part.refusal),
        json_text.joined(refusal),
        json_text.joined(thoughts).replace("\n", ""),
        calls,
        stop_of(response),
        msgspec.structs.replace(usage, cache_write_by_ttl=None, server_tools=None, tier=None),
    )


def _in_anthropic(response: Response) -> Any:
    """All parts in their order, but for what only another vendor understands. Text is text, also
    where it refuses; arguments are an object; citations are Anthropic's own, or pages."""
    parts: list[Any] = []
    ids = iter([id for id, _ in calls_of(response)])
    for part in response.parts:
        if isinstance(part, TextPart):
            cited = [citation_of(each, AnswerLosses()) for each in part.citations]
            parts.append(("text", part.text, [each for each in cited if each]))
        elif isinstance(part, ReasoningPart) and part.redacted is not None:
            parts.append(("redacted", part.redacted))
        elif isinstance(part, ReasoningPart):
            parts.append(("thinking", part.text, to_wire(part.signature) if part.signature else ""))
        elif isinstance(part, ToolCallPart):
            args = {"input": part.raw_args} if part.kind == "custom" else wrapped(part)
            parts.append(("call", next(ids), part.name, args))
        elif isinstance(part, OpaquePart):
            parts += blocks_of(part, AnswerLosses())
    stop = response.stop
    reason = "max_tokens" if stop.reason == "other" else stop.reason
    if reason == "end" and calls_of(response):
        reason = "tool_calls"
    return (
        answer_id(MESSAGE, response.id, REPLY.request_id),
        parts,
        reason,
        stop.sequence,
        stop.details,
        msgspec.structs.replace(response.usage or Usage(), tier=None),
    )


def calls_of(response: Response) -> list[tuple[str, ToolCallPart]]:
    """The calls with their ids, those made up that are missing."""
    calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
    return [(call_id(part.id, REPLY.request_id, at), part) for at, part in enumerate(calls)]


def object_or_text(part: ToolCallPart) -> Any:
    return part.raw_args if part.args is None else part.args


def wrapped(part: ToolCallPart) -> Any:
    """Arguments that are no object, but for those that were only cut."""
    value = object_or_text(part)
    if not isinstance(value, str):
        return value
    scanner = ObjectScanner()
    scanner.feed(value)
    return {json_text.INVALID_JSON: value} if scanner.broken else value


_CUT = ("max_tokens", "paused", "context_full", "compaction", "other")


def stop_of(response: Response) -> str:
    """The reason of the stop as OpenAI's dialects tell it."""
    reason = response.stop.reason
    refused = any(part.refusal for part in response.parts if isinstance(part, TextPart))
    if refused or reason == "refusal":
        return "refusal"
    if reason in _CUT:
        return "max_tokens"
    return "tool_calls" if calls_of(response) else "end"


def _explanation(response: Response) -> str:
    why = (response.stop.details or {}).get("explanation")
    return (why or "") if response.stop.reason == "refusal" else ""


def _in_responses(response: Response) -> Any:
    """All items in their order: text and refusals, of which those that follow each other are one,
    reasoning with what its backend needs, calls, and items of such a backend; of searches, which
    end when their results come, the number. Of citations only the sources are compared, and of most
    stops not the reason."""
    items: list[Any] = []
    searched = 0
    ids = iter([id for id, _ in calls_of(response)])
    for part in response.parts:
        if isinstance(part, TextPart):
            kind = "refusal" if part.refusal else "text"
            urls = {each.url for each in part.citations if each.kind == "url" and part.text}
            if part.text and items and items[-1][0] == kind:
                _, text, known = items.pop()
                items.append((kind, text + part.text, known | urls))
            elif part.text:
                items.append((kind, part.text, urls))
        elif isinstance(part, ReasoningPart):
            token = encrypted_content(part.signature, part.redacted, "")
            if part.text or token:
                items.append(("reasoning", part.text, token))
        elif isinstance(part, ToolCallPart):
            given = part.raw_args if part.kind == "custom" else object_or_text(part)
            items.append((part.kind, next(ids), part.name, given))
        elif isinstance(part, OpaquePart):
            if part.type == "web_search_call" or searches(part):
                searched += 1
            elif part.origin == "responses":
                items.append(("item", part.raw))
    refused = any(item[0] == "refusal" for item in items)
    why = _explanation(response)
    if why and not refused:
        items.append(("refusal", why, set()))
    reason: str = response.stop.reason
    if reason in _CUT:
        reason = "max_tokens"
    elif reason != "max_tokens":
        reason = stop_of(response)
    usage = msgspec.structs.replace(
        response.usage or Usage(), cache_write_by_ttl=None, server_tools=None, tier=None
    )
    return (
        answer_id(RESPONSE, response.id, REPLY.request_id),
        [_joined(item) for item in items],
        searched,
        reason,
        msgspec.structs.replace(usage, reasoning=usage.reasoning or 0),
    )


def _joined(item: Any) -> Any:
    """The item with the halves of characters that met put together."""
    return tuple(json_text.joined([each]) if isinstance(each, str) else each for each in item)


_IN = {"openai": _in_openai, "anthropic": _in_anthropic, "responses": _in_responses}
