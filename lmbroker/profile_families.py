"""Built-in knowledge of model families, as data (translation.md 0.3, state of November 2026).

Each row is a pattern on the normalised model name (``profiles.normalised``: lower case, no
vendor prefix, no ``.``) and what differs from the profile of an unknown model of that dialect.
The first row that matches counts. Nothing here is a rule of the broker: every value can be set
otherwise in the configuration, and those marked [?] are not verified.
"""

from typing import Any

Family = tuple[str, dict[str, Any]]

_MANUAL: dict[str, Any] = {
    "max_output": 64_000,
    "context": 200_000,
    "thinking_types": ("enabled", "disabled"),
    "effort": (),
    "sampling": "no_thinking",
    "temp_xor_top_p": True,
    "prefill": "native",
}
_SIX: dict[str, Any] = {
    "context": 1_000_000,
    "thinking_types": ("adaptive", "enabled", "disabled"),
    "effort": ("low", "medium", "high", "max"),
    "sampling": "no_thinking",
    "temp_xor_top_p": True,
}
_LATER: dict[str, Any] = {
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

ANTHROPIC: tuple[Family, ...] = (
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
    (r"claude-opus-4(-[01])?", {**_MANUAL, "max_output": 32_000, "structured_outputs": False}),
    (r"claude-sonnet-4(-0)?", {**_MANUAL, "structured_outputs": False}),
    (r"claude-3-7-sonnet", {**_MANUAL, "structured_outputs": False, "strict_tools": False}),
    (
        r"claude-3(-5)?-(opus|sonnet|haiku)",
        {
            **_MANUAL,
            "max_output": 8_192,
            "thinking_types": (),
            "structured_outputs": False,
            "strict_tools": False,
        },
    ),
)

_OPENAI: dict[str, Any] = {
    "max_tokens_field": "max_completion_tokens",
    "user_field": "safety_identifier",
    "service_tier": True,
    "pdf": True,
    "tool_id": r"^[A-Za-z0-9_-]{1,40}$",
}
_CHAT: dict[str, Any] = {**_OPENAI, "effort": (), "reasoning_control": "none"}
_THINKER: dict[str, Any] = {
    **_OPENAI,
    "system_role": "developer",
    "sampling": "none",
    "stop": False,
    "max_output": 128_000,
    "context": 400_000,
}
_TO_XHIGH = ("none", "low", "medium", "high", "xhigh")
_MODERN: dict[str, Any] = {**_THINKER, "sampling": "no_thinking", "effort": _TO_XHIGH}
_LOCAL: dict[str, Any] = {"user_field": "none", "system_first_only": True, "strict_tools": False}

OPENAI: tuple[Family, ...] = (
    # [?] gpt-5-chat and gpt-5-pro
    (r"gpt-5(-\d)?-chat", {**_CHAT, "max_output": 16_384, "context": 128_000}),
    (r"gpt-5(-\d)?-pro", {**_THINKER, "effort": ("high",)}),
    (r"gpt-5-1-codex-max", {**_MODERN, "effort": ("none", "low", "medium", "high", "xhigh")}),
    (r"gpt-5-1(?!\d)", {**_MODERN, "effort": ("none", "low", "medium", "high")}),
    (r"gpt-5-[23](?!\d)", _MODERN),
    (r"gpt-5-\d{1,2}(?!\d)", {**_MODERN, "tools_with_reasoning": False}),
    (r"gpt-5", {**_THINKER, "effort": ("minimal", "low", "medium", "high")}),
    (r"gpt-[6-9]", {**_MODERN, "tools_with_reasoning": False}),  # [?]
    (r"o1-mini|o1-preview", {**_THINKER, "effort": (), "reasoning_control": "none"}),
    (r"o[134]", {**_THINKER, "max_output": 100_000, "context": 200_000}),
    (r"(chatgpt-|gpt-)4o", {**_CHAT, "max_output": 16_384, "context": 128_000}),
    (r"gpt-4-1", {**_CHAT, "max_output": 32_768, "context": 1_047_576}),
    (r"gpt-4-turbo", {**_CHAT, "max_output": 4_096, "structured_outputs": False, "pdf": False}),
    (
        r"gpt-4|gpt-3-5",
        {
            **_CHAT,
            "structured_outputs": False,
            "strict_tools": False,
            "vision": False,
            "pdf": False,
        },
    ),
    (r"gpt-oss", {**_LOCAL, "vision": False}),
    (
        r"deepseek",
        {
            "reasoning_control": "deepseek",
            "replay_required": True,
            "effort": ("low", "high", "max"),
            "structured_outputs": False,
            "strict_tools": False,
            "vision": False,
            "user_field": "none",
        },
    ),
    (
        r"(open-)?(mistral|ministral|mixtral|magistral|codestral|devstral|pixtral)",
        {
            "tool_id": r"^[A-Za-z0-9]{9}$",
            "reasoning_control": "none",
            "effort": (),
            "prefill": "mistral",
            "user_field": "none",
            "stream_options": False,  # [?] some versions refuse it
        },
    ),
    (
        r"qwen|qwq",
        {
            **_LOCAL,
            "reasoning_control": "template_kwargs",
            "effort": (),
            "vision": False,
            "ext": ("top_k", "min_p", "repetition_penalty"),
        },
    ),
    (
        r"gemini-[3-9]",
        {
            "user_field": "none",
            "strict_tools": False,
            "effort": ("none", "low", "medium", "high"),
            "signed_calls": True,
        },
    ),
    (
        r"gemini",
        {"user_field": "none", "strict_tools": False, "effort": ("none", "low", "medium", "high")},
    ),
    (r"grok-3-mini", {"effort": ("low", "high"), "stop": False, "vision": False}),
    (r"grok", {"reasoning_control": "none", "effort": (), "stop": False}),  # [?]
    (
        r"(meta-)?llama|gemma|phi|codellama|vicuna|smollm|tinyllama|granite|command|nemotron",
        {**_LOCAL, "reasoning_control": "none", "effort": (), "vision": False},
    ),
)
