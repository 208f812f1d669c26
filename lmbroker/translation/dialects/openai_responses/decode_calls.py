"""Calls of tools and their results -> parts (translation.md 8.1).

The vendor has items of their own for calls of tools that it defines and the client runs (a shell, a
patch, a computer, a search for tools): they become calls of functions, with the item as it came as
the extra ``item``.
"""

from collections.abc import Callable
from typing import Any

from lmbroker.translation.dialects.openai.call_arguments import read_arguments
from lmbroker.translation.dialects.openai.content_parts import FILES
from lmbroker.translation.dialects.openai.open_calls import OpenCalls
from lmbroker.translation.dialects.openai.request_fields import call_kept
from lmbroker.translation.dialects.openai_responses.decode_content import ORIGIN, read_content
from lmbroker.translation.shared.fields import Fields, wrong_type
from lmbroker.translation.shared.media import parse_data_url
from lmbroker.translation.unified.parts import (
    Extra,
    FileRef,
    ImagePart,
    LossClass,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Url,
    joined_name,
)

TOOL_SEARCH = "tool_search"
"""The name of a client's function by which the model finds further tools."""

CUSTOM = "custom_tool_call"
_SILENT = ("id", "status")
_NOTHING_FOUND = "No tools were found."


def decode_call(item: Fields, kind: str) -> ToolCallPart:
    """Return the call of a function or of a custom tool. Raises Refused."""
    id, namespace, own = item.need_text("call_id"), item.text("namespace"), item.need_text("name")
    name = joined_name(namespace, own)
    extras = (*_silent(item), *call_kept(item))
    if kind == CUSTOM:
        said = item.text("input") or ""
        return ToolCallPart(
            id=id,
            name=name,
            raw_args=said,
            kind="custom",
            namespace=namespace,
            extras=(*extras, *item.rest()),
        )
    value = item.any("arguments")
    given = read_arguments(value, item.at("arguments"))
    if given.altered:
        extras = (*extras, item.extra("arguments", value, "change"))
    return ToolCallPart(
        id=id,
        name=name,
        args=given.args,
        raw_args=given.raw,
        namespace=namespace,
        extras=(*extras, *item.rest()),
    )


def decode_result(
    item: Fields, kind: str, number: int, calls: OpenCalls, raw: dict[str, Any]
) -> ToolResultPart:
    """Return the result of a call of a function or of a custom tool. Raises Refused.

    One that names no call answers the oldest open one, of its tool where it names that.
    """
    output = item.any("output")
    parts = None if output is None else read_content(output, item.at("output"), "tool")
    id, name, namespace = item.text("call_id"), item.text("name"), item.text("namespace")
    extras = _silent(item)
    for key, value in (("name", name), ("namespace", namespace)):
        if value is not None:
            extras.append(item.extra(key, value, "none"))
    if id is None:
        whole = None if name is None else joined_name(namespace, name)
        id = calls.first(whole) or f"call_{number}"
        extras.append(item.extra("item", raw, "none"))
    else:
        calls.answer(id)
    return ToolResultPart(
        call_id=id,
        parts=None if parts is None else tuple(parts),
        as_text=isinstance(output, str),
        kind="custom" if kind.startswith(CUSTOM) else "function",
        extras=(*extras, *call_kept(item), *item.rest()),
    )


def decode_vendor_call(item: Fields, kind: str, number: int, raw: dict[str, Any]) -> ToolCallPart:
    """Return the call of a tool that the vendor defines and the client runs. Raises Refused."""
    name, key = VENDOR_CALLS[kind]
    id = item.text("call_id") or item.text("id") or f"call_{number}"
    value = item.left.get(key)
    if kind == "computer_call" and value is None:
        value = {"actions": item.left.get("actions")}
    given = read_arguments(value, item.at(key))
    loss: LossClass = "none" if name == TOOL_SEARCH else "change"
    extras = (_whole(item, raw, loss),)
    return ToolCallPart(id=id, name=name, args=given.args, raw_args=given.raw, extras=extras)


