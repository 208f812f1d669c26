"""Dialect name -> adapter. A new dialect is a new package and one row here."""

from lmbroker.translation.dialects.anthropic_messages.adapter import AnthropicMessages
from lmbroker.translation.dialects.base import Adapter
from lmbroker.translation.dialects.openai_chat.adapter import OpenAIChat

ADAPTERS: dict[str, Adapter] = {
    "anthropic": AnthropicMessages(),
    "openai": OpenAIChat(),
}
