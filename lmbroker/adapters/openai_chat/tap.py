"""What the broker learns from a passed-through OpenAI stream: usage, stop reason, end.

Only blocks that can hold something to learn are parsed: the first ones, and those in which a
finish reason, usage, an error or the terminator shows.
"""

import re

from lmbroker.adapters import error_bodies
from lmbroker.adapters.openai_chat.content import is_error, told_usage
from lmbroker.adapters.openai_chat.ending import CALLED, decode_stop, decode_usage
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Reader, split
from lmbroker.unified import json_text
from lmbroker.unified.fold import TRUNCATED
from lmbroker.unified.response import Usage, later

DONE = b"[DONE]"
TERMINATOR = b"data: [DONE]\n\n"
_FINISHED = re.compile(rb'finish_reason"\s*:\s*[^\sn]')
_COUNTED = re.compile(rb'"usage"\s*:\s*[^\sn]')


class OpenAITap:
    """See ``base.Tap``. ``choices``: how many the client asked for; each has its finish."""

    __slots__ = (
        "_choices",
        "_finished",
        "complete",
        "error",
        "started",
        "stop",
        "usage",
    )

    def __init__(self, choices: int = 1) -> None:
        self.started = False
        self.complete = False
        self.error: ErrorInfo | None = None
        self.usage: Usage | None = None
        self.stop = ""
        self._choices = choices
        self._finished: set[int] = set()

    def see(self, block: bytes) -> int:
        if self.started and not _worth_a_look(block):
            return len(block)
        seen = 0
        for event in split(block):
            seen += len(event)
            if self.started and not _worth_a_look(event):
                continue
            for frame in Reader().feed(event):
                if frame.data:
                    self._frame(frame.event, frame.data)
            if self.complete or self.error is not None:
                break
        return seen

    def without_usage(self, block: bytes) -> bytes:
        if b'"usage"' not in block:
            return block
        return b"".join(event for event in split(block) if not _only_counts(event))

    def close(self) -> ErrorInfo | bytes:
        return TERMINATOR if len(self._finished) >= self._choices else TRUNCATED

    def _frame(self, name: str, data: bytes) -> None:
        if data.strip() == DONE:
            self.complete = True
            return
        try:
            chunk = json_text.decode(data)
        except ValueError:
            return
        if not isinstance(chunk, dict):
            return
        if chunk.get("error"):
            self.error = error_bodies.stream_error(chunk)
            return
        usage = told_usage(chunk)
        if usage is not None:
            self.usage = later(self.usage, decode_usage(usage))
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            if is_error(name, chunk):
                self.error = error_bodies.stream_error(chunk)
            return
        self.started = True
        for choice in choices:
            if isinstance(choice, dict) and choice.get("finish_reason"):
                index = choice.get("index")
                self._finished.add(index if isinstance(index, int) else 0)
                reason = choice["finish_reason"]
                self.stop = decode_stop(reason, calls=reason in CALLED).reason


def _worth_a_look(block: bytes) -> bool:
    """Whether a finish reason, usage, an error or the terminator may stand in ``block``. Every
    token passes here: literal searches first, for they cost a tenth of an alternation."""
    return bool(
        b"error" in block
        or b"[DONE]" in block
        or _FINISHED.search(block)
        or (b'"usage"' in block and _COUNTED.search(block))
    )


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
