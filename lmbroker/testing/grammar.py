"""The table of legal event orders, and its checker (translation.md 4.2).

The broker itself does not use it: our tests check every stream with it, and so may the tests of
programs that embed LMBroker.

The law of these streams (that of Responses stands in ``grammar_responses``)::

    anthropic   message_start
                (content_block_start(i) content_block_delta(i)* content_block_stop(i))*
                message_delta+ message_stop
    openai      chunk+ [chunk(choices=[], usage)] "[DONE]"
    events      Start (PartStart(i) PartDelta(i)* PartStop(i))* (Finish | Error)

with i = 0, 1, 2, ... without gaps, hence at most one block or part open at a time.

* ``ping`` (of events: ``Ping`` and ``UsageUpdate``) may stand anywhere after the first event, a
  comment also before it.
* An error may stand for any rest, also for the whole stream, and leaves open what is open.
* Nothing follows the end or an error, and a stream does not stop before either.

The tables below say the order once more, for the machine: state -> symbol -> state. Who may carry
what, and what must agree with what was said before, is in the ``_on_...`` methods. The rules that
go beyond the order are those which the client SDKs force on every writer: "fact n" is a row of
4.2. A checker is for streams that we write; backends that break the rules are read all the same.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Generic, TypeVar

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.sse import DONE, Frame
from lmbroker.translation.unified.parts import Citation, ReasoningPart, Signature
from lmbroker.translation.unified.stream import PartDelta, PartStart, PartStop, StreamEvent

Table = Mapping[str, Mapping[str, str]]
T = TypeVar("T")
Item = TypeVar("Item")

ANTHROPIC: Table = {
    "nothing": {"message_start": "between"},
    "between": {"content_block_start": "block", "message_delta": "ending"},
    "block": {"content_block_delta": "block", "content_block_stop": "between"},
    "ending": {"message_delta": "ending", "message_stop": "complete"},
}

OPENAI: Table = {
    "nothing": {"delta": "open", "finish": "finished"},
    "open": {"delta": "open", "finish": "finished"},
    # All choices that were seen have finished: another delta is that of a new choice.
    "finished": {"delta": "open", "finish": "finished", "usage": "counted", "[DONE]": "complete"},
    "counted": {"[DONE]": "complete"},
}

EVENTS: Table = {
    "nothing": {"Start": "between"},
    "between": {"PartStart": "part", "Finish": "complete"},
    "part": {"PartDelta": "part", "PartStop": "between"},
}

BLOCK_FIELDS: Mapping[str, Mapping[str, type]] = {
    "text": {"text": str},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
    "tool_use": {"id": str, "name": str, "input": dict},
    "server_tool_use": {"id": str, "name": str, "input": dict},
}
"""What the block of a ``content_block_start`` must hold."""

BLOCK_DELTAS: Mapping[str, Mapping[str, tuple[str, type]]] = {
    "text": {"text_delta": ("text", str), "citations_delta": ("citation", dict)},
    "thinking": {"thinking_delta": ("thinking", str), "signature_delta": ("signature", str)},
    "tool_use": {"input_json_delta": ("partial_json", str)},
    "server_tool_use": {"input_json_delta": ("partial_json", str)},
    "mcp_tool_use": {"input_json_delta": ("partial_json", str)},
    "compaction": {"compaction_delta": ("content", str)},
}
"""Block -> delta -> what that holds. A block that is not here comes whole, in its start."""

PART_DELTAS: Mapping[str, Mapping[str, type]] = {
    "TextPart": {"text": str, "citation": Citation},
    "ReasoningPart": {"reasoning": str, "signature": Signature},
    "ToolCallPart": {"args": str},
    "OpaquePart": {},
}
"""Part -> kind of delta -> its value."""

FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")


class GrammarError(Exception):
    """The stream breaks a rule. The text names the rule and holds nothing of the contents."""


def require(holds: bool, rule: str) -> None:
    """Raise GrammarError with ``rule`` where that does not hold."""
    if not holds:
        raise GrammarError(rule)


def take(holder: JSON, key: str, kind: type[T], owner: str) -> T:
    """Return ``holder[key]``, which must be of ``kind``. Raises GrammarError."""
    value = holder.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise GrammarError(f"{owner} has its {key}, of type {kind.__name__}")
    return value


def json_object(data: bytes) -> JSON:
    """Return the object that ``data`` is. Raises GrammarError for anything else."""
    try:
        value = json_text.decode(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise GrammarError("data is one JSON object")
    return value


class Checker(Generic[Item]):
    """The checker of one stream of frames or events.

    It walks a table, and knows what may stand anywhere. ``state`` is the row of the table in which
    the stream is.
    """

    table: ClassVar[Table]
    between: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.state = "nothing"

    @property
    def terminal(self) -> bool:
        """Whether the stream has come to its legal end."""
        return self.state not in self.table

    def feed(self, item: Item, /) -> None:
        """Check the next item. Raises GrammarError where it may not stand here."""
        raise NotImplementedError

    def close(self) -> None:
        """Check the end of the stream. Raises GrammarError where it may not end here (fact 6)."""
        require(self.terminal, f"the stream does not end in state {self.state!r}")

    def _next(self, symbol: str) -> str:
        """Return the state after ``symbol``; the step is taken when all other rules hold, too."""
        require(not self.terminal, "nothing follows the end")
        row = self.table[self.state]
        if symbol in row:
            return row[symbol]
        if symbol == "error":
            return "failed"
        if symbol == "comment" or (symbol in self.between and self.state != "nothing"):
            return self.state
        known = symbol in self.between or any(symbol in row for row in self.table.values())
        name = symbol if known else "an unknown event"
        raise GrammarError(f"{name} may not stand in state {self.state!r}")


class AnthropicChecker(Checker[Frame]):
    """Checks a stream for an Anthropic client."""

    table = ANTHROPIC
    between = ("ping",)

    def __init__(self) -> None:
        super().__init__()
        self._index = -1
        self._block = ""
        self._signed = False
        self._stopped = False
        self._rules: dict[str, Callable[[JSON], None]] = {
            "message_start": self._on_message_start,
            "content_block_start": self._on_block_start,
            "content_block_delta": self._on_block_delta,
            "content_block_stop": self._on_block_stop,
            "message_delta": self._on_message_delta,
            "message_stop": self._on_message_stop,
            "error": self._on_error,
        }

    def feed(self, frame: Frame, /) -> None:
        """Check the next item of the stream. Raises GrammarError."""
        if frame.data is None:
            self.state = self._next("comment")
            return
        require(frame.event != "", "every event has its event: line (fact 1)")
        body = json_object(frame.data)
        require(body.get("type") == frame.event, "the event: line is the type")
        after = self._next("an unknown event" if frame.event == "comment" else frame.event)
        rule = self._rules.get(frame.event)
        if rule is not None:
            rule(body)
        self.state = after

    def _on_message_start(self, body: JSON) -> None:
        message = take(body, "message", dict, "message_start")
        for key in ("id", "model"):
            take(message, key, str, "the message")
        for key, value in (("role", "assistant"), ("content", []), ("stop_reason", None)):
            require(message.get(key) == value, f"the message starts with {key} {value}")
        usage = take(message, "usage", dict, "the message")
        take(usage, "output_tokens", int, "the message's usage")

    def _on_block_start(self, body: JSON) -> None:
        index = take(body, "index", int, "content_block_start")
        require(index == self._index + 1, "block indices have no gap (fact 3)")
        block = take(body, "content_block", dict, "content_block_start")
        kind = take(block, "type", str, "a block")
        for key, expected in BLOCK_FIELDS.get(kind, {}).items():
            value: object = take(block, key, expected, f"a {kind} block")
            require(key not in ("id", "name") or value != "", "a call's id and name are not empty")
        self._index, self._block, self._signed = index, kind, False

    def _on_block_delta(self, body: JSON) -> None:
        self._on_block_stop(body)
        delta = take(body, "delta", dict, "content_block_delta")
        kind = take(delta, "type", str, "a delta")
        fields = BLOCK_DELTAS.get(self._block, {}).get(kind)
        if fields is None:
            raise GrammarError("the kind of a delta is one of its block's")
        take(delta, *fields, kind)
        require(not self._signed, "a signature comes once and last in its block (fact 4)")
        self._signed = kind == "signature_delta"

    def _on_block_stop(self, body: JSON) -> None:
        index = take(body, "index", int, "a block event")
        require(index == self._index, "blocks do not overlap: the index is the open block's")

    def _on_message_delta(self, body: JSON) -> None:
        delta = take(body, "delta", dict, "message_delta")
        usage = take(body, "usage", dict, "message_delta (fact 2)")
        take(usage, "output_tokens", int, "message_delta's usage (fact 2)")
        if delta.get("stop_reason") is not None:
            take(delta, "stop_reason", str, "message_delta")
            self._stopped = True

    def _on_message_stop(self, body: JSON) -> None:
        require(self._stopped, "stop_reason is sent before message_stop")

    def _on_error(self, body: JSON) -> None:
        error = take(body, "error", dict, "an error event")
        for key in ("type", "message"):
            take(error, key, str, "an error")


class _Choice:
    """What one choice of an OpenAI stream has sent."""

    __slots__ = ("annotated", "calls", "finished", "function")

    def __init__(self) -> None:
        self.finished = self.annotated = self.function = False
        self.calls: list[str] = []
        """The type of each tool call."""


class OpenAIChecker(Checker[Frame]):
    """Checks a stream for an OpenAI client; see ``openai_checker``."""

    table = OPENAI

    def __init__(self, include_usage: bool | None = None) -> None:
        super().__init__()
        self._include_usage = include_usage
        self._envelope: tuple[object, ...] = ()
        self._choices: dict[int, _Choice] = {}

    def feed(self, frame: Frame, /) -> None:
        """Check the next item of the stream. Raises GrammarError."""
        require(frame.event == "", "no event has an event: line")
        if frame.data is None:
            self.state = self._next("comment")
        elif frame.data == DONE:
            after = self._next("[DONE]")
            owed = self._include_usage and self.state != "counted"
            require(not owed, "the usage chunk comes last (fact 11)")
            self.state = after
        else:
            self.state = self._chunk(json_object(frame.data))

    def _chunk(self, body: JSON) -> str:
        if "error" in body:
            after = self._next("error")
            take(take(body, "error", dict, "an error event"), "message", str, "an error")
            return after
        require(not self.terminal, "nothing follows the end")
        require(body.get("object") == "chat.completion.chunk", "the object is a chunk")
        envelope = (
            take(body, "id", str, "a chunk"),
            take(body, "created", int, "a chunk"),
            take(body, "model", str, "a chunk"),
        )
        self._envelope = self._envelope or envelope
        require(envelope == self._envelope, "id, created and model are the same in all chunks")
        choices = take(body, "choices", list, "a chunk")
        if not choices:
            after = self._next("usage")
            require(self._include_usage is not False, "usage is sent only where it was asked for")
            usage = take(body, "usage", dict, "the usage chunk")
            for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
                take(usage, key, int, "usage")
            return after
        require(body.get("usage") is None, "usage stands in the last chunk only (fact 11)")
        has_usage = "usage" in body or not self._include_usage
        require(has_usage, "with include_usage every chunk has the key usage")
        for choice in choices:
            require(isinstance(choice, dict), "a choice is an object")
            self._on_choice(choice)
        unfinished = any(not choice.finished for choice in self._choices.values())
        return self._next("delta" if unfinished else "finish")

    def _on_choice(self, body: JSON) -> None:
        index = take(body, "index", int, "a choice")
        delta = take(body, "delta", dict, "a choice")
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
            role = delta.get("role")
            require(role == "assistant", "the first delta of a choice carries the role")
        else:
            require(not choice.finished, "nothing follows a choice's finish_reason")
            require("role" not in delta, "the role is sent once (fact 8)")
        for key in ("content", "refusal", "reasoning_content", "reasoning"):
            if delta.get(key) is not None:
                take(delta, key, str, "a delta")
        self._on_lists(choice, delta)
        for fragment in delta.get("tool_calls") or ():
            self._on_call(choice, fragment)
        if "function_call" in delta:
            function = take(delta, "function_call", dict, "a delta")
            self._on_function(function, first=not choice.function)
            choice.function = True
        reason = body.get("finish_reason")
        if reason is not None:
            require(reason in FINISH_REASONS, "the finish_reason is a known one")
            choice.finished = True

    def _on_lists(self, choice: _Choice, delta: JSON) -> None:
        for key in ("tool_calls", "reasoning_details"):
            if delta.get(key) is not None:
                for entry in take(delta, key, list, "a delta"):
                    require(isinstance(entry, dict), f"an entry of {key} is an object")
                    take(entry, "index", int, f"an entry of {key} (fact 9)")
        if delta.get("annotations") is not None:
            require(not choice.annotated, "all annotations come in one chunk (fact 9)")
            choice.annotated = True

    def _on_call(self, choice: _Choice, fragment: JSON) -> None:
        index, calls = fragment["index"], choice.calls
        first = index == len(calls)
        require(first or 0 <= index < len(calls), "tool calls count from 0 without gaps (fact 10)")
        if first:
            require(take(fragment, "id", str, "a tool call") != "", "a call's id is not empty")
            kind = take(fragment, "type", str, "a tool call")
            require(kind in ("function", "custom"), "a call's type is function or custom")
            calls.append(kind)
        else:
            again = "id" in fragment or "type" in fragment
            require(not again, "a call's id and type are sent once (fact 8)")
        kind = calls[index]
        text = "arguments" if kind == "function" else "input"
        self._on_function(take(fragment, kind, dict, "a tool call"), first=first, text=text)

    @staticmethod
    def _on_function(function: JSON, *, first: bool, text: str = "arguments") -> None:
        if first:
            require(take(function, "name", str, "a call") != "", "a call's name is not empty")
        else:
            require("name" not in function, "a call's name is sent once (fact 8)")
        take(function, text, str, "a call")


class EventChecker(Checker[StreamEvent]):
    """Checks the events between a decoder and an encoder."""

    table = EVENTS
    between = ("Ping", "UsageUpdate")

    def __init__(self) -> None:
        super().__init__()
        self._index = -1
        self._deltas: Mapping[str, type] = {}
        self._signed = False

    def feed(self, event: StreamEvent, /) -> None:
        """Check the next item of the stream. Raises GrammarError."""
        symbol = type(event).__name__
        after = self._next("error" if symbol == "Error" else symbol)
        if isinstance(event, PartStart):
            require(event.index == self._index + 1, "part indices have no gap")
            self._index, self._signed = event.index, False
            part = type(event.part).__name__
            require(part in PART_DELTAS, "a part of an answer is one that an answer may have")
            whole = isinstance(event.part, ReasoningPart) and event.part.redacted is not None
            self._deltas = {} if whole else PART_DELTAS[part]
        elif isinstance(event, PartDelta | PartStop):
            require(event.index == self._index, "parts do not overlap: the index is the open's")
            if isinstance(event, PartDelta):
                kind = self._deltas.get(event.kind)
                require(kind is not None, "the kind of a delta is one of its part's")
                require(isinstance(event.value, kind or str), "a delta's value is of its kind")
                require(not self._signed, "a signature comes once and last in its part")
                self._signed = event.kind == "signature"
        self.state = after


def anthropic_checker() -> Checker[Frame]:
    """Return the checker for one stream that an Anthropic client gets."""
    return AnthropicChecker()


def openai_checker(include_usage: bool | None = None) -> Checker[Frame]:
    """Return the checker for one stream that an OpenAI client gets."""
    return OpenAIChecker(include_usage)
