"""The fault matrix (docs/design/reliability.md, section C), row by row: a backend that is scripted
byte by byte, the broker behind its own site, a raw client.

Each test asks for the outcome that the matrix requires, and besides: one record, nothing in
flight, no failure in the log (``conftest.py`` looks), the backend's connection cut or clean in the
pool, its place given back. ``test_loopback_chaos_answers.py`` goes on where an answer has begun,
``test_loopback_chaos_sdks.py`` says what the official SDKs raise. What proves which row:

backend side                                   proved by
---------------------------------------------  -----------------------------------------------------
refused, DNS, unreachable, connect hang        here, and test_backends.py: test_no_connection
TLS: certificate, name, protocol, hang         test_loopback_tls.py
closed before headers, fresh connection        here, and test_backends.py
the same on a reused one                       here, and test_backends.py
hang before headers                            here, and test_backends.py: test_no_headers_in_time
garbage, cut head, conflicting length, 101     here
header flood, 1xx flood                        here
bad status, 3xx                                here
401/403 of the backend                         here, and test_loopback.py: test_case_87
4xx with JSON; 4xx, 5xx with HTML              here; byte-exact: test_loopback.py:
                                               test_a_native_error_body_passes_as_it_is
429, 503, 529 with retry-after                 here
200 with HTML                                  ..._answers.py
200 with JSON for a stream                     test_loopback.py: test_case_78
unary cut, invalid, silent, endless, huge      ..._answers.py
close-delimited                                ..._answers.py
compressed although nobody asked               ..._answers.py
an error with status 200                       ..._answers.py
stream without an event                        ..._answers.py; after signs of life:
                                               test_loopback_keep_alive_pings.py
stream that breaks after its first event       ..._answers.py, and test_loopback.py:
                                               test_a_stream_that_breaks_ends_with_one_error_in_band
an error event of the backend                  ..._answers.py; as the first event: test_loopback.py:
                                               test_case_68
terminator lost, hang after it                 ..._answers.py
too many calls at one backend                  here, and test_concurrency_limit.py
"next"                                         here, and test_loopback_routing.py

client side                                    proved by
---------------------------------------------  -----------------------------------------------------
drops while sending headers or body            test_site_loopback.py:
                                               test_a_client_that_leaves_in_its_upload_is_forgotten
malformed HTTP, smuggling, NUL, bare CR or LF  test_site.py, test_site_smuggling.py
too many, too long, slow headers; slow body    test_site.py; test_site_loopback.py:
                                               test_a_dripping_client_meets_its_deadline
100 MB declared or chunked                     test_site_loopback.py:
                                               test_a_client_that_sends_all_before_it_reads_gets_its_413
no JSON, NaN, BOM, too deep                    here, and test_envelope.py
bad UTF-8                                      test_envelope.py; inside a value that passes through
                                               it is the backend's to refuse
wrong types, missing model                     here, test_envelope.py, adapters/test_*_request_*.py
duplicate keys                                 test_envelope.py
odd or unknown model names                     here, and test_envelope.py
bad or several keys                            test_keys.py, test_loopback_access.py
leaves, in every phase                         test_loopback_cancellation.py
half-close                                     test_site_loopback.py:
                                               test_a_client_that_leaves_is_noticed_at_once
stalls                                         test_site_loopback.py:
                                               test_a_client_that_stops_reading_is_cut_...
unknown path, wrong method, OPTIONS            test_loopback.py:
                                               test_every_other_path_answers_json_of_its_family
"""

import json

import pytest
import pytest_twisted
from broken_backends import (
    HEAD,
    again_and_again,
    both,
    endless,
    fin,
    length,
    page,
    refusal,
    rst,
    write,
)
from chaos import (
    CHAOS,
    ENDS,
    NATIVE,
    PAIRS,
    TYPES,
    WHOLE,
    Resolver,
    answered,
    config_for,
    crowded_port,
    cut,
    error_type,
    next_request,
    patience,
    resolver,
    the_call_is_over,
    the_next_call_is_served,
    told,
    until,
)
from rig import CONFIG, EVENTS, PATHS, ask, chunk, sse_head, unary
from stopwatch import Stopwatch
from twisted.internet import reactor
from twisted.internet.task import deferLater

