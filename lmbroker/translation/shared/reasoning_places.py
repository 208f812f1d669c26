"""Moves reasoning to the places where it stood among the texts and calls of its turn.

Dialects that hold texts and calls in fields of their own lose that order (``ReasoningPart.at``
keeps it).
"""

from collections import deque
from collections.abc import Sequence

from lmbroker.translation.unified.parts import Part, ReasoningPart, TextPart, ToolCallPart


def in_place(parts: Sequence[Part]) -> Sequence[Part]:
    """Return ``parts`` with each reasoning part moved to the place that it names.

    A text is split where reasoning stood inside it: vendors refuse reasoning that was reordered.
    """
    for part in parts:
        if isinstance(part, ReasoningPart) and part.at is not None:
            return _placed(parts)
    return parts


def _placed(parts: Sequence[Part]) -> list[Part]:
    waiting = deque(
        part for part in parts if isinstance(part, ReasoningPart) and part.at is not None
    )
    placed: list[Part] = []
    before = calls = 0

    def due(limit: int) -> bool:
        at = waiting[0].at if waiting else None
        return at is not None and at[0] <= limit and at[1] <= calls

    for part in parts:
        if isinstance(part, ReasoningPart):
            if part.at is None:
                placed.append(part)
            continue
        while due(before):
            placed.append(waiting.popleft())
        if isinstance(part, TextPart):
            start, end = before, before + len(part.text)
            while due(end - 1):
                at = (waiting[0].at or (0, 0))[0]
                said = part.text[before - start : at - start]
                placed.append(TextPart(text=said, refusal=part.refusal))
                before = at
                while due(before):
                    placed.append(waiting.popleft())
            placed.append(part if before == start else _tail(part, part.text[before - start :]))
            before = end
        else:
            calls += isinstance(part, ToolCallPart)
            placed.append(part)
    return [*placed, *waiting]


def _tail(part: TextPart, text: str) -> TextPart:
    return TextPart(text=text, cache=part.cache, refusal=part.refusal, extras=part.extras)
