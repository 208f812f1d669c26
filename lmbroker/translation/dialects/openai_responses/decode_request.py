"""Responses request -> Unified Model (translation.md 8.1).

Every key is accounted for: it has a place in the model, or it is an ``Extra`` that says what
becomes of it where it cannot be carried. ``Extra.name`` is the key at its place; a key of a nested
object that has no place of its own is dotted (``reasoning.mode``). Extras of class ``none`` may
repeat a field that was read, as it was spelled; a backend of this dialect writes extras last, over
what it made itself.
"""

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.request_fields import (
    cache_policy,
    named_apart,
    sampling,
    tier,
    user_id,
)
from lmbroker.translation.dialects.openai_responses.decode_content import ORIGIN
from lmbroker.translation.dialects.openai_responses.decode_controls import (
    classed,
    decode_reasoning_control,
    decode_text,
)
from lmbroker.translation.dialects.openai_responses.decode_items import Input, decode_items
from lmbroker.translation.dialects.openai_responses.decode_tools import (
    as_chosen,
    decode_tool_choice,
    decode_tools,
)
from lmbroker.translation.dialects.openai_responses.request_paths import paths_of
from lmbroker.translation.shared.fields import Fields, missing, wrong_type
from lmbroker.translation.unified.parts import Extra, TextPart
from lmbroker.translation.unified.request import CachePolicy, Request, Turn

ECHOED = frozenset(
    {
        "background",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
"""Fields of a request that its answer repeats."""

_INSTEAD = ("previous_response_id", "conversation", "prompt")
"""Fields that may replace the input."""


def decode_request(body: JSON) -> Request:
    """Return the Unified Model of a request body.

    Raises Refused (``invalid_request``) with ``param`` = path and ``code`` = ``invalid_type``,
    ``missing_required_parameter`` or ``invalid_value``.
    """
    fields = Fields(body, "", ORIGIN)
    extras: list[Extra] = []
    model = fields.need_text("model")
    items = _input(fields, extras)
    output, verbosity = decode_text(fields, extras)
    extras += items.extras
    tools = fields.items("tools")
    if tools is not None and not tools:
        extras.append(fields.extra("tools", tools, "none"))
    known = named_apart(decode_tools(tools or []), items.tools)
    paths = paths_of(items.turns, known)
    if items.formatted:
        output = items.output
        paths["output"] = paths["output_schema"] = "input[].text.format"
    if items.effort is not None:
        paths["effort"] = "input[].reasoning.effort"
    tool_choice, kept = decode_tool_choice(fields, known)
    extras += kept
    stream = fields.boolean("stream")
    if stream is False:
        extras.append(fields.extra("stream", False, "none"))
    reasoning = decode_reasoning_control(fields, extras)
    return Request(
        dialect=ORIGIN,
        model=model,
        system=items.system,
        turns=items.turns,
        tools=as_chosen(known, tool_choice),
        tool_choice=tool_choice,
        parallel_tools=fields.boolean("parallel_tool_calls"),
        max_tokens=fields.integer("max_output_tokens", least=1),
        sampling=sampling(fields),
        reasoning=reasoning,
        later_effort=items.effort,
        output=output,
        stream=bool(stream),
        stream_usage=True,
        user_id=user_id(fields, paths, extras),
        tier=tier(fields, extras),
        cache=_cache(fields, extras, worth=bool(known) or len(items.turns) > 1),
        cache_key=fields.text("prompt_cache_key"),
        cache_retention=fields.text("prompt_cache_retention"),
        verbosity=verbosity,
        echo={key: value for key, value in body.items() if key in ECHOED and value is not None},
        extras=(*extras, *classed(fields), *fields.rest()),
        paths=paths,
    )


def _cache(fields: Fields, extras: list[Extra], *, worth: bool) -> CachePolicy | None:
    """Return the cache policy of the prompt.

    Clients of this dialect expect caching unasked. At vendors that charge for writing a cache, a
    prompt that nobody will send again is not ``worth`` it.
    """
    asked = "prompt_cache_options" in fields.left
    policy = cache_policy(fields, extras)
    return CachePolicy(mode="auto") if worth and not asked else policy


def _input(fields: Fields, extras: list[Extra]) -> Input:
    """Return the conversation: instructions, and the input as a text or as items.

    Raises Refused.
    """
    instructions, value = fields.text("instructions"), fields.any("input")
    first = []
    if instructions is not None:
        mark = fields.extra("instructions", instructions, "none")
        first = [TextPart(text=instructions, extras=(mark,))]
    if value is None or value == []:
        if not first and not any(name in fields.left for name in _INSTEAD):
            raise missing("input")
        extras.append(fields.extra("input", value, "none"))
        turns = () if first else (Turn(role="user", parts=()),)
        return Input(system=tuple(first), turns=turns)
    if isinstance(value, str):
        extras.append(fields.extra("input", value, "none"))
        said = (TextPart(text=value),) if value else ()
        return Input(system=tuple(first), turns=(Turn(role="user", parts=said),))
    if not isinstance(value, list):
        raise wrong_type("input", "a string or an array", value)
    return decode_items(value, first)
