"""The providers that configurations name by a word: where they are, and what they speak."""

from collections.abc import Mapping
from typing import Any

import msgspec

CHAT = "openai"
"""The type of backends that speak Chat Completions."""

MESSAGES = "anthropic"
"""The type of backends that speak Anthropic's Messages."""


class Provider(msgspec.Struct, frozen=True):
    """A provider: the type of its backend, its base URL, and the variable that holds its key.

    ``url`` is "" where each user has one of their own. ``more`` are other keys of the backend.
    """

    url: str = ""
    key: str = ""
    type: str = CHAT
    more: Mapping[str, Any] = {}


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com", "OPENAI_API_KEY", CHAT, {"responses": "auto"}),
    "anthropic": Provider("https://api.anthropic.com", "ANTHROPIC_API_KEY", MESSAGES),
    "gemini": Provider("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": Provider("https://api.mistral.ai", "MISTRAL_API_KEY"),
    "deepseek": Provider("https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together_ai": Provider("https://api.together.xyz", "TOGETHERAI_API_KEY"),
    "fireworks_ai": Provider("https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "xai": Provider("https://api.x.ai", "XAI_API_KEY"),
    "cerebras": Provider("https://api.cerebras.ai", "CEREBRAS_API_KEY"),
    "nvidia_nim": Provider("https://integrate.api.nvidia.com", "NVIDIA_NIM_API_KEY"),
    "deepinfra": Provider("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "sambanova": Provider("https://api.sambanova.ai", "SAMBANOVA_API_KEY"),
    "moonshot": Provider("https://api.moonshot.ai", "MOONSHOT_API_KEY"),
    "dashscope": Provider(
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"
    ),
    "zai": Provider("https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    "ollama": Provider("http://localhost:11434"),
    "ollama_chat": Provider("http://localhost:11434"),
    "hosted_vllm": Provider(),
    "vllm": Provider(),
    "lm_studio": Provider("http://localhost:1234"),
    "llamafile": Provider("http://localhost:8080"),
    "custom_openai": Provider(),
    "openai_like": Provider(),
    "litellm_proxy": Provider(key="LITELLM_PROXY_API_KEY"),
}
"""By the words that LiteLLM has for them; those without a base URL need one."""
