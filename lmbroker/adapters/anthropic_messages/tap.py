"""What the broker learns from a passed-through Anthropic stream: usage, stop reason, end.

Only blocks that can hold something to learn are parsed: those with a message event or an error.
"""

import re
from typing import Any

from lmbroker.adapters import error_bodies
from lmbroker.adapters.anthropic_messages.ending import decode_stop, decode_usage, merged
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Reader, split
from lmbroker.unified import json_text
from lmbroker.unified.fold import TRUNCATED
from lmbroker.unified.response import Usage

TERMINATOR = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_WORTH_A_LOOK = re.compile(rb'"type"\s*:\s*"(?:message_|error")|"error"\s*:\s*[^\sn]')


class AnthropicTap:
    """See ``base.Tap``."""

    __slots__ = (
        "_counts",
        "complete",
        "error",
        "started",
        "stop",
    )

    def __init__(self) -> None:
        self.started = False
        self.complete = False
        self.error: ErrorInfo | None = None
        self.stop = ""
        self._counts: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        return decode_usage(self._counts, billed=True)

    def see(self, block: bytes) -> int:
        if not _WORTH_A_LOOK.search(block):
            return len(block)
        seen = 0
        for event in split(block):
            seen += len(event)
            if not _WORTH_A_LOOK.search(event):
                continue
            for frame in Reader().feed(event):
                if frame.data:
                    self._frame(frame.data)
            if self.complete or self.error is not None:
                break
        return seen

    def without_usage(self, block: bytes) -> bytes:
        return block

    def close(self) -> ErrorInfo | bytes:
        return TERMINATOR if self.stop else TRUNCATED

    def _frame(self, data: bytes) -> None:
        try:
            event = json_text.decode(data)
        except ValueError:
            return
        if not isinstance(event, dict):
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
                self.stop = decode_stop(reason, None, None, calls=reason == "tool_use").reason
        elif kind == "message_stop":
            self.complete = True
        elif kind == "error" or (kind is None and event.get("error")):
            self.error = error_bodies.stream_error(event)
