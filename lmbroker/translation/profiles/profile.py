"""What a backend's model can do (translation.md 0.3).

Encoders read a profile instead of guessing from a model's name. ``profile`` resolves one: what is
known of the model's family, then of the host that serves it, then what the configuration says.

A built-in row is a guess. It may choose between two ways to write a request, and it never takes a
capability away: a backend refuses what it does not take, and the broker learns from the refusal.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec

from lmbroker.constraints import Count, CountOrNone, RegularExpression
from lmbroker.translation.profiles.families import ANTHROPIC, OPENAI
from lmbroker.translation.profiles.hosts import HOSTS
from lmbroker.translation.unified.request import Effort

ThinkingType = Literal["adaptive", "enabled", "disabled", "between_tools"]
"""A way of thinking that an Anthropic model takes."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities of one model at one backend.

    The defaults are conservative ones for an unknown model of an Anthropic backend;
    ``UNKNOWN_OPENAI`` holds those of an OpenAI-compatible one.
    """

    max_output: Count | None = None
    """Most tokens of an answer; None where that is not known."""
    context: Count | None = None
    """Tokens of prompt and answer together; None where that is not known."""
    thinking_types: tuple[ThinkingType, ...] = ("adaptive",)
    """The values of ``thinking.type`` that the model takes; none for a model that cannot reason."""
    thinking_default: Literal["off", "on", "always"] = "off"
    """Whether the model reasons when it is not asked: never, unless told not to, or always."""
    effort: tuple[Effort, ...] = ("low", "medium", "high")
    """The levels of effort that the model takes."""
    default_effort: Effort | None = None
    """The effort of a request that names none."""
    disabled_max_effort: Effort | None = None
    """The highest effort that is taken while reasoning is off; None: any."""
    reasoning_control: Literal[
        "effort", "deepseek", "template_kwargs", "enable_thinking", "openrouter", "none"
    ] = "effort"
    """The fields in which the model is told how much to reason."""
    reasoning_off: tuple[
        Literal["effort", "deepseek", "template_kwargs", "enable_thinking", "openrouter"], ...
    ] = ()
    """The ways in which the model is told not to reason, where ``reasoning_control`` is not the one
    for that, or where nobody knows which of them is obeyed."""
    template_switches: tuple[str, ...] = ("enable_thinking",)
    """What the chat template calls its switch for reasoning."""
    reasoning_replay: Literal[
        "origin", "reasoning_content", "reasoning", "reasoning_details", "thinking", "none"
    ] = "none"
    """The field in which past reasoning goes back; ``origin``: the one that it came in. Where the
    dialect has blocks, it says what is done with reasoning that nobody signed: ``origin`` sends
    back what came unsigned from such a backend, ``thinking`` all."""
    replay_required: bool = False
    """The backend refuses earlier turns without their reasoning."""
    replay_signed: bool = True
    """Signed reasoning of earlier turns is sent back."""
    sampling: Literal["full", "no_thinking", "none"] = "full"
    """Which sampling parameters the model takes: all, all while it does not reason, or none."""
    temp_xor_top_p: bool = False
    """Only one of ``temperature`` and ``top_p`` may be set."""
    forced_tools: bool = True
    """The model can be made to call a tool."""
    forced_tools_fallback: Literal["instruct", "refuse"] = "instruct"
    """What a forced tool becomes elsewhere: an instruction, or a refusal."""
    prefill: Literal["no", "native", "vllm", "mistral", "deepseek"] = "native"
    """How the model is told to continue an answer that the client began."""
    mid_system: bool = False
    """Instructions may stand inside the conversation."""
    system_first_only: bool = False
    """There may be one system message only, at the start."""
    system_role: Literal["system", "developer", "user"] = "system"
    """The role of instructions in Chat Completions."""
    structured_outputs: bool = True
    """An answer can be made to follow a JSON schema."""
    json_object: bool = True
    """An answer can be made to be a JSON object."""
    strict_tools: bool = True
    """A tool may ask for strict adherence to its schema."""
    vision: bool = True
    """The model takes images."""
    pdf: bool = True
    """The model takes PDF files."""
    tool_result_images: bool = True
    """A tool result may hold images and files."""
    cache_breakpoints: bool = True
    """A content part may mark a cache breakpoint."""
    cache_marks: Literal["prompt_cache_breakpoint", "cache_control"] = "prompt_cache_breakpoint"
    """The field of a content part that marks a cache breakpoint in Chat Completions."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    """The field of the limit on the answer's length in Chat Completions."""
    content_lists: bool = True
    """A message's content may be a list of parts; else several texts become one."""
    stop_max: CountOrNone | None = None
    """Most stop sequences; None: any number."""
    stop: bool = True
    """The model takes stop sequences."""
    tool_max: CountOrNone = 128
    """Most tools of one request."""
    tool_id: RegularExpression = r"^[A-Za-z0-9_-]{1,64}$"
    """A regular expression for the ids of tool calls that the model takes."""
    ext: tuple[str, ...] = ()
    """Fields beyond the dialect that the backend takes."""
    user_field: Literal["safety_identifier", "user", "none"] = "user"
    """The field of the end user's id."""
    service_tier: bool = False
    """The backend has service tiers."""
    stream_options: bool = True
    """The backend takes ``stream_options``."""
    tools_with_reasoning: bool = True
    """The model takes tools while it reasons."""
    map_fast: bool = False
    """The tier ``fast`` exists."""
    server_tools: bool = False
    show_reasoning: bool = False
    inference_geo: tuple[str, ...] = ()
    matryoshka: bool = False
    omit: tuple[str, ...] = ()
    ask_usage: bool = False
    alternate_roles: bool = False
    """User and assistant must take turns strictly: neighbours of one role become one message."""
    after_tool: Literal["user", "merge", "assistant"] = "user"
    """What a user's text directly after a tool result becomes: a message of its own, a part of the
    result, or a message that an assistant's turn sets apart."""
    omit_schema_keywords: tuple[str, ...] = ()
    """JSON Schema keywords that are taken out of tool schemas and output schemas."""
    signed_calls: bool = False
    """The first call of each message of the model must have a thought signature (Gemini 3); one
    that another model made gets the filler that the vendor documents."""
    think_tags: bool | Literal["open"] = False
    """An answer may begin with its reasoning between ``<think>`` and ``</think>``; ``open``: the
    opening tag stands in the prompt, so that all before the closing one is reasoning."""
    counts_tokens: bool = True
    """The backend counts the tokens of a Messages request."""
    forced_tools_with_reasoning: bool = True
    """A model that reasons may be made to call a tool."""
    never_think: bool = False
    """The model is told not to reason, whatever was asked for."""
    ranges: tuple[tuple[str, float, float], ...] = ()
    """Fields of a request whose numbers must lie between two others, both included."""


