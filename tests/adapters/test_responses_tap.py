"""What is learned of a Responses stream that is passed through."""

import json
from typing import Any

import pytest
from streams import JSON, cuts

from lmbroker import bounds
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Boundary, Reader, last_words
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai_responses import tap as tap_module
from lmbroker.translation.dialects.openai_responses.stream_decode import ResponsesDecoder
from lmbroker.translation.dialects.openai_responses.tap import ResponsesTap
from lmbroker.translation.unified.fold import TRUNCATED
from lmbroker.translation.unified.stream import Error, Finish
from lmbroker.usage import Usage
from lmbroker.workflows.transforms import PassedStream

HEAD: JSON = {"id": "resp_7", "object": "response", "status": "in_progress", "output": []}
USED = {"input_tokens": 9, "output_tokens": 4}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
FAILED: JSON = {
    "type": "response.failed",
    "response": {**HEAD, "status": "failed", "error": {"code": "slow_down", "message": "No."}},
}


def event(kind: str, **fields: Any) -> JSON:
    return {"type": f"response.{kind}", **fields}


def end(kind: str = "completed", **fields: Any) -> JSON:
    return event(kind, response={**HEAD, "status": kind, "usage": USED, **fields})


CREATED = event("created", response=HEAD)
BEGUN = [CREATED, event("in_progress", response=HEAD), event("queued", response=HEAD)]
ITEM = event("output_item.added", output_index=0, item={"type": "message"})
TEXTS = [event("output_text.delta", output_index=0, delta='Hello \n "error"') for _ in range(9)]


def stream(*items: JSON | str, names: bool = True, line: str = "\n") -> bytes:
    out = []
    for item in items:
        if isinstance(item, str):
            out.append(f"{item}\n\n")
        else:
            name = f"event: {item.get('type')}\n" if names else ""
            out.append(f"{name}data: {json.dumps(item)}\n\n")
    return "".join(out).replace("\n", line).encode()


def seen(data: bytes, chunks: list[bytes]) -> tuple[ResponsesTap, int]:
    """The tap after ``chunks``, and how many bytes belong to the stream."""
    tap, boundary, took = ResponsesTap(), Boundary(), 0
    for chunk in chunks:
        block = boundary.feed(chunk)
        if block:
            here = tap.see(block)
            took += here
            if here < len(block):
                return tap, took
    rest = last_words(boundary.tail)
    return tap, took + (tap.see(rest) if rest else 0)


def learned(data: bytes) -> ResponsesTap:
    """What is learned however the stream is cut."""
    (first, took), *others = [seen(data, chunks) for chunks in cuts(data)]
    for tap, size in others:
        for name in ("started", "stopped", "complete", "error", "stop", "usage"):
            assert getattr(tap, name) == getattr(first, name)
        assert size == took
    return first


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("last", "stop"),
    [
        (end(), "end"),
        (end(output=[CALL]), "tool_calls"),
        (end("incomplete", incomplete_details={"reason": "max_output_tokens"}), "max_tokens"),
        (end("incomplete", incomplete_details={"reason": "content_filter"}), "refusal"),
        (event("completed", response={"usage": USED}), "end"),
    ],
)
def test_usage_and_stop_reason_of_a_whole_stream(
    last: JSON, stop: str, names: bool, line: str
) -> None:
    tap = learned(stream(*BEGUN, ITEM, *TEXTS, last, names=names, line=line))
    assert (tap.started, tap.stopped, tap.complete, tap.error) == (True, True, True, None)
    assert (tap.stop, tap.usage) == (stop, Usage(input=9, output=4))


def test_an_answer_starts_with_its_first_item() -> None:
    assert not learned(stream(*BEGUN, ": ping", {"type": "keepalive"})).started
    for item in (ITEM, TEXTS[0]):
        assert learned(stream(*BEGUN, item)).started


