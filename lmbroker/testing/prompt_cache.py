"""A prompt cache, played: how much of a prompt an earlier one for the same model began with.

A prompt is rendered as words, the same ones in whatever dialect it comes: tools, then system texts,
then the turns. Marks stand between the words, and for what is thought; they are compared, but not
counted. ``BREAK`` stands where the client wants to have all before it in the cache; Anthropic's
caches have nothing else, unless a request asks for all of it.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.testing.ask import text_of

MODEL = "cache"
"""What the names of models have in them that have a cache."""
BREAK = "\0\0"
_BREAKS = ("cache_control", "prompt_cache_breakpoint")
MOST = 2_000_000
"""Beginnings that are remembered; then all is forgotten."""


class PromptCache:
    """The beginnings of all prompts so far."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def read(self, model: str, words: Iterable[str], *, whole: bool) -> tuple[int, int, int]:
        """Return the numbers of words in the prompt, read from the cache, and written to it.

        All further words are written where ``whole``, else those up to the last ``BREAK``.
        """
        if len(self._known) > MOST:
            self._known.clear()
        beginning, count, had, within = hash(model), 0, 0, True
        kept: list[int] = []
        at_break = (0, 0)
        for word in words:
            if word == BREAK:
                self._known.update(kept)
                kept.clear()
                at_break = count, had
                continue
            beginning = hash((beginning, word))
            within = within and beginning in self._known
            if not word.startswith("\0"):
                count += 1
                had += within
            kept.append(beginning)
        if whole:
            self._known.update(kept)
            at_break = count, had
        upto, had = at_break
        return count, had, upto - had


def keeps_whole(body: JSON) -> bool:
    """Return whether a Chat Completions or Responses request has all of its prompt cached."""
    return (body.get("prompt_cache_options") or {}).get("mode") != "explicit"


def chat_words(body: JSON) -> Iterator[str]:
    """Return the prompt of a Chat Completions request."""
    for tool in body.get("tools") or ():
        function = tool.get("function") or tool.get("custom") or {}
        yield from _tool(
            function.get("name"), function.get("description"), function.get("parameters")
        )
    for message in body["messages"]:
        yield _mark(message["role"])
        for key in ("reasoning_content", "reasoning"):
            if message.get(key):
                yield _mark(message[key])
        yield from _content(message.get("content"))
        for call in message.get("tool_calls") or ():
            function = call.get("function") or call.get("custom")
            yield from _call(function["name"], function.get("arguments", function.get("input")))


def messages_words(body: JSON) -> Iterator[str]:
    """Return the prompt of a Messages request."""
    for tool in body.get("tools") or ():
        yield from _tool(tool.get("name"), tool.get("description"), tool.get("input_schema"))
        yield from _break(tool)
    yield _mark("system")
    yield from _content(body.get("system"))
    for message in body["messages"]:
        yield _mark(message["role"])
        content = message["content"]
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if block["type"] == "tool_use":
                yield from _call(block["name"], block["input"])
                yield from _break(block)
            elif block["type"] == "tool_result":
                yield from _content(block.get("content"))
                yield from _break(block)
            elif block["type"] in ("thinking", "redacted_thinking"):
                yield _mark(json.dumps(block))
            else:
                yield from _content([block])


def responses_words(body: JSON, items: list[JSON]) -> Iterator[str]:
    """Return the prompt of a Responses request whose input is ``items``."""
    for tool in body.get("tools") or ():
        inner = tool.get("tools") if tool.get("type") == "namespace" else [tool]
        for each in inner or ():
            yield from _tool(each.get("name"), each.get("description"), each.get("parameters"))
    yield _mark("system")
    yield from _content(body.get("instructions"))
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            yield _mark(item["role"])
            yield from _content(item["content"])
        elif kind in ("function_call", "custom_tool_call"):
            yield from _call(item["name"], item.get("arguments", item.get("input")))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            yield _mark("tool")
            yield from _content(item["output"])
        else:
            yield _mark(json.dumps(item))


def _mark(text: Any) -> str:
    return f"\0{text}"


def _tool(name: Any, description: Any, schema: Any) -> Iterator[str]:
    yield _mark("tool")
    yield str(name)
    yield from str(description or "").split()
    if schema:
        yield from json.dumps(schema, sort_keys=True, separators=(",", ":")).split()


def _content(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield from content.split()
    for part in content if isinstance(content, list) else ():
        if part.get("text") or part.get("type") in ("text", "input_text", "output_text"):
            yield from text_of([part]).split()
        else:
            yield json.dumps({k: v for k, v in part.items() if k not in _BREAKS})
        yield from _break(part)


def _break(holder: JSON) -> Iterator[str]:
    if any(holder.get(key) for key in _BREAKS):
        yield BREAK


def _call(name: str, arguments: Any) -> Iterator[str]:
    yield _mark("call")
    yield name
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            yield from arguments.split()
            return
    yield from json.dumps(arguments, separators=(",", ":")).split()
