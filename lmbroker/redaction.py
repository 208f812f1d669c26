"""Takes credentials out of texts that others wrote, before they are relayed or logged.

A backend that refuses a key likes to repeat it, and not always letter by letter: inside JSON, or
JSON in a JSON text, ``/`` may stand as ``\\/`` or ``\\u002f``, in a URL as ``%2F``. The credentials
that we know are masked in each of these spellings. Keys that we do not know (another account's,
one that a proxy in between adds) are known by their shape.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import msgspec

from lmbroker.errors import ErrorInfo
from lmbroker.secret import Secret

MASK = b"***"

SHORT = 8
"""A credential with fewer characters than this is masked only where it stands alone: many local
backends are run with a word such as ``none``, and that word is no secret inside others."""

DEPTH = 20
"""What nests deeper in the details of an error is masked unseen."""

ESCAPES = 8
"""Longest row of backslashes before one character: JSON in JSON in JSON has seven."""

_SHAPES = re.compile(
    # Not inside a word; the letter of an escape (\n) in front is none.
    rb"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"
    rb"(?:(?:sk|lmb)[-_](?:[A-Za-z0-9]{1,32}[-_]){0,8}[A-Za-z0-9*]{8,}[A-Za-z0-9_*-]*"
    rb"|(?:pk|rk|key)[-_](?=[A-Za-z_*-]{0,64}[0-9*])[A-Za-z0-9_*-]{16,}"
    rb"|(?:gsk_|xai-|pplx-|csk-|nvapi-|hf_|r8_)[A-Za-z0-9*]{16,}[A-Za-z0-9_*-]*"
    rb"|AIza[A-Za-z0-9_-]{20,}"
    rb"|AKIA[A-Z0-9]{16}"
    rb"|eyJ[A-Za-z0-9_-]{8,512}\.[A-Za-z0-9_-]{8,2048}\.[A-Za-z0-9_-]{8,})"
    # A word such as "Bearer authentication" is no key.
    rb"|(?<=(?i:bearer) )(?=[A-Za-z]{0,64}[0-9._~+/=-][A-Za-z0-9])[A-Za-z0-9._~+/=-]{8,}"
)
"""Repetitions are bounded where a failed match could look far ahead: the text may be long."""

CIPHER = 100
"""Characters of base64 behind which no key begins: no program writes one there."""

_CIPHER = re.compile(rb"[A-Za-z0-9_+/=-]*+")

_PLAIN = re.compile(r"[0-9][0-9A-Za-z]*+|req_[0-9a-z][0-9A-Za-z]*+|[0-9a-f-]++")
"""Usual ids and numbers. What has the shape of a key has other signs in it, or begins otherwise."""

_WORDS = tuple(name for name in ErrorInfo.__struct_fields__ if name not in ("kind", "status"))
"""The fields of an error that others write."""


def redact(text: bytes, secrets: Iterable[Secret | None] = ()) -> bytes:
    """Return ``text`` with the given secrets masked, and all else that looks like a key."""
    for secret in secrets:
        for word in secret.words if secret is not None else ():
            if word:
                text = _spellings(word).sub(MASK, text)
    return _SHAPES.sub(MASK, text)


def redact_pieces(pieces: Sequence[bytes], secrets: Iterable[Secret | None] = ()) -> list[bytes]:
    """Return ``redact`` for a text that came in pieces, which stay as many.

    What is masked stands where its last byte was: a credential may begin in one piece and end in
    another. In the middle of a long text of base64, what looks like a key is none.
    """
    text, cuts = b"".join(pieces), list(accumulate(map(len, pieces)))
    for secret in secrets:
        for word in secret.words if secret is not None else ():
            if word:
                text, cuts = _masked(_spellings(word), text, cuts)
    text, cuts = _masked(_SHAPES, text, cuts)
    return [text[start:end] for start, end in zip((0, *cuts), cuts, strict=False)]


def _masked(pattern: re.Pattern[bytes], text: bytes, cuts: list[int]) -> tuple[bytes, list[int]]:
    """Return ``text`` with what ``pattern`` finds masked, and where its ``cuts`` are then."""
    found = [
        match.span()
        for match in pattern.finditer(text)
        if pattern is not _SHAPES or not _is_cipher(text, match.start())
    ]
    if not found:
        return text, cuts
    out: list[bytes] = []
    moved: list[int] = []
    copied = shift = 0
    waiting = iter((*cuts, len(text) + 1))
    cut = next(waiting)
    for start, end in found:
        while cut <= start:
            moved.append(cut + shift)
            cut = next(waiting)
        while cut < end:
            # In the middle of it: all of it belongs to the piece in which it ends.
            moved.append(start + shift)
            cut = next(waiting)
        out += (text[copied:start], MASK)
        copied, shift = end, shift + len(MASK) - (end - start)
    out.append(text[copied:])
    moved += [each + shift for each in (cut, *waiting) if each <= len(text)]
    return b"".join(out), moved


def _is_cipher(text: bytes, at: int) -> bool:
    """Return whether what stands before a place is so much base64 that no key begins there."""
    return at >= CIPHER and _CIPHER.fullmatch(text, at - CIPHER, at) is not None


def redact_header(value: str, secrets: Iterable[Secret | None] = ()) -> str:
    """Return ``redact`` for the value of a header, quick for usual ids and numbers.

    They have the shape of no key, and spell a credential in no way but its own.
    """
    if _PLAIN.fullmatch(value):
        for secret in secrets:
            if secret is not None and any(word in value for word in secret.words):
                break
        else:
            return value
    return redact(value.encode("latin-1", "replace"), secrets).decode("latin-1")


def redact_headers(
    pairs: tuple[tuple[str, str], ...], secrets: Iterable[Secret | None] = ()
) -> tuple[tuple[str, str], ...]:
    """Return ``redact_header`` for each of them."""
    return tuple([(name, redact_header(value, secrets)) for name, value in pairs]) if pairs else ()


def redact_error(info: ErrorInfo, secrets: Iterable[Secret | None] = ()) -> ErrorInfo:
    """Return ``info`` with all of its texts redacted, for errors inside a stream."""
    secrets = tuple(secrets)
    changes = {}
    for name in _WORDS:
        value = getattr(info, name)
        masked = redact_value(value, secrets)
        if masked != value:
            changes[name] = masked
    return msgspec.structs.replace(info, **changes) if changes else info


def redact_value(value: Any, secrets: Iterable[Secret | None] = (), depth: int = 0) -> Any:
    """Return ``value``, of which JSON can be made, with its texts redacted, keys included."""
    if isinstance(value, str):
        return redact(value.encode("utf-8", "replace"), secrets).decode("utf-8", "replace")
    if not isinstance(value, dict | list):
        return value
    if depth > DEPTH:
        return MASK.decode()
    below = depth + 1
    if isinstance(value, list):
        return [redact_value(each, secrets, below) for each in value]
    return {
        redact_value(k, secrets): redact_value(held, secrets, below) for k, held in value.items()
    }


@lru_cache(maxsize=256)
def _spellings(credential: str) -> re.Pattern[bytes]:
    """Return a pattern that finds ``credential`` as it is, in URLs, and in JSON at any depth."""
    pattern = "".join(map(_spelled, credential))
    if len(credential) < SHORT:
        pattern = rf"(?<![A-Za-z0-9_-]){pattern}(?![A-Za-z0-9_-])"
    return re.compile(pattern.encode())


def _spelled(character: str) -> str:
    plain = re.escape(character)
    if not character.isalnum():
        plain = rf"\\{{0,{ESCAPES}}}{plain}"
    code = ord(character)
    return rf"(?:{plain}|(?i:\\{{1,{ESCAPES}}}u{code:04x}|%{code:02x}))"


SHOWN = 100
"""How many characters of a client's path a message or a log line shows."""


def shown(path: str) -> str:
    """Return a client's ``path`` or word for a message or a log line.

    It comes without what is not printable, with what has the shape of a key masked, and bounded.
    """
    path = redact(path.encode("utf-8", "replace")).decode("utf-8", "replace")
    text = path if path.isprintable() else "".join(c if c.isprintable() else "?" for c in path)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
