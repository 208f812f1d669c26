"""A part of a streamed answer of this dialect that is being collected."""

from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_chat import reasoning_details
from lmbroker.translation.dialects.openai_chat.content import extra_signature
from lmbroker.translation.shared import waiting_part
from lmbroker.translation.shared.signature import THINK_TAGS
from lmbroker.translation.unified.parts import ReasoningPart, Signature, TextPart, ToolCallPart

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


class WaitingPart(waiting_part.WaitingPart):
    """One part of a streamed answer while it waits or is sent.

    ``kind`` is reasoning, text, refusal, function, custom, tags (reasoning at the head of the text)
    or extra (what a backend wants back with its text).
    """

    __slots__ = ("details", "extra")

    def __init__(self, kind: str) -> None:
        super().__init__(kind, _DELTAS[kind])
        self.extra: JSON = {}
        """What the backend wants back with the call (or with the text, kind ``extra``)."""
        reasons = self.delta == "reasoning"
        self.details = reasoning_details.Collected() if reasons else None

    def skeleton(self) -> waiting_part.Skeleton | None:
        """Return the part as it opens, None for a call whose name is not known yet."""
        if self.details is not None:
            return ReasoningPart(signature=Signature(origin="text"))
        if self.kind in ("text", "refusal"):
            return TextPart(text="", refusal=self.kind == "refusal")
        if self.kind == "extra":
            return ReasoningPart(signature=extra_signature(self.extra))
        kind: Any = self.kind
        return ToolCallPart(id=self.id, name=self.name, kind=kind) if self.name else None

    def signature(self) -> Signature | None:
        """Return the signature of reasoning, or of what is sent back with a text."""
        if self.kind == "tags":
            return Signature(origin="text", field=THINK_TAGS)
        if self.details is not None:
            return self.details.signature()
        return extra_signature(self.extra) if self.kind == "extra" else None

    def beside(self, number: int) -> Signature | None:
        """Return the ``extra_content`` of the call, None where it has none."""
        if not self.extra:
            return None
        extra, self.extra = self.extra, {}
        return extra_signature(extra, (self.id, number))

    @property
    def complete(self) -> bool:
        """Whether it may be closed where other parts wait.

        A function is complete with its arguments. The input of a custom tool is free text, which
        ends only with the stream. All else is complete as soon as something else comes.
        """
        return not self.is_call or self.whole
