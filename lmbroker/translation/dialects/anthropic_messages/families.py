"""Built-in knowledge of model families that speak the Messages format, as data.

See translation.md 0.3; state of November 2026. Each row is a pattern on the normalised model name
(``profile.normalised``: lower case, no vendor prefix, no ``.``) and what differs from the profile
of an unknown model (``UNKNOWN``). The first row that matches counts. The comment above a row says
where it comes from. Nothing here is a rule of the broker: the configuration can set every value,
and those marked [?] are not verified. A row chooses between two ways of saying a thing; none says
that a model takes no images, files, schemas, strict tools, stop sequences or reasoning.
"""

from typing import Any

from lmbroker.translation.profiles.profile import Family, Profile

UNKNOWN = Profile(reasoning_replay="origin")
"""The profile of a model that no row matches."""

# Anthropic's pages on models, extended thinking, effort and structured outputs
_SIGNED: dict[str, Any] = {"reasoning_replay": "none"}  # Claude answers 400 to any other
_MANUAL: dict[str, Any] = {
    **_SIGNED,
    "max_output": 64_000,
    "context": 200_000,
    "thinking_types": ("enabled", "disabled"),
    "effort": (),
    "sampling": "no_thinking",
    "temp_xor_top_p": True,
    "prefill": "native",
}
_SIX: dict[str, Any] = {
    **_SIGNED,
    "prefill": "no",
    "context": 1_000_000,
    "thinking_types": ("adaptive", "enabled", "disabled"),
    "effort": ("low", "medium", "high", "max"),
    "sampling": "no_thinking",
    "temp_xor_top_p": True,
}
_LATER: dict[str, Any] = {
    **_SIGNED,
    "prefill": "no",
    "max_output": 128_000,
    "context": 1_000_000,
    "thinking_types": ("adaptive", "disabled"),
    "effort": ("low", "medium", "high", "xhigh", "max"),
    "sampling": "none",
}
_ON: dict[str, Any] = {**_LATER, "thinking_default": "on"}
_ALWAYS: dict[str, Any] = {
    **_LATER,
    "thinking_types": ("adaptive",),
    "thinking_default": "always",
    "mid_system": True,
}

FAMILIES: tuple[Family, ...] = (
    (r"claude-opus-5-5", {**_ALWAYS, "default_effort": "medium", "forced_tools": False}),
    (
        r"claude-sonnet-5-5",
        {
            **_ON,
            "thinking_types": ("adaptive", "between_tools"),
            "disabled_max_effort": "high",
            "forced_tools": False,
            "mid_system": True,
        },
    ),
    (
        # [?] max_output, effort, forced_tools and mid_system
        r"claude-haiku-5-5",
        {
            **_ON,
            "max_output": 64_000,
            "disabled_max_effort": "high",
            "default_effort": "medium",
            "forced_tools": False,
            "mid_system": True,
        },
    ),
    (r"claude-fable-5-1", {**_ALWAYS, "forced_tools": False}),
    (r"claude-(fable|mythos)-5", _ALWAYS),
    (r"claude-opus-5", {**_ON, "disabled_max_effort": "high", "mid_system": True}),
    (r"claude-sonnet-5", _ON),
    (r"claude-opus-4-8", {**_LATER, "mid_system": True}),
    (r"claude-opus-4-7", _LATER),
    (r"claude-opus-4-6", {**_SIX, "max_output": 128_000}),
    (r"claude-sonnet-4-6", {**_SIX, "max_output": 64_000}),
    (r"claude-opus-4-5", {**_MANUAL, "effort": ("low", "medium", "high")}),
    (r"claude-(haiku|sonnet)-4-5", _MANUAL),
    # [?] older models, as far as they are still served somewhere
    (r"claude-opus-4(-[01])?", {**_MANUAL, "max_output": 32_000}),
    (r"claude-sonnet-4(-0)?", _MANUAL),
    (r"claude-3-7-sonnet", _MANUAL),
    (r"claude-3(-5)?-(opus|sonnet|haiku)", {**_MANUAL, "max_output": 8_192}),
    (r"claude-", _SIGNED),
    # DeepSeek's guide to its Messages API (a call's thinking must come back) and the same of
    # Moonshot, MiniMax (interleaved thinking) and Zhipu; their servers sign nothing, or accept
    # thinking without a signature.
    (
        r"deepseek|kimi|moonshot|minimax|glm|qwen",
        {"reasoning_replay": "thinking"},
    ),
)
