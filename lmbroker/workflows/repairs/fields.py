"""Repairs for fields that a refusal names: another value, another name, or left out."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lmbroker.translation.refusals.wordings import REFUSING
from lmbroker.translation.shared.reasoning import EFFORTS
from lmbroker.workflows.repairs.case import (
    EFFORT_FIELDS,
    LIMIT_FIELDS,
    THINKING_FIELDS,
    Case,
    Found,
    answer_format,
    forces,
)
from lmbroker.workflows.repairs.limits import stated_range
from lmbroker.workflows.repairs.named_fields import Named, values_of
from lmbroker.workflows.repairs.shapes import weaker_format

_REPLAYED = frozenset({"reasoning_content", "reasoning", "reasoning_details"})
"""Fields of a message that carry past reasoning back."""

_CACHE_FIELDS = frozenset({"cache_control", "prompt_cache_breakpoint"})

KEPT = frozenset(
    {"model", "messages", "system", "instructions", "tools", "stream", "input", "prompt"}
)
"""Fields that are never left out: without them it would be another request."""

_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""The names of the limit of an answer's length that can replace each other."""

_NEEDED = frozenset(
    {
        "arguments",
        "call_id",
        "content",
        "data",
        "description",
        "file",
        "function",
        "id",
        "image_url",
        "input_schema",
        "name",
        "output",
        "parameters",
        "role",
        "source",
        "summary",
        "text",
        "tool_call_id",
        "tool_calls",
        "tool_use_id",
        "type",
        "url",
    }
)
"""Steps below messages and tools that cannot be left out without changing the meaning."""

_ALONE = re.compile(r"with this model|for this model|model does not support|only the default", re.I)
_NO_REASONING = re.compile(r"is not supported with this model\b", re.IGNORECASE)
_EFFORT_PATHS = ("reasoning_effort", "output_config.effort", "reasoning.effort")
_REASONING = re.compile(r"\b(?:think(?:ing)?|reasoning|effort)\b", re.IGNORECASE)
_INVALID = re.compile(r"\binvalid\b|\bnot (?:a )?valid\b", re.IGNORECASE)
_NO_SUCH_TOOL = re.compile(
    r"no (?:function|tool)\b|not found|does not (?:match|exist)|not (?:in|among|one of)",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"tool_choice[`'\"]?(?: type| value)?\W{1,4}(?:required|any|object|dict|function|named)\b",
    re.IGNORECASE,
)
"""Words that name the forced tool choice itself as the mistake."""

_EFFORT_BEFORE = r"(?:effort|(?:thinking|reasoning)[ _]?(?:level|mode))(?: value)?\W{1,4}"


def by_name(case: Case, fields: list[Named]) -> Iterator[Found]:
    """Yield the repairs for fields that the words name.

    An effort may be named by its value.
    """
    conflicts = [each for each in fields if each.verdict == "conflict"]
    for each in _less_needed(conflicts, case):
        yield from _left_out(each, case)
    efforts = False
    for each in fields:
        if each.verdict == "unsupported" or _values_refused(each, case):
            efforts = efforts or each.key in EFFORT_FIELDS
            yield from _field(each, case)
    if not efforts:
        yield from _effort_by_value(case)


def _values_refused(each: Named, case: Case) -> bool:
    """Return whether the value that we sent is none of those that the words list."""
    value = value_at(case.body, each.path)
    if each.verdict == "named":
        if each.path == "tool_choice":
            wrong = _INVALID.search(each.sentence) and not _NO_SUCH_TOOL.search(each.sentence)
            return forces(case.body) and bool(wrong and _CHOICE.search(each.sentence))
        text = value if isinstance(value, str) else ""
        return bool(text) and _INVALID.search(each.sentence) is not None and text in each.sentence
    if each.verdict != "values":
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return REFUSING.search(each.sentence) is not None and stated_range(each.sentence) is None
    if isinstance(value, dict):
        value = value.get("type")
    return not isinstance(value, str) or value not in values_of(each.sentence)


def _less_needed(conflicts: list[Named], case: Case) -> list[Named]:
    """Return which of the fields that exclude each other are left out."""
    order = (
        "top_p",
        "reasoning_effort",
        "parallel_tool_calls",
        "temperature",
        "tool_choice",
        "response_format",
        "thinking",
    )
    ranked = [each for name in order for each in conflicts if each.path == name]
    if not ranked:
        ranked = [each for each in conflicts if each.path.partition(".")[0] not in KEPT]
    return ranked[:1]


