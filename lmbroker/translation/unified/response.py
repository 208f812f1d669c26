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
    """Why it ended; ``raw`` is the backend's own word, ``details`` its explanation."""

    reason: StopReason
    sequence: str | None = None
    details: dict[str, Any] | None = None
    raw: str | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    model: str
    created: int | None = None
    parts: tuple[Part, ...]
    stop: Stop
    usage: Usage | None = None
    tier: str | None = None
    extras: tuple[Extra, ...] = ()
