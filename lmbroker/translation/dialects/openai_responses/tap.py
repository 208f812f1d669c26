"""Reads usage, stop reason and end of a Responses stream that is passed through.

Only events that may hold usage, the end or an error are parsed, and those before the first item.
OpenAI reports an error twice, as an event ``error`` and as the end of the answer. Some clients
react to the one, some to the other, and the second may never come: so the first is held until then.
"""

import re

from lmbroker import json_text
from lmbroker.bounds import LARGE_EVENT, without_texts
from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON
from lmbroker.sse import DONE, Reader, split
from lmbroker.translation.dialects.openai_responses import ending
from lmbroker.translation.dialects.openai_responses.response_decode import gist, tool_calls
from lmbroker.translation.refusals import error_kinds, stream_errors
from lmbroker.translation.unified.counting import OTHERS
from lmbroker.translation.unified.fold import TRUNCATED
from lmbroker.usage import Usage

_NAMED = b"event: response."
_DELTA = b".delta\ndata:"
"""The bytes between name and data of a delta."""
_LINES = 3
"""Line ends of an event that has a name, one line of data, and a blank line."""
_ENDS = frozenset(name.removeprefix("response.").encode() for name in ending.EVENTS)
_NUMBER = re.compile(rb'"sequence_number"\s*+:\s*+([0-9]{1,15})(?![0-9.eE])')
_CALLED = re.compile(rb'"name"\s*+:\s*+"([^"]*)"')
_TEXT = re.compile(rb'"delta"\s*+:\s*+"((?:[^"\\]++|\\.)*+)"')
"""The text of a delta."""
_SHORT = b'"delta":"'
"""How it usually begins."""
MEASURED = 4
"""Of so many padded deltas one is measured: what it has besides its text, the others have, too."""
_NEAR = 4096
"""The bytes at the beginning and at the end of a large event in which its number is searched
for."""
_FAILED = b"response.failed"
_BEFORE = ("response.created", "response.in_progress", "response.queued")
"""Events that come before the answer itself: an error may still follow that says that there is
none."""


