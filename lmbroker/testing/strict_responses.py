"""Refuses Responses requests that OpenAI would refuse, in its words.

Sources: OpenAI's API reference, and the errors that its API is known to give.
"""

import re
from collections.abc import Container, Mapping
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.testing import fields_responses as known
from lmbroker.testing.ask import Refused
from lmbroker.testing.sealed import unsealed

NAME = re.compile(r"[a-zA-Z0-9_-]+")
LONGEST_NAME = 128
LONGEST_CALL_ID = 64
LEAST_OUTPUT = 16
"""The smallest ``max_output_tokens``."""

SHAPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "model": ((str,), "a string"),
    "instructions": ((str,), "a string"),
    "stream": ((bool,), "a boolean"),
    "store": ((bool,), "a boolean"),
    "parallel_tool_calls": ((bool,), "a boolean"),
    "max_output_tokens": ((int,), "an integer"),
    "temperature": ((int, float), "a decimal"),
    "top_p": ((int, float), "a decimal"),
    "tools": ((list,), "an array of objects"),
    "include": ((list,), "an array of strings"),
    "reasoning": ((dict,), "an object"),
    "text": ((dict,), "an object"),
    "metadata": ((dict,), "an object"),
    "prompt_cache_key": ((str,), "a string"),
    "input": ((str, list), "one of a string or array of input items"),
}
"""Of what type a field is, and how errors say it."""