def test_a_stream_that_ends_early_is_truncated() -> None:
    for items in (BEGUN, [*BEGUN, ITEM, *TEXTS]):
        tap = learned(stream(*items))
        assert not (tap.complete or tap.stopped)
        assert tap.close() == TRUNCATED


@pytest.mark.parametrize(
    ("last", "heard"),
    [
        (FAILED, True),
        ({"type": "error", "code": "slow_down", "message": "No."}, False),
        ({"type": "error", "error": {"code": "slow_down", "message": "No."}}, False),
        ('data: {"error":{"code":"slow_down","message":"No."}}', False),
    ],
)
@pytest.mark.parametrize("before", [BEGUN, [*BEGUN, ITEM, *TEXTS]])
def test_errors_are_seen(last: JSON | str, heard: bool, before: list[JSON]) -> None:
    tap = learned(stream(*before, last))
    error = tap.error or tap.close()
    assert isinstance(error, ErrorInfo)
    assert (error.kind, error.message) == ("rate_limit", "No.")
    assert tap.started == (len(before) > len(BEGUN))
    assert tap.waits == (tap.error is None)
    assert tap.recognised == heard


TOLD: JSON = {"type": "error", "code": "slow_down", "message": "No."}


def through(chunks: list[bytes]) -> tuple[bytes, PassedStream]:
    """What a client gets of a passed stream."""
    transform = PassedStream(ResponsesTap(), ADAPTERS["responses"], "req_1")
    return b"".join([*(transform.feed(chunk) for chunk in chunks), transform.close()]), transform


def test_an_error_that_is_repeated_as_the_end_of_the_answer_is_one_error() -> None:
    """Codex hears the second only, other clients the first."""
    data = stream(*BEGUN, ITEM, TOLD, FAILED)
    for chunks in cuts(data):
        out, transform = through(chunks)
        assert out == data
        assert transform.error is not None
        assert transform.error.message == "No."


@pytest.mark.parametrize("more", [[], [": ping"], [TEXTS[0]], [end()]])
def test_an_error_that_is_not_repeated_is_repeated_for_the_client(more: list[JSON | str]) -> None:
    data = stream(*BEGUN, ITEM, TOLD, *more)
    for chunks in cuts(data):
        out, transform = through(chunks)
        before = stream(*BEGUN, ITEM, TOLD)
        assert out.startswith(before)
        kinds = [frame.event for frame in Reader().feed(out[len(before) :])]
        assert kinds == ["response.failed"]
        assert transform.error is not None
        assert (transform.phase, transform.error.message) == ("failed", "No.")


def test_a_backend_that_goes_silent_after_its_error_is_not_waited_for() -> None:
    transform = PassedStream(ResponsesTap(), ADAPTERS["responses"], "req_1")
    transform.feed(stream(*BEGUN, ITEM, TOLD))
    assert transform.phase == "stopped"


def test_what_stands_behind_the_end_is_no_part_of_the_stream() -> None:
    data = stream(*BEGUN, ITEM, end())
    for more in (": ping", TEXTS[0], end(), "data: [DONE]"):
        tap, took = seen(data, [data + stream(more)])
        assert took == len(data)
        assert tap.complete


def test_done_ends_a_stream() -> None:
    assert learned(stream(*BEGUN, ITEM, *TEXTS, "data: [DONE]")).complete


def test_about_how_much_text_was_told() -> None:
    tap = learned(stream(*BEGUN, ITEM, *TEXTS))
    text = len(json.dumps(TEXTS[0]["delta"])) - 2
    assert abs(tap.text_bytes - len(TEXTS) * text) <= text + len(TEXTS)
    assert learned(stream(*BEGUN)).text_bytes == 0


def test_the_next_number_follows_the_last_one_however_the_stream_is_cut() -> None:
    texts = [{**each, "sequence_number": number} for number, each in enumerate(TEXTS)]
    data = stream(*BEGUN, ITEM, *texts, ": ping", TEXTS[0], ": ping")
    for chunks in cuts(data):
        assert seen(data, chunks)[0].next_number() == len(texts)
    late = {**TEXTS[0], "sequence_number": 77}
    tap, _ = seen(data, [stream(*BEGUN, *texts, end(), late)])
    assert tap.next_number() == len(texts)
    assert ResponsesTap().next_number() == 0


