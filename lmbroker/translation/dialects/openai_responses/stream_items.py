"""The items of a stream while they are open (translation.md 4.2 and 8.2).

An item is sent as its ``added`` event, the events of its content, and its ``done`` event, which
repeats it whole. It closes when the next one opens, or when the answer ends: before that nobody
knows whether it is complete.
"""

from typing import Protocol

from lmbroker import json_text
from lmbroker.json_text import JSON, encode
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.openai_responses import output_items
from lmbroker.translation.dialects.openai_responses.custom_input import InputReader
from lmbroker.translation.dialects.openai_responses.reasoning_items import (
    BETWEEN,
    is_content,
    lengths,
)
from lmbroker.translation.dialects.openai_responses.reasoning_tokens import encrypted_content
from lmbroker.translation.dialects.openai_responses.stream_events import (
    Events,
    Template,
    template,
)
from lmbroker.translation.unified.parts import (
    Citation,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)


class Item(Protocol):
    """An open item of the output."""

    template: Template | None
    """The template of deltas that bypass ``say``; None where each delta must go through it."""
    pieces: list[str]
    """The texts of these deltas."""

    def say(self, text: str, encoded: bytes) -> bytes:
        """Return the events of more text, which is ``encoded`` as JSON."""
        ...

    def sign(self, signature: Signature) -> None:
        """Keep the signature of the item."""
        ...

    def cite(self, citation: Citation) -> None:
        """Keep a citation of the text that is being sent."""
        ...

    def stop(self) -> bytes:
        """Return the events of the end of a part."""
        ...

    def close(self, *, cut: bool) -> tuple[bytes, JSON]:
        """Return the last events before ``done``, and the whole item.

        ``cut``: the answer broke off in it.
        """
        ...


class _Base:
    """What all items share."""

    def __init__(self, events: Events, id: str, index: int) -> None:
        self.events = events
        self.id = id
        self.place: JSON = {"item_id": id, "output_index": index}
        self.template: Template | None = None
        self.pieces: list[str] = []

    def say(self, text: str, encoded: bytes) -> bytes:
        if self.template is None:
            return b""
        self.pieces.append(text)
        return self.events.filled(self.template, encoded)

    def sign(self, signature: Signature) -> None:
        return

    def cite(self, citation: Citation) -> None:
        return

    def stop(self) -> bytes:
        return b""


class Message(_Base):
    """A message of the model, of one text part or of several in a row.

    Consecutive parts are one text, but for refusals.
    """

    def __init__(self, events: Events, id: str, index: int, reply: Reply, own: JSON) -> None:
        super().__init__(events, own.get("id") or id, index)
        self._losses = reply.losses
        self._own = own
        self._content: list[JSON] = []
        self._refusal: bool | None = None
        """Whether the open content is a refusal; None where none is open."""
        self._texts: list[str] = []
        self._began = self._chars = 0
        self._citations: list[Citation] = []
        self._annotations: list[JSON] = []

    def first(self) -> JSON:
        """Return the item as it opens."""
        return output_items.message(self.id, "in_progress", (), self._own)

    def start(self, part: TextPart) -> bytes:
        """Return the events before the first text of ``part``."""
        if self._refusal is part.refusal:
            return b""
        out = self._close_content()
        self._refusal = part.refusal
        place = {**self.place, "content_index": len(self._content)}
        if part.refusal:
            opened = output_items.refusal("")
            self.template = template("response.refusal.delta", place)
        else:
            opened = output_items.output_text("")
            self.template = template("response.output_text.delta", place, logprobs=True)
        return out + self.events.write("response.content_part.added", {**place, "part": opened})

    def cite(self, citation: Citation) -> None:
        """Keep a citation of the part that is being sent."""
        self._citations.append(citation)

    def stop(self) -> bytes:
        """Return the events of the citations of the part that ends."""
        text = json_text.joined(self.pieces)
        self.pieces.clear()
        start = self._chars
        self._chars += len(text)
        self._texts.append(text)
        if not self._citations:
            return b""
        if not text:
            output_items.uncited(self._citations, self._losses)
            self._citations = []
            return b""
        found = output_items.cited(self._citations, start, self._chars, self._losses)
        self._citations = []
        out = []
        for each in found:
            where = {
                **self.place,
                "content_index": len(self._content),
                "annotation_index": len(self._annotations),
            }
            self._annotations.append(each)
            kind = "response.output_text.annotation.added"
            out.append(self.events.write(kind, {**where, "annotation": each}))
        return b"".join(out)

    def close(self, *, cut: bool) -> tuple[bytes, JSON]:
        """Return the events of the end of its last part, and the whole message."""
        last = self._close_content()
        status = "incomplete" if cut else "completed"
        return last, output_items.message(self.id, status, self._content, self._own)

    def _close_content(self) -> bytes:
        if self._refusal is None:
            return b""
        text = json_text.joined((*self._texts, *self.pieces))
        place = {**self.place, "content_index": len(self._content)}
        if self._refusal:
            part = output_items.refusal(text)
            done = self.events.write("response.refusal.done", {**place, "refusal": text})
        else:
            part = output_items.output_text(text, self._annotations)
            fields = {**place, "logprobs": [], "text": text}
            done = self.events.write("response.output_text.done", fields)
        self._content.append(part)
        self._refusal = None
        self._texts, self._annotations = [], []
        self.pieces.clear()
        self._chars = 0
        return done + self.events.write("response.content_part.done", {**place, "part": part})


