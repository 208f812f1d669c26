"""Ids of tool calls that occur more than once in a conversation.

Some backends number the calls of each answer from the start. Anthropic requires unique ids; a
result belongs to the latest call with its id that has no result yet.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from lmbroker.translation.unified.parts import ToolCallPart, ToolResultPart
from lmbroker.translation.unified.request import Turn


def with_unique_ids(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return ``turns`` in which repeated ids of calls, and those of their results, get a number.

    What becomes of a turn depends on no later turn, so prompt caches stay valid.
    """
    ids = [part.id for turn in turns for part in turn.parts if isinstance(part, ToolCallPart)]
    if len(set(ids)) == len(ids):
        return turns if isinstance(turns, tuple) else tuple(turns)
    apart = _Apart()
    return tuple(apart.turn(turn) for turn in turns)


class _Apart:
    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._open: dict[str, deque[str]] = {}
        self._last: dict[str, str] = {}

    def turn(self, turn: Turn) -> Turn:
        parts = tuple(map(self._part, turn.parts))
        return msgspec.structs.replace(turn, parts=parts)

    def _part(self, part: Any) -> Any:
        if isinstance(part, ToolCallPart):
            id = self._called(part.id)
            return part if id == part.id else msgspec.structs.replace(part, id=id)
        if isinstance(part, ToolResultPart):
            waiting = self._open.get(part.call_id)
            id = waiting.popleft() if waiting else self._last.get(part.call_id, part.call_id)
            return part if id == part.call_id else msgspec.structs.replace(part, call_id=id)
        return part

    def _called(self, id: str) -> str:
        number = self._counts.get(id, 0) + 1
        new = id
        if number > 1:
            new = f"{id}_{number}"
            while new in self._counts:
                number += 1
                new = f"{id}_{number}"
            self._counts[new] = 1
        self._counts[id] = number
        self._open.setdefault(id, deque()).append(new)
        self._last[id] = new
        return new
