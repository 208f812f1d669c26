"""Streams of Responses for tests: told to a client, and judged by OpenAI's own SDK."""

from collections.abc import Iterable
from typing import Any, get_args

from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ParsedResponse, ResponseStreamEvent
from openai.types.responses.response_error import ResponseError
from pydantic import ValidationError
from streams import JSON, REPLY, payloads

from lmbroker.errors import Broken
from lmbroker.sse import Reader
from lmbroker.testing.grammar_responses import responses_checker
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.openai_responses.stream_encode import ResponsesEncoder
from lmbroker.translation.unified.stream import Error, StreamEvent

EVENTS: dict[str, Any] = {
    get_args(each.model_fields["type"].annotation)[0]: each
    for each in get_args(get_args(ResponseStreamEvent)[0])
}
"""The SDK's types of events by their names."""
UNLISTED_CODES = ("insufficient_quota", "context_length_exceeded")
"""Codes of failed responses that the SDK's types do not list: OpenAI sends the first, and Codex
acts on both."""


def stream_told(given: Iterable[StreamEvent], reply: Reply = REPLY) -> bytes:
    """The stream that a client gets; it is legal, and each event is of the SDK's types."""
    encoder, out = ResponsesEncoder(reply), []
    for event in given:
        try:
            out.append(encoder.feed(event))
        except Broken as broken:
            out.append(encoder.feed(Error(broken.info)))
            break
    stream = b"".join(out)
    judge(stream)
    return stream


def judge(stream: bytes) -> None:
    """Raises GrammarError or ValidationError for a stream that no client may get."""
    checker = responses_checker()
    for frame in Reader().feed(stream):
        checker.feed(frame)
    checker.close()
    for body in payloads(stream):
        validated(body)


def validated(body: JSON) -> Any:
    """The event as the SDK's types have it. Raises ValidationError."""
    try:
        return EVENTS[body["type"]].model_validate(body)
    except ValidationError:
        error = (body.get("response") or {}).get("error") or {}
        if error.get("code") not in UNLISTED_CODES:
            raise
        listed = {**body["response"], "error": {**error, "code": "server_error"}}
        ResponseError.model_validate(listed["error"])
        return EVENTS[body["type"]].model_validate({**body, "response": listed})


def accumulated(stream: bytes) -> ParsedResponse[Any]:
    """What the SDK's helper makes of a stream that ends with ``response.completed``."""
    state: ResponseStreamState[Any] = ResponseStreamState(text_format=omit, input_tools=omit)
    for body in payloads(stream):
        event: Any = construct_type(type_=ResponseStreamEvent, value=body)
        state.handle_event(event)
    assert state._completed_response is not None
    return state._completed_response


def kinds(stream: bytes) -> list[str]:
    """The types of the events without ``response.``, deltas that follow each other told once."""
    found: list[str] = []
    for body in payloads(stream):
        kind = body["type"].removeprefix("response.")
        if not (kind.endswith(".delta") and found and found[-1] == kind):
            found.append(kind)
    return found


def last(stream: bytes) -> JSON:
    """The response that the last event holds."""
    found: JSON = payloads(stream)[-1]["response"]
    return found
