"""Writes a Responses request back as it was decoded, untouched by any rule.

Extras are written last, over what was encoded from the Unified Model: some of them repeat a field
as it was spelled. ``decode_items`` says which ones stand for more than a field.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.native_extras import put_extras
from lmbroker.translation.dialects.openai_responses.encode_reasoning import whole_item
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
    own_name,
)
from lmbroker.translation.unified.request import Request, Tool, Turn

_STRUCTURE = frozenset(
    ("before", "content", "input_after", "instructions", "item", "message", "part")
)
"""Names of extras that are not fields of their object."""

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logit_bias",
)
_TIERS = {"standard": "default"}
_USER_FIELDS = ("safety_identifier", "user")
_TEXTS = {"user": "input_text", "system": "input_text", "assistant": "output_text"}
"""The type of a text in a message of a role."""


def encode_native(request: Request) -> JSON:
    """Return the body from which ``decode_request`` made ``request``, but for the model's name.

    It is equal as JSON, where ``null`` is the same as absent, and a type that may be omitted the
    same as that type.
    """
    items = _Items()
    body: JSON = {"model": request.model, "input": items.written}
    for part in request.system:
        if "instructions" in _named(part.extras):
            body["instructions"] = part.text
        else:
            items.say("system", part)
    for turn in request.turns:
        items.turn(turn)
    tools = _tools(request.tools)
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice.raw
    fields = {
        "parallel_tool_calls": request.parallel_tools,
        "max_output_tokens": request.max_tokens,
        "prompt_cache_key": request.cache_key,
        "prompt_cache_retention": request.cache_retention,
        "prompt_cache_options": None if request.cache is None else request.cache.raw,
        "service_tier": _TIERS.get(request.tier or "", request.tier),
        "stream": request.stream or None,
        **{name: getattr(request.sampling, name) for name in _SAMPLING},
    }
    if request.path("user_id") in _USER_FIELDS:
        fields[request.path("user_id")] = request.user_id
    body.update((name, value) for name, value in fields.items() if value is not None)
    named = _named(request.extras)
    items.written += named.pop("input_after", ())
    _put(body, request.extras)
    return body


def _named(extras: Iterable[Extra]) -> dict[str, Any]:
    """Return the extras by their names, without reports of repairs."""
    return {extra.name: extra.value for extra in extras if extra.origin}


def _put(target: JSON, extras: Iterable[Extra]) -> None:
    """Write the extras that are fields of ``target`` into it."""
    put_extras(target, [e for e in extras if e.origin and e.name not in _STRUCTURE])


class _Items:
    """Collects the items of a request."""

    def __init__(self) -> None:
        self.written: list[JSON] = []
        self._content: list[JSON] | None = None
        """The content of the message that is being written, to which further parts are added."""

    def turn(self, turn: Turn) -> None:
        """Write a turn: one message, or the items of the model, or results."""
        self._content = None
        if turn.role == "assistant":
            for part in turn.parts:
                self.say(turn.role, part)
            return
        named = _named(turn.extras)
        self.written += named.get("before", ())
        if not turn.parts and not named:  # an empty turn for a request without any
            return
        if turn.parts and all(isinstance(part, ToolResultPart) for part in turn.parts):
            for part in turn.parts:
                self._item(part)
            return
        if "message" not in named and _is_item(turn.parts):
            self._item(turn.parts[0])
            return
        message: JSON = {"type": "message", "role": turn.role, **named.get("message", {})}
        if turn.name is not None:
            message["name"] = turn.name
        message["content"] = [_content_part(part, turn.role) for part in turn.parts]
        self._finish(message, turn.extras)

    def say(self, role: str, part: Part) -> None:
        """Write a part of instructions or of the model's answer.

        A text that has no message of its own belongs to the one before.
        """
        extras = getattr(part, "extras", ())
        named = _named(extras)
        self.written += named.get("before", ())
        if "message" in named:
            self._content = [_content_part(part, role)]
            message: JSON = {"type": "message", "role": role, **named["message"]}
            self._finish({**message, "content": self._content}, extras, own=())
        elif isinstance(part, TextPart | ImagePart | DocumentPart | AudioPart):
            if self._content is None:
                self._content = []
                self.written.append({"type": "message", "role": role, "content": self._content})
            self._content.append(_content_part(part, role))
        elif isinstance(part, OpaquePart) and self._content is not None and part.text is None:
            self._content.append(part.raw)
        else:
            self._content = None
            self._item(part)

    def _finish(self, message: JSON, extras: Iterable[Extra], own: Any = None) -> None:
        """Add a message with its content as it was spelled."""
        extras = tuple(extras)
        named = _named(extras)
        if "content" in named:
            message["content"] = named["content"]
        if own is None:
            _put(message, extras)
        self.written.append(message)

    def _item(self, part: Part) -> None:
        extras = getattr(part, "extras", ())
        named = _named(extras)
        if isinstance(part, ToolResultPart):
            self.written += named.get("before", ())
        if "item" in named:
            self.written.append(named["item"])
            return
        if isinstance(part, OpaquePart):
            self.written.append(part.raw)
            return
        if isinstance(part, ReasoningPart):
            item = whole_item(part)
        elif isinstance(part, ToolCallPart):
            item = _call(part)
        elif isinstance(part, ToolResultPart):
            item = _result(part)
        else:
            return
        if isinstance(part, ReasoningPart) and "content" in named:
            item["content"] = named["content"]
        _put(item, extras)
        self.written.append(item)


def _is_item(parts: Sequence[Part]) -> bool:
    """Return whether the parts of a user's turn are one item that is no message."""
    only = parts[0] if len(parts) == 1 else None
    return isinstance(only, OpaquePart) and not only.type.startswith("input_")


