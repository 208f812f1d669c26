"""Inputs for the fuzzer, made from other inputs: JSON bodies and event streams are changed as the
trees that they are, anything may be changed as bytes."""

import ast
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

LONGEST_WORD = 40
DEEPEST = 400
"""Levels of a nest: JSON is read and written down to some more, code that calls itself may not
come so far."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 2**63, -(2**64), 10**400, 1e308, float("inf"), "", " "),
    *("\ud83d", "\ude00", "\x00", "\u2028", "🙂", "a\nb\r\n", "{", "null", "[DONE]", "x" * 300),
    *([], {}, [[]], [None], [{}], {"": None}, {"type": "text"}, {"a": {"b": [0]}}),
)
"""Values that somebody may not have thought of."""

BYTES = (
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\x00", b"\xff", b"\xed\xa0\xbd", b"\\u"),
    *(b"data:", b"event: ", b": ping\n\n", b"data: [DONE]\n\n", b"id: 7\n", b"{", b"}", b"[", b"]"),
    *(b'"', b"\\", b",", b":", b'"model"', b'"stream_options"', b"\xe2\x80\xa8", b"1e999"),
)
"""Pieces that mean something to a reader of lines, of JSON or of UTF-8."""


def vocabulary(folder: Path) -> list[str]:
    """The words that the code of ``folder`` knows: its string constants, docstrings left out."""
    words = {
        node.value
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return sorted(word for word in words if 0 < len(word) <= LONGEST_WORD and " " not in word)


class Mutator:
    """``seeds`` lend their values, ``words`` become keys and texts."""

    def __init__(self, seeds: Iterable[bytes], words: Sequence[str]) -> None:
        self._seeds = sorted(seeds)
        self._words = words
        self._values = [value for seed in self._seeds for value in _values(seed)]

    def change(self, data: bytes, chance: Random) -> bytes:
        """A few changes, each small or large."""
        for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
            data = self._changed(data, chance)
        return data

    def _changed(self, data: bytes, chance: Random) -> bytes:
        if chance.random() < 0.15:
            return self._bytes(data, chance)
        value = _loaded(data)
        if value is not None:
            return _dumped(self._tree(value, chance), chance)
        if b"\n\n" in data and b"data:" in data:
            return self._stream(data, chance)
        return self._bytes(data, chance)

    def _bytes(self, data: bytes, chance: Random) -> bytes:
        a, b = sorted(chance.randint(0, len(data)) for _ in range(2))
        if chance.random() < 0.8:
            b = min(b, a + chance.choice((1, 2, 4, 16)))
        piece = chance.choice(
            (
                b"",
                data[a:b] * 2,
                chance.choice(BYTES),
                chance.choice(BYTES) + data[a:b],
                chance.choice(self._words).encode("utf-8", "surrogatepass"),
                bytes([chance.randrange(256)]),
            )
        )
        return data[:a] + piece + data[b:]

    def _stream(self, data: bytes, chance: Random) -> bytes:
        """Events are changed, dropped, told twice, moved, and lent by other streams."""
        events = data.split(b"\n\n")
        at, other = chance.randrange(len(events)), chance.randrange(len(events))
        what = chance.random()
        if what < 0.6:
            head, sep, text = events[at].partition(b"data:")
            value = _loaded(text)
            if value is None:
                events[at] = self._bytes(events[at], chance)
            else:
                events[at] = head + sep + b" " + _line(self._tree(value, chance), chance)
        elif what < 0.7:
            del events[at]
        elif what < 0.8:
            events.insert(other, events[at])
        elif what < 0.88:
            events[at], events[other] = events[other], events[at]
        elif what < 0.96:
            events.insert(at, chance.choice(chance.choice(self._seeds).split(b"\n\n")))
        else:
            return data.replace(b"\n", chance.choice((b"\r", b"\r\n")))
        return b"\n\n".join(events)

    def _tree(self, root: Any, chance: Random) -> Any:
        """``root`` with one change at one place of it, which is changed in place where it can."""
        places = list(_places(root))
        if not places or chance.random() < 0.02:
            return self._value(root, chance)
        holder, key = chance.choice(places)
        what = chance.random()
        if what < 0.6:
            holder[key] = self._value(holder[key], chance)
        elif what < 0.72:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, self._value(holder[key], chance) if what < 0.9 else holder[key])
        elif what < 0.86:
            holder[chance.choice(self._words)] = self._value(holder[key], chance)
        else:
            holder[chance.choice(self._words)] = holder.pop(key)
        return root

    def _value(self, old: Any, chance: Random) -> Any:
        """What may stand in the place of ``old``."""
        what = chance.random()
        if isinstance(old, str) and what < 0.3:
            inner = _loaded(old.encode("utf-8", "surrogatepass")) if old[:1] in "{[" else None
            if inner is not None:
                return _line(self._tree(inner, chance), chance).decode("utf-8", "surrogatepass")
            at = chance.randint(0, len(old))
            odd = chance.choice(ODD)
            piece = odd if isinstance(odd, str) else chance.choice(self._words)
            return old[:at] + piece + old[chance.choice((at, at + 1, len(old))) :]
        if what < 0.55:
            return _copied(chance.choice(ODD))
        if what < 0.7:
            return chance.choice(self._words)
        if what < 0.97 and self._values:
            return _copied(chance.choice(self._values))
        for _ in range(chance.choice((1, 3, 100, DEEPEST))):
            old = [old] if what < 0.98 else {chance.choice(self._words[:200]): old}
        return old


def _places(root: Any) -> Iterator[tuple[Any, Any]]:
    """All (container, key) below ``root``."""
    waiting = [root]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            for key in holder if isinstance(holder, dict) else range(len(holder)):
                yield holder, key
                waiting.append(holder[key])


def _values(seed: bytes) -> Iterator[Any]:
    for text in [seed, *(line.removeprefix(b"data:") for line in seed.split(b"\n"))]:
        root = _loaded(text)
        if root is not None:
            yield root
            yield from (holder[key] for holder, key in _places(root))


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _loaded(text: bytes) -> Any:
    """The tree of a JSON text, None for anything else."""
    try:
        value = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _dumped(value: Any, chance: Random) -> bytes:
    return _line(value, chance, indent=chance.choice((None, None, None, 1)))


def _line(value: Any, chance: Random, indent: int | None = None) -> bytes:
    ascii_only = chance.random() < 0.9
    try:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    except RecursionError:
        return b"[" * 3 * DEEPEST + b"]" * 3 * DEEPEST
    return text.encode("utf-8", "surrogatepass")