UNKNOWN_ANTHROPIC = Profile(reasoning_replay="origin")

UNKNOWN_OPENAI = Profile(
    thinking_types=(),
    effort=("none", "low", "medium", "high"),
    reasoning_off=("effort", "template_kwargs"),
    template_switches=("enable_thinking", "thinking"),
    mid_system=True,
    tool_result_images=False,
    cache_breakpoints=False,
    reasoning_replay="origin",
    counts_tokens=False,
)
"""An unknown model is told not to reason in the two ways that most servers obey: by effort (the
format's own field), and by the template's switch (vLLM, SGLang and older llama.cpp)."""

Source = Literal["built in", "host", "configured", "target", "learned"]
"""Where a value of a profile comes from; ``configured`` stands at the alias."""

_VENDOR = re.compile(
    r"(?:(?:us|eu|jp|au|apac|global)\.)?(?:anthropic|openai|meta|mistral|deepseek|qwen|xai)\."
)
_TURNED = re.compile(r"claude-(4-\d|[5-9](?:-\d)?)-(opus|sonnet|haiku|fable|mythos)(?![a-z])")


def profile(
    dialect: str, model: str, overrides: Mapping[str, Any] | None = None, *, host: str = ""
) -> Profile:
    """The profile of ``model`` at a backend on ``host`` that speaks ``dialect``; ``overrides`` win.

    Raises TypeError for an override that names no field.
    """
    base = _built_in(dialect, model, host)
    return msgspec.structs.replace(base, **_fields(overrides)) if overrides else base


def told(
    dialect: str, model: str, host: str, layers: Iterable[tuple[Source, Mapping[str, Any]]] = ()
) -> Iterator[tuple[str, Any, Source]]:
    """Yield each field of the profile in force with its value and the source of that value.

    A later one of ``layers`` wins over an earlier one.
    """
    by_host = _by_host(dialect, model, host)
    sources: dict[str, Source] = dict.fromkeys(by_host, "host")
    found = _by_family(dialect, model) | by_host
    for source, fields in layers:
        found |= _fields(fields)
        sources |= dict.fromkeys(fields, source)
    values = msgspec.structs.replace(_base(dialect), **found)
    for name in Profile.__struct_fields__:
        yield name, getattr(values, name), sources.get(name, "built in")


def _fields(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` as values of fields. A configured ``reasoning_control`` is also the way to turn
    reasoning off."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items()}
    if "reasoning_control" in fields:
        return {"reasoning_off": (), "template_switches": ("enable_thinking",), **fields}
    return fields


def normalised(model: str) -> str:
    """``model`` as the family patterns see it: lower case, without what stands before the last
    ``/``, without a cloud's vendor prefix (``us.anthropic.``), ``.`` as ``-``, and Claude's
    version after its name (``claude-4.5-sonnet`` is ``claude-sonnet-4-5``)."""
    name = model.lower().rpartition("/")[2]
    found = _VENDOR.match(name)
    name = name[found.end() :] if found else name
    name = name.replace(".", "-").replace("@", "-")
    return _TURNED.sub(r"claude-\2-\1", name)


@lru_cache(maxsize=1024)
def _built_in(dialect: str, model: str, host: str) -> Profile:
    known = _by_family(dialect, model) | _by_host(dialect, model, host)
    return msgspec.structs.replace(_base(dialect), **known)


def _base(dialect: str) -> Profile:
    return UNKNOWN_ANTHROPIC if dialect == "anthropic" else UNKNOWN_OPENAI


def _by_family(dialect: str, model: str) -> dict[str, Any]:
    """What is known of the family that ``model`` belongs to."""
    name = normalised(model)
    for pattern, fields in ANTHROPIC if dialect == "anthropic" else OPENAI:
        found = re.match(pattern, name)
        if found and _whole_word(dialect, name[found.end() :]):
            return dict(fields)
    return {}


def _by_host(dialect: str, model: str, host: str) -> dict[str, Any]:
    """What is known of a host that serves models in the OpenAI format."""
    if dialect == "anthropic" or not host:
        return {}
    name, known = normalised(model), f".{host.lower()}"
    for ending, pattern, fields in HOSTS:
        if known.endswith(f".{ending}") and re.match(pattern, name):
            return dict(fields)
    return {}


def _whole_word(dialect: str, rest: str) -> bool:
    """A family's name ends where its version does: ``claude-opus-4`` is not ``claude-opus-4-9``,
    but for a date (six digits or more) after it."""
    if dialect != "anthropic":
        return True
    return re.match(r"(?!\d)(?!-\d{1,5}(?!\d))", rest) is not None