from lmbroker.broker import relay
from lmbroker.call import Timeouts

BOTH_ENDS = pytest.mark.parametrize(("dialect", "alias"), ENDS)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
MIB = 1024 * 1024

RIG = CHAOS

pytestmark = pytest.mark.usefixtures("engine")


# No connection.


@pytest.fixture
def crowded():
    with crowded_port() as port:
        yield port


@pytest_twisted.ensureDeferred
@STREAM
@BOTH_ENDS
async def test_a_refused_connection(open_rig, port, dialect, alias, stream):
    rig = await open_rig(config=config_for(f"http://127.0.0.1:{port}"))
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    await answered(client)
    assert told(client, dialect)[0] == 502
    await the_call_is_over(rig, outcome="backend_error", code="refused")


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_name_that_leads_nowhere(open_rig, dialect, alias):
    rig = await open_rig(config=config_for("http://nowhere.invalid"))
    with resolver(Resolver(answers=True)):
        client = await rig.post(PATHS[dialect], ask(alias))
        await answered(client)
    assert told(client, dialect)[0] == 502
    await the_call_is_over(rig, outcome="backend_error", code="dns")


@pytest_twisted.ensureDeferred
@PAIRS
async def test_a_connection_that_is_not_made_in_time(open_rig, crowded, dialect, alias):
    rig = await open_rig(
        timeouts=Timeouts(connect=0.2, headers=5), config=config_for(f"http://127.0.0.1:{crowded}")
    )
    client = await rig.post(PATHS[dialect], ask(alias))
    await answered(client)
    assert told(client, dialect)[:2] == (504, error_type(dialect, 504))
    await the_call_is_over(rig, outcome="backend_error", code="timeout_connect")


# Before the response headers are whole.

