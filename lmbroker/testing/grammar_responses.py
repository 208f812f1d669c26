"""The table of legal event orders of a Responses stream, and its checker (translation.md 4.2).

The law::

    response.created [response.queued] response.in_progress item*
    (response.completed | response.incomplete | [error] response.failed)

* Each event has its ``event:`` line and the next ``sequence_number``: 0, 1, 2, ...
* An item lasts from ``response.output_item.added`` to ``response.output_item.done``; its
  ``output_index`` is the next one. Items may overlap; what belongs to one names it by its index and
  its id.
* What deltas sent, the done events repeat; the last event has all items as they were done.
* ``error`` may stand for any rest, and ``response.failed`` too; both leave open what is open.
* Nothing follows the end.
"""

from typing import NamedTuple

from lmbroker.json_text import JSON, joined
from lmbroker.sse import Frame
from lmbroker.testing.grammar import Checker, Table, json_object, require, take

RESPONSES: Table = {
    "nothing": {"response.created": "created"},
    "created": {"response.queued": "created", "response.in_progress": "going"},
    "going": {
        "item": "going",
        "response.completed": "complete",
        "response.incomplete": "complete",
    },
    "warned": {},
}

STATUSES = {
    "response.created": ("in_progress", "queued"),
    "response.queued": ("queued",),
    "response.in_progress": ("in_progress",),
    "response.completed": ("completed",),
    "response.incomplete": ("incomplete",),
    "response.failed": ("failed",),
}
"""Event -> the status of the response that it holds."""


class _Text(NamedTuple):
    """The events that carry one text of an item."""

    items: tuple[str, ...]
    """The types of items that have it."""
    done: str
    """The key of the whole text in the done event."""
    number: str
    """The key of the number of the part that holds it; "" where the item holds it itself."""


TEXTS = {
    "response.output_text": _Text(("message",), "text", "content_index"),
    "response.refusal": _Text(("message",), "refusal", "content_index"),
    "response.reasoning_text": _Text(("reasoning",), "text", "content_index"),
    "response.reasoning_summary_text": _Text(("reasoning",), "text", "summary_index"),
    "response.function_call_arguments": _Text(("function_call",), "arguments", ""),
    "response.custom_tool_call_input": _Text(("custom_tool_call",), "input", ""),
    "response.mcp_call_arguments": _Text(("mcp_call",), "arguments", ""),
    "response.code_interpreter_call_code": _Text(("code_interpreter_call",), "code", ""),
}
"""The events of texts without their last word, ``delta`` or ``done``."""

PARTS = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
"""The events of parts without their last word: the list in the item, and the key of the place."""

WHOLE_TEXT = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_text": "text",
    "summary_text": "text",
}
"""Type of a part -> the key of its text."""


class _Item:
    """What the events have carried of one item."""

    def __init__(self, item: JSON) -> None:
        self.id = take(item, "id", str, "an item")
        self.type = take(item, "type", str, "an item")
        self.pieces: dict[tuple[str, int], list[str]] = {}
        """The deltas of each text: by the event and the place of the part."""
        self.texts: dict[tuple[str, int], str] = {}
        self.parts: dict[str, list[JSON | None]] = {}
        """The parts of each list: None while one is open."""
        self.done: JSON | None = None


