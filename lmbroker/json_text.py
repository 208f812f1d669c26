"""JSON text in and out, lone surrogates included (translation.md 0.6).

An emoji that a backend splits over two events arrives as ``"\\ud83d"`` and ``"\\ude00"``. Half a
pair is legal JSON and no legal UTF-8, so the fast codec refuses it both ways; such a value takes
the slow road through the standard library and is written with ASCII escapes.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec

JSON = dict[str, Any]
"""An object of a JSON text: its fields by name."""


class Number(float):
    """A number with the text in which it came, in which it is written again.

    What a float makes of it is another number (twenty digits, 1e400) or another text (1.00, 1E5).
    """

    text: str
    """The text as it came."""

    def __new__(cls, text: str) -> "Number":
        """Return the number that ``text`` is; ``text`` is JSON."""
        self = super().__new__(cls, text)
        self.text = text
        return self


def number(text: str) -> float:
    """Return the number of a JSON text that is no integer.

    It is a ``Number`` where a float would be written in another way.
    """
    value = float(text)
    if _USUAL.fullmatch(text) or (repr(value) == text and "e" not in text):
        return value
    return Number(text)


def unknown(value: Any) -> msgspec.Raw:
    """Return an encoder's hook that writes a ``Number`` as it came."""
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"{type(value).__name__} is no JSON")


_USUAL = re.compile(r"-?(?:[1-9][0-9]{0,5}\.[0-9]{0,7}|0\.[0-9]{0,3})[1-9]")
"""Numbers that are written as a float is, seen without making one."""
_fast_decode = msgspec.json.Decoder(float_hook=number).decode
encode_text = msgspec.json.Encoder(enc_hook=unknown).encode
"""Like ``encode``, but raises UnicodeEncodeError for lone surrogates: for hot paths."""

_EMPTY_BEFORE = re.compile(r"(?:\s*\{\s*\})+(?=\s*\{)")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_ALONE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_NO_CHARACTER = rb"\\ufffd"
"""As ``re`` takes it."""
_NO_BYTE = b"\xff"
"""A byte that no UTF-8 text contains."""
_HALVES = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")

INVALID_JSON = "INVALID_JSON"
"""Key of the object that carries tool arguments which are no JSON object (Anthropic's advice)."""


def decode(data: bytes | str) -> Any:
    """Return the value of a JSON text, its numbers as they were written.

    Raises ValueError for anything else.
    """
    try:
        return _fast_decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError, RecursionError):
        pass
    if isinstance(data, bytes):
        data = data.decode("utf-8", "surrogatepass")
    try:
        return json.loads(data, parse_constant=_no_constant, parse_float=number)
    except RecursionError:
        raise ValueError("nested too deep") from None


def encode(value: Any) -> bytes:
    """Return ``value`` as compact JSON in UTF-8; with ASCII escapes where UTF-8 cannot say it."""
    try:
        return encode_text(value)
    except UnicodeEncodeError:
        return _with_escapes(value).encode()


def may_be_mended(body: bytes) -> bool:
    """Return whether ``body`` has half a surrogate pair as an escape, be it alone or not."""
    return body.find(b"\\") >= 0 and _HALF.search(body) is not None


def mended(body: bytes) -> bytes | None:
    """Return ``body`` with U+FFFD in the place of each half of a surrogate pair that stands alone.

    So it can be read; all else is the same, and stands at the same place. None where there is none.
    """
    if not may_be_mended(body) or _NO_BYTE in body:
        return None
    # Without escaped backslashes, each backslash begins an escape.
    plain, count = _ALONE.subn(_NO_CHARACTER, body.replace(rb"\\", _NO_BYTE * 2))
    return plain.replace(_NO_BYTE * 2, rb"\\") if count else None


def halves(text: str, *, after: bool) -> tuple[bool, bool]:
    """Return whether a piece of text ends with half a surrogate pair, and whether one is alone.

    The other half of the former may be in the next piece. ``after``: the piece before ended so.
    """
    joins = after and "\udc00" <= text[0] <= "\udfff"
    ends = "\ud800" <= text[-1] <= "\udbff"
    middle = text[int(joins) : len(text) - int(ends)]
    return ends, (after and not joins) or _HALVES.search(middle) is not None


def arguments(text: str) -> dict[str, Any] | None:
    """Return a tool call's arguments, None where they are no JSON object.

    No text and ``null`` are no arguments. A JSON text of the JSON text of an object is that object
    (SGLang with Kimi), and an empty object before the real one is left out (gateways in front of
    Claude).
    """
    if not text or text.isspace():
        return {}
    try:
        value = decode(text)
        if isinstance(value, str):
            value = decode(value)
    except ValueError:
        found = _EMPTY_BEFORE.match(text)
        return arguments(text[found.end() :]) if found else None
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def joined(pieces: Iterable[str]) -> str:
    """Return the pieces as one text; surrogate halves that meet become the character they mean."""
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _with_escapes(value: Any) -> str:
    if isinstance(value, dict):
        members = (f"{json.dumps(key)}:{_with_escapes(each)}" for key, each in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_with_escapes, value)) + "]"
    return value.text if isinstance(value, Number) else json.dumps(value)
