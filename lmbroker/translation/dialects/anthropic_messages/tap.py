"""Reads usage, stop reason and end of an Anthropic stream that is passed through.

Only blocks that may hold usage, a stop reason, the end or an error are parsed.
"""

import re
from typing import Any

from lmbroker import json_text
from lmbroker.bounds import LARGE_EVENT, without_texts
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Reader, split
from lmbroker.translation.dialects.anthropic_messages.ending import (
    decode_stop,
    decode_usage,
    merged,
)
from lmbroker.translation.refusals import error_kinds, stream_errors
from lmbroker.translation.unified.counting import CLAUDE
from lmbroker.translation.unified.fold import TRUNCATED
from lmbroker.usage import Usage

TERMINATOR = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_TEXT = re.compile(rb'"(?:text|thinking|partial_json)" ?: ?"((?:[^"\\]++|\\.)*+)"')
"""A text, and what is in it."""

_CALLED = re.compile(rb'_use".{0,200}?"name" ?: ?"([^"]*)"')
"""The beginning of a call, with its name."""

_OF_A_DELTA = b"event: content_block_delta"
"""How a delta begins."""

_OF_A_BLOCK = b"event: content_block_"
"""The beginning of an event of a content block."""

_CALL = re.compile(rb'"type"\s*:\s*"tool_use"')
"""The beginning of a call; inside of a text its quotes would be escaped."""

_SAMPLES, _EVERY = 16, 8
"""So many blocks of several events are looked into, and then each so many-th of them."""

_SEVERAL = 1024
"""Bytes of a block from which it is taken apart by lines, all at once."""

_TRIES = 4
"""So often in one read many events of content blocks are sought behind another event."""

_KINDS = 8
"""So many names of events of content blocks there are at most."""

_LINES = 3
"""Line ends of an event that has a name, one line of data, and a blank line."""


