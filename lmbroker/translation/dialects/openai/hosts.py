"""Built-in knowledge of hosts that serve models in OpenAI's formats, as data.

See translation.md 0.3; state of November 2026. Each row is the end of a host's name, a pattern on
the normalised model name, and what differs from what is known of the model's family. The first row
that matches counts. The comment above a row says where it comes from. As with families, a row
chooses between two ways of saying a thing.
"""

from typing import Any

from lmbroker.translation.profiles.profile import Host

_EFFORT: dict[str, Any] = {"reasoning_control": "effort", "reasoning_off": ("effort",)}
_THINKING: dict[str, Any] = {"reasoning_control": "deepseek", "reasoning_off": ()}
_SWITCH: dict[str, Any] = {"reasoning_control": "enable_thinking", "reasoning_off": ()}
_OPENROUTER: dict[str, Any] = {
    "reasoning_control": "openrouter",
    "reasoning_off": (),
    "max_tokens_field": "max_tokens",
    "user_field": "user",
    "ext": ("top_k", "min_p", "repetition_penalty"),
}
_NEW_LIMIT: dict[str, Any] = {"max_tokens_field": "max_completion_tokens"}
_LEVELS = ("none", "low", "medium", "high")

HOSTS: tuple[Host, ...] = (
    # openrouter.ai/docs: reasoning tokens, prompt caching (cache_control), parameters
    (
        "openrouter.ai",
        r"claude|gemini|qwen",
        {**_OPENROUTER, "cache_breakpoints": True, "cache_marks": "cache_control"},
    ),
    ("openrouter.ai", "", {**_OPENROUTER, "cache_breakpoints": False}),
    # developers.openai.com, reference of Chat Completions
    ("api.openai.com", "", {**_NEW_LIMIT, "user_field": "safety_identifier", "reasoning_off": ()}),
    # learn.microsoft.com, Azure OpenAI: a deployment may have any name
    ("openai.azure.com", "", {**_NEW_LIMIT, "user_field": "user", "reasoning_off": ()}),
    ("cognitiveservices.azure.com", "", {**_NEW_LIMIT, "user_field": "user", "reasoning_off": ()}),
    # console.groq.com/docs/reasoning: Qwen takes none (or default), gpt-oss three levels
    ("api.groq.com", "gpt-oss", {**_NEW_LIMIT, "user_field": "user"}),
    (
        "api.groq.com",
        "qwen",
        {**_NEW_LIMIT, **_EFFORT, "effort": ("none",), "user_field": "user", "ext": ()},
    ),
    ("api.groq.com", "", {**_NEW_LIMIT, **_EFFORT, "user_field": "user"}),
    # docs.together.ai/docs/inference/chat/reasoning: reasoning.enabled for hybrid models,
    # reasoning_effort for those with levels
    ("api.together.xyz", "gpt-oss", {"ext": ("top_k", "min_p", "repetition_penalty")}),
    (
        "api.together.xyz",
        "",
        {
            "reasoning_control": "effort",
            "reasoning_off": ("openrouter",),
            "ext": ("top_k", "min_p", "repetition_penalty"),
        },
    ),
    # docs.fireworks.ai, reasoning: reasoning_effort, none among its values
    ("api.fireworks.ai", "gpt-oss", {"ext": ("top_k", "min_p", "repetition_penalty")}),
    (
        "api.fireworks.ai",
        "",
        {**_EFFORT, "effort": _LEVELS, "ext": ("top_k", "min_p", "repetition_penalty")},
    ),
    # inference-docs.cerebras.ai, reasoning; a recording has reasoning_effort none
    ("api.cerebras.ai", "gpt-oss", {**_NEW_LIMIT, "user_field": "user"}),
    ("api.cerebras.ai", "", {**_NEW_LIMIT, **_EFFORT, "effort": _LEVELS, "user_field": "user"}),
    # api-docs.deepseek.com, thinking mode
    ("api.deepseek.com", "", _THINKING),
    # docs.mistral.ai/api: usage ends each stream unasked, and there is no field to ask for it
    ("api.mistral.ai", "", {"stream_options": False, "reasoning_off": ("effort",)}),
    # ai.google.dev/gemini-api/docs/openai
    ("generativelanguage.googleapis.com", "", {"reasoning_control": "effort"}),
    ("aiplatform.googleapis.com", "gemini", {"reasoning_control": "effort"}),
    # platform.kimi.ai/docs/api/models-overview: K2.5 and later fix the sampling
    ("moonshot.ai", "kimi-k2-[5-9]", {**_THINKING, "sampling": "none"}),
    ("moonshot.cn", "kimi-k2-[5-9]", {**_THINKING, "sampling": "none"}),
    ("kimi.com", "", {**_THINKING, "sampling": "none"}),
    # docs.z.ai and docs.bigmodel.cn, deep thinking
    ("z.ai", "", _THINKING),
    ("bigmodel.cn", "", _THINKING),
    # platform.minimax.io
    ("minimax.io", "", {"thinking_default": "always", "think_tags": True}),
    ("minimaxi.com", "", {"thinking_default": "always", "think_tags": True}),
    # help.aliyun.com (Model Studio), deep thinking: enable_thinking and thinking_budget beside the
    # other fields; docs.siliconflow.cn has the same
    ("aliyuncs.com", "", {**_SWITCH, "ext": ("top_k", "repetition_penalty")}),
    ("siliconflow.cn", "", {**_SWITCH, "ext": ("top_k", "min_p")}),
    ("siliconflow.com", "", {**_SWITCH, "ext": ("top_k", "min_p")}),
    # volcengine.com/docs/82379 and docs.byteplus.com, deep thinking: endpoints have any name
    ("volces.com", "", {**_THINKING, "effort": ("minimal", "low", "medium", "high")}),
    ("bytepluses.com", "", {**_THINKING, "effort": ("minimal", "low", "medium", "high")}),
    # docs.api.nvidia.com/nim: the switch of the model's chat template
    ("integrate.api.nvidia.com", "gpt-oss", {}),
    (
        "integrate.api.nvidia.com",
        "",
        {
            "reasoning_control": "template_kwargs",
            "reasoning_off": (),
            "template_switches": ("enable_thinking", "thinking"),
        },
    ),
    # docs.x.ai, chat completions
    ("api.x.ai", "", {"user_field": "user"}),
)
