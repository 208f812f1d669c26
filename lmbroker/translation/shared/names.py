"""Tool names and tool call ids made valid for another dialect (translation.md 0.6).

The replacements are pure functions of the text they replace: a call and its result agree, and
the next turn of a conversation gets the same bytes as this one.

An id that a backend made and that others would refuse is *carried*: the client gets it as
``lmb1_``, four characters that stand for what ids the backend's model is known to take, and the id
itself in base64url. It comes back as the backend wrote it.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from hashlib import sha256

CARRIED = "lmb1_"
"""The prefix of an id that carries another one."""

LONGEST_ID = 16_384
"""The maximum of bytes of an id that is carried; some gateways write a whole signature into an
id."""

_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MARK = 3
"""The length of a pattern's mark in bytes."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHORT_ID = 9
"""The length of the ids that Mistral requires, the shortest known."""


def wire_name(name: str) -> str:
    """Return the name of a tool as both dialects take it: ``name`` itself, or a substitute.

    The substitute has at most 64 characters: the first 51 of ``name`` (those not allowed become
    ``_``), ``_`` and 12 hex digits of its SHA-256.
    """
    if _NAME.fullmatch(name):
        return name
    return f"{_NOT_ALLOWED.sub('_', name[:51])}_{_digest(name).hex()[:12]}"


def carried_id(id: str, pattern: str) -> str:
    """Return the id by which a client knows the call that a backend named ``id``.

    It is ``id`` itself where every vendor takes it and it matches ``pattern``, the regular
    expression of the ids that the backend's model takes. Otherwise the new id carries ``id``; one
    that is too long to be carried is replaced.
    """
    if _SAFE_ID.fullmatch(id) and re.search(pattern, id) and not id.startswith(CARRIED):
        return id
    raw = id.encode("utf-8", "surrogatepass")
    if len(raw) > LONGEST_ID:
        return wire_id(id, pattern)
    return CARRIED + base64.urlsafe_b64encode(_mark(pattern) + raw).rstrip(b"=").decode()


def _brought_back(id: str) -> tuple[bytes, str] | None:
    """Return the mark of the pattern and the backend's own id that ``id`` carries.

    It is None for an id that carries none.
    """
    text = id[len(CARRIED) :]
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return raw[:_MARK], raw[_MARK:].decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return None


def wire_id(id: str, pattern: str) -> str:
    """Return ``id`` as a backend gets it whose model takes ids that match ``pattern``.

    An id that was carried becomes what its backend wrote, whatever the pattern, where that was a
    backend of the same kind. Any other id that does not match becomes ``call_`` and 24 hex digits
    of its SHA-256; where the pattern does not take that either, 9 base62 digits of it.
    """
    if id.startswith(CARRIED):
        carried = _brought_back(id)
        if carried is not None and carried[1]:
            if carried[0] == _mark(pattern):
                return carried[1]
            id = carried[1]
    if re.search(pattern, id) and not id.endswith("\n"):
        return id
    digest = _digest(id)
    long = f"call_{digest.hex()[:24]}"
    if re.search(pattern, long):
        return long
    return base62(digest, _SHORT_ID)


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Return the names that ``wire_name`` changed: the name as sent -> the client's name."""
    sent = ((wire_name(name), name) for name in names)
    return {wire: name for wire, name in sent if wire != name}


def base62(digest: bytes, length: int) -> str:
    """Return the last ``length`` base62 digits of ``digest``, read as one number.

    The lowest digit comes first.
    """
    number = int.from_bytes(digest, "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return "".join(digits)


def _mark(pattern: str) -> bytes:
    return _digest(pattern)[:_MARK]


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
