"""All dialects, by name. A new dialect is a new folder and one row here."""

from lmbroker.translation.dialects.anthropic_messages.adapter import AnthropicMessages
from lmbroker.translation.dialects.base import Adapter
from lmbroker.translation.dialects.openai_chat.adapter import OpenAIChat

ADAPTERS: dict[str, Adapter] = {
    adapter.facts.name: adapter
    for adapter in (
        OpenAIChat(),
        AnthropicMessages(),
    )
}
"""The adapter of each dialect, which holds its facts. The first dialect is the one that is assumed
where a client does not show which one it speaks."""
