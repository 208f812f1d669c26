"""A backend's whole answer -> the Unified Model (translation.md 8.3)."""

from lmbroker.errors import Broken, ErrorInfo
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.dialects.openai_responses import ending
from lmbroker.translation.dialects.openai_responses.answer_items import (
    CALLS,
    decode_item,
    text_at,
    type_of,
)
from lmbroker.translation.refusals import error_kinds
from lmbroker.translation.shared.answer_ids import unrepeated
from lmbroker.translation.unified.parts import Part, TextPart, ToolCallPart
from lmbroker.translation.unified.response import Response
from lmbroker.usage import Usage


def decode_response(body: JSON, reading: Reading | None = None) -> Response:
    """Return the Unified Model of a backend's answer.

    Raises Broken when it is an error, or has no output.
    """
    losses = (reading or Reading()).losses
    word = ending.word_of(body)
    failed = ending.failure(body, word)
    if failed is not None:
        raise Broken(failed, phase="reading")
    output = body.get("output")
    if not isinstance(output, list) or ending.is_pending(body):
        if body.get("detail") or body.get("message"):
            raise Broken(error_kinds.stream_error(body), phase="reading")
        raise _broken("the backend's answer has no output")
    found: list[Part] = []
    for item in output:
        if isinstance(item, dict):
            found += decode_item(item, losses)
    parts = unrepeated(found)
    stop = ending.decode_stop(
        word,
        calls=ToolCallPart in map(type, parts),
        refusal="".join(part.text for part in parts if isinstance(part, TextPart) and part.refusal),
    )
    if ending.is_unknown(word):
        losses.change("incomplete_details.reason")
    return Response(
        id=text_at(body, "id"),
        model=text_at(body, "model"),
        created=ending.created_of(body),
        parts=tuple(parts),
        stop=stop,
        usage=ending.usage_of(body),
        tier=ending.tier_of(body),
    )


def gist(body: JSON) -> tuple[Usage | None, str]:
    """Return the usage and the stop reason of an answer that is passed through."""
    usage = ending.usage_of(body)
    word = ending.word_of(body)
    output = body.get("output")
    if not word or not isinstance(output, list) or ending.is_pending(body):
        return usage, ""
    calls = any(isinstance(item, dict) and type_of(item) in CALLS for item in output)
    return usage, ending.decode_stop(word, calls=calls).reason


def tool_calls(body: JSON) -> int:
    """Return how many tools of its client an answer that is passed through calls."""
    output = body.get("output")
    if not isinstance(output, list):
        return 0
    return sum(isinstance(item, dict) and type_of(item) in CALLS for item in output)


def _broken(message: str) -> Broken:
    return Broken(
        ErrorInfo(kind="bad_upstream", message=message, code="bad_upstream_response"),
        phase="reading",
    )
