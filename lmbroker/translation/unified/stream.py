"""The Unified Model of a streamed answer (translation.md section 1).

The law: ``Start (PartStart(i) PartDelta(i)* PartStop(i))* (Finish | Error)`` with i = 0, 1, 2, ...
without gaps, at most one part open at a time, ``Ping`` and ``UsageUpdate`` anywhere between.
``Error`` may stand anywhere and leaves an open part open. ``grammar.EventChecker`` checks it.

Events are small and made for every token, hence positional structs.
"""

from typing import Literal

import msgspec

from lmbroker.errors import ErrorInfo
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Stop
from lmbroker.usage import Usage


class Start(msgspec.Struct, frozen=True):
    """The first event of a stream.

    ``id`` is as the backend gave it, "" where it gave none; ``created`` is unix seconds.
    """

    id: str
    model: str
    usage: Usage | None = None
    created: int | None = None
    tier: str | None = None


class PartStart(msgspec.Struct, frozen=True):
    """A part opens; ``part`` is its skeleton.

    A ToolCallPart skeleton whose ``args`` are not None carries the whole input already: it
    counts if no args delta follows. A redacted ReasoningPart and an OpaquePart are whole.
    """

    index: int
    part: TextPart | ReasoningPart | ToolCallPart | OpaquePart


class PartDelta(msgspec.Struct, frozen=True):
    """More of the open part ``index``.

    ``value`` is a str for ``text``, ``reasoning`` and ``args``, a Signature for ``signature`` (sent
    once, whole), a Citation for ``citation``.
    """

    index: int
    kind: Literal["text", "reasoning", "args", "signature", "citation"]
    value: "str | Signature | Citation"


class PartStop(msgspec.Struct, frozen=True):
    """The open part ``index`` is complete."""

    index: int


class UsageUpdate(msgspec.Struct, frozen=True):
    """Token counts of the answer so far, cumulative: the last one counts."""

    usage: Usage


class Ping(msgspec.Struct, frozen=True):
    """The backend is alive and has nothing to send."""


class Finish(msgspec.Struct, frozen=True):
    """Terminal: the answer is complete."""

    stop: Stop
    usage: Usage | None = None
    tier: str | None = None


class Error(msgspec.Struct, frozen=True):
    """Terminal: the answer broke. Open parts stay open."""

    error: ErrorInfo


StreamEvent = Start | PartStart | PartDelta | PartStop | UsageUpdate | Ping | Finish | Error
