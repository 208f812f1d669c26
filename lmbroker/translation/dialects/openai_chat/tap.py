"""Reads usage, stop reason and end of an OpenAI stream that is passed through.

Only some blocks are parsed: the first ones, and those in which a search finds a finish reason,
usage, an error or the terminator. A chunk that differs from an earlier one in its text alone is not
even searched. The last such chunk is kept: it shows whether a stream without a finish reason ended
inside a tool call.
"""

import re

from lmbroker import json_text
from lmbroker.bounds import LARGE_EVENT, without_texts
from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON
from lmbroker.sse import Reader, split
from lmbroker.translation.dialects.openai.ending import decode_stop, decode_usage
from lmbroker.translation.dialects.openai_chat.content import usage_in
from lmbroker.translation.dialects.openai_chat.ending import CALLED
from lmbroker.translation.refusals import stream_errors
from lmbroker.translation.shared import stop_words
from lmbroker.translation.unified.counting import OTHERS
from lmbroker.translation.unified.fold import TRUNCATED
from lmbroker.usage import Usage, later

DONE = b"[DONE]"
TERMINATOR = b"data: [DONE]\n\n"
_FINISHED = re.compile(rb'finish_reason"\s*:\s*[^\sn]')
_COUNTED = re.compile(rb'"usage"\s*:\s*[^\sn]')
_WORTHY = re.compile(rb"error"), _FINISHED, _COUNTED, re.compile(rb"\[DONE\]")
"""Finds what counts in a large event, faster there than literal searches."""

_CALL = re.compile(rb'"name"\s*:\s*"(?!")')
"""The name of a tool that is called, which only the first piece of a call has; inside of arguments
its quotes would be escaped."""

_PIECE = re.compile(rb'"(?:content|reasoning|reasoning_content|arguments|text)": ?"(?!")')
"""Where the text of a chunk begins."""
_TEXT = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\.)*+')
"""The inside of a JSON string, up to its end."""
_TEXTS = ("content", "reasoning", "reasoning_content", "refusal")
"""Where a delta has text, besides its calls."""

_EVERY = 4
"""After that many of the first blocks of several events, each so many-th one is looked into."""

_INSIDES = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\.|\n)*+')
"""The insides of several strings, each on a line of its own."""
_BLANK = b"\n\n"
"""The end of a chunk."""
_FEW = 1024
"""Bytes of several chunks that are looked at one by one."""
_SHAPES = 16
"""The maximum of shapes of chunks that are noted in one stream."""

_LONG = 64 * 1024
"""Bytes from which on the shape of an event is not noted: such events are rare."""

_SHORT = 40
"""Bytes that a terminator has at most, and a chunk at least."""


