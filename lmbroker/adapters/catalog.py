"""Dialect name -> adapter. A new dialect is a new package and one row here."""

from lmbroker.adapters.anthropic_messages.adapter import AnthropicMessages
from lmbroker.adapters.base import Adapter
from lmbroker.adapters.openai_chat.adapter import OpenAIChat

ADAPTERS: dict[str, Adapter] = {
    "anthropic": AnthropicMessages(),
    "openai": OpenAIChat(),
}
