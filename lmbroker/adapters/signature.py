"""Signatures of reasoning as they cross dialects (translation.md 4.6).

Anthropic signs its reasoning and wants signature and text back unchanged; other vendors sign
nothing or have forms of their own. Where a dialect has only a signature field, what another
vendor needs back travels in it as ``lmb1.`` + base64url(compact JSON) without padding:

==========================  ===================================================
``{"k":"rc"}``              plain text reasoning of an OpenAI-compatible backend
``{"k":"rd","d":[...]}``    foreign ``reasoning_details`` entries
``{"k":"oi","id","enc"}``   a reasoning item of the Responses dialect
``{"k":"at","s":...}``      an Anthropic signature
``{"k":"ar","d":...}``      Anthropic's redacted reasoning
==========================  ===================================================

The tokens are no secret and prove nothing: whoever reads one treats its content as input from
a stranger.
"""

import base64
import binascii
import json
from typing import Any

import msgspec

from lmbroker.unified.parts import Signature

PREFIX = "lmb1."

ANTHROPIC_FORMAT = "anthropic-claude-v1"
"""``format`` of a ``reasoning_details`` entry whose signature Anthropic made (OpenRouter's word,
which clients already know)."""

FOREIGN_FORMAT = "unknown"
"""``format`` of an entry of any other vendor; its signature is one of our tokens."""


def seal(kind: dict[str, Any]) -> str:
    """The token that carries ``kind``."""
    text = json.dumps(kind, ensure_ascii=True, separators=(",", ":"))
    return PREFIX + base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def unseal(value: str) -> dict[str, Any] | None:
    """What a token carries; None for a foreign signature or a token that is no valid one."""
    if not value.startswith(PREFIX):
        return None
    text = value[len(PREFIX) :]
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        kind = msgspec.json.decode(data)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(kind, dict) or not isinstance(kind.get("k"), str):
        return None
    return kind


def to_wire(signature: Signature) -> str:
    """``signature`` as the text that a signature field carries."""
    if signature.origin == "anthropic":
        return signature.value
    if signature.origin == "details":
        return seal({"k": "rd", "d": json.loads(signature.value)})
    if signature.origin == "responses":
        return seal({"k": "oi", **json.loads(signature.value)})
    return seal({"k": "rc"})


def from_wire(value: str) -> Signature:
    """The signature that the text of a signature field is. A text that is no token of ours is
    Anthropic's; a token that cannot be read counts as plain text reasoning, signed by nobody."""
    if not value.startswith(PREFIX):
        return Signature(origin="anthropic", value=value)
    kind = unseal(value) or {"k": "rc"}
    if kind["k"] == "rd" and isinstance(kind.get("d"), list):
        return Signature(origin="details", value=compact(kind["d"]))
    if kind["k"] == "oi":
        return Signature(
            origin="responses", value=compact({k: v for k, v in kind.items() if k != "k"})
        )
    if kind["k"] == "at" and isinstance(kind.get("s"), str):
        return Signature(origin="anthropic", value=kind["s"])
    return Signature(origin="openai")


def compact(value: Any) -> str:
    """Compact JSON text; lone surrogates are kept as escapes."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
