"""The spans of a call, as the official package reads them."""

import time

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from lmbroker.call import Attempt, Backend, End, Record, Target, TraceContext
from lmbroker.observers.spans import FIRST_CHUNK, SpanEncoder, rejected_of
from lmbroker.usage import Usage

TRACE, PARENT, CALL, FIRST, SECOND = "ab" * 16, "01" * 8, "02" * 8, "03" * 8, "04" * 8
BACKEND = Backend(name="b", url="https://api.deepseek.com/v1", dialect="openai")
OTHER = Backend(name="c", url="http://localhost:11434", dialect="responses")


def record(**more):
    return Record(
        **{
            "id": "req_1",
            "operation": "chat",
            "dialect": "openai",
            "opened_at": 10.0,
            "closed_at": 14.0,
            "path": "/v1/chat/completions",
            "alias": "a",
            "asked": "wanted\ud800",
            "caller": "ann",
            "client": "192.0.2.1",
            "user_agent": "claude-cli/2.1 (of somebody)",
            "stream": True,
            "trace": TraceContext(TRACE, CALL, "01", "a=1", PARENT, True),
            "client_request_id": "mine",
            "attempts": [
                Attempt(
                    target=Target(backend=BACKEND, model="m1"),
                    workflow="passthrough",
                    started=10.5,
                    ended=11.0,
                    status=503,
                    span_id=FIRST,
                    error="overloaded",
                ),
                Attempt(
                    target=Target(backend=OTHER, model="m2"),
                    workflow="translation",
                    started=11.5,
                    ended=12.5,
                    status=200,
                    span_id=SECOND,
                ),
            ],
            "end": End(outcome="complete", status=200, bytes_out=7),
            "first_event_at": 12.5,
            "backend_id": "their-id",
            "usage": Usage(input=5, cache_read=3, cache_write=2, output=9, reasoning=4),
            "cost": 1_500_000_000,
            "stop": "tool_calls",
            "dropped": ("messages[].name",),
            **more,
        }
    )


def decoded(*records, encoder=None):
    encoder = encoder or SpanEncoder("my service")
    batch = encoder.batch([encoder.spans(each, 1000.0) for each in records])
    told = trace_service_pb2.ExportTraceServiceRequest.FromString(batch)
    [resource] = told.resource_spans
    [scope] = resource.scope_spans
    return resource, scope


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    return getattr(value, kind)


def attributes(held):
    return {each.key: value_of(each.value) for each in held.attributes}


def test_the_resource_says_whose_the_spans_are():
    resource, scope = decoded(record())
    told = attributes(resource.resource)
    assert told["service.name"] == "my service" and told["service.instance.id"]
    assert scope.scope.name == "lmbroker"


def test_a_call_has_a_span_below_its_clients():
    _, scope = decoded(record())
    span = scope.spans[0]
    assert span.trace_id.hex() == TRACE
    assert (span.parent_span_id.hex(), span.span_id.hex()) == (PARENT, CALL)
    assert span.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert (span.name, span.trace_state, span.flags) == ("POST /v1/chat/completions", "a=1", 0x301)
    assert span.start_time_unix_nano == 1010 * 10**9 and span.end_time_unix_nano == 1014 * 10**9
    assert span.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "http.response.status_code": 200,
        "client.address": "192.0.2.1",
        "user_agent.original": "claude-cli/2.1",
        "http.request.body.size": 0,
        "http.response.body.size": 7,
        "lmbroker.request_id": "req_1",
        "lmbroker.client_request_id": "mine",
        "lmbroker.operation": "chat",
        "lmbroker.caller": "ann",
        "lmbroker.alias": "a",
        "lmbroker.asked": "wanted?",
        "lmbroker.outcome": "complete",
        "lmbroker.attempts": 2,
        "lmbroker.cost_usd": 0.0015,
        "lmbroker.dropped": "messages[].name",
    }


