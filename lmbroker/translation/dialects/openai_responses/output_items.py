"""Builds the items of an answer's ``output``, whole or streamed (translation.md 8.2)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.openai.annotations import report_uncited, url_citations
from lmbroker.translation.dialects.openai.custom_calls import custom_input
from lmbroker.translation.dialects.openai_responses.custom_input import InputReader
from lmbroker.translation.dialects.openai_responses.reasoning_items import ORIGIN, own_item
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.shared.answer_ids import call_id
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    Signature,
    TextPart,
    ToolCallPart,
    own_name,
)

MESSAGE, REASONING, SEARCH = "msg_", "rs_", "ws_"
"""The prefixes of the ids of items that are no calls."""

ARGUMENTS = "tool_calls[].arguments"
"""The path of arguments that a client gets in another form, for losses."""
SEARCHES = "web_search"
SEARCHED = "web_search_tool_result"


def output_text(text: str, annotations: Sequence[JSON] = ()) -> JSON:
    """Return the content part of a text."""
    return {"type": "output_text", "annotations": list(annotations), "logprobs": [], "text": text}


def refusal(text: str) -> JSON:
    """Return the content part of a refusal."""
    return {"type": "refusal", "refusal": text}


def message(id: str, status: str, content: Sequence[JSON], own: JSON) -> JSON:
    """Return a message of the model.

    ``own`` are the fields that an R backend gave it (``own_fields``).
    """
    item: JSON = {"id": own.get("id") or id, "type": "message", "status": status}
    item["role"] = "assistant"
    if own.get("phase"):
        item["phase"] = own["phase"]
    return {**item, "content": list(content)}


def reasoning(id: str, texts: Sequence[str], token: str | None, *, content: bool) -> JSON:
    """Return a reasoning item with the ``token`` by which its backend knows it again.

    ``content``: the texts are no summary.
    """
    item: JSON = {"id": id, "type": "reasoning", "summary": []}
    if content and texts:
        item["content"] = [reasoning_text(each) for each in texts]
    else:
        item["summary"] = [summary_text(each) for each in texts]
    return {**item, "encrypted_content": token}


def summary_text(text: str) -> JSON:
    """Return the object of one text of a summary of reasoning."""
    return {"type": "summary_text", "text": text}


def reasoning_text(text: str) -> JSON:
    """Return the object of one text of the reasoning itself."""
    return {"type": "reasoning_text", "text": text}


def reasoning_id(signature: Signature | None, made: str) -> str:
    """Return the id of a reasoning item: the one that an R backend gave it, else ``made``."""
    held = own_item(signature).get("id")
    return held if isinstance(held, str) and held else made


_OF_CALLS = ("caller", "async")
"""Fields of an R backend's call for which the Unified Model has none."""
CallKind = Literal["function_call", "custom_tool_call", "tool_search_call"]

PREFIXES: dict[CallKind, str] = {
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
    "tool_search_call": "tsc_",
}
"""The prefixes of the ids of calls."""


def call_kind(part: ToolCallPart, reply: Reply) -> CallKind:
    """Return the kind of the tool that the client knows by the name of ``part``.

    It is a function, a custom tool, or the client's own search for tools.
    """
    if part.kind == "custom" or part.name in reply.custom_tools:
        return "custom_tool_call"
    if part.name == "tool_search" and any(
        isinstance(tool, Mapping)
        and tool.get("type") == "tool_search"
        and tool.get("execution") == "client"
        for tool in reply.echo.get("tools") or ()
    ):
        return "tool_search_call"
    return "function_call"


def call(suffix: str, part: ToolCallPart, number: int, reply: Reply) -> JSON:
    """Return the item of the answer's call ``number``, still without arguments.

    Its id ends with ``suffix``.
    """
    kind = call_kind(part, reply)
    id = call_id(part.id, reply.request_id, number, reply.tool_id)
    item: JSON = {"id": PREFIXES[kind] + suffix, "type": kind, "status": "in_progress"}
    if kind == "tool_search_call":
        return {**item, "call_id": id, "execution": "client", "arguments": {}}
    name = reply.tool_names.get(part.name, part.name)
    namespace = reply.namespaces.get(name) or part.namespace
    item.update(call_id=id, name=own_name(namespace, name))
    if namespace:
        item["namespace"] = namespace
    if part.extras:
        item.update((key, value) for key, value in own_fields(part).items() if key in _OF_CALLS)
    return {**item, ("input" if kind == "custom_tool_call" else "arguments"): ""}


