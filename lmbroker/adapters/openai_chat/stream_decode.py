"""OpenAI chunks -> events (translation.md 4.4). One decoder for every backend that speaks, or
nearly speaks, this dialect.

Chunks may tell several things at once and in any order; events tell one part after the other.
What comes is put into a queue of parts. The first of them is live: it is told as it comes. It is
closed when others wait behind it and it is complete; a call is complete when its arguments are
one whole JSON object. So calls that come one after the other stream, calls that interleave are
put in sequence, and text never lands inside a call.
"""

from typing import Any

from lmbroker.adapters import error_bodies
from lmbroker.adapters.json_scan import ObjectScanner
from lmbroker.adapters.openai_chat import ending, reasoning_details
from lmbroker.adapters.openai_chat.content import arguments_text, called, spoken, thought
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Frame
from lmbroker.unified.fold import TRUNCATED
from lmbroker.unified.json_text import INVALID_JSON, decode, encode, joined
from lmbroker.unified.parts import ReasoningPart, Signature, TextPart, ToolCallPart
from lmbroker.unified.stream import (
    Error,
    Finish,
    PartDelta,
    PartStart,
    PartStop,
    Ping,
    Start,
    StreamEvent,
)

JSON = dict[str, Any]
_MALFORMED = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent a stream event that is no chat completion chunk",
    code="bad_upstream_response",
)
_BAD_ARGUMENTS = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent tool call arguments that are not a JSON object",
    code="bad_upstream_response",
)
_EMPTY = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent a stream without an answer",
    code="bad_upstream_response",
)


class _Waiting:
    """A part that is being collected; ``kind`` is reasoning, text, refusal, function or custom."""

    __slots__ = ("details", "id", "kind", "name", "pieces", "scanner", "told")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pieces: list[str] = []
        self.id = ""
        self.name = ""
        self.told = False
        self.scanner = ObjectScanner() if kind == "function" else None
        self.details = reasoning_details.Collected() if kind == "reasoning" else None