def test_each_attempt_has_a_span_below_the_calls():
    _, scope = decoded(record())
    failed, good = scope.spans[1:]
    for span, span_id in ((failed, FIRST), (good, SECOND)):
        assert (span.parent_span_id.hex(), span.span_id.hex()) == (CALL, span_id)
        assert span.trace_id.hex() == TRACE and span.kind == trace_pb2.Span.SPAN_KIND_CLIENT
        assert span.flags == 0x101
    assert failed.name == "chat m1" and failed.end_time_unix_nano == 1011 * 10**9
    assert failed.status.code == trace_pb2.Status.STATUS_CODE_ERROR and not failed.events
    assert attributes(failed) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "deepseek",
        "gen_ai.request.model": "m1",
        "gen_ai.request.stream": True,
        "server.address": "api.deepseek.com",
        "server.port": 443,
        "http.response.status_code": 503,
        "lmbroker.backend": "b",
        "lmbroker.dialect": "openai",
        "lmbroker.workflow": "passthrough",
        "error.type": "overloaded",
    }
    assert good.end_time_unix_nano == 1014 * 10**9, "the answer goes on when it has begun"
    assert attributes(good) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m2",
        "gen_ai.request.stream": True,
        "server.address": "localhost",
        "server.port": 11434,
        "http.response.status_code": 200,
        "lmbroker.backend": "c",
        "lmbroker.dialect": "responses",
        "lmbroker.workflow": "translation",
        "lmbroker.backend_request_id": "their-id",
        "gen_ai.response.finish_reasons": ["tool_call"],
        "gen_ai.response.time_to_first_chunk": 1.0,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.cache_write.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 4,
    }
    [event] = good.events
    assert (event.name, event.time_unix_nano) == (FIRST_CHUNK, int(1012.5 * 1e9))


def test_a_stream_that_broke_is_an_error_of_both_spans():
    _, scope = decoded(record(end=End(outcome="stream_error", status=200, code="timeout_idle")))
    call, _, attempt = scope.spans
    for span in (call, attempt):
        assert span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        assert attributes(span)["error.type"] == "timeout_idle"
    assert attributes(attempt)["gen_ai.response.finish_reasons"] == ["error"]


def test_a_refused_call_is_no_error_of_its_server():
    refused = record(end=End(outcome="refused", status=401, code="auth"), attempts=[], usage=None)
    _, scope = decoded(refused)
    [span] = scope.spans
    assert span.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    assert attributes(span)["lmbroker.code"] == "auth"


def test_other_operations_have_their_names():
    for operation, name in (("completions", "text_completion"), ("embeddings", "embeddings")):
        _, scope = decoded(record(operation=operation, stream=False))
        assert scope.spans[1].name == f"{name} m1"
        assert "gen_ai.request.stream" not in attributes(scope.spans[1])
        assert not scope.spans[2].events


def test_many_calls_are_one_batch():
    encoder = SpanEncoder("s")
    _, scope = decoded(*[record(id=f"r{each}") for each in range(300)], encoder=encoder)
    told = [attributes(span) for span in scope.spans]
    ids = [each["lmbroker.request_id"] for each in told if "lmbroker.request_id" in each]
    assert ids == [f"r{each}" for each in range(300)]


def test_a_call_without_a_client_that_traces_is_a_root():
    trace = TraceContext(TRACE, CALL, "01", "", "", True)
    _, scope = decoded(record(trace=trace))
    assert scope.spans[0].parent_span_id == b"" and scope.spans[0].flags == 0x101


def test_no_secret_is_in_a_span():
    keyed = msgspec.structs.replace(BACKEND, headers=(("x-key", "sk-secret"),))
    target = Target(backend=keyed, model="m")
    attempt = Attempt(target=target, workflow="passthrough", started=1.0, span_id=FIRST)
    encoder = SpanEncoder("s")
    assert b"sk-secret" not in encoder.spans(record(attempts=[attempt]), 0.0)


@pytest.mark.parametrize("rejected", [0, 7])
def test_what_a_receiver_rejects(rejected):
    answer = trace_service_pb2.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = rejected
    assert rejected_of(answer.SerializeToString()) == rejected


@pytest.mark.parametrize("answer", [b"", b"{}", b"\xff\xff", b"ok"])
def test_an_answer_that_nobody_can_read_rejects_nothing(answer):
    assert rejected_of(answer) == 0


if __name__ == "__main__":
    encoder, one = SpanEncoder("s"), record()
    began = time.perf_counter()
    for _ in range(5000):
        encoder.spans(one, 0.0)
    print(f"{(time.perf_counter() - began) / 5000 * 1e6:.1f} us for a call of two attempts")
