"""``encrypted_content`` of reasoning items (translation.md 4.6 and 8.2).

Clients of this dialect send it back unread. So it carries, for a backend of another dialect, what
that one needs to know its own reasoning again.
"""

import json
from typing import Any

from lmbroker.translation.dialects.openai_responses.reasoning_items import BETWEEN, ORIGIN
from lmbroker.translation.shared.signature import seal, to_wire, unseal
from lmbroker.translation.unified.parts import Signature


def encrypted_content(signature: Signature | None, redacted: str | None, hidden: str) -> str | None:
    """The text of the field, None where the backend gave nothing to keep. ``hidden`` is the text of
    the reasoning where the client is not told it."""
    if redacted is not None:
        return seal({"k": "ar", "d": redacted})
    if signature is None:
        return None
    if signature.origin == ORIGIN:
        held = own_item(signature).get("enc")
        return held if isinstance(held, str) else None
    if signature.origin == "signable":
        kind: dict[str, Any] = {"k": "at", "s": signature.value}
    else:
        token = to_wire(signature)
        if not hidden:
            return token
        kind = unseal(token) or {}
    return seal({**kind, "t": hidden} if hidden else kind)


def own_item(signature: Signature | None) -> dict[str, Any]:
    """What is known of the item that an R backend sent: ``id``, ``enc``, ``n`` (lengths of its
    summaries) and ``c`` (its text is content); nothing for reasoning of other backends."""
    if signature is None or signature.origin != ORIGIN or not signature.value:
        return {}
    held = json.loads(signature.value)
    return held if isinstance(held, dict) else {}


def is_content(signature: Signature | None) -> bool:
    """Whether an R backend gave its reasoning as content and not as a summary."""
    return bool(own_item(signature).get("c"))


def lengths(signature: Signature | None) -> list[int]:
    """How long each text is, in code points, of an R backend that gave several; else none."""
    held = own_item(signature).get("n")
    if not isinstance(held, list) or not all(type(each) is int and each > 0 for each in held):
        return []
    return held


def texts_of(text: str, signature: Signature | None) -> list[str]:
    """The texts that were joined to ``text`` with an empty line between them; ``text`` alone where
    it was one."""
    if not text:
        return []
    texts, at = [], 0
    for length in lengths(signature):
        texts.append(text[at : at + length])
        at += length + len(BETWEEN)
    return texts if BETWEEN.join(texts) == text else [text]
