"""All dialects, by name. A new dialect is a new folder and one row here."""

from lmbroker.call import Operation
from lmbroker.translation.dialects.anthropic_messages.adapter import AnthropicMessages
from lmbroker.translation.dialects.base import Adapter
from lmbroker.translation.dialects.openai_chat.adapter import OpenAIChat
from lmbroker.translation.dialects.openai_responses.adapter import OpenAIResponses

ADAPTERS: dict[str, Adapter] = {
    adapter.facts.name: adapter
    for adapter in (
        OpenAIChat(),
        AnthropicMessages(),
        OpenAIResponses(),
    )
}
"""The adapter of each dialect, which holds its facts. The first dialect is the one that is assumed
where a client does not show which one it speaks."""


def second_dialects(dialect: str) -> dict[str, str]:
    """Return the further dialects in which a backend of ``dialect`` may be called.

    Each stands under the key of the configuration that says so.
    """
    api = ADAPTERS[dialect].facts.api
    return {
        adapter.facts.second_key: name
        for name, adapter in ADAPTERS.items()
        if api and adapter.facts.api == api and name != dialect and adapter.facts.second_key
    }


def client_paths() -> dict[str, tuple[Operation, str]]:
    """Return the paths on which clients call, each with its operation and its dialect."""
    return {
        path: (operation, name)
        for name, adapter in ADAPTERS.items()
        for path, operation in adapter.facts.client_paths.items()
    }
