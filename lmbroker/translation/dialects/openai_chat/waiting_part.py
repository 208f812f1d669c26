"""A part of a streamed answer that is being collected (translation.md 4.4, steps 2 to 4)."""

import re
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_chat import reasoning_details
from lmbroker.translation.shared.json_scan import ObjectScanner

_DELTAS = {
    "reasoning": "reasoning",
    "text": "text",
    "refusal": "text",
    "function": "args",
    "custom": "args",
    "tags": "reasoning",
    "extra": "",
}
"""Kind of a part -> kind of its deltas."""
TEXTS = ("reasoning", "tags", "text", "refusal", "extra")
REASONING = ("reasoning", "tags")
OVER = "over"
_BLANK = re.compile(r"[ \t\r\n]*")


class WaitingPart:
    """One part of a streamed answer while it waits or is sent.

    ``kind`` is reasoning, text, refusal, function, custom, tags (reasoning at the head of the text)
    or extra (what a backend wants back with its text). ``delta`` is the kind of its deltas.
    ``scanner`` checks the arguments of a function.
    """

    __slots__ = (
        "closed",
        "delta",
        "details",
        "extra",
        "head",
        "id",
        "kind",
        "name",
        "pieces",
        "plain",
        "scanner",
        "told",
    )

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.extra: JSON = {}
        """What the backend wants back with its call (or with its text, kind ``extra``)."""
        self.delta: Any = _DELTAS[kind]
        self.pieces: list[str] = []
        self.id = ""
        self.name = ""
        self.plain = True
        """Each chunk since it was alone carried a piece of it and nothing else."""
        self.told = False
        self.closed = False
        self.scanner = ObjectScanner() if kind == "function" else None
        self.details = reasoning_details.Collected() if kind in REASONING else None
        self.head = "" if kind == "function" else OVER
        """The arguments so far, where they may be an empty object before the real one."""

    def take(self, text: str) -> None:
        """Add a piece of the arguments. An empty object before the real one is left out: gateways
        in front of Claude make it of the empty input with which its calls begin."""
        if self.head != OVER:
            text = self._begin(text)
        if text:
            self.pieces.append(text)
            if self.scanner is not None:
                self.scanner.feed(text)

    def _begin(self, text: str) -> str:
        start = at = 0
        while at < len(text):
            blank = _BLANK.match(text, at)
            at = blank.end() if blank else at
            char = text[at : at + 1]
            if (self.head, char) in (("", "{"), ("{", "}")):
                self.head += char
                at += 1
            elif (self.head, char) == ("{}", "{"):
                self.head, self.pieces, self.scanner = "", [], ObjectScanner()
                start = at
            elif char:
                self.head = OVER
                break
        return text[start:]

    @property
    def running(self) -> bool:
        """Whether it is a function call whose arguments have begun."""
        return self.scanner is not None and self.head == OVER

    @property
    def whole(self) -> bool:
        """Whether it is a function call whose arguments are a whole object."""
        return self.scanner is not None and self.scanner.complete

    @property
    def complete(self) -> bool:
        """Whether it may be closed if others wait. The input of a custom tool is free text, which
        ends only with the stream."""
        return self.kind in TEXTS or self.whole
