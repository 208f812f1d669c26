"""Tool names and tool call ids made valid for another dialect (translation.md 0.6).

The replacements are pure functions of the text they replace: a call and its result agree, and
the next turn of a conversation gets the same bytes as this one.
"""

import re
from collections.abc import Iterable
from hashlib import sha256

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHORT_ID = 9
"""Length of the ids that Mistral asks for, the shortest known."""


def wire_name(name: str) -> str:
    """``name`` if both dialects take it, else its first 51 characters (those not allowed
    become ``_``), ``_`` and 12 hex digits of its SHA-256: at most 64 characters."""
    if _NAME.fullmatch(name):
        return name
    return f"{_NOT_ALLOWED.sub('_', name[:51])}_{_digest(name).hex()[:12]}"


def wire_id(id: str, pattern: str) -> str:
    """``id`` if it matches the regular expression ``pattern``, else ``call_`` and 24 hex digits
    of its SHA-256; where the pattern does not take that either, 9 base62 digits of it."""
    if re.search(pattern, id) and not id.endswith("\n"):
        return id
    digest = _digest(id)
    long = f"call_{digest.hex()[:24]}"
    if re.search(pattern, long):
        return long
    number = int.from_bytes(digest, "big")
    digits = []
    for _ in range(_SHORT_ID):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return "".join(digits)


def renamed(names: Iterable[str]) -> dict[str, str]:
    """The way back for names that ``wire_name`` changed: name as sent -> the client's name."""
    sent = ((wire_name(name), name) for name in names)
    return {wire: name for wire, name in sent if wire != name}


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
