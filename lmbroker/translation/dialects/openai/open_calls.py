"""Which tool calls of a conversation nobody has answered yet: results of some kinds name no id."""

from collections import deque

from lmbroker.translation.unified.parts import ToolCallPart


class OpenCalls:
    """The calls that no result has answered yet, by the name of their tool."""

    def __init__(self) -> None:
        self._waiting: dict[str | None, deque[str]] = {None: deque()}
        """By the name of the tool, and all of them."""
        self._answered: set[str] = set()

    def add(self, call: ToolCallPart) -> None:
        """A call was made."""
        self._waiting.setdefault(call.name, deque()).append(call.id)
        self._waiting[None].append(call.id)
        self._answered.discard(call.id)

    def answer(self, id: str) -> None:
        """A result has named the call ``id``."""
        self._answered.add(id)

    def first(self, name: str | None) -> str | None:
        """Return the first one of the tool ``name`` (None: of any), which is open no longer.

        It is None where there is none.
        """
        waiting = self._waiting.get(name)
        while waiting:
            id = waiting.popleft()
            if id not in self._answered:
                self._answered.add(id)
                return id
        return None
