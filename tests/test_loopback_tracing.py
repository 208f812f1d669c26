"""Traces and request ids cross the running broker, to backends of each dialect."""

import re

import pytest
import pytest_twisted
from rig import PATHS, ask, unary
from twisted.internet import reactor

from lmbroker.observers.access_log import access_fields
from lmbroker.server.http import Site

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
O_ANSWER = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
)
SITES = ["lean", "stock", None]


def site_of(engine):
    return (lambda resource: Site(resource, reactor, engine=engine)) if engine else None


def values(line, name):
    """All values of a header in the request that a backend got."""
    return re.findall(rf"(?m)^{name}: (.*?)\r?$", line.head)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("engine", SITES)
@pytest.mark.parametrize("client", list(PATHS))
@pytest.mark.parametrize("alias", ["o", "a"])
async def test_a_clients_trace_and_request_id_are_handed_on(open_rig, client, alias, engine):
    rig = await open_rig(site=site_of(engine))
    given = [f"Traceparent: {PARENT}", "tracestate: a=1", "tracestate: b=2", "X-Request-Id: mine-1"]
    line = await rig.post(PATHS[client], ask(alias), given)
    backend = await rig.backend()
    assert values(backend, "traceparent") == [PARENT]
    assert values(backend, "tracestate") == ["a=1,b=2"]
    assert values(backend, "x-request-id") == ["mine-1"]
    backend.transport.write(unary(O_ANSWER))
    await line.has(b"\r\n\r\n")
    [record] = await rig.ended()
    fields = access_fields(record)
    assert (fields["trace_id"], fields["span_id"]) == (TRACE, SPAN)
    assert fields["client_request_id"] == "mine-1"
    assert f"x-lmbroker-request-id: {fields['request_id']}" in line.head


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("engine", SITES)
@pytest.mark.parametrize(
    "given",
    [
        [],
        ["tracestate: a=1"],
        [f"traceparent: {PARENT.upper()}", "tracestate: a=1", "x-request-id: " + "x" * 200],
        [f"traceparent: {PARENT}", f"traceparent: {PARENT}", "x-request-id: two words"],
    ],
)
async def test_what_is_missing_or_not_valid_is_made(open_rig, given, engine):
    rig = await open_rig(site=site_of(engine))
    line = await rig.post(PATHS["openai"], ask("o"), given)
    backend = await rig.backend()
    [parent] = values(backend, "traceparent")
    backend.transport.write(unary(O_ANSWER))
    await line.has(b"\r\n\r\n")
    [record] = await rig.ended()
    fields = access_fields(record)
    assert parent == f"00-{fields['trace_id']}-{fields['span_id']}-00"
    assert fields["trace_id"] != TRACE
    assert values(backend, "tracestate") == []
    assert values(backend, "x-request-id") == [fields["request_id"]]
    assert "client_request_id" not in fields


@pytest_twisted.ensureDeferred
async def test_a_refused_call_has_its_trace_in_the_log(open_rig):
    rig = await open_rig()
    line = await rig.post(PATHS["openai"], ask("nobody"), [f"traceparent: {PARENT}"])
    await line.has(b"\r\n\r\n")
    [record] = await rig.ended()
    assert access_fields(record)["trace_id"] == TRACE
    assert rig.backends_seen == []
