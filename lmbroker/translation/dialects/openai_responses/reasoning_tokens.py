"""``encrypted_content`` of reasoning items (translation.md 4.6 and 8.2).

Clients of this dialect send it back unread. So it carries what a backend of another dialect needs
to know its own reasoning again.
"""

from typing import Any

from lmbroker.translation.dialects.openai_responses.reasoning_items import ORIGIN, own_item
from lmbroker.translation.shared.signature import seal, to_wire, unseal
from lmbroker.translation.unified.parts import Signature


def encrypted_content(signature: Signature | None, redacted: str | None, hidden: str) -> str | None:
    """Return the value of the field, None where the backend gave nothing to keep.

    ``hidden`` is the text of reasoning that the client does not get to see.
    """
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
