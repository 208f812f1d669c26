"""Unified Model -> Messages request (translation.md 2.1 to 2.8).

A request that came in this dialect is written as it came. For any other one the profile says what
the model can do, and ``losses`` gets a report of everything that it cannot.
"""

import re
from hashlib import sha256

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.anthropic_messages.encode_blocks import Blocks, ephemeral
from lmbroker.translation.dialects.anthropic_messages.encode_controls import (
    Thinking,
    encode_output,
    encode_sampling,
    encode_stop,
    encode_thinking,
)
from lmbroker.translation.dialects.anthropic_messages.encode_messages import (
    add_instruction,
    encode_conversation,
    end_conversation,
    limit_cache_marks,
)
from lmbroker.translation.dialects.anthropic_messages.encode_tools import (
    encode_choice,
    encode_tools,
    encode_web_search,
)
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.call_ids import with_unique_ids
from lmbroker.translation.shared.web_searches import OPTIONS, asked_by
from lmbroker.translation.unified.parts import Extra
from lmbroker.translation.unified.request import Reasoning, Request

DEFAULT_MAX_TOKENS = 8192
"""The limit where neither client nor profile has one, since Anthropic requires a limit."""

MAX_CACHE_MARKS = 4
"""The maximum of cache marks in one request, an automatic one included (vendor documentation)."""

MAX_USER_ID = 256
"""The maximum of characters of a user id (vendor documentation)."""

_TIERS = {"auto": "auto", "standard": "standard_only"}


def encode_request(request: Request, profile: Profile, losses: Losses) -> JSON:
    """Return the body of a ``POST /v1/messages`` request with the request's model as it is.

    Raises Refused for what cannot be carried and must not be dropped.
    """
    blocks = Blocks(request, profile, losses)
    if blocks.native:
        return _as_it_is(blocks)
    blocks.request = request = msgspec.structs.replace(
        request, turns=with_unique_ids(request.turns)
    )
    max_tokens = _max_tokens(blocks)
    tools = encode_tools(blocks) if request.tools else []
    extras = _extras(blocks, tools) if request.extras else []
    system, messages = encode_conversation(blocks)
    choice = encode_choice(blocks, tools)
    thinking = encode_thinking(blocks, messages, max_tokens, choice.forced)
    prefill = profile.prefill != "no" and not thinking.on
    answered = messages[-1]["role"] == "assistant"
    if answered:
        end_conversation(blocks, messages, prefill)
    output, line = encode_output(blocks, prefill and answered)
    for each in (choice.instruction, line):
        if each:
            add_instruction(blocks, system, messages, each)
    sampling = encode_sampling(blocks, thinking.on)
    automatic = _cached(request) and profile.cache_breakpoints
    if blocks.marked:
        content = [block for message in messages for block in message["content"]]
        limit_cache_marks([tools, system, content], MAX_CACHE_MARKS - automatic)

    body: JSON = {"model": request.model, "max_tokens": max_tokens}
    if system:
        body["system"] = system
    body["messages"] = messages
    if tools:
        body["tools"] = tools
    if choice.wire is not None:
        body["tool_choice"] = choice.wire
    _put_controls(body, thinking, output)
    body.update(sampling)
    stop = encode_stop(blocks) if request.stop else []
    if stop:
        body["stop_sequences"] = stop
    if request.user_id is not None:
        body["metadata"] = {"user_id": _user_id(blocks, request.user_id)}
    if request.tier is not None:
        _put_tier(body, blocks, request.tier)
    if automatic:
        body["cache_control"] = ephemeral(None)
    if request.stream:
        body["stream"] = True
    if request.verbosity is not None:
        blocks.drop("verbosity")
    if extras:
        losses.extras(extras)
    return body


def _cached(request: Request) -> bool:
    """Return whether the vendor is to choose what is cached of the prompt.

    A client that names a cache key wants a cache.
    """
    if request.cache is None:
        return request.cache_key is not None
    return request.cache.mode == "auto"


