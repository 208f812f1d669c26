"""Seals what the practice backend gives a client to keep, and recognises it again.

That is the encrypted content of reasoning and of compactions, which nobody else can read.
"""

import base64
import hashlib
import json

_KEY = b"the practice backend"
_MARK = "gAAAAA"


def sealed(id: str, text: str) -> str:
    """Return the encrypted content of the item ``id``."""
    payload = json.dumps([id, text]).encode()
    return _MARK + base64.urlsafe_b64encode(_digest(payload) + payload[::-1]).decode()


def unsealed(value: object) -> tuple[str, str]:
    """Return the id and the text within.

    Raises ValueError for what was not sealed here, or was changed since.
    """
    if not isinstance(value, str) or not value.startswith(_MARK):
        raise ValueError("not sealed here")
    whole = base64.b64decode(value.removeprefix(_MARK), altchars=b"-_", validate=True)
    payload = whole[16:][::-1]
    if _digest(payload) != whole[:16]:
        raise ValueError("changed since it was sealed")
    id, text = json.loads(payload)
    return id, text


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2s(payload, key=_KEY, digest_size=16).digest()
