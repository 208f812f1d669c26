"""Nothing of a request is lost silently, and nothing is reported that the client never sent.

Each recorded and each captured request is translated; then once more without each of its fields. A
field that makes no difference to what the backend gets must be reported, or have no meaning for the
answer (class N of translation.md): ``SILENT`` names all of those.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from batches import in_batches
from captures import captured, recorded

from lmbroker import json_text
from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile

JSON = dict[str, Any]

MODELS = {
    "anthropic": ("claude-opus-5-5", "claude-sonnet-4-6", "any"),
    "openai": ("gpt-5.4", "deepseek-chat", "any"),
    "responses": ("gpt-5.4", "any"),
}
CASES = [
    (f"{dialect}-{backend}-{name}", (dialect, backend, body))
    for dialect, cases in (
        ("openai", recorded("openai.chat") + captured("/v1/chat/completions")),
        ("anthropic", recorded("anthropic.messages") + captured("/v1/messages")),
        ("responses", recorded("openai.responses") + captured("/v1/responses")),
    )
    for backend in MODELS
    if backend != dialect
    for name, body in cases
]

_INDEX = re.compile(r"\[\d+\]")


def translated(dialect: str, backend: str, body: JSON, model: str) -> tuple[bytes, Losses]:
    losses = Losses("lenient")
    whole = {**body, "model": "m"}
    asked = msgspec.structs.replace(ADAPTERS[dialect].decode_request(whole), model=model)
    out = ADAPTERS[backend].encode_request(asked, profile(backend, model), losses)
    return json_text.encode(out), losses


def there(body: Any, path: str) -> bool:
    """Whether ``path`` leads to something in ``body``; ``[]`` is any element."""
    held = [body]
    for step in re.findall(r"[^.\[\]]+|\[\d*\]", path):
        if step == "[]":
            held = [each for value in held if isinstance(value, list) for each in value]
        elif step.startswith("["):
            place = int(step[1:-1])
            held = [v[place] for v in held if isinstance(v, list) and place < len(v)]
        else:
            held = [v[step] for v in held if isinstance(v, dict) and step in v]
    return bool(held)


@in_batches(CASES)
def test_what_is_reported_is_something_that_the_client_sent(
    dialect: str, backend: str, body: JSON
) -> None:
    for model in MODELS[backend]:
        try:
            _, losses = translated(dialect, backend, body, model)
        except Refused:
            continue
        assert [path for path in losses.paths if not there(body, path)] == []


def fields_of(value: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, the object or list that holds it, key) of each field, the first of each path."""
    seen: set[str] = set()
    waiting: list[tuple[Any, str]] = [(value, path)]
    while waiting:
        held, at = waiting.pop(0)
        if isinstance(held, list):
            waiting += [(each, f"{at}[]") for each in held]
        elif isinstance(held, dict):
            if OWN.search(at):
                continue
            for key, each in held.items():
                inside = f"{at}.{key}" if at else key
                if inside not in seen:
                    seen.add(inside)
                    yield inside, held, key
                waiting.append((each, inside))


OWN = re.compile(
    r"(input|arguments|parameters|input_schema|schema|raw|source|input_examples|citations\[\]"
    r"|logit_bias|metadata|chat_template_kwargs|extra_body)$"
)
"""What holds the client's own names: it goes, or does not go, as a whole."""

