"""Reads the input of a custom call while its arguments arrive (translation.md 8.2).

A backend without custom tools is offered a function with the one argument ``input``, so the free
text that the client wants is a string inside of JSON: ``{"input":"..."}``.
"""

import json
import re

from lmbroker import json_text

_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_HEAD_LETTERS = '{"input":"'
_LONGEST_HEAD = 256
"""The maximum of characters before the text begins; more would be white space or something else."""
_LONGEST_REST = 64
_STRING = re.compile(r'(?:[^"\\]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+')
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")


class InputReader:
    """Takes the text of the argument ``input`` out of arguments that come in pieces.

    An escape or a surrogate pair that is cut in two waits for its rest. Arguments of another shape
    are ``odd``: nothing is read of them.
    """

    __slots__ = ("_head", "_held", "_inside", "_rest", "odd")

    def __init__(self) -> None:
        self.odd = False
        self._head = ""
        self._inside = False
        self._held = ""
        """An escape that has come in part, or as text the first half of a surrogate pair."""
        self._rest: str | None = None
        """The arguments after the string, None before its end."""

    @property
    def found(self) -> bool:
        """Whether the input has begun."""
        return self._inside

    @property
    def more(self) -> bool:
        """Whether the arguments held something besides the input, or no end of it."""
        return self._rest is None or self._rest.strip() != "}"

    def feed(self, piece: str) -> str:
        """Return the text of the input that ``piece`` adds."""
        if self.odd:
            return ""
        if self._rest is not None:
            self._rest = (self._rest + piece)[:_LONGEST_REST]
            return ""
        if self._inside:
            return self._string(piece)
        self._head += piece
        found = _HEAD.match(self._head)
        if found is not None:
            self._inside = True
            return self._string(self._head[found.end() :])
        letters = "".join(self._head.split())
        self.odd = len(self._head) > _LONGEST_HEAD or not _HEAD_LETTERS.startswith(letters)
        return ""

    def close(self) -> str:
        """Return the text that was held back; no more arguments follow."""
        held, self._held = self._held, ""
        return "" if held.startswith("\\") else held

    def _string(self, piece: str) -> str:
        """Return the text in ``piece``, which continues the string."""
        half = "" if self._held.startswith("\\") else self._held
        raw = piece if half else self._held + piece
        self._held = ""
        said = [half]
        at = 0
        while at < len(raw):
            found = _STRING.match(raw, at)
            end = at if found is None else found.end()
            if end > at:
                said.append(_unescaped(raw[at:end]))
            if end == len(raw):
                break
            if raw[end] == '"':
                self._rest = raw[end + 1 :][:_LONGEST_REST]
                break
            if len(raw) - end < 6 and _CUT_ESCAPE.fullmatch(raw, end):
                self._held = raw[end:]
                break
            said.append("\\")  # no escape: the backslash is kept
            at = end + 1
        text = json_text.joined(said)
        if text and "\ud800" <= text[-1] <= "\udbff" and self._rest is None and not self._held:
            self._held = text[-1]
            return text[:-1]
        return text


def _unescaped(text: str) -> str:
    return json.loads(f'"{text}"', strict=False) if "\\" in text else text