def check_request(body: JSON, fields: frozenset[str]) -> None:
    """Raise Refused where a field of the top level, of a tool or of the format is wrong."""
    _known(body, fields, "")
    if "model" not in body:
        raise Refused("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    for key, (types, expected) in SHAPES.items():
        value = body.get(key)
        right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if value is not None and not right:
            raise _wrong_type(key, expected, value)
    most = body.get("max_output_tokens")
    if most is not None and most < LEAST_OUTPUT:
        raise Refused(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= "
            f"{LEAST_OUTPUT}, but got {most} instead.",
            "max_output_tokens",
            "integer_below_min_value",
        )
    for place, name in enumerate(body.get("include") or ()):
        if name not in known.INCLUDABLE:
            raise _wrong_value(f"include[{place}]", name, sorted(known.INCLUDABLE))
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Refused(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    tools = body.get("tools") or []
    for place, tool in enumerate(tools):
        _check_tool(tool, f"tools[{place}]")
    _check_choice(body.get("tool_choice"), tools)
    _check_format((body.get("text") or {}).get("format") or {})


def check_items(
    items: list[JSON], needs: Mapping[str, str], kept: Container[str], *, stores: bool
) -> None:
    """Raise Refused where an item of the input is wrong, or lacks an item that belongs to it.

    ``needs``: id of a stored item -> id of the reasoning that led to it. ``kept``: ids of reasoning
    that the backend has stored. ``stores``: the answer is to be stored, and ids mean something.
    """
    seen: set[str] = set()
    open_calls: dict[str, str] = {}
    for place, item in enumerate(items):
        path = f"input[{place}]"
        kind = _check_item(item, path)
        id = item.get("id")
        if id is not None and kind not in ("message", "item_reference"):
            if id in seen:
                raise Refused(
                    f"Duplicate item found with id {id}. Remove duplicate items from your input"
                    " and try again.",
                    "input",
                )
            seen.add(id)
        if kind == "reasoning":
            _check_reasoning(item, kept)
            _check_follower(item, items[place + 1] if place + 1 < len(items) else {}, stores)
        if kind == "compaction":
            check_sealed(item)
        if needs.get(id or "", id) not in (id, *seen):
            raise Refused(
                f"Item '{id}' of type '{kind}' was provided without its required 'reasoning' item:"
                f" '{needs[id or '']}'.",
                "input",
            )
        if kind in ("function_call", "custom_tool_call"):
            open_calls[item["call_id"]] = kind.replace("_", " ")
        elif kind in known.ANSWERED:
            if item["call_id"] not in open_calls:
                raise Refused(
                    f"No tool call found for {known.ANSWERED[kind]} output with call_id"
                    f" {item['call_id']}.",
                    "input",
                )
            open_calls[item["call_id"]] = ""
    for call_id, what in open_calls.items():
        if what:
            raise Refused(f"No tool output found for {what} {call_id}.", "input")


def _check_item(item: Any, path: str) -> str:
    """Return the type of an item; raises Refused where its fields are wrong."""
    if not isinstance(item, dict):
        raise _wrong_type(path, "an object", item)
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    if kind not in known.ITEMS:
        raise _wrong_value(path, kind, sorted(known.ITEMS))
    _known(item, known.ITEMS[kind], path + ".")
    begins = known.ID_BEGINS.get(kind, "")
    id = item.get("id")
    if id is not None and not str(id).startswith(begins):
        raise Refused(
            f"Invalid '{path}.id': '{id}'. Expected an ID that begins with '{begins}'.",
            f"{path}.id",
            "invalid_value",
        )
    if kind == "message":
        _check_message(item, path)
    elif kind in ("function_call", "custom_tool_call"):
        text = "arguments" if kind == "function_call" else "input"
        _check_strings(item, ("call_id", "name", text), path)
    elif kind in known.ANSWERED:
        _check_strings(item, ("call_id",), path)
        _check_content(item.get("output"), ("input_text", "input_image", "input_file"), path)
    elif kind == "reasoning" and not isinstance(item.get("summary"), list):
        raise _missing(f"{path}.summary")
    return kind


def _check_message(item: JSON, path: str) -> None:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise _wrong_value(f"{path}.role", role, ["assistant", "system", "developer", "user"])
    allowed: tuple[str, ...] = ("input_text", "input_image", "input_file")
    if role == "assistant":
        allowed = ("output_text", "refusal")
    _check_content(item.get("content"), allowed, path)


def _check_content(content: Any, allowed: tuple[str, ...], path: str) -> None:
    if content is None:
        raise _missing(f"{path}.content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _wrong_type(f"{path}.content", "one of a string or array of parts", content)
    for place, part in enumerate(content):
        where = f"{path}.content[{place}]"
        if not isinstance(part, dict):
            raise _wrong_type(where, "an object", part)
        kind = part.get("type")
        if kind not in allowed:
            raise _wrong_value(where, kind, list(allowed))
        _known(part, known.PARTS[kind], where + ".")
        if kind in ("input_text", "output_text", "refusal"):
            _check_strings(part, ("refusal" if kind == "refusal" else "text",), where)


def _check_strings(item: JSON, keys: tuple[str, ...], path: str) -> None:
    for key in keys:
        if key not in item:
            raise _missing(f"{path}.{key}")
        if not isinstance(item[key], str):
            raise _wrong_type(f"{path}.{key}", "a string", item[key])
        if key == "call_id" and len(item[key]) > LONGEST_CALL_ID:
            raise Refused(
                f"Invalid '{path}.call_id': string too long. Expected a string with maximum length"
                f" {LONGEST_CALL_ID}, but got a string with length {len(item[key])} instead.",
                f"{path}.call_id",
                "string_above_max_length",
            )
        if key == "name":
            _check_name(item[key], f"{path}.name")


def _check_reasoning(item: JSON, kept: Container[str]) -> None:
    id = item.get("id")
    if item.get("encrypted_content") is None:
        if id not in kept:
            raise Refused(
                f"Item with id '{id}' not found. Items are not persisted when `store` is set to"
                " false. Try again with `store` set to true, or remove this item from your input.",
                "input",
                status=404,
            )
        return
    check_sealed(item)


def check_sealed(item: JSON) -> str:
    """Return the text sealed in ``encrypted_content``.

    Raises Refused where it was changed, or belongs to another item.
    """
    id = item.get("id")
    try:
        sealed_id, text = unsealed(item["encrypted_content"])
    except (ValueError, KeyError):
        raise Refused(
            f"The encrypted content for item {id} could not be verified. Reason: Encrypted content"
            " could not be decrypted or parsed.",
            code="invalid_encrypted_content",
        ) from None
    if id is not None and id != sealed_id:
        raise Refused(
            f"The encrypted content for item {id} could not be verified. Reason: Encrypted content"
            " item_id did not match the target item id.",
            code="invalid_encrypted_content",
        )
    return text


def _check_follower(item: JSON, following: JSON, stores: bool) -> None:
    """Check that what the model said after thinking follows its reasoning.

    Where answers are stored, its id must be there, too.
    """
    kind = following.get("type") or ("message" if "role" in following else "")
    said = kind == "reasoning" or kind.endswith("_call")
    if kind == "message" and following.get("role") == "assistant":
        said = "id" in following or "id" not in item or not stores
    if not said:
        raise Refused(
            f"Item '{item.get('id')}' of type 'reasoning' was provided without its required"
            " following item.",
            "input",
        )


def _check_tool(tool: Any, path: str) -> None:
    if not isinstance(tool, dict):
        raise _wrong_type(path, "an object", tool)
    given = str(tool.get("type"))
    kind = re.sub(r"_20\d\d_\d\d_\d\d$|_20\d{6}$", "", given)
    if kind not in known.TOOLS:
        raise _wrong_value(path, given, sorted(known.TOOLS))
    _known(tool, known.TOOLS[kind], path + ".")
    if kind in ("function", "custom", "namespace"):
        if "name" not in tool:
            raise _missing(f"{path}.name")
        _check_name(tool["name"], f"{path}.name")
    if kind == "function" and tool.get("strict") is True:
        wrong = _not_strict(tool.get("parameters"))
        if wrong:
            raise Refused(
                f"Invalid schema for function '{tool['name']}': {wrong}",
                f"{path}.parameters",
                "invalid_function_parameters",
            )
    if kind == "namespace":
        for place, inner in enumerate(tool.get("tools") or ()):
            _check_tool(inner, f"{path}.tools[{place}]")


def _check_name(name: Any, path: str) -> None:
    if not isinstance(name, str):
        raise _wrong_type(path, "a string", name)
    if not NAME.fullmatch(name):
        raise Refused(
            f"Invalid '{path}': string does not match pattern. Expected a string that matches the"
            " pattern '^[a-zA-Z0-9_-]+$'.",
            path,
            "invalid_value",
        )
    if len(name) > LONGEST_NAME:
        raise Refused(
            f"Invalid '{path}': string too long. Expected a string with maximum length"
            f" {LONGEST_NAME}, but got a string with length {len(name)} instead.",
            path,
            "string_above_max_length",
        )


def _check_choice(choice: Any, tools: list[JSON]) -> None:
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom"):
        offered = [*tools, *(inner for tool in tools for inner in tool.get("tools") or ())]
        if choice.get("name") not in [tool.get("name") for tool in offered]:
            raise Refused(
                f"Tool choice '{choice.get('name')}' not found in 'tools' parameter.",
                "tool_choice",
            )


def _check_format(form: JSON) -> None:
    if form.get("type") != "json_schema":
        return
    for key in ("name", "schema"):
        if key not in form:
            raise _missing(f"text.format.{key}")
    _check_name(form["name"], "text.format.name")
    wrong = _not_strict(form["schema"]) if form.get("strict") is True else ""
    if wrong:
        raise Refused(
            f"Invalid schema for response_format '{form['name']}': {wrong}",
            "text.format.schema",
            "invalid_json_schema",
        )


def _not_strict(schema: Any) -> str:
    """Return why ``schema`` does not do for strict use; "" where it does."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(schema, ())]
    while waiting:
        each, context = waiting.pop()
        if not isinstance(each, dict):
            continue
        properties = each.get("properties")
        if each.get("type") == "object" or properties is not None:
            if each.get("additionalProperties") is not False:
                return (
                    f"In context={context}, 'additionalProperties' is required to be supplied and"
                    " to be false."
                )
            if set(properties or ()) != set(each.get("required") or ()):
                return (
                    f"In context={context}, 'required' is required to be supplied and to be an"
                    " array including every key in properties."
                )
        for key in ("properties", "$defs", "definitions"):
            inner = each.get(key)
            if isinstance(inner, dict):
                waiting += [(value, (*context, key, name)) for name, value in inner.items()]
        waiting.append((each.get("items"), (*context, "items")))
        for key in ("anyOf", "allOf", "oneOf"):
            waiting += [
                (value, (*context, key, str(place)))
                for place, value in enumerate(each.get(key) or ())
            ]
    return ""


def _known(given: JSON, fields: frozenset[str], path: str) -> None:
    for key in given:
        if key not in fields:
            name = path + key
            raise Refused(f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def _missing(path: str) -> Refused:
    return Refused(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")


def _wrong_type(path: str, expected: str, value: Any) -> Refused:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    got = "null" if value is None else names.get(type(value), "a number")
    return Refused(
        f"Invalid type for '{path}': expected {expected}, but got {got} instead.",
        path,
        "invalid_type",
    )


def _wrong_value(path: str, value: Any, supported: list[str]) -> Refused:
    names = " and ".join(f"'{each}'" for each in supported)
    return Refused(
        f"Invalid value: '{value}'. Supported values are: {names}.", path, "invalid_value"
    )
