"""A part of a streamed answer that is being collected (translation.md 4.4, steps 2 to 4)."""

import re
from typing import Any

from lmbroker.translation.shared.json_scan import ObjectScanner
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)

Skeleton = TextPart | ReasoningPart | ToolCallPart | OpaquePart

OVER = "over"
_BLANK = re.compile(r"[ \t\r\n]*")


class WaitingPart:
    """One part of a streamed answer while it waits or is being sent.

    Each dialect says what its parts are made of. ``kind`` is the dialect's word for it;
    ``function`` and ``custom`` are calls in all of them. ``delta`` is the kind of its deltas.
    ``scanner`` checks the arguments of a function.
    """

    __slots__ = (
        "cited",
        "closed",
        "delta",
        "emitted",
        "head",
        "id",
        "kind",
        "name",
        "over",
        "pieces",
        "plain",
        "scanner",
    )

    def __init__(self, kind: str, delta: str) -> None:
        self.kind = kind
        self.delta: Any = delta
        self.pieces: list[str] = []
        self.cited: list[Citation] = []
        """Sources of the text that were not emitted yet."""
        self.id = ""
        self.name = ""
        self.plain = True
        """The part is the only open one, and each event since then carried a piece of it only."""
        self.emitted = False
        self.over = False
        """The backend has ended the part."""
        self.closed = False
        self.scanner: ObjectScanner | None = ObjectScanner() if kind == "function" else None
        self.head = "" if kind == "function" else OVER
        """The arguments so far, where they may be an empty object before the real one."""

    def skeleton(self) -> Skeleton | None:
        """Return the part as it opens, None while too little is known of it."""
        raise NotImplementedError

    def signature(self) -> Signature | None:
        """Return the signature with which the part can be brought back.

        It is emitted at the end.
        """
        return None

    def beside(self, number: int) -> Signature | None:
        """Return what the backend wants back with this call, None where that was emitted already.

        The call is the ``number``th of its answer.
        """
        return None

    def take(self, text: str) -> None:
        """Add a piece of the arguments.

        An empty object before the real one is left out: gateways in front of Claude make it of the
        empty input with which its calls begin.
        """
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
    def is_call(self) -> bool:
        """Whether it is a call of a tool."""
        return bool(self.delta == "args")

    @property
    def running(self) -> bool:
        """Whether it is a function call whose arguments have begun."""
        return self.scanner is not None and self.head == OVER

    @property
    def whole(self) -> bool:
        """Whether it is a function call whose arguments are a whole object."""
        return self.scanner is not None and self.scanner.complete

    @property
    def half(self) -> bool:
        """Whether it is a function call whose arguments began as an object and were not closed.

        Arguments that are no JSON at all are not half.
        """
        scanner = self.scanner
        return scanner is not None and scanner.begun and not (scanner.broken or scanner.complete)

    @property
    def complete(self) -> bool:
        """Whether it may be closed where other parts wait."""
        return self.over
