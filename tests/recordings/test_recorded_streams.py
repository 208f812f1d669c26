"""Every recorded stream, translated to the other dialect, means the same there."""

import json
import random
from typing import Any

import jiter

from lmbroker.sse import Reader
from lmbroker.testing.grammar import EventChecker, anthropic_checker, openai_checker
from lmbroker.translation.dialects.anthropic_messages.stream_decode import AnthropicDecoder
from lmbroker.translation.dialects.anthropic_messages.stream_encode import AnthropicEncoder
from lmbroker.translation.dialects.base import Decoder, Encoder, Reply
from lmbroker.translation.dialects.openai_chat.stream_decode import OpenAIDecoder
from lmbroker.translation.dialects.openai_chat.stream_encode import OpenAIEncoder
from lmbroker.translation.unified.stream import Error, Finish, StreamEvent

REPLY = Reply(model="alias", created=1795000000, request_id="req_1")


def chunks(data: bytes, seed: str) -> list[bytes]:
    chance = random.Random(seed)
    places = sorted(chance.randrange(len(data)) for _ in range(60))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def decoded(decoder: Decoder, pieces: list[bytes]) -> list[StreamEvent]:
    reader = Reader()
    events: list[StreamEvent] = []
    for piece in pieces:
        for frame in reader.feed(piece):
            events += decoder.feed(frame)
    for frame in reader.close():
        events += decoder.feed(frame)
    return events + decoder.close()


def payloads(stream: bytes) -> list[Any]:
    """The decoded data of the events, leniently."""
    reader = Reader()
    found = []
    for frame in [*reader.feed(stream), *reader.close()]:
        if frame.data and frame.data.strip() != b"[DONE]":
            found.append(json.loads(frame.data))
    return found


def adapters(dialect: str) -> tuple[Decoder, Encoder, str]:
    if dialect == "openai":
        return OpenAIDecoder(), AnthropicEncoder(REPLY), "anthropic"
    return AnthropicDecoder(), OpenAIEncoder(REPLY), "openai"


ERRORS = {
    "groq.chat.sse.tool-use-failed-error-streaming-with-text.091d4f.00": "invalid_request",
    "groq.chat.sse.tool-use-failed-error-streaming.bc6447.00": "invalid_request",
    "anthropic.messages.sse.spliced-message-start": "bad_upstream",
}
"""Streams that end in an error: their own, or because two were spliced into one."""

GARBLED = {
    "litellm-proxy.chat.sse.completion-stream-multiple-choices": "two choices",
    "mistral.chat.sse.mistral-hybrid-reasoning": "content as list",
    "mistral.chat.sse.mistral-model-thinking": "content as list",
    "mistral.chat.sse.mistral-reasoning": "content as list",
    "mistral.chat.sse.mistral-v1-chat-completions": "content as list",
    "openai-compatible.chat.sse.anthropic-fallback-tool-call": "calls counted from 1",
    "openrouter.chat.sse.openrouter-streaming-reasoning": "list entries without index",
    "openrouter.chat.sse.openrouter-web-search-annotations": "list entries without index",
    "openrouter.chat.sse.tools-streaming-variant": "the name in every fragment",
    "writer.chat.sse.writer-async-streaming-chat-tool-call": "null for what is not repeated",
}
"""Streams that the OpenAI SDK itself cannot put together, and why."""


def known(table: dict[str, str], name: str) -> str:
    return next((value for key, value in table.items() if name.startswith(key)), "")


def test_recorded_stream_means_the_same_in_the_other_dialect(
    stream_recording: Any, judges: Any
) -> None:
    stream, dialect = stream_recording.stream, stream_recording.dialect
    name = stream_recording.folder.name
    decoder, encoder, other = adapters(dialect)
    events = decoded(decoder, [stream])
    assert decoded(adapters(dialect)[0], chunks(stream, name)) == events
    told = b"".join(encoder.feed(event) for event in events)
    check_grammar(other, told, events)
    end, kind = events[-1], known(ERRORS, name)
    if kind:
        assert isinstance(end, Error)
        assert end.error.kind == kind
        assert b"[DONE]" not in told and b"message_stop" not in told
        return
    assert isinstance(end, Finish)
    ours = judges[other](payloads(told))
    theirs = judges["plain" if known(GARBLED, name) else dialect](payloads(stream))
    assert ours.text == theirs.text + theirs.refusal
    assert ours.reasoning == theirs.reasoning
    assert [call(*c) for c in ours.calls] == [call(*c) for c in theirs.calls]
    if theirs.usage is not None:
        prompt, completion = theirs.usage
        cached = end.usage.cache_read + end.usage.cache_write
        assert cached <= prompt
        assert ours.usage == (prompt, completion)


def call(name: str, given: Any) -> tuple[str, Any]:
    """Arguments as far as they came, the way Anthropic's SDK reads them."""
    if isinstance(given, str):
        given = jiter.from_json(given.encode(), partial_mode=True) if given.strip() else {}
    return name, given


def check_grammar(dialect: str, told: bytes, events: list[StreamEvent]) -> None:
    """Raises GrammarError where the events or what is told of them is not legal."""
    checker = EventChecker()
    for event in events:
        checker.feed(event)
    checker.close()
    client = openai_checker(True) if dialect == "openai" else anthropic_checker()
    for frame in Reader().feed(told):
        client.feed(frame)
    client.close()
