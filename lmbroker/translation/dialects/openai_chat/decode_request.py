"""Chat completion request -> Unified Model (translation.md 2.1).

Every key is accounted for: it has a place in the model, or it is an ``Extra`` that says what
becomes of it where it cannot be carried. ``Extra.name`` is the key at its place; a key of a
nested object that has no place of its own is dotted (``stream_options.include_obfuscation``).
Extras of class ``none`` may repeat a field that was read, as it was spelled; a backend of this
dialect writes extras last, over what it made itself.
"""

from typing import Any, get_args

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.request_fields import (
    cache_policy,
    json_schema,
    sampling,
    tier,
    user_id,
)
from lmbroker.translation.dialects.openai_chat.decode_messages import decode_messages
from lmbroker.translation.dialects.openai_chat.decode_reasoning import REASONING_FIELDS
from lmbroker.translation.dialects.openai_chat.decode_tools import (
    decode_functions,
    decode_tool_choice,
    decode_tools,
)
from lmbroker.translation.shared.fields import Fields, bad_value, missing, wrong_type
from lmbroker.translation.unified.parts import Extra, LossClass, ReasoningPart
from lmbroker.translation.unified.request import (
    Effort,
    OutputFormat,
    Reasoning,
    Request,
    Tool,
)

ORIGIN = "openai"

PATHS = {
    "max_tokens": "max_completion_tokens",
    "system": "messages[].content",
    "output": "response_format",
    "output_schema": "response_format.json_schema.schema",
    "parallel_tools": "parallel_tool_calls",
    "reasoning": "reasoning_effort",
    "effort": "reasoning_effort",
    "reasoning_part": "messages[].reasoning_details",
    "redacted": "messages[].reasoning_details",
    "user_id": "user",
    "tier": "service_tier",
    "cache": "prompt_cache_options",
    "cache_key": "prompt_cache_key",
    "cache_retention": "prompt_cache_retention",
    "name": "messages[].name",
    "mid_system": "messages[].role",
    "prefill": "messages[].role",
    "first_assistant": "messages[].role",
    "refusal": "messages[].refusal",
    "part": "messages[].content[].type",
    "image": "messages[].content[].image_url",
    "document": "messages[].content[].file",
    "audio": "messages[].content[].input_audio",
    "tool_call": "messages[].tool_calls",
    "tool_result": "messages[].content",
    "tool": "tools[].function.parameters",
    "strict": "tools[].function.strict",
    "grammar": "tools[].custom.format",
}
"""Fields of the Unified Model -> their names in this dialect, where these differ."""

_EFFORTS = get_args(Effort)
_SOFT = ("moderation", "web_search_options")
_REASONING = frozenset(("reasoning_effort", "reasoning", "output_config", "thinking"))
_THINKING = {
    "disabled": "off",
    "between_tools": "between_tools",
    "adaptive": "adaptive",
    "enabled": "adaptive",
}


def decode_request(body: JSON) -> Request:
    """Return the Unified Model of a request body.

    Raises Refused (``invalid_request``) with ``param`` = path and ``code`` = ``invalid_type``,
    ``missing_required_parameter`` or ``invalid_value``.
    """
    fields = Fields(body, "", ORIGIN)
    paths = dict(PATHS)
    extras: list[Extra] = []
    model = fields.need_text("model")
    messages = fields.items("messages")
    if messages is None:
        raise missing("messages")
    if not messages:
        raise bad_value("messages", "at least one message is needed")
    system, turns, odd = decode_messages(messages)
    reasoned = [e.path for turn in turns for e in turn.extras if e.name in REASONING_FIELDS]
    if reasoned:
        paths["reasoning_part"] = reasoned[0]
    elif any(isinstance(part, ReasoningPart) for turn in turns for part in turn.parts):
        paths["reasoning_part"] = "messages[].content[].type"
    stream, stream_usage = _stream(fields, extras)
    max_tokens = _max_tokens(fields, paths, extras)
    stop = _stop(fields, extras) if "stop" in fields.left else ()
    sampled = sampling(fields)
    request = Request(
        dialect=ORIGIN,
        model=model,
        system=system,
        turns=turns,
        odd=odd,
        max_tokens=max_tokens,
        stop=stop,
        sampling=sampled,
        stream=stream,
        stream_usage=stream_usage,
        extras=tuple(extras),
        paths=paths,
    )
    # Most requests have no other fields.
    return _with_rest(request, body, fields, paths) if fields.left else request