class ResponsesChecker(Checker[Frame]):
    """Checks a stream for a Responses client."""

    table = RESPONSES

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._id = ""
        self._items: list[_Item] = []

    @property
    def terminal(self) -> bool:
        """Whether the stream has come to its legal end; ``response.failed`` may follow an error."""
        return self.state not in self.table

    def feed(self, frame: Frame, /) -> None:
        """Check the next item of the stream. Raises GrammarError."""
        if frame.data is None:
            self.state = self._next("comment")
            return
        body = json_object(frame.data)
        kind = frame.event
        require(body.get("type") == kind, "the event: line is the type")
        require(not self.terminal, "nothing follows the end")
        number = take(body, "sequence_number", int, "an event")
        require(number == self._number, "sequence_number has no gap")
        self._number += 1
        if kind == "error":
            require(self.state != "warned", "one error is sent")
            self._on_error(body)
            self.state = "warned"
        elif kind == "response.failed":
            self._on_whole(kind, body)
            self.state = "failed"
        elif kind in STATUSES:
            after = self._next(kind)
            self._on_whole(kind, body)
            self.state = after
        else:
            self.state = self._next("item")
            self._on_item_event(kind, body)

    def close(self) -> None:
        """Check the end of the stream. Raises GrammarError where it may not end here."""
        ends = self.terminal or self.state == "warned"
        require(ends, f"the stream does not end in state {self.state!r}")

    def _on_error(self, body: JSON) -> None:
        error = body.get("error", body)
        require(isinstance(error, dict), "an error is an object")
        take(error, "message", str, "an error")

    def _on_whole(self, kind: str, body: JSON) -> None:
        response = take(body, "response", dict, kind)
        id = take(response, "id", str, "the response")
        require(self._id in ("", id), "the response keeps its id (fact 15)")
        self._id = id
        take(response, "model", str, "the response")
        require(response.get("status") in STATUSES[kind], "the status is that of the event")
        output = take(response, "output", list, "the response")
        if kind in ("response.created", "response.queued", "response.in_progress"):
            require(not output, "the response begins without output")
        elif kind == "response.failed":
            error = take(response, "error", dict, "a failed response")
            take(error, "code", str, "its error")
            take(error, "message", str, "its error")
        else:
            done = [item.done for item in self._items]
            require(None not in done, "all items are done before the end")
            require(output == done, "the response ends with the items that were done")
            usage = take(response, "usage", dict, "the response")
            for key in ("input_tokens", "output_tokens", "total_tokens"):
                take(usage, key, int, "usage")
        if kind == "response.incomplete":
            details = take(response, "incomplete_details", dict, "an incomplete response")
            take(details, "reason", str, "incomplete_details")

    def _on_item_event(self, kind: str, body: JSON) -> None:
        require(kind.startswith("response."), "the event is one of a response")
        index = take(body, "output_index", int, "an event of an item")
        if kind == "response.output_item.added":
            require(index == len(self._items), "output indices have no gap (fact 15)")
            self._items.append(_Item(take(body, "item", dict, "output_item.added")))
            return
        require(0 <= index < len(self._items), "an item is added before it is spoken of")
        item = self._items[index]
        require(item.done is None, "nothing follows an item that is done")
        if kind == "response.output_item.done":
            self._on_done(item, take(body, "item", dict, "output_item.done"))
            return
        require(body.get("item_id") == item.id, "the item_id is that of the item")
        name, _, word = kind.rpartition(".")
        if name in TEXTS:
            self._on_text(item, name, word, body)
        elif name in PARTS:
            self._on_part(item, name, word, body)

    def _on_text(self, item: _Item, name: str, word: str, body: JSON) -> None:
        text = TEXTS[name]
        if word == "annotation.added" or name.endswith("annotation"):
            return
        require(item.type in text.items, "the kind of a delta is one of its item's")
        place = take(body, text.number, int, "an event of a text") if text.number else 0
        key = (name, place)
        require(key not in item.texts, "nothing follows a text that is done")
        if word == "delta":
            item.pieces.setdefault(key, []).append(take(body, "delta", str, "a delta"))
            return
        whole = take(body, text.done, str, "the done event of a text")
        sent = joined(item.pieces.get(key, ()))
        require(whole == sent, "a text that is done is what its deltas sent")
        item.texts[key] = whole

    def _on_part(self, item: _Item, name: str, word: str, body: JSON) -> None:
        holder, number = PARTS[name]
        parts = item.parts.setdefault(holder, [])
        place = take(body, number, int, "an event of a part")
        part = take(body, "part", dict, "an event of a part")
        kind = take(part, "type", str, "a part")
        if word == "added":
            require(place == len(parts) and None not in parts, "parts follow each other")
            parts.append(None)
            return
        require(place == len(parts) - 1 and parts[place] is None, "the part that is done is open")
        sent = [text for (_, at), text in item.texts.items() if at == place]
        require(part.get(WHOLE_TEXT.get(kind, "")) in sent, "a part that is done has its text")
        parts[place] = part

    def _on_done(self, item: _Item, whole: JSON) -> None:
        require(whole.get("id") == item.id, "an item keeps its id (fact 15)")
        require(whole.get("type") == item.type, "an item keeps its type")
        for holder, parts in item.parts.items():
            require(None not in parts, "parts are done before their item")
            require(whole.get(holder) == parts, "an item that is done has its parts")
        for (name, _), pieces in item.pieces.items():
            text = TEXTS[name]
            if not text.number and item.type in text.items:
                sent = joined(pieces)
                require(whole.get(text.done) == sent, "an item that is done has its text")
        item.done = whole


def responses_checker() -> Checker[Frame]:
    """Return the checker for one stream that a Responses client gets."""
    return ResponsesChecker()
