"""What a backend's model can do (translation.md 0.3).

Encoders read a profile instead of guessing from a model's name. ``lookup.profile`` finds one. Each
dialect brings a ``ProfileTable``, which is what the broker knows of models and hosts by itself.

A built-in row is a guess. It may choose between two ways to write a request, and it never takes a
capability away: a backend refuses what it does not take, and the broker learns from the refusal.
"""

import re
from typing import Any, Literal

import msgspec

from lmbroker.constraints import Count, CountOrNone, RegularExpression
from lmbroker.translation.unified.request import Effort

Family = tuple[str, dict[str, Any]]
"""A pattern on the beginning of a normalised model name, and the fields that differ for it."""

Host = tuple[str, str, dict[str, Any]]
"""The end of a host's name, a pattern on the beginning of a normalised model name, and the fields
that differ for models of that name on that host."""

ThinkingType = Literal["adaptive", "enabled", "disabled", "between_tools"]
"""A way of thinking that an Anthropic model takes."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities of one model at one backend. ``ProfileTable.unknown`` holds those of a model
    of which nothing is known."""

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


class ProfileTable(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect knows of the models that its backends serve."""

    unknown: Profile
    """The profile of a model of which nothing else is known."""
    families: tuple[Family, ...] = ()
    """Families of models; the first row that matches counts."""
    whole_versions: bool = False
    """A family's name ends where its version does: ``claude-opus-4`` is not ``claude-opus-4-9``,
    but for a date (six digits or more) after it."""
    hosts: tuple[Host, ...] = ()
    """Hosts that serve models of many families; the first row that matches counts."""


_VENDOR = re.compile(
    r"(?:(?:us|eu|jp|au|apac|global)\.)?(?:anthropic|openai|meta|mistral|deepseek|qwen|xai)\."
)
_TURNED = re.compile(r"claude-(4-\d|[5-9](?:-\d)?)-(opus|sonnet|haiku|fable|mythos)(?![a-z])")


def normalised(model: str) -> str:
    """``model`` as the family patterns see it: lower case, without what stands before the last
    ``/``, without a cloud's vendor prefix (``us.anthropic.``), ``.`` as ``-``, and Claude's
    version after its name (``claude-4.5-sonnet`` is ``claude-sonnet-4-5``)."""
    name = model.lower().rpartition("/")[2]
    found = _VENDOR.match(name)
    name = name[found.end() :] if found else name
    name = name.replace(".", "-").replace("@", "-")
    return _TURNED.sub(r"claude-\2-\1", name)
