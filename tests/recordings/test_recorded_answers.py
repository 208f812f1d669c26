"""Every recorded whole answer means the same in all dialects; every recorded error keeps its words
and its sense."""

from typing import Any

import pytest
from batches import in_batches
from captures import Recording, answers

from lmbroker import json_text
from lmbroker.errors import Broken
from lmbroker.translation.dialects.anthropic_messages import errors as anthropic_errors
from lmbroker.translation.dialects.anthropic_messages import response as anthropic_response
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.openai import errors as openai_errors
from lmbroker.translation.dialects.openai_chat import response as openai_response
from lmbroker.translation.dialects.openai_responses import errors as responses_errors
from lmbroker.translation.dialects.openai_responses import response_decode, response_encode
from lmbroker.translation.unified.fold import fold, unfold

REPLY = Reply(model="alias", created=1795000000, request_id="req_1")
DECODE = {
    "openai": openai_response.decode_response,
    "anthropic": anthropic_response.decode_response,
    "responses": response_decode.decode_response,
}
ENCODE = {
    "openai": openai_response.encode_response,
    "anthropic": anthropic_response.encode_response,
    "responses": response_encode.encode_response,
}
DECODE_ERROR = {
    "openai": openai_errors.decode_error,
    "anthropic": anthropic_errors.decode_error,
    "responses": openai_errors.decode_error,
}
ENCODE_ERROR = {
    "openai": openai_errors.encode_error,
    "anthropic": anthropic_errors.encode_error,
    "responses": responses_errors.encode_error,
}
KINDS = {
    400: {"invalid_request", "context_length", "billing", "auth"},
    401: {"auth"},
    404: {"not_found"},
    429: {"rate_limit", "billing"},
}


@in_batches(answers("response.json"))
def test_recorded_answer_means_the_same_in_each_dialect(recording: Recording, readers: Any) -> None:
    dialect = recording.dialect
    body = json_text.decode(recording.body)
    if body.get("error"):
        with pytest.raises(Broken) as broken:
            DECODE[dialect](body)
        assert broken.value.info.message == body["error"]["message"]
        return
    if body.get("status") == "queued":
        with pytest.raises(Broken):
            DECODE[dialect](body)
        return
    answer = DECODE[dialect](body)
    assert fold(unfold(answer)) == answer
    theirs = readers[dialect](body)
    if theirs.usage is not None:
        assert answer.usage is not None
        prompt, completion = theirs.usage
        cached = answer.usage.cache_read + answer.usage.cache_write
        heard = (body["usage"].get("prompt_tokens_details") or {}).get("audio_tokens") or 0
        if body["usage"].get("total_tokens") == prompt + completion + heard:
            prompt += heard
        assert cached <= prompt
    for client, encode in ENCODE.items():
        ours = readers[client](encode(answer, REPLY))
        if theirs.refusal and client != "anthropic":
            assert (ours.text, ours.refusal) == (theirs.text, theirs.refusal), client
        else:
            assert ours.text == theirs.text + theirs.refusal, client
        assert ours.reasoning == theirs.reasoning, client
        assert [call(*c) for c in ours.calls] == [call(*c) for c in theirs.calls], client
        if theirs.usage is not None:
            assert ours.usage == (prompt, completion), client


def call(name: str, given: Any) -> tuple[str, Any]:
    """Arguments as an object, whatever the model wrote."""
    if not isinstance(given, str):
        return name, given
    value = json_text.arguments(given)
    return name, {"INVALID_JSON": given} if value is None else value


@in_batches(answers("response.json", failed=True))
def test_recorded_error_keeps_its_words_and_sense(recording: Recording) -> None:
    status, dialect = recording.status, recording.dialect
    body = json_text.decode(recording.body)
    error = DECODE_ERROR[dialect](status, {}, recording.body)
    assert error.kind in KINDS[status]
    # What OpenRouter quotes of a provider's own words stands behind its own.
    told = body["error"] if "error" in body else body["detail"]
    words = told["message"] if isinstance(told, dict) else told
    quoted = (told.get("metadata") or {}).get("raw") if isinstance(told, dict) else None
    assert error.message == (f"{words}: {quoted}" if isinstance(quoted, str) else words)
    for client, encode in ENCODE_ERROR.items():
        told_status, answer = encode(error, "req_1")
        # A 400 that means something else is told as what it means.
        assert told_status == status or error.kind in ("billing", "auth"), client
        if error.kind == "context_length" and client == "anthropic" != dialect:
            assert answer["error"]["message"].startswith("prompt is too long: ")
        else:
            assert answer["error"]["message"] == error.message, client
