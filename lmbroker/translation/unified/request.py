"""The Unified Model of a request: what a client asks, in no dialect's words.

Everything here is immutable. Source of the shapes: translation.md section 1.

``paths`` maps a field of this model to the name that the client used for it, so that a loss
can be told in the client's own words (``stop`` is ``stop_sequences`` to an Anthropic client).
``extras`` hold what a dialect says and this model has no word for; the same dialect on the
other end gets them back, any other end reports or refuses them by their ``loss``.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from lmbroker.translation.unified.parts import Cache, Extra, Part, TextPart

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
ReasoningMode = Literal["off", "between_tools", "adaptive", "budget"]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    logit_bias: dict[str, Any] | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much the model shall reason: by mode, by effort or by a token budget."""

    mode: ReasoningMode | None = None
    effort: Effort | None = None
    budget: int | None = None
    display: Literal["summarized", "omitted"] | None = None
    replay_all: bool | None = None


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    extras: tuple[Extra, ...] = ()


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the client offers; of a ``server`` one, which the provider runs, ``raw`` says
    how. ``standing``: the conversation has taken it back (``withdrawn``), or defined it
    (``inline``)."""

    kind: Literal["function", "custom", "server"]
    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    grammar: Any = None
    cache: Cache | None = None
    deferred: bool = False
    raw: dict[str, Any] | None = None
    standing: Literal["offered", "withdrawn", "inline"] = "offered"
    extras: tuple[Extra, ...] = ()


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None
    kind: Literal["function", "custom"] = "function"
    allowed: tuple[str, ...] | None = None
    raw: Any = None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One speaker's contiguous parts; tool results live in a user turn."""

    role: Literal["user", "assistant", "system"]
    parts: tuple[Part, ...]
    name: str | None = None
    phase: Literal["commentary", "final_answer"] | None = None
    extras: tuple[Extra, ...] = ()


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    mode: Literal["auto", "explicit"]
    ttl: str | None = None
    raw: Any = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``system`` holds only leading instructions; later ones are system turns.
    ``later_effort`` is the effort that the last of these asked for: it wins over the one in
    ``reasoning``."""

    dialect: str
    model: str
    system: tuple[TextPart, ...] = ()
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    reasoning: Reasoning | None = None
    later_effort: Effort | None = None
    output: OutputFormat | None = None
    stream: bool = False
    stream_usage: bool = False
    user_id: str | None = None
    tier: str | None = None
    cache: CachePolicy | None = None
    legacy_functions: bool = False
    extras: tuple[Extra, ...] = ()
    paths: Mapping[str, str] = {}

    def path(self, field: str) -> str:
        """The client's own name for ``field`` of this model."""
        return self.paths.get(field, field)
