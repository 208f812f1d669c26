"""The Unified Model of a request: what a client asks, in the terms of no dialect.

Everything here is immutable. Source of the shapes: translation.md section 1.

``paths`` maps a field of this model to the name that the client used for it, so that a loss
is reported under that name (``stop`` is ``stop_sequences`` to an Anthropic client). ``extras`` hold
the fields of a dialect that this model has none for; a backend of the same dialect gets them back,
for any other they are reported or refused by their ``loss``.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from lmbroker.translation.unified.parts import Cache, Extra, Part, TextPart

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
ReasoningMode = Literal["off", "between_tools", "adaptive", "budget"]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling parameters; None where the client did not set one."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    logit_bias: dict[str, Any] | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """The reasoning that is asked for: by mode, by effort or by a token budget.

    ``budget`` is the most tokens of reasoning. ``display`` says whether the client gets a summary
    of the reasoning or none. ``replay_all``: the model is to see the reasoning of all earlier
    turns.
    """

    mode: ReasoningMode | None = None
    effort: Effort | None = None
    budget: int | None = None
    display: Literal["summarized", "omitted"] | None = None
    replay_all: bool | None = None


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON that the answer must be: any object, or a value of ``schema``.

    ``name`` and ``description`` are shown to the model; ``strict`` False: the schema is advice.
    """

    kind: Literal["json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    extras: tuple[Extra, ...] = ()


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A group of tools: their names are unique within it only."""

    name: str
    description: str | None = None


class WebSearch(msgspec.Struct, frozen=True, kw_only=True):
    """A web search that a client asks for and the provider runs.

    Only pages of ``allowed_domains`` are read where there are any, and none of ``blocked_domains``.
    ``location`` is about where the end user is (``city``, ``region``, ``country``, ``timezone``),
    ``context_size`` how much of the pages the model reads (``low``, ``medium``, ``high``), and
    ``max_uses`` the most searches of an answer.
    """

    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    location: Mapping[str, str] | None = None
    context_size: str | None = None
    max_uses: int | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the client offers.

    ``kind``: ``function`` takes an object that follows ``schema``; ``custom`` takes text, which
    ``grammar`` may describe; ``server`` is run by the provider and is in ``raw`` as it came.
    Such a tool is ``optional`` where it is left out, and reported, rather than refused for a
    backend that does not run it; ``search`` says what is asked for where it is a web search.
    ``deferred``: the model finds it by a search and need not know it from the start. ``standing``:
    a message of the conversation has removed it (``withdrawn``) or defined it (``inline``).
    A tool of a ``namespace`` has the name of that before its own, as ``parts.joined_name`` writes
    it, so that ``name`` is unique among all tools.
    """

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
    namespace: Namespace | None = None
    optional: bool = False
    search: WebSearch | None = None
    extras: tuple[Extra, ...] = ()


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the model must, may or must not call tools, and which.

    ``name`` and ``kind`` are those of the tool of mode ``named``. ``allowed`` names the only tools
    that may be called, None for all. ``raw`` is the choice as it came, for the same dialect.
    """

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None
    kind: Literal["function", "custom"] = "function"
    allowed: tuple[str, ...] | None = None
    raw: Any = None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the conversation; tool results stand in a user turn.

    ``name`` distinguishes participants of one role. ``phase`` is what the model said of its own
    message: a comment on its work, or the answer.
    """

    role: Literal["user", "assistant", "system"]
    parts: tuple[Part, ...]
    name: str | None = None
    phase: Literal["commentary", "final_answer"] | None = None
    extras: tuple[Extra, ...] = ()


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy of the prompt's cache: ``auto`` where the vendor chooses the breakpoints.

    ``ttl`` is the lifetime as the client wrote it, None for the vendor's default; ``raw`` is the
    field as it came, for the same dialect.
    """

    mode: Literal["auto", "explicit"]
    ttl: str | None = None
    raw: Any = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request for a chat completion or a message.

    ``dialect`` is the client's, ``model`` the name that it asked for. ``system`` holds only leading
    instructions; later ones are system turns. ``later_effort`` is the effort that the last of these
    asked for: it wins over the one in ``reasoning``. ``max_tokens`` limits the answer, in tokens.
    ``stream_usage``: the stream is to end with a usage chunk. ``user_id`` is the client's own id of
    the person who asks. ``cache_key`` brings requests of one prefix to one prompt cache, and
    ``cache_retention`` is the longest that it keeps them, as the client wrote both; ``verbosity``
    is how long answers are to be (``low``, ``medium``, ``high``). ``legacy_functions``: tools came
    as ``functions``, so calls go back as ``function_call``. ``echo`` holds what an answer of the
    client's dialect repeats of its request, as it came. ``odd`` is how many messages were mended
    before they could be read.
    """

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
    cache_key: str | None = None
    cache_retention: str | None = None
    verbosity: str | None = None
    legacy_functions: bool = False
    echo: Mapping[str, Any] = {}
    odd: int = 0
    extras: tuple[Extra, ...] = ()
    paths: Mapping[str, str] = {}

    def path(self, field: str) -> str:
        """Return the name that the client used for ``field`` of this model."""
        return self.paths.get(field, field)
