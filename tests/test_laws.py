"""What holds for every answer and every stream, however it is told and cut.

The strategies are in strategies.py. What a dialect cannot say is written down in sayable.py.
"""

import json
from itertools import permutations
from typing import Any

import msgspec
import pytest
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from responses_streams import stream_told
from sayable import REPLY, calls_of, sayable, stop_of, wrapped
from strategies import answers, cut_bytes, cuts, responses, sequences, spoilt
from streams import check, completion, passed, payloads, read, run, told, translated

from lmbroker import json_text
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Reader
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai_chat.decode_reasoning import from_details
from lmbroker.translation.dialects.openai_responses.response_encode import encode_response
from lmbroker.translation.unified.fold import fold, unfold
from lmbroker.translation.unified.parts import (
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response
from lmbroker.translation.unified.stream import Error, StreamEvent
from lmbroker.usage import Usage
from lmbroker.workflows.contract import Transform

DIALECTS = tuple(ADAPTERS)

laws = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
dialects = st.sampled_from(DIALECTS)
pairs = st.sampled_from(list(permutations(DIALECTS, 2)))
"""Given, not parametrized: pytest-twisted wraps the test of one law once per parameter."""


pytestmark = pytest.mark.pure


# Folding.


@laws
@given(responses)
def test_case_79_fold_is_the_inverse_of_unfold(response: Response) -> None:
    assert fold(unfold(response)) == response


@laws
@given(st.data(), responses)
def test_how_a_stream_is_cut_into_events_changes_nothing(data: Any, response: Response) -> None:
    events = data.draw(sequences(st.just(response)))
    assert fold(events).parts == response.parts
    assert fold(events).stop == response.stop


# Dialects.


def breaks_midway(events: list[StreamEvent]) -> bool:
    """Its arguments turn out to be no object when a part of them was told to an Anthropic
    client."""
    return b"event: error" in told("anthropic", events, REPLY)


def ends_half(events: list[StreamEvent]) -> bool:
    """A call's arguments are half an object although the answer counts as complete: a decoder takes
    that for an error."""
    whole = fold(events)
    complete = stop_of(whole) != "max_tokens"
    return complete and any(isinstance(part, ToolCallPart) and _half(part) for part in whole.parts)


@laws
@given(dialects, sequences(), cuts)
def test_case_79_what_is_told_is_heard(
    dialect: str, events: list[StreamEvent], where: list[int]
) -> None:
    assume(dialect != "anthropic" or not breaks_midway(events))
    assume(dialect == "anthropic" or not ends_half(events))
    ids = [part.id for part in fold(events).parts if isinstance(part, ToolCallPart) and part.id]
    assume(len(set(ids)) == len(ids))  # Decoders see to that.
    stream = told(dialect, events, REPLY)
    heard = fold(read(dialect, cut_bytes(stream, where)))
    assert sayable(dialect, heard) == sayable(dialect, fold(events))


@laws
@given(dialects, sequences(broken=True))
def test_what_is_told_is_legal_and_so_is_what_is_heard(
    dialect: str, events: list[StreamEvent]
) -> None:
    """``told`` and ``read`` ask the checkers."""
    stream = told(dialect, events, REPLY)
    heard = read(dialect, [stream])
    broken = isinstance(events[-1], Error) or (dialect == "anthropic" and breaks_midway(events))
    broken = broken or (dialect != "anthropic" and ends_half(events))
    assert isinstance(heard[-1], Error) == broken


@laws
@given(dialects, sequences(broken=True), st.data())
def test_every_reply_is_legal(dialect: str, events: list[StreamEvent], data: Any) -> None:
    reply = data.draw(
        st.builds(
            Reply,
            model=st.just("alias"),
            stream_usage=st.booleans(),
            legacy_functions=st.booleans(),
            wants_tier=st.booleans(),
            hide_reasoning=st.booleans(),
            custom_tools=st.sampled_from([frozenset(), frozenset({"a", "b"})]),
        )
    )
    told(dialect, events, reply)


def one_way(response: Response) -> Response:
    """Arguments as objects, where they are some: a stream tells text, a whole answer may not."""
    parts = [
        msgspec.structs.replace(part, raw_args=None)
        if isinstance(part, ToolCallPart) and part.args is not None
        else part
        for part in response.parts
    ]
    return msgspec.structs.replace(response, parts=tuple(parts))


def whole(dialect: str, response: Response) -> Response:
    """``response`` told and heard as one JSON body."""
    body = json_text.encode(ADAPTERS[dialect].encode_response(response, REPLY))
    return ADAPTERS[dialect].decode_response(json_text.decode(body))


def streamed(dialect: str, response: Response) -> Response:
    return fold(read(dialect, [told(dialect, unfold(response), REPLY)]))


ORDER: list[Any] = [
    lambda part: isinstance(part, ReasoningPart),
    lambda part: isinstance(part, TextPart) and not part.refusal,
    lambda part: isinstance(part, TextPart),
    lambda part: isinstance(part, ToolCallPart),
]


@laws
@given(
    answers(st.one_of(strategies.said, strategies.refused, strategies.reasoning, strategies.calls))
)
def test_openai_stream_and_whole_answer_say_the_same(response: Response) -> None:
    """A message has one order of its fields; a stream that keeps to it is the same answer. A
    stream that ends inside the arguments of a call is an error, since agents run what is whole."""
    assume(not any(isinstance(part, ToolCallPart) and _half(part) for part in response.parts))
    ordered = [part for fits in ORDER for part in response.parts if _first(part) is fits]
    unsaid = any(isinstance(part, ToolCallPart) for part in ordered)
    stop = response.stop
    if unsaid:  # else the explanation of a refusal stands behind the calls
        stop = msgspec.structs.replace(stop, details=None)
    response = msgspec.structs.replace(response, parts=tuple(ordered), stop=stop)
    assert one_way(streamed("openai", response)) == one_way(whole("openai", response))


def _half(call: ToolCallPart) -> bool:
    raw = (call.raw_args or "").strip()
    if not raw.startswith("{") or json_text.arguments(raw) is not None:
        return False
    try:
        json.JSONDecoder().raw_decode(raw)
    except ValueError:
        return True
    # A whole object, and more behind it.
    return False


def _first(part: Any) -> Any:
    return next(fits for fits in ORDER if fits(part))


@laws
@given(
    answers(
        st.one_of(
            strategies.said,
            strategies.refused,
            strategies.reasoning,
            strategies.opaque,
            strategies.whole_calls,
            strategies.custom_calls,
            st.sampled_from(strategies.BROKEN_ARGS).map(
                lambda raw: strategies.call_of("c", "f", raw)
            ),
        )
    )
)
def test_anthropic_stream_and_whole_answer_say_the_same(response: Response) -> None:
    """Only arguments that were cut differ: a stream has told them, a whole answer wraps them."""
    assert one_way(streamed("anthropic", response)) == one_way(whole("anthropic", response))


@laws
@given(responses)
def test_responses_stream_ends_with_the_whole_answer(response: Response) -> None:
    end = payloads(stream_told(unfold(response), REPLY))[-1]["response"]
    assert end == encode_response(response, REPLY)


@laws
@given(sequences())
def test_case_58_reasoning_comes_back_as_it_was(events: list[StreamEvent]) -> None:
    """What an OpenAI client keeps of a stream holds all reasoning, and where it stood."""
    stream = told("openai", events, REPLY)
    kept = completion(stream).choices[0].message.to_dict()
    back = from_details(kept.get("reasoning_details") or [])  # type: ignore[arg-type]
    chars = calls = 0
    expected = []
    content = ""
    for part in fold(events).parts:
        if isinstance(part, ReasoningPart):
            if part.text or part.signature or part.redacted is not None:
                signature = part.signature
                if signature is None and part.redacted is None:
                    signature = Signature(origin="signable")  # unsigned, from such a server
                elif signature is not None and signature.origin == "text":
                    field = signature.field or "reasoning_content"
                    signature = msgspec.structs.replace(signature, field=field)
                at = (chars, calls) if chars or calls else None
                expected.append(msgspec.structs.replace(part, signature=signature, at=at))
        elif isinstance(part, TextPart) and not part.refusal:
            content += part.text
            chars = len(json_text.joined([content]))
        elif isinstance(part, ToolCallPart):
            calls += 1
    assert [_met(part) for part in back] == expected


def _met(part: ReasoningPart) -> ReasoningPart:
    return msgspec.structs.replace(part, text=json_text.joined([part.text]))


# Both dialects.


def kept(response: Response, counted: bool) -> Any:
    """What must survive every way through both dialects. A prompt that nobody counted is
    estimated on the way."""
    usage = response.usage or Usage()
    prompt = (usage.input, usage.cache_read, usage.cache_write) if counted else ()
    return (
        json_text.joined(p.text for p in response.parts if isinstance(p, TextPart)),
        [
            (id, part.name, {"input": part.raw_args} if part.kind == "custom" else wrapped(part))
            for id, part in calls_of(response)
        ],
        stop_of(response),
        prompt,
        (usage.output, usage.reasoning or 0),
    )


def through(backend: str, client: str, stream: bytes) -> bytes:
    out = run(translated(backend, client, REPLY), [stream])
    check(client, out, REPLY)
    return out


@laws
@given(
    pairs,
    sequences(answers(st.one_of(strategies.said, strategies.reasoning, strategies.whole_calls))),
)
def test_there_and_back_keeps_text_calls_stop_and_usage(
    pair: tuple[str, str], events: list[StreamEvent]
) -> None:
    dialect, other = pair
    stream = told(dialect, events, REPLY)
    heard = fold(read(dialect, [stream]))
    there = through(dialect, other, stream)
    back = through(other, dialect, there)
    refused = (heard.stop.details or {}).get("explanation")
    assume(not refused)  # which is a text of its own to one, and a detail of the end to the other
    usage = heard.usage or Usage()
    counted = bool(usage.input or usage.cache_read or usage.cache_write)
    assert kept(fold(read(other, [there])), counted) == kept(heard, counted)
    assert kept(fold(read(dialect, [back])), counted) == kept(heard, counted)


# Transforms.


def is_over(transform: Transform) -> None:
    """It has its end, gives nothing more, and stays as it is."""
    phase, error = transform.phase, transform.error
    assert phase in ("complete", "failed")
    assert (error is None) == (phase == "complete")
    other = ErrorInfo(kind="timeout", message="late")
    late = (transform.feed(b"data: {}\n\n"), transform.fail(other), transform.close())
    assert (*late, transform.ping()) == (b"",) * 4
    assert (transform.phase, transform.error) == (phase, error)


def terminals(dialect: str, stream: bytes) -> tuple[int, int]:
    """How many whole ends and how many errors."""
    frames = Reader().feed(stream)
    if dialect == "openai":
        ends = sum(frame.data == b"[DONE]" for frame in frames)
        errors = sum((frame.data or b"").startswith(b'{"error"') for frame in frames)
    elif dialect == "responses":
        ends = sum(frame.event in ("response.completed", "response.incomplete") for frame in frames)
        errors = sum(frame.event == "response.failed" for frame in frames)
    else:
        ends = sum(frame.event == "message_stop" for frame in frames)
        errors = sum(frame.event == "error" for frame in frames)
    return ends, errors


def ended_once(client: str, transform: Transform, out: bytes) -> None:
    is_over(transform)
    if transform.phase == "complete":
        assert terminals(client, out) == (1, 0)
    else:
        assert terminals(client, out) == ((0, 1) if out else (0, 0))


@laws
@given(pairs, sequences(broken=True), cuts, st.data())
def test_translated_stream_does_not_depend_on_cuts_and_ends_once(
    pair: tuple[str, str], events: list[StreamEvent], where: list[int], data: Any
) -> None:
    dialect, client = pair
    stream = data.draw(spoilt(told(dialect, events, REPLY)))
    one = translated(dialect, client, REPLY)
    out = run(one, [stream])
    other = translated(dialect, client, REPLY)
    assert run(other, cut_bytes(stream, where)) == out
    for transform in (one, other):
        ended_once(client, transform, out)
    assert (other.phase, other.error, other.usage) == (one.phase, one.error, one.usage)
    if out:
        check(client, out, REPLY)


def counted_by_the_backend(usage: Usage | None) -> Usage | None:
    """``usage``, but for an estimated output: what came of a passed stream is estimated by the
    bytes that were looked at, and how many these are depends on the cuts."""
    if usage is None or not usage.estimated:
        return usage
    return msgspec.structs.replace(usage, output=0)


@laws
@given(dialects, sequences(broken=True), cuts, st.data())
def test_passed_stream_does_not_depend_on_cuts_and_ends_once(
    dialect: str, events: list[StreamEvent], where: list[int], data: Any
) -> None:
    stream = data.draw(spoilt(told(dialect, events, REPLY)))
    one, other = passed(dialect), passed(dialect)
    out = run(one, [stream])
    assert run(other, cut_bytes(stream, where)) == out
    for transform in (one, other):
        is_over(transform)
    assert (other.phase, other.error) == (one.phase, one.error)
    assert counted_by_the_backend(other.usage) == counted_by_the_backend(one.usage)


@laws
@given(dialects, sequences(broken=True), cuts)
def test_passed_stream_is_the_backends_own_bytes(
    dialect: str, events: list[StreamEvent], where: list[int]
) -> None:
    stream = told(dialect, events, REPLY)
    transform = passed(dialect)
    out = run(transform, cut_bytes(stream, where))
    assert out == (stream if begins(dialect, stream) else b"")
    ended_once(dialect, transform, out)


def begins(dialect: str, stream: bytes) -> bool:
    """Whether a stream has a piece of an answer, and is no error in its place. That of Responses
    begins with its first item, or with a whole answer without any."""
    if dialect == "responses":
        signs = (b"response.output_item.added", b"response.completed", b"response.incomplete")
        return any(sign in stream for sign in signs)
    return b"error" not in stream[: stream.index(b"\n\n")]


@laws
@given(dialects, dialects, sequences(broken=True), st.integers(0, 2**16), st.booleans())
def test_stream_that_is_stopped_anywhere_ends_once_and_closes_nothing(
    dialect: str, client: str, events: list[StreamEvent], place: int, close: bool
) -> None:
    stream = told(dialect, events, REPLY)
    stream = stream[: place % (len(stream) + 1)]
    transform: Transform = (
        passed(dialect) if client == dialect else translated(dialect, client, REPLY)
    )
    begun = transform.feed(stream)
    going = transform.phase in ("waiting", "open")
    last = transform.close() if close else transform.fail(LATE)
    ended_once(client, transform, begun + last)
    if begun + last:
        check(client, begun + last, None if client == dialect else REPLY)
    if going and not close:
        assert transform.error is LATE
        assert b"content_block_stop" not in last and b"[DONE]" not in last


LATE = ErrorInfo(kind="timeout", message="the backend fell silent in its answer")
