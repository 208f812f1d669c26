"""What the broker learns from a passed-through OpenAI stream: usage, stop reason, end.

Only blocks that can hold something to learn are parsed: the first ones, and those in which a
finish reason, usage, an error or the terminator shows. The last of the others is kept, for it
shows whether a stream without a finish reason ended inside a tool call.
"""

import re
from typing import Any

from lmbroker.adapters import stop_words, stream_errors
from lmbroker.adapters.openai_chat.content import told_usage
from lmbroker.adapters.openai_chat.ending import CALLED, decode_stop, decode_usage
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Reader, split
from lmbroker.unified import json_text
from lmbroker.unified.fold import TRUNCATED
from lmbroker.unified.response import Usage, later

JSON = dict[str, Any]
DONE = b"[DONE]"
TERMINATOR = b"data: [DONE]\n\n"
_FINISHED = re.compile(rb'finish_reason"\s*:\s*[^\sn]')
_COUNTED = re.compile(rb'"usage"\s*:\s*[^\sn]')

_SHORT = 40
"""Bytes of an event that is no chunk, but for the longest terminator."""


class OpenAITap:
    """See ``base.Tap``. ``choices``: how many the client asked for; each has its finish."""

    __slots__ = (
        "_bytes",
        "_choices",
        "_envelope",
        "_finished",
        "_last",
        "complete",
        "error",
        "heard",
        "started",
        "stop",
        "stopped",
        "usage",
    )

    def __init__(self, choices: int = 1) -> None:
        self.started = False
        self.stopped = False
        self.complete = False
        self.heard = True
        self._bytes = 0
        """Of what was not looked at."""
        self._envelope = 0
        """Bytes of an event besides its text."""
        self._last = b""
        self.error: ErrorInfo | None = None
        self.usage: Usage | None = None
        self.stop = ""
        self._choices = choices
        self._finished: set[int] = set()

    @property
    def told(self) -> int:
        last = self._last
        if not last:
            return 0
        texts = max(0, len(last) - last.count(b"data:") * self._envelope)
        return self._bytes * texts // len(last)

    def see(self, block: bytes) -> int:
        if self.started and not _worth_a_look(block):
            self._last = block
            self._bytes += len(block)
            return len(block)
        seen = 0
        for event in split(block):
            if self.started and not _worth_a_look(event):
                self._last = event
                self._bytes += len(event)
                seen += len(event)
                continue
            for frame in Reader().feed(event):
                if frame.data:
                    self._frame(frame.event, frame.data, len(event))
            if self.error is not None and event.strip().endswith(DONE):
                break  # The end of a stream that has failed is no part of it.
            seen += len(event)
            if self.complete or self.error is not None:
                break
        return seen

    def without_usage(self, block: bytes) -> bytes:
        if b'"usage"' not in block:
            return block
        return b"".join(event for event in split(block) if not _only_counts(event))

    def close(self) -> ErrorInfo | bytes:
        return TERMINATOR if self.stopped else self._last_error() or TRUNCATED

    def _last_error(self) -> ErrorInfo | None:
        """The error that the last event told, of a form that shows at a close look only."""
        frames = [frame for frame in Reader().feed(self._last) if frame.data]
        return stream_errors.error_in(frames[-1]) if frames else None

    def _frame(self, name: str, data: bytes, size: int) -> None:
        if data.strip() == DONE:
            if self._finished:
                self.complete = True
                return
            half = stream_errors.HALF_CALL if _ends_in_call(self._last) else None
            self.error, self.heard = self._last_error() or half, False
            self.complete = self.error is None
            return
        try:
            chunk = json_text.decode(data)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            self.error, self.heard = stream_errors.raw_error(name, data), False
            return
        self.error = stream_errors.told_error(name, chunk)
        if self.error is not None:
            self.heard = bool(chunk.get("error"))
            return
        usage = told_usage(chunk)
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
                self._last = b"data:" + json_text.encode({"choices": [choice]})
            if not self.started:
                self._envelope = size - len(json_text.encode(delta)) + len(b'{"content":""}')
            self._bytes += size
        reason = choice.get("finish_reason")
        if stop_words.word_of(reason):
            index = choice.get("index")
            self._finished.add(index if isinstance(index, int) else 0)
            self.stopped = len(self._finished) >= self._choices
            self.stop = decode_stop(reason, calls=reason in CALLED).reason


def _worth_a_look(block: bytes) -> bool:
    """Whether a finish reason, usage, an error or the terminator may stand in ``block``. Every
    token passes here, nearly always alone in one line: literal searches cost a tenth of an
    alternation, and the fewer the better."""
    size = len(block)
    return bool(
        size < _SHORT
        or (block.find(b"\n") != size - 2 and b"[DONE]" in block)
        or b"error" in block
        or _FINISHED.search(block)
        or (b'"usage"' in block and _COUNTED.search(block))
    )


def _ends_in_call(block: bytes) -> bool:
    """Whether the last event of ``block`` is a piece of a call after which more must come: no
    arguments end without a brace."""
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
    """Whether an event is the chunk without choices that ``include_usage`` asks for."""
    for frame in Reader().feed(event):
        if frame.data is None:
            continue
        try:
            chunk = json_text.decode(frame.data)
        except ValueError:
            return False
        return isinstance(chunk, dict) and chunk.get("choices") == [] and bool(chunk.get("usage"))
    return False