NO_HEAD = {
    "fin": (fin, 502, "closed_before_headers"),
    "rst": (rst, 502, "closed_before_headers"),
    "hang": (write(), 504, "timeout_headers"),
    "garbage": (write(b"\x16\x03\x01 garbage\r\n\r\n"), 502, "bad_response"),
    "another protocol": (write(b"SSH-2.0-OpenSSH_9.6\r\n"), 502, "bad_response"),
    "half a status line": (write(b"HTTP/1.1 20", then=fin), 502, "bad_response"),
    "half the headers": (write(b"HTTP/1.1 200 OK\r\ncontent-ty", then=fin), 502, "bad_response"),
    "half the headers, rst": (write(HEAD[:-2], then=rst), 502, "bad_response"),
    "half the headers, hang": (write(HEAD), 504, "timeout_headers"),
    "dripping headers": (
        both(write(b"HTTP/1.1 200 OK\r\n"), again_and_again(b"x-drip: 1\r\n")),
        504,
        "timeout_headers",
    ),
    "two lengths": (
        write(HEAD, b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        502,
        "bad_response",
    ),
    "a negative length": (write(HEAD, b"content-length: -1\r\n\r\n"), 502, "bad_response"),
    "no number as length": (write(HEAD, b"content-length: x\r\n\r\n"), 502, "bad_response"),
    "an unknown coding": (write(HEAD, b"transfer-encoding: br\r\n\r\n"), 502, "bad_response"),
    "a header without colon": (write(HEAD, b"what is this\r\n\r\n"), 502, "bad_response"),
    "a number that is none": (write(b"HTTP/1.1 OK OK\r\n\r\n"), 502, "bad_response"),
    "101": (
        write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nnoise", then=fin),
        502,
        "bad_response",
    ),
    "a flood of headers": (
        both(write(HEAD), endless(b"x-flood: " + b"y" * 1000 + b"\r\n")),
        502,
        "bad_response",
    ),
    "an endless header": (
        both(write(HEAD, b"x-endless: "), endless(b"y" * 60_000)),
        502,
        "bad_response",
    ),
    "an endless status line": (endless(b"HTTP/1.1 200 O" + b"K" * 60_000), 502, "bad_response"),
    "a flood of 100 Continue": (
        endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
        502,
        "bad_response",
    ),
}


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("fault", NO_HEAD)
async def test_no_response_headers(open_rig, dialect, alias, fault):
    script, status, code = NO_HEAD[fault]
    rig = await open_rig(timeouts=patience(code))
    stream = alias == "o"
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    script(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    await the_call_is_over(rig, outcome="backend_error", code=code)
    await cut(backend)
    assert len(rig.backends_seen) == 1, "what may have reached the backend is not sent again"
    await the_next_call_is_served(rig, dialect, alias, stream=not stream)


@pytest_twisted.ensureDeferred
@PAIRS
async def test_other_1xx_are_passed_over(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    backend.transport.write(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
        + unary(WHOLE[alias])
    )
    await client.has("hé".encode())
    await the_call_is_over(rig, outcome="complete")
    await the_next_call_is_served(rig, dialect, alias, on=backend)


# A connection that was used before.


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("end", [fin, rst])
async def test_a_reused_connection_that_dies_is_replaced_by_a_fresh_one(rig, dialect, alias, end):
    await the_next_call_is_served(rig, dialect, alias)
    client = await rig.post(PATHS[dialect], ask(alias))
    end(await next_request(rig))
    fresh = await rig.backend(2)
    assert rig.backends_seen[0].received.count(b"POST ") == 2
    fresh.transport.write(unary(WHOLE[alias]))
    await answered(client)
    assert client.head.startswith("http/1.1 200")
    records = await rig.ended(2)
    assert [len(record.attempts) for record in records] == [1, 1], "it is one attempt all the same"
    await the_next_call_is_served(rig, dialect, alias, on=fresh)


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("end", [fin, rst])
async def test_the_fresh_one_is_not_replaced_again(rig, dialect, alias, end):
    await the_next_call_is_served(rig, dialect, alias)
    client = await rig.post(PATHS[dialect], ask(alias))
    end(await next_request(rig))
    end(await rig.backend(2))
    await answered(client)
    assert told(client, dialect)[0] == 502
    assert len(rig.backends_seen) == 2
    records = await rig.ended(2)
    assert records[-1].end.code == "closed_before_headers"
    assert rig.gauge() == 0


@pytest_twisted.ensureDeferred
async def test_no_other_idle_connection_is_tried_instead(open_rig):
    rig = await open_rig(config=CONFIG)
    lines = []
    for _ in range(3):
        await rig.post(PATHS["openai"], ask("o"))
        lines.append(await next_request(rig))
    for line in lines:
        line.transport.write(unary(WHOLE["o"]))
    await rig.ended(3)
    client = await rig.post(PATHS["openai"], ask("o"))
    rst(await next_request(rig))
    fresh = await rig.backend(4)
    fresh.transport.write(unary(WHOLE["o"]))
    await answered(client)
    assert client.head.startswith("http/1.1 200")
    posts = [line.received.count(b"POST ") for line in lines]
    assert sorted(posts) == [1, 1, 2], "two idle connections were left alone"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("answer", "end", "code"),
    [
        (b"HTTP/1.1 200 O", fin, "bad_response"),
        (b"\x00\x00garbage\r\n\r\n", fin, "bad_response"),
        (HEAD + b"content-length: 9\r\n\r\n{", rst, "truncated"),
    ],
)
async def test_a_reused_connection_that_answered_is_not_replaced(rig, answer, end, code):
    await the_next_call_is_served(rig, "openai", "o")
    client = await rig.post(PATHS["openai"], ask("o"))
    line = await next_request(rig)
    line.transport.write(answer)
    end(line)
    await answered(client)
    assert told(client, "openai")[0] == 502
    assert len(rig.backends_seen) == 1
    records = await rig.ended(2)
    assert records[-1].end.code == code


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_that_was_closed_is_not_used(rig):
    await the_next_call_is_served(rig, "openai", "o")
    fin(rig.backends_seen[0])
    await rig.backends_seen[0].closed()
    await the_next_call_is_served(rig, "openai", "o")


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_that_says_something_is_not_used(rig):
    await the_next_call_is_served(rig, "openai", "o")
    rig.backends_seen[0].transport.write(unary(b'{"an answer": "to nothing"}'))
    await rig.backends_seen[0].closed()
    await the_next_call_is_served(rig, "openai", "o")


# An answer while we still upload.


@pytest.mark.process
@pytest.mark.sockets
@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("end", [fin, None])
@pytest.mark.parametrize("parts", [1, 2])
async def test_an_answer_that_comes_before_the_request_was_sent(rig, dialect, alias, end, parts):
    """A body that the kernel does not take at once, and a backend that reads none of it."""
    client = await rig.client()
    body = ask(alias, padding="x" * (12 * MIB))
    if (dialect, alias) in (("openai", "a"), ("anthropic", "o")):
        body = ask(alias, messages=[{"role": "user", "content": "x" * (12 * MIB)}])
    head = f"POST {PATHS[dialect]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    client.transport.write(head.encode() + body)
    await until(lambda: rig.backends_seen and rig.backends_seen[0].received)
    backend = rig.backends_seen[0]
    backend.transport.pauseProducing()
    answer = unary(refusal(alias, "too much"), b"413 Content Too Large")
    if parts == 2:
        backend.transport.write(answer[:-10])
        await deferLater(reactor, 0.05)
        answer = answer[-10:]
    backend.transport.write(answer)
    if end is not None:
        await deferLater(reactor, 0.05)
        end(backend)
    await answered(client)
    assert told(client, dialect)[0] == 413
    assert b"too much" in client.body
    await the_call_is_over(rig, outcome="backend_error", code="too_large")
    await the_next_call_is_served(rig, dialect, alias)
    if end is None:
        backend.transport.resumeProducing()
        await cut(backend)


@pytest.mark.process
@pytest.mark.sockets
@pytest_twisted.ensureDeferred
async def test_a_backend_that_reads_nothing_is_given_up(rig):
    client = await rig.post(PATHS["openai"], ask("o", padding="x" * (12 * MIB)))
    await until(lambda: rig.backends_seen and rig.backends_seen[0].received)
    rig.backends_seen[0].transport.pauseProducing()
    await answered(client)
    assert told(client, "openai")[0] == 504
    await the_call_is_over(rig, outcome="backend_error", code="timeout_headers")
    rig.backends_seen[0].transport.resumeProducing()
    await cut(rig.backends_seen[0])


# A status that is an error.

STATUSES = [
    (b"600 Odd", 502, "bad_status"),
    (b"301 Moved", 502, "redirect"),
    (b"302 Found", 502, "redirect"),
    (b"303 See Other", 502, "redirect"),
    (b"307 Temporary Redirect", 502, "redirect"),
    (b"308 Permanent Redirect", 502, "redirect"),
    (b"401 Unauthorized", 502, "backend_auth"),
    (b"403 Forbidden", 502, "backend_auth"),
]


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize(("line", "status", "code"), STATUSES)
async def test_a_status_that_is_not_the_clients_business(
    rig, dialect, alias, line, status, code, html
):
    stream = html
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    location = b"location: http://127.0.0.1:9/elsewhere\r\n"
    backend.transport.write(
        page(line, location) if html else unary(refusal(alias, "backend-key"), line, location)
    )
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    assert "location" not in client.head
    assert b"backend-key" not in client.received and b"10.0.0.1" not in client.received
    await the_call_is_over(rig, outcome="backend_error", code=code)
    assert len(rig.backends_seen) == 1
    await the_next_call_is_served(rig, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("line", [b"99999 Odd", b"099 Odd", b"0 Odd"])
async def test_a_status_that_is_none(rig, dialect, alias, line):
    """A status has three digits, of which the first is no zero."""
    client = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    backend.transport.write(unary(refusal(alias, "no status"), line))
    await answered(client)
    assert told(client, dialect)[:2] == (502, error_type(dialect, 502))
    await the_call_is_over(rig, outcome="backend_error", code="bad_response")
    assert len(rig.backends_seen) == 1
    await the_next_call_is_served(rig, dialect, alias, on=...)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"400 Bad Request", 400),
        (b"404 Not Found", 404),
        (b"413 Content Too Large", 413),
        (b"422 Unprocessable", 422),
    ],
)
async def test_what_is_wrong_with_the_call_is_relayed(rig, dialect, alias, line, status, stream):
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    backend.transport.write(unary(refusal(alias, "no good: backend-key"), line))
    await answered(client)
    native = (dialect, alias) in NATIVE
    if native:
        assert client.head.startswith(f"http/1.1 {status}")
    else:
        assert told(client, dialect)[0] == (400 if status == 422 else status)
    assert b"no good: ***" in client.body
    record = (await rig.ended())[0]
    assert (record.end.outcome, record.attempts[0].status) == ("backend_error", status)
    await the_next_call_is_served(rig, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize(
    ("line", "status"),
    [(b"400 Bad Request", 400), (b"404 Not Found", 404), (b"500 Oops", 500), (b"502 Bad", 500)],
)
async def test_a_page_becomes_an_error_of_ours(rig, dialect, alias, line, status):
    client = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    backend.transport.write(page(line))
    await answered(client)
    assert told(client, dialect)[0] == status
    assert b"html" not in client.body
    record = (await rig.ended())[0]
    assert record.end.outcome == "backend_error"
    await the_next_call_is_served(rig, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize("body", ["json", "html"])
@pytest.mark.parametrize(
    ("line", "openais", "anthropics"),
    [(b"429 Too Many", 429, 429), (b"503 Busy", 503, 529), (b"529 Overloaded", 503, 529)],
)
async def test_a_backend_that_is_busy(rig, dialect, alias, line, openais, anthropics, stream, body):
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    later = b"retry-after: 7\r\n"
    backend.transport.write(
        page(line, later) if body == "html" else unary(refusal(alias, "wait"), line, later)
    )
    await answered(client)
    native = body == "json" and (dialect, alias) in NATIVE
    status = int(line[:3]) if native else told(client, dialect)[0]
    assert client.head.startswith(f"http/1.1 {status}")
    assert native or status == (anthropics if dialect == "anthropic" else openais)
    assert "\r\nretry-after: 7" in client.head
    record = (await rig.ended())[0]
    assert record.end.outcome == "backend_error"
    await the_next_call_is_served(rig, dialect, alias, on=backend)


# What clients send that no backend must see.

UNFIT = {
    "nothing": (b"", 400, "invalid_json"),
    "no JSON": (b"hi", 400, "invalid_json"),
    "a list": (b"[]", 400, "invalid_json"),
    "NaN": (b'{"model":"o","a":NaN}', 400, "invalid_json"),
    "a BOM": (b'\xef\xbb\xbf{"model":"o"}', 400, "invalid_json"),
    "UTF-16": ('{"model":"o"}'.encode("utf-16"), 400, "invalid_json"),
    "too deep": (b'{"model":"o","a":' + b"[" * 100_000, 400, "invalid_json"),
    "no model": (b"{}", 400, "missing_model"),
    "a model with a line end": (b'{"model":"o\\r\\n"}', 400, "invalid_value"),
    "an unknown model": (b'{"model":"somebody-s-secret"}', 404, "model_not_found"),
}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", list(PATHS))
@pytest.mark.parametrize("what", UNFIT)
async def test_what_no_backend_must_see(rig, dialect, what):
    body, status, code = UNFIT[what]
    client = await rig.post(PATHS[dialect], body)
    await answered(client)
    assert told(client, dialect)[:2] == (
        status,
        TYPES[status] if dialect == "anthropic" else "invalid_request_error",
    )
    [record] = await rig.ended()
    assert (record.end.outcome, record.end.code, record.attempts) == ("refused", code, [])
    assert rig.gauge() == 0
    assert rig.backends_seen == []
    labels = [
        sample.labels["alias"]
        for metric in rig.registry.collect()
        for sample in metric.samples
        if "alias" in sample.labels
    ]
    assert set(labels) <= {"other", "o", "a"}, "no client makes a label of metrics"
    await the_next_call_is_served(rig, dialect, "o")


# Too many calls at one backend.

ONE = "max_in_flight = 1, queue = 1, queue_timeout = 0.3"
CROWDED = CONFIG.replace('"env:KEY"', '"env:KEY", ' + ONE)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
async def test_a_backend_that_has_as_many_calls_as_it_may(open_rig, dialect, alias, stream):
    rig = await open_rig(timeouts=Timeouts(), config=CROWDED)
    body = ask(alias, stream=stream)
    first = await rig.post(PATHS[dialect], body)
    backend = await rig.backend()
    began = reactor.seconds()
    waiting = await rig.post(PATHS[dialect], body)
    await until(lambda: rig.gauge() == 2)
    asked = Stopwatch()
    refused = await rig.post(PATHS[dialect], body)
    await answered(refused)
    assert asked.stop() < 0.2, "the queue is full: it need not wait"
    await answered(waiting)
    assert reactor.seconds() - began > 0.25
    for client in (waiting, refused):
        status, kind, code = told(client, dialect)
        anthropic = dialect == "anthropic"
        assert status == (529 if anthropic else 503)
        assert kind == ("overloaded_error" if anthropic else "service_unavailable_error")
        assert "\r\nretry-after: 1" in client.head
    backend.transport.write(unary(WHOLE[alias]))
    await first.has("hé".encode())
    records = await rig.ended(3)
    assert [record.end.code for record in records] == ["backend_busy", "backend_busy", ""]
    assert [len(record.attempts) for record in records] == [1, 1, 1]
    assert len(rig.backends_seen) == 1
    await the_next_call_is_served(rig, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@PAIRS
async def test_who_waits_is_served_in_turn(open_rig, dialect, alias):
    rig = await open_rig()
    clients = []
    for number in range(4):
        messages = [{"role": "user", "content": f"n{number}"}]
        clients.append(await rig.post(PATHS[dialect], ask(alias, messages=messages)))
        await until(lambda: rig.gauge() == len(clients))
    backend = await rig.backend()
    for number, client in enumerate(clients):
        await backend.has(b"POST ", times=number + 1)
        assert f"n{number}".encode() in bytes(backend.received).rpartition(b"POST ")[2]
        backend.transport.write(unary(WHOLE[alias]))
        await client.has("hé".encode())
    assert len(rig.backends_seen) == 1


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("ends", [True, False], ids=["ends", "hangs"])
async def test_a_place_is_free_at_the_terminal_event(rig, monkeypatch, dialect, alias, ends):
    """Not only when the backend has ended the body, for which it has a moment more."""
    monkeypatch.setattr(relay, "LINGER_SECONDS", 0.6)

    def asked():
        return sum(each.received.count(b"POST ") for each in rig.backends_seen)

    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    first = await rig.backend()
    waiting = await rig.post(PATHS[dialect], ask(alias))
    await until(lambda: rig.gauge() == 2)
    ending = Stopwatch()
    first.transport.write(sse_head() + chunk(b"".join(EVENTS[alias])))
    await answered(client)
    second = await rig.backend(2)
    assert ending.stop() < 0.3
    assert first.lost is None, "its connection may still become free"
    second.transport.write(unary(WHOLE[alias]))
    await answered(waiting)
    if ends:
        first.transport.write(b"0\r\n\r\n")
        await deferLater(reactor, 0.8)
        assert first.lost is None
    else:
        await first.closed()
    assert [record.end.outcome for record in await rig.ended(2)] == ["complete", "complete"]
    # One place, given back once.
    for _ in range(2):
        await rig.post(PATHS[dialect], ask(alias))
    await until(lambda: rig.gauge() == 2 and asked() == 3)
    await deferLater(reactor, 0.05)
    assert asked() == 3
    [line] = [each for each in (first, second) if each.received.count(b"POST ") == 2]
    line.transport.write(unary(WHOLE[alias]))
    await until(lambda: asked() == 4)


# The next target: where the first did nothing, and nowhere else.

PAIR = """
[[backends]]
name = "first"
type = "openai"
url = "FIRST"
[[backends]]
name = "second"
type = "anthropic"
url = "http://127.0.0.1:PORT"
[[models]]
alias = "pair"
targets = [{ backend = "first", model = "one" }, { backend = "second", model = "two" }]
"""

NEXT = {
    "429": write(page(b"429 Busy")),
    "502": write(page(b"502 Bad Gateway")),
    "503": write(page(b"503 Busy")),
    "529": write(page(b"529 Overloaded")),
    "no event, fin": write(sse_head(), then=fin),
    "no event, empty": write(sse_head(), b"0\r\n\r\n"),
}

NO_NEXT = {
    "fin": fin,
    "hang": write(),
    "garbage": write(b"garbage\r\n\r\n"),
    "a page": write(page(b"200 OK")),
    "400": write(page(b"400 Bad Request")),
    "500": write(page(b"500 Oops")),
    "504": write(page(b"504 Gateway Timeout")),
    "cut": both(length(b'{"id":', 9), fin),
    "redirect": write(page(b"302 Found")),
}


async def the_second_answers(rig, dialect, line):
    assert json.loads(line.body)["model"] == "two"
    line.transport.write(sse_head() + chunk(b"".join(EVENTS["a"])) + b"0\r\n\r\n")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", list(PATHS))
@pytest.mark.parametrize("fault", NEXT)
async def test_the_next_target_is_tried(open_rig, dialect, fault):
    rig = await open_rig(config=PAIR.replace("FIRST", "http://127.0.0.1:PORT"))
    client = await rig.post(PATHS[dialect], ask("pair", stream=True))
    NEXT[fault](await rig.backend())
    await the_second_answers(rig, dialect, await rig.backend(2))
    await answered(client)
    assert "hé" in client.body.decode()
    await the_call_is_over(rig, outcome="complete", attempts=2)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("fault", ["refused", "dns", "connect hang", "tls"])
async def test_the_next_target_is_tried_where_there_is_no_connection(
    open_rig, port, crowded, fault
):
    url = {
        "refused": f"http://127.0.0.1:{port}",
        "dns": "http://nowhere.invalid",
        "connect hang": f"http://127.0.0.1:{crowded}",
        "tls": "https://127.0.0.1:PORT",
    }[fault]
    rig = await open_rig(config=PAIR.replace("FIRST", url))
    with resolver(Resolver(answers=True)):
        client = await rig.post(PATHS["openai"], ask("pair", stream=True))
        await until(lambda: rig.gauge() == 1)
    if fault == "tls":
        await until(lambda: rig.backends_seen and rig.backends_seen[0].received)
        rig.backends_seen[0].transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await the_second_answers(rig, "openai", await rig.backend(2 if fault == "tls" else 1))
    await answered(client)
    assert "hé" in client.body.decode()
    await the_call_is_over(rig, outcome="complete", attempts=2)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", list(PATHS))
@pytest.mark.parametrize("fault", NO_NEXT)
async def test_no_other_target_is_tried(open_rig, dialect, fault):
    rig = await open_rig(config=PAIR.replace("FIRST", "http://127.0.0.1:PORT"))
    client = await rig.post(PATHS[dialect], ask("pair", stream=fault == "hang"))
    NO_NEXT[fault](await rig.backend())
    await answered(client)
    assert told(client, dialect)[0] >= 400
    [record] = await rig.ended()
    assert (record.end.outcome, len(record.attempts)) == ("backend_error", 1)
    assert len(rig.backends_seen) == 1
