"""Built-in knowledge of model families that speak Chat Completions, as data.

See translation.md 0.3; state of November 2026. Each row is a pattern on the normalised model name
(``profile.normalised``: lower case, no vendor prefix, no ``.``) and what differs from the profile
of an unknown model (``UNKNOWN``). The first row that matches counts. The comment above a row says
where it comes from. Nothing here is a rule of the broker: the configuration can set every value,
and those marked [?] are not verified. A row chooses between two ways of saying a thing; none says
that a model takes no images, files, schemas, strict tools, stop sequences or reasoning.
"""

from typing import Any

from lmbroker.translation.profiles.profile import Family, Profile

UNKNOWN = Profile(
    thinking_types=(),
    effort=("none", "low", "medium", "high"),
    reasoning_off=("effort", "template_kwargs"),
    template_switches=("enable_thinking", "thinking"),
    mid_system=True,
    tool_result_images=False,
    cache_breakpoints=False,
    reasoning_replay="origin",
    counts_tokens=False,
)
"""To turn reasoning off, an unknown model gets the fields that most servers obey: effort (the
format's own field), and the switch of the chat template (vLLM, SGLang and older llama.cpp)."""

_CACHE = ("prompt_cache_key", "prompt_cache_retention")
_OPENAI: dict[str, Any] = {
    "ext": _CACHE,
    "max_tokens_field": "max_completion_tokens",
    "user_field": "safety_identifier",
    "service_tier": True,
    "tool_id": r"^[A-Za-z0-9_-]{1,40}$",
    "effort": ("low", "medium", "high"),
    "reasoning_off": (),
    "prefill": "no",  # an answer at the end is not continued: the model begins a new one
}
_THINKER: dict[str, Any] = {
    **_OPENAI,
    "ext": (*_CACHE, "verbosity"),
    "system_role": "developer",
    "sampling": "none",
    "max_output": 128_000,
    "context": 400_000,
}
_MODERN: dict[str, Any] = {
    **_THINKER,
    "sampling": "no_thinking",
    "effort": ("none", "low", "medium", "high", "xhigh"),
}
_MARKED: dict[str, Any] = {**_MODERN, "cache_breakpoints": True}
_LOCAL: dict[str, Any] = {"user_field": "none", "system_first_only": True}
_BY_THINKING: dict[str, Any] = {"reasoning_control": "deepseek", "reasoning_off": ()}

_GEMINI: dict[str, Any] = {
    "user_field": "none",
    "thinking_default": "always",
    "effort": ("minimal", "low", "medium", "high"),
    "reasoning_off": (),
}

