"""Repairs for what is wrong with the shape of a request, whatever field it is in: the order of the
messages, what is attached to them, reasoning, the format of the answer."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lmbroker.adapters.rejection_wordings import meanings
from lmbroker.repairs.case import EFFORT_FIELDS, THINKING_FIELDS, Case, Found, forces

_THINKING_TYPE = re.compile(r"[\"'`]?thinking\.type\.(\w+)[\"'`]? is not supported", re.IGNORECASE)


def shapes(case: Case) -> Iterator[Found]:
    """Repairs for the sentences that name no field."""
    said = meanings(case.text)
    profile, body = case.profile, case.body
    if "signature" in said and profile.replay_signed:
        yield "signature", "signature", {}, {"replay_signed": False}
        return
    yield from _order(case, said)
    yield from _media(case, said)
    yield from _thoughts(case, said)
    forced = forces(body)
    if "forced_with_thinking" in said and forced:
        yield "tool_choice", "tool_choice", {"forced_tools_with_reasoning": False}, {}
    elif "forced" in said and forced:
        yield "tool_choice", "tool_choice", {"forced_tools": False}, {}
    format = _format(body)
    if format and "tools_with_format" in said and body.get("tools"):
        yield "format", format, {}, {"structured_outputs": False, "json_object": False}
    elif format and "format" in said:
        yield "format", format, weaker_format(case), {}
    if "strict" in said and _has_strict(body):
        yield "strict", "strict", {"strict_tools": False}, {}


def _order(case: Case, said: set[str]) -> Iterator[Found]:
    messages = case.body.get("messages")
    roles = [each.get("role") for each in messages or () if isinstance(each, dict)]
    if "developer_role" in said and "developer" in roles:
        yield "role", "messages[].role", {"system_role": "system"}, {}
        return
    if "call_ids" in said:
        yield from _call_ids(case)
    if "prefill" in said and roles[-1:] == ["assistant"]:
        yield "prefill", "prefill", {"prefill": "no"}, {}
    instructions = [place for place, role in enumerate(roles) if role in ("system", "developer")]
    later = any(instructions[place:] for place in (1,)) or instructions[:1] not in ([], [0])
    if "instructions_first" in said and later:
        yield "system", "system", {"system_first_only": True}, {}
    elif "no_instructions" in said and instructions:
        change: dict[str, Any] = {"system_role": "user", "system_first_only": True}
        yield "system", "system", change, {}
    if "after_tool" in said:
        yield "after_tool", "messages[].role", {"after_tool": "merge"}, {}
        if later:
            yield "system", "system", {"system_first_only": True}, {}
    elif "turns" in said:
        change = {"alternate_roles": True, "system_first_only": True}
        yield "roles", "messages[].role", change, {}


def _call_ids(case: Case) -> Iterator[Found]:
    """Ids of calls in the form that the backend takes."""
    found = re.search(r"maximum length (?:of )?(\d{1,3})\b", case.text)
    if found is not None and 8 <= int(found[1]) <= 64:
        yield "call_ids", "tool_calls[].id", {"tool_id": rf"^[A-Za-z0-9_-]{{1,{found[1]}}}$"}, {}
    elif "length of 9" in case.text or "length of exactly 9" in case.text:
        yield "call_ids", "tool_calls[].id", {"tool_id": r"^[A-Za-z0-9]{9}$"}, {}


def _media(case: Case, said: set[str]) -> Iterator[Found]:
    """Images and documents that the model or its server does not take: text in their place."""
    present = dict(_attachments(case.body))
    if not present or not said & {"images", "documents", "attachments"}:
        return
    if "attachments" in said and not said & {"images", "documents"}:
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


def _attachments(body: Mapping[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """What a request has attached, ``images`` or ``documents``, and in messages of which roles."""
    found: dict[str, set[str]] = {}
    kinds = {"image_url": "images", "image": "images", "file": "documents", "document": "documents"}
    for message in body.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
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
            other = "enabled" if refused == "adaptive" else "adaptive"
            types = (other, *(each for each in types if each != other))
        yield "thinking", "thinking", {"thinking_types": types}, {}
        return
    if "effort_with_tools" in said:
        yield "effort", "reasoning_effort", {"tools_with_reasoning": False}, {}
        return
    if "thinking" in said and _thinks(body):
        change: dict[str, Any] = {"reasoning_control": "none", "effort": (), "thinking_types": ()}
        yield "thinking", "thinking", change, {}
    elif "stay_silent" in said:
        yield "thinking", "enable_thinking", {}, {"never_think": True}
    if "replay_missing" in said:
        change = {"reasoning_replay": "reasoning_content", "replay_required": True}
        yield "replay", "reasoning_content", change, {}


def _thinks(body: Mapping[str, Any]) -> bool:
    """Whether the request says anything about reasoning."""
    config = body.get("output_config")
    return bool(
        (EFFORT_FIELDS | THINKING_FIELDS).intersection(body)
        or (isinstance(config, dict) and "effort" in config)
    )


def _format(body: Mapping[str, Any]) -> str:
    """The field with the format of the answer, "" where the request has none."""
    if "response_format" in body:
        return "response_format"
    config = body.get("output_config")
    return "output_config.format" if isinstance(config, dict) and "format" in config else ""


def weaker_format(case: Case) -> dict[str, Any]:
    """The next weaker way to ask for an answer's format: a schema, an object, an instruction."""
    format = case.body.get("response_format")
    kind = format.get("type") if isinstance(format, dict) else ""
    if kind == "json_object" or re.search(r"json mode", case.text, re.IGNORECASE):
        return {"json_object": False, "structured_outputs": False}
    if re.search(r"json_object[^.\n]{0,40}(?:not|un)", case.text):
        return {"structured_outputs": False, "json_object": False}
    return {"structured_outputs": False}


def _has_strict(body: Mapping[str, Any]) -> bool:
    tools = body.get("tools")
    return any(
        isinstance(tool, dict)
        and (tool.get("strict") or (tool.get("function") or {}).get("strict"))
        for tool in (tools if isinstance(tools, list) else ())
    )
