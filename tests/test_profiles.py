"""Profiles: built-in families by name, overridden by the configuration."""

import re
from pathlib import Path

import pytest

from lmbroker.translation.dialects.anthropic_messages.families import FAMILIES as ANTHROPIC
from lmbroker.translation.dialects.anthropic_messages.families import UNKNOWN as UNKNOWN_ANTHROPIC
from lmbroker.translation.dialects.openai.families import FAMILIES as OPENAI
from lmbroker.translation.dialects.openai.families import UNKNOWN as UNKNOWN_OPENAI
from lmbroker.translation.dialects.openai.hosts import HOSTS
from lmbroker.translation.dialects.openai_responses.families import FAMILIES as RESPONSES
from lmbroker.translation.dialects.openai_responses.families import UNKNOWN as UNKNOWN_RESPONSES
from lmbroker.translation.dialects.openai_responses.hosts import HOSTS as RESPONSES_HOSTS
from lmbroker.translation.profiles.lookup import explained, profile
from lmbroker.translation.profiles.profile import Profile, normalised

SPECIFICATION = Path(__file__).resolve().parents[1] / "docs" / "design" / "translation.md"


@pytest.mark.parametrize(
    ("model", "same"),
    [
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("claude-4.6-sonnet", "claude-sonnet-4-6"),
        ("openrouter/anthropic/claude-opus-5.5", "claude-opus-5-5"),
        ("Claude-Opus-5", "claude-opus-5"),
        ("claude-opus-5-20260801", "claude-opus-5"),
    ],
)
def test_names_of_one_family(model: str, same: str) -> None:
    assert profile("anthropic", model) == profile("anthropic", same)
    assert profile("anthropic", model) != UNKNOWN_ANTHROPIC


def test_a_version_is_a_whole_number() -> None:
    assert profile("anthropic", "claude-opus-5-5") != profile("anthropic", "claude-opus-5")
    unknown_claude = profile("anthropic", "house-model", {"reasoning_replay": "none"})
    assert profile("anthropic", "claude-opus-5-9") == unknown_claude
    assert profile("anthropic", "claude-opus-50") == unknown_claude
    assert profile("openai", "gpt-5-2025-08-07") == profile("openai", "gpt-5")
    assert profile("openai", "gpt-5.1-2025-11-13") == profile("openai", "gpt-5.1")


@pytest.mark.parametrize(
    ("model", "types", "default", "sampling", "forced", "prefill", "mid_system"),
    [
        ("claude-haiku-4-5", ("enabled", "disabled"), "off", "no_thinking", True, True, False),
        ("claude-sonnet-4-6", ("adaptive", "enabled", "disabled"), "off", "no_thinking", True,
         False, False),
        ("claude-opus-4-7", ("adaptive", "disabled"), "off", "none", True, False, False),
        ("claude-opus-4-8", ("adaptive", "disabled"), "off", "none", True, False, True),
        ("claude-sonnet-5", ("adaptive", "disabled"), "on", "none", True, False, False),
        ("claude-opus-5", ("adaptive", "disabled"), "on", "none", True, False, True),
        ("claude-fable-5", ("adaptive",), "always", "none", True, False, True),
        ("claude-fable-5-1", ("adaptive",), "always", "none", False, False, True),
        ("claude-mythos-5", ("adaptive",), "always", "none", True, False, True),
        ("claude-opus-5-5", ("adaptive",), "always", "none", False, False, True),
        ("claude-sonnet-5-5", ("adaptive", "between_tools"), "on", "none", False, False, True),
    ],
)  # fmt: skip
def test_anthropic_families(
    model: str,
    types: tuple[str, ...],
    default: str,
    sampling: str,
    forced: bool,
    prefill: bool,
    mid_system: bool,
) -> None:
    found = profile("anthropic", model)
    assert (found.thinking_types, found.thinking_default) == (types, default)
    assert (found.sampling, found.forced_tools) == (sampling, forced)
    assert (found.prefill != "no", found.mid_system) == (prefill, mid_system)


