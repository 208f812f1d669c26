"""A part of a streamed answer of this dialect that is being collected."""

from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_responses.answer_items import (
    CALLS,
    opaque,
)
from lmbroker.translation.dialects.openai_responses.reasoning_items import ORIGIN
from lmbroker.translation.shared import waiting_part
from lmbroker.translation.unified.parts import (
    Extra,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)

_DELTAS = {"text": "text", "refusal": "text", "reasoning": "reasoning"}
"""Kind of a part -> kind of its deltas, where it is no call."""


class WaitingPart(waiting_part.WaitingPart):
    """One part of a streamed answer while it waits or is sent.

    ``kind`` is text, refusal, reasoning, function, custom, or opaque (an ``item`` that only this
    dialect knows).
    """

    __slots__ = (
        "citations",
        "deltas",
        "extras",
        "item",
        "namespace",
        "passed",
        "said",
        "sealed",
        "signed",
    )

    def __init__(self, kind: str, deltas: str) -> None:
        super().__init__(kind, _DELTAS.get(kind, "args" if kind in CALLS.values() else ""))
        self.deltas = deltas
        """The type of the events that carry its pieces."""
        self.said = False
        """Whether a piece of it has come."""
        self.passed = False
        """An item of another kind has begun: servers that send all ends at the end (llama.cpp) will
        say no more of this one."""
        self.citations = 0
        """The number of citations that came with it."""
        self.extras: tuple[Extra, ...] = ()
        self.namespace: str | None = None
        self.sealed = False
        """Whether it is reasoning whose end brings what must be sent back."""
        self.signed: Signature | None = None
        self.item: JSON = {}

    def say(self, text: str) -> None:
        """Add a piece of text."""
        if text:
            self.said = True
            if self.is_call:
                self.take(text)
            else:
                self.pieces.append(text)

    def skeleton(self) -> waiting_part.Skeleton | None:
        """Return the part as it opens, None for a call whose name is not known yet."""
        if self.kind == "reasoning":
            return ReasoningPart(signature=self.signed or Signature(origin=ORIGIN))
        if self.kind == "opaque":
            return opaque(self.item)
        if not self.is_call:
            return TextPart(text="", refusal=self.kind == "refusal", extras=self.extras)
        if not self.name:
            return None
        kind: Any = self.kind
        return ToolCallPart(
            id=self.id,
            name=self.name,
            kind=kind,
            namespace=self.namespace,
            extras=self.extras,
        )

    def signature(self) -> Signature | None:
        """Return the signature of reasoning, None for any other part."""
        return self.signed

    @property
    def complete(self) -> bool:
        """Whether it may be closed where other parts wait.

        The input of a custom tool is free text, which ends only when the backend says so.
        """
        return self.over or self.passed or self.whole
