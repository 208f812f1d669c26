"""One refusal to be repaired, and what a repair of it is."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lmbroker.translation.profiles.profile import Profile
from lmbroker.workflows.repairs.named_fields import Fields

LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")

EFFORT_FIELDS = frozenset({"reasoning_effort", "effort"})

THINKING_FIELDS = frozenset(
    {"thinking", "enable_thinking", "chat_template_kwargs", "reasoning", "think"}
)

SAMPLING: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
}
"""Sampling fields and what the formats allow: a client that leaves that gets the refusal."""


class Case(msgspec.Struct, kw_only=True):
    """One refusal: its words, and the request that it is about."""

    text: str
    fields: Fields
    profile: Profile
    prompt: Callable[[], int]

    @property
    def body(self) -> dict[str, Any]:
        """The request's fields by name."""
        return self.fields.body

    @property
    def limit_field(self) -> str:
        """The field with the limit of the answer's length, "" where the request has none."""
        return next((field for field in LIMIT_FIELDS if field in self.body), "")


Found = tuple[str, str, dict[str, Any], dict[str, Any]]
"""Kind of the repair, the parameter's name, the lasting change, the change for this call."""


def forces(body: Mapping[str, Any]) -> bool:
    """Whether the request makes the model call a tool."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return choice.get("type") not in ("auto", "none")
    return choice in ("required", "any")
