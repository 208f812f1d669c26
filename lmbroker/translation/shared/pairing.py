"""Puts each result directly after its call (translation.md 2.3).

Each call gets exactly one result, and nothing else is a result. A client that shortened its
conversation, or whose user interrupted a call, has results without calls and calls without results;
no later turn may fail for that. The messages are read from left to right, so that the next request
of a conversation begins with what this one begins with.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lmbroker.json_text import JSON


class Said(NamedTuple):
    """The facts of a message or an item that pairing needs."""

    by_model: bool = False
    calls: Sequence[str] = ()
    answers: str | None = None


class Wire(NamedTuple):
    """How a dialect writes calls and results."""

    said: Callable[[JSON], Said]
    """Returns what ``Said`` holds of a message or an item."""
    unanswered: Callable[[JSON, str], JSON]
    """Returns the result of a call that nobody answered: (the message of the call, its id)."""
    as_user: Callable[[JSON], JSON]
    """Returns a result that answers no call as a message of the user."""
    change: Callable[[str], None]
    """Reports that the backend gets something else for a field."""


def paired(wire: Wire, messages: Sequence[JSON]) -> list[JSON]:
    """Return ``messages`` with exactly one result directly after each call.

    What stood between a call and its result follows the result. A result that answers no call
    becomes a message of the user. A call that nobody answered gets a result that says so, unless
    the conversation ends with that call: its result may still come.
    """
    return _Pairs(wire).all(messages)


class _Pairs:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._out: list[JSON] = []
        self._waiting: list[JSON] = []
        self._open: dict[str, list[JSON]] = {}
        """The calls that wait for an answer: their ids, each with the messages that hold them."""

    def all(self, messages: Sequence[JSON]) -> list[JSON]:
        last = Said()
        for message in messages:
            said = self._wire.said(message)
            if said.by_model and not last.by_model and self._open:
                self._give_up()
            for id in said.calls:
                self._open.setdefault(id, []).append(message)
            if said.answers is not None:
                self._answer(message, said.answers)
            elif self._open and not said.by_model:
                self._waiting.append(message)
            else:
                self._out.append(message)
            last = said
        if self._open and not last.by_model:
            self._give_up()
        return self._out + self._waiting

    def _answer(self, message: JSON, id: str) -> None:
        if id not in self._open:
            self._wire.change("messages[]")
            word = self._wire.as_user(message)
            (self._waiting if self._open else self._out).append(word)
            return
        self._open[id].pop()
        if not self._open[id]:
            del self._open[id]
        self._out.append(message)
        if not self._open:
            self._out += self._waiting
            self._waiting = []

    def _give_up(self) -> None:
        """Give each open call a result that says that there is none.

        Then add what waited behind them.
        """
        self._wire.change("messages[]")
        for id, held in self._open.items():
            self._out += [self._wire.unanswered(message, id) for message in held]
        self._open = {}
        self._out += self._waiting
        self._waiting = []
