"""Built-in knowledge of model families that are served over Responses, as data.

See translation.md 0.3; state of November 2026. A model has the same abilities whatever the format:
the rows are those of OpenAI's dialects without the facts on fields of Chat Completions, and with
what this format has of its own. Nothing here is a rule of the broker, as there.
"""

from typing import Any

from lmbroker.translation.dialects.openai import families
from lmbroker.translation.profiles.profile import Family, Profile

UNKNOWN = Profile(
    thinking_types=(),
    effort=("none", "low", "medium", "high"),
    reasoning_off=("effort",),
    mid_system=True,
    cache_breakpoints=False,
    reasoning_replay="origin",
    prefill="no",
    stop=False,
    allowed_tools=True,
    counts_tokens=True,
)
"""The format has no field for stop sequences, and continues no answer."""

LEAST_OUTPUT = ("max_output_tokens", 16, 1_000_000_000)
"""The range of the limit that OpenAI takes (in the words of its refusals)."""

_OTHER_FIELDS = frozenset(("max_tokens_field", "prefill", "stream_options", "think_tags"))
"""Facts on fields of Chat Completions, or on servers that put reasoning into its text."""

_OWN: dict[str, Any] = {"ranges": (LEAST_OUTPUT,)}


def _here(pattern: str, fields: dict[str, Any]) -> Family:
    """Return a row of OpenAI's dialects as it applies to this one."""
    kept = {name: value for name, value in fields.items() if name not in _OTHER_FIELDS}
    if not fields.get("service_tier"):
        kept["instructions"] = "message"
    else:  # OpenAI's own models
        del kept["tool_id"]  # ids of calls may be longer here: 64 characters
        kept |= _OWN
    return pattern, kept


FAMILIES: tuple[Family, ...] = tuple(_here(*row) for row in families.FAMILIES)
"""The first row that matches counts. Servers of others' models may ignore ``instructions``
(OpenRouter, LM Studio), and all of them read a first message."""