class OpenAITap:
    """Observes one passed-through stream of this dialect (``base.Tap``).

    ``choices``: how many the client asked for; each has its finish reason.
    """

    __slots__ = (
        "_after",
        "_before",
        "_blocks",
        "_bytes",
        "_choices",
        "_envelope",
        "_finished",
        "_last",
        "_several",
        "_shapes",
        "complete",
        "error",
        "recognised",
        "started",
        "stop",
        "stopped",
        "tool_calls",
        "usage",
    )

    waits = False

    def __init__(self, choices: int = 1) -> None:
        self.started = False
        self.stopped = False
        self.complete = False
        self.recognised = True
        self._bytes = 0
        """Bytes of text: those of blocks that were not parsed, but for their envelopes."""
        self._envelope = 0
        """Bytes besides its text of the last event of which that is known."""
        self._blocks = 0
        """Blocks of several events that were seen."""
        self._several = 0
        """Blocks of more bytes may hold several events, or a long text."""
        self._last = b""
        self._before = self._after = b"\n"
        """The bytes before and after the text of a chunk that carries text only. Nearly all chunks
        of a stream differ in their text alone and need no other check."""
        self._shapes = 0
        self.error: ErrorInfo | None = None
        self.usage: Usage | None = None
        self.stop = ""
        self.tool_calls = 0
        self._choices = choices
        self._finished: set[int] = set()

    @property
    def text_bytes(self) -> int:
        """The estimated number of bytes of text in the stream so far."""
        return max(0, self._bytes)

    def see(self, block: bytes) -> int:
        """Read whole events; return how many bytes of ``block`` belong to the stream."""
        size = len(block)
        if size > _FEW and self._shapes and self.started:
            seen = self._plain_start(block)
            if seen:
                return seen + self._each(block[seen:])
        if self.started and size <= LARGE_EVENT and self._is_plain(block, size):
            self._last = block
            if size > self._several:
                self._see_several(block, size)
            else:
                self._bytes += size - self._envelope
            return size
        return self._each(block)

    def _each(self, block: bytes) -> int:
        """Read whole events, one after the other."""
        seen, shapes = 0, self._shapes
        for event in split(block):
            size = len(event)
            if size > LARGE_EVENT:
                self._see_large(event, size)
            elif self.started and self._is_plain(event, size):
                self._last = event
                self._bytes += size - self._envelope
            else:
                self._parse(event)
            if self.error is not None and event[-_SHORT:].strip().endswith(DONE):
                break  # The end of a stream that has failed is no part of it.
            seen += size
            if self.complete or self.error is not None:
                break
            if self._shapes > shapes and len(block) - seen > _FEW:
                # More chunks of the shape that was just noted may follow.
                rest = block[seen:]
                plain = self._plain_start(rest)
                return seen + plain + self._each(rest[plain:])
        return seen

    def _see_several(self, block: bytes, size: int) -> None:
        """Count the text of several events, or of one that is long.

        They are taken to be like the last of them.
        """
        events = block.count(b"data:")
        self._blocks += 1
        if events > 1 and (self._blocks < _SHAPES or self._blocks % _EVERY == 0):
            last = block[block.rfind(b"data:") :]
            found = _PIECE.search(last, last.find(b'"delta"'))
            text = found and _TEXT.match(last, found.end())
            if text:
                self._measure(len(last) - text.end() + text.start())
        self._bytes += size - events * self._envelope

    def _plain_start(self, block: bytes) -> int:
        """Return the length of the chunks of the noted shape at the start of ``block``.

        0 where they are few, or where anything else stands between them.
        """
        before, after = self._before, self._after
        if not _FEW < len(block) <= LARGE_EVENT or not block.startswith(before):
            return 0
        size = block.rfind(after) + len(after)
        if size < len(after) or len(after) <= len(_BLANK):
            return 0
        # Each is one line and a blank one. A search for one byte is many times faster than one for
        # all that stands between two texts.
        start, end = len(before), len(_BLANK) - len(after)
        texts = [line[start:end] for line in block[:size].split(b"\n")[:-1:2]]
        if (after + before).join(texts) != block[start : size - len(after)]:
            return 0
        if _INSIDES.fullmatch(b"\n".join(texts)) is None:
            return 0
        self._last = before + texts[-1] + after
        self._bytes += size - len(texts) * self._envelope
        return size

    def _is_plain(self, block: bytes, size: int) -> bool:
        """Return whether ``block`` carries text and nothing else that counts."""
        before, after = self._before, self._after
        return bool(
            block.startswith(before)
            and block.endswith(after)
            and _TEXT.fullmatch(block, len(before), size - len(after))
        ) or not self._worth_a_look(block, size)

    def _see_large(self, event: bytes, size: int) -> None:
        """Read a large event without its long strings, unless it reports an error."""
        short = without_texts(event, quick=True)
        if self.started and not any(each.search(short) for each in _WORTHY):
            self._last = event
            self._bytes += size - self._envelope
            if b'"tool_calls"' in short:
                self.tool_calls += len(_CALL.findall(short))
            return
        short = without_texts(event)
        self._parse(short)
        self._bytes += size - len(short)
        if self.error is not None or b'"choices"' not in short:
            self._parse(event)
        elif b'"tool_calls"' in short:
            self._last = event

    def _parse(self, event: bytes) -> None:
        size = len(event)
        self.error = None
        for frame in Reader(size).feed(event):
            if frame.data:
                self._frame(frame.event, frame.data, size)

    def _worth_a_look(self, block: bytes, size: int) -> bool:
        """Return whether ``block`` may hold a finish reason, usage, an error or the terminator.

        Literal searches cost a tenth of an alternation, and the fewer the better.
        """
        if size < _SHORT or b"error" in block:
            return True
        alone = block.find(b"\n") == size - 2
        if (
            (not alone and b"[DONE]" in block)
            or _FINISHED.search(block)
            or (b'"usage"' in block and _COUNTED.search(block))
        ):
            return True
        if b'"tool_calls"' in block:
            self.tool_calls += len(_CALL.findall(block))
        if alone and size < _LONG and self._shapes < _SHAPES:
            self._note_shape(block)
        return False

    def _note_shape(self, event: bytes) -> None:
        """Remember the bytes around the text of ``event``, a single line that carries text only.

        Chunks with another text between the same bytes need no search.
        """
        self._shapes += 1
        found = _PIECE.search(event, event.find(b'"delta"'))
        text = found and _TEXT.match(event, found.end())
        if text and event.startswith(b'"', text.end()):
            self._before, self._after = event[: text.start()], event[text.end() :]
            self._measure(len(event) - text.end() + text.start())

    def _measure(self, envelope: int) -> None:
        """Take it that events have so many bytes besides their text."""
        self._envelope = envelope
        self._several = 2 * envelope

    def without_usage(self, block: bytes) -> bytes:
        """Return ``block`` without the chunks that only count tokens."""
        if b'"usage"' not in block:
            return block
        return b"".join(event for event in split(block) if not _only_counts(event))

    def close(self) -> ErrorInfo | bytes:
        """Return what completes a stream whose body ended.

        It is the terminator after a stop reason, else an error.
        """
        return TERMINATOR if self.stopped else self._last_error() or TRUNCATED

    def _last_error(self) -> ErrorInfo | None:
        """Return an error in the last event that no search finds, None where there is none."""
        frames = [frame for frame in Reader(len(self._last)).feed(self._last) if frame.data]
        return stream_errors.error_in(frames[-1]) if frames else None

    def _frame(self, name: str, data: bytes, size: int) -> None:
        if data.strip() == DONE:
            if self._finished:
                self.complete = True
                return
            half = stream_errors.HALF_CALL if _ends_in_call(self._last) else None
            self.error, self.recognised = self._last_error() or half, False
            self.complete = self.error is None
            return
        try:
            chunk = json_text.decode(data)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            self.error, self.recognised = stream_errors.raw_error(name, data), False
            return
        self.error = stream_errors.reported_error(name, chunk)
        if self.error is not None:
            self.recognised = bool(chunk.get("error"))
            return
        usage = usage_in(chunk)
        if usage is not None:
            self.usage = later(self.usage, decode_usage(usage))
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return
        for choice in choices:
            if isinstance(choice, dict):
                self._choice(choice, size)
        self.started = True

    def _choice(self, choice: JSON, size: int) -> None:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            if delta.get("tool_calls"):
                self.tool_calls += len(_CALL.findall(json_text.encode(delta["tool_calls"])))
                self._last = b"data:" + json_text.encode({"choices": [choice]})
            if not self.started:
                self._measure(size - len(json_text.encode(delta)) + len(b'{"content":""}'))
            self._bytes += _text_in(delta)
        reason = choice.get("finish_reason")
        if stop_words.word_of(reason):
            index = choice.get("index")
            self._finished.add(index if isinstance(index, int) else 0)
            self.stopped = len(self._finished) >= self._choices
            self.stop = decode_stop(reason, calls=reason in CALLED).reason


def _text_in(delta: JSON) -> int:
    """Return about how many bytes of text a delta holds, what a call takes included."""
    size = sum(len(text) for name in _TEXTS if isinstance(text := delta.get(name), str))
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            size += OTHERS.answer_call if function.get("name") else 0
            size += sum(len(text) for text in function.values() if isinstance(text, str))
    return size


def _ends_in_call(block: bytes) -> bool:
    """Return whether the last event of ``block`` is a piece of a call that is not complete.

    Complete arguments end with a brace.
    """
    last = block.rpartition(b"data:")[2]
    if b'"tool_calls"' not in last:
        return False
    try:
        delta = json_text.decode(last)["choices"][0]["delta"]
        text = delta["tool_calls"][-1]["function"].get("arguments")
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    return not (isinstance(text, dict) or (isinstance(text, str) and text.rstrip().endswith("}")))


def _only_counts(event: bytes) -> bool:
    """Return whether an event is the chunk without choices that ``include_usage`` asks for."""
    for frame in Reader(len(event)).feed(event):
        if frame.data is None:
            continue
        try:
            chunk = json_text.decode(frame.data)
        except ValueError:
            return False
        return isinstance(chunk, dict) and chunk.get("choices") == [] and bool(chunk.get("usage"))
    return False