SILENT = {
    "openai": {
        # What says nothing but the default, in the requests that there are.
        "frequency_penalty",
        "messages[].tool_calls",
        "messages[].tool_calls[].function.arguments",
        "messages[].tool_calls[].type",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning",
        "reasoning.effort",
        "reasoning.enabled",
        "reasoning_effort",
        "response_format",
        "store",
        "stream",
        "thinking",
        "thinking.type",
        "tool_choice.type",
        "tools[].function.strict",
        "tools[].type",
        # Storage, tracing, hints for caches, ways to count.
        "messages[].content[].cache_control.ttl",
        "messages[].content[].cache_control.type",
        "messages[].content[].prompt_cache_breakpoint.mode",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_options.ttl",
        "stream_options",
        "stream_options.include_usage",
        "tools[].cache_control.ttl",
        "tools[].cache_control.type",
        # What the model said itself, told a second time.
        "messages[].annotations",
        "messages[].content[].image_url.detail",
        "messages[].reasoning",
        "messages[].reasoning_content",
        "messages[].reasoning_details[].format",
        "messages[].reasoning_details[].id",
        "messages[].reasoning_details[].index",
        "messages[].tool_calls[].index",
        # What the rest of the conversation says where they are not there.
        "messages[].content[].type",
        "messages[].role",
        "messages[].tool_call_id",
        # The broker's own.
        "model",
    },
    "anthropic": {
        # What says nothing but the default, in the requests that there are.
        "messages[].content[].caller",
        "messages[].content[].caller.type",
        "messages[].content[].input",
        "messages[].content[].is_error",
        "service_tier",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tool_choice.disable_parallel_tool_use",
        "tools[].type",
        # Hints for caches, headers that stand in the body.
        "anthropic_version",
        "cache_control",
        "cache_control.ttl",
        "cache_control.type",
        "messages[].content[].cache_control",
        "messages[].content[].cache_control.ttl",
        "messages[].content[].cache_control.type",
        "system[].cache_control",
        "system[].cache_control.ttl",
        "system[].cache_control.type",
        "tools[].cache_control",
        "tools[].cache_control.type",
        "tools[].eager_input_streaming",
        # It decides what the client is shown of the answer.
        "thinking.display",
        # Tools that are offered or taken back, as they then are.
        "messages[].content[].tool",
        "messages[].content[].tool.name",
        "messages[].content[].tool.type",
        # What the rest of the conversation says where they are not there.
        "messages[].content[].type",
        "messages[].role",
        # The broker's own.
        "model",
    },
    "responses": {
        # What says nothing but the default, in the requests that there are.
        "include",
        "input[].arguments",
        "input[].content[].text",
        "instructions",
        "parallel_tool_calls",
        "reasoning",
        "reasoning.context",
        "service_tier",
        "store",
        "stream",
        "text",
        "text.format",
        "text.format.name",
        "text.format.strict",
        "tool_choice",
        "tool_choice.tools[].type",
        "tool_choice.type",
        "tools[].strict",
        # Tracing, hints for caches.
        "client_metadata",
        "input[].content[].prompt_cache_breakpoint.mode",
        "prompt_cache_options.ttl",
        # It decides what the client is shown of the answer.
        "reasoning.summary",
        # Of items that answers were made of; what goes with encrypted content that is reported.
        "input[].content[].detail",
        "input[].id",
        "input[].output[].detail",
        "input[].phase",
        "input[].status",
        "input[].summary",
        "input[].summary[].text",
        "input[].summary[].type",
        # Tools that a search has found, and that were offered before.
        "input[].tools",
        "input[].tools[].defer_loading",
        "input[].tools[].description",
        "input[].tools[].name",
        "input[].tools[].parameters",
        "input[].tools[].strict",
        "input[].tools[].type",
        # What the rest of the conversation says where they are not there.
        "input[].content[].type",
        "input[].role",
        "input[].type",
        # The broker's own.
        "model",
    },
}
"""Client's dialect -> what has no meaning for the answer, or says what would hold anyway."""

SILENT_BETWEEN = {
    ("openai", "responses"): {
        "messages[].content[].cache_control",
        "messages[].content[].prompt_cache_breakpoint",
        "prompt_cache_options.mode",
        "service_tier",
        "tools[].cache_control",
    },
    ("anthropic", "responses"): {"messages[].content[].signature"},
    ("responses", "openai"): {
        "input[].content[].prompt_cache_breakpoint",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_options.mode",
    },
    # Beside options that say the same.
    ("responses", "anthropic"): {"prompt_cache_key"},
}
"""The same between two dialects only: hints for caches, and what goes with thinking that is
reported."""

LONGEST = 30_000
"""Characters of a body that is translated once for each of its fields."""


def silent(dialect: str, backend: str, body: JSON, model: str) -> set[str]:
    """The fields that make no difference and are not reported."""
    try:
        whole, losses = translated(dialect, backend, body, model)
    except Refused:
        return set()
    told = {_INDEX.sub("[]", path) for path in losses.paths}
    found = set()
    changing = copy.deepcopy(body)
    for path, held, key in list(fields_of(changing)):
        if held.get(key) in (None, [], {}) or reported(path, told):
            continue
        value = held.pop(key)
        try:
            out, _ = translated(dialect, backend, changing, model)
        except Refused:
            out = b""
        held[key] = value
        if out == whole:
            found.add(path)
    return found


def reported(path: str, told: set[str]) -> bool:
    """Whether ``path``, something in it or something that it is in is reported; the type of a block
    stands for the block."""
    for each in told:
        block = each.removesuffix(".type") if each.endswith("[].type") else each
        if path == each or path.startswith((f"{block}.", f"{block}[")):
            return True
        if each.startswith((f"{path}.", f"{path}[")):
            return True
    return False


@in_batches(CASES)
def test_no_field_of_a_request_is_lost_silently(dialect: str, backend: str, body: JSON) -> None:
    if len(json.dumps(body)) <= LONGEST:
        allowed = SILENT[dialect] | SILENT_BETWEEN.get((dialect, backend), set())
        assert silent(dialect, backend, body, "any") - allowed == set()
