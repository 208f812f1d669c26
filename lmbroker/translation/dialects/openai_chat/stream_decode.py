"""OpenAI chunks -> stream events, for all backends of the dialect (translation.md 4.4).

A chunk may carry pieces of several parts, in any order, which a queue of parts puts in sequence. A
call is complete when its arguments are one whole JSON object. Calls that come one after the other
are thus streamed, interleaved calls are put in sequence, and text never lands inside a call.
"""

from collections.abc import Sequence
from typing import Any

from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON, decode, joined
from lmbroker.sse import Frame
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.dialects.openai.ending import decode_stop, decode_tier, decode_usage
from lmbroker.translation.dialects.openai_chat import reasoning_details
from lmbroker.translation.dialects.openai_chat.choices import choice_at, other_choices
from lmbroker.translation.dialects.openai_chat.content import (
    arguments_text,
    called,
    calls_of,
    report_untranslated,
    signed_content,
    spoken,
    thought,
    usage_in,
    whole_message,
)
from lmbroker.translation.dialects.openai_chat.fast_paths import (
    only_text,
    plain_call,
    plain_reasoning,
    plain_text,
)
from lmbroker.translation.dialects.openai_chat.reasoning_details import TEXT_FIELDS
from lmbroker.translation.dialects.openai_chat.waiting_part import WaitingPart
from lmbroker.translation.refusals import error_kinds, stream_errors
from lmbroker.translation.shared import odd_frames, stop_words
from lmbroker.translation.shared.part_queue import PartQueue
from lmbroker.translation.shared.think_tags import ThinkTags
from lmbroker.translation.unified.fold import TRUNCATED
from lmbroker.translation.unified.stream import (
    Error,
    Finish,
    PartDelta,
    Ping,
    Start,
    StreamEvent,
)
from lmbroker.usage import Usage, later

_MALFORMED = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent a stream event that is no chat completion chunk",
    code="bad_upstream_response",
)
_TEXT_KEYS = {"text": ("content",), "reasoning": TEXT_FIELDS}
"""Kind of a part -> keys of a delta that may hold its text."""


