"""The abilities of a backend's model (translation.md 0.3).

Encoders read a profile instead of guessing from a model's name. ``lookup.profile`` finds one. Each
dialect brings a ``ProfileTable``, which is what the broker knows of models and hosts by itself.

A built-in row is a guess. It may choose between two ways to write a request, and it never takes a
capability away: a backend refuses what it does not take, and the broker learns from the refusal.
"""

import re
from typing import Annotated, Any, Literal

import msgspec

from lmbroker.constraints import Count, CountOrNone, RegularExpression, without
from lmbroker.translation.unified.request import Effort

Family = tuple[str, dict[str, Any]]
"""A pattern on the beginning of a normalised model name, and the fields that differ for it."""

Host = tuple[str, str, dict[str, Any]]
"""The end of a host's name, a pattern on the beginning of a normalised model name, and the fields
that differ for models of that name on that host."""

ThinkingType = Literal["adaptive", "enabled", "disabled", "between_tools"]
"""A way of thinking that an Anthropic model takes."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities of one model at one backend.

    ``ProfileTable.unknown`` holds those of a model of which nothing is known. The fields'
    docstrings are their lines in docs/configuration.md.
    """

    max_output: Count | None = None
    """Most tokens of one answer; more is cut down to it."""
    context: Count | None = None
    """Tokens of the context window."""
    thinking_types: tuple[ThinkingType, ...] = ("adaptive",)
    """Ways of thinking that an Anthropic model takes: `adaptive`, `enabled`, `disabled`,
    `between_tools`."""
    thinking_default: Literal["off", "on", "always"] = "off"
    """Whether the model reasons unasked: `off`, `on`, or `always`, where it cannot be turned
    off."""
    effort: tuple[Effort, ...] = ("low", "medium", "high")
    """Levels of effort that the model takes: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`,
    `max`."""
    default_effort: Effort | None = None
    """The level where none is asked for."""
    disabled_max_effort: Annotated[Effort, without("any")] | None = None
    """The highest level at which thinking may be disabled."""
    reasoning_control: Literal[
        "effort", "deepseek", "template_kwargs", "enable_thinking", "openrouter", "none"
    ] = "effort"
    """How an OpenAI-compatible backend is made to reason: `effort` (`reasoning_effort`), `deepseek`
    (`thinking`), `template_kwargs` (`chat_template_kwargs`), `enable_thinking`, `openrouter`
    (`reasoning`), `none`."""
    never_think: bool = False
    """The model is asked not to reason, whatever the client asks for."""
    reasoning_off: tuple[
        Literal["effort", "deepseek", "template_kwargs", "enable_thinking", "openrouter"], ...
    ] = ()
    """The ways in which the model is asked not to reason, of those of `reasoning_control`; an empty
    list means the way of `reasoning_control` itself. Where `reasoning_control` is set, the list is
    empty unless it is set, too."""
    template_switches: tuple[str, ...] = ("enable_thinking",)
    """What the chat template calls its switch for reasoning, for `template_kwargs`. Where
    `reasoning_control` is set, it is the first one alone unless it is set, too."""
    reasoning_replay: Literal[
        "origin", "reasoning_content", "reasoning", "reasoning_details", "thinking", "none"
    ] = "none"
    """The field in which earlier reasoning goes back to an OpenAI-compatible backend: `origin` (the
    one in which the backend sent it), `reasoning_content`, `reasoning`, `reasoning_details`,
    `none`. At an Anthropic-compatible backend it says what becomes of reasoning that nobody signed:
    `origin` sends back what came unsigned from such a backend (the default), `thinking` sends all,
    `none` sends none (Claude models)."""
    replay_required: bool = False
    """Earlier messages with tool calls must bring their reasoning, also an empty one."""
    signed_calls: bool = False
    """The first call of each message of the model must have a thought signature (Gemini 3); a call
    of another model gets the filler that Google documents."""
    replay_signed: bool = True
    """Signed thinking goes back to an Anthropic backend."""
    think_tags: bool | Literal["open"] = False
    """An answer may begin with its reasoning between `<think>` and `</think>`. `"open"`: the chat
    template writes the opening tag, so that all up to `</think>` is reasoning (DeepSeek-R1, QwQ,
    Qwen's thinking models on a server without a reasoning parser)."""
    sampling: Literal["full", "no_thinking", "none"] = "full"
    """Whether `temperature`, `top_p` and the like are taken: `full`, `no_thinking` (only without
    reasoning), `none`."""
    temp_xor_top_p: bool = False
    """`temperature` and `top_p` exclude each other."""
    forced_tools: bool = True
    """A tool may be forced."""
    forced_tools_with_reasoning: bool = True
    """A tool may be forced while the model reasons."""
    forced_tools_fallback: Literal["instruct", "refuse"] = "instruct"
    """What happens where no tool may be forced: `instruct` asks for the call in words, `refuse`
    answers 400."""
    prefill: Literal["no", "native", "vllm", "mistral", "deepseek"] = "native"
    """Whether, and by which trick, the model continues an answer that the request began: `native`
    (as it is), `vllm`, `mistral`, `deepseek`; with `no` a user's `Continue.` follows it."""
    mid_system: bool = False
    """System messages may stand between others."""
    system_first_only: bool = False
    """The model's template takes one system message, at the start."""
    alternate_roles: bool = False
    """User and assistant must take turns: messages of one of them that follow each other become
    one, and the user begins."""
    after_tool: Literal["user", "merge", "assistant"] = "user"
    """What a user's message directly after a tool result becomes: `user` (it stays one), `merge` (a
    part of the result), `assistant` (a word of the model sets it apart)."""
    system_role: Literal["system", "developer", "user"] = "system"
    """What an OpenAI-compatible backend calls instructions: `system`, `developer`, or `user` for a
    model that has no place for instructions: the first message of the user begins with them."""
    structured_outputs: bool = True
    """Answers can follow a JSON schema."""
    json_object: bool = True
    """Answers can be any JSON object."""
    strict_tools: bool = True
    """Tools may be `strict`."""
    omit_schema_keywords: tuple[str, ...] = ()
    """JSON Schema keywords that are taken out of the schemas of tools and answers, such as
    `pattern`."""
    vision: bool = True
    """Images are taken; where they are not, a short text says in their place that one was left
    out."""
    pdf: bool = True
    """PDF documents are taken."""
    tool_result_images: bool = True
    """Images are taken inside tool results."""
    cache_breakpoints: bool = True
    """Cache breakpoints are taken."""
    counts_tokens: bool = True
    """The backend counts the tokens of a Messages request at `/v1/messages/count_tokens` (so do
    vLLM and llama.cpp, whatever their `type` is here). Where it turns out that it does not, the
    broker estimates for an hour."""
    cache_marks: Literal["prompt_cache_breakpoint", "cache_control"] = "prompt_cache_breakpoint"
    """The field of a content part that marks a cache breakpoint at an OpenAI-compatible backend:
    `prompt_cache_breakpoint`, or `cache_control`, as gateways in front of Claude take it."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    """What an OpenAI-compatible backend calls the limit: `max_completion_tokens` or
    `max_tokens`."""
    content_lists: bool = True
    """A message's content may be a list of parts; with `false`, several texts of a message become
    one."""
    stop_max: CountOrNone | None = None
    """Most stop sequences; further ones are left out."""
    stop: bool = True
    """Stop sequences are taken."""
    tool_max: CountOrNone = 128
    """Most tools."""
    tool_id: RegularExpression = r"^[A-Za-z0-9_-]{1,64}$"
    """A regular expression for ids of tool calls; others are replaced."""
    ext: tuple[str, ...] = ()
    """Further request fields that the backend takes, such as `top_k`, `min_p` or, for vLLM,
    `cache_salt`."""
    user_field: Literal["safety_identifier", "user", "none"] = "user"
    """Where the end user's id goes at an OpenAI-compatible backend: `safety_identifier`, `user`,
    `none`."""
    service_tier: bool = False
    """An OpenAI-compatible backend takes `service_tier`."""
    stream_options: bool = True
    """`stream_options` is taken."""
    tools_with_reasoning: bool = True
    """Tools and reasoning go together in Chat Completions."""
    map_fast: bool = False
    """The fast tiers of both formats stand for each other; they cost more."""
    custom_tools: bool = True
    """Tools that take free text are taken (OpenAI's dialects); else each is a function of one
    text."""
    files: bool = True
    """Files of other types than PDF and plain text are taken (Responses); else a text stands in
    their place."""
    instructions: Literal["field", "message"] = "field"
    """Where leading instructions stand at a Responses backend: in the field for them, or as the
    first message, which some servers heed where they overlook the field."""
    allowed_tools: bool = False
    """The choice of a tool can name the only tools that may be called (Responses); else only these
    are offered."""
    server_tools: bool = False
    """Web search may be asked of the backend, which runs it (Messages, Responses)."""
    show_reasoning: bool = False
    """A summary of the reasoning is asked for where the model reasons unasked."""
    inference_geo: tuple[str, ...] = ()
    """Regions (`inference_geo`) that this backend keeps to without being asked to."""
    matryoshka: bool = False
    """The model's embeddings may be cut to fewer `dimensions` where the backend does not do it."""
    ask_usage: bool = False
    """Have an OpenAI backend count the tokens of passed-through streams too
    (`stream_options.include_usage`); the client who did not ask does not see it."""
    omit: tuple[str, ...] = ()
    """Fields of the backend's request that it does not take, `messages[].name` for one inside
    another; left out and reported."""
    ranges: tuple[tuple[str, float, float], ...] = ()
    """Fields of the backend's request whose numbers must lie between two others: `[["temperature",
    0.0, 1.0]]`; a number beyond becomes the nearest of them, reported."""


class ProfileTable(msgspec.Struct, frozen=True, kw_only=True):
    """The knowledge of a dialect about the models that its backends serve."""

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
    """Return ``model`` in the form that the patterns of families match.

    That is in lower case, without what stands before the last ``/``, without a cloud's vendor
    prefix (``us.anthropic.``), ``.`` as ``-``, and Claude's version after its name
    (``claude-4.5-sonnet`` is ``claude-sonnet-4-5``).
    """
    name = model.lower().rpartition("/")[2]
    found = _VENDOR.match(name)
    name = name[found.end() :] if found else name
    name = name.replace(".", "-").replace("@", "-")
    return _TURNED.sub(r"claude-\2-\1", name)
