"""Built-in knowledge of hosts that serve Responses, as data.

See translation.md 0.3; state of November 2026. As with families, the rows are those of OpenAI's
dialects, and a row chooses between two ways of saying a thing.
"""

from typing import Any

from lmbroker.translation.dialects.openai import hosts
from lmbroker.translation.dialects.openai_responses.families import LEAST_OUTPUT
from lmbroker.translation.profiles.profile import Host

_OTHER_FIELDS = frozenset(("max_tokens_field", "stream_options", "think_tags"))
"""Facts on fields of Chat Completions, or on servers that put reasoning into its text."""

_OPENAI = ("api.openai.com", "openai.azure.com", "cognitiveservices.azure.com")
"""Hosts of OpenAI's own models."""


def _here(ending: str, pattern: str, fields: dict[str, Any]) -> Host:
    """Return a row of OpenAI's dialects as it applies to this one."""
    kept = {name: value for name, value in fields.items() if name not in _OTHER_FIELDS}
    if ending in _OPENAI:
        kept |= {"ranges": (LEAST_OUTPUT,), "instructions": "field"}
    elif ending == "openrouter.ai":  # it ignores the field
        kept["instructions"] = "message"
    return ending, pattern, kept


HOSTS: tuple[Host, ...] = tuple(_here(*row) for row in hosts.HOSTS)
"""The first row that matches counts."""
