"""The Unified Model of an answer (translation.md section 1)."""

from typing import Any, Literal

import msgspec

from lmbroker.translation.unified.parts import Extra, Part
from lmbroker.usage import Usage

StopReason = Literal[
    "end",
    "stop_sequence",
    "max_tokens",
    "tool_calls",
    "refusal",
    "paused",
    "context_full",
    "compaction",
    "other",
]


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why an answer ended.

    ``sequence`` is the stop sequence that ended it. ``raw`` is the reason as the backend wrote it,
    ``details`` its explanation.
    """

    reason: StopReason
    sequence: str | None = None
    details: dict[str, Any] | None = None
    raw: str | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A backend's whole answer.

    ``id`` and ``model`` are as the backend gave them, "" where it gave none; ``created`` is unix
    seconds; ``usage`` is None where the backend counted nothing; ``tier`` is the service tier that
    served the request.
    """

    id: str
    model: str
    created: int | None = None
    parts: tuple[Part, ...]
    stop: Stop
    usage: Usage | None = None
    tier: str | None = None
    extras: tuple[Extra, ...] = ()
