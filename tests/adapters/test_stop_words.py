"""Why an answer ended, in the words of many vendors."""

from typing import Any

import pytest
from streams import (
    A_END,
    a_ending,
    a_start,
    a_stream,
    a_text,
    check,
    cuts,
    message,
    o_chunk,
    o_stream,
    payloads,
    run,
    translated,
)

from lmbroker.errors import Broken
from lmbroker.translation.dialects.anthropic_messages.ending import decode_stop as anthropic_stop
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai.ending import decode_stop as openai_stop
from lmbroker.translation.shared import stop_words

CUT = [
    "length",
    "MAX_TOKENS",
    "max-output-tokens",
    "time_limit",
    "token_limit",
    "repetition",
    "repetition_truncation",
    "deadline_exceeded",
    "output_length",
    "model_context_window_exceeded",
    "model_length",
    "context_exhausted",
    "sensitive",
    "SAFETY",
    "content_filtered",
    "risk_control_hit",
    "guardrail_intervened",
    "something_new",
    "47",
]
FAILED = [
    "error",
    "network_error",
    "abort",
    "cancelled",
    "insufficient_system_resource",
    "MALFORMED_FUNCTION_CALL",
    "upstream_error",
    "request_aborted",
    "cancelled_by_server",
]
FINISHED = ["stop", "STOP", "eos", "eos_token", "end_turn", "COMPLETE", "natural_stop", "stop_str"]


@pytest.mark.parametrize("word", CUT)
def test_a_cut_answer_is_never_told_as_finished(word: str) -> None:
    for stop in (openai_stop(word, calls=False), anthropic_stop(word, None, None, calls=False)):
        assert stop.reason not in ("end", "stop_sequence", "tool_calls")
    for backend, client in (("openai", "anthropic"), ("anthropic", "openai")):
        if backend == "openai":
            stream = o_stream({"content": "Hel"}, o_chunk(finish=word))
        else:
            stream = a_stream(a_start(), *a_text(0, "Hel"), a_ending(word), A_END)
        for chunks in cuts(stream):
            transform = translated(backend, client)
            out = run(transform, chunks)
            check(client, out)
            assert transform.phase == "complete"
            if client == "anthropic":
                assert message(out).stop_reason not in ("end_turn", "stop_sequence", "tool_use")
            else:
                reasons = [
                    choice["finish_reason"] for body in payloads(out) for choice in body["choices"]
                ]
                assert reasons[-1] in ("length", "content_filter")


@pytest.mark.parametrize("word", FAILED)
@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_broken_answer_is_an_error(word: str, backend: str) -> None:
    client = "anthropic" if backend == "openai" else "openai"
    if backend == "openai":
        stream = o_stream({"content": "Hel"}, o_chunk(finish=word))
        whole: Any = {"choices": [{"finish_reason": word, "message": {"content": "Hel"}}]}
    else:
        stream = a_stream(a_start(), *a_text(0, "Hel"), a_ending(word), A_END)
        whole = {"content": [{"type": "text", "text": "Hel"}], "stop_reason": word}
    for chunks in cuts(stream):
        transform = translated(backend, client)
        check(client, run(transform, chunks))
        assert transform.phase == "failed"
    with pytest.raises(Broken):
        ADAPTERS[backend].decode_response(whole)


@pytest.mark.parametrize("word", FINISHED)
def test_many_words_mean_that_an_answer_is_whole(word: str) -> None:
    assert openai_stop(word, calls=False).reason == "end"
    assert openai_stop(word, calls=True).reason == "tool_calls"
    assert anthropic_stop(word, None, None, calls=True).reason == "tool_calls"


def test_no_word_is_no_end() -> None:
    for word in ("", "null", "None", "not_finished", None, 7):
        assert stop_words.word_of(word) == ""
    stream = o_stream(o_chunk({"content": "Hel"}, finish="null"), done=False)
    transform = translated("openai", "anthropic")
    run(transform, [stream])
    assert transform.phase == "failed"


def test_a_word_that_says_nothing_is_reported() -> None:
    for backend, whole in (
        ("openai", {"choices": [{"finish_reason": "zorp", "message": {"content": "Hi"}}]}),
        ("anthropic", {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "zorp"}),
    ):
        reading = Reading()
        assert ADAPTERS[backend].decode_response(whole, reading).stop.reason == "other"
        path = "choices[].finish_reason" if backend == "openai" else "stop_reason"
        assert reading.losses.changed == (path,)
        known = {**whole, "stop_reason": "end_turn", "choices": []}
        if backend == "openai":
            known = {"choices": [{"finish_reason": "stop", "message": {"content": "Hi"}}]}
        reading = Reading()
        ADAPTERS[backend].decode_response(known, reading)
        assert reading.losses.changed == ()


def test_a_refusal_that_was_cut_is_cut() -> None:
    assert openai_stop("length", calls=False, refusal="I can").reason == "max_tokens"
    assert openai_stop("stop", calls=False, refusal="I cannot.").reason == "refusal"


def test_a_long_word_is_no_work() -> None:
    assert stop_words.meaning("x" * 1_000_000) == "other"
