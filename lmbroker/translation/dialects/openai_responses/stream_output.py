"""The output of a streamed answer: from events to parts (translation.md 8.3).

An answer is a list of items. They may overlap, so their parts go through a queue. What no delta
carried is taken from the later events that repeat a piece, an item or the whole answer.
"""

from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_responses import answer_items
from lmbroker.translation.dialects.openai_responses.answer_items import CALLS, text_at, type_of
from lmbroker.translation.dialects.openai_responses.item_places import Item, Items
from lmbroker.translation.dialects.openai_responses.reasoning_items import (
    BETWEEN,
    content_of,
    signature_of,
    summary_of,
)
from lmbroker.translation.dialects.openai_responses.waiting_part import WaitingPart
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.shared.part_queue import PartQueue

_OF_PIECES = {"output_text": "message", "refusal": "message"}
"""Type of a piece of content -> type of its item; other pieces are reasoning."""


class StreamedOutput:
    """Collects the items of one answer; ``queue`` holds the parts that they become."""

    __slots__ = ("_losses", "items", "late", "owners", "queue", "refusal")

    def __init__(self, losses: AnswerLosses) -> None:
        self._losses = losses
        self.items = Items()
        self.queue: PartQueue[WaitingPart] = PartQueue()
        self.owners: dict[WaitingPart, Item] = {}
        """The item of each part."""
        self.late = False
        """Whether arguments came for a call that was over."""
        self.refusal: list[str] = []

    def take(self, kind: str, event: JSON) -> None:
        """Process an event of type ``kind``."""
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, event)
        else:
            self._reason(event, "summary" if "summary" in kind else "content")

    def rest(self, output: Any) -> None:
        """Process the items of a whole answer that are not done yet.

        An item is matched by its type, and by its place among the items of that type.
        """
        counts: dict[str, int] = {}
        for whole in output if isinstance(output, list) else ():
            kind = type_of(whole) if isinstance(whole, dict) else ""
            if kind:
                number = counts[kind] = counts.get(kind, -1) + 1
                items = self.items.kinds.get(kind, [])
                item = items[number] if number < len(items) else self.items.new(kind, None, "")
                if not item.done:
                    self._whole(item, whole)
        for items in self.items.kinds.values():
            for item in items:
                if not item.done:
                    self._whole(item, item.given or {"type": item.kind})

    def _added(self, event: JSON) -> None:
        item = event.get("item")
        if isinstance(item, dict) and type_of(item):
            self._announced(event, item)

    def _announced(self, event: JSON, given: JSON) -> Item:
        item = self.items.announced(event, given)
        if item.kind in CALLS and not item.done:
            self._call(item, given)
        return item

    def _part(self, item: Item, kind: str, deltas: str) -> WaitingPart:
        """Append a new part of ``item`` to the queue and return it.

        ``deltas``: the type of the events that carry its pieces.
        """
        last = item.last
        if last is not None:
            last.over = True
        before = self.queue.parts[-1] if self.queue.parts else None
        if before is not None and self.owners[before].kind != item.kind:
            before.passed = not (before.is_call or before.kind == "opaque" or before.sealed)
        part = self.queue.add(WaitingPart(kind, deltas))
        item.parts.append(part)
        self.owners[part] = item
        return part

    def _call(self, item: Item, given: JSON) -> WaitingPart:
        """Return the part of the call ``item``, with what is known of it now.

        Its first id and its first name count.
        """
        kind = CALLS[item.kind]
        part = item.last
        if part is None:
            deltas = "function_call_arguments" if kind == "function" else "custom_tool_call_input"
            part = self._part(item, kind, f"response.{deltas}.delta")
        if not part.name:
            part.id = part.id or answer_items.id_of(given)
            part.name = answer_items.name_of(given)
            part.namespace = answer_items.namespace_of(given)
            part.extras = answer_items.extras_of_call(given)
        return part

    def _done(self, event: JSON) -> None:
        item = event.get("item")
        if isinstance(item, dict) and type_of(item):
            announced = self._announced(event, item)
            if not announced.done:
                self._whole(announced, item)

    def _whole(self, item: Item, whole: JSON) -> None:
        """Add what is new in ``whole``, the repetition of ``item``."""
        item.done = True
        item.given = item.given or whole
        losses = self._losses
        answer_items.report_untranslated(whole, losses)
        if item.kind == "message":
            if answer_items.said_by_the_model(whole):
                self._message(item, whole)
        elif item.kind == "reasoning":
            self._reasoning(item, whole)
        elif item.kind in CALLS:
            part = self._call(item, whole)
            if not part.said:
                part.say(answer_items.given_to(whole, part.kind))
            if part.half and part.scanner is not None:
                return  # the end of the answer decides
        else:
            self._part(item, "opaque", "").item = whole
        for part in item.parts:
            part.over = True

    def _message(self, item: Item, whole: JSON) -> None:
        for number, piece in enumerate(answer_items.contents_of(whole)):
            answer_items.report_untranslated_text(piece, self._losses)
            text = answer_items.said_in(piece)
            if number < len(item.parts):
                part = item.parts[number]
            elif text:
                part = self._new_text(item, refusal=answer_items.is_refusal(piece))
            else:
                continue
            if not part.said:
                self._say(part, text)
            for cited in answer_items.citations_of(piece)[part.citations :]:
                self._cite(part, cited)

    def _reasoning(self, item: Item, whole: JSON) -> None:
        summary, content = summary_of(whole), content_of(whole)
        mode = item.mode or ("summary" if summary or not content else "content")
        other = content if mode == "summary" else summary
        if other:
            self._losses.drop("output[].content" if other is content else "output[].summary")
        part = item.last
        if part is None:
            texts = summary if mode == "summary" else content
            if not texts and not whole.get("encrypted_content"):
                return
            part = self._part(item, "reasoning", "")
            part.say(BETWEEN.join(texts))
        if part.closed and text_at(whole, "encrypted_content"):
            self._losses.drop(f"{answer_items.OUTPUT}.encrypted_content")
        part.signed = signature_of(whole, content=mode == "content")

    # Pieces of items.

    def _text_part(self, item: Item, *, refusal: bool) -> WaitingPart:
        """Return the part of ``item`` to which more text, or more of a refusal, belongs."""
        kind = "refusal" if refusal else "text"
        last = item.last
        if last is not None and last.kind == kind and not (item.again or last.closed):
            return last
        return self._new_text(item, refusal=refusal)

    def _new_text(self, item: Item, *, refusal: bool) -> WaitingPart:
        kind = "refusal" if refusal else "text"
        last = item.last
        item.again = False
        deltas = "response.refusal.delta" if refusal else "response.output_text.delta"
        part = self._part(item, kind, deltas)
        if last is None:
            part.extras = answer_items.extras_of_message(item.given)
        return part

    def _say(self, part: WaitingPart, text: str) -> None:
        part.say(text)
        if part.kind == "refusal":
            self.refusal.append(text)

    def _cite(self, part: WaitingPart, cited: Any) -> None:
        part.citations += 1
        if part.closed:
            self._losses.drop(cited.place)
        else:
            part.cited.append(cited)

    def _text(self, event: JSON) -> None:
        self._text_piece(event, refusal=False)

    def _refused(self, event: JSON) -> None:
        self._text_piece(event, refusal=True)

    def _text_piece(self, event: JSON, *, refusal: bool) -> None:
        text = text_at(event, "delta")
        if not text:
            return
        part = self._text_part(self.items.found(event, "message"), refusal=refusal)
        if event.get("logprobs"):
            self._losses.drop("output[].content[].logprobs")
        self._say(part, text)

    def _text_done(self, event: JSON) -> None:
        self._said_again(event, text_at(event, "text"), refusal=False)

    def _refusal_done(self, event: JSON) -> None:
        self._said_again(event, text_at(event, "refusal"), refusal=True)

    def _said_again(self, event: JSON, text: str, *, refusal: bool) -> None:
        """Add the whole of a text for which no delta came."""
        item = self.items.repeated(event, "message")
        if text and item is not None and not item.done:
            part = self._text_part(item, refusal=refusal)
            if not part.said:
                self._say(part, text)

    def _piece_added(self, event: JSON) -> None:
        """Begin another text of an item."""
        piece = event.get("part")
        kind = type_of(piece) if isinstance(piece, dict) else ""
        item = self.items.repeated(event, _OF_PIECES.get(kind, "reasoning"))
        if item is not None and item.parts:
            item.again = True

    def _piece_done(self, event: JSON) -> None:
        """Add a piece of content that no other event carried."""
        piece = event.get("part")
        if not isinstance(piece, dict):
            return
        kind = type_of(piece)
        if kind in _OF_PIECES:
            refusal = answer_items.is_refusal(piece)
            self._said_again(event, answer_items.said_in(piece), refusal=refusal)
        elif "summary" in kind or "summary_index" in event:
            self._thought_again({**event, "text": piece.get("text")}, "summary")
        else:
            self._thought_again({**event, "text": piece.get("text")}, "content")

    def _summary_done(self, event: JSON) -> None:
        self._thought_again(event, "summary")

    def _reasoning_done(self, event: JSON) -> None:
        self._thought_again(event, "content")

    def _thought_again(self, event: JSON, mode: str) -> None:
        item, place = self.items.repeated(event, "reasoning"), event.get("summary_index")
        if item is None or item.mode not in ("", mode):
            return
        if not item.mode or item.again or (place is not None and place != item.place):
            self._reason({**event, "delta": text_at(event, "text")}, mode)

    def _summary(self, event: JSON) -> None:
        self._reason(event, "summary")

    def _reason(self, event: JSON, mode: str) -> None:
        """Add a piece of reasoning; of summary and content only the kind that comes first counts.

        A server may give each piece of the content a number of its own, so numbers do not separate
        texts.
        """
        text = text_at(event, "delta")
        item = self.items.found(event, "reasoning") if text else None
        if item is None or item.mode not in ("", mode):
            return
        item.mode = mode
        place = event.get("summary_index")
        part = item.last
        if part is None or part.closed:
            part = self._part(item, "reasoning", str(event.get("type")))
            part.signed = signature_of(item.given, content=mode == "content")
            part.sealed = mode == "summary" or bool(item.given.get("encrypted_content"))
        elif item.again or (place is not None and place != item.place):
            part.say(BETWEEN)
        item.place, item.again = place, False
        part.say(text)

    def _annotated(self, event: JSON) -> None:
        annotation = event.get("annotation")
        item = self.items.repeated(event, "message")
        if isinstance(annotation, dict) and item is not None:
            part = item.last or self._text_part(item, refusal=False)
            self._cite(part, answer_items.citation(annotation))

    def _arguments(self, event: JSON) -> None:
        self._argument_piece(event, "function_call")

    def _input(self, event: JSON) -> None:
        self._argument_piece(event, "custom_tool_call")

    def _argument_piece(self, event: JSON, kind: str) -> None:
        text = text_at(event, "delta")
        if not text:
            return
        item = self.items.found(event, kind)
        part = self._call(item, {})
        if part.closed or item.done:
            self.late = self.late or not text.isspace()
            return
        part.say(text)

    def _arguments_done(self, event: JSON) -> None:
        self._given_again(event, "function_call")

    def _input_done(self, event: JSON) -> None:
        self._given_again(event, "custom_tool_call")

    def _given_again(self, event: JSON, kind: str) -> None:
        item = self.items.repeated(event, kind)
        if item is not None:
            part = self._call(item, event)
            if not part.said:
                part.say(answer_items.given_to(event, part.kind))