def _call(part: ToolCallPart) -> JSON:
    item: JSON = {"call_id": part.id, "name": own_name(part.namespace, part.name)}
    if part.namespace is not None:
        item["namespace"] = part.namespace
    if part.kind == "custom":
        return {"type": "custom_tool_call", **item, "input": part.raw_args or ""}
    arguments = part.args if part.raw_args is None else part.raw_args
    return {"type": "function_call", **item, "arguments": arguments}


def _result(part: ToolResultPart) -> JSON:
    kind = "custom_tool_call_output" if part.kind == "custom" else "function_call_output"
    item: JSON = {"type": kind, "call_id": part.call_id}
    if part.as_text:
        item["output"] = "".join(p.text for p in part.parts or () if isinstance(p, TextPart))
    elif part.parts is not None:
        item["output"] = [_content_part(each, "user") for each in part.parts]
    return item


def _content_part(part: Part, role: str) -> JSON:
    extras = getattr(part, "extras", ())
    named = _named(extras)
    if "part" in named:
        return dict(named["part"])
    if isinstance(part, OpaquePart):
        return part.raw
    written = _written(part, role)
    cache = getattr(part, "cache", None)
    written.update((cache.raw or {}) if cache is not None else {})
    _put(written, extras)
    return written


def _written(part: Part, role: str) -> JSON:
    if isinstance(part, TextPart):
        if part.refusal:
            return {"type": "refusal", "refusal": part.text}
        return {"type": _TEXTS[role], "text": part.text}
    if isinstance(part, AudioPart):
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
    if isinstance(part, ImagePart):
        image: JSON = {"type": "input_image"}
        if isinstance(part.source, FileRef):
            image["file_id"] = part.source.id
        else:
            image["image_url"] = _url(part.source)
        if part.detail is not None:
            image["detail"] = part.detail
        return image
    if not isinstance(part, DocumentPart):
        return {}
    file: JSON = {"type": "input_file"}
    if isinstance(part.source, FileRef):
        file["file_id"] = part.source.id
    elif isinstance(part.source, Base64):
        file["file_data"] = data_url(part.source)
    elif isinstance(part.source, Url):
        file["file_url"] = part.source.url
    if part.filename is not None:
        file["filename"] = part.filename
    return file


def _url(source: Base64 | Url) -> str:
    return data_url(source) if isinstance(source, Base64) else source.url


def _tools(tools: Iterable[Tool]) -> list[JSON]:
    """Return the tools that the request itself offers, those of a namespace inside it."""
    written: list[JSON] = []
    inside: list[JSON] = []
    for tool in tools:
        if tool.standing == "inline":
            continue
        if tool.namespace is None:
            written.append(_tool(tool, tool.name))
            continue
        own = _named(tool.extras).get("namespace")
        if own is not None:
            inside = []
            written.append(
                {"type": "namespace", "name": tool.namespace.name, **own, "tools": inside}
            )
        inside.append(_tool(tool, own_name(tool.namespace.name, tool.name)))
    return written


def _tool(tool: Tool, name: str) -> JSON:
    named: Mapping[str, Any] = _named(tool.extras)
    if tool.kind == "server":
        return tool.raw or {}
    if "tool" in named:
        return dict(named["tool"])
    fields = {
        "description": tool.description,
        "parameters": tool.schema,
        "strict": tool.strict,
        "format": tool.grammar,
        "defer_loading": tool.deferred or None,
    }
    written: JSON = {"type": tool.kind, "name": name}
    written.update((key, value) for key, value in fields.items() if value is not None)
    _put(written, [extra for extra in tool.extras if extra.name != "namespace"])
    return written