class ResponsesTap:
    """Observes one passed-through stream of this dialect (``base.Tap``).

    ``choices`` is always one in this dialect and is ignored.
    """

    __slots__ = (
        "_besides",
        "_bytes",
        "_deltas",
        "_envelope",
        "_kind",
        "_measured",
        "_numbered",
        "_padded",
        "_padded_deltas",
        "_unrecognised",
        "complete",
        "error",
        "id",
        "recognised",
        "sent_error_event",
        "started",
        "stop",
        "stopped",
        "tool_calls",
        "usage",
        "waits",
    )

    def __init__(self, choices: int = 1) -> None:
        self.started = False
        self.stopped = False
        self.complete = False
        self.error: ErrorInfo | None = None
        self.recognised = True
        self.waits = False
        self.sent_error_event = False
        """Whether the backend has sent the event ``error``, one of the two that clients need."""
        self._unrecognised: ErrorInfo | None = None
        """The error that is held until the end of the answer."""
        self.stop = ""
        self.tool_calls = 0
        self.usage: Usage | None = None
        self._bytes = 0
        """Bytes of the texts of the answer."""
        self.id = ""
        """The id of the answer, "" before it was seen."""
        self._numbered = b""
        """The last events among which one has a number, without those of ``_deltas``."""
        self._deltas = b""
        """The last block that held deltas only. Nearly all blocks are such, so none is searched for
        a number before one is needed."""
        self._padded_deltas = self._measured = self._besides = 0
        """How many deltas were padded, how many of these were measured, and the bytes that these
        have besides their text."""
        self._padded = False
        """Deltas are filled up, so the length of their text does not follow from theirs."""
        self._kind = b"\n"
        """The name of the last event with text, as it stands in the stream."""
        self._envelope = 0
        """Bytes of an event besides its text."""

    @property
    def text_bytes(self) -> int:
        """The estimated number of bytes of text in the stream so far."""
        besides = self._besides * self._padded_deltas // max(1, self._measured)
        return max(0, self._bytes - besides)

    def see(self, block: bytes) -> int:
        """Read whole events; return how many bytes of ``block`` belong to the stream."""
        size = len(block)
        self.waits = False
        if (
            self._envelope
            and size <= LARGE_EVENT
            and 0 < (deltas := block.count(_DELTA)) * _LINES == block.count(b"\n")
        ):
            # Nearly all events are such deltas.
            self._deltas = block
            if not block.startswith(self._kind):
                self._learn(block)
            if not self._padded:
                self._bytes += size - deltas * self._envelope
            else:
                self._bytes += size
                self._padded_deltas += deltas
                if self._padded_deltas > MEASURED * self._measured:
                    self._measured += deltas
                    self._besides += size - _text_in(block)
            return size
        before = self._last_numbered()
        if size <= LARGE_EVENT:
            if _NUMBER.search(block):
                self._numbered = block
            if self._envelope and not _worth_a_look(block):
                self._bytes += self._text_in(block)
                return size
        seen = held = 0
        for event in split(block):
            if self.error is not None:
                self.recognised = _FAILED in event
                seen += held + (len(event) if self.recognised else 0)
                break
            large = len(event) > LARGE_EVENT
            ends = (event[:_NEAR], event[-_NEAR:]) if large else ()
            self._numbered = next(filter(_NUMBER.search, ends), self._numbered)
            if self._envelope and not _worth_a_look(event):
                self._bytes += self._text_in(event)
                seen += len(event)
                continue
            # Nothing that counts is long, except the words of an error.
            looked = without_texts(event) if large else event
            self._parse(looked, event)
            if self.error is not None and looked is not event:
                self._parse(event, event)
            if self.error is not None and not self.recognised and self.started:
                held = len(event)
                continue
            seen += len(event)
            if self.complete or self.error is not None:
                break
        else:
            if held:
                self._unrecognised, self.error = self.error, None
                self.waits = self.stopped = True
        if seen < size and not self.waits:
            belongs = block[:seen]
            self._numbered = belongs if _NUMBER.search(belongs) else before
        return seen

    def without_usage(self, block: bytes) -> bytes:
        """Return ``block`` as it is: no event of this dialect only counts tokens."""
        return block

    def close(self) -> ErrorInfo | bytes:
        """Return the error of a stream that ended before its terminal event."""
        return self._unrecognised or TRUNCATED

    def _text_in(self, block: bytes) -> int:
        """Return about how many bytes of text unparsed events hold.

        What ends a part or an item repeats texts that came before.
        """
        size = 0
        for event in split(block):
            name = event[: event.find(b"\n")]
            if name.rstrip().endswith(b".delta"):
                if not event.startswith(self._kind):
                    self._learn(event)
                size += _text_in(event) if self._padded else len(event) - self._envelope
            elif name.rstrip().endswith(b"output_item.added"):
                size += _call_in(event)
        return size

    def _learn(self, block: bytes) -> None:
        """Note what a delta of another kind has besides its text, by the first of ``block``."""
        event = next(iter(split(block)))
        self._kind = event[: event.find(b"\n") + 1]
        self._envelope = max(1, len(event) - _text_in(event))
        self._padded = b'"obfuscation"' in event

    def next_number(self) -> int:
        """Return the ``sequence_number`` of the event that would follow, 0 where none was seen."""
        numbers = _NUMBER.findall(self._last_numbered())
        return int(numbers[-1]) + 1 if numbers else 0

    def _last_numbered(self) -> bytes:
        """Return the last events among which one has a number, b"" where none was seen."""
        if _NUMBER.search(self._deltas):
            self._numbered = self._deltas
        self._deltas = b""
        return self._numbered

    def _parse(self, looked: bytes, event: bytes) -> None:
        """Read ``looked``, which is ``event`` with or without its long texts."""
        self.error = None
        for frame in Reader(len(looked)).feed(looked):
            if frame.data:
                self._frame(frame.event, frame.data, looked, event)

    def _frame(self, name: str, data: bytes, looked: bytes, event: bytes) -> None:
        if data.strip() == DONE:
            self.complete = True
            return
        try:
            said = json_text.decode(data)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            self.error, self.recognised = stream_errors.raw_error(name, data), False
            return
        kind = said.get("type")
        if not isinstance(kind, str):
            kind = name if name.startswith("response.") else ""
        if kind == "error" or name == "error" or said.get("error"):
            self.error, self.recognised = error_kinds.stream_error(said), False
            self.sent_error_event = kind == "error"
        elif not kind:
            self.error, self.recognised = stream_errors.reported_error(name, said), False
        elif kind in ending.EVENTS:
            self._end(said.get("response"), ending.EVENTS[kind])
        elif kind in _BEFORE:
            response = said.get("response")
            id = response.get("id") if isinstance(response, dict) else None
            self.id = id if isinstance(id, str) else self.id
        elif kind.startswith("response."):
            self.started = True
            delta = said.get("delta")
            if isinstance(delta, str):
                self._envelope = len(looked) - len(json_text.encode(delta)) + 2
                self._bytes += len(event) - self._envelope
            elif kind == "response.output_item.added":
                self._bytes += _call_in(event)

    def _end(self, response: JSON | None, status: str) -> None:
        response = response if isinstance(response, dict) else {}
        self.usage = ending.usage_of(response)
        word = ending.word_of(response, status)
        self.error = ending.failure(response, word)
        if self.error is None:
            self.started = self.stopped = self.complete = True
            self.stop = gist({"output": [], **response, "status": status or "completed"})[1]
            self.tool_calls = tool_calls(response)


def _text_in(block: bytes) -> int:
    """Return how many bytes of text deltas hold."""
    start = block.find(_SHORT)
    if start >= 0 and block.count(b"\n\n") == 1:
        # Quicker than the expression; within a text no quotation mark is without a backslash.
        start += len(_SHORT)
        end = block.find(b'","', start)
        return (end if end >= 0 else block.rfind(b'"')) - start
    return sum(map(len, _TEXT.findall(block)))


def _call_in(event: bytes) -> int:
    """Return what a tool call counts that begins with ``event``, 0 for another item."""
    head = event[:_NEAR]
    name = _CALLED.search(head) if b"_call" in head else None
    return 0 if name is None else OTHERS.answer_call + len(name[1])


def _worth_a_look(block: bytes) -> bool:
    """Return whether ``block`` may hold other events than those of items."""
    lines = block.count(b"\n")
    if 0 < block.count(_DELTA) * _LINES == lines:
        return False
    if block.startswith(_NAMED):
        if lines == _LINES:
            return block[len(_NAMED) : block.index(b"\n")].rstrip() in _ENDS
        if block.count(b"\n\nevent: response.") + 1 == block.count(b"\n\n"):
            return b'"response"' in block or b"error" in block
        return True
    several = lines > _LINES
    return several or b'"response"' in block or b"error" in block or b'"type"' not in block
