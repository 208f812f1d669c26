"""Takes credentials out of texts that others wrote, before they are relayed or logged."""

import re
from collections.abc import Iterable

from lmbroker.secret import Secret

_SHAPES = re.compile(
    rb"\b(?:sk|pk|rk|gsk|xai|key)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9*]{8,}[A-Za-z0-9_*-]*"
    rb"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"
    rb"|\bAIza[A-Za-z0-9_-]{20,}"
)
MASK = b"***"


def redact(text: bytes, secrets: Iterable[Secret | None] = ()) -> bytes:
    """``text`` with the given secrets masked, and whatever has the shape of a kind of key."""
    for secret in secrets:
        if secret is not None and secret.reveal():
            text = text.replace(secret.reveal().encode(), MASK)
    return _SHAPES.sub(MASK, text)
