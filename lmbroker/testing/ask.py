"""What is asked of the practice backend: a request, read from either dialect."""

from dataclasses import dataclass, field
from typing import Any

from lmbroker.json_text import JSON

RUN_BY_THE_PROVIDER = ("web_search", "web_fetch", "code_execution", "tool_search", "advisor", "mcp")
"""Beginnings of the types of Anthropic tools that a client is never asked to run."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is asked, whatever the dialect. Contents stay out of its repr."""

    model: str
    text: str = field(repr=False)
    """The last user turn that has any text."""
    results: tuple[str, ...] = field(default=(), repr=False)
    """Texts of the tool results that no assistant turn has answered yet."""
    tools: tuple[tuple[str, JSON], ...] = ()
    """Names and schemas of the tools that may be called."""
    choice: str = "auto"
    """``auto``, ``none``, ``required`` or ``named:NAME``."""
    parallel: bool = True
    reasoning: bool = False
    shows_reasoning: bool = True
    schema: JSON | None = None
    """The schema of a structured answer; ``{}`` asks for any object."""
    max_words: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    usage_in_stream: bool = True
    prompt: int = 0
    """Words in the prompt: what is counted as input tokens."""


def read_openai(body: JSON) -> Ask:
    """Read a Chat Completions request.

    Raises KeyError, TypeError, ValueError or AttributeError where it is malformed.
    """
    messages = body["messages"]
    form = body.get("response_format") or {}
    schema: JSON | None = None
    if form.get("type") == "json_schema":
        schema = form["json_schema"].get("schema") or {}
    elif form.get("type") == "json_object":
        schema = {}
    stop = body.get("stop") or ()
    tools = [
        (tool["function"]["name"], tool["function"].get("parameters") or {})
        for tool in body.get("tools") or ()
        if tool.get("type", "function") == "function"
    ]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = [tool["function"]["name"] for tool in allowed["tools"]]
        tools = [tool for tool in tools if tool[0] in names]
        choice = allowed.get("mode", "auto")
    elif isinstance(choice, dict):
        choice = "named:" + choice["function"]["name"]
    return Ask(
        model=body["model"],
        text=_last_user_text(messages),
        results=tuple(
            _text(message.get("content"))
            for message in _unanswered(messages)
            if message["role"] == "tool"
        ),
        tools=tuple(tools),
        choice=choice,
        parallel=body.get("parallel_tool_calls") is not False,
        reasoning=body.get("reasoning_effort") not in ("none", None),
        schema=schema,
        max_words=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stream=bool(body.get("stream")),
        usage_in_stream=bool((body.get("stream_options") or {}).get("include_usage")),
        prompt=_words_in(messages),
    )


def read_completion(body: JSON) -> Ask:
    """Read a request for the completion of a prompt; of several prompts, the first.

    Raises KeyError, TypeError or ValueError where it is malformed.
    """
    prompt = body["prompt"]
    if isinstance(prompt, list):
        prompt = prompt[0] if prompt and isinstance(prompt[0], str) else "tokens"
    kept = {k: v for k, v in body.items() if k in ("model", "max_tokens", "stop", "stream")}
    kept["stream_options"] = body.get("stream_options")
    return read_openai({**kept, "messages": [{"role": "user", "content": prompt}]})


def read_anthropic(body: JSON, *, counting: bool = False) -> Ask:
    """Read a Messages request; ``counting`` for one to count_tokens, which has no ``max_tokens``.

    Raises KeyError, TypeError, ValueError or AttributeError where it is malformed.
    """
    messages = body["messages"]
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice["type"]
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    thinking = body.get("thinking") or {}
    return Ask(
        model=body["model"],
        text=_last_user_text(messages),
        results=tuple(
            _text(block.get("content"))
            for message in _unanswered(messages)
            if isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "tool_result"
        ),
        tools=tuple(
            (tool["name"], tool.get("input_schema") or {})
            for tool in body.get("tools") or ()
            if not str(tool.get("type") or "").startswith(RUN_BY_THE_PROVIDER)
        ),
        choice={"any": "required", "tool": f"named:{choice.get('name')}"}.get(kind, kind),
        parallel=not choice.get("disable_parallel_tool_use"),
        reasoning=thinking.get("type") in ("enabled", "adaptive"),
        shows_reasoning=thinking.get("display") != "omitted",
        schema=form.get("schema") if form.get("type") == "json_schema" else None,
        max_words=None if counting else body["max_tokens"],
        stop=tuple(body.get("stop_sequences") or ()),
        stream=bool(body.get("stream")),
        prompt=_words_in(messages) + _words_in(body.get("system")),
    )


def _unanswered(messages: list[JSON]) -> list[JSON]:
    """The messages since the last assistant turn; a prefilled answer at the end is none."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    start = end
    while start and messages[start - 1]["role"] != "assistant":
        start -= 1
    return messages[start:end]


def _last_user_text(messages: list[JSON]) -> str:
    for message in reversed(messages):
        text = _text(message["content"]) if message["role"] == "user" else ""
        if text.strip():
            return text
    return ""


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(
            part["text"] for part in content if isinstance(part, dict) and part.get("text")
        )
    return content if isinstance(content, str) else ""


def _words_in(value: Any) -> int:
    """Words in all texts within ``value``, names of fields not counted."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, dict):
        return sum(map(_words_in, value.values()))
    return sum(map(_words_in, value)) if isinstance(value, list) else 0