class Reasoning(_Base):
    """Reasoning, as a summary or, for a backend that gave it so, as content."""

    def __init__(
        self, events: Events, id: str, index: int, part: ReasoningPart, *, hide: bool
    ) -> None:
        super().__init__(events, output_items.reasoning_id(part.signature, id), index)
        self._signature, self._redacted = part.signature, part.redacted
        self._hide = hide
        self._content = is_content(part.signature)
        self._lengths = lengths(part.signature)[::-1]
        """The lengths of the texts where the backend gave several, the next one last."""
        self._texts: list[str] = []
        self._open = False
        self._skip = 0

    def first(self) -> JSON:
        """Return the item as it opens."""
        return output_items.reasoning(self.id, (), None, content=self._content)

    def say(self, text: str, encoded: bytes) -> bytes:
        """Return the events of more reasoning, none where the client does not want to see it."""
        if self._hide:
            self.pieces.append(text)
            return b""
        if self._lengths:
            return self._several(text)
        out = self._start()
        self.pieces.append(text)
        return out + self.events.filled(self._deltas, encoded)

    def _several(self, text: str) -> bytes:
        """Return the events of a text in which one or several of a backend's texts may end."""
        out = []
        at = 0
        while at < len(text):
            if self._skip:
                over = min(self._skip, len(text) - at)
                self._skip -= over
                at += over
                continue
            left = self._lengths[-1] if self._lengths else len(text) - at
            piece = text[at : at + left]
            at += len(piece)
            out.append(self._start())
            self.pieces.append(piece)
            out.append(self.events.filled(self._deltas, encode(piece)))
            if self._lengths:
                self._lengths[-1] -= len(piece)
                if not self._lengths[-1]:
                    self._lengths.pop()
                    if self._lengths:
                        out.append(self._end())
                        self._skip = len(BETWEEN)
        return b"".join(out)

    def sign(self, signature: Signature) -> None:
        """Keep the signature for the ``done`` event."""
        self._signature = signature

    def close(self, *, cut: bool) -> tuple[bytes, JSON]:
        """Return the events of the end of its last text, and the item with its token."""
        hidden = json_text.joined(self.pieces) if self._hide else ""
        last = self._end()
        token = encrypted_content(self._signature, self._redacted, hidden)
        return last, output_items.reasoning(self.id, self._texts, token, content=self._content)

    def _where(self) -> JSON:
        number = "content_index" if self._content else "summary_index"
        return {**self.place, number: len(self._texts)}

    def _start(self) -> bytes:
        if self._open:
            return b""
        self._open = True
        place = self._where()
        if self._content:
            kind, part = "response.content_part.added", output_items.reasoning_text("")
            self._deltas = template("response.reasoning_text.delta", place)
        else:
            kind, part = "response.reasoning_summary_part.added", output_items.summary_text("")
            self._deltas = template("response.reasoning_summary_text.delta", place)
        self.template = None if self._lengths else self._deltas
        return self.events.write(kind, {**place, "part": part})

    def _end(self) -> bytes:
        if not self._open:
            return b""
        self._open = False
        text = json_text.joined(self.pieces)
        self.pieces.clear()
        place = self._where()
        self._texts.append(text)
        name = "reasoning_text" if self._content else "reasoning_summary_text"
        whole = self.events.write(f"response.{name}.done", {**place, "text": text})
        if self._content:
            kind, part = "response.content_part.done", output_items.reasoning_text(text)
        else:
            kind, part = "response.reasoning_summary_part.done", output_items.summary_text(text)
        return whole + self.events.write(kind, {**place, "part": part})


