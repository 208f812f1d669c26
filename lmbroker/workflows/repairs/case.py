"""One refusal that is to be repaired, and the form of a repair."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lmbroker.translation.profiles.profile import Profile
from lmbroker.workflows.repairs.named_fields import Fields

LIMIT_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")

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
"""Sampling fields and the ranges that the formats allow. A client that exceeds them gets the
refusal."""


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
"""A repair: its kind, the name of the parameter, the lasting change of the profile, and the change
for this call only."""


def forces(body: Mapping[str, Any]) -> bool:
    """Return whether the request makes the model call a tool."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return choice.get("type") not in ("auto", "none") and choice.get("mode") != "auto"
    return choice in ("required", "any")


def conversation(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a request by their roles, in each dialect's form.

    A result that is an item of its own is one of the role ``tool``.
    """
    found = []
    for message in body.get("messages") or body.get("input") or ():
        if not isinstance(message, dict):
            continue
        kind = message.get("type")
        if isinstance(kind, str) and kind.endswith("_output"):
            message = {"role": "tool", "content": message.get("output")}
        elif kind == "reasoning" or (isinstance(kind, str) and kind.endswith("_call")):
            message = {"role": "assistant", "content": None}
        found.append(message)
    return found


def reasoning_items(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the items of past reasoning in a request that has such."""
    items = body.get("input")
    return [
        item
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and item.get("type") == "reasoning"
    ]


def answer_format(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the field with the format of the answer, and what stands there.

    It is "" where there is none.
    """
    held = body.get("response_format")
    if held is not None:
        return "response_format", held if isinstance(held, dict) else {}
    for name in ("output_config", "text"):
        outer = body.get(name)
        inner = outer.get("format") if isinstance(outer, dict) else None
        if isinstance(inner, dict):
            return f"{name}.format", inner
    return "", {}
