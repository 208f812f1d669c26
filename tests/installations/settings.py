"""The configurations with which installations are compared, and which samples each of them gets."""

from collections.abc import Iterator
from itertools import islice

from installations.calls import (
    answer_samples,
    captured_samples,
    error_samples,
    mistaken_requests,
    recorded_samples,
    refusal_samples,
    request_samples,
    stream_samples,
)
from installations.oddities import (
    alias_samples,
    body_samples,
    http_samples,
    keyed_samples,
    operation_samples,
    page_samples,
    slow_samples,
)
from installations.request_fields import field_samples
from installations.samples import DIALECTS, Sample, Setting, stream_mistakes
from installations.tables import MODELS, PROFILE, main_tables, toml


def settings() -> list[Setting]:
    """All, the one with most samples first."""
    keys = [
        {"name": "first", "key": "first-key"},
        {"name": "second", "key": "second-key", "models": ["open*"]},
    ]
    small = {"body": 4000, "max_tokens": 100, "n": 1, "messages": 5, "tools": 3}
    small |= {"top_level_keys": 20, "json_values": 400}
    keyed = main_tables(cors_origins=["https://app.example"])
    keyed |= {"keys": keys, "limits": small}
    slow = main_tables()
    slow["timeouts"] = {"headers": 0.4, "first_event": 0.4, "idle": 0.4, "after_stop": 0.2}
    stock = main_tables(engine="stock")
    return [
        Setting("lean", toml(main_tables()), all_samples),
        Setting("stock", toml(stock), few_samples),
        Setting("workers", toml(main_tables(workers=2)), workers_samples, one_process=False),
        Setting("keys and limits", toml(keyed), keyed_samples),
        Setting("slow backends", toml(slow), slow_samples),
    ]


def all_samples() -> Iterator[Sample]:
    aliases = {
        each: [
            each,
            *(f"{each}:{name}" for name in MODELS[each]),
            *(f"{each}+{name}" for name in PROFILE),
        ]
        for each in DIALECTS
    }
    yield from few_samples()
    yield from body_samples()
    yield from alias_samples()
    yield from field_samples()
    yield from operation_samples()
    yield from request_samples(aliases)
    yield from mistaken_requests()
    yield from answer_samples()
    yield from stream_samples(stream_mistakes)
    yield from recorded_samples()
    yield from captured_samples()
    yield from refusal_samples()
    yield from error_samples()
    yield from page_samples()


def few_samples() -> Iterator[Sample]:
    """What each way to run the broker is asked."""
    yield from http_samples()
    yield from stream_samples()
    yield from request_samples({each: [each] for each in DIALECTS})
    yield from islice(error_samples(), 400)


def workers_samples() -> Iterator[Sample]:
    """What hangs on nothing that one worker has learned and another one has not."""
    yield from stream_samples()
    yield from request_samples({each: [each] for each in DIALECTS})