class OpenAIDecoder:
    """Decodes the chunks of one stream of one backend (``base.Decoder``)."""

    __slots__ = (
        "_calls",
        "_delta",
        "_ended",
        "_finish",
        "_finish_besides",
        "_index",
        "_last_call",
        "_last_index",
        "_late",
        "_main",
        "_matched",
        "_plain_call",
        "_plain_other",
        "_plain_text",
        "_queue",
        "_reading",
        "_refusal",
        "_started",
        "_tags",
        "_text_keys",
        "_tier",
        "_usage",
        "stopped",
    )

    def __init__(self, reading: Reading | None = None) -> None:
        self._reading = reading or Reading()
        self._queue: PartQueue[WaitingPart] = PartQueue()
        self._index = -1
        """The index of the live part, where that is open and alone."""
        self._delta: Any = ""
        """The kind of the live part's deltas."""
        self._text_keys: tuple[str, ...] = ()
        """Keys of a delta that may hold the text of the live part, where that is open and alone: a
        chunk with nothing else needs no queue."""
        self._plain_text = False
        """Whether the live part is text, and all its chunks so far were plain (``fast_paths``)."""
        self._plain_other = False
        """The same for reasoning, or for the arguments of a call."""
        self._plain_call: WaitingPart | None = None
        """The open call, where the last fragment of a call belonged to it."""
        self._main: Any = 0
        """The index of the choice that is read: 0, or that of the first choice of the stream."""
        self._started = False
        self._ended = False
        self._calls: dict[Any, WaitingPart] = {}
        """The calls by index, where they have one, and by id."""
        self._last_call: WaitingPart | None = None
        self._last_index: Any = None
        """The call of the last fragment, and the index that it had there."""
        tags = self._reading.think_tags
        self._tags = ThinkTags(opened=tags == "open") if tags else None
        """Set until the head of the text is over."""
        self._finish_besides: Any = None
        """The finish reason of another choice than the one that is read."""
        self._late = False
        self._finish: Any = None
        self.stopped = False
        self._matched: Any = None
        self._refusal: list[str] = []
        self._usage: Usage | None = None
        self._tier: str | None = None

    def feed(self, frame: Frame) -> list[StreamEvent]:
        """Return the events of one frame, none after a terminal event. Never raises."""
        if self._ended:
            return []
        data = frame.data
        if not data:
            return [Ping()] if self._started and data is None else []
        if self._plain_text:
            text = plain_text(data)
            if text:
                return [PartDelta(self._index, "text", text)]
            self._plain_text = self._queue.parts[0].plain = False
        elif self._plain_other:
            call = self._plain_call
            piece = None if call is None else plain_call(data)
            if piece is not None and piece.index == self._last_index and not piece.id:
                text = piece.function.arguments
                scanner: Any = call.scanner  # type: ignore[union-attr]
                # As ``feed`` begins, without a call.
                if not (
                    scanner.inside and text.isprintable() and '"' not in text and "\\" not in text
                ):
                    scanner.feed(text)
            else:
                text = self._plain_piece(data)
            if text:
                return [PartDelta(self._index, self._delta, text)]
            self._plain_other = self._queue.parts[0].plain = False
        if data[:1] != b"{" and data.strip() == b"[DONE]":
            return self._end()
        try:
            chunk = decode(data)
        except ValueError:
            frames = odd_frames.meant(frame, self._reading.losses)
            if frames is None:
                return self._fail(stream_errors.raw_error(frame.event, data) or _MALFORMED)
            return [event for each in frames for event in self.feed(each)]
        if type(chunk) is not dict:
            if type(chunk) is list and chunk and type(chunk[0]) is dict and "error" in chunk[0]:
                chunk = chunk[0]  # Gemini's errors stand in a list.
            else:
                return self._fail(stream_errors.raw_error(frame.event, data) or _MALFORMED)
        if frame.event == "error" or chunk.get("error"):
            return self._fail(error_kinds.stream_error(chunk))
        choices = chunk.get("choices")
        choice = choice_at(choices, self._main)
        usage = usage_in(chunk, choice)
        if usage is not None:
            self._usage = later(self._usage, decode_usage(usage))
        others: Sequence[JSON] = ()
        if choice is None or len(choices) > 1:  # type: ignore[arg-type]
            others = other_choices(choices, choice)
            if choice is None:
                if not others:
                    error = stream_errors.reported_error(frame.event, chunk)
                    return [] if error is None else self._fail(error)
                choice = {}
                if not self._started:
                    choice, *others = others
                    self._main = choice.get("index")
        delta = choice.get("delta")
        if type(delta) is not dict and self._queue.index < 0:
            delta = whole_message(choice)
        finish = choice.get("finish_reason")
        if finish and not stop_words.word_of(finish):
            finish = None
        if self._text_keys and finish is None and type(delta) is dict:
            text = only_text(delta, self._text_keys)
            if text:
                return [PartDelta(self._index, self._delta, text)]
        if finish:
            error = stop_words.failure(finish)
            if error is not None:
                return self._fail(error)
            self._finish, self.stopped = finish, True
            matched = choice.get("stop_reason") or choice.get("matched_stop")
            self._matched = matched or self._matched
            self._tier = decode_tier(chunk.get("service_tier")) or self._tier
        events: list[StreamEvent] = []
        if not self._started:
            events.append(self._start(chunk))
        if type(delta) is dict:
            self._collect(delta)
        for other in others:
            delta = other.get("delta")
            if type(delta) is dict:
                self._collect(delta, other.get("index") or 0)
            if stop_words.word_of(other.get("finish_reason")):
                self._finish_besides = other["finish_reason"]
        self._drain(events)
        return events + self._fail(stream_errors.LATE_ARGUMENTS) if self._late else events

    def close(self) -> list[StreamEvent]:
        """Return the events at the end of the body.

        Without ``[DONE]`` the answer is complete if there was a finish reason.
        """
        if self._ended:
            return []
        ended = self._finish or self._finish_besides
        return self._end() if ended else self._fail(TRUNCATED)

    def _start(self, chunk: JSON) -> Start:
        self._started = True
        id, model, created = chunk.get("id"), chunk.get("model"), chunk.get("created")
        self._tier = decode_tier(chunk.get("service_tier")) or self._tier
        return Start(
            str(id) if isinstance(id, str | int) else "",
            model if isinstance(model, str) else "",
            None,
            created if isinstance(created, int) else None,
            self._tier,
        )

    def _collect(self, delta: JSON, choice: Any = 0) -> None:
        """Append the pieces of ``delta`` to the queue.

        The calls of all choices belong to one message (see ``choices``); the text of another choice
        is another answer, which is dropped.
        """
        if choice and delta.get("content"):
            self._reading.losses.drop("choices[]")
            return
        report_untranslated(delta, "delta", self._reading.losses)
        reasoning = thought(delta)
        if reasoning or reasoning_details.signs(delta):
            part = self._tail("reasoning")
            assert part.details is not None
            if part.details.take(delta):
                part.pieces += reasoning
        if "extra_content" in delta and signed_content(delta):
            self._tail("extra").extra = delta["extra_content"]
        text = spoken(delta)
        if text and self._tags is not None:
            self._say(self._tags.feed("".join(text)))
        elif text:
            self._tail("text").pieces += text
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._tail("refusal").pieces.append(refusal)
            self._refusal.append(refusal)
        for call in calls_of(delta) if "tool_calls" in delta else ():
            if isinstance(call, dict):
                self._call({**call, "index": (choice, call.get("index"))} if choice else call)
        call = delta.get("function_call")
        if isinstance(call, dict):
            self._call({"index": "function_call", "function": call})

    def _say(self, pieces: list[tuple[Any, str]]) -> None:
        """Queue pieces of the head of the text, which may be reasoning between tags."""
        for kind, text in pieces:
            if kind == "text":
                self._tags = None
                self._tail("text").pieces.append(text)
            else:
                self._tail("tags").pieces.append(text)

    def _tail(self, kind: str) -> WaitingPart:
        parts = self._queue.parts
        if parts and parts[-1].kind == kind:
            return parts[-1]
        return self._queue.add(WaitingPart(kind))

    def _call(self, fragment: JSON) -> None:
        """Queue a piece of a call, whose first id and first name count."""
        id, index = fragment.get("id"), fragment.get("index")
        id = str(id) if isinstance(id, str | int) else ""
        if not isinstance(index, int | str | tuple):
            index = None
        function, kind = called(fragment)
        name = function.get("name")
        if not isinstance(name, str):
            name = ""
        text = arguments_text(function)
        call = self._continued(index, id, name)
        if call is None or (name and not id and call.whole and text and not text.isspace()):
            call = WaitingPart(kind)
            self._queue.add(call)
        if index is not None:
            self._calls[index] = call
        if id:
            self._calls["id", id] = call
        self._last_call, self._last_index = call, index
        call.id = call.id or id
        call.name = call.name or name
        if "extra_content" in fragment and isinstance(fragment["extra_content"], dict):
            call.extra = fragment["extra_content"]
        if text:
            self._late = self._late or (call.closed and not text.isspace())
            call.take(text)

    def _continued(self, index: Any, id: str, name: str) -> WaitingPart | None:
        """Return the call that a fragment continues, None for a new one.

        Some backends send no index. Some use one index for all calls, which then differ by id, or
        not even by that: then a fragment with a name begins a new call where the last one is whole.
        Others change the id within a call, but do not repeat its name.
        """
        call = self._last_call if index is None else self._calls.get(index)
        if call is None and not id and not name:
            # A piece of the last call under a number of its own (Nebius, Cerebras).
            last = self._last_call
            return None if last is None or not last.name or last.whole else last
        if call is None:
            return None
        if not id and not call.id and name and call.name and name != call.name:
            # Only the names distinguish these calls, and this one may be over.
            return call if call.pieces or call.emitted else None
        if not id or call.id == id or (index is not None and not call.id):
            return call
        other = self._calls.get(("id", id))
        return other if other is not None or name else call

    def _drain(self, events: list[StreamEvent], *, all: bool = False) -> None:
        """Emit all events that can be emitted.

        ``all``: the stream is over and no more pieces come.
        """
        self._queue.drain(events, all=all)
        self._text_keys = ()
        self._plain_text = self._plain_other = False
        live = self._queue.alone
        if live is not None:
            self._index = self._queue.index
            self._text_keys, self._delta = _TEXT_KEYS.get(live.kind, ()), live.delta
            if live.plain:
                self._plain_text = live.kind == "text"
                self._plain_other = live.kind == "reasoning" or live.running
                same = live.running and live is self._last_call
                self._plain_call = live if same else None

    def _plain_piece(self, data: bytes) -> str:
        """Return the next piece of live reasoning or arguments, "" where the chunk is not plain."""
        live = self._queue.parts[0]
        if live.scanner is None:
            return plain_reasoning(data)
        piece = plain_call(data)
        if piece is None:
            return ""
        index, id = piece.index, piece.id
        known = self._last_call if index is None else self._calls.get(index)
        if known is not live or (id and id != live.id):
            return ""
        text = piece.function.arguments
        live.scanner.feed(text)
        return text

    def _end(self) -> list[StreamEvent]:
        if not self._started:
            return self._fail(stream_errors.NO_ANSWER)
        self._finish = self._finish or self._finish_besides
        if any(map(self._half, self._queue.parts)):
            return self._fail(stream_errors.HALF_CALL)
        events: list[StreamEvent] = []
        if self._tags is not None:
            self._say(self._tags.close())
        self._drain(events, all=True)
        self._ended = True
        stop = decode_stop(
            self._finish,
            calls=self._queue.called > 0,
            refusal=joined(self._refusal),
            matched=self._matched,
        )
        if stop_words.meaning(self._finish) == "other":
            self._reading.losses.change("choices[].finish_reason")
        events.append(Finish(stop, self._usage, self._tier))
        return events

    def _half(self, part: WaitingPart) -> bool:
        """Return whether ``part`` is a call with truncated arguments, which must not be run.

        An answer whose finish reason says that it was cut off may end so. Arguments that are no
        JSON at all are not truncated.
        """
        if not part.is_call or part.whole:
            return False
        if not self._finish:
            return part.scanner is None or not part.scanner.broken
        return part.half and stop_words.meaning(self._finish) in ("end", "tool_calls")

    def _fail(self, error: ErrorInfo) -> list[StreamEvent]:
        self._ended = True
        return [Error(error)]