class AnthropicTap:
    """Observes one passed-through stream of this dialect (``base.Tap``).

    ``choices`` is always one in this dialect and is ignored.
    """

    __slots__ = (
        "_around",
        "_before",
        "_blocks",
        "_bytes",
        "_counts",
        "_several",
        "complete",
        "error",
        "recognised",
        "started",
        "stop",
        "stopped",
        "tool_calls",
    )

    waits = False

    def __init__(self, choices: int = 1) -> None:
        self.started = False
        self.complete = False
        self.recognised = True
        self._bytes = 0
        """Bytes of the texts that were not parsed."""
        self._before = b"\n"
        """The bytes before the text of the last delta."""
        self._blocks = 0
        """Blocks that were not like the one before."""
        self._around = 0
        """The bytes of an event besides its text, in the last block that was looked into."""
        self._several = 0
        """Blocks of more bytes may hold several events, or a long text."""
        self.stopped = False
        self.error: ErrorInfo | None = None
        self.stop = ""
        self.tool_calls = 0
        self._counts: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        """The token counts so far, None before the first."""
        return decode_usage(self._counts, billed=True)

    @property
    def text_bytes(self) -> int:
        """The estimated number of bytes of text in the stream so far."""
        return max(0, self._bytes)

    def see(self, block: bytes) -> int:
        """Read whole events; return how many bytes of ``block`` belong to the stream."""
        size = len(block)
        if size <= _SEVERAL and not _worth_a_look(block):
            self._pass(block)
            return size
        return self._see(block, _TRIES)

    def _see(self, block: bytes, tries: int) -> int:
        """Do what ``see`` does for a block that is not passed as a whole.

        Up to ``tries`` times more, several events of content blocks are passed at once.
        """
        seen = self._pass_start(block) if _SEVERAL < len(block) <= LARGE_EVENT else 0
        for event in split(block[seen:] if seen else block):
            size = len(event)
            seen += size
            if size > LARGE_EVENT:
                self._see_large(event)
            elif _worth_a_look(event):
                self._parse(event)
            else:
                self._pass(event)
            if self.complete or self.error is not None:
                break
            if tries and block.startswith(_OF_A_BLOCK, seen) and not event.startswith(_OF_A_BLOCK):
                return seen + self._see(block[seen:], tries - 1)
        return seen

    def _pass_start(self, block: bytes) -> int:
        """Pass the events of content blocks with which ``block`` begins; return their length.

        It is 0 where there are none, or where one has other lines than a name, data and a blank
        one.
        """
        if not block.startswith(_OF_A_BLOCK):
            return 0
        lines = block.split(b"\n")
        names = lines[:-1:_LINES]
        kinds = set(names)
        if len(kinds) > _KINDS:
            return 0
        others = [kind for kind in kinds if not kind.startswith(_OF_A_BLOCK)]
        end = min(map(names.index, others), default=len(names)) * _LINES
        if set(lines[2:end:_LINES]) != {b""}:
            return 0
        data = lines[1:end:_LINES]
        if not self._count(data):
            return 0
        return sum(map(len, lines[:end])) + end

    def _count(self, lines: list[bytes]) -> bool:
        """Count the texts and the calls of many events.

        Return whether ``lines`` are all data lines.
        """
        size = calls = named = 0
        before = b"\n"
        for line in lines:
            if line.startswith(before):
                # As in ``_pass``.
                size += line.rfind(b'"') - len(before)
                continue
            if not line.startswith(b"data:"):
                return False
            text = None
            for text in _TEXT.finditer(line):
                size += text.end(1) - text.start(1)
            if text is not None:
                before = line[: text.start(1)]
            if b"_use" in line:
                calls += len(_CALL.findall(line))
                named += sum(CLAUDE.answer_call + len(name) for name in _CALLED.findall(line))
        self._bytes += size + named
        self.tool_calls += calls
        return True

    def _pass(self, block: bytes) -> None:
        before = self._before
        if block.startswith(before) and len(block) <= self._several:
            # Nearly all events differ from the one before in their text alone. It ends with the
            # last quotation mark: Anthropic fills some events up with spaces behind that.
            self._bytes += block.rfind(b'"') - len(before)
            return
        events = block.count(b"\n\n")
        self._blocks += 1
        looked_into = events == 1 or self._blocks <= _SAMPLES or self._blocks % _EVERY == 0
        if not (looked_into or b"_use" in block or b"signature" in block):
            self._bytes += len(block) - events * self._around
            return
        size, text = 0, None
        for text in _TEXT.finditer(block):
            size += text.end(1) - text.start(1)
        self._bytes += size
        if events > 1:
            self._around = (len(block) - size) // events
        elif text is not None and block.startswith(_OF_A_DELTA):
            self._before = block[: text.start(1)]
            self._several = 2 * text.start(1)
        if b"_use" in block:
            self.tool_calls += len(_CALL.findall(block))
            for name in _CALLED.findall(block):
                self._bytes += CLAUDE.answer_call + len(name)

    def _see_large(self, event: bytes) -> None:
        """Read a large event without its long strings, unless it reports an error."""
        if event.startswith(_OF_A_BLOCK):
            self._pass(event)
            return
        short = without_texts(event)
        self._parse(short)
        if self.error is not None or b'"type"' not in short:
            self._parse(event)

    def _parse(self, event: bytes) -> None:
        self.error = None
        for frame in Reader(len(event)).feed(event):
            if frame.data:
                self._frame(frame.event, frame.data)

    def without_usage(self, block: bytes) -> bytes:
        """Return ``block`` as it is: no event of this dialect only counts tokens."""
        return block

    def close(self) -> ErrorInfo | bytes:
        """Return what completes a stream whose body ended.

        It is the terminator after a stop reason, else an error.
        """
        return TERMINATOR if self.stopped else TRUNCATED

    def _frame(self, name: str, data: bytes) -> None:
        try:
            event = json_text.decode(data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.error, self.recognised = stream_errors.raw_error(name, data), False
            return
        kind = event.get("type")
        if kind == "message_start":
            self.started = True
            message = event.get("message")
            if isinstance(message, dict):
                self._counts = merged({}, message.get("usage"))
        elif kind == "message_delta":
            self._counts = merged(self._counts, event.get("usage"))
            delta = event.get("delta")
            if isinstance(delta, dict) and delta.get("stop_reason"):
                reason = delta["stop_reason"]
                self.stopped = True
                self.stop = decode_stop(reason, None, None, calls=reason == "tool_use").reason
        elif kind == "message_stop":
            self.complete = True
        elif kind == "error" or name == "error":
            self.error, self.recognised = error_kinds.stream_error(event), name == "error"
        elif not isinstance(kind, str):
            self.error, self.recognised = stream_errors.reported_error("", event), False


def _worth_a_look(block: bytes) -> bool:
    """Return whether ``block`` may hold other events than those of content blocks.

    It is called for every token, nearly always with one event.
    """
    if not block.startswith(_OF_A_BLOCK):
        return True
    if block.count(b"\n") == _LINES:
        return False
    return block.count(b"\n\n" + _OF_A_BLOCK) + 1 != block.count(b"\n\n")