def decode_vendor_result(
    item: Fields, kind: str, number: int, calls: OpenCalls, raw: dict[str, Any]
) -> ToolResultPart:
    """Return the result of such a call. Raises Refused.

    One that names no call answers the oldest open one.
    """
    reader, loss = VENDOR_RESULTS[kind]
    parts = reader(item)
    id = item.text("call_id")
    if id is None:
        id = calls.first(VENDOR_CALLS[_CALL_OF[kind]][0]) or f"call_{number}"
    else:
        calls.answer(id)
    return ToolResultPart(
        call_id=id,
        parts=parts,
        as_text=all(isinstance(part, TextPart) for part in parts),
        extras=(_whole(item, raw, loss),),
    )


def found_tools(tools: Any) -> str:
    """Return the tools that a search has found as text, one line for each."""
    lines = []
    for tool in tools if isinstance(tools, list) else ():
        held = tool if isinstance(tool, dict) else {}
        inner = held.get("tools")
        if held.get("type") != "namespace" or not isinstance(inner, list):
            inner, namespace = [held], None
        else:
            namespace = held.get("name")
        for each in inner:
            name = each.get("name") if isinstance(each, dict) else None
            if isinstance(name, str) and isinstance(namespace, str | None):
                lines.append(f'Tool "{joined_name(namespace, name)}" is available.')
    return "\n".join(lines) or _NOTHING_FOUND


def _silent(item: Fields) -> list[Extra]:
    found = [(name, item.any(name)) for name in _SILENT if name in item.left]
    return [item.extra(name, value, "none") for name, value in found]


def _whole(item: Fields, raw: dict[str, Any], loss: LossClass) -> Extra:
    return Extra(origin=ORIGIN, name="item", path="input[].type", value=raw, loss=loss)


def _found(item: Fields) -> tuple[TextPart]:
    return (TextPart(text=found_tools(item.left.get("tools"))),)


def _shell(item: Fields) -> tuple[TextPart]:
    """Return the output of shell commands, and how they ended, as text."""
    output = item.left.get("output")
    if not isinstance(output, list):
        return _words(item)
    said = []
    for number, value in enumerate(output):
        held = Fields(value, f"{item.at('output')}[{number}]", ORIGIN)
        said += [text for name in ("stdout", "stderr") if (text := held.text(name))]
        outcome = held.mapping("outcome") or {}
        if outcome.get("type") == "timeout":
            said.append("[timeout]")
        elif outcome.get("exit_code"):
            said.append(f"[exit code {outcome['exit_code']}]")
    return (TextPart(text="\n".join(said)),)


def _words(item: Fields) -> tuple[TextPart]:
    output, status = item.text("output"), item.text("status")
    words = output or status or ""
    return (TextPart(text=f"ERROR: {words}" if status == "failed" and output else words),)


def _screenshot(item: Fields) -> tuple[ImagePart]:
    held = item.need_inside("output")
    url, id = held.text("image_url"), held.text("file_id")
    if url is None and id is None:
        raise wrong_type(held.at("image_url"), "a string", None)
    if url is None:
        return (ImagePart(source=FileRef(id=id or "", origin=FILES)),)
    return (ImagePart(source=parse_data_url(url) or Url(url=url)),)


VENDOR_CALLS = {
    "shell_call": ("shell", "action"),
    "local_shell_call": ("local_shell", "action"),
    "apply_patch_call": ("apply_patch", "operation"),
    "computer_call": ("computer", "action"),
    "tool_search_call": (TOOL_SEARCH, "arguments"),
}
"""Type of such a call -> the name of its function, and the key that holds the arguments."""

VENDOR_RESULTS: dict[
    str, tuple[Callable[[Fields], tuple[TextPart | ImagePart, ...]], LossClass]
] = {
    "shell_call_output": (_shell, "change"),
    "local_shell_call_output": (_words, "change"),
    "apply_patch_call_output": (_words, "change"),
    "computer_call_output": (_screenshot, "change"),
    "tool_search_output": (_found, "none"),
}
"""Type of such a result -> its reader, and the class of its loss elsewhere."""

_CALL_OF = {
    kind: kind.removesuffix("_output") if kind != "tool_search_output" else "tool_search_call"
    for kind in VENDOR_RESULTS
}
"""Type of such a result -> the type of the call that it answers."""