class OpenAIDecoder:
    """One stream of one backend."""

    def __init__(self) -> None:
        self._queue: list[_Waiting] = []
        self._index = -1
        """Of the live part; it is open when ``_opened``."""
        self._opened = False
        self._plain = False
        """The live part is open text and alone: the common chunk needs no queue."""
        self._started = False
        self._ended = False
        self._calls: dict[Any, _Waiting] = {}
        self._last_call: Any = None
        self._called = False
        self._finish: Any = None
        self._matched: Any = None
        self._refusal: list[str] = []
        self._usage: Any = None
        self._tier: str | None = None

    def feed(self, frame: Frame) -> list[StreamEvent]:
        """The events of one frame; nothing after the end. Never raises."""
        if self._ended:
            return []
        data = frame.data
        if not data:
            return [Ping()] if self._started and data is None else []
        try:
            chunk = decode(data)
        except ValueError:
            if data.strip() == b"[DONE]":
                return self._end()
            return self._fail(_MALFORMED)
        if type(chunk) is not dict:
            return self._fail(_MALFORMED)
        if chunk.get("error"):
            return self._fail(error_bodies.stream_error(chunk))
        usage = chunk.get("usage")
        if usage:
            self._usage = usage
        elif "x_groq" in chunk:
            self._groq(chunk["x_groq"])
        choice = _first_choice(chunk.get("choices"))
        if choice is None:
            return []
        delta = choice.get("delta")
        finish = choice.get("finish_reason")
        if self._plain and finish is None and type(delta) is dict and len(delta) == 1:
            content = delta.get("content")
            if type(content) is str and content:
                return [PartDelta(self._index, "text", content)]
        events: list[StreamEvent] = []
        if not self._started:
            events.append(self._start(chunk))
        if type(delta) is dict:
            self._collect(delta)
        if finish:
            error = ending.finish_error(finish)
            if error is not None:
                return events + self._fail(error)
            self._finish = finish
            self._matched = choice.get("stop_reason") or choice.get("matched_stop")
        self._drain(events)
        return events

    def close(self) -> list[StreamEvent]:
        """The body ended: without ``[DONE]`` it is whole if there was a finish reason."""
        if self._ended:
            return []
        return self._end() if self._finish else self._fail(TRUNCATED)

    def _start(self, chunk: JSON) -> Start:
        self._started = True
        id, model, created = chunk.get("id"), chunk.get("model"), chunk.get("created")
        self._tier = ending.decode_tier(chunk.get("service_tier"))
        return Start(
            str(id) if isinstance(id, str | int) else "",
            model if isinstance(model, str) else "",
            None,
            created if isinstance(created, int) else None,
            self._tier,
        )

    def _groq(self, extra: Any) -> None:
        usage = extra.get("usage") if isinstance(extra, dict) else None
        self._usage = usage or self._usage

    def _collect(self, delta: JSON) -> None:
        """Put what ``delta`` tells at the end of the queue."""
        reasoning = thought(delta)
        details = delta.get("reasoning_details")
        if reasoning or details:
            part = self._tail("reasoning")
            part.pieces += reasoning
            assert part.details is not None
            part.details.add(details)
        text = spoken(delta)
        if text:
            self._tail("text").pieces += text
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._tail("refusal").pieces.append(refusal)
            self._refusal.append(refusal)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict):
                    self._call(call)
        call = delta.get("function_call")
        if isinstance(call, dict):
            self._call({"index": "function_call", "function": call})

    def _tail(self, kind: str) -> _Waiting:
        if not self._queue or self._queue[-1].kind != kind:
            self._queue.append(_Waiting(kind))
        return self._queue[-1]

    def _call(self, fragment: JSON) -> None:
        """Find the call that ``fragment`` belongs to: backends leave out the index, or use one
        index for all calls and tell them apart by id."""
        id = fragment.get("id")
        id = str(id) if isinstance(id, str | int) else ""
        key = fragment.get("index")
        if not isinstance(key, int | str):
            key = ("id", id) if id else self._last_call
        else:
            known = self._calls.get(key)
            if known is not None and id and known.id and known.id != id:
                key = ("id", id)
        function, kind = called(fragment)
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Waiting(kind)
            self._queue.append(call)
        self._last_call = key
        call.id = call.id or id
        name = function.get("name")
        if not call.name and isinstance(name, str):
            call.name = name
        text = arguments_text(function)
        if text:
            call.pieces.append(text)

    def _drain(self, events: list[StreamEvent], *, all: bool = False) -> None:
        """Tell what can be told; ``all``: the stream is over, nothing more will come."""
        queue = self._queue
        while queue and not self._ended:
            live = queue[0]
            if not self._opened and not self._open(live, events):
                if not all:
                    break
                queue.pop(0)
                continue
            self._tell(live, events)
            if not all and (len(queue) == 1 or not _complete(live)):
                break
            if self._ended:
                break
            self._stop(live, events)
            queue.pop(0)
        self._plain = self._opened and len(queue) == 1 and queue[0].kind == "text"

    def _open(self, part: _Waiting, events: list[StreamEvent]) -> bool:
        """False for a call whose name is not known yet."""
        if part.kind == "reasoning":
            skeleton: Any = ReasoningPart(signature=Signature(origin="openai"))
        elif part.kind == "text":
            skeleton = TextPart(text="")
        elif part.kind == "refusal":
            skeleton = TextPart(text="", refusal=True)
        elif not part.name:
            return False
        else:
            self._called = True
            kind: Any = part.kind
            skeleton = ToolCallPart(id=part.id, name=part.name, kind=kind)
        self._index += 1
        self._opened = True
        events.append(PartStart(self._index, skeleton))
        return True

    def _tell(self, part: _Waiting, events: list[StreamEvent]) -> None:
        """The text that has come since the last time. Arguments that can become no JSON object
        are held back while nothing was told; else the stream is broken (4.4 step 6)."""
        if not part.pieces:
            return
        scanner = part.scanner
        text = "".join(part.pieces)
        if scanner is not None:
            if scanner.broken:
                return
            if not part.told and text.isspace():
                return
            scanner.feed(text)
            if scanner.broken:
                part.pieces = [text]
                if part.told:
                    events += self._fail(_BAD_ARGUMENTS)
                return
        part.pieces = []
        part.told = True
        kind: Any = {"reasoning": "reasoning", "text": "text", "refusal": "text"}.get(
            part.kind, "args"
        )
        events.append(PartDelta(self._index, kind, text))

    def _stop(self, part: _Waiting, events: list[StreamEvent]) -> None:
        if part.details is not None:
            events.append(PartDelta(self._index, "signature", part.details.signature()))
        elif part.scanner is not None and part.scanner.broken:
            wrapped = encode({INVALID_JSON: joined(part.pieces)}).decode()
            events.append(PartDelta(self._index, "args", wrapped))
        events.append(PartStop(self._index))
        self._opened = False

    def _end(self) -> list[StreamEvent]:
        if not self._started:
            return self._fail(_EMPTY)
        events: list[StreamEvent] = []
        self._drain(events, all=True)
        if self._ended:
            return events
        self._ended = True
        stop = ending.decode_stop(
            self._finish,
            calls=self._called,
            refusal=joined(self._refusal),
            matched=self._matched,
        )
        events.append(Finish(stop, ending.decode_usage(self._usage), self._tier))
        return events

    def _fail(self, error: ErrorInfo) -> list[StreamEvent]:
        self._ended = True
        return [Error(error)]


def _first_choice(choices: Any) -> JSON | None:
    """Only the choice of index 0 is told."""
    if type(choices) is list:
        for choice in choices:
            if type(choice) is dict and not choice.get("index"):
                return choice
    return None


def _complete(part: _Waiting) -> bool:
    return part.scanner is None or part.scanner.complete
