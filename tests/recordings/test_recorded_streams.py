"""Every recorded stream means the same in all dialects."""

import json
import random
from collections.abc import Callable
from typing import Any

import jiter
from batches import in_batches
from captures import Recording, answers

from lmbroker.sse import Frame, Reader
from lmbroker.testing.grammar import Checker, EventChecker, anthropic_checker, openai_checker
from lmbroker.testing.grammar_responses import responses_checker
from lmbroker.translation.dialects.anthropic_messages.stream_decode import AnthropicDecoder
from lmbroker.translation.dialects.anthropic_messages.stream_encode import AnthropicEncoder
from lmbroker.translation.dialects.base import Decoder, Encoder, Reply
from lmbroker.translation.dialects.openai_chat.stream_decode import OpenAIDecoder
from lmbroker.translation.dialects.openai_chat.stream_encode import OpenAIEncoder
from lmbroker.translation.dialects.openai_responses.stream_decode import ResponsesDecoder
from lmbroker.translation.dialects.openai_responses.stream_encode import ResponsesEncoder
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


DECODERS: dict[str, Callable[[], Decoder]] = {
    "openai": OpenAIDecoder,
    "anthropic": AnthropicDecoder,
    "responses": ResponsesDecoder,
}
ENCODERS: dict[str, Callable[[Reply], Encoder]] = {
    "openai": OpenAIEncoder,
    "anthropic": AnthropicEncoder,
    "responses": ResponsesEncoder,
}
CHECKERS: dict[str, Callable[[], Checker[Frame]]] = {
    "openai": lambda: openai_checker(True),
    "anthropic": anthropic_checker,
    "responses": responses_checker,
}

ERRORS = {
    "groq.chat.sse.tool-use-failed-error-streaming-with-text.091d4f.00": "invalid_request",
    "groq.chat.sse.tool-use-failed-error-streaming.bc6447.00": "invalid_request",
    "anthropic.messages.sse.spliced-message-start": "bad_upstream",
    "openai.responses.sse.openai-error-1": "billing",
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


# The SDK's stream helper also fails at custom calls.


def known(table: dict[str, str], name: str) -> str:
    return next((value for key, value in table.items() if name.startswith(key)), "")


@in_batches(answers("response.sse"), size=20)
def test_recorded_stream_means_the_same_in_each_other_dialect(
    recording: Recording, judges: Any
) -> None:
    stream, dialect, name = recording.stream, recording.dialect, recording.folder.name
    events = decoded(DECODERS[dialect](), [stream])
    assert decoded(DECODERS[dialect](), chunks(stream, name)) == events
    for client in ENCODERS:
        if client != dialect:  # else it is passed through
            means_the_same(recording, events, client, judges)


def means_the_same(
    recording: Recording, events: list[StreamEvent], client: str, judges: Any
) -> None:
    """What a client of another dialect is told is what the recorded stream told."""
    stream, dialect, name = recording.stream, recording.dialect, recording.folder.name
    encoder = ENCODERS[client](REPLY)
    told = b"".join(encoder.feed(event) for event in events)
    check_grammar(client, told, events)
    end, kind = events[-1], known(ERRORS, name)
    if kind:
        assert isinstance(end, Error)
        assert end.error.kind == kind
        for ended in (b"[DONE]", b"message_stop", b"response.completed"):
            assert ended not in told
        return
    assert isinstance(end, Finish)
    custom = client == "openai" and b'"type":"custom"' in told
    ours = judges["plain" if custom else client](payloads(told))
    theirs = judges["plain" if known(GARBLED, name) else dialect](payloads(stream))
    if theirs.refusal and client != "anthropic":
        assert (ours.text, ours.refusal) == (theirs.text, theirs.refusal)
    else:
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
    client = CHECKERS[dialect]()
    for frame in Reader().feed(told):
        client.feed(frame)
    client.close()