FAMILIES: tuple[Family, ...] = (
    # OpenAI: developers.openai.com/api/docs/models and the reference of Chat Completions
    # (max_completion_tokens, safety_identifier, reasoning_effort by model).
    # [?] gpt-5-chat and gpt-5-pro
    (r"gpt-5(-\d)?-chat", {**_OPENAI, "max_output": 16_384, "context": 128_000}),
    (r"gpt-5(-\d)?-pro", {**_THINKER, "effort": ("high",)}),
    (r"gpt-5-1-codex-max", _MODERN),
    (r"gpt-5-1(?!\d)", {**_MODERN, "effort": ("none", "low", "medium", "high")}),
    (r"gpt-5-[2-5](?!\d)", _MODERN),
    # prompt_cache_breakpoint came with gpt-5.6 (OpenAI's guide to prompt caching)
    (r"gpt-5-\d{1,2}(?!\d)", _MARKED),
    (r"gpt-5", {**_THINKER, "effort": ("minimal", "low", "medium", "high")}),
    (r"gpt-[6-9]", _MARKED),  # [?]
    (r"o[134]", {**_THINKER, "max_output": 100_000, "context": 200_000}),
    (r"(chatgpt-|gpt-)4o", {**_OPENAI, "max_output": 16_384, "context": 128_000}),
    (r"gpt-4-1", {**_OPENAI, "max_output": 32_768, "context": 1_047_576}),
    (r"gpt-4-turbo", {**_OPENAI, "max_output": 4_096}),
    (r"gpt-4|gpt-3-5", _OPENAI),
    # The model card on Hugging Face: three levels, and no way to turn reasoning off.
    (
        r"gpt-oss",
        {
            **_LOCAL,
            "thinking_default": "always",
            "effort": ("low", "medium", "high"),
            "reasoning_off": (),
        },
    ),
    # Weights that are served by others: their chat templates know a switch called `thinking`
    # (model card of DeepSeek-V3.1); the first R1 servers left its reasoning in the text.
    (
        r"deepseek-(v[0-3]|r1)",
        {
            "user_field": "none",
            "reasoning_control": "template_kwargs",
            "reasoning_off": (),
            "template_switches": ("thinking",),
            "think_tags": True,
        },
    ),
    # api-docs.deepseek.com: thinking mode; its tool calls want their reasoning_content back.
    (
        r"deepseek",
        {
            **_BY_THINKING,
            "replay_required": True,
            "effort": ("low", "high", "max"),
            "user_field": "none",
        },
    ),
    # platform.kimi.ai/docs/api/models-overview (thinking), and the refusal of tool calls whose
    # reasoning_content is missing.
    (
        r"kimi-k2-thinking",
        {
            "user_field": "none",
            "replay_required": True,
            "thinking_default": "always",
        },
    ),
    (
        r"kimi|moonshot",
        {
            **_BY_THINKING,
            "user_field": "none",
            "replay_required": True,
            "reasoning_off": ("deepseek", "template_kwargs"),
        },
    ),
    # docs.z.ai, deep thinking; chat templates of the weights know `enable_thinking`.
    (
        r"(chat)?glm",
        {**_BY_THINKING, "user_field": "none", "reasoning_off": ("deepseek", "template_kwargs")},
    ),
    # platform.minimax.io, OpenAI-compatible API: reasons always, between <think> tags in the text
    # unless reasoning_split is set.
    (
        r"minimax|abab",
        {"user_field": "none", "thinking_default": "always", "think_tags": True},
    ),
    # volcengine.com/docs/82379, deep thinking: thinking.type and reasoning_effort
    (
        r"doubao|seed",
        {**_BY_THINKING, "user_field": "none", "effort": ("minimal", "low", "medium", "high")},
    ),
    # docs.mistral.ai: ids of nine characters, prefix for an answer to be continued,
    # reasoning_effort high or none. Templates and API refuse a user's message after a tool's, and
    # templates refuse speakers that do not take turns (mistral-common, its validator).
    (
        r"(open-)?(mistral|ministral|mixtral|magistral|codestral|devstral|pixtral)",
        {
            "tool_id": r"^[A-Za-z0-9]{9}$",
            "effort": ("none", "high"),
            "reasoning_off": (),
            "prefill": "mistral",
            "user_field": "none",
            "system_first_only": True,
            "alternate_roles": True,
            "after_tool": "merge",
        },
    ),
    # qwen.readthedocs.io, deployment with vLLM: enable_thinking; templates of Qwen 3.5 and later
    # refuse a system message that is not the first.
    (
        r"qwen|qwq",
        {
            **_LOCAL,
            "reasoning_control": "template_kwargs",
            "reasoning_off": (),
            "template_switches": ("enable_thinking",),
            "ext": ("top_k", "min_p", "repetition_penalty"),
        },
    ),
    # ai.google.dev/gemini-api/docs/openai: levels of effort; only 2.5 can turn reasoning off.
    (r"gemini-2-5-pro", _GEMINI),
    # ai.google.dev/gemini-api/docs/thought-signatures
    (r"gemini-([3-9]|pro-latest)", {**_GEMINI, "signed_calls": True}),
    (r"gemini", {"user_field": "none", "reasoning_off": ("effort",)}),
    # docs.x.ai, reasoning
    (r"grok-3-mini", {"effort": ("low", "high"), "reasoning_off": ()}),
    (r"grok", {"reasoning_off": ("effort",)}),
    # Claude behind a gateway (docs.litellm.ai and openrouter.ai/docs, prompt caching): cache marks
    # in Anthropic's form.
    (
        r"claude",
        {
            "effort": ("none", "low", "medium", "high", "xhigh", "max"),
            "reasoning_off": ("effort",),
            "cache_breakpoints": True,
            "cache_marks": "cache_control",
        },
    ),
    # Chat templates that take one system message at the start (model cards on Hugging Face)
    (
        r"(meta-)?llama|gemma|phi|codellama|vicuna|smollm|tinyllama|granite|command|nemotron",
        _LOCAL,
    ),
)
