"""What no honest request has so many of: keys, messages, tools, values (``[limits]``).

Each check is one pass in C, and none is made of a body that is too short to break the bound.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lmbroker.envelope import JSON_ERRORS
from lmbroker.errors import Refused
from lmbroker.limits import Limits

_LIST = msgspec.json.Decoder(list[msgspec.Raw])

BYTES_EACH = 8
"""Keys and values are not counted in a body that has fewer bytes for each that it may hold: by
default in 8 MB, which a helper process reads."""


LEAST_EACH = 2
"""Bytes that a key, a message or a tool takes at least, with its comma."""


def check(
    body: bytes, fields: Mapping[str, Any], limits: Limits, messages: str = "messages"
) -> None:
    """Raises Refused for a body with more of something than ``limits`` allow.

    ``fields`` are those of its envelope, and ``messages`` is the name of the one that holds its
    conversation.
    """
    size = len(body)
    fewest = min(limits.top_level_keys, limits.messages, limits.tools)
    if size < LEAST_EACH * fewest and size <= BYTES_EACH * limits.json_values:
        return  # it has no room for so many of anything
    if len(fields) > limits.top_level_keys:
        raise _too_many("keys at its top level", "top_level_keys", limits.top_level_keys)
    counted = ((messages, "messages", limits.messages), ("tools", "tools", limits.tools))
    for name, key, most in counted:
        if _items(fields.get(name), most) > most:
            raise _too_many(key, key, most, param=name)
    if has_more_values(body, limits.json_values):
        raise _too_many("JSON keys and values", "json_values", limits.json_values)


def _items(raw: Any, most: int) -> int:
    """Return how many items a list has; 0 where it cannot have more than ``most`` of them."""
    # Each takes a byte and a comma.
    if raw is None or len(memoryview(raw)) < 2 * most:
        return 0
    try:
        return len(_LIST.decode(raw))
    except JSON_ERRORS:
        return 0


def has_more_values(body: bytes, most: int) -> bool:
    """Return whether ``body``, which is JSON and has ``BYTES_EACH`` bytes for each, holds more than
    ``most`` keys and values."""
    if len(body) <= BYTES_EACH * most or _separators(body) <= most:
        return False
    # Many of them may stand inside of texts. What is left of the body without escapes are texts
    # and what is between them, by turns.
    plain = body
    if b"\\" in body:
        plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * most:
        return True
    return _separators(b"".join(plain.split(b'"')[::2])) > most


def _separators(text: bytes) -> int:
    """Return one for each key and value: the first of an object or a list stands behind a bracket,
    others behind a comma, and a value of an object behind a colon."""
    return sum(map(text.count, (b",", b":", b"[", b"{")))


def _too_many(what: str, key: str, most: int, param: str | None = None) -> Refused:
    return Refused(
        "invalid_request",
        f"the request body has more {what} than the {most} that limits.{key} of this broker allows",
        param=param,
        code="too_many_" + key,
    )
