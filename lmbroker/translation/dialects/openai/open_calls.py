"""Keeps track of the calls without a result, since results of some kinds name no id."""

from collections import deque

from lmbroker.translation.unified.parts import ToolCallPart


class OpenCalls:
    """The calls that no result has answered yet, by the name of their tool."""

    def __init__(self) -> None:
        self._waiting: dict[str | None, deque[str]] = {None: deque()}
        """The ids of open calls by the name of their tool; those of all under None."""
        self._answered: set[str] = set()

    def add(self, call: ToolCallPart) -> None:
        """Note that a call was made."""
        self._waiting.setdefault(call.name, deque()).append(call.id)
        self._waiting[None].append(call.id)
        self._answered.discard(call.id)

    def answer(self, id: str) -> None:
        """Note that a result has named the call ``id``."""
        self._answered.add(id)

    def first(self, name: str | None) -> str | None:
        """Return the id of the oldest open call of the tool ``name`` and close that call.

        Where ``name`` is None, the call may be of any tool. The id is None where no such call is
        open.
        """
        waiting = self._waiting.get(name)
        while waiting:
            id = waiting.popleft()
            if id not in self._answered:
                self._answered.add(id)
                return id
        return None
