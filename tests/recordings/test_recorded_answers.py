"""Every recorded whole answer, translated to the other dialect, means the same there; every
recorded error keeps its words and its sense."""

from typing import Any

import pytest

from lmbroker import json_text
from lmbroker.errors import Broken
from lmbroker.translation.dialects.anthropic_messages import errors as anthropic_errors
from lmbroker.translation.dialects.anthropic_messages import response as anthropic_response
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.openai import errors as openai_errors
from lmbroker.translation.dialects.openai_chat import response as openai_response
from lmbroker.translation.unified.fold import fold, unfold

REPLY = Reply(model="alias", created=1795000000, request_id="req_1")
ANSWERS = {"openai": openai_response, "anthropic": anthropic_response}
ERRORS = {"openai": openai_errors, "anthropic": anthropic_errors}
OTHER = {"openai": "anthropic", "anthropic": "openai"}
KINDS = {
    400: {"invalid_request", "context_length"},
    401: {"auth"},
    404: {"not_found"},
    429: {"rate_limit", "billing"},
}


def test_recorded_answer_means_the_same_in_the_other_dialect(
    answer_recording: Any, readers: Any
) -> None:
    dialect = answer_recording.dialect
    body = json_text.decode(answer_recording.body)
    if "error" in body:
        with pytest.raises(Broken) as broken:
            ANSWERS[dialect].decode_response(body)
        assert broken.value.info.message == body["error"]["message"]
        return
    answer = ANSWERS[dialect].decode_response(body)
    assert fold(unfold(answer)) == answer
    told = ANSWERS[OTHER[dialect]].encode_response(answer, REPLY)
    ours, theirs = readers[OTHER[dialect]](told), readers[dialect](body)
    assert ours.text == theirs.text + theirs.refusal
    assert ours.reasoning == theirs.reasoning
    assert [call(*c) for c in ours.calls] == [call(*c) for c in theirs.calls]
    if theirs.usage is not None:
        assert answer.usage is not None
        prompt, completion = theirs.usage
        cached = answer.usage.cache_read + answer.usage.cache_write
        heard = (body["usage"].get("prompt_tokens_details") or {}).get("audio_tokens") or 0
        if body["usage"].get("total_tokens") == prompt + completion + heard:
            prompt += heard
        assert cached <= prompt
        assert ours.usage == (prompt, completion)


def call(name: str, given: Any) -> tuple[str, Any]:
    """Arguments as an object, whatever the model wrote."""
    if not isinstance(given, str):
        return name, given
    value = json_text.arguments(given)
    return name, {"INVALID_JSON": given} if value is None else value


def test_recorded_error_keeps_its_words_and_sense(error_recording: Any) -> None:
    status, dialect = error_recording.status, error_recording.dialect
    body = json_text.decode(error_recording.body)
    error = ERRORS[dialect].decode_error(status, {}, error_recording.body)
    assert error.kind in KINDS[status]
    # What OpenRouter quotes of a provider's own words stands behind its own.
    words = body["error"]["message"] if "error" in body else body["detail"]
    quoted = (body["error"].get("metadata") or {}).get("raw") if "error" in body else None
    assert error.message == (f"{words}: {quoted}" if isinstance(quoted, str) else words)
    told_status, told = ERRORS[OTHER[dialect]].encode_error(error, "req_1")
    assert told_status == status
    if error.kind == "context_length" and dialect == "openai":
        assert told["error"]["message"].startswith("prompt is too long: ")
    else:
        assert told["error"]["message"] == error.message
