"""The lines of a captured call, with all credentials taken out.

Those are the values of headers and of query parameters that have the name of a credential, and
wherever they stand, in whatever spelling, the keys that the call was made with and whatever has
the shape of a kind of key.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from lmbroker.capture.events import (
    Answered,
    Began,
    Chunk,
    Event,
    Head,
    Out,
    Sent,
    Tried,
    line,
    unpacked,
)
from lmbroker.config.backends import is_plain_header
from lmbroker.redaction import MASK, redact_pieces, redact_value
from lmbroker.secret import Secret

_MASKED = MASK.decode()

_BEARER = re.compile(r"(bearer|basic) +\S", re.IGNORECASE)

_PARAMETER = re.compile(r"([?&;]|^)([^=&;?#]{0,200})=([^&;#]+)")
_CREDENTIAL_PARAMETER = re.compile(
    r"key|token|secret|passw|credential|auth|signature|^sig$|^code$|session", re.IGNORECASE
)
_MORE_HEADERS = re.compile(r"cookie|token|secret|session-key|signature")
"""Parts of the names of further headers whose values are masked."""


def credentials_in(headers: Mapping[str, str]) -> list[str]:
    """Return the credentials that a client's headers hold, for ``masked_lines``."""
    found = []
    for name, value in headers.items():
        if not _is_plain(name) and value:
            found += [value, *([value.split(None, 1)[1]] if _BEARER.match(value) else ())]
    return found


def masked_lines(packed: bytes, words: Iterable[str]) -> list[bytes]:
    """Return the events that ``events.packed`` gave as lines of JSON, masked.

    ``words`` are the keys.
    """
    secrets = tuple(map(Secret, dict.fromkeys(words)))
    events: list[Event] = []
    pieces: dict[tuple[str, int], list[int]] = defaultdict(list)
    attempts = 0
    for at, event in enumerate(unpacked(packed)):
        attempts += isinstance(event, Tried)
        if isinstance(event, Chunk):
            pieces["chunk", attempts].append(at)
        elif isinstance(event, Out):
            pieces["out", 0].append(at)
        events.append(event)
    for places in pieces.values():
        clean = redact_pieces([events[at].data for at in places], secrets)  # type: ignore[attr-defined]
        for at, data in zip(places, clean, strict=True):
            events[at] = msgspec.structs.replace(events[at], data=data)
    return [line(_masked(event, secrets)) for event in events]


def _masked(event: Event, secrets: Sequence[Secret]) -> Event:
    if isinstance(event, Chunk | Out):
        return event
    changes: dict[str, Any] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        special = _SPECIAL.get((type(event), name))
        if special is not None:
            value = special(value)
        changes[name] = _cleaned(value, secrets)
    return msgspec.convert(changes, type(event), builtin_types=(bytes,), strict=False)


def _cleaned(value: Any, secrets: Sequence[Secret]) -> Any:
    if isinstance(value, bytes):
        return redact_pieces([value], secrets)[0]
    return redact_value(msgspec.to_builtins(value, builtin_types=(bytes,)), secrets)


def _is_plain(name: str) -> bool:
    return is_plain_header(name) and _MORE_HEADERS.search(name.lower()) is None


def _header(name: str, value: str) -> str:
    if not _is_plain(name):
        scheme = _BEARER.match(value)
        return f"{scheme[1]} {_MASKED}" if scheme else _MASKED
    return masked_query(value) if name in ("location", "referer", "content-location") else value


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return ``headers`` with the values masked that have the name of a credential."""
    return {name: _header(name, value) for name, value in headers.items()}


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, _header(name, value)) for name, value in pairs]


def masked_query(text: str) -> str:
    """Return a query string, or a URL with one, without the values of credentials.

    A parameter is one by its name.
    """

    def clean(found: re.Match[str]) -> str:
        if _CREDENTIAL_PARAMETER.search(unquote(found[2])) is None:
            return found[0]
        return f"{found[1]}{found[2]}={_MASKED}"

    return _PARAMETER.sub(clean, text)


_SPECIAL: Mapping[tuple[type[Event], str], Callable[[Any], Any]] = {
    (Began, "headers"): masked_headers,
    (Began, "query"): masked_query,
    (Sent, "headers"): masked_headers,
    (Sent, "url"): masked_query,
    (Tried, "url"): masked_query,
    (Answered, "headers"): masked_headers,
    (Head, "headers"): _pairs,
}
