"""Writes a chat completion request back as it was decoded, untouched by any rule.

Extras are written last, over what was encoded from the Unified Model: some of them repeat a field
as it was spelled. A dotted name belongs into an object that is there already.
"""

from collections.abc import Sequence
from itertools import groupby

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.native_extras import put_extras
from lmbroker.translation.shared.media import data_url
from lmbroker.translation.unified.parts import (
    AudioPart,
    Base64,
    DocumentPart,
    Extra,
    FileRef,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Url,
)
from lmbroker.translation.unified.request import OutputFormat, Request, Tool, Turn

_MESSAGE = "message."
"""The prefix of the names of a part's extras that belong to its message."""

_TIERS = {"standard": "default"}
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logit_bias",
)
_USER_FIELDS = ("safety_identifier", "user")


def encode_native(request: Request) -> JSON:
    """Return the body from which ``decode_request`` made ``request``, but for the model's name.

    It is equal as JSON, where ``null`` is the same as absent, and a tool or a call without a type
    is a function.
    """
    body: JSON = {"model": request.model, "messages": _instructions(request.system)}
    for turn in request.turns:
        body["messages"] += _turn(turn)
    if request.legacy_functions:
        body["functions"] = [_tool(tool, legacy=True) for tool in request.tools]
    elif request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body[request.path("tool_choice")] = request.tool_choice.raw
    if request.parallel_tools is not None:
        body["parallel_tool_calls"] = request.parallel_tools
    if request.max_tokens is not None:
        body[request.path("max_tokens")] = request.max_tokens
    if request.output is not None and request.path("output") == "response_format":
        body["response_format"] = _format(request.output)
    for name in _SAMPLING:
        value = getattr(request.sampling, name)
        if value is not None:
            body[name] = value
    if request.stop:
        body["stop"] = list(request.stop)
    if request.user_id is not None and request.path("user_id") in _USER_FIELDS:
        body[request.path("user_id")] = request.user_id
    if request.tier is not None:
        body["service_tier"] = _TIERS.get(request.tier, request.tier)
    if request.cache is not None:
        body["prompt_cache_options"] = request.cache.raw
    for name, said in (
        ("prompt_cache_key", request.cache_key),
        ("prompt_cache_retention", request.cache_retention),
        ("verbosity", request.verbosity),
    ):
        if said is not None:
            body[name] = said
    if request.stream:
        body["stream"] = True
    if request.stream_usage:
        body["stream_options"] = {"include_usage": True}
    put_extras(body, request.extras)
    return body


def _of_message(part: Part) -> list[Extra]:
    """Return the extras of a part that belong to its message."""
    return [
        Extra(origin=e.origin, name=e.name.removeprefix(_MESSAGE), path=e.path, value=e.value)
        for e in getattr(part, "extras", ())
        if e.name.startswith(_MESSAGE)
    ]


def _own(part: Part) -> list[Extra]:
    return [e for e in getattr(part, "extras", ()) if not e.name.startswith(_MESSAGE)]


def _instructions(system: Sequence[TextPart]) -> list[JSON]:
    """Return the leading instructions; a part with extras of its message begins a message."""
    numbers, number = [], 0
    for part in system:
        number += bool(_of_message(part))
        numbers.append(number)
    messages = []
    for _, held in groupby(zip(numbers, system, strict=True), key=lambda pair: pair[0]):
        parts = [part for _, part in held]
        message: JSON = {"role": "system"}
        _put_content(message, parts)
        put_extras(message, _of_message(parts[0]))
        messages.append(message)
    return messages


