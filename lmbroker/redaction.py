"""Takes credentials out of texts that others wrote, before they are relayed or logged.

A backend that refuses a key likes to repeat it, and not always letter by letter: inside JSON, or
JSON in a JSON text, ``/`` may stand as ``\\/`` or ``\\u002f``, in a URL as ``%2F``. The credentials
that we know are masked in each of these spellings. Keys that we do not know (another account's,
one that a proxy in between adds) are known by their shape.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
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

_PLAIN = re.compile(r"[0-9][0-9A-Za-z]*+|req_[0-9a-z][0-9A-Za-z]*+|[0-9a-f-]++")
"""Usual ids and numbers. What has the shape of a key has other signs in it, or begins otherwise."""

_WORDS = tuple(name for name in ErrorInfo.__struct_fields__ if name not in ("kind", "status"))
"""The fields of an error that others write."""


def redact(text: bytes, secrets: Iterable[Secret | None] = ()) -> bytes:
    """Return ``text`` with the given secrets masked, and whatever has the shape of a kind of
    key."""
    for secret in secrets:
        for word in secret.words if secret is not None else ():
            if word:
                text = _spellings(word).sub(MASK, text)
    return _SHAPES.sub(MASK, text)


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
    """Return ``info`` with all of its texts redacted: for errors that a backend sends inside a
    stream."""
    secrets = tuple(secrets)
    changes = {}
    for name in _WORDS:
        value = getattr(info, name)
        masked = _masked(value, secrets)
        if masked != value:
            changes[name] = masked
    return msgspec.structs.replace(info, **changes) if changes else info


def _masked(value: Any, secrets: Iterable[Secret | None], depth: int = 0) -> Any:
    """Return ``value``, of which JSON can be made, with its texts redacted, keys included."""
    if isinstance(value, str):
        return redact(value.encode("utf-8", "replace"), secrets).decode("utf-8", "replace")
    if not isinstance(value, dict | list):
        return value
    if depth > DEPTH:
        return MASK.decode()
    below = depth + 1
    if isinstance(value, list):
        return [_masked(each, secrets, below) for each in value]
    return {_masked(k, secrets): _masked(held, secrets, below) for k, held in value.items()}


@lru_cache(maxsize=256)
def _spellings(credential: str) -> re.Pattern[bytes]:
    """Finds ``credential`` as it is, in URLs, and in JSON at any depth."""
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
