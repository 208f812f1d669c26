"""Repairs the shape of a request, whatever field is at fault.

They concern the order of the messages, attachments, reasoning, and the format of the answer.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lmbroker.translation.profiles.profile import ThinkingType
from lmbroker.translation.refusals.sentences import meanings
from lmbroker.workflows.repairs.case import (
    EFFORT_FIELDS,
    THINKING_FIELDS,
    Case,
    Found,
    answer_format,
    conversation,
    forces,
    reasoning_items,
)

_THINKING_TYPE = re.compile(r"[\"'`]?thinking\.type\.(\w+)[\"'`]? is not supported", re.IGNORECASE)


def shapes(case: Case) -> Iterator[Found]:
    """Yield the repairs for sentences that name no field."""
    said = meanings(case.text)
    profile, body = case.profile, case.body
    if said & _OF_REASONING and reasoning_items(body):
        yield from _reasoning_items(case, said)
        return
    if "signature" in said and profile.replay_signed:
        yield "signature", "signature", {}, {"replay_signed": False}
        return
    if "encrypted" in said and "include" in body:
        yield "include", "include", {"omit": ("include",)}, {}
    if "need_instructions" in said and "instructions" not in body:
        yield "instructions", "instructions", {"instructions": "field"}, {}
    if "summary" in said and "summary" in (body.get("reasoning") or {}):
        yield "summary", "reasoning.summary", {"omit": ("reasoning.summary",)}, {}
    if "functions_only" in said and _custom(body):
        yield "custom", "tools[].type", {"custom_tools": False}, {}
    yield from _order(case, said)
    yield from _media(case, said)
    yield from _thoughts(case, said)
    forced = forces(body)
    if "forced_with_thinking" in said and forced:
        yield "tool_choice", "tool_choice", {"forced_tools_with_reasoning": False}, {}
    elif "forced" in said and forced:
        yield "tool_choice", "tool_choice", {"forced_tools": False}, {}
    format, _ = answer_format(body)
    if format and "tools_with_format" in said and body.get("tools"):
        yield "format", format, {}, {"structured_outputs": False, "json_object": False}
    elif (format and "format" in said) or (format and _BARE_TYPE.match(case.text)):
        yield weaker_format(case, format)
    if "strict" in said and _has_strict(body):
        yield "strict", "strict", {"strict_tools": False}, {}
    elif "strict" in said and format:
        yield weaker_format(case, format)


_OF_IDS = frozenset({"item_not_found", "item_without_item", "item_twice"})
"""Meanings of refusals about ids of items of past reasoning."""

_OF_REASONING = _OF_IDS | {"signature", "no_reasoning_items", "no_sealed_items"}
"""Meanings of refusals about items of past reasoning."""


def _reasoning_items(case: Case, said: set[str]) -> Iterator[Found]:
    """Yield the repair that sends past reasoning without ids or signatures, or not at all."""
    if "no_reasoning_items" in said:
        yield "replay", "input[]", {"reasoning_replay": "none"}, {}
        return
    if "no_sealed_items" in said:
        yield "signature", "input[]", {"replay_signed": False}, {}
        return
    named = [item for item in reasoning_items(case.body) if item.get("id")]
    sealed = all(item.get("encrypted_content") for item in reasoning_items(case.body))
    if said & _OF_IDS and named and sealed:
        yield "ids", "input[].id", {"omit": ("input[].id",)}, {}
    elif said & _OF_IDS:
        yield "replay", "input[]", {}, {"reasoning_replay": "none"}
    elif case.profile.replay_signed:
        yield "signature", "input[]", {}, {"replay_signed": False}


def _custom(body: Mapping[str, Any]) -> bool:
    """Return whether the request has tools that take free text."""
    tools = body.get("tools")
    return any(
        isinstance(tool, dict) and tool.get("type") == "custom"
        for tool in (tools if isinstance(tools, list) else ())
    )


def _order(case: Case, said: set[str]) -> Iterator[Found]:
    roles = [each.get("role") for each in conversation(case.body)]
    if "developer_role" in said and "developer" in roles:
        yield "role", "messages[].role", {"system_role": "system"}, {}
        return
    if "call_ids" in said:
        yield from _call_ids(case)
    if "prefill" in said and roles[-1:] == ["assistant"]:
        yield "prefill", "prefill", {"prefill": "no"}, {}
    instructions = [place for place, role in enumerate(roles) if role in ("system", "developer")]
    if case.body.get("instructions"):  # these stand before all others
        instructions = [-1, *instructions]
    later = len(instructions) > 1 or instructions[:1] not in ([], [0], [-1])
    if "instructions_first" in said and later:
        yield "system", "system", {"system_first_only": True}, {}
    elif said & {"no_instructions", "instructions_first"} and instructions:
        change: dict[str, Any] = {"system_role": "user", "system_first_only": True}
        yield "no system", "system", change, {}
    if "after_tool" in said:
        yield "after_tool", "messages[].role", {"after_tool": "merge"}, {}
        if later:
            yield "system", "system", {"system_first_only": True}, {}
    elif "turns" in said:
        change = {"alternate_roles": True, "system_first_only": True}
        yield "roles", "messages[].role", change, {}


def _call_ids(case: Case) -> Iterator[Found]:
    """Yield the repair that gives calls ids in the form that the backend takes."""
    found = re.search(r"maximum length (?:of )?(\d{1,3})\b", case.text)
    if found is not None and 8 <= int(found[1]) <= 64:
        yield "call_ids", "tool_calls[].id", {"tool_id": rf"^[A-Za-z0-9_-]{{1,{found[1]}}}$"}, {}
    elif re.search(r"(?:length of|exactly) (?:exactly )?9\b", case.text):
        yield "call_ids", "tool_calls[].id", {"tool_id": r"^[A-Za-z0-9]{9}$"}, {}


def _media(case: Case, said: set[str]) -> Iterator[Found]:
    """Yield the repairs that put a text in the place of images or documents that are not taken."""
    if "strings_only" in said and _lists(case.body):
        yield "content", "messages[].content", {"content_lists": False}, {}
        said = said | {"attachments"}
    present = dict(_attachments(case.body))
    if "text_results" in said and "tool" in present.get("images", set()) | present.get(
        "documents", set()
    ):
        yield "tool_result_images", "images", {"tool_result_images": False}, {}
        return
    if "only_pdf" in said and "documents" in present:
        yield "documents", "documents", {"files": False}, {}
        return
    listed = _part_types(case.text) if present else set()
    if _BARE_TYPE.match(case.text) and answer_format(case.body)[0]:
        listed = set()
    if not present or not (listed or said & {"images", "documents", "attachments"}):
        return
    if listed:
        kinds = {kind for kind in present if not listed & _PART_TYPES[kind]} or set(present)
    elif "attachments" in said and not said & {"images", "documents"}:
        kinds = set(present)
    else:
        kinds = {kind for kind in ("images", "documents") if kind in said and kind in present}
        if not kinds:
            kinds = set(present)
    in_result = re.search(r"\btool(?: message| role| result|_result)|role:tool", case.text, re.I)
    for kind in sorted(kinds):
        if in_result and present[kind] == {"tool"}:
            yield "tool_result_images", "images", {"tool_result_images": False}, {}
        elif kind == "documents":
            yield "documents", "documents", {"pdf": False}, {}
        elif re.search(r"at most [1-9]\d* image", case.text, re.I):
            yield "images", "images", {}, {"vision": False}
        else:
            yield "images", "images", {"vision": False}, {}


_PART_TYPES = {
    "images": frozenset({"image", "image_url", "input_image"}),
    "documents": frozenset({"document", "file", "input_file"}),
}
"""Kind of attachment -> the types of its parts."""

_TYPE_OF_PART = re.compile(
    r"(?:\bcontent\b|\btag\b|\bpart\b|^\W*type\b)[^\n]{0,160}?(?:allowed values|expected tags?"
    r"|supported(?: types)?|(?:must|should|has to|have to|can only) be(?: one of| either)?"
    r"|field that is(?: either)?|one of|expected(?: one of)?)\W{0,4}(?P<list>[^\n]{0,200})",
    re.IGNORECASE,
)


_BARE_TYPE = re.compile(r"\W*type\W{1,3}input should be 'text'\W*$", re.IGNORECASE)
"""A type without a path: that of the answer's format is tried before that of a part (Cerebras)."""


