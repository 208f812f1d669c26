"""Stream events -> Responses stream (translation.md 4.2, 4.5 and 8.2).

This code runs for every token, so the bytes around a delta are built once per item. Per delta, one
JSON string and one number are encoded.

The rules of the client SDKs (4.2) that shape the stream: every event has its number; ids are made
when an item opens and stay; an item comes whole once more when it is done, and with the whole
answer at the end.
"""

from collections.abc import Callable
from typing import Any

from lmbroker import json_text
from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON, encode, encode_text
from lmbroker.translation.dialects.base import Reply, Tap
from lmbroker.translation.dialects.openai.ending import encode_tier, explanation
from lmbroker.translation.dialects.openai_responses import envelope, errors, output_items
from lmbroker.translation.dialects.openai_responses.reasoning_items import ORIGIN
from lmbroker.translation.dialects.openai_responses.stream_events import Events
from lmbroker.translation.dialects.openai_responses.stream_items import (
    Call,
    Item,
    Message,
    Reasoning,
    ToolSearch,
)
from lmbroker.translation.dialects.openai_responses.tap import ResponsesTap
from lmbroker.translation.shared.answer_ids import RESPONSE, answer_id
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.stream import (
    Error,
    Finish,
    PartDelta,
    PartStart,
    PartStop,
    Ping,
    Start,
    StreamEvent,
    UsageUpdate,
)
from lmbroker.usage import Usage

PING = b": ping\n\n"
_NOT_COUNTED = b'"usage":null'
_PLACES = {"text": "content[].text", "reasoning": "reasoning", "args": output_items.ARGUMENTS}
"""Kind of a delta -> its path, for losses."""


