"""The names by which a client of Responses knows what its request may lose (translation.md 0.2).

A path that the client did not send is never reported. So where one thing may stand in several
places, its path is that of the first one which is there.
"""

from collections.abc import Callable, Iterable, Sequence

from lmbroker.translation.dialects.openai_responses.decode_content import ORIGIN
from lmbroker.translation.dialects.openai_responses.odd_items import CHAT_REASONING
from lmbroker.translation.unified.parts import (
    Base64,
    DocumentPart,
    FileRef,
    ImagePart,
    ReasoningPart,
    ToolResultPart,
    Url,
)
from lmbroker.translation.unified.request import Tool, Turn

PATHS = {
    "max_tokens": "max_output_tokens",
    "system": "instructions",
    "output": "text.format",
    "output_schema": "text.format.schema",
    "parallel_tools": "parallel_tool_calls",
    "reasoning": "reasoning",
    "effort": "reasoning.effort",
    "reasoning_part": "input[].encrypted_content",
    "redacted": "input[].encrypted_content",
    "user_id": "user",
    "tier": "service_tier",
    "cache": "prompt_cache_options",
    "cache_key": "prompt_cache_key",
    "cache_retention": "prompt_cache_retention",
    "verbosity": "text.verbosity",
    "name": "input[].name",
    "messages": "input",
    "messages[]": "input[]",
    "mid_system": "input[].role",
    "prefill": "input[].role",
    "first_assistant": "input[].role",
    "refusal": "input[].content[].refusal",
    "part": "input[].type",
    "image": "input[].content[].image_url",
    "document": "input[].content[].file_data",
    "audio": "input[].content[].input_audio",
    "citations": "input[].content[].annotations",
    "tool_call": "input[].arguments",
    "tool_result": "input[].output",
    "is_error": "input[].status",
    "tool": "tools[].parameters",
    "strict": "tools[].strict",
    "grammar": "tools[].format",
    "deferred": "tools[].defer_loading",
}
"""Fields of the Unified Model -> their names in this dialect, where these differ."""

_SAID: dict[str, tuple[str, Callable[[Tool], object]]] = {
    "tool": ("parameters", lambda tool: tool.schema),
    "strict": ("strict", lambda tool: tool.strict),
    "grammar": ("format", lambda tool: tool.grammar),
    "deferred": ("defer_loading", lambda tool: tool.deferred),
}
"""Fields of tools: their names here, and how to see whether the client has set one."""


def paths_of(turns: Iterable[Turn], tools: Sequence[Tool]) -> dict[str, str]:
    """Return the paths of a request with these ``turns`` and ``tools``."""
    paths = dict(PATHS)
    seen: set[str] = set()
    for turn in turns:
        for part in turn.parts:
            _part(part, "content", paths, seen)
    for field, (name, said) in _SAID.items() if tools else ():
        first = next((tool for tool in tools if said(tool)), None)
        if first is not None:
            paths[field] = f"{_place(first)}.{name}"
    return paths


def _place(tool: Tool) -> str:
    place = "input[].tools[]" if tool.standing == "inline" else "tools[]"
    return place if tool.namespace is None else f"{place}.tools[]"


def _part(part: object, within: str, paths: dict[str, str], seen: set[str]) -> None:
    if isinstance(part, ToolResultPart):
        for each in part.parts or ():
            _part(each, "output", paths, seen)
    elif isinstance(part, ImagePart) and "image" not in seen:
        seen.add("image")
        name = "file_id" if isinstance(part.source, FileRef) else "image_url"
        paths["image"] = f"input[].{within}[].{name}"
    elif isinstance(part, DocumentPart) and "document" not in seen:
        seen.add("document")
        name = _SOURCES.get(type(part.source), "type")
        paths["document"] = f"input[].{within}[].{name}"
    elif isinstance(part, ReasoningPart) and "reasoning_part" not in seen:
        seen.add("reasoning_part")
        paths["reasoning_part"] = f"input[].{_held_in(part)}"


def _held_in(part: ReasoningPart) -> str:
    """Return the key under which the item of ``part`` held most of it."""
    signature = part.signature
    if signature == CHAT_REASONING:
        return "reasoning_content"
    if signature is None or signature.origin != ORIGIN or '"enc"' in signature.value:
        return "encrypted_content"
    if not part.text:
        return "type"
    return "content" if '"c"' in signature.value else "summary"


_SOURCES: dict[type, str] = {Base64: "file_data", Url: "file_url", FileRef: "file_id"}
