"""Signatures of reasoning as they cross dialects (translation.md 4.6).

Anthropic signs its reasoning and wants signature and text back unchanged; other vendors sign
nothing or have forms of their own. Where a dialect has only a signature field, what another
vendor needs back travels in it as ``lmb1.`` + base64url(compact JSON) without padding:

==========================  ===================================================
``{"k":"rc"}``              plain text reasoning of an OpenAI-compatible backend, sent as
                            ``reasoning_content``; ``"o"``: the object that held the text
``{"k":"rd","d":[...]}``    ``reasoning_details`` entries
``{"k":"tb","b":[...]}``    ``thinking_blocks`` (LiteLLM's field)
``{"k":"ec",...}``          ``extra_content``: ``"c"`` of calls (id, number of the
                            call in its turn, content), ``"m"`` of the message
``{"k":"oi","id","enc"}``   a reasoning item of the Responses dialect; ``"n"``: the
                            lengths of its texts, ``"c"``: they are no summary
``{"k":"at","s":...}``      an Anthropic signature
``{"k":"ar","d":...}``      Anthropic's redacted reasoning
==========================  ===================================================

``"f"`` names the field in which the backend sent the text, where that is another one or stood
beside entries or blocks: the text goes back in that field. The tokens are neither secret nor
authenticated: their content is untrusted input.
"""

import base64
import binascii
import json
from typing import Any

from lmbroker import json_text
from lmbroker.translation.unified.parts import Signature

PREFIX = "lmb1."

ANTHROPIC_FORMAT = "anthropic-claude-v1"
"""``format`` of a ``reasoning_details`` entry whose signature Anthropic made (OpenRouter's value,
which clients already know)."""

FOREIGN_FORMAT = "unknown"
"""``format`` of an entry of any other vendor; its signature is one of our tokens."""


THINK_TAGS = "think"
_USUAL = "reasoning_content"
"""The field of plain text reasoning whose token does not name one."""

_OF_ITEMS = ("id", "enc", "n", "c")

FIELDS = (
    _USUAL,
    "reasoning",
    "reasoning_text",
    "thinking",
    "content",
    THINK_TAGS,
)
"""The fields of a message in which backends send reasoning as text; ``content`` is a list with
``thinking`` pieces (Mistral's form), and ``think`` stands for tags at the head of the text."""


def seal(kind: dict[str, Any]) -> str:
    """Return the token that carries the object ``kind``."""
    text = json.dumps(kind, ensure_ascii=True, separators=(",", ":"))
    return PREFIX + base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def unseal(value: str) -> dict[str, Any] | None:
    """Return the object that a token carries, None for a foreign signature or an invalid token."""
    if not value.startswith(PREFIX):
        return None
    text = value[len(PREFIX) :]
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        kind = json_text.decode(data)
    except (binascii.Error, ValueError):
        return None
    if not isinstance(kind, dict) or not isinstance(kind.get("k"), str):
        return None
    return kind


def to_wire(signature: Signature) -> str:
    """Return the value of a signature field that carries ``signature``."""
    if signature.origin == "signable":
        return signature.value
    held: Any = json.loads(signature.value) if signature.value else None
    usual = signature.origin == "text" and signature.field == _USUAL
    field = {"f": signature.field} if signature.field and not usual else {}
    if signature.origin == "details":
        return seal({"k": "rd", "d": held, **field})
    if signature.origin == "blocks":
        return seal({"k": "tb", "b": held, **field})
    if signature.origin == "extra":
        return seal({"k": "ec", **held})
    if signature.origin == "responses":
        return seal({"k": "oi", **held})
    return seal({"k": "rc", **field, **({"o": held} if held else {})})


def from_wire(value: str) -> Signature:
    """Return the signature that the value of a signature field carries.

    A text that is no token of ours is Anthropic's signature; an invalid token counts as plain text
    reasoning without a signature.
    """
    if not value.startswith(PREFIX):
        return Signature(origin="signable", value=value)
    kind = unseal(value)
    if kind is None:
        return Signature(origin="text")
    field = next((each for each in FIELDS if each == kind.get("f")), "")
    if kind["k"] == "rd" and isinstance(kind.get("d"), list):
        return Signature(origin="details", value=compact(kind["d"]), field=field)
    if kind["k"] == "tb" and isinstance(kind.get("b"), list):
        return Signature(origin="blocks", value=compact(kind["b"]), field=field)
    if kind["k"] == "ec":
        return Signature(
            origin="extra", value=compact({k: v for k, v in kind.items() if k in ("c", "m")})
        )
    if kind["k"] == "oi":
        return Signature(
            origin="responses", value=compact({k: v for k, v in kind.items() if k in _OF_ITEMS})
        )
    if kind["k"] == "at" and isinstance(kind.get("s"), str):
        return Signature(origin="signable", value=kind["s"])
    held = kind.get("o")
    return Signature(
        origin="text",
        value=compact(held) if isinstance(held, dict) else "",
        field=field or _USUAL,
    )


def compact(value: Any) -> str:
    """Return compact JSON text in which lone surrogates are kept as escapes."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
