"""Counts of tokens that are told more than once."""

from streams import (
    A_END,
    a_ending,
    a_start,
    a_stream,
    a_text,
    cuts,
    o_chunk,
    o_stream,
    o_usage,
    run,
    translated,
)
from streams import passed as passed_stream

from lmbroker.translation.dialects.anthropic_messages.ending import decode_usage
from lmbroker.usage import Usage, later


def test_counts_grow_and_the_last_one_wins() -> None:
    assert later(Usage(input=50, output=1), Usage(input=50, output=3)) == Usage(input=50, output=3)
    assert later(None, Usage(output=3)) == Usage(output=3)
    assert later(Usage(output=3), None) == Usage(output=3)


def test_zeros_after_real_counts_tell_nothing() -> None:
    real = Usage(input=5, cache_read=40, cache_write=5, output=3, reasoning=2)
    assert later(real, Usage()) == real
    assert later(real, Usage(output=9, reasoning=2)) == Usage(
        input=5, cache_read=40, cache_write=5, output=9, reasoning=2
    )
    assert later(real, Usage(input=50)) == Usage(input=50, output=3, reasoning=2)


def test_zeros_at_the_end_of_a_stream_tell_nothing() -> None:
    count = o_usage(50, 3)
    zeros = {**o_chunk(), "choices": [], "usage": o_usage(0, 0)}
    stream = o_stream({"content": "a"}, o_chunk(finish="stop", usage=count), zeros)
    for chunks in cuts(stream):
        for transform in (translated("openai", "anthropic"), passed_stream("openai")):
            run(transform, chunks)
            assert transform.usage == Usage(input=50, output=3)
    start = a_start(usage={"input_tokens": 50, "output_tokens": 3})
    zero = {"input_tokens": 0, "output_tokens": 0}
    stream = a_stream(start, *a_text(0, "a"), a_ending(usage=zero), A_END)
    for chunks in cuts(stream):
        for transform in (translated("anthropic", "openai"), passed_stream("anthropic")):
            run(transform, chunks)
            assert transform.usage == Usage(input=50, output=3)


def test_what_anthropic_bills_besides_the_message_is_counted() -> None:
    message = {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000}
    summary = {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500}
    told = {"input_tokens": 23_000, "output_tokens": 1_000, "iterations": [summary, message]}
    assert decode_usage(told, billed=True) == Usage(input=203_000, output=4_500)
    assert decode_usage(told) == Usage(input=23_000, output=1_000)
    advice = {"type": "advisor_message", "cache_read_input_tokens": 7}
    for besides, cached in (([message], 0), (["?", {"type": "compaction"}], 0), ([advice], 7)):
        found = decode_usage({**told, "iterations": besides}, billed=True)
        assert found == Usage(input=23_000, cache_read=cached, output=1_000)