def _max_tokens(blocks: Blocks) -> int:
    asked, most = blocks.request.max_tokens, blocks.profile.max_output
    window = blocks.profile.context
    if asked is None:
        placed = most or DEFAULT_MAX_TOKENS
        return placed if window is None or placed < window else max(1, window // 2)
    if most is not None and asked > most:
        blocks.change("max_tokens")
        asked = most
    if window is not None and asked >= window:
        # The prompt takes a part of the window.
        blocks.change("max_tokens")
        return max(1, window // 2)
    return asked


def _extras(blocks: Blocks, tools: list[JSON]) -> list[Extra]:
    """Return the extras that have not been accounted for."""
    left = []
    for extra in blocks.request.extras:
        if extra.name == OPTIONS and blocks.profile.server_tools:
            tools.append(encode_web_search(blocks, asked_by(extra.value), OPTIONS))
        else:
            left.append(extra)
    return left


def _put_controls(body: JSON, thinking: Thinking, output: JSON | None) -> None:
    config: JSON = {}
    if thinking.effort is not None:
        config["effort"] = thinking.effort
    if output is not None:
        config["format"] = output
    if thinking.wire is not None:
        body["thinking"] = thinking.wire
    if config:
        body["output_config"] = config


def _put_tier(body: JSON, blocks: Blocks, tier: str) -> None:
    if tier in _TIERS:
        body["service_tier"] = _TIERS[tier]
    elif tier in ("fast", "priority") and blocks.profile.map_fast:
        body["speed"] = "fast"
    else:
        blocks.drop("tier")


def _user_id(blocks: Blocks, user_id: str) -> str:
    """Return the id of the end user as Anthropic takes it.

    It refuses ids that identify a person, and long ones.
    """
    if len(user_id) <= MAX_USER_ID and not _TELLS_WHO.search(user_id):
        return user_id
    blocks.change("user_id")
    return sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()


_TELLS_WHO = re.compile(r"[^\s@]@[^\s@]+\.[^\s@]|^\s*\+?(?:[\s().-]*\d){7,15}\s*$")
"""An e-mail address anywhere in it, or nothing but a telephone number."""


def _as_it_is(blocks: Blocks) -> JSON:
    """Return the body of a request of this dialect as it was decoded, untouched by any rule."""
    request = blocks.request
    system, messages = encode_conversation(blocks)
    body: JSON = {"model": request.model}
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if system:
        body["system"] = system
    body["messages"] = messages
    tools = encode_tools(blocks)
    if tools:
        body["tools"] = tools
    choice = encode_choice(blocks, tools)
    if choice.wire is not None:
        body["tool_choice"] = choice.wire
    _put_controls(body, _native_thinking(request.reasoning), _native_output(blocks))
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(request.sampling, name)
        if value is not None:
            body[name] = value
    if request.user_id is not None:
        body["metadata"] = {"user_id": request.user_id}
    if request.tier in _TIERS:
        body["service_tier"] = _TIERS[request.tier]
    elif request.tier == "fast":
        body["speed"] = "fast"
    if request.cache is not None:
        raw = request.cache.raw
        body["cache_control"] = raw if isinstance(raw, dict) else ephemeral(request.cache.ttl)
    if request.stream:
        body["stream"] = True
    blocks.extras(body, request.extras)
    return body


def _native_thinking(asked: Reasoning | None) -> Thinking:
    if asked is None:
        return Thinking()
    kinds = {"off": "disabled", "budget": "enabled"}
    wire: JSON | None = None
    if asked.mode is not None:
        wire = {"type": kinds.get(asked.mode, asked.mode)}
        if asked.budget is not None:
            wire["budget_tokens"] = asked.budget
        if asked.display is not None:
            wire["display"] = asked.display
    return Thinking(wire=wire, effort=asked.effort)


def _native_output(blocks: Blocks) -> JSON | None:
    output = blocks.request.output
    if output is None or output.schema is None:
        return None
    wire: JSON = {"type": "json_schema", "schema": output.schema}
    blocks.extras(wire, output.extras)
    return wire
