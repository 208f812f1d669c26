"""Reading a Responses request of OpenAI: what is asked, and whether OpenAI would answer it."""

import json
from dataclasses import dataclass, field
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.testing import fields_responses as known
from lmbroker.testing.ask import Ask, Offered, Refused, last_text_of, text_of, words_in
from lmbroker.testing.strict_responses import check_items, check_request, check_sealed

KEPT = 1000
"""The maximum of stored answers."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An answer that was stored, and the input that led to it."""

    items: tuple[JSON, ...] = field(repr=False)
    response: JSON = field(repr=False)


class Memory:
    """The stored answers, and which of their items came from which reasoning."""

    def __init__(self) -> None:
        self.responses: dict[str, Kept] = {}
        self.needs: dict[str, str] = {}
        """Id of an item -> id of the reasoning that led to it."""
        self.reasoning: dict[str, JSON] = {}
        """Reasoning that was stored, by its id."""

    def note(self, items: list[JSON], response: JSON) -> None:
        """Remember an answer to the input ``items``, if it is to be stored."""
        if not response["store"]:
            return
        led = ""
        for item in response["output"]:
            if item["type"] == "reasoning":
                led = item["id"]
                self.reasoning[led] = item
            elif led:
                self.needs[item["id"]] = led
        self.responses[response["id"]] = Kept(items=tuple(items), response=response)
        for kept in (self.responses, self.needs, self.reasoning):
            while len(kept) > KEPT:
                del kept[next(iter(kept))]


def read_responses(
    body: JSON, memory: Memory, fields: frozenset[str] = known.CREATE
) -> tuple[Ask, list[JSON]]:
    """Read a request; returns what is asked, and the whole input as items.

    Raises Refused where OpenAI refuses it; TypeError, ValueError or AttributeError where it is
    malformed in ways that nobody meets.
    """
    check_request(body, fields)
    items = _items(body, memory)
    stores = body.get("store") is not False
    check_items(items, memory.needs, memory.reasoning, stores=stores)
    tools = [
        each
        for tool in [
            *(body.get("tools") or ()),
            *(
                tool
                for item in items
                if item.get("type") == "additional_tools"
                for tool in item["tools"]
            ),
        ]
        for each in _offered(tool)
    ]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        names = [tool.get("name") for tool in choice["tools"]]
        tools = [tool for tool in tools if tool.name in names]
        choice = choice.get("mode", "auto")
    elif isinstance(choice, dict):
        choice = f"named:{choice.get('name')}"
    reasoning = body.get("reasoning") or {}
    form = (body.get("text") or {}).get("format") or {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    if form.get("type") == "json_object":
        if "json" not in json.dumps(items).lower():
            raise Refused(
                "Response input messages must contain the word 'json' in some form to use"
                " 'text.format' of type 'json_object'.",
                "input",
            )
        schema = {}
    ask = Ask(
        model=body["model"],
        text=text_of(_last_user_content(items)),
        plan=last_text_of(_last_user_content(items)),
        results=_results(items),
        done=_done(items),
        tools=tuple(tools),
        searches=any(tool["type"].startswith("web_search") for tool in body.get("tools") or ()),
        choice=choice,
        parallel=body.get("parallel_tool_calls") is not False,
        reasoning="reasoning" in body and reasoning.get("effort") != "none" and bool(reasoning),
        shows_reasoning=bool(reasoning.get("summary") or reasoning.get("generate_summary")),
        schema=schema,
        max_words=body.get("max_output_tokens"),
        stream=bool(body.get("stream")),
        prompt=words_in(items) + words_in(body.get("instructions")),
        body=body,
    )
    return ask, items


def _items(body: JSON, memory: Memory) -> list[JSON]:
    """Return the whole input: what a previous response leads to, and what was sent."""
    before: list[JSON] = []
    previous = body.get("previous_response_id")
    if previous is not None:
        kept = memory.responses.get(previous)
        if kept is None:
            raise Refused(
                f"Previous response with id '{previous}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
        before = [*kept.items, *kept.response["output"]]
    if body.get("conversation") is not None:
        raise Refused("Conversation not found.", "conversation", status=404)
    if body.get("background"):
        raise Refused("The practice backend runs nothing in the background.", "background")
    given = body.get("input")
    if given is None and not before:
        raise Refused(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be"
            " provided.",
            "input",
            "missing_required_parameter",
        )
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    items = [*before, *(given or ())]
    return [_referred(item, memory) for item in items]


def _referred(item: Any, memory: Memory) -> Any:
    """Return ``item``, or the stored one that it refers to."""
    if not isinstance(item, dict) or item.get("type") != "item_reference":
        return item
    for kept in memory.responses.values():
        for each in kept.response["output"]:
            if each["id"] == item.get("id"):
                return each
    raise Refused(f"Item with id '{item.get('id')}' not found.", "input", status=404)


def _offered(tool: JSON) -> list[Offered]:
    """Return the tools that a declaration offers now: those whose loading is put off are none."""
    if tool["type"] == "namespace":
        return [
            Offered(name=each.name, schema=each.schema, custom=each.custom, namespace=tool["name"])
            for inner in tool.get("tools") or ()
            for each in _offered(inner)
        ]
    if tool.get("defer_loading") or tool["type"] not in ("function", "custom"):
        return []
    custom = tool["type"] == "custom"
    return [Offered(name=tool["name"], schema=tool.get("parameters") or {}, custom=custom)]


def _is_said(item: JSON) -> bool:
    """Return whether the item is of an assistant's turn."""
    if "role" in item:
        return bool(item["role"] == "assistant")
    return item.get("type") == "reasoning" or str(item.get("type")).endswith("_call")


def _results(items: list[JSON]) -> tuple[str, ...]:
    """Return the texts of the tool outputs that the model has not answered yet."""
    start = len(items)
    while start and not _is_said(items[start - 1]):
        start -= 1
    return tuple(
        text_of(item["output"]) for item in items[start:] if item.get("type") in known.ANSWERED
    )


def _done(items: list[JSON]) -> int:
    """Tool outputs since the last user text."""
    count = 0
    for item in reversed(items):
        count += item.get("type") in known.ANSWERED
        if item.get("role") == "user" and text_of(item["content"]).strip():
            break
    return count


def _last_user_content(items: list[JSON]) -> Any:
    for item in reversed(items):
        if item.get("type") == "compaction":
            return check_sealed(item)
        if item.get("role") == "user" and text_of(item["content"]).strip():
            return item["content"]
    return ""
