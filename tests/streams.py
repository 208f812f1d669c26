"""Streams for tests: made from few words, cut, decoded, told, and put together again by the
vendors' own SDKs."""

import json
import random
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk, ParsedChatCompletion

from lmbroker import json_text
from lmbroker.errors import Broken
from lmbroker.sse import DONE, Frame, Reader
from lmbroker.testing.grammar import Checker, EventChecker, anthropic_checker, openai_checker
from lmbroker.testing.grammar_responses import responses_checker
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.unified.parts import (
    Citation,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.stream import Error, PartDelta, PartStart, PartStop, StreamEvent
from lmbroker.workflows.contract import Transform
from lmbroker.workflows.transforms import PassedStream, TranslatedStream

JSON = dict[str, Any]
REPLY = Reply(model="alias", created=1795000000, request_id="req_1")


# Streams of backends.


def o_chunk(delta: JSON | None = None, finish: str | None = None, **more: Any) -> JSON:
    """An OpenAI chunk with one choice; ``more`` goes to the top level."""
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1790000000}
    return {**head, "model": "gpt", "choices": [choice], **more}


def o_call(
    args: Any = "", *, index: int | None = 0, id: str | None = None, name: str | None = None
) -> JSON:
    """The delta of one fragment of a call; None leaves a key out."""
    function = _given(name=name, arguments=args)
    return {"tool_calls": [_given(index=index, id=id, type="function", function=function)]}


def _given(**fields: Any) -> JSON:
    return {key: value for key, value in fields.items() if value is not None}


def o_usage(prompt: int = 9, completion: int = 4, **more: Any) -> JSON:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {**counts, "total_tokens": prompt + completion, **more}


def o_stream(*items: JSON | str, done: bool = True) -> bytes:
    """Items: chunks; deltas, which become chunks; lines as they are."""
    out = []
    for item in items:
        if isinstance(item, str):
            out.append(f"{item}\n\n")
            continue
        whole = item if "choices" in item or "error" in item else o_chunk(item)
        out.append(f"data: {json.dumps(whole)}\n\n")
    return "".join(out).encode() + (b"data: [DONE]\n\n" if done else b"")


def a_start(**message: Any) -> JSON:
    usage = {"input_tokens": 9, "output_tokens": 1}
    head = {"id": "msg_7", "type": "message", "role": "assistant", "model": "claude"}
    ends = {"stop_reason": None, "stop_sequence": None}
    whole = {**head, "content": [], **ends, "usage": usage, **message}
    return {"type": "message_start", "message": whole}


def a_open(index: int, kind: str, **block: Any) -> JSON:
    whole = {"type": kind, **block}
    return {"type": "content_block_start", "index": index, "content_block": whole}


def a_delta(index: int, kind: str, **delta: Any) -> JSON:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **delta}}


def a_stop(index: int) -> JSON:
    return {"type": "content_block_stop", "index": index}


def a_text(index: int, *texts: str) -> list[JSON]:
    """A text block."""
    deltas = [a_delta(index, "text_delta", text=text) for text in texts]
    return [a_open(index, "text", text=""), *deltas, a_stop(index)]


def a_call(index: int, id: str, name: str, *args: str) -> list[JSON]:
    """A tool_use block."""
    deltas = [a_delta(index, "input_json_delta", partial_json=text) for text in args]
    return [a_open(index, "tool_use", id=id, name=name, input={}), *deltas, a_stop(index)]


def a_thought(index: int, text: str, signature: str = "") -> list[JSON]:
    """A thinking block."""
    events = [a_open(index, "thinking", thinking="", signature="")]
    if text:
        events.append(a_delta(index, "thinking_delta", thinking=text))
    if signature:
        events.append(a_delta(index, "signature_delta", signature=signature))
    return [*events, a_stop(index)]


def a_ending(reason: str | None = "end_turn", usage: JSON | None = None, **delta: Any) -> JSON:
    told = {"stop_reason": reason, "stop_sequence": None, **delta}
    return {"type": "message_delta", "delta": told, "usage": usage or {"output_tokens": 4}}


A_END: JSON = {"type": "message_stop"}


def a_stream(*items: JSON | str) -> bytes:
    """Items: events; lines as they are."""
    out = []
    for item in items:
        if isinstance(item, str):
            out.append(f"{item}\n\n")
        else:
            out.append(f"event: {item['type']}\ndata: {json.dumps(item)}\n\n")
    return "".join(out).encode()


# Events.


def events(*parts: list[Any]) -> list[StreamEvent]:
    """The parts of an answer, each given as its skeleton and its deltas: a str is text, reasoning
    or arguments by the kind of the part, other values are what they are."""
    found: list[StreamEvent] = []
    for index, (skeleton, *values) in enumerate(parts):
        found.append(PartStart(index, skeleton))
        for value in values:
            kind: Any = _KINDS.get(type(value)) or _KINDS[type(skeleton)]
            found.append(PartDelta(index, kind, value))
        found.append(PartStop(index))
    return found