def _with_rest(request: Request, body: JSON, fields: Fields, paths: dict[str, str]) -> Request:
    """Return ``request`` with its rarer fields, and the rest of ``fields`` as extras."""
    extras: list[Extra] = []
    tools, legacy = _tools(fields, paths, extras)
    if body.get("tool_choice") is None and body.get("function_call") is not None:
        paths["tool_choice"] = "function_call"
    tool_choice, kept = decode_tool_choice(fields)
    extras += kept
    reasoning, wanted = _reasoning(fields, paths, extras)
    output = _output(fields, extras)
    if output is None and wanted is not None:
        paths["output"] = paths["output_schema"] = "output_config.format"
        output = wanted
    return msgspec.structs.replace(
        request,
        tools=tools,
        tool_choice=tool_choice,
        parallel_tools=fields.boolean("parallel_tool_calls"),
        reasoning=reasoning,
        output=output,
        user_id=user_id(fields, paths, extras),
        tier=tier(fields, extras),
        cache=cache_policy(fields, extras),
        cache_key=fields.text("prompt_cache_key"),
        cache_retention=fields.text("prompt_cache_retention"),
        verbosity=fields.text("verbosity"),
        legacy_functions=legacy,
        extras=(*request.extras, *extras, *_classed(fields), *fields.rest()),
        paths=paths,
    )


def _tools(
    fields: Fields, paths: dict[str, str], extras: list[Extra]
) -> tuple[tuple[Tool, ...], bool]:
    items, functions = fields.items("tools"), fields.items("functions")
    if items is not None and not items:
        extras.append(fields.extra("tools", items, "none"))
    if functions is None:
        return decode_tools(items or []), False
    paths["tool"] = "functions[].parameters"
    paths["strict"] = "functions[].strict"
    if items:
        extras.append(fields.extra("tools", items, "none"))
        extras.append(fields.extra("functions", functions, "none"))
    return (*decode_tools(items or []), *decode_functions(functions)), True


def _max_tokens(fields: Fields, paths: dict[str, str], extras: list[Extra]) -> int | None:
    new = fields.integer("max_completion_tokens", least=1)
    old = fields.integer("max_tokens", least=1)
    if new is None:
        paths["max_tokens"] = "max_completion_tokens" if old is None else "max_tokens"
        return old
    if old is not None:
        extras.append(fields.extra("max_tokens", old, "none"))
    return new


def _stop(fields: Fields, extras: list[Extra]) -> tuple[str, ...]:
    value = fields.any("stop")
    if value is None:
        return ()
    if isinstance(value, str):
        extras.append(fields.extra("stop", value, "none"))
        return (value,)
    if not isinstance(value, list):
        raise wrong_type("stop", "a string or an array", value)
    for number, each in enumerate(value):
        if not isinstance(each, str):
            raise wrong_type(f"stop[{number}]", "a string", each)
    if not value:
        extras.append(fields.extra("stop", value, "none"))
    return tuple(value)


def _stream(fields: Fields, extras: list[Extra]) -> tuple[bool, bool]:
    stream = fields.boolean("stream")
    options = fields.inside("stream_options")
    if stream is False:
        extras.append(fields.extra("stream", False, "none"))
    if options is None:
        return bool(stream), False
    raw = dict(options.left)
    usage = options.boolean("include_usage")
    if not usage:
        extras.append(fields.extra("stream_options", raw, "none"))
    obfuscation = options.boolean("include_obfuscation")
    if obfuscation is not None:
        name = "include_obfuscation"
        extras.append(options.extra(name, obfuscation, "none", "stream_options."))
    extras += options.rest("stream_options.")
    return bool(stream), bool(usage)