class ResponsesEncoder:
    """Encodes one stream for one client (``base.Encoder``)."""

    __slots__ = (
        "_after",
        "_append",
        "_before",
        "_between",
        "_calls",
        "_counted",
        "_done",
        "_echoed",
        "_events",
        "_half",
        "_id",
        "_index",
        "_item",
        "_live",
        "_part",
        "_refused",
        "_reply",
        "_searches",
        "_suffix",
        "_tier",
    )

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._events = Events()
        self._id = self._suffix = ""
        self._echoed = b""
        """The fields that repeat the request, as JSON without braces."""
        self._counted: Usage | None = None
        self._tier: str | None = None
        self._live = ""
        """Kind of the deltas for which the bytes around their number and text are ready."""
        self._before = self._between = self._after = b""
        self._append: Callable[[Any], None] = [].append
        """Adds the text of such a delta to its item."""
        self._half = ""
        """The kind of the last delta that ended inside a surrogate pair, "" where none did."""
        self._part: Any = None
        self._index = 0
        """The place of the next item in the output."""
        self._item: Item | None = None
        self._done: dict[int, bytes] = {}
        """The items that are done, by their place."""
        self._searches: dict[str | None, tuple[int, JSON]] = {}
        """The searches that have no result yet: id of the call -> place and item."""
        self._calls = 0
        self._refused = False

    def feed(self, event: StreamEvent) -> bytes:
        """Return the bytes of ``event``, b"" where the client gets nothing for it."""
        if type(event) is PartDelta:
            kind, value = event.kind, event.value
            if kind != self._live:
                return self._delta(kind, value)
            if not value:
                return b""
            try:
                text = encode_text(value)
            except UnicodeEncodeError:
                text = self._half_character(kind, value)  # type: ignore[arg-type]
            self._append(value)
            events = self._events
            events.number = (number := events.number) + 1
            return b"".join((self._before, encode_text(number), self._between, text, self._after))
        if isinstance(event, PartStart):
            return self._open(event.part)
        if isinstance(event, PartStop):
            return self._stop()
        if isinstance(event, Ping):
            return PING
        if isinstance(event, Start):
            return self._start(event)
        if isinstance(event, Finish):
            return self._finish(event)
        if isinstance(event, Error):
            return self._fail(event.error)
        if isinstance(event, UsageUpdate):
            self._counted = event.usage
        return b""

    def _half_character(self, kind: str, value: str) -> bytes:
        """Return the JSON string of a text that begins or ends inside a surrogate pair."""
        ends, alone = json_text.halves(value, after=self._half == kind)
        self._half = kind if ends else ""
        if alone:
            self._reply.losses.change(_PLACES[kind])
        return encode(value)

    # The parts.

    def _open(self, part: Any) -> bytes:
        self._part = part
        self._live = ""
        if isinstance(part, TextPart):
            output_items.report_extras(part, self._reply.losses)
            return b"" if isinstance(self._item, Message) else self._close()
        if isinstance(part, ReasoningPart):
            out = self._close()
            made = self._item_id(output_items.REASONING)
            hide = self._reply.hide_reasoning
            return out + self._add(Reasoning(self._events, made, self._index, part, hide=hide))
        if isinstance(part, ToolCallPart):
            return self._close() + self._open_call(part)
        if isinstance(part, OpaquePart):
            return self._open_opaque(part)
        return b""

    def _open_call(self, part: ToolCallPart) -> bytes:
        reply = self._reply
        item = output_items.call(self._item_id(""), part, self._calls, reply)
        self._calls += 1
        output_items.report_extras(part, reply.losses)
        kind = ToolSearch if item["type"] == "tool_search_call" else Call
        return self._add(kind(self._events, item, self._index, part, reply))

    def _delta(self, kind: str, value: str | Signature | Citation) -> bytes:
        """Return the bytes of a delta for which no template is ready."""
        item, part = self._item, self._part
        if isinstance(value, Signature):
            if item is not None:
                item.sign(value)
            return b""
        if isinstance(value, Citation):
            if isinstance(item, Message):
                item.cite(value)
            else:
                output_items.uncited((value,), self._reply.losses)
            return b""
        if not value:
            return b""
        out = b""
        if isinstance(part, TextPart):
            if not isinstance(item, Message):
                item = Message(
                    self._events,
                    self._item_id(output_items.MESSAGE),
                    self._index,
                    self._reply,
                    output_items.own_fields(part),
                )
                out = self._add(item)
            out += item.start(part)
            self._refused = self._refused or part.refusal
        if item is None:
            return out
        try:
            text = encode_text(value)
        except UnicodeEncodeError:
            text = self._half_character(kind, value)
        out += item.say(value, text)
        if item.template is not None:
            self._live, self._append = kind, item.pieces.append
            self._before, self._between, self._after = item.template
        return out

    def _stop(self) -> bytes:
        part, self._part = self._part, None
        self._live = ""
        if self._half:
            self._reply.losses.change(_PLACES[self._half])
            self._half = ""
        if isinstance(part, TextPart) and isinstance(self._item, Message):
            return self._item.stop()
        return b""

    # The items.

    def _item_id(self, prefix: str) -> str:
        return f"{prefix}{self._suffix}_{self._index}"

    def _add(self, item: Any) -> bytes:
        """Return the event that opens ``item`` as the next one of the output."""
        self._item = item
        fields = {"output_index": self._index, "item": item.first()}
        self._index += 1
        return self._events.write("response.output_item.added", fields)

    def _close(self, *, cut: bool = False) -> bytes:
        item, self._item = self._item, None
        if item is None:
            return b""
        last, whole = item.close(cut=cut)
        return last + self._end(item.place["output_index"], whole)  # type: ignore[attr-defined]

    def _end(self, index: int, whole: JSON) -> bytes:
        """Return the event with the whole item at ``index``."""
        self._done[index] = encode(whole)
        fields = b',"output_index":%d,"item":%b}' % (index, self._done[index])
        return self._events.raw("response.output_item.done", fields)

    def _open_opaque(self, part: OpaquePart) -> bytes:
        if part.origin == ORIGIN:
            return self._close() + self._foreign(part)
        if output_items.searches(part):
            out = self._close() + self._unanswered(output_items.id_of(part))
            id, index = self._item_id(output_items.SEARCH), self._index
            item = output_items.search(id, "in_progress", part.raw)
            self._searches[output_items.id_of(part)] = index, item
            self._index += 1
            place = {"output_index": index, "item_id": id}
            return b"".join(
                (
                    out,
                    self._events.write(
                        "response.output_item.added", {"output_index": index, "item": item}
                    ),
                    self._events.write("response.web_search_call.in_progress", place),
                    self._events.write("response.web_search_call.searching", place),
                )
            )
        found = self._searches.pop(output_items.use_of(part), None)
        if found is None:
            self._reply.losses.drop(part.path)
            return b""
        self._reply.losses.change(part.path)
        index, item = found
        place = {"output_index": index, "item_id": item["id"]}
        out = self._events.write("response.web_search_call.completed", place)
        return out + self._end(index, output_items.searched(item, part.raw))

    def _unanswered(self, use: str | None) -> bytes:
        """Return the end of the search ``use`` without a result, b"" where none is open."""
        if use not in self._searches:
            return b""
        index, item = self._searches.pop(use)
        return self._end(index, {**item, "status": "incomplete"})

    def _foreign(self, part: OpaquePart) -> bytes:
        """Return the events of an R backend's item as it came."""
        index = self._index
        self._index += 1
        fields = {"output_index": index, "item": part.raw}
        return self._events.write("response.output_item.added", fields) + self._end(index, part.raw)

    # The whole.

    def _start(self, start: Start) -> bytes:
        reply = self._reply
        self._id = answer_id(RESPONSE, start.id, reply.request_id)
        self._suffix = envelope.item_suffix(self._id, RESPONSE)
        self._echoed = encode(envelope.echoed(reply.echo))[1:-1]
        self._counted = start.usage
        self._tier = start.tier
        head = envelope.head(self._id, reply, "in_progress")
        return self._whole("response.created", head, _NOT_COUNTED) + self._whole(
            "response.in_progress", head, _NOT_COUNTED
        )

    def _whole(self, kind: str, head: JSON, last: bytes) -> bytes:
        """Return an event with the whole answer so far."""
        output = b",".join([self._done[index] for index in sorted(self._done)])
        fields = (
            *(b',"response":', encode(head)[:-1], b',"output":[', output, b"],"),
            *(self._echoed, b",", last, b"}}"),
        )
        return self._events.raw(kind, b"".join(fields))

    def _finish(self, finish: Finish) -> bytes:
        reply, stop = self._reply, finish.stop
        out = [] if self._id else [self._start(Start("", ""))]
        why = explanation(stop)
        reason = envelope.incomplete(stop, refused=self._refused)
        if why and not self._refused:
            out.append(self._refuse(why))
        out.append(self._close(cut=reason is not None))
        out += [self._unanswered(each) for each in list(self._searches)]
        tier = encode_tier(finish.tier or self._tier) if reply.wants_tier else None
        usage = finish.usage or self._counted or Usage()
        last = encode(envelope.last_fields(usage, tier))[1:-1]
        if reason is None:
            head = envelope.head(self._id, reply, "completed")
            out.append(self._whole("response.completed", head, last))
        else:
            head = envelope.head(
                self._id, reply, "incomplete", incomplete_details={"reason": reason}
            )
            out.append(self._whole("response.incomplete", head, last))
        return b"".join(out)

    def _refuse(self, why: str) -> bytes:
        """Return the events of a refusal that only the end of the answer reports."""
        part = TextPart(text="", refusal=True)
        return self._open(part) + self._delta("text", why) + self._stop()

    def _fail(self, error: ErrorInfo) -> bytes:
        failure = errors.failure(error)
        out = b"" if self._id else self._start(Start("", ""))
        event = self._events.write("error", _error(failure))
        head = envelope.head(self._id, self._reply, "failed", error=failure)
        return out + event + self._whole("response.failed", head, _NOT_COUNTED)


def stream_error(error: ErrorInfo, request_id: str, tap: Tap | None = None) -> bytes:
    """Return the events that end a broken stream, as far as ``tap`` has seen it."""
    events, failure = Events(), errors.failure(error)
    id, sent = "", False
    if isinstance(tap, ResponsesTap):
        events.number, id, sent = tap.next_number(), tap.id, tap.sent_error_event
    id = id or answer_id(RESPONSE, "", request_id)
    head = envelope.head(id, Reply(model=""), "failed", error=failure)
    body = {**head, "output": [], **envelope.echoed({}), "usage": None}
    first = b"" if sent else events.write("error", _error(failure))
    return first + events.write("response.failed", {"response": body})


def _error(failure: JSON) -> JSON:
    """Return the fields of the event ``error``.

    They have both the form that OpenAI sends and the one in its SDK's types.
    """
    flat = {key: failure[key] for key in ("code", "message", "param")}
    return {"error": {"type": failure["type"], **flat}, **flat}
