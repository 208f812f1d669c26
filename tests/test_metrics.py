"""What the metrics say of calls, targets and the daemon, and that nobody can make up labels."""

import json
import random
import re
from types import SimpleNamespace

import msgspec
import openai.types.chat.completion_create_params as chat_params
import openai.types.responses.response_create_params as responses_params
import pytest
from anthropic.types import message_create_params as messages_params
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from site_in_memory import Connection, post
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from lmbroker.backends.concurrency_limit import Full
from lmbroker.broker.broker import Broker
from lmbroker.call import CHUNK_BOUNDS, Attempt, Backend, Call, End, Record, Target, Turn
from lmbroker.config.config import parse
from lmbroker.errors import Broken, BrokerError, ErrorInfo, Unreachable
from lmbroker.observers.call_groups import MOST, SECONDS
from lmbroker.observers.daemon_metrics import DaemonMetrics
from lmbroker.observers.exposition import exposition
from lmbroker.observers.field_names import FIELDS, OTHER, field_of, parameter_of
from lmbroker.observers.gen_ai_metrics import provider_of
from lmbroker.observers.histograms import observe_all
from lmbroker.observers.metrics import Metrics, Refusals
from lmbroker.observers.overhead_metrics import PHASES, phases_of
from lmbroker.routing.breaker import BreakerRules
from lmbroker.routing.target_health import Health
from lmbroker.server.http import Limits, Site
from lmbroker.server.routes import Front
from lmbroker.usage import PICO, Usage

BACKEND = Backend(name="b", url="https://api.groq.com/openai", dialect="openai")
TARGET = Target(backend=BACKEND, model="m")


def attempt(**more):
    fields = {"target": TARGET, "workflow": "translation", "started": 1.0, **more}
    return Attempt(**fields)


def ended(*, stream=False, outcome="complete", code="", attempts=None, **more):
    """The record of a call that took from 0.9 to 3."""
    fields = {
        "id": "r",
        "operation": "chat",
        "dialect": "anthropic",
        "opened_at": 0.9,
        "alias": "a",
        "caller": "alice",
        "stream": stream,
        "attempts": [attempt(ended=2.0, status=200)] if attempts is None else attempts,
        "end": End(outcome=outcome, status=200, code=code),
        "first_event_at": 1.5,
        "closed_at": 3.0,
        **more,
    }
    return Record(**fields)


def told(*records):
    """What metrics say of ended calls: name and labels -> value."""
    registry = CollectorRegistry()
    Metrics(registry).ended((), records)
    return series(registry)


