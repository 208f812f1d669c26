"""Ids of answers and tool calls as they cross dialects (translation.md 3.1).

A missing id is derived from the broker's id of the request: unique per call, and the same bytes
for the same call whether it is streamed or not.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from lmbroker.translation.shared.names import base62, carried_id
from lmbroker.translation.unified.parts import Part, ToolCallPart

COMPLETION = "chatcmpl-"
MESSAGE = "msg_"
RESPONSE = "resp_"

_MADE_UP_DIGITS = 24
"""The number of base62 digits of an id that the broker makes up."""


def answer_id(prefix: str, id: str, request_id: str) -> str:
    """Return the id of an answer with ``prefix`` in the place of the backend dialect's own prefix.

    Where the backend gave no id, 24 base62 digits are derived from ``request_id``.
    """
    rest = id.removeprefix(COMPLETION).removeprefix(MESSAGE).removeprefix(RESPONSE)
    return prefix + (rest or base62(sha256(request_id.encode()).digest(), _MADE_UP_DIGITS))


def call_id(id: str, request_id: str, number: int, tool_id: str | None = None) -> str:
    """Return the id of the answer's tool call ``number``, made up where the backend gave none.

    ``tool_id`` is the pattern of the ids that the backend's model takes, None for an answer that
    goes to the client as it is.
    """
    if not id:
        return "call_" + sha256(f"{request_id}:{number}".encode()).hexdigest()[:24]
    return id if tool_id is None else carried_id(id, tool_id)


def unrepeated(parts: Iterable[Part]) -> list[Part]:
    """Return ``parts``.

    A call that repeats the id of an earlier call of its answer loses its id.
    """
    parts = list(parts)
    if len(parts) < 2:
        return parts
    seen: set[str] = set()
    out: list[Part] = []
    for part in parts:
        if isinstance(part, ToolCallPart):
            if part.id in seen:
                part = msgspec.structs.replace(part, id="")
            seen.add(part.id)
        out.append(part)
    return out
