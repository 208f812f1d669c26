"""Finds the item of a streamed answer to which an event belongs (translation.md 8.3)."""

from collections import deque
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_responses.answer_items import CALLS, text_at, type_of
from lmbroker.translation.dialects.openai_responses.waiting_part import WaitingPart


class Item:
    """An item of the answer, whose parts come one after the other."""

    __slots__ = ("again", "done", "given", "id", "index", "kind", "mode", "parts", "place")

    def __init__(self, kind: str, index: int | None, id: str) -> None:
        self.kind = kind
        self.index = index
        self.id = id
        self.parts: list[WaitingPart] = []
        self.given: JSON = {}
        """The item as it was announced."""
        self.mode = ""
        """Reasoning: ``summary`` or ``content``, whichever came first."""
        self.place: Any = None
        """Reasoning: the number of the current summary."""
        self.again = False
        """Whether the next piece begins another text of the item."""
        self.done = False

    @property
    def last(self) -> WaitingPart | None:
        """The part that goes on, None where there is none."""
        return self.parts[-1] if self.parts else None


class Items:
    """The items of one answer so far.

    Servers refer to them by their place in the output, by their id, by both or by neither; ids may
    differ from event to event.
    """

    __slots__ = ("_ids", "_places", "_undone", "kinds")

    def __init__(self) -> None:
        self.kinds: dict[str, list[Item]] = {}
        """The items by type, in their order."""
        self._undone: dict[str, deque[Item]] = {}
        """The same without the leading ones that are done."""
        self._places: dict[int, Item] = {}
        """The items by their index in the output, and by their id."""
        self._ids: dict[str, Item] = {}

    def announced(self, event: JSON, given: JSON) -> Item:
        """Return the item that an event announces: a new one, or one that was announced before."""
        kind = type_of(given)
        index, id = _index(event), text_at(given, "id")
        named = (self._places.get(-1 if index is None else index), self._ids.get(id))
        known = next((each for each in named if each is not None and each.kind == kind), None)
        if known is None and index is None and not id:
            known = self._first_undone(kind)
        if known is not None and known.done and id and known.id == id:
            return known  # announced twice
        if known is None or known.done:
            known = self.new(kind, index, id)
        known.given = given
        return known

    def found(self, event: JSON, kind: str) -> Item:
        """Return the item of ``kind`` to which a piece belongs.

        It is the one at the event's place, else the one of its id, else the last one, else a new
        one.
        """
        index, id = _index(event), text_at(event, "item_id")
        for item in (self._places.get(-1 if index is None else index), self._ids.get(id)):
            if item is not None and item.kind == kind and not (item.done and kind not in CALLS):
                return item
        items = self.kinds.get(kind)
        if index is None and items and not items[-1].done:
            return items[-1]
        return self.new(kind, index, id)

    def repeated(self, event: JSON, kind: str) -> Item | None:
        """Return the item of which an event repeats a piece, None where that item is done.

        A new item is made where none is known.
        """
        index = _index(event)
        item = self._places.get(index) if index is not None else None
        item = item or self._ids.get(text_at(event, "item_id"))
        if item is not None and item.done:
            return None
        return self.found(event, kind)

    def new(self, kind: str, index: int | None, id: str) -> Item:
        """Return a new item, now the last one of its type."""
        item = Item(kind, index, id)
        self.kinds.setdefault(kind, []).append(item)
        self._undone.setdefault(kind, deque()).append(item)
        if index is not None:
            self._places[index] = item
        if id:
            self._ids[id] = item
        return item

    def _first_undone(self, kind: str) -> Item | None:
        waiting = self._undone.get(kind)
        while waiting and waiting[0].done:
            waiting.popleft()
        return waiting[0] if waiting else None


def _index(event: JSON) -> int | None:
    index = event.get("output_index")
    return index if type(index) is int else None