def test_openai_families() -> None:
    gpt_5 = profile("openai", "gpt-5-mini")
    assert gpt_5.max_tokens_field == "max_completion_tokens"
    assert gpt_5.effort[0] == "minimal" and gpt_5.sampling == "none"
    assert profile("openai", "openai/gpt-4o-mini").sampling == "full"
    assert profile("openai", "mistral-large-latest").tool_id == r"^[A-Za-z0-9]{9}$"
    deepseek = profile("openai", "deepseek-chat")
    assert deepseek.reasoning_control == "deepseek" and deepseek.replay_required
    assert profile("openai", "qwen3:8b").reasoning_control == "template_kwargs"
    assert profile("openai", "gemini-2.5-pro").ext == ()


def test_unknown_models_get_the_careful_profile() -> None:
    assert profile("anthropic", "house-model") == UNKNOWN_ANTHROPIC
    assert Profile(reasoning_replay="origin") == UNKNOWN_ANTHROPIC
    assert profile("openai", "house-model") == UNKNOWN_OPENAI
    assert profile("responses", "house-model") == UNKNOWN_RESPONSES


@pytest.mark.parametrize(
    ("host", "model", "field", "value"),
    [
        ("", "gpt-5.6", "instructions", "field"),
        ("", "house-model", "instructions", "field"),
        ("", "qwen3", "instructions", "message"),
        ("openrouter.ai", "openai/gpt-5.6", "instructions", "message"),
        ("mine.openai.azure.com", "chat-prod", "instructions", "field"),
        ("mine.openai.azure.com", "chat-prod", "ranges", (("max_output_tokens", 16, 10**9),)),
        ("", "gpt-4o", "ranges", (("max_output_tokens", 16, 10**9),)),
        ("", "house-model", "ranges", ()),
        ("", "gpt-5.2", "tool_id", r"^[A-Za-z0-9_-]{1,64}$"),
        ("", "mistral-large", "tool_id", r"^[A-Za-z0-9]{9}$"),
        ("", "gpt-5.6", "cache_breakpoints", True),
        ("", "o3", "system_role", "developer"),
        ("", "minimax-m2", "think_tags", False),
    ],
)
def test_what_is_known_of_responses(host: str, model: str, field: str, value: object) -> None:
    assert getattr(profile("responses", model, host=host), field) == value


def test_the_configuration_wins() -> None:
    found = profile("anthropic", "claude-opus-5", {"max_output": 1000, "effort": ["low"]})
    assert (found.max_output, found.effort) == (1000, ("low",))
    assert found.thinking_default == "on"
    with pytest.raises(TypeError):
        profile("anthropic", "claude-opus-5", {"max_ouput": 1000})


def test_every_row_names_fields_of_a_profile() -> None:
    known = set(Profile.__struct_fields__)
    assert all(set(fields) <= known for _, fields in (*ANTHROPIC, *OPENAI, *RESPONSES))
    assert all(set(fields) <= known for _, _, fields in (*HOSTS, *RESPONSES_HOSTS))


CAPABILITIES = (
    "forced_tools",
    "json_object",
    "pdf",
    "stop",
    "strict_tools",
    "structured_outputs",
    "tools_with_reasoning",
    "vision",
)
"""What a row must not take away: whether a model can do it, its backend says itself."""


@pytest.mark.parametrize(
    "fields",
    [f for _, f in (*OPENAI, *RESPONSES)] + [f for _, _, f in (*HOSTS, *RESPONSES_HOSTS)],
)
def test_no_row_takes_a_capability_away(fields: dict[str, object]) -> None:
    assert not [name for name in CAPABILITIES if fields.get(name) is False]
    assert fields.get("reasoning_control") != "none" and fields.get("effort") != ()
    assert not {"omit", "stop_max", "omit_schema_keywords"} & set(fields)