class Call(_Base):
    """A call of a function, or of a custom tool, whose input is text.

    A backend without custom tools sends the input within JSON: it is read out of that.
    """

    def __init__(self, events: Events, item: JSON, index: int, part: ToolCallPart, reply: Reply):
        super().__init__(events, item["id"], index)
        self._item = item
        self._part = part
        self._losses = reply.losses
        self._custom = item["type"] == "custom_tool_call"
        name = "custom_tool_call_input" if self._custom else "function_call_arguments"
        self._name = f"response.{name}"
        self._deltas = template(f"{self._name}.delta", self.place)
        self._reader = InputReader() if self._custom and part.kind == "function" else None
        self._read: list[str] = []
        self.template = None if self._reader else self._deltas

    def first(self) -> JSON:
        """Return the item as it opens."""
        return self._item

    def say(self, text: str, encoded: bytes) -> bytes:
        """Return the event of more arguments, or of what they add to a custom tool's input."""
        if self._reader is None:
            return super().say(text, encoded)
        self.pieces.append(text)
        return self._more(self._reader.feed(text))

    def _more(self, text: str) -> bytes:
        if not text:
            return b""
        self._read.append(text)
        return self.events.filled(self._deltas, encode(text))

    def close(self, *, cut: bool) -> tuple[bytes, JSON]:
        """Return the events of the remaining arguments, and the whole call."""
        sent = json_text.joined(self.pieces)
        if self._reader is not None:
            out = self._more(self._reader.close())
            found = json_text.joined(self._read)
            whole = output_items.rest_of_input(self._part, sent, found, self._reader, self._losses)
            out += self._more(whole[len(found) :])
        elif self._custom:
            out, whole = b"", sent
        else:
            missing = output_items.missing_arguments(self._part, sent)
            out, whole = self._missing(missing), sent + missing
        key = "input" if self._custom else "arguments"
        out += self.events.write(f"{self._name}.done", {**self.place, key: whole})
        status = "incomplete" if cut else "completed"
        return out, {**self._item, "status": status, key: whole}

    def _missing(self, text: str) -> bytes:
        return self.events.filled(self._deltas, encode(text)) if text else b""


class ToolSearch(_Base):
    """A call of the client's own search for tools.

    It has no events of its own and comes whole.
    """

    def __init__(self, events: Events, item: JSON, index: int, part: ToolCallPart, reply: Reply):
        super().__init__(events, item["id"], index)
        self._item = item
        self._part = part
        self._losses = reply.losses

    def first(self) -> JSON:
        """Return the item as it opens."""
        return self._item

    def say(self, text: str, encoded: bytes) -> bytes:
        """Keep the arguments; return no event."""
        self.pieces.append(text)
        return b""

    def close(self, *, cut: bool) -> tuple[bytes, JSON]:
        """Return no events, and the call with its arguments as an object."""
        sent = json_text.joined(self.pieces)
        given = output_items.object_of(self._part, sent, self._losses)
        status = "incomplete" if cut else "completed"
        return b"", {**self._item, "status": status, "arguments": given}