def _reasoning(
    fields: Fields, paths: dict[str, str], extras: list[Extra]
) -> tuple[Reasoning | None, OutputFormat | None]:
    """Return the reasoning controls, and the output format where ``output_config`` holds one.

    The vendor's own field is ``reasoning_effort``; ``reasoning`` (OpenRouter's) refines it, and
    ``thinking``/``output_config`` (Anthropic's) win over both. Every field is kept as it was
    spelled.
    """
    if _REASONING.isdisjoint(fields.left):
        return None, None
    mode = effort = budget = display = output = None
    named = fields.text("reasoning_effort")
    if named in _EFFORTS:
        effort = named
        extras.append(fields.extra("reasoning_effort", named, "none"))
    elif named is not None:
        extras.append(fields.extra("reasoning_effort", named, "drop"))
    router = fields.inside("reasoning")
    if router is not None:
        extras.append(fields.extra("reasoning", dict(router.left), "none"))
        if effort is None:
            paths["reasoning"] = paths["effort"] = "reasoning"
        mode, effort, budget, display = _router(router, effort, extras)
    config = fields.inside("output_config")
    if config is not None:
        extras.append(fields.extra("output_config", dict(config.left), "none"))
        level = config.text("effort")
        if level in _EFFORTS:
            effort, paths["effort"] = level, "output_config.effort"
            paths["reasoning"] = "output_config.effort"
        elif level is not None:
            extras.append(config.extra("effort", level, "drop", "output_config."))
        output = _config_format(config)
        extras += config.rest("output_config.")
    thinking = fields.inside("thinking")
    if thinking is not None:
        extras.append(fields.extra("thinking", dict(thinking.left), "none"))
        kind = thinking.text("type")
        if kind is not None and kind not in _THINKING:
            extras.append(thinking.extra("type", kind, "drop", "thinking."))
        paths["reasoning"] = "thinking"
        if effort is None:
            paths["effort"] = "thinking"
        budget = thinking.integer("budget_tokens", least=1) if kind == "enabled" else None
        mode = "budget" if budget is not None else _THINKING.get(kind or "", mode)
        shown = thinking.text("display")
        display = shown if shown in ("summarized", "omitted") else display
        extras += thinking.rest("thinking.")
        if config is None:
            effort = None if mode in ("off", "between_tools") else effort
    if mode is None and effort is None and budget is None and display is None:
        return None, output
    reasoning = Reasoning(mode=mode, effort=effort, budget=budget, display=display)  # type: ignore[arg-type]
    return reasoning, output


def _router(router: Fields, effort: str | None, extras: list[Extra]) -> tuple[Any, Any, Any, Any]:
    level, budget = router.text("effort"), router.integer("max_tokens", least=1)
    enabled, exclude = router.boolean("enabled"), router.boolean("exclude")
    if level in _EFFORTS:
        effort = effort or level
    elif level is not None:
        extras.append(router.extra("effort", level, "drop", "reasoning."))
    extras += router.rest("reasoning.")
    mode = None
    if enabled is False:
        mode, effort, budget = "off", None, None
    elif budget is not None and effort is None:
        mode = "budget"
    elif enabled and effort is None:
        mode = "adaptive"
    return mode, effort, budget, "omitted" if exclude else None


def _config_format(config: Fields) -> OutputFormat | None:
    form = config.inside("format")
    if form is None or form.text("type") != "json_schema":
        return None
    return OutputFormat(kind="json_schema", schema=form.mapping("schema"), strict=True)


def _output(fields: Fields, extras: list[Extra]) -> OutputFormat | None:
    form = fields.inside("response_format")
    if form is None:
        return None
    raw = dict(form.left)
    kind = form.need_text("type")
    if kind == "text":
        extras.append(fields.extra("response_format", raw, "none"))
        return None
    schema = form.left.get("schema")
    beside = isinstance(schema, dict) and "json_schema" not in form.left
    if beside and kind in ("json_object", "json_schema"):
        # llama.cpp, Ollama and Together take the schema here.
        form.any("schema")
        extras.append(fields.extra("response_format", raw, "none"))
        return OutputFormat(kind="json_schema", schema=schema, extras=form.rest())
    if kind == "json_object":
        return OutputFormat(kind="json_object", extras=form.rest())
    if kind != "json_schema":
        extras.append(fields.extra("response_format", raw, "refuse_soft"))
        return None
    held = form.need_inside("json_schema")
    return json_schema(held, form, "json_schema.")


def _classed(fields: Fields) -> list[Extra]:
    """Known fields that this model has no word for; their class depends on what they say."""
    found: list[Extra] = []
    if not fields.left:
        return found

    def keep(name: str, value: Any, loss: LossClass) -> None:
        if value is not None:
            found.append(fields.extra(name, value, loss))

    n = fields.integer("n", least=1)
    keep("n", n, "none" if n == 1 else "refuse")
    logprobs = fields.boolean("logprobs")
    keep("logprobs", logprobs, "refuse_soft" if logprobs else "none")
    top = fields.integer("top_logprobs", least=0)
    keep("top_logprobs", top, "refuse_soft" if top else "none")
    store = fields.boolean("store")
    keep("store", store, "drop" if store else "none")
    modalities = fields.items("modalities")
    keep("modalities", modalities, "none" if modalities in ([], ["text"]) else "refuse")
    keep("audio", fields.mapping("audio"), "refuse")
    keep("prediction", fields.any("prediction"), "none")
    for name in _SOFT:
        keep(name, fields.mapping(name), "refuse_soft")
    return found
