"""Translated beginnings of conversations, remembered (docs/design/translation.md 0.7).

A coding agent sends its whole conversation with each call, and nearly all of it stood in the call
before. ``Beginnings`` holds for some conversations what their first messages became in a backend's
dialect; ``continuation`` makes and uses that. It holds contents, in memory only, bounded, and only
of conversations of which a second request has come.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.unified.parts import Extra, TextPart

LEAST = 32 * 1024
"""The bytes of messages from which on it pays to remember them."""

_SAMPLES = (slice(0, 128), slice(8192, 8256), slice(24_576, 24_640))
"""What of the messages' text is compared first: conversations of one agent begin alike, and differ
in the first words of their user."""

BRANCHES = 4
"""The maximum of beginnings of conversations that these samples do not distinguish."""

SEEN = 4096
"""So many conversations are known by their samples, whether anything else is held of them or
not."""

OWN_BYTES = 2048
"""The bytes that a beginning takes besides its texts."""


class Way(msgspec.Struct, frozen=True):
    """The facts on which the translation of messages depends, and who asks for it.

    Conversations of several callers are kept apart: nobody learns by the time that an answer takes
    what another one has sent.
    """

    caller: str
    """The name of the client's key."""
    client: str
    """The client's dialect."""
    backend: str
    """The backend's."""
    model: str
    """The name of the model at the backend."""
    mode: str
    profile: Profile


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """The first messages of a conversation, up to a user's message which the model answers next."""

    way: Way
    came: bytes
    """The text of the list of messages as the client writes it, to the end of the last of these."""
    written: bytes
    """The same messages as the backend gets them, without the brackets around them."""
    system: tuple[TextPart, ...]
    """Leading instructions that stand among the client's messages."""
    lost: tuple[Extra, ...]
    """The losses of the messages, in the form in which a turn reports them."""
    ids: frozenset[str]
    """The ids of the calls."""
    names: frozenset[str]
    """The names of the tools that are called."""
    tokens: tuple[int, int]
    """Their tokens, as ``counting.count_turns`` counts them."""
    reasons: bool
    """Whether there is reasoning among them."""
    reasoning_path: str
    """The client's name for the field of reasoning in these messages."""
    usual_path: str
    """Its usual name for that field, where they hold none."""

    @property
    def size(self) -> int:
        """The bytes of memory that it takes."""
        named = sum(map(len, self.ids)) + sum(map(len, self.names))
        system = sum(len(part.text) for part in self.system)
        each = 100 * (len(self.ids) + len(self.names) + len(self.system))
        return OWN_BYTES + len(self.came) + len(self.written) + named + 4 * system + each

    def __repr__(self) -> str:
        """Show nothing that the client sent."""
        return f"Beginning({len(self.came)} bytes)"


Key = tuple[Any, ...]


class _Branches:
    """The known conversations that the samples do not distinguish."""

    __slots__ = ("age", "beginnings", "worth")

    def __init__(self, age: int) -> None:
        self.age = age
        self.beginnings: list[Beginning] = []
        self.worth = 0
        """The bytes of messages from which it is worth to make a beginning."""

    @property
    def size(self) -> int:
        return sum(each.size for each in self.beginnings)


class Beginnings:
    """Remembered beginnings of conversations, at most ``limit()`` bytes of them.

    The least recently used ones are forgotten first. ``used`` is called with what became of each
    request that is long enough: ``found``, ``unknown``, or ``learned`` where a longer beginning is
    remembered from now on.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self.used: Callable[[str], None] = lambda how: None
        self.size = 0
        """Bytes of memory that they take."""
        self._limit = limit
        self._held: OrderedDict[Key, _Branches] = OrderedDict()
        self._age = 0

    def find(self, way: Way, messages: bytes) -> Beginning | None:
        """Return the longest beginning of ``messages`` that is known on ``way``."""
        key = _key(way, messages)
        branches = self._held.get(key)
        found: Beginning | None = None
        for each in () if branches is None else branches.beginnings:
            longer = found is None or len(each.came) > len(found.came)
            if longer and messages.startswith(each.came) and each.way == way:
                found = each
        if branches is not None:
            branches.age = self._age
            self._held.move_to_end(key)
        self.used("unknown" if found is None else "found")
        return found

    def wants(self, way: Way, messages: bytes) -> bool:
        """Return whether a beginning of ``messages`` is worth making.

        It is not for the first request of a conversation, and after a vain attempt only when that
        has grown by a quarter.
        """
        if not self._limit():
            return False
        key = _key(way, messages)
        branches = self._held.get(key)
        if branches is not None:
            return len(messages) >= branches.worth
        self._held[key] = _Branches(self._age)
        if len(self._held) > SEEN:
            self._forget()
        return False

    def vain(self, way: Way, messages: bytes) -> None:
        """Note that no longer beginning of ``messages`` than the known one can be remembered."""
        branches = self._held.get(_key(way, messages))
        if branches is not None:
            branches.worth = len(messages) * 5 // 4

    def keep(
        self, beginning: Beginning, before: Beginning | None, messages: bytes | None = None
    ) -> bool:
        """Remember ``beginning`` of ``messages`` in the place of ``before``, which it extends.

        Return whether that was done: it is not where it would take all the room, nor where it is so
        short that it would not be found.
        """
        limit = self._limit()
        key = _key(beginning.way, beginning.came)
        found = messages is None or key == _key(beginning.way, messages)
        if beginning.size > limit or not found:
            return False
        branches = self._held.setdefault(key, _Branches(self._age))
        self.size -= branches.size
        kept = [each for each in branches.beginnings if each is not before]
        branches.beginnings = [beginning, *kept[: BRANCHES - 1]]
        self.size += branches.size
        self._held.move_to_end(key)
        self.used("learned")
        while self.size > limit:
            self._forget()
        return True

    def age(self) -> None:
        """Forget what was not used since this was called before the last time."""
        self._age += 1
        while self._held and next(iter(self._held.values())).age < self._age - 1:
            self._forget()

    def _forget(self) -> None:
        _, branches = self._held.popitem(last=False)
        self.size -= branches.size


def _key(way: Way, messages: bytes) -> Key:
    samples = [messages[each] for each in _SAMPLES]
    return (way.caller, way.client, way.backend, way.model, way.mode, *samples)
