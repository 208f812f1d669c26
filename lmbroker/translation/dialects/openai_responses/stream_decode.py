"""Responses stream -> stream events, for all backends of the dialect (translation.md 8.3)."""

from typing import Any

from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON, decode, joined
from lmbroker.sse import DONE, Frame
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.dialects.openai_responses import ending
from lmbroker.translation.dialects.openai_responses.answer_items import text_at
from lmbroker.translation.dialects.openai_responses.fast_paths import plain_piece
from lmbroker.translation.dialects.openai_responses.item_places import Item
from lmbroker.translation.dialects.openai_responses.stream_output import StreamedOutput, takes
from lmbroker.translation.dialects.openai_responses.waiting_part import WaitingPart
from lmbroker.translation.refusals import error_kinds, stream_errors
from lmbroker.translation.shared import odd_frames
from lmbroker.translation.shared.json_scan import ObjectScanner
from lmbroker.translation.unified.fold import TRUNCATED
from lmbroker.translation.unified.stream import (
    Error,
    Finish,
    PartDelta,
    Ping,
    Start,
    StreamEvent,
)

_MALFORMED = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent a stream event that is no event of a response",
    code="bad_upstream_response",
)

_WHOLE = ("", "completed", "complete")
"""Ends of an answer that was not cut off."""
_PINGS = ("ping", "keepalive", "heartbeat")


class ResponsesDecoder:
    """Decodes one stream of one backend (``base.Decoder``)."""

    __slots__ = (
        "_delta",
        "_ended",
        "_head",
        "_index",
        "_live",
        "_live_item",
        "_output",
        "_plain",
        "_reading",
        "_scanner",
        "_started",
        "_tried",
        "stopped",
    )

    def __init__(self, reading: Reading | None = None) -> None:
        self._reading = reading or Reading()
        self._output = StreamedOutput(self._reading.losses)
        self._head: JSON = {}
        """The fields of the answer as a whole so far."""
        self._started = False
        self._ended = False
        self.stopped = False
        self._plain = ""
        """The type of the events that carry plain pieces of the live part, where that is alone."""
        self._tried = ""
        """The same while another event is read."""
        self._live: WaitingPart | None = None
        self._live_item = Item("", None, "")
        self._scanner: ObjectScanner | None = None
        self._index = -1
        self._delta: Any = ""

    def feed(self, frame: Frame) -> list[StreamEvent]:
        """Return the events of one frame, none after a terminal event. Never raises."""
        if self._ended:
            return []
        data = frame.data
        if not data:
            return [Ping()] if self._started and data is None else []
        if self._plain:
            text = self._plain_text(data)
            if text:
                return [PartDelta(self._index, self._delta, text)]
            self._tried, self._plain = self._plain, ""
        if data[:1] != b"{" and data.strip() == DONE:
            return self._end({})
        try:
            event = decode(data)
        except ValueError:
            error = stream_errors.raw_error(frame.event, data)
            if error is not None:
                return self._fail(error)
            frames = odd_frames.meant(frame, self._reading.losses)
            if frames is None:
                return self._fail(_MALFORMED)
            return [each for one in frames for each in self.feed(one)]
        if type(event) is not dict:
            return self._fail(stream_errors.raw_error(frame.event, data) or _MALFORMED)
        kind = event.get("type")
        if not isinstance(kind, str):
            if not frame.event.startswith("response."):
                error = stream_errors.reported_error(frame.event, event)
                return [] if error is None else self._fail(error)
            kind = frame.event
        if kind == "error" or frame.event == "error" or event.get("error"):
            return self._fail(error_kinds.stream_error(event))
        return self._event(kind, event)

    def close(self) -> list[StreamEvent]:
        """Return the events at the end of the body: an error, since no terminal event came."""
        return [] if self._ended else self._fail(TRUNCATED)

    def _event(self, kind: str, event: JSON) -> list[StreamEvent]:
        response = event.get("response")
        if isinstance(response, dict):
            self._note_head(response)
        if kind in ending.EVENTS:
            return self._end(response if isinstance(response, dict) else {}, ending.EVENTS[kind])
        if takes(kind):
            if kind == self._tried and self._live is not None:
                self._live.plain = False  # later events will not be plain either
            events = self._start()
            self._output.take(kind, event)
            self._drain(events)
            return (
                events + self._fail(stream_errors.LATE_ARGUMENTS) if self._output.late else events
            )
        self._plain, self._tried = self._tried, ""
        if kind.startswith("response.audio"):
            self._reading.losses.drop("audio")
        lives = kind.startswith("response.") or kind in _PINGS
        return [Ping()] if self._started and lives else []

    def _note_head(self, response: JSON) -> None:
        """Note the fields of the answer as a whole."""
        for key in ("id", "model", "created_at", "service_tier"):
            if response.get(key):
                self._head[key] = response[key]

    def _start(self) -> list[StreamEvent]:
        if self._started:
            return []
        self._started = True
        head = self._head
        created, tier = ending.created_of(head), ending.tier_of(head)
        return [Start(text_at(head, "id"), text_at(head, "model"), None, created, tier)]

    def _drain(self, events: list[StreamEvent], *, all: bool = False) -> None:
        """Emit what can be emitted, and note whether the live part is alone then."""
        output = self._output
        output.queue.drain(events, all=all)
        self._plain = self._tried = ""
        live = self._live = output.queue.alone
        if live is None or not live.plain or not live.said or live.kind == "refusal":
            return
        if live.kind != "function" or live.running:
            self._live_item, self._plain = output.owners[live], live.deltas
            self._index, self._delta = output.queue.index, live.delta
            self._scanner = live.scanner

    def _plain_text(self, data: bytes) -> str:
        """Return the next piece of the live part in a plain event, "" for any other event."""
        piece, item = plain_piece(data), self._live_item
        if (
            piece is None
            or piece.type != self._plain
            or piece.output_index != item.index
            or piece.summary_index != item.place
            or item.again
        ):
            return ""
        if self._scanner is not None:
            self._scanner.feed(piece.delta)
        return piece.delta

    def _end(self, response: JSON, status: str = "") -> list[StreamEvent]:
        word = ending.word_of(response, status)
        failed = ending.failure(response, word)
        if failed is not None:
            return self._fail(failed)
        output = self._output
        output.rest(response.get("output"))
        if not response and not output.items.kinds:
            return self._fail(stream_errors.NO_ANSWER)
        if word in _WHOLE and any(part.half for part in output.queue.parts):
            return self._fail(stream_errors.HALF_CALL)
        events = self._start()
        self._drain(events, all=True)
        self._ended = self.stopped = True
        stop = ending.decode_stop(
            word, calls=output.queue.called > 0, refusal=joined(output.refusal)
        )
        if ending.is_unknown(word):
            self._reading.losses.change("incomplete_details.reason")
        usage = ending.usage_of(response)
        events.append(Finish(stop, usage, ending.tier_of(self._head)))
        return events

    def _fail(self, error: ErrorInfo) -> list[StreamEvent]:
        self._ended = True
        return [Error(error)]