def _turn(turn: Turn) -> list[JSON]:
    """Return the messages of a turn, one for each result of a tool where it holds those."""
    if any(isinstance(part, ToolResultPart) for part in turn.parts):
        return [_result(part) for part in turn.parts if isinstance(part, ToolResultPart)]
    message: JSON = {"role": turn.role}
    if turn.name is not None:
        message["name"] = turn.name
    content, calls = [], []
    for part in turn.parts:
        fields = _of_message(part)
        if fields:
            put_extras(message, fields)
        elif isinstance(part, ToolCallPart):
            calls.append(_call(part))
        else:
            content.append(part)
    _put_content(message, content)
    if calls:
        message["tool_calls"] = calls
    put_extras(message, turn.extras)
    return [message]


def _result(part: ToolResultPart) -> JSON:
    message: JSON = {"role": "tool", "tool_call_id": part.call_id}
    if any(extra.name == "role" for extra in part.extras):
        del message["tool_call_id"]
    if part.as_text:
        message["content"] = "".join(p.text for p in part.parts or () if isinstance(p, TextPart))
    elif part.parts is not None:
        message["content"] = [written for each in part.parts for written in _part(each)]
    message.update((part.cache.raw or {}) if part.cache is not None else {})
    put_extras(message, part.extras)
    return message


def _put_content(message: JSON, parts: Sequence[Part]) -> None:
    content = [written for part in parts for written in _part(part)]
    if len(content) == 1 and set(content[0]) == {"type", "text"}:
        message["content"] = content[0]["text"]
    elif content:
        message["content"] = content


def _part(part: Part) -> list[JSON]:
    """Return a content part; none for reasoning that stands in fields of its message."""
    if isinstance(part, OpaquePart):
        return [part.raw]
    if isinstance(part, ReasoningPart):
        return [extra.value for extra in part.extras if extra.name == "part"]
    written = _written(part)
    cache = getattr(part, "cache", None)
    written.update((cache.raw or {}) if cache is not None else {})
    put_extras(written, _own(part))
    return [written]


def _written(part: Part) -> JSON:
    if isinstance(part, TextPart):
        kind = "refusal" if part.refusal else "text"
        return {"type": kind, kind: part.text}
    if isinstance(part, ImagePart):
        image: JSON = {"url": _url(part.source)}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if isinstance(part, AudioPart):
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
    if isinstance(part, DocumentPart):
        source, file = part.source, dict[str, str]()
        if isinstance(source, FileRef):
            file["file_id"] = source.id
        elif isinstance(source, Base64):
            file["file_data"] = data_url(source)
        if part.filename is not None:
            file["filename"] = part.filename
        return {"type": "file", "file": file}
    return {}


def _url(source: Base64 | Url | FileRef) -> str:
    if isinstance(source, Base64):
        return data_url(source)
    return source.url if isinstance(source, Url) else ""


def _call(part: ToolCallPart) -> JSON:
    if part.kind == "custom":
        custom = {"name": part.name, "input": part.raw_args or ""}
        call: JSON = {"id": part.id, "type": "custom", "custom": custom}
    else:
        arguments = part.args if part.raw_args is None else part.raw_args
        function = {"name": part.name, "arguments": arguments}
        call = {"id": part.id, "type": "function", "function": function}
    put_extras(call, part.extras)
    return call


def _tool(tool: Tool, *, legacy: bool = False) -> JSON:
    if tool.kind == "server":
        return tool.raw or {}
    kind: str = tool.kind
    held: JSON = {"name": tool.name}
    fields = {
        "description": tool.description,
        "parameters": tool.schema,
        "strict": tool.strict,
        "format": tool.grammar,
    }
    held.update((key, value) for key, value in fields.items() if value is not None)
    written: JSON = held if legacy else {"type": kind, kind: held}
    written.update((tool.cache.raw or {}) if tool.cache is not None else {})
    put_extras(written, tool.extras)
    return written


def _format(output: OutputFormat) -> JSON:
    written: JSON = {"type": output.kind}
    if output.kind == "json_schema":
        held = {
            "name": output.name,
            "description": output.description,
            "schema": output.schema,
            "strict": output.strict,
        }
        written["json_schema"] = {k: v for k, v in held.items() if v is not None}
    put_extras(written, output.extras)
    return written