@pytest.mark.parametrize("fields", [fields for _, fields in ANTHROPIC])
def test_no_row_of_anthropics_takes_a_capability_away(fields: dict[str, object]) -> None:
    # Newer models refuse forced tools, as their documentation says: an instruction stands in.
    assert not [n for n in CAPABILITIES if n != "forced_tools" and fields.get(n) is False]
    assert fields.get("thinking_types") != ()


@pytest.mark.parametrize(
    ("host", "model", "field", "value"),
    [
        ("api.groq.com", "openai/gpt-oss-120b", "max_tokens_field", "max_completion_tokens"),
        ("api.groq.com", "qwen/qwen3-32b", "effort", ("none",)),
        ("API.Groq.com", "qwen/qwen3-32b", "reasoning_control", "effort"),
        ("openrouter.ai", "qwen/qwen3-32b", "reasoning_control", "openrouter"),
        ("openrouter.ai", "anthropic/claude-sonnet-4.6", "cache_marks", "cache_control"),
        ("openrouter.ai", "openai/gpt-5.6", "cache_breakpoints", False),
        ("mine.openai.azure.com", "chat-prod", "max_tokens_field", "max_completion_tokens"),
        ("dashscope-intl.aliyuncs.com", "qwen3-max", "reasoning_control", "enable_thinking"),
        ("api.together.xyz", "zai-org/GLM-5", "reasoning_off", ("openrouter",)),
        ("ark.cn-beijing.volces.com", "ep-1234", "reasoning_control", "deepseek"),
        ("api.mistral.ai", "mistral-large-latest", "stream_options", False),
        ("api.mistral.ai", "mistral-large-latest", "after_tool", "merge"),
        ("notgroq.com", "house-model", "max_tokens_field", "max_tokens"),
        ("", "house-model", "max_tokens_field", "max_tokens"),
    ],
)
def test_hosts(host: str, model: str, field: str, value: object) -> None:
    assert getattr(profile("openai", model, host=host), field) == value


def test_a_host_says_nothing_of_anthropics_format() -> None:
    assert profile("anthropic", "m", host="openrouter.ai") == profile("anthropic", "m")


def test_whoever_names_the_way_to_control_reasoning_means_it_for_off_too() -> None:
    found = profile("openai", "kimi-k2.6", {"reasoning_control": "template_kwargs"})
    assert (found.reasoning_off, found.template_switches) == ((), ("enable_thinking",))
    both = {"reasoning_control": "effort", "reasoning_off": ["effort", "deepseek"]}
    assert profile("openai", "m", both).reasoning_off == ("effort", "deepseek")


@pytest.mark.parametrize("host", ["", *sorted({ending for ending, _, _ in HOSTS})])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_what_is_told_is_what_holds(dialect: str, host: str) -> None:
    for model in ("house-model", "qwen3", "claude-sonnet-4-6", "gpt-oss", "kimi-k2.6"):
        for configured in ({}, {"vision": False, "effort": ["low"], "reasoning_control": "none"}):
            lines = list(explained(dialect, model, host, (("configured", configured),)))
            assert {field: value for field, value, _ in lines} == {
                name: getattr(profile(dialect, model, configured, host=host), name)
                for name in Profile.__struct_fields__
            }
            assert {field for field, _, source in lines if source == "configured"} == set(
                configured
            )
            assert (host and dialect == "openai") or all(source != "host" for *_, source in lines)


def test_normalised_names() -> None:
    assert normalised("bedrock/eu.anthropic.claude-sonnet-4-5-v1:0") == "claude-sonnet-4-5-v1:0"
    assert normalised("claude-3.5-sonnet") == "claude-3-5-sonnet"


def test_the_specification_names_each_field() -> None:
    text = SPECIFICATION.read_text()
    table = text[text.index("\n### 0.3") : text.index("\n### 0.4")]
    named = set(re.findall(r"`(\w+)`", table))
    assert set(Profile.__struct_fields__) <= named
