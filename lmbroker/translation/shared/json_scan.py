"""A scanner for a JSON object that arrives in pieces (translation.md 4.4 steps 4 and 6).

Tool arguments arrive as text, a few characters at a time. Two questions are asked of them while
they come: is the object complete, so that the next call may follow; and can what came so far
still become a JSON object at all, because client SDKs raise in the middle of a stream when it
cannot (4.2, fact 5). Strings are skipped by a regular expression, so that long texts cost
little.
"""

import re
from contextlib import suppress
from itertools import islice

import msgspec

_PLAIN = re.compile(r'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))++')
"""The inside of a string, whole escapes included."""
_SPACE = " \t\n\r"
_NO_SPACE = re.compile(r"[^ \t\n\r]")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_START = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+)?)?(?:(?<=[0-9])[eE][+-]?[0-9]*)?)?"
)
_NUMBER_CHARS = re.compile(r"[-+.eE0-9]+")
_MORE_DIGITS = re.compile(r"(?<=[0-9]{2})[0-9]+")
"""Digits of a long number that its check does not need."""
_DIGITS = re.compile(r"[0-9]+")
_LONG_ATOM = 64
"""Characters of a number or a word that are checked at a time."""
_WORDS = ("true", "false", "null")
_WORD_CHARS = re.compile(r"[a-z]+")
LONG_PIECE = 64 * 1024
"""Characters from which on a piece is first checked as a whole: to scan one token of it takes half
a microsecond."""
MANY_VALUES = 40_000
"""The maximum of values, strings and brackets in a long piece that is no whole object."""
_WHOLE = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""Checks an object without making its values, however many it has."""
_VALUE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{,]', re.DOTALL)
_HEX4 = re.compile(r"[0-9a-fA-F]{1,4}")


class ObjectScanner:
    """Scans one JSON object that arrives in pieces.

    ``complete``: the object was closed. ``broken``: the text so far cannot become an object.
    """

    __slots__ = (
        "_atom",
        "_escape",
        "_expect",
        "_in_string",
        "_key",
        "_stack",
        "broken",
        "complete",
        "inside",
    )

    def __init__(self) -> None:
        self.complete = False
        self.broken = False
        self.inside = False
        """Whether the text so far ends inside of a string, and not in an escape there."""
        self._stack: list[str] = []
        self._expect = "object"
        """What may come next: object value first_value key first_key colon after nothing"""
        self._in_string = False
        self._key = False
        self._escape = ""
        self._atom = ""

    @property
    def begun(self) -> bool:
        """Whether the object was opened."""
        return self._expect != "object"

    def feed(self, text: str) -> None:
        """Scan the next piece of the text; does nothing once ``broken``."""
        if self.inside and text.isprintable() and '"' not in text and "\\" not in text:
            return  # it goes on inside of the string, as most pieces of long arguments do
        self._scan(text)
        self.inside = self._in_string and not (self._escape or self.broken)

    def _scan(self, text: str) -> None:
        if self.broken or (len(text) >= LONG_PIECE and self._feed_long(text)):
            return
        at = 0
        end = len(text)
        if self._in_string and not self._escape:
            plain = _PLAIN.match(text)
            if plain is not None:
                at = plain.end()
        while at < end and not self.broken:
            if self._in_string:
                at = self._string(text, at)
            elif self._atom:
                at = self._continue_atom(text, at)
            elif text[at] in _SPACE:
                more = _NO_SPACE.search(text, at)
                at = end if more is None else more.start()
            else:
                self._token(text[at])
                at += 1

    def _feed_long(self, text: str) -> bool:
        """Return whether a long piece needs no scan.

        That is so where it is a whole object, or holds more values than any honest request.
        """
        if not self.begun:
            with suppress(ValueError, RecursionError):
                _WHOLE(text)
                self.complete = True
                self._expect = "nothing"
                return True
        count = text.count('"') // 2 + sum(map(text.count, "[{,"))
        if count >= MANY_VALUES:
            # Some of these may stand inside strings.
            before = '"' + self._escape if self._in_string else ""
            count = sum(map(bool, islice(_VALUE.finditer(before + text), MANY_VALUES)))
        self.broken = count >= MANY_VALUES
        return self.broken

    def _string(self, text: str, at: int) -> int:
        if self._escape:
            return self._continue_escape(text, at)
        plain = _PLAIN.match(text, at)
        if plain is not None:
            at = plain.end()
            if at == len(text):
                return at
        char = text[at]
        if char == '"':
            self._in_string = False
            self._expect = "colon" if self._key else "after"
        elif char == "\\":
            self._escape = "\\"
        else:
            self.broken = True
        return at + 1

    def _continue_escape(self, text: str, at: int) -> int:
        if self._escape == "\\":
            char = text[at]
            if char == "u":
                self._escape = "\\u"
            elif char in '"\\/bfnrt':
                self._escape = ""
            else:
                self.broken = True
            return at + 1
        digits = _HEX4.match(text, at, at + 6 - len(self._escape))
        if digits is None:
            self.broken = True
            return at + 1
        self._escape += digits.group()
        if len(self._escape) == 6:
            self._escape = ""
        return digits.end()

    def _continue_atom(self, text: str, at: int) -> int:
        """Continue a number or a word, which ends only where something else begins."""
        if self._atom[-1].isdigit() and self._atom[-2:-1].isdigit():
            # Further digits change nothing.
            digits = _DIGITS.match(text, at)
            if digits is not None:
                return digits.end()
        chars = _WORD_CHARS if self._atom[0].isalpha() else _NUMBER_CHARS
        more = chars.match(text, at, at + _LONG_ATOM)
        if more is not None:
            self._atom += more.group()
            if not _may_become_atom(self._atom):
                self.broken = True
            if len(self._atom) > _LONG_ATOM:
                self._atom = _MORE_DIGITS.sub("", self._atom)
            return more.end()
        if self._atom not in _WORDS and _NUMBER.fullmatch(self._atom) is None:
            self.broken = True
        self._atom = ""
        self._expect = "after"
        return at

    def _token(self, char: str) -> None:
        expect = self._expect
        if expect == "after":
            self._after(char)
        elif expect == "colon":
            self._take(char == ":", "value")
        elif expect in ("value", "first_value"):
            self._value(char)
        elif expect in ("key", "first_key"):
            if char == '"':
                self._in_string = True
                self._key = True
            elif char == "}" and expect == "first_key":
                self._pop()
            else:
                self.broken = True
        elif expect == "object" and char == "{":
            self._push(char)
        else:
            self.broken = True

    def _value(self, char: str) -> None:
        if char == '"':
            self._in_string = True
            self._key = False
        elif char in "{[":
            self._push(char)
        elif char == "]" and self._expect == "first_value":
            self._pop()
        elif char in "-0123456789tfn":
            self._atom = char
        else:
            self.broken = True

    def _after(self, char: str) -> None:
        inside = self._stack[-1]
        if char == ",":
            self._expect = "key" if inside == "{" else "value"
        elif char == ("}" if inside == "{" else "]"):
            self._pop()
        else:
            self.broken = True

    def _push(self, char: str) -> None:
        self._stack.append(char)
        self._expect = "first_key" if char == "{" else "first_value"

    def _pop(self) -> None:
        self._stack.pop()
        if self._stack:
            self._expect = "after"
        else:
            self._expect = "nothing"
            self.complete = True

    def _take(self, right: bool, expect: str) -> None:
        if right:
            self._expect = expect
        else:
            self.broken = True


def _may_become_atom(atom: str) -> bool:
    if atom[0].isalpha():
        return any(word.startswith(atom) for word in _WORDS)
    return _NUMBER_START.fullmatch(atom) is not None
