"""Messages request -> Unified Model (translation.md 2.2).

Every key is accounted for: it has a place in the model, or it is an ``Extra`` that says what
becomes of it where it cannot be carried (``extra_fields``). ``Extra.name`` is the key at its
place; a key of a nested object that has no place of its own is dotted
(``output_config.task_budget``). Extras of class ``none`` may repeat a field that was read, as it
was spelled; a backend of this dialect writes extras last, over what it made itself.
"""

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.anthropic_messages.decode_controls import (
    decode_cache,
    decode_controls,
    decode_sampling,
    decode_stop,
    decode_thread,
    decode_tier,
    decode_user_id,
)
from lmbroker.translation.dialects.anthropic_messages.decode_messages import (
    decode_messages,
    decode_system,
    later_effort,
)
from lmbroker.translation.dialects.anthropic_messages.decode_tools import (
    as_changed,
    decode_tool_choice,
    decode_tools,
)
from lmbroker.translation.dialects.anthropic_messages.extra_fields import ORIGIN, take_extras
from lmbroker.translation.shared.fields import Fields, bad_value, missing
from lmbroker.translation.unified.parts import Extra
from lmbroker.translation.unified.request import Request

PATHS = {
    "stop": "stop_sequences",
    "output": "output_config.format",
    "output_schema": "output_config.format.schema",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "reasoning": "thinking",
    "effort": "output_config.effort",
    "reasoning_part": "messages[].content[].thinking",
    "redacted": "messages[].content[].data",
    "user_id": "metadata.user_id",
    "tier": "service_tier",
    "cache": "cache_control",
    "name": "messages[].name",
    "mid_system": "messages[].role",
    "prefill": "messages[].role",
    "first_assistant": "messages[].role",
    "refusal": "messages[].content[].text",
    "part": "messages[].content[].type",
    "image": "messages[].content[].type",
    "document": "messages[].content[].type",
    "audio": "messages[].content[].type",
    "citations": "messages[].content[].citations",
    "tool_call": "messages[].content[].input",
    "tool_result": "messages[].content[].content",
    "is_error": "messages[].content[].is_error",
    "tool": "tools[].input_schema",
    "strict": "tools[].strict",
    "deferred": "tools[].defer_loading",
    "grammar": "tools[].input_schema",
}
"""Fields of the Unified Model -> their names in this dialect, where these differ."""

_PLAIN_PATHS = {**PATHS, "reasoning": "output_config.effort"}
"""``PATHS`` as ``decode_controls`` changes them for such a request."""


def decode_request(body: JSON) -> Request:
    """Return the Unified Model of a request body.

    Raises Refused (``invalid_request``) with ``param`` = path and ``code`` = ``invalid_type``,
    ``missing_required_parameter`` or ``invalid_value``.
    """
    fields = Fields(body, "", ORIGIN)
    extras: list[Extra] = []
    model = fields.need_text("model")
    max_tokens = fields.integer("max_tokens", least=0)
    if max_tokens is None:
        raise missing("max_tokens")
    continues = "thread" in fields.left and decode_thread(fields, extras)
    messages = fields.items("messages")
    if messages is None:
        raise missing("messages")
    if not messages and not continues:
        raise bad_value("messages", "at least one message is needed")
    system, sources = decode_system(fields)
    extras += sources
    turns, odd = decode_messages(messages)
    level = later_effort(turns)
    stream, stop = _stream(fields, extras), decode_stop(fields, extras)
    sampling = decode_sampling(fields)
    request = Request(
        dialect=ORIGIN,
        model=model,
        system=system,
        turns=turns,
        odd=odd,
        tools=as_changed((), turns),
        max_tokens=max_tokens,
        stop=stop,
        sampling=sampling,
        later_effort=level,
        stream=stream,
        stream_usage=True,
        extras=tuple(extras),
        paths=_PLAIN_PATHS,
    )
    # Most requests have no other fields.
    return request if level is None and not fields.left else _with_rest(request, fields)


def _with_rest(request: Request, fields: Fields) -> Request:
    """Return ``request`` with its rarer fields, and the rest of ``fields`` as extras."""
    paths, extras = dict(PATHS), list[Extra]()
    tools = fields.items("tools")
    if tools is not None and not tools:
        extras.append(fields.extra("tools", tools, "none"))
    tool_choice, parallel_tools, left = decode_tool_choice(fields)
    extras += left
    reasoning, output = decode_controls(fields, paths, extras)
    if request.later_effort is not None:
        paths["effort"] = "messages[].output_config.effort"
        if reasoning is None:
            paths["reasoning"] = paths["effort"]
    return msgspec.structs.replace(
        request,
        tools=as_changed(decode_tools(tools), request.turns) if tools else request.tools,
        tool_choice=tool_choice,
        parallel_tools=parallel_tools,
        reasoning=reasoning,
        output=output,
        user_id=decode_user_id(fields, extras),
        tier=decode_tier(fields, paths, extras),
        cache=decode_cache(fields),
        extras=(*request.extras, *extras, *take_extras(fields, "body"), *fields.rest()),
        paths=paths,
    )


def _stream(fields: Fields, extras: list[Extra]) -> bool:
    stream = fields.boolean("stream")
    if stream is False:
        extras.append(fields.extra("stream", False, "none"))
    return bool(stream)
