"""Every request that a real client sent, translated to the other dialect, is one that the other
vendor's SDK takes; or it is refused for something that the tables mark as class C."""

import json
from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from captures import captured, recorded
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from sdk_types import accept

from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses, listed
from lmbroker.translation.profiles.lookup import profile

JSON = dict[str, Any]

OTHER = {"openai": "anthropic", "anthropic": "openai"}
PLAIN = {
    "openai": CompletionCreateParamsNonStreaming,
    "anthropic": MessageCreateParamsNonStreaming,
}
STREAMED = {"openai": CompletionCreateParamsStreaming, "anthropic": MessageCreateParamsStreaming}

NOT_IN_THE_SDK = ("temperature", "top_p", "top_k")
"""What Anthropic's API takes and its SDK's types do not have any more."""

MODELS = {
    "anthropic": ("claude-opus-5-5", "claude-sonnet-5-5", "claude-sonnet-4-6", "claude-haiku-4-5"),
    "openai": ("gpt-4o", "gpt-5.4", "deepseek-chat", "qwen3", "mistral-large", "llama-3.3", "any"),
}
"""Backend's dialect -> models of families that differ."""

BROKEN = {"writer.chat.sse.writer-async-streaming-chat-tool-calls-legacy.5c25ef.00"}
"""Calls without an id, which nobody could answer."""

OPENAI_REQUESTS = [
    case
    for case in recorded("openai.chat") + captured("/v1/chat/completions")
    if case[0] not in BROKEN
]
ANTHROPIC_REQUESTS = recorded("anthropic.messages") + captured("/v1/messages")

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
}
"""Client's dialect -> what the tables mark as C and the requests ask for: nothing of what stands in
the conversation."""


def whole(body: JSON) -> JSON:
    """Bedrock's and Azure's URLs have the model."""
    return {**body, "model": body.get("model") or "m"}


def translated(dialect: str, body: JSON, model: str) -> tuple[JSON, str]:
    """The body for a backend of the other dialect, and the header. Raises Refused."""
    backend, losses = OTHER[dialect], Losses()
    request = msgspec.structs.replace(ADAPTERS[dialect].decode_request(whole(body)), model=model)
    out = ADAPTERS[backend].encode_request(request, profile(backend, model), losses)
    return out, listed(losses.paths)


def check(dialect: str, body: JSON) -> None:
    backend, before = OTHER[dialect], json.dumps(body)
    for model in MODELS[backend]:
        try:
            out, _ = translated(dialect, body, model)
        except Refused as error:
            assert error.info.kind == "unsupported", error.info
            assert error.info.param in REFUSED[dialect], error.info
            continue
        hint = (STREAMED if out.get("stream") else PLAIN)[backend]
        known = {k: v for k, v in out.items() if backend == "openai" or k not in NOT_IN_THE_SDK}
        accept(hint, known, closed=model.startswith(("claude", "gpt")))
        assert out == translated(dialect, body, model)[0]
    assert json.dumps(body) == before


@pytest.mark.parametrize("case", OPENAI_REQUESTS, ids=lambda case: case[0])
def test_a_recorded_chat_request_goes_to_anthropic(case: tuple[str, JSON]) -> None:
    check("openai", case[1])


@pytest.mark.parametrize("case", ANTHROPIC_REQUESTS, ids=lambda case: case[0])
def test_a_recorded_messages_request_goes_to_openai(case: tuple[str, JSON]) -> None:
    check("anthropic", case[1])


def reported(dialect: str, cases: list[tuple[str, JSON]], model: str) -> set[str]:
    """All that is reported for ``cases``, and what is refused, as ``!path``."""
    found = set()
    for _, body in cases:
        try:
            found.update(translated(dialect, body, model)[1].split(","))
        except Refused as error:
            found.add(f"!{error.info.param}")
    return found - {""}


CLAUDE_CODE = [case for case in captured("/v1/messages") if case[0].startswith("claude-code")]
CHAT_CLIENTS = captured("/v1/chat/completions")


@pytest.mark.skipif(not CLAUDE_CODE, reason="no captures")
def test_what_a_coding_agent_loses_with_another_vendors_model() -> None:
    assert reported("anthropic", CLAUDE_CODE, "gpt-4o") == {
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
    assert reported("openai", CHAT_CLIENTS, "claude-opus-5-5") == {
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
