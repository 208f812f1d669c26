"""Requests to the practice backend, read from any of the dialects.

``ask_responses.py`` reads OpenAI's Responses.
"""

import base64
from dataclasses import dataclass, field
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.testing.sealed import unsealed

RUN_BY_THE_PROVIDER = ("web_search", "web_fetch", "code_execution", "tool_search", "advisor", "mcp")
"""Prefixes of the types of Anthropic's tools that no client has to run."""


SIGNATURE = base64.b64encode(b"the practice backend signs its thoughts").decode()
"""The signature of thinking in Anthropic's form."""


class Refused(Exception):
    """A request that is answered with an error. Its text names fields and ids, never contents."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details: JSON = {"param": param, "code": code} if param or code else {}
        """Further fields of the error in OpenAI's form."""


@dataclass(frozen=True, kw_only=True)
class Offered:
    """A tool that may be called."""

    name: str
    schema: JSON = field(default_factory=dict, repr=False)
    """The schema of its arguments."""
    custom: bool = False
    """Whether it takes free text instead of arguments."""
    namespace: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request in the terms of no dialect. Contents stay out of its repr."""

    model: str
    text: str = field(repr=False)
    """The last user turn that has any text."""
    results: tuple[str, ...] = field(default=(), repr=False)
    """Texts of the tool results that no assistant turn has answered yet."""
    plan: str = field(default="", repr=False)
    """The last part of that turn that has any text: several turns may have become one on the
    way."""
    done: int = 0
    """The number of tool results since that text."""
    tools: tuple[Offered, ...] = ()
    searches: bool = False
    """Whether the provider's own web search is offered."""
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
    """The number of words in the prompt, which are counted as input tokens."""
    cached: int | None = None
    """The number of them that a simulated prompt cache had; None without one."""
    written: int = 0
    """The number of them that it stores in addition."""
    body: JSON = field(default_factory=dict, repr=False)
    """The request as it came, for dialects whose answers repeat it."""


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
    tools = [_openai_tool(tool) for tool in body.get("tools") or ()]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = [_openai_tool(tool).name for tool in allowed["tools"]]
        tools = [tool for tool in tools if tool.name in names]
        choice = allowed.get("mode", "auto")
    elif isinstance(choice, dict):
        choice = "named:" + _openai_tool(choice).name
    return Ask(
        model=body["model"],
        text=_last_user_text(messages),
        plan=last_text_of(_last_user_content(messages)),
        results=tuple(
            text_of(message.get("content"))
            for message in _unanswered(messages)
            if message["role"] == "tool"
        ),
        done=sum(message["role"] == "tool" for message in _since_user_text(messages)),
        tools=tuple(tools),
        searches=body.get("web_search_options") is not None,
        choice=choice,
        parallel=body.get("parallel_tool_calls") is not False,
        reasoning=body.get("reasoning_effort") not in ("none", None),
        schema=schema,
        max_words=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stream=bool(body.get("stream")),
        usage_in_stream=bool((body.get("stream_options") or {}).get("include_usage")),
        prompt=words_in(messages),
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
    _check_signatures(messages)
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice["type"]
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    thinking = body.get("thinking") or {}
    return Ask(
        model=body["model"],
        text=_last_user_text(messages),
        plan=last_text_of(_last_user_content(messages)),
        results=tuple(
            text_of(block.get("content"))
            for message in _unanswered(messages)
            if isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "tool_result"
        ),
        done=sum(
            block["type"] == "tool_result"
            for message in _since_user_text(messages)
            if isinstance(message["content"], list)
            for block in message["content"]
        ),
        tools=tuple(
            Offered(name=tool["name"], schema=tool.get("input_schema") or {})
            for tool in body.get("tools") or ()
            if not str(tool.get("type") or "").startswith(RUN_BY_THE_PROVIDER)
        ),
        searches=any(
            str(tool.get("type")).startswith("web_search") for tool in body.get("tools") or ()
        ),
        choice={"any": "required", "tool": f"named:{choice.get('name')}"}.get(kind, kind),
        parallel=not choice.get("disable_parallel_tool_use"),
        reasoning=thinking.get("type") in ("enabled", "adaptive"),
        shows_reasoning=thinking.get("display") != "omitted",
        schema=form.get("schema") if form.get("type") == "json_schema" else None,
        max_words=None if counting else body["max_tokens"],
        stop=tuple(body.get("stop_sequences") or ()),
        stream=bool(body.get("stream")),
        prompt=words_in(messages) + words_in(body.get("system")),
    )


def _check_signatures(messages: list[JSON]) -> None:
    """Raise Refused for thinking and results of searches that this backend did not sign."""
    for place, message in enumerate(messages):
        content = message["content"]
        for number, block in enumerate(content if isinstance(content, list) else ()):
            if block["type"] == "thinking" and block.get("signature") != SIGNATURE:
                path = f"messages.{place}.content.{number}"
                raise Refused(f"{path}: Invalid `signature` in `thinking` block")
            if block["type"] == "web_search_tool_result" and isinstance(block["content"], list):
                for page in block["content"]:
                    try:
                        unsealed(page["encrypted_content"])
                    except ValueError:
                        path = f"messages.{place}.content.{number}"
                        raise Refused(
                            f"{path}: Invalid `encrypted_content` in `search_result` block"
                        ) from None


def _openai_tool(tool: JSON) -> Offered:
    if tool.get("type") == "custom":
        return Offered(name=tool["custom"]["name"], custom=True)
    function = tool["function"]
    return Offered(name=function["name"], schema=function.get("parameters") or {})


def _unanswered(messages: list[JSON]) -> list[JSON]:
    """Return the messages since the last assistant turn; a prefilled answer at the end is none."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    start = end
    while start and messages[start - 1]["role"] != "assistant":
        start -= 1
    return messages[start:end]


def _last_user_text(messages: list[JSON]) -> str:
    return text_of(_last_user_content(messages))


def _last_user_content(messages: list[JSON]) -> Any:
    place = _place_of_user_text(messages)
    return messages[place]["content"] if place >= 0 else ""


def _since_user_text(messages: list[JSON]) -> list[JSON]:
    return messages[_place_of_user_text(messages) + 1 :]


def _place_of_user_text(messages: list[JSON]) -> int:
    """Index of the last user turn that has any text; -1 where none has."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if message["role"] == "user" and text_of(message["content"]).strip():
            return place
    return -1


def text_of(content: Any) -> str:
    """Return the text of a string or of a list of parts."""
    if isinstance(content, list):
        return " ".join(
            part["text"] for part in content if isinstance(part, dict) and part.get("text")
        )
    return content if isinstance(content, str) else ""


def last_text_of(content: Any) -> str:
    """Return the text of a string, or of the last part that has any."""
    if isinstance(content, list):
        return next((text for part in reversed(content) if (text := text_of([part]))), "")
    return text_of(content)


def words_in(value: Any) -> int:
    """Return the words in all texts within ``value``, names of fields not counted."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, dict):
        return sum(map(words_in, value.values()))
    return sum(map(words_in, value)) if isinstance(value, list) else 0