def series(registry):
    families = text_string_to_metric_families(exposition(registry)[0].decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(found, name, **labels):
    """The sum of all series of this name that have these labels."""
    return sum(
        each
        for (named, *pairs), each in found.items()
        if named == name and labels.items() <= dict(pairs).items()
    )


def labels_of(found, name):
    """The labels of the only series of this name."""
    [labels] = [dict(pairs) for named, *pairs in found if named == name]
    return labels


# Who used what.


def test_usage_is_by_caller_alias_target_and_kind():
    usage = Usage(
        input=1,
        cache_read=20,
        cache_write=300,
        cache_write_by_ttl={"1h": 100, "5m": 200},
        output=4000,
        reasoning=50000,
    )
    found = told(
        ended(usage=usage, cost=PICO // 4, stream=True),
        ended(usage=usage, cost=PICO // 4, stream=True),
        ended(usage=Usage(input=7, estimated=True), outcome="client_left"),
    )
    who = {"caller": "alice", "alias": "a", "backend": "b", "model": "m"}
    kinds = {
        kind: value(found, "lmbroker_usage_tokens_total", **who, kind=kind, estimated="false")
        for kind in ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")
    }
    assert list(kinds.values()) == [2, 40, 400, 200, 8000, 100000]
    assert value(found, "lmbroker_usage_tokens_total", kind="input", estimated="true") == 7
    calls = "lmbroker_usage_calls_total"
    assert value(found, calls, **who, stream="true", outcome="complete") == 2
    assert value(found, calls, **who, stream="false", outcome="client_left") == 1
    assert value(found, "lmbroker_usage_cost_usd_total", **who) == 0.5


def test_the_part_of_a_prompt_that_a_cache_held_is_told_by_target():
    found = told(
        ended(usage=Usage(input=30, cache_read=60, cache_write=10, output=5)),
        ended(usage=Usage(input=30)),
        ended(usage=Usage(input=1, cache_read=9, estimated=True)),
        ended(usage=Usage(output=1)),
    )
    name, target = "lmbroker_prompt_cached_ratio", {"backend": "b", "model": "m"}
    assert value(found, f"{name}_count", **target) == 2
    assert value(found, f"{name}_sum", **target) == pytest.approx(0.6)
    assert value(found, f"{name}_bucket", **target, le="0.0") == 1


def test_a_call_that_came_to_no_backend_is_counted_as_such():
    found = told(ended(attempts=[], alias="", outcome="refused"))
    labels = labels_of(found, "lmbroker_usage_calls_total")
    assert (labels["alias"], labels["backend"], labels["model"]) == ("other", "none", "none")
    assert value(found, "gen_ai_client_inference_duration_seconds_count") == 0


def test_what_was_lost_is_counted_by_the_names_of_known_fields():
    lossy = ended(
        dropped=("messages[].content[].cache_control", "tools[].cache_control", "x-secret"),
        changed=("reasoning_effort",),
    )
    found = told(lossy, lossy)
    losses = {
        (labels["loss"], labels["field"]): each
        for (name, *pairs), each in found.items()
        if name == "lmbroker_losses_total" and (labels := dict(pairs))
    }
    assert losses == {
        ("dropped", "cache_control"): 2,
        ("dropped", OTHER): 2,
        ("changed", "reasoning_effort"): 2,
    }


@pytest.mark.parametrize(
    "params",
    [
        chat_params.CompletionCreateParamsBase,
        responses_params.ResponseCreateParamsBase,
        messages_params.MessageCreateParamsBase,
    ],
)
def test_all_fields_of_the_sdks_requests_are_known(params):
    assert set(params.__annotations__) - FIELDS == set()


def test_a_name_that_nobody_knows_is_other():
    assert field_of("tools[].function.strict") == "strict"
    assert field_of("messages[]") == "messages"
    assert field_of("answer.choices[].sk-abc") == OTHER
    assert parameter_of("temperature") == "temperature"
    assert parameter_of("tools[].strict") == "tools[].strict"
    assert parameter_of("my_own.strict") == parameter_of("a[].b.c") == OTHER


# OpenTelemetry's names.


def test_the_operation_of_opentelemetry_is_an_attempt():
    failed = attempt(ended=1.2, error="timeout_connect")
    record = ended(
        attempts=[failed, attempt(started=1.4, ended=2.0)],
        usage=Usage(input=3, cache_read=2, cache_write=1, output=40, reasoning=30),
        stream=True,
        chunk_gaps=(2, 0, 1, *[0] * 12),
        chunk_seconds=0.05,
    )
    found = told(record)
    name = "gen_ai_client_inference_duration_seconds"
    assert value(found, f"{name}_sum", error_type="") == pytest.approx(1.6)
    assert value(found, f"{name}_sum", error_type="timeout_connect") == pytest.approx(0.2)
    labels = labels_of(found, "gen_ai_client_inference_usage_input_tokens_total")
    assert labels == {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "groq",
        "gen_ai_request_model": "m",
        "gen_ai_token_modality": "unknown",
        "server_address": "api.groq.com",
        "server_port": "443",
    }
    tokens = {
        kind: value(found, f"gen_ai_client_inference_usage_{kind}_tokens_total")
        for kind in ("input", "output", "cache_read_input", "cache_write_input", "reasoning_output")
    }
    assert list(tokens.values()) == [6, 40, 2, 1, 30]
    name = "gen_ai_client_inference_time_to_first_chunk_seconds"
    assert value(found, f"{name}_sum") == pytest.approx(0.1)
    name = "gen_ai_client_inference_time_per_output_chunk_seconds"
    counts = [value(found, f"{name}_bucket", le=str(bound)) for bound in CHUNK_BOUNDS[:4]]
    assert (counts, value(found, f"{name}_count")) == ([2, 2, 3, 3], 3)
    assert value(found, f"{name}_sum") == pytest.approx(0.05)
    name = "gen_ai_client_inference_operation_input_tokens"
    assert value(found, f"{name}_bucket", le="4.0", error_type="timeout_connect") == 1
    assert value(found, f"{name}_bucket", le="4.0", error_type="") == 0
    assert value(found, f"{name}_bucket", le="16.0", error_type="") == 1


@pytest.mark.parametrize(
    ("operation", "name"),
    [("chat", "chat"), ("completions", "text_completion"), ("compact", "compact")],
)
def test_the_name_of_an_operation(operation, name):
    found = told(ended(operation=operation, outcome="stream_error", code="timeout_idle"))
    [labels] = [dict(key[1:]) for key in found if key[0].endswith("inference_duration_seconds_sum")]
    assert (labels["gen_ai_operation_name"], labels["error_type"]) == (name, "timeout_idle")


def test_embeddings_have_their_own_and_other_operations_none():
    found = told(ended(operation="embeddings", usage=Usage(input=5)), ended(operation="models"))
    assert value(found, "gen_ai_client_embeddings_duration_seconds_count") == 1
    assert value(found, "gen_ai_client_embeddings_operation_input_tokens_sum") == 5
    assert value(found, "gen_ai_client_inference_duration_seconds_count") == 0


@pytest.mark.parametrize(
    ("url", "dialect", "provider"),
    [
        ("https://api.openai.com", "openai", "openai"),
        ("https://me.openai.azure.com", "responses", "azure.ai.openai"),
        ("https://api.x.ai", "openai", "x_ai"),
        ("https://max.ai", "openai", "openai"),
        ("http://127.0.0.1:8000", "anthropic", "anthropic"),
    ],
)
def test_the_provider_is_that_of_the_host_else_that_of_the_api(url, dialect, provider):
    assert provider_of(Backend(name="b", url=url, dialect=dialect)) == provider


# Overhead.


def test_the_phases_of_a_call_add_up_to_all_but_the_backends_time():
    first = attempt(started=1.2, queued=0.3, sent_at=1.6, ended=2.6, error="status_500")
    last = attempt(started=2.9, sent_at=2.91, ended=4.1)
    record = ended(
        attempts=[first, last],
        arrived_at=1.0,
        read_at=1.1,
        paused=0.2,
        came_at=4.0,
        answered=Turn(4.0, 4.02),
    )
    phases = dict(zip(PHASES, phases_of(record), strict=True))
    assert phases == pytest.approx(
        {
            "read": 0.1,
            "translate": 0.1 + 0.1,
            "queue": 0.3,
            "connect": 0.1 + 0.01,
            "relay": 0.02,
            "pause": 0.2,
        }
    )
    waited = (2.6 - 1.6) + (4.0 - 2.91)
    assert sum(phases.values()) == pytest.approx(4.02 - 1.0 - waited)
    found = told(record)
    assert value(found, "lmbroker_overhead_seconds_sum") == pytest.approx(4.02 - 1.0 - waited)
    assert value(found, "lmbroker_overhead_seconds_bucket", le="5e-05") == 0


def test_an_answer_cannot_have_come_before_its_request_was_sent():
    record = ended(
        attempts=[attempt(started=1.0, sent_at=1.5)],
        arrived_at=1.0,
        read_at=1.0,
        came_at=1.2,
        answered=Turn(1.2, 1.6),
    )
    assert phases_of(record) == pytest.approx((0, 0, 0, 0.5, 0.1, 0))


BROKEN = ErrorInfo(kind="server", message="it broke", code="x")


@pytest.mark.parametrize(
    ("failure", "queued", "sent_at"),
    [(Full("busy"), 2, None), (Unreachable(BROKEN), 0, None), (Broken(BROKEN), 0, 0)],
)
def test_a_failed_attempt_tells_where_its_time_went(failure, queued, sent_at):
    class Fails:
        async def send(self, backend, outbound, timeouts):
            clock.advance(2)
            raise failure

    clock, attempts = Clock(), []
    observer = SimpleNamespace(
        opened=lambda record: None,
        attempted=lambda record, attempt: attempts.append(attempt),
        closed=lambda record: None,
    )
    broker = Broker(configured(CONFIG), Fails(), [observer], clock, lambda: 1e9)
    call = Call(id="r", operation="chat", dialect="openai", asked="one", body=b'{"model":"one"}')
    answering = Deferred.fromCoroutine(broker.chat(call, broker.open("r", "chat", "openai")))
    answering.addErrback(lambda failed: failed.trap(BrokerError))
    first = attempts[0]
    assert (first.queued, first.sent_at, first.ended) == (queued, sent_at, 2)


def test_a_call_without_an_answer_of_a_backend_has_no_overhead():
    assert phases_of(ended(arrived_at=1.0, read_at=1.0)) is None
    assert value(told(ended()), "lmbroker_overhead_seconds_count") == 0


# Queues, breakers, levels.


def test_the_wait_for_a_slot_is_counted_where_a_backend_has_slots():
    few = msgspec.structs.replace(BACKEND, name="few", max_in_flight=1)
    waited = attempt(target=Target(backend=few, model="m"), queued=0.02)
    found = told(ended(attempts=[waited]), ended())
    name = "lmbroker_backend_queue_seconds"
    assert value(found, f"{name}_count") == value(found, f"{name}_count", backend="few") == 1
    assert value(found, f"{name}_sum", backend="few") == 0.02


def test_a_breaker_is_in_one_state():
    registry, health = CollectorRegistry(), Health()
    metrics = Metrics(registry)
    health.opened(health.target(TARGET), "", 1.0)
    metrics.levels.targets(health.snapshot(1.0))

    def states():
        return {
            dict(pairs)["state"]
            for (name, *pairs), each in series(registry).items()
            if name == "lmbroker_breaker_state" and each
        }

    assert states() == {"closed"}
    breaker = health.target(TARGET).breaker
    breaker.failed_lastingly(
        health.opened(health.target(TARGET), "", 1.0), 2.0, "x", BreakerRules()
    )
    metrics.levels.targets(health.snapshot(2.0))
    assert states() == {"open"}


def test_levels_of_clients_and_of_what_was_learned():
    registry = CollectorRegistry()
    levels = Metrics(registry).levels
    levels.connections(3)
    levels.learned({"b": 2})
    levels.learned({})
    found = series(registry)
    assert value(found, "lmbroker_client_connections") == 3
    assert value(found, "lmbroker_learned_rejections", backend="b") == 0


# Calls wait to be counted, and are counted as if they did not.


def test_calls_are_counted_together_within_a_second():
    registry, clock = CollectorRegistry(), Clock()
    metrics = Metrics(registry)
    metrics.start(clock)
    counted = "lmbroker_usage_calls_total"

    def count():
        return value(series(registry), counted)

    metrics.ended((), [ended()])
    assert value(series(registry), "lmbroker_requests_total") == 1
    assert count() == 0
    clock.advance(SECONDS)
    assert count() == 1
    metrics.ended((), [ended()] * MOST)
    assert count() == 1 + MOST
    assert clock.getDelayedCalls() == []
    metrics.ended((), [ended()])
    metrics.settle()
    assert (count(), clock.getDelayedCalls()) == (2 + MOST, [])
    metrics.ended((), [ended()])
    metrics.stop()
    metrics.ended((), [ended()])
    assert (count(), clock.getDelayedCalls()) == (4 + MOST, [])


def test_values_that_are_observed_together_count_as_by_themselves():
    chance = random.Random(1)
    for count in (0, 1, 3, 200):
        values = [chance.choice([0.0, 0.5, 1.0, chance.expovariate(1), 99.0]) for _ in range(count)]
        found = []
        for together in (False, True):
            registry = CollectorRegistry()
            histogram = Histogram("h", "-", buckets=(0.5, 1, 2, 4), registry=registry)
            if together:
                observe_all(histogram, values)
            else:
                for each in values:
                    histogram.observe(each)
            found.append(series(registry))
        assert found[0].keys() == found[1].keys()
        assert list(found[0].values()) == pytest.approx(list(found[1].values()))


# From the start.

CONFIG = """
[[backends]]
name = "few"
type = "openai"
url = "http://few.test"
max_in_flight = 1
check_interval = 60
[[models]]
alias = "one"
targets = [{ backend = "few", model = "m1", price = { input = 1, output = 2 } }]
[[models]]
alias = "many-*"
targets = [{ backend = "few", model = "*" }]
"""


def configured(text):
    return parse(text, name="c.toml", environ={}, read_file=lambda path: "")


def test_the_counters_of_a_configuration_exist_from_the_start():
    registry = CollectorRegistry()
    Metrics(registry).expect(configured(CONFIG))
    found = series(registry)
    assert set(found.values()) == {0}
    for name, labels in {
        "lmbroker_attempts_total": {"backend": "few", "result": "backend_auth"},
        "lmbroker_requests_total": {"alias": "one", "outcome": "failed", "status": "500"},
        "lmbroker_checks_total": {"backend": "few", "result": "ok"},
        "lmbroker_tokens_total": {"alias": "many-*", "direction": "out"},
        "lmbroker_cost_usd_total": {"alias": "one", "backend": "few"},
        "lmbroker_backend_queue_seconds_count": {"backend": "few"},
        "gen_ai_client_inference_usage_input_tokens_total": {"gen_ai_request_model": "m1"},
        "gen_ai_client_inference_usage_output_tokens_total": {"gen_ai_request_model": "other"},
    }.items():
        assert [key for key in found if key[0] == name and labels.items() <= dict(key[1:]).items()]


def test_a_daemon_says_what_it_is_and_how_reloads_went():
    registry = CollectorRegistry()
    daemon = DaemonMetrics(registry, 100.0)
    found = series(registry)
    assert value(found, "lmbroker_build_info") == 1
    assert {dict(key[1:])["result"] for key in found if key[0] == "lmbroker_reloads_total"} == {
        "ok",
        "failed",
    }
    daemon.not_reloaded()
    daemon.restarted()
    found = series(registry)
    well, at = "lmbroker_last_reload_successful", "lmbroker_last_reload_success_timestamp_seconds"
    assert (value(found, well), value(found, at)) == (0, 100)
    daemon.reloaded(200.0)
    found = series(registry)
    assert (value(found, well), value(found, at)) == (1, 200)
    assert value(found, "lmbroker_reloads_total", result="ok") == 1
    assert value(found, "lmbroker_worker_restarts_total") == 1


# How it is written.


@pytest.mark.parametrize(
    ("accept", "open_metrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("text/plain;version=0.0.4;q=0.5, application/openmetrics-text;version=1.0.0;q=0.4", False),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3",
            True,
        ),
        ("application/openmetrics-text;q=most;;,", False),
    ],
)
def test_who_prefers_openmetrics_gets_it(accept, open_metrics):
    registry = CollectorRegistry()
    Refusals(registry)[400] += 1
    Metrics(registry).ended((), [ended(stream=True, usage=Usage(input=1))])
    body, content_type = exposition(registry, accept)
    text = body.decode()
    assert content_type.startswith("application/openmetrics-text") is open_metrics
    assert text.endswith("# EOF\n") is open_metrics
    assert "_created" not in text
    parse_all = open_metrics_families if open_metrics else text_string_to_metric_families
    names = {sample.name for family in parse_all(text) for sample in family.samples}
    assert {"lmbroker_refused_total", "lmbroker_requests_total"} <= names


# Nobody can make up labels.

WILD = """
[[keys]]
name = "alice"
key = "env:ALICE"
[[models]]
alias = "claude-*"
type = "openai"
target = { url = "http://b.test", model = "*" }
[[models]]
alias = "x-*"
type = "openai"
target = { url = "http://b.test", model = "org/{model}" }
"""


class Echo:
    """A backend that answers every call."""

    status = 200
    content_type = "application/json"
    queued, sent_at, memory = 0.0, None, None

    def __init__(self):
        self.headers = {}

    async def send(self, backend, outbound, timeouts):
        return self

    get = send

    async def body(self, *limits, **more):
        return (
            b'{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
            b'"usage":{"prompt_tokens":1,"completion_tokens":1}}'
        )


def test_ten_thousand_made_up_models_keys_and_headers_make_no_series_of_their_own():
    config = parse(WILD, name="c.toml", environ={"ALICE": "sk-alice"}, read_file=None)
    registry, clock = CollectorRegistry(), Clock()
    metrics = Metrics(registry)
    metrics.expect(config)
    metrics.start(clock)
    broker = Broker(config, Echo(), [metrics], clock, lambda: 1e9)
    front = Front(broker, registry)
    front.unknown_path = metrics.unknown_path
    site = Site(front.resource(), clock, Limits())
    site.refused = Refusals(registry)
    client = Connection(SimpleNamespace(clock=clock, site=site))
    counts, answers = [], []
    for number in range(10_000):
        model = ("claude-%d", "x-%d", "unknown-%d")[number % 3] % number
        key = b"sk-alice" if number % 10 else b"sk-%d" % number
        path = b"/v1/messages" if number % 2 else b"/v1/chat/completions"
        body = {
            "model": model,
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi", f"made_up_{number}": 1}],
            f"made_up_{number}": 1,
        }
        client.send(
            post(
                json.dumps(body).encode(),
                path if number % 50 else b"/v1/made-up-%d" % number,
                b"authorization: Bearer " + key,
                b"x-made-up-%d: %d" % (number, number),
                b"user-agent: agent-%d" % number,
            )
        )
        answers.append(client.wire.value()[9:12])
        client.wire.clear()
        if number in (999, 9_999):
            metrics.settle()
            counts.append(len(series(registry)))
    assert set(answers) == {b"200", b"401", b"404"}
    assert answers.count(b"200") > 5_000
    assert counts[0] == counts[1] < 700, counts
    text = exposition(registry)[0].decode()
    assert not re.search(r"made.up.\d|(claude|x|unknown|agent|sk)-\d", text)