def _part_types(text: str) -> set[str]:
    """Return the types of parts that the words list as taken; none where they list none."""
    found = _TYPE_OF_PART.search(text)
    if found is None:
        return set()
    listed = set(re.findall(r"['\"`](\w+)['\"`]", "'" + found["list"]))
    listed |= set(re.findall(r"\b(text|image_url|file)\b", found["list"]))
    return listed if "text" in listed else set()


def _lists(body: Mapping[str, Any]) -> bool:
    """Return whether the content of a message is a list."""
    return any(isinstance(each.get("content"), list) for each in conversation(body))


def _attachments(body: Mapping[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """Yield the kinds of attachments in a request, with the roles of their messages.

    A kind is ``images`` or ``documents``.
    """
    found: dict[str, set[str]] = {}
    kinds = {type: kind for kind, types in _PART_TYPES.items() for type in types}
    for message in conversation(body):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            inner = part.get("content") if isinstance(part, dict) else None
            for each in inner if isinstance(inner, list) else ():
                if isinstance(each, dict) and each.get("type") in kinds:
                    found.setdefault(kinds[each["type"]], set()).add("tool")
            if isinstance(part, dict) and part.get("type") in kinds:
                found.setdefault(kinds[part["type"]], set()).add(str(message.get("role")))
    yield from found.items()


def _thoughts(case: Case, said: set[str]) -> Iterator[Found]:
    profile, body = case.profile, case.body
    kind = _THINKING_TYPE.search(case.text)
    refused = kind[1] if kind else "adaptive" if "adaptive" in said else ""
    if refused:
        types = tuple(each for each in profile.thinking_types if each != refused)
        if refused in ("adaptive", "enabled"):
            other: ThinkingType = "enabled" if refused == "adaptive" else "adaptive"
            types = (other, *(each for each in types if each != other))
        yield "thinking", "thinking", {"thinking_types": types}, {}
        return
    if "effort_with_tools" in said:
        yield "effort", "reasoning_effort", {"tools_with_reasoning": False}, {}
        return
    if "thinking" in said and _thinks(body):
        change: dict[str, Any] = {"reasoning_control": "none", "effort": (), "thinking_types": ()}
        yield "thinking", "thinking", change, {}
    elif "must_think" in said:
        yield "thinking", "thinking", {"thinking_default": "always"}, {}
    elif "stay_silent" in said:
        yield "thinking", "enable_thinking", {}, {"never_think": True}
    if "replay_missing" in said:
        change = {"reasoning_replay": "reasoning_content", "replay_required": True}
        yield "replay", "reasoning_content", change, {}


def _thinks(body: Mapping[str, Any]) -> bool:
    """Return whether the request says anything about reasoning."""
    config = body.get("output_config")
    return bool(
        (EFFORT_FIELDS | THINKING_FIELDS).intersection(body)
        or (isinstance(config, dict) and "effort" in config)
    )


def weaker_format(case: Case, field: str) -> Found:
    """Return the next weaker way to ask for a format: schema, object, instruction."""
    kind = answer_format(case.body)[1].get("type")
    if kind == "json_object" or _NO_FORMAT.search(case.text):
        return "no format", field, {"json_object": False, "structured_outputs": False}, {}
    return "format", field, {"structured_outputs": False}, {}


_NO_FORMAT = re.compile(
    r"json mode|json_object[^.\n]{0,40}(?:not|un)|not support stream|with stream", re.IGNORECASE
)
"""Words that refuse any format, not only one with a schema."""


def _has_strict(body: Mapping[str, Any]) -> bool:
    tools = body.get("tools")
    return any(
        isinstance(tool, dict)
        and (tool.get("strict") or (tool.get("function") or {}).get("strict"))
        for tool in (tools if isinstance(tools, list) else ())
    )
