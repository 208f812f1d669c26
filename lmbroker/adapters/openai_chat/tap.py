"""What the broker learns from a passed-through OpenAI stream: usage, stop reason, end.

Only blocks that can hold something to learn are parsed: the first ones, and those in which a
finish reason, usage, an error or the terminator shows.
"""

import re
from typing import Any

from lmbroker.adapters import error_bodies
from lmbroker.adapters.openai_chat.ending import decode_stop, decode_usage
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Reader
from lmbroker.unified import json_text
from lmbroker.unified.fold import TRUNCATED
from lmbroker.unified.response import Usage

DONE = b"[DONE]"
TERMINATOR = b"data: [DONE]\n\n"
_WORTH_A_LOOK = re.compile(rb'"(?:finish_reason|usage|error)"\s*:\s*[^\sn]|\[DONE\]')


class OpenAITap:
    """See ``base.Tap``. ``choices``: how many the client asked for; each has its finish."""

    def __init__(self, choices: int = 1) -> None:
        self.started = False
        self.complete = False
        self.error: ErrorInfo | None = None
        self.usage: Usage | None = None
        self.stop = ""
        self._choices = choices
        self._finished: set[Any] = set()

    def see(self, block: bytes) -> None:
        if self.started and not _WORTH_A_LOOK.search(block):
            return
        for frame in Reader().feed(block):
            if frame.data is not None:
                self._frame(frame.data)

    def last_words(self, tail: bytes) -> bytes:
        reader = Reader()
        reader.feed(tail)
        return tail.rstrip(b"\r\n") + b"\n\n" if reader.close() else b""

    def close(self) -> ErrorInfo | bytes | None:
        if self.complete:
            return None
        return TERMINATOR if len(self._finished) >= self._choices else TRUNCATED

    def _frame(self, data: bytes) -> None:
        if data == DONE:
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
        self.usage = decode_usage(chunk.get("usage")) or self.usage
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return
        self.started = True
        for choice in choices:
            if isinstance(choice, dict) and choice.get("finish_reason"):
                self._finished.add(choice.get("index"))
                reason = choice["finish_reason"]
                self.stop = decode_stop(reason, calls=reason == "tool_calls").reason