_KINDS: dict[type, str] = {
    TextPart: "text",
    ReasoningPart: "reasoning",
    ToolCallPart: "args",
    Signature: "signature",
    Citation: "citation",
}


# What our adapters make of them.


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def cuts(data: bytes) -> list[list[bytes]]:
    """``data`` whole, in pieces of 7, byte by byte, and cut at random places."""
    ways = [[data], pieces(data, 7)]
    if len(data) < 20_000:
        ways.append(pieces(data, 1))
    for seed in range(3):
        chance, at, some = random.Random(seed), 0, []
        while at < len(data):
            size = chance.randint(1, 200)
            some.append(data[at : at + size])
            at += size
        ways.append(some)
    return ways


def read(dialect: str, chunks: Iterable[bytes]) -> list[StreamEvent]:
    """The events of a stream that ends where ``chunks`` do; they are legal."""
    reader, decoder, checker = Reader(), ADAPTERS[dialect].decoder(), EventChecker()
    found: list[StreamEvent] = []
    for chunk in chunks:
        for frame in reader.feed(chunk):
            found += decoder.feed(frame)
    for frame in reader.close():
        found += decoder.feed(frame)
    found += decoder.close()
    for event in found:
        checker.feed(event)
    checker.close()
    return found


def decoded(dialect: str, stream: bytes) -> list[StreamEvent]:
    """The events of a stream, the same however it is cut."""
    found, *others = [read(dialect, chunks) for chunks in cuts(stream)]
    for other in others:
        assert other == found
    return found


def told(dialect: str, given: Iterable[StreamEvent], reply: Reply = REPLY) -> bytes:
    """The stream that a client gets; it is legal. What cannot be told ends it, as it does in a
    transform."""
    encoder, out = ADAPTERS[dialect].encoder(reply), []
    for event in given:
        try:
            out.append(encoder.feed(event))
        except Broken as broken:
            out.append(encoder.feed(Error(broken.info)))
            break
    stream = b"".join(out)
    check(dialect, stream, reply)
    return stream


def check(dialect: str, stream: bytes, reply: Reply | None = REPLY) -> None:
    """Raises GrammarError where ``stream`` is none that a client with this ``reply`` may get."""
    asked = None if reply is None else reply.stream_usage
    checkers: dict[str, Callable[[], Checker[Frame]]] = {
        "openai": lambda: openai_checker(asked),
        "anthropic": anthropic_checker,
        "responses": responses_checker,
    }
    checker = checkers[dialect]()
    for frame in Reader().feed(stream):
        checker.feed(frame)
    checker.close()


def payloads(stream: bytes) -> list[Any]:
    """The data of the events, decoded; comments and ``[DONE]`` left out."""
    return [
        json_text.decode(frame.data)
        for frame in Reader().feed(stream)
        if frame.data is not None and frame.data != DONE
    ]


def deltas(stream: bytes) -> list[JSON]:
    """The deltas of an OpenAI stream that say something, after the first."""
    found = [body["choices"][0]["delta"] for body in payloads(stream) if body["choices"]]
    assert found[0] == {"role": "assistant", "content": ""}
    return [delta for delta in found[1:] if delta]


# The judges.


def completion(stream: bytes) -> ParsedChatCompletion[None]:
    """What OpenAI's SDK makes of a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for body in payloads(stream):
        chunk: Any = construct_type(type_=ChatCompletionChunk, value=body)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state.handle_chunk(chunk)
    snapshot: Any = state.current_completion_snapshot
    assert isinstance(snapshot, ParsedChatCompletion)
    return snapshot


def message(stream: bytes) -> Message:
    """What Anthropic's SDK makes of a stream."""
    snapshot: Any = None
    buffers: Any = {}
    for body in payloads(stream):
        if body["type"] != "ping":
            snapshot = accumulate_event(event=body, current_snapshot=snapshot, json_bufs=buffers)
    assert isinstance(snapshot, Message)
    return snapshot


# Transforms.


def translated(backend: str, client: str, reply: Reply = REPLY) -> TranslatedStream:
    """A fresh transform; a request is estimated at 7 tokens."""
    adapter = ADAPTERS[client]
    return TranslatedStream(ADAPTERS[backend].decoder(), adapter.encoder(reply), adapter, lambda: 7)


def passed(dialect: str, choices: int = 1) -> PassedStream:
    adapter = ADAPTERS[dialect]
    return PassedStream(adapter.tap(choices), adapter, "req_1")


def run(transform: Transform, chunks: Iterable[bytes]) -> bytes:
    """All that ``transform`` gives, from the first chunk to the end of the body."""
    out = [transform.feed(chunk) for chunk in chunks]
    return b"".join([*out, transform.close()])