def _field(each: Named, case: Case) -> Iterator[Found]:
    path, key, top = each.path, each.key, each.path.partition(".")[0]
    body = case.body
    if key in _CACHE_FIELDS or ".cache_control." in f".{path}.":
        yield "cache", key, {"cache_breakpoints": False}, {}
    elif key == "strict" and top.startswith("tools"):
        # Where the fields of a function are not nested, this one is always written: so it is left
        # out for good.
        flat = any("parameters" in tool for tool in body.get("tools") or () if tool)
        omit = {"omit": (path,)} if flat else {}
        yield "strict", "strict", {"strict_tools": False, **omit}, {}
    elif path in LIMIT_FIELDS:
        other = _OTHER_NAMES.get(path)
        if each.verdict == "unsupported" and other is None:
            yield from _left_out(each, case)
        elif each.verdict == "unsupported":
            yield "limit_field", path, {"max_tokens_field": other}, {}
    elif top == "response_format" or path.startswith(("output_config.format", "text.format")):
        if path.endswith((".strict", ".description")):
            yield "format", path, {"omit": (path,)}, {}
        else:
            yield weaker_format(case, answer_format(body)[0] or top)
    elif key in EFFORT_FIELDS:
        yield from _effort(each, case)
    elif top in THINKING_FIELDS:
        yield from _thinking(each, case)
    elif top == "tool_choice":
        if path != "tool_choice":
            yield f"omit {path}", path, {"omit": (path,)}, {}
        elif _allows_some(body):
            yield "tool_choice", path, {"allowed_tools": False}, {}
        elif forces(body):
            yield "tool_choice", path, {"forced_tools": False}, {}
        else:
            yield f"omit {path}", path, {"omit": (path,)}, {}
    elif path == "instructions":
        yield "instructions", path, {"instructions": "message"}, {}
    elif (key in _REPLAYED and top.startswith("messages")) or path == "input[].encrypted_content":
        yield "replay", key, {"reasoning_replay": "none"}, {}
    elif top in ("messages[]", "input[]") and key == "role" and each.verdict == "values":
        values = values_of(each.sentence)
        if "developer" not in values and case.profile.system_role == "developer":
            yield "role", path, {"system_role": "system"}, {}
    elif top == "stream_options":
        yield "stream_options", top, {"stream_options": False}, {}
    elif path in ("stop", "stop_sequences"):
        yield "stop", path, {"stop": False}, {}
    else:
        yield from _left_out(each, case)


def _allows_some(body: Mapping[str, Any]) -> bool:
    """Return whether the choice of a tool names those that may be called."""
    choice = body.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") == "allowed_tools"


def _left_out(each: Named, case: Case) -> Iterator[Found]:
    path, key = each.path, each.key
    top = path.partition(".")[0].removesuffix("[]")
    if top in KEPT and (path == top or "." not in path or key in _NEEDED):
        return
    out: tuple[str, ...] = (path,)
    alone = path in ("temperature", "top_p") and each.verdict != "conflict"
    if alone and _ALONE.search(each.sentence):
        # A model that reasons takes neither of these.
        out = tuple(name for name in ("temperature", "top_p") if name in case.body)
    yield f"omit {path}", path, {"omit": out}, {}


def _effort_by_value(case: Case) -> Iterator[Found]:
    """Return an effort that is quoted, where the words speak of reasoning or list other levels."""
    path = next((path for path in _EFFORT_PATHS if isinstance(value_at(case.body, path), str)), "")
    wanted = value_at(case.body, path) if path else None
    quoted = (
        rf"[\"'`]{re.escape(wanted)}[\"'`]|{_EFFORT_BEFORE}{re.escape(wanted)}\b" if wanted else ""
    )
    if not quoted or not re.search(quoted, case.text, re.IGNORECASE):
        return
    levels = [level for level in EFFORTS if level in values_of(case.text) and level != wanted]
    refused = REFUSING.search(case.text) or _INVALID.search(case.text)
    if refused and (levels or _REASONING.search(case.text)):
        yield from _effort(Named(path, "values", case.text), case)


def _effort(each: Named, case: Case) -> Iterator[Found]:
    """Yield the repair that asks for another listed level of effort, or for none at all."""
    listed = values_of(case.text)
    wanted = value_at(case.body, each.path)
    levels = tuple(level for level in EFFORTS if level in listed and level != wanted)
    if levels and (wanted == "none" or levels != ("none",)):
        yield "effort", each.key, {"effort": levels}, {}
    elif each.path == "output_config.effort":
        yield "effort out", each.key, {"effort": ()}, {}
    elif each.path == "reasoning.effort" and _NO_REASONING.search(each.sentence):
        # OpenAI refuses these one after the other for models that do not reason, which take none of
        # them.
        yield "effort out", each.key, {"omit": ("reasoning", "include")}, {}
    else:
        yield "effort out", each.key, {"omit": (each.path,)}, {}


def value_at(body: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path of object fields, None where there is none."""
    """Return the value at a dotted path of object fields, None where there is none."""
    here: Any = body
    for step in path.split("."):
        here = here.get(step) if isinstance(here, dict) else None
    return here


def _thinking(each: Named, case: Case) -> Iterator[Found]:
    """Yield the repairs that put thinking into another field, or leave it out."""
    path = each.path
    if "." in path and path.rpartition(".")[2] not in ("type", "enabled", "enable_thinking"):
        yield f"omit {path}", path, {"omit": (path,)}, {}
        return
    profile = case.profile
    if path.startswith("thinking") and profile.thinking_types:
        values = values_of(each.sentence) if each.verdict == "values" else []
        types = tuple(word for word in values if word in ("adaptive", "enabled", "disabled"))
        yield "thinking", "thinking", {"thinking_types": types}, {}
        return
    other = "effort" if profile.effort and REFUSING.search(each.sentence) else "none"
    if other != profile.reasoning_control:
        yield "thinking", path, {"reasoning_control": other}, {}
    else:
        yield f"omit {path}", path, {"omit": (path,)}, {}
