"""Calls and their results: each call is answered directly after it, once, and nothing else is
(translation.md 2.3).

A client that shortened its conversation, or whose user broke in, has results without calls and
calls without results; no later turn may fail for that. All of it goes from left to right, so the
next request of a conversation begins with what this one begins with.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lmbroker.json_text import JSON


class Said(NamedTuple):
    """Who says a message or an item, the ids of its calls, and the id of the call it answers."""

    by_model: bool = False
    calls: Sequence[str] = ()
    answers: str | None = None


class Wire(NamedTuple):
    """How a dialect writes what is paired."""

    said: Callable[[JSON], Said]
    """What a message, or an item, is in this respect."""
    unanswered: Callable[[JSON, str], JSON]
    """The result of a call that nobody answered: (what holds the call, its id) -> the result."""
    as_user: Callable[[JSON], JSON]
    """A result that answers no call, as a user's word."""
    change: Callable[[str], None]
    """Reports that the backend gets something else for a field."""


def paired(wire: Wire, messages: Sequence[JSON]) -> list[JSON]:
    """``messages`` with the answers to calls directly after them, one for each; what came between
    waits. A result that answers no call is a user's word, and a call that nobody answered has none,
    unless the conversation ends with it: then it is the client's last word."""
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
        """The calls that are open have no result; what waited for theirs follows."""
        self._wire.change("messages[]")
        for id, held in self._open.items():
            self._out += [self._wire.unanswered(message, id) for message in held]
        self._open = {}
        self._out += self._waiting
        self._waiting = []