_HANDLERS = {
    "response.output_item.added": StreamedOutput._added,
    "response.output_item.done": StreamedOutput._done,
    "response.content_part.added": StreamedOutput._piece_added,
    "response.reasoning_part.added": StreamedOutput._piece_added,
    "response.reasoning_summary_part.added": StreamedOutput._piece_added,
    "response.content_part.done": StreamedOutput._piece_done,
    "response.reasoning_part.done": StreamedOutput._piece_done,
    "response.reasoning_summary_part.done": StreamedOutput._piece_done,
    "response.output_text.delta": StreamedOutput._text,
    "response.output_text.done": StreamedOutput._text_done,
    "response.output_text.annotation.added": StreamedOutput._annotated,
    "response.refusal.delta": StreamedOutput._refused,
    "response.refusal.done": StreamedOutput._refusal_done,
    "response.reasoning_summary_text.delta": StreamedOutput._summary,
    "response.reasoning_summary_text.done": StreamedOutput._summary_done,
    "response.reasoning_text.done": StreamedOutput._reasoning_done,
    "response.function_call_arguments.delta": StreamedOutput._arguments,
    "response.function_call_arguments.done": StreamedOutput._arguments_done,
    "response.custom_tool_call_input.delta": StreamedOutput._input,
    "response.custom_tool_call_input.done": StreamedOutput._input_done,
}
"""Type of an event that carries a piece of the answer -> the method that processes it."""


def takes(kind: str) -> bool:
    """Return whether events of type ``kind`` carry a piece of the answer."""
    return kind in _HANDLERS or (kind.startswith("response.reasoning") and kind.endswith(".delta"))