def missing_arguments(part: ToolCallPart, sent: str) -> str:
    """Return what completes the arguments ``sent`` to an object.

    It is the whole object where they are blank.
    """
    if sent and not sent.isspace():
        return ""
    return json_text.encode(part.args or {}).decode()


def object_of(part: ToolCallPart, sent: str, losses: AnswerLosses) -> JSON:
    """Return the arguments ``sent`` as an object; those that are none are wrapped and reported."""
    found = json_text.arguments(sent) if sent else part.args or {}
    if found is None:
        losses.change(ARGUMENTS)
        return {json_text.INVALID_JSON: sent}
    return found


def input_of(part: ToolCallPart, sent: str, losses: AnswerLosses) -> str:
    """Return the input of a custom call with the arguments ``sent``."""
    if part.kind == "custom":
        return sent
    reader = InputReader()
    text = reader.feed(sent) + reader.close()
    return rest_of_input(part, sent, text, reader, losses)


def rest_of_input(
    part: ToolCallPart, sent: str, text: str, reader: InputReader, losses: AnswerLosses
) -> str:
    """Return ``text``, which ``reader`` found in ``sent``; where it found nothing, ``sent``."""
    if reader.found:
        if reader.more:
            losses.change(ARGUMENTS)
        return text
    return custom_input(part, sent)


def uncited(citations: Sequence[Citation], losses: AnswerLosses) -> None:
    """Report the citations of a text that is not sent, as losses."""
    for citation in citations:
        losses.drop(citation.place)


def cited(citations: Sequence[Citation], start: int, end: int, losses: AnswerLosses) -> list[JSON]:
    """Return the annotations of the piece ``start:end`` of a text."""
    report_uncited(citations, losses)
    return [{"type": "url_citation", **each} for each in url_citations(citations, start, end)]


def own_fields(part: TextPart | ToolCallPart) -> JSON:
    """Return the fields of an R backend's message or call for which the Unified Model has none.

    A message is known by the ``part`` with which it begins.
    """
    if not part.extras:
        return {}
    fields: JSON = {}
    for extra in part.extras:
        if extra.origin == ORIGIN:
            fields.update(extra.value if extra.name == "message" else {extra.name: extra.value})
    return fields


def report_extras(part: TextPart | ToolCallPart, losses: AnswerLosses) -> None:
    """Report the extras of ``part`` that only another dialect understands, as losses."""
    if part.extras:
        losses.extras(extra for extra in part.extras if extra.origin != ORIGIN)


def searches(part: OpaquePart) -> bool:
    """Return whether ``part`` is Anthropic's call of its own web search."""
    return part.type == "server_tool_use" and part.raw.get("name") == SEARCHES


def search(id: str, status: str, use: JSON) -> JSON:
    """Return the item of a web search that the provider runs.

    ``use`` is Anthropic's block for the call.
    """
    given = use.get("input")
    query = given.get("query") if isinstance(given, dict) else None
    query = query if isinstance(query, str) else ""
    action: JSON = {"type": "search", "query": query, "queries": [query] if query else []}
    return {"id": id, "type": "web_search_call", "status": status, "action": action}


def searched(item: JSON, result: JSON) -> JSON:
    """Return the item of a search with its result: pages, or an error in their place."""
    status = "completed" if isinstance(result.get("content"), list) else "failed"
    sources = [{"type": "url", "url": url} for url in _addresses(result)]
    return {**item, "status": status, "action": {**item["action"], "sources": sources}}


def use_of(result: OpaquePart) -> str | None:
    """Return the id of the call that a search's result answers, "" where it names none.

    It is None for a part that is no such result.
    """
    return _id_at(result, "tool_use_id") if result.type == SEARCHED else None


def id_of(use: OpaquePart) -> str:
    """Return the id of a search's call, "" where it has none."""
    return _id_at(use, "id")


def _id_at(part: OpaquePart, key: str) -> str:
    id = part.raw.get(key)
    return id if isinstance(id, str) else ""


def _addresses(result: JSON) -> list[str]:
    found = result.get("content")
    pages = found if isinstance(found, list) else []
    urls = (page.get("url") for page in pages if isinstance(page, dict))
    return list(dict.fromkeys(url for url in urls if isinstance(url, str) and url))