def test_nothing_of_a_stream_only_counts_tokens() -> None:
    data = stream(*BEGUN, end())
    assert ResponsesTap().without_usage(data) == data


@pytest.mark.parametrize(
    "items",
    [
        [*BEGUN, ITEM, *TEXTS, end()],
        [*BEGUN, FAILED],
        [*BEGUN, ITEM, {"type": "error", "message": "No."}],
        [*BEGUN, ITEM, *TEXTS],
        [*BEGUN, end("incomplete")],
        [*BEGUN, ITEM, "data: {"],
        [*BEGUN, ITEM, 'data: {"detail":"No."}'],
    ],
)
def test_tap_and_decoder_agree(items: list[JSON | str]) -> None:
    data = stream(*items)
    reader, decoder = Reader(), ResponsesDecoder()
    frames = [*reader.feed(data), *reader.close()]
    last = [*(each for frame in frames for each in decoder.feed(frame)), *decoder.close()][-1]
    tap = learned(data)
    assert tap.complete == isinstance(last, Finish)
    if isinstance(last, Error) and last.error.kind != "bad_upstream":
        assert (tap.error or tap.close()) == last.error
    if isinstance(last, Finish):
        assert (tap.stop, tap.usage) == (last.stop.reason, last.usage)


LONG = "a, " * 200_000
LARGE_ITEM = {"type": "message", "content": [{"type": "output_text", "text": LONG}]}


def test_large_events_are_known_at_the_beginning_and_at_the_end_of_an_answer() -> None:
    """A request's instructions stand in the first events, and the whole answer in the last."""
    tap = ResponsesTap()
    events = [
        event("created", response={**HEAD, "instructions": LONG}, sequence_number=0),
        ITEM,
        event("output_text.delta", output_index=0, delta=LONG),
        event("output_text.delta", output_index=0, delta=LONG),
        {**end(output=[LARGE_ITEM]), "sequence_number": 8},
    ]
    for each in events:
        block = stream(each)
        assert tap.see(block) == len(block)
    assert (tap.id, tap.stop, tap.complete, tap.error) == ("resp_7", "end", True, None)
    assert tap.usage == Usage(input=9, output=4)
    assert tap.next_number() == 9
    assert abs(tap.text_bytes - 2 * len(LONG)) < 400


def test_a_large_error_keeps_its_words() -> None:
    tap = ResponsesTap()
    words = "no more memory for the cache of this long conversation: " + LONG
    failed = {**HEAD, "status": "failed", "error": {"code": "server_error", "message": words}}
    tap.see(stream(CREATED, event("failed", response=failed)))
    assert tap.error is not None
    assert tap.error.message.startswith("no more memory")


@pytest.mark.parametrize(
    "items",
    [
        [*BEGUN, ITEM, *TEXTS, end()],
        [
            *BEGUN,
            ITEM,
            *TEXTS,
            end("incomplete", incomplete_details={"reason": "max_output_tokens"}),
        ],
        [*BEGUN, ITEM, *TEXTS, FAILED],
        [*BEGUN, ITEM, {"message": "Out of memory, which happens.", "number": 123456}],
    ],
)
def test_the_look_at_large_events_learns_what_that_at_small_ones_does(
    items: list[JSON | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(tap: ResponsesTap) -> Any:
        return (tap.started, tap.complete, tap.error, tap.recognised, tap.usage, tap.stop, tap.id)

    data = stream(*items)
    small = told(learned(data))
    monkeypatch.setattr(tap_module, "LARGE_EVENT", 60)
    monkeypatch.setattr(bounds, "LONG_TEXT", 40)
    assert told(learned(data)) == small
