"""How models and hosts of the OpenAI format are told not to reason, and to reason."""

from typing import Any

import pytest

from lmbroker.translation.dialects.anthropic_messages.decode_request import decode_request
from lmbroker.translation.dialects.openai_chat.encode_request import encode_request
from lmbroker.translation.losses import Losses, listed
from lmbroker.translation.profiles.lookup import profile

JSON = dict[str, Any]

FIELDS = (
    "chat_template_kwargs",
    "enable_thinking",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "thinking_budget",
)
EFFORT = {"reasoning_effort": "none"}
THINKING = {"thinking": {"type": "disabled"}}
QWEN = {"chat_template_kwargs": {"enable_thinking": False}}
DEEPSEEK = {"chat_template_kwargs": {"thinking": False}}
BOTH = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}


def asked(model: str, host: str = "", overrides: Any = None, **fields: Any) -> tuple[JSON, str]:
    body = {"model": model, "max_tokens": 9000, **fields}
    body["messages"] = [{"role": "user", "content": "Hello"}]
    losses = Losses()
    known = profile("openai", model, overrides, host=host)
    out = encode_request(decode_request(body), known, losses)
    return {name: out[name] for name in FIELDS if name in out}, listed(losses.paths)


@pytest.mark.parametrize(
    ("model", "host", "wire"),
    [
        ("house-model", "", {**EFFORT, **BOTH}),
        ("house-model", "gpu.example", {**EFFORT, **BOTH}),
        ("llama3.1:8b", "", {**EFFORT, **BOTH}),
        ("Qwen/Qwen3-8B", "", QWEN),
        ("qwen3-max", "dashscope.aliyuncs.com", {"enable_thinking": False}),
        ("qwen/qwen3-32b", "api.groq.com", EFFORT),
        ("deepseek-ai/DeepSeek-V3.1", "", DEEPSEEK),
        ("deepseek-v4-pro", "", THINKING),
        ("deepseek-ai/DeepSeek-V3.1", "api.deepseek.com", THINKING),
        ("deepseek-ai/DeepSeek-V3.1", "integrate.api.nvidia.com", BOTH),
        ("deepseek/deepseek-v3.2", "openrouter.ai", {"reasoning": {"enabled": False}}),
        ("moonshotai/Kimi-K2.6", "", {**THINKING, **BOTH}),
        ("kimi-k2.6", "api.moonshot.ai", THINKING),
        ("moonshotai/Kimi-K2.6", "api.together.xyz", {"reasoning": {"enabled": False}}),
        ("zai-org/GLM-5", "", {**THINKING, **BOTH}),
        ("glm-5", "api.z.ai", THINKING),
        ("zai-glm-4.7", "api.cerebras.ai", EFFORT),
        ("doubao-seed-1-6-250615", "ark.cn-beijing.volces.com", THINKING),
        ("ep-2026", "ark.cn-beijing.volces.com", THINKING),
        ("gpt-5.2", "", EFFORT),
        ("gpt-5.2", "api.openai.com", EFFORT),
        ("gemini-2.5-flash", "generativelanguage.googleapis.com", EFFORT),
        ("mistral-medium-latest", "api.mistral.ai", EFFORT),
        ("anthropic/claude-sonnet-4.6", "", EFFORT),
        ("accounts/fireworks/models/glm-5", "api.fireworks.ai", EFFORT),
    ],
)
def test_do_not_think_is_said_in_words_that_are_obeyed(model: str, host: str, wire: JSON) -> None:
    off = {"thinking": {"type": "disabled"}}
    assert asked(model, host, **off) == (wire, "")
    # Some refuse an effort beside it, so it is left out.
    beside = {**off, "output_config": {"effort": "high"}}
    assert asked(model, host, **beside) == (wire, "output_config.effort")


@pytest.mark.parametrize(
    ("model", "wire"),
    [
        ("gpt-5", {"reasoning_effort": "minimal"}),
        ("o3", {"reasoning_effort": "low"}),
        ("gpt-oss-120b", {"reasoning_effort": "low"}),
        ("gemini-3-pro-preview", {"reasoning_effort": "minimal"}),
        ("grok-3-mini", {"reasoning_effort": "low"}),
        ("MiniMaxAI/MiniMax-M2.7", {"reasoning_effort": "low"}),
    ],
)
def test_a_model_that_always_thinks_is_asked_for_little_and_that_is_told(
    model: str, wire: JSON
) -> None:
    assert asked(model, thinking={"type": "disabled"}) == (wire, "thinking")


HIGH = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}


@pytest.mark.parametrize(
    ("model", "host", "wire", "lost"),
    [
        ("house-model", "", {"reasoning_effort": "high"}, ""),
        ("llama3.1:8b", "", {"reasoning_effort": "high"}, ""),
        ("gpt-4o", "", {"reasoning_effort": "high"}, ""),
        ("qwen/qwen3-32b", "api.groq.com", {}, "output_config.effort"),
        ("qwen3-max", "dashscope.aliyuncs.com", {"enable_thinking": True}, "output_config.effort"),
        ("mistral-medium-latest", "", {"reasoning_effort": "high"}, ""),
    ],
)
def test_thinking_is_asked_for_whatever_the_model_is_called(
    model: str, host: str, wire: JSON, lost: str
) -> None:
    assert asked(model, host, **HIGH) == (wire, lost)


def test_little_thinking_is_never_none() -> None:
    low = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    found = asked("mistral-medium-latest", **low)
    assert found == ({"reasoning_effort": "high"}, "output_config.effort")


def test_a_budget_of_tokens_reaches_those_who_take_one() -> None:
    budget = {"thinking": {"type": "enabled", "budget_tokens": 4000}}
    wire = {"enable_thinking": True, "thinking_budget": 4000}
    assert asked("qwen3-max", "dashscope.aliyuncs.com", **budget) == (wire, "")


def test_what_was_learned_is_obeyed() -> None:
    off = {"thinking": {"type": "disabled"}}
    levels = {"effort": ("low", "medium", "high")}
    assert asked("house-model", overrides=levels, **off) == (BOTH, "")
    assert asked("house-model", overrides={"effort": ()}, **HIGH) == ({}, "output_config.effort")
