"""Ids of requests, traces and spans, and which traces are recorded."""

import os

import pytest

from lmbroker.broker.new_ids import new_request_id, new_span_id, trace_of
from lmbroker.broker.trace_context import parsed_parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1"}


def test_no_id_comes_twice():
    for make in (new_request_id, new_span_id, lambda: trace_of({}, (), None).trace_id):
        assert len({make() for _ in range(1000)}) == 1000


@pytest.mark.process
def test_a_forked_process_has_ids_of_its_own():
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, trace_of({}, (), None).trace_id.encode())
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(reading) as told:
        os.close(writing)
        assert told.read() != trace_of({}, (), None).trace_id


def test_where_nothing_is_recorded_a_clients_trace_passes_as_it_is():
    trace = trace_of(HEADERS, (), None)
    assert (trace.trace_id, trace.span_id, trace.flags) == (TRACE, SPAN, "01")
    assert trace.state == "a=1" and not trace.recorded


@pytest.mark.parametrize("ratio", [None, 0.0, 1.0])
@pytest.mark.parametrize(
    ("headers", "repeated"),
    [
        ({}, ()),
        ({"tracestate": "a=1"}, ()),
        ({"traceparent": "no", "tracestate": "a=1"}, ()),
        (HEADERS, {"traceparent"}),
    ],
)
def test_where_there_is_no_valid_trace_one_is_made(headers, repeated, ratio):
    trace = trace_of(headers, repeated, ratio)
    again = parsed_parent(f"00-{trace.trace_id}-{trace.span_id}-00")
    assert again is not None and trace.trace_id != TRACE
    assert trace.parent_id == trace.state == ""
    assert trace.recorded == trace.sampled == (ratio == 1.0)


@pytest.mark.parametrize(("flags", "recorded"), [("00", False), ("01", True), ("03", True)])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_clients_trace_is_recorded_where_the_client_says_so(flags, recorded, ratio):
    trace = trace_of({"traceparent": f"00-{TRACE}-{SPAN}-{flags}"}, (), ratio)
    assert (trace.trace_id, trace.parent_id, trace.recorded) == (TRACE, SPAN, recorded)
    assert trace.span_id != SPAN and trace.flags == flags


def test_the_ratio_is_the_share_of_new_traces():
    found = sum(trace_of({}, (), 0.25).recorded for _ in range(4000))
    assert 850 < found < 1150
