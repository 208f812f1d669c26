"""Every request that a real client sent, translated to each other dialect, is one that the SDK of
that dialect takes; or it is refused for something that the tables mark as class C."""

import json
from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from batches import in_batches
from captures import captured, recorded
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from sdk_types import accept

from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses, listed
from lmbroker.translation.profiles.lookup import profile

JSON = dict[str, Any]

PLAIN = {
    "openai": CompletionCreateParamsNonStreaming,
    "anthropic": MessageCreateParamsNonStreaming,
    "responses": ResponseCreateParamsNonStreaming,
}
STREAMED = {
    "openai": CompletionCreateParamsStreaming,
    "anthropic": MessageCreateParamsStreaming,
    "responses": ResponseCreateParamsStreaming,
}

NOT_IN_THE_SDK = {
    "openai": (),
    "anthropic": ("temperature", "top_p", "top_k"),
    "responses": ("stop",),
}
"""What a vendor's API takes, or other servers of its dialect do, and its SDK's types do not have
(any more)."""

MODELS = {
    "anthropic": ("claude-opus-5-5", "claude-sonnet-5-5", "claude-sonnet-4-6", "claude-haiku-4-5"),
    "openai": ("gpt-4o", "gpt-5.4", "deepseek-chat", "qwen3", "mistral-large", "llama-3.3", "any"),
    "responses": ("gpt-4o", "gpt-5.4", "gpt-5.6", "any"),
}
"""Backend's dialect -> models of families that differ."""

BROKEN = {"writer.chat.sse.writer-async-streaming-chat-tool-calls-legacy.5c25ef.00"}
"""Calls without an id, which nobody could answer."""

REQUESTS = {
    "openai": [
        case
        for case in recorded("openai.chat") + captured("/v1/chat/completions")
        if case[0] not in BROKEN
    ],
    "anthropic": recorded("anthropic.messages") + captured("/v1/messages"),
    "responses": [
        case
        for endpoint in ("", ".compact", ".input_tokens")
        for case in recorded("openai.responses" + endpoint)
    ]
    + captured("/v1/responses"),
}
CASES = [
    (f"{dialect}-{backend}-{name}", (dialect, backend, body))
    for dialect, cases in REQUESTS.items()
    for backend in ADAPTERS
    if backend != dialect
    for name, body in cases
]

REFUSED = {
    "openai": {
        "modalities",
        "moderation",
        "n",
        "reasoning_effort",  # a level that nobody knows
        "service_tier",  # likewise
        "tools[0]",  # OpenRouter's own
        "web_search_options",
    },
    "anthropic": {
        "container",
        "thread",
        "tools[0]",
    },
    "responses": {
        "background",
        "conversation",
        "include",  # the likelihood of each token
        "moderation",
        "previous_response_id",
        "prompt",
        "tools[0]",
        "tools[1]",
        "tools[2]",
    },
}
"""Client's dialect -> what the tables mark as C and the requests ask for: nothing of what stands in
the conversation."""


def whole(body: JSON) -> JSON:
    """Bedrock's and Azure's URLs have the model, and OpenAI's templates of prompts, too."""
    return {**body, "model": body.get("model") or "m"}


def translated(dialect: str, backend: str, body: JSON, model: str) -> tuple[JSON, str]:
    """The body for a backend of another dialect, and the header. Raises Refused."""
    losses = Losses()
    request = msgspec.structs.replace(ADAPTERS[dialect].decode_request(whole(body)), model=model)
    out = ADAPTERS[backend].encode_request(request, profile(backend, model), losses)
    return out, listed(losses.paths)


def with_ids(item: JSON) -> JSON:
    """An item of an answer has an id and a status in the SDK's types; OpenAI takes it without, as
    others recorded."""
    if item.get("role") == "assistant" or item["type"] == "reasoning":
        return {"id": "x", "status": "completed", **item}
    return item


@in_batches(CASES)
def test_a_request_of_a_client_is_taken_in_another_dialect(
    dialect: str, backend: str, body: JSON
) -> None:
    before = json.dumps(body)
    for model in MODELS[backend]:
        try:
            out, _ = translated(dialect, backend, body, model)
        except Refused as error:
            assert error.info.kind == "unsupported", error.info
            assert error.info.param in REFUSED[dialect], error.info
            continue
        hint = (STREAMED if out.get("stream") else PLAIN)[backend]
        known = {key: value for key, value in out.items() if key not in NOT_IN_THE_SDK[backend]}
        if backend == "responses":
            known["input"] = list(map(with_ids, known["input"]))
        accept(hint, known, closed=model.startswith(("claude", "gpt")))
        assert out == translated(dialect, backend, body, model)[0]
    assert json.dumps(body) == before


def reported(dialect: str, backend: str, cases: list[tuple[str, JSON]], model: str) -> set[str]:
    """All that is reported for ``cases``, and what is refused, as ``!path``."""
    found = set()
    for _, body in cases:
        try:
            found.update(translated(dialect, backend, body, model)[1].split(","))
        except Refused as error:
            found.add(f"!{error.info.param}")
    return found - {""}


CLAUDE_CODE = [case for case in captured("/v1/messages") if case[0].startswith("claude-code")]
CHAT_CLIENTS = captured("/v1/chat/completions")
RESPONSES_CLIENTS = captured("/v1/responses")


@pytest.mark.skipif(not CLAUDE_CODE, reason="no captures")
def test_what_a_coding_agent_loses_with_another_vendors_model() -> None:
    assert reported("anthropic", "openai", CLAUDE_CODE, "gpt-4o") == {
        "!tools[0]",  # its search of the web is a call of its own
        "context_management",
        "max_tokens",
        "messages[].content[].content",
        "messages[].content[].is_error",
        "messages[].content[].thinking",
        "messages[].content[].type",
        "safeguards",
        "thinking",
        "thinking.display",
        "tools[].defer_loading",
    }


@pytest.mark.skipif(not CHAT_CLIENTS, reason="no captures")
def test_what_chat_clients_lose_with_a_model_that_always_reasons() -> None:
    assert reported("openai", "anthropic", CHAT_CLIENTS, "claude-opus-5-5") == {
        "messages[].name",
        "messages[].reasoning_content",
        "messages[].role",
        "presence_penalty",
        "response_format",
        "seed",
        "temperature",
        "tool_choice",
        "top_p",
    }


@pytest.mark.skipif(not RESPONSES_CLIENTS, reason="no captures")
@pytest.mark.parametrize(
    ("backend", "model", "lost"),
    [
        ("openai", "gpt-5.4", {"input[].output"}),
        ("anthropic", "claude-opus-5-5", {"text.verbosity", "tool_choice", "tools[].format"}),
    ],
)
def test_what_clients_of_responses_lose_with_a_model_of_another_dialect(
    backend: str, model: str, lost: set[str]
) -> None:
    assert reported("responses", backend, RESPONSES_CLIENTS, model) == {
        "input[].encrypted_content",
        "input[].summary",
        "input[].id",  # where the client thinks that the broker keeps responses
        "input[].type",
        "tools[].type",  # a search of the web
        *lost,
    }
