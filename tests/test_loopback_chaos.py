"""The fault matrix (docs/design/reliability.md, section C), row by row: a backend that is scripted
byte by byte, the broker behind its own site, a raw client.

Each test asks for the outcome that the matrix requires, and besides: one record, nothing in
flight, no failure in the log (``conftest.py`` looks), the backend's connection cut or clean in the
pool, its place given back. Rows that other tests prove have none here:

backend side                                   proved by
---------------------------------------------  -----------------------------------------------------
refused, DNS, unreachable, connect hang        here, and test_backends.py: test_no_connection
TLS: certificate, name, protocol, hang         here
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
200 with HTML                                  here
200 with JSON for a stream                     test_loopback.py: test_case_78
unary cut, invalid, silent, endless, huge      here
close-delimited                                here
compressed although nobody asked               here
an error with status 200                       here
stream without an event                        here; after a commit: test_loopback_patience.py:
                                               test_case_69
stream that breaks after its first event       here, and test_loopback.py:
                                               test_a_stream_that_breaks_ends_with_one_error_in_band
an error event of the backend                  here; as the first event: test_loopback.py:
                                               test_case_68
terminator lost, hang after it                 here
too many calls at one backend                  here, and test_gate.py
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

import gzip
import json

import anthropic
import openai
import pytest
import pytest_twisted
from certificates import Authority
from chaos import (
    ENDS,
    NARROW,
    QUICK,
    TYPES,
    WHOLE,
    answered,
    chaos_house,
    config_for,
    crowded_port,
    cut,
    established,
    next_request,
    the_call_is_over,
    the_next_call_is_served,
    told,
    told_in_band,
    until,
)
from house import A_EVENT, CONFIG, EVENTS, O_EVENT, PATHS, ask, chunk, sse_head, unary
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread

from lmbroker import connections
from lmbroker.call import Timeouts

BOTH_ENDS = pytest.mark.parametrize(("dialect", "alias"), ENDS)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
MIB = 1024 * 1024


@pytest.fixture
def open_house():
    """Open a house with timeouts, a configuration or a backend's endpoint of one's own."""
    opened = []

    async def open_(timeouts=QUICK, config=NARROW, **more):
        opened.append(await chaos_house(timeouts, config, **more))
        return opened[-1]

    yield open_
    for house in opened:
        pytest_twisted.blockon(Deferred.fromCoroutine(house.close()))


@pytest.fixture
def house(open_house):
    return pytest_twisted.blockon(Deferred.fromCoroutine(open_house()))


def fin(line):
    line.transport.loseConnection()


def rst(line):
    """A reset; what was written before it leaves first."""
    reactor.callLater(0.02, line.transport.abortConnection)


def write(*pieces, then=None):
    """A backend that writes and maybe closes."""

    def script(line):
        line.transport.write(b"".join(pieces))
        if then is not None:
            then(line)

    return script


def again_and_again(piece, seconds=0.05):
    """A backend that writes ``piece`` every few moments, for as long as it can."""

    def script(line):
        loop = LoopingCall(
            lambda: line.transport.write(piece) if line.lost is None else loop.stop()
        )
        loop.start(seconds)

    return script


def endless(piece):
    """A backend that writes ``piece`` as fast as it is read, for ever."""

    class Pull:
        def __init__(self, line):
            self.line = line

        def resumeProducing(self):
            self.line.transport.write(piece)

        def stopProducing(self): ...

    return lambda line: line.transport.registerProducer(Pull(line), False)


def both(*scripts):
    def script(line):
        for each in scripts:
            each(line)

    return script


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


# No connection.


@pytest.fixture
def crowded():
    with crowded_port() as port:
        yield port


@pytest_twisted.ensureDeferred
@STREAM
@BOTH_ENDS
async def test_a_refused_connection(open_house, port, dialect, alias, stream):
    house = await open_house(config=config_for(f"http://127.0.0.1:{port}"))
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    await answered(client)
    assert told(client, dialect)[0] == 502
    await the_call_is_over(house, outcome="backend_error", code="refused")


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_name_that_leads_nowhere(open_house, dialect, alias):
    house = await open_house(config=config_for("http://nowhere.invalid"))
    client = await house.post(PATHS[dialect], ask(alias))
    await answered(client)
    assert told(client, dialect)[0] == 502
    await the_call_is_over(house, outcome="backend_error", code="dns")


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_connection_that_is_not_made_in_time(open_house, crowded, dialect, alias):
    house = await open_house(
        Timeouts(connect=0.2, headers=5), config_for(f"http://127.0.0.1:{crowded}")
    )
    client = await house.post(PATHS[dialect], ask(alias))
    await answered(client)
    assert told(client, dialect)[:2] == (504, error_type(dialect, 504))
    await the_call_is_over(house, outcome="backend_error", code="timeout_connect")


def error_type(dialect, status):
    """The type of an error with this status, of those that are a backend's fault."""
    return TYPES[status] if dialect == "anthropic" else "server_error"


# TLS.


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def ca(authority, tmp_path_factory):
    """A ``ca`` that trusts the authority, as a line of configuration."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_text(authority.pem)
    return f'api_key = "env:KEY", ca = "{path}"'


def secured(options):
    return lambda: SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")


def secure_config(ca):
    """Its backend has a name, and a certificate that must fit."""
    return config_for("https://localhost:PORT").replace('api_key = "env:KEY"', ca)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("fault", ["unknown authority", "wrong name", "expired", "no TLS"])
async def test_no_secure_connection(open_house, authority, ca, dialect, alias, fault):
    options = {
        "unknown authority": Authority().server(),
        "wrong name": authority.server("elsewhere.example"),
        "expired": authority.server(expired=True),
        "no TLS": None,
    }[fault]
    listen = secured(options) if options is not None else None
    house = await open_house(config=secure_config(ca), listen=listen)
    client = await house.post(PATHS[dialect], ask(alias))
    if fault == "no TLS":
        await until(lambda: house.backends_seen and house.backends_seen[0].received)
        house.backends_seen[0].transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await answered(client)
    assert told(client, dialect)[0] == 502
    await the_call_is_over(house, outcome="backend_error", code="tls")
    [backend] = house.backends_seen
    await cut(backend)
    assert b"POST" not in backend.received


@pytest_twisted.ensureDeferred
async def test_why_there_is_no_secure_connection_is_logged(
    open_house, authority, ca, nothing_fails_unheard, messages
):
    house = await open_house(
        config=secure_config(ca), listen=secured(authority.server("elsewhere.example"))
    )
    client = await house.post(PATHS["openai"], ask("o"))
    await answered(client)
    [told_why] = [message for message in messages if "secure connection" in message]
    assert "localhost" in told_why and "elsewhere.example" not in client.body.decode()


@pytest.fixture
def messages():
    """What is logged meanwhile, as text."""
    from twisted.logger import formatEvent, globalLogPublisher

    logged = []

    def observe(event):
        logged.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


@pytest_twisted.ensureDeferred
async def test_a_tls_backend_is_served_and_its_connection_used_again(open_house, authority, ca):
    house = await open_house(config=secure_config(ca), listen=secured(authority.server()))
    await the_next_call_is_served(house, "openai", "o")
    [backend] = house.backends_seen
    await the_next_call_is_served(house, "anthropic", "o", on=backend, stream=True)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("end", [fin, rst])
async def test_a_reused_tls_connection_that_dies_is_replaced(open_house, authority, ca, end):
    house = await open_house(config=secure_config(ca), listen=secured(authority.server()))
    await the_next_call_is_served(house, "openai", "o")
    client = await house.post(PATHS["openai"], ask("o"))
    end(await next_request(house))
    (await house.backend(2)).transport.write(unary(WHOLE["o"]))
    await client.has("hé".encode())


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_handshake_that_hangs(open_house, ca, dialect, alias):
    house = await open_house(config=secure_config(ca))
    client = await house.post(PATHS[dialect], ask(alias))
    await answered(client)
    assert told(client, dialect)[:2] == (504, error_type(dialect, 504))
    await the_call_is_over(house, outcome="backend_error", code="timeout_headers")
    await cut(house.backends_seen[0])


WHOLE_AND_CLOSED = unary(WHOLE["o"], extra=b"connection: close\r\n")

TLS_ENDS = {
    "no HTTP": b"garbage\r\n\r\n",
    "a closing answer": WHOLE_AND_CLOSED,
    "a bad chunk": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "an idle connection": unary(WHOLE["o"]),
}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("answer", TLS_ENDS)
async def test_a_tls_backend_that_does_not_close_its_side_is_not_waited_for(
    open_house, authority, ca, monkeypatch, answer
):
    """An orderly end of TLS takes two."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.2)
    house = await open_house(config=secure_config(ca), listen=secured(authority.server()))
    client = await house.post(PATHS["openai"], ask("o"))
    backend = await house.backend()
    backend.transport.write(TLS_ENDS[answer])
    await deferLater(reactor, 0)
    backend.transport.transport.pauseProducing()
    await answered(client)
    await until(lambda: not established(backend), 1)


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
@BOTH_ENDS
@pytest.mark.parametrize("fault", NO_HEAD)
async def test_no_response_headers(house, dialect, alias, fault):
    script, status, code = NO_HEAD[fault]
    stream = alias == "o"
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    script(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    await the_call_is_over(house, outcome="backend_error", code=code)
    await cut(backend)
    assert len(house.backends_seen) == 1, "what may have reached the backend is not sent again"
    await the_next_call_is_served(house, dialect, alias, stream=not stream)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_other_1xx_are_passed_over(house, dialect, alias):
    client = await house.post(PATHS[dialect], ask(alias))
    backend = await house.backend()
    backend.transport.write(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
        + unary(WHOLE[alias])
    )
    await client.has("hé".encode())
    await the_call_is_over(house, outcome="complete")
    await the_next_call_is_served(house, dialect, alias, on=backend)


# A connection that was used before.


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("end", [fin, rst])
async def test_a_reused_connection_that_dies_is_replaced_by_a_fresh_one(house, dialect, alias, end):
    await the_next_call_is_served(house, dialect, alias)
    client = await house.post(PATHS[dialect], ask(alias))
    end(await next_request(house))
    fresh = await house.backend(2)
    assert house.backends_seen[0].received.count(b"POST ") == 2
    fresh.transport.write(unary(WHOLE[alias]))
    await answered(client)
    assert client.head.startswith("http/1.1 200")
    records = await house.ended(2)
    assert [len(record.attempts) for record in records] == [1, 1], "it is one attempt all the same"
    await the_next_call_is_served(house, dialect, alias, on=fresh)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("end", [fin, rst])
async def test_the_fresh_one_is_not_replaced_again(house, dialect, alias, end):
    await the_next_call_is_served(house, dialect, alias)
    client = await house.post(PATHS[dialect], ask(alias))
    end(await next_request(house))
    end(await house.backend(2))
    await answered(client)
    assert told(client, dialect)[0] == 502
    assert len(house.backends_seen) == 2
    records = await house.ended(2)
    assert records[-1].code == "closed_before_headers"
    assert house.gauge() == 0


@pytest_twisted.ensureDeferred
async def test_no_other_idle_connection_is_tried_instead(open_house):
    house = await open_house(config=CONFIG)
    lines = []
    for _ in range(3):
        await house.post(PATHS["openai"], ask("o"))
        lines.append(await next_request(house))
    for line in lines:
        line.transport.write(unary(WHOLE["o"]))
    await house.ended(3)
    client = await house.post(PATHS["openai"], ask("o"))
    rst(await next_request(house))
    fresh = await house.backend(4)
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
async def test_a_reused_connection_that_answered_is_not_replaced(house, answer, end, code):
    await the_next_call_is_served(house, "openai", "o")
    client = await house.post(PATHS["openai"], ask("o"))
    line = await next_request(house)
    line.transport.write(answer)
    end(line)
    await answered(client)
    assert told(client, "openai")[0] == 502
    assert len(house.backends_seen) == 1
    records = await house.ended(2)
    assert records[-1].code == code


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_that_was_closed_is_not_used(house):
    await the_next_call_is_served(house, "openai", "o")
    fin(house.backends_seen[0])
    await house.backends_seen[0].closed()
    await the_next_call_is_served(house, "openai", "o")


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_that_says_something_is_not_used(house):
    await the_next_call_is_served(house, "openai", "o")
    house.backends_seen[0].transport.write(unary(b'{"an answer": "to nothing"}'))
    await house.backends_seen[0].closed()
    await the_next_call_is_served(house, "openai", "o")


# An answer while we still upload.


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("end", [fin, None])
@pytest.mark.parametrize("parts", [1, 2])
async def test_an_answer_that_comes_before_the_request_was_sent(house, dialect, alias, end, parts):
    """A body that the kernel does not take at once, and a backend that reads none of it."""
    client = await house.client()
    body = ask(alias, padding="x" * (12 * MIB))
    if (dialect, alias) in (("openai", "a"), ("anthropic", "o")):
        body = ask(alias, messages=[{"role": "user", "content": "x" * (12 * MIB)}])
    head = f"POST {PATHS[dialect]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    client.transport.write(head.encode() + body)
    await until(lambda: house.backends_seen and house.backends_seen[0].received)
    backend = house.backends_seen[0]
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
    await the_call_is_over(house, outcome="backend_error", code="too_large")
    await the_next_call_is_served(house, dialect, alias)
    if end is None:
        backend.transport.resumeProducing()
        await cut(backend)


@pytest_twisted.ensureDeferred
async def test_a_backend_that_reads_nothing_is_given_up(house):
    client = await house.post(PATHS["openai"], ask("o", padding="x" * (12 * MIB)))
    await until(lambda: house.backends_seen and house.backends_seen[0].received)
    house.backends_seen[0].transport.pauseProducing()
    await answered(client)
    assert told(client, "openai")[0] == 504
    await the_call_is_over(house, outcome="backend_error", code="timeout_headers")
    house.backends_seen[0].transport.resumeProducing()
    await cut(house.backends_seen[0])


# A status that is an error.

HTML = b"<html><body>backend-key at 10.0.0.1</body></html>"


def page(status, extra=b""):
    return (
        b"HTTP/1.1 %s\r\ncontent-type: text/html\r\n%scontent-length: %d\r\n\r\n"
        % (status, extra, len(HTML))
        + HTML
    )


def refusal(alias, message):
    """An error body in the backend's dialect."""
    error = {"type": "x_error", "message": message}
    value = {"error": error} if alias == "o" else {"type": "error", "error": error}
    return json.dumps(value).encode()


STATUSES = [
    (b"99999 Odd", 502, "bad_status"),
    (b"600 Odd", 502, "bad_status"),
    (b"099 Odd", 502, "bad_status"),
    (b"0 Odd", 502, "bad_status"),
    (b"301 Moved", 502, "redirect"),
    (b"302 Found", 502, "redirect"),
    (b"303 See Other", 502, "redirect"),
    (b"307 Temporary Redirect", 502, "redirect"),
    (b"308 Permanent Redirect", 502, "redirect"),
    (b"401 Unauthorized", 502, "backend_auth"),
    (b"403 Forbidden", 502, "backend_auth"),
]


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize(("line", "status", "code"), STATUSES)
async def test_a_status_that_is_not_the_clients_business(
    house, dialect, alias, line, status, code, html
):
    stream = html
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    location = b"location: http://127.0.0.1:9/elsewhere\r\n"
    backend.transport.write(
        page(line, location) if html else unary(refusal(alias, "backend-key"), line, location)
    )
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    assert "location" not in client.head
    assert b"backend-key" not in client.received and b"10.0.0.1" not in client.received
    await the_call_is_over(house, outcome="backend_error", code=code)
    assert len(house.backends_seen) == 1
    await the_next_call_is_served(house, dialect, alias, on=backend)


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
async def test_what_is_wrong_with_the_call_is_relayed(house, dialect, alias, line, status, stream):
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    backend.transport.write(unary(refusal(alias, "no good: backend-key"), line))
    await answered(client)
    native = (dialect, alias) in (("openai", "o"), ("anthropic", "a"))
    if native:
        assert client.head.startswith(f"http/1.1 {status}")
    else:
        assert told(client, dialect)[0] == (400 if status == 422 else status)
    assert b"no good: ***" in client.body
    record = (await house.ended())[0]
    assert (record.outcome, record.attempts[0].status) == ("backend_error", status)
    await the_next_call_is_served(house, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize(
    ("line", "status"),
    [(b"400 Bad Request", 400), (b"404 Not Found", 404), (b"500 Oops", 500), (b"502 Bad", 500)],
)
async def test_a_page_becomes_an_error_of_ours(house, dialect, alias, line, status):
    client = await house.post(PATHS[dialect], ask(alias))
    backend = await house.backend()
    backend.transport.write(page(line))
    await answered(client)
    assert told(client, dialect)[0] == status
    assert b"html" not in client.body
    record = (await house.ended())[0]
    assert record.outcome == "backend_error"
    await the_next_call_is_served(house, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize("body", ["json", "html"])
@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        (b"429 Too Many", {"openai": 429, "anthropic": 429}),
        (b"503 Busy", {"openai": 503, "anthropic": 529}),
        (b"529 Overloaded", {"openai": 503, "anthropic": 529}),
    ],
)
async def test_a_backend_that_is_busy(house, dialect, alias, line, statuses, stream, body):
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    later = b"retry-after: 7\r\n"
    backend.transport.write(
        page(line, later) if body == "html" else unary(refusal(alias, "wait"), line, later)
    )
    await answered(client)
    native = body == "json" and (dialect, alias) in (("openai", "o"), ("anthropic", "a"))
    status = int(line[:3]) if native else told(client, dialect)[0]
    assert client.head.startswith(f"http/1.1 {status}")
    assert native or status == statuses[dialect]
    assert "\r\nretry-after: 7" in client.head
    record = (await house.ended())[0]
    assert record.outcome == "backend_error"
    await the_next_call_is_served(house, dialect, alias, on=backend)


# A whole answer that cannot be used.

JUNK = b"\xff\xfe not text"


def length(body, more=0):
    return write(HEAD, b"content-length: %d\r\n\r\n" % (len(body) + more), body)


def chunked(*pieces, end=b"0\r\n\r\n", then=None):
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    return write(head, *map(chunk, pieces), end, then=then)


UNARY = {
    "cut, fin": (both(length(b'{"id":', 9), fin), 502, "truncated"),
    "cut, rst": (both(length(b'{"id":', 9), rst), 502, "truncated"),
    "a chunk is cut": (chunked(b'{"id":', end=b"9\r\n{", then=fin), 502, "truncated"),
    "the last chunk is missing": (chunked(b"{}", end=b"", then=fin), 502, "truncated"),
    "the last line is missing": (chunked(b"{}", end=b"0\r\n", then=fin), 502, "truncated"),
    "a chunk's size is none": (chunked(b"{}", end=b"zz\r\n"), 502, "truncated"),
    "half of the JSON": (length(b'{"id":'), 502, "invalid_json_from_backend"),
    "no UTF-8": (length(b'{"id":"%s"}' % JUNK), 502, "invalid_json_from_backend"),
    "a list": (length(b"[]"), 502, "invalid_json_from_backend"),
    "nothing": (length(b""), 502, "invalid_json_from_backend"),
    "too deep": (length(b'{"a":' + b"[" * 100_000), 502, "invalid_json_from_backend"),
    "close-delimited, cut": (
        write(HEAD, b'\r\n{"id":', then=fin),
        502,
        "invalid_json_from_backend",
    ),
    "silence": (length(b'{"id":', 9), 504, "timeout_idle"),
    "drip": (
        both(write(HEAD, b"content-length: 999\r\n\r\n"), again_and_again(b" ")),
        504,
        "timeout_total",
    ),
    "204": (write(b"HTTP/1.1 204 No Content\r\n\r\n"), 502, "invalid_json_from_backend"),
    "HTML": (write(page(b"200 OK")), 502, "wrong_content_type"),
    "an image": (
        write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 3\r\n\r\nPNG"),
        502,
        "wrong_content_type",
    ),
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("fault", UNARY)
async def test_an_answer_that_cannot_be_used(house, dialect, alias, fault):
    script, status, code = UNARY[fault]
    # What is JSON is taken as the answer to a streamed call, too.
    stream = alias == "o"
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    script(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    await the_call_is_over(house, outcome="backend_error", code=code)
    whole = code == "invalid_json_from_backend" and "close" not in fault
    if not whole:
        await cut(backend)
    await the_next_call_is_served(house, dialect, alias, on=backend if whole else None)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
async def test_an_error_with_the_status_of_success(house, dialect, alias, stream):
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    error = {"type": "overloaded_error", "message": "too many at backend-key"}
    value = {"error": error} if alias == "o" else {"type": "error", "error": error}
    backend.transport.write(unary(json.dumps(value).encode()))
    await answered(client)
    status, kind, _ = told(client, dialect)
    if dialect == "openai":
        assert (status, kind) == (503, "service_unavailable_error")
    else:
        assert (status, kind) == (529, "overloaded_error")
    assert b"too many at ***" in client.body
    await the_call_is_over(house, outcome="backend_error", code="overloaded")
    await the_next_call_is_served(house, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("dialect", "alias"), ENDS[:2])
async def test_an_answer_that_is_too_large(open_house, dialect, alias):
    house = await open_house(Timeouts())
    client = await house.post(PATHS[dialect], ask(alias))
    backend = await house.backend()
    backend.transport.write(HEAD + b"content-length: 1000000000\r\n\r\n")
    endless(b" " * MIB)(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (502, "server_error")
    await the_call_is_over(house, outcome="backend_error", code="oversized")
    await cut(backend)
    await the_next_call_is_served(house, dialect, alias)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_that_ends_with_its_connection(house, dialect, alias, stream, version):
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    kind, body = b"application/json", WHOLE[alias]
    if stream:
        kind, body = b"text/event-stream", b"".join(EVENTS[alias])
    backend.transport.write(b"HTTP/%s 200 OK\r\ncontent-type: %s\r\n\r\n%s" % (version, kind, body))
    fin(backend)
    await answered(client)
    assert "hé" in client.body.decode()
    await the_call_is_over(house, outcome="complete")
    await the_next_call_is_served(house, dialect, alias)


ZIPPED = {
    "whole": (gzip.compress, True),
    "cut": (lambda body: gzip.compress(body)[:-20], False),
    "not zipped": (lambda body: b"\x1f\x8b" + body, False),
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize("fault", ZIPPED)
async def test_a_compressed_answer_that_nobody_asked_for(house, dialect, alias, stream, fault):
    zipped, readable = ZIPPED[fault]
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    assert "accept-encoding: identity" in backend.head
    kind, plain = b"application/json", WHOLE[alias]
    if stream:
        kind, plain = b"text/event-stream", EVENTS[alias][0] * 3
    body = zipped(plain if not readable or not stream else b"".join(EVENTS[alias]))
    backend.transport.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-encoding: gzip\r\n"
        b"content-length: %d\r\n\r\n%s" % (kind, len(body), body)
    )
    await answered(client)
    assert "content-encoding" not in client.head
    [record] = await house.ended()
    if readable:
        assert "hé" in client.body.decode()
        assert record.outcome == "complete"
    elif client.head.startswith("http/1.1 200"):
        told_in_band(client, dialect)
        assert record.outcome == "stream_error"
    else:
        assert told(client, dialect)[0] == 502
        assert record.outcome == "backend_error"
    await the_next_call_is_served(house, dialect, alias, on=...)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_compressed_error(house, dialect, alias):
    client = await house.post(PATHS[dialect], ask(alias))
    backend = await house.backend()
    body = gzip.compress(refusal(alias, "slow down"))
    backend.transport.write(unary(body, b"429 Too Many", b"content-encoding: gzip\r\n"))
    await answered(client)
    assert told(client, dialect)[0] == 429
    assert b"slow down" in client.body
    await the_next_call_is_served(house, dialect, alias, on=backend)


# A stream without its first event.

NO_EVENT = {
    "fin": (write(sse_head(), then=fin), 502, "upstream_stream_truncated"),
    "rst": (write(sse_head(), then=rst), 502, "upstream_stream_truncated"),
    "empty": (write(sse_head(), b"0\r\n\r\n"), 502, "upstream_stream_truncated"),
    "comments": (
        write(sse_head(), chunk(b": hi\n\n"), b"0\r\n\r\n"),
        502,
        "upstream_stream_truncated",
    ),
    "silence": (write(sse_head()), 504, "timeout_idle"),
    "comments for ever": (
        both(write(sse_head()), again_and_again(chunk(b": hi\n\n"))),
        504,
        "timeout_first_event",
    ),
    "9 MB without an end": (
        both(write(sse_head(), chunk(b"data: ")), endless(chunk(b"y" * 60_000))),
        502,
        "bad_upstream_response",
    ),
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("fault", NO_EVENT)
async def test_a_stream_without_an_event(house, dialect, alias, fault):
    script, status, code = NO_EVENT[fault]
    client = await house.post(PATHS[dialect], ask(alias, stream=True))
    backend = await house.backend()
    script(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    await the_call_is_over(house, outcome="backend_error", code=code)
    clean = fault in ("empty", "comments")
    if not clean:
        await cut(backend)
    await the_next_call_is_served(house, dialect, alias, on=backend if clean else None)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("garbage", [b'{"a', b'{"a": "\xff\xfe"}', b"[1]", b"null"])
async def test_garbage_as_the_first_event(house, dialect, alias, garbage):
    client = await house.post(PATHS[dialect], ask(alias, stream=True))
    backend = await house.backend()
    backend.transport.write(sse_head() + chunk(b"data: %s\n\n" % garbage) + b"0\r\n\r\n")
    await answered(client)
    assert told(client, dialect)[0] == 502
    [record] = await house.ended()
    assert record.outcome == "backend_error"
    await the_next_call_is_served(house, dialect, alias, on=...)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_flood_before_the_first_event_is_bounded(open_house, dialect, alias):
    """The client gets its answer begun rather than that we keep it all."""
    house = await open_house(Timeouts(first_event=30, idle=30, total=0.8, commit=20))
    client = await house.post(PATHS[dialect], ask(alias, stream=True))
    client.transport.pauseProducing()
    backend = await house.backend()
    sent = [0]
    flood = chunk(b": " + b"x" * 60_000 + b"\n\n")

    class Pull:
        def resumeProducing(self):
            sent[0] += len(flood)
            backend.transport.write(flood)

        def stopProducing(self): ...

    backend.transport.write(sse_head())
    backend.transport.registerProducer(Pull(), False)
    await deferLater(reactor, 0.5)
    if (dialect, alias) in (("openai", "o"), ("anthropic", "a")):
        assert sent[0] < 40 * MIB, "the backend must be paused"
    client.transport.resumeProducing()
    await answered(client)
    [record] = await house.ended()
    assert record.code == "timeout_total"
    await cut(backend)


# After the first event.

MIDSTREAM = {
    "fin": (fin, "upstream_stream_truncated"),
    "rst": (rst, "upstream_stream_truncated"),
    "clean end": (write(b"0\r\n\r\n"), "upstream_stream_truncated"),
    "half an event, fin": (write(chunk(b'data: {"cho'), then=fin), "upstream_stream_truncated"),
    "half an event, clean end": (
        write(chunk(b'event: x\ndata: {"cho'), b"0\r\n\r\n"),
        "upstream_stream_truncated",
    ),
    "half a chunk, rst": (write(b'999\r\ndata: {"cho', then=rst), "upstream_stream_truncated"),
    "a chunk's size is none": (write(b"zz\r\n"), "upstream_stream_truncated"),
    "silence": (write(), "timeout_idle"),
    "half an event, silence": (write(chunk(b'data: {"cho')), "timeout_idle"),
    "drip": (again_and_again(chunk(b": hi\n\n")), "timeout_total"),
    "drip within an event": (again_and_again(chunk(b"data")), "timeout_total"),
    "9 MB without an end": (
        both(write(chunk(b"data: ")), endless(chunk(b"y" * 60_000))),
        "bad_upstream_response",
    ),
}


async def first_event(house, dialect, alias, head=None):
    """A client that has the first event of a stream, and the backend that it came from."""
    client = await house.post(PATHS[dialect], ask(alias, stream=True))
    backend = await house.backend()
    backend.transport.write((head or sse_head()) + chunk(EVENTS[alias][0]))
    await client.has("hé".encode())
    return client, backend


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("fault", MIDSTREAM)
async def test_a_stream_that_breaks(house, dialect, alias, fault):
    script, code = MIDSTREAM[fault]
    client, backend = await first_event(house, dialect, alias)
    script(backend)
    await answered(client)
    kind, in_band, before = told_in_band(client, dialect)
    assert kind == (
        "timeout_error" if dialect == "anthropic" and "time" in code else error_type(dialect, 502)
    )
    assert in_band == (code if dialect == "openai" else None)
    assert "hé" in before and '"cho' not in before.replace('"choices"', "")
    await the_call_is_over(house, outcome="stream_error", code=code)
    clean = "clean" in fault
    if not clean:
        await cut(backend)
    await the_next_call_is_served(house, dialect, alias, on=backend if clean else None)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_stream_without_end(house, dialect, alias):
    client, backend = await first_event(house, dialect, alias)
    event = O_EVENT if alias == "o" else A_EVENT.partition(b"event: content_block_delta")[2]
    endless(chunk((b"" if alias == "o" else b"event: content_block_delta") + event))(backend)
    await answered(client)
    told_in_band(client, dialect)
    await the_call_is_over(house, outcome="stream_error", code="timeout_total")
    await cut(backend)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("garbage", [b'{"a', b'{"a": "\xff\xfe"}'])
async def test_garbage_in_a_stream(house, dialect, alias, garbage):
    """Translated, it is an error. Passed through, it is the backend's word for the client to
    judge: nothing is changed, nor looked at for longer than to find the end."""
    client, backend = await first_event(house, dialect, alias)
    backend.transport.write(chunk(b"data: %s\n\n" % garbage) + chunk(EVENTS[alias][1]))
    backend.transport.write(b"0\r\n\r\n")
    await answered(client)
    if (dialect, alias) in (("openai", "o"), ("anthropic", "a")):
        whole = EVENTS[alias][0] + b"data: %s\n\n" % garbage + EVENTS[alias][1]
        assert client.body == whole
        await the_call_is_over(house, outcome="complete")
    else:
        told_in_band(client, dialect)
        await the_call_is_over(house, outcome="stream_error", code="bad_upstream_response")
        await cut(backend)


ERRORS = {
    "o": b'data: {"error":{"message":"out of %s","type":"server_error","code":"x"}}\n\n',
    "a": b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
    b'"message":"out of %s"}}\n\n',
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("hangs", [False, True])
async def test_an_error_that_the_backend_tells(house, dialect, alias, hangs):
    client, backend = await first_event(house, dialect, alias)
    backend.transport.write(chunk(ERRORS[alias] % b"backend-key"))
    if not hangs:
        backend.transport.write(b"0\r\n\r\n")
    await answered(client)
    told_in_band(client, dialect)
    assert b"out of ***" in client.body
    [record] = await house.ended()
    assert record.outcome == "stream_error"
    assert house.gauge() == 0
    await the_next_call_is_served(house, dialect, alias, on=...)


# The end.


def without_terminator(alias):
    """The end of a stream up to where the dialect's own end would stand."""
    return EVENTS[alias][1].rpartition(b"data: [DONE]" if alias == "o" else b"event: message_stop")[
        0
    ]


TERMINATORS = {"openai": b"data: [DONE]\n\n", "anthropic": b"message_stop"}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("end", ["clean", "fin", "rst"])
async def test_an_answer_is_whole_once_it_has_its_reason_to_stop(
    house, dialect, alias, terminated, end
):
    client, backend = await first_event(house, dialect, alias)
    script = {"clean": write(b"0\r\n\r\n"), "fin": fin, "rst": rst}[end]
    backend.transport.write(chunk(EVENTS[alias][1] if terminated else without_terminator(alias)))
    script(backend)
    await answered(client)
    assert client.body.count(TERMINATORS[dialect]) == (1 if dialect == "openai" else 2)
    assert b'"error"' not in client.body
    await the_call_is_over(house, outcome="complete")
    await the_next_call_is_served(house, dialect, alias, on=backend if end == "clean" else None)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("more", [b"", b": and more\n\n"])
async def test_a_backend_that_does_not_end_after_its_end(house, dialect, alias, more):
    client, backend = await first_event(house, dialect, alias)
    began = reactor.seconds()
    backend.transport.write(chunk(EVENTS[alias][1]))
    if more:
        again_and_again(chunk(more))(backend)
    await answered(client)
    assert reactor.seconds() - began < 0.5, "the client does not wait for it"
    await the_call_is_over(house, outcome="complete")
    assert b"and more" not in client.body
    await cut(backend)
    assert reactor.seconds() - began > 0.8, "it was given a second"
    await the_next_call_is_served(house, dialect, alias)


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
async def test_what_no_backend_must_see(house, dialect, what):
    body, status, code = UNFIT[what]
    client = await house.post(PATHS[dialect], body)
    await answered(client)
    assert told(client, dialect)[:2] == (
        status,
        TYPES[status] if dialect == "anthropic" else "invalid_request_error",
    )
    [record] = await house.ended()
    assert (record.outcome, record.code, record.attempts) == ("refused", code, [])
    assert house.gauge() == 0
    assert house.backends_seen == []
    labels = [
        sample.labels["alias"]
        for metric in house.registry.collect()
        for sample in metric.samples
        if "alias" in sample.labels
    ]
    assert set(labels) <= {"other", "o", "a"}, "no client makes a label of metrics"
    await the_next_call_is_served(house, dialect, "o")


# Too many calls at one backend.

ONE = "max_in_flight = 1, queue = 1, queue_timeout = 0.3"
CROWDED = CONFIG.replace('"env:KEY"', '"env:KEY", ' + ONE)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
async def test_a_backend_that_has_as_many_calls_as_it_may(open_house, dialect, alias, stream):
    house = await open_house(Timeouts(), CROWDED)
    body = ask(alias, stream=stream)
    first = await house.post(PATHS[dialect], body)
    backend = await house.backend()
    began = reactor.seconds()
    waiting = await house.post(PATHS[dialect], body)
    await until(lambda: house.gauge() == 2)
    refused = await house.post(PATHS[dialect], body)
    await answered(refused)
    assert reactor.seconds() - began < 0.2, "the queue is full: it need not wait"
    await answered(waiting)
    assert reactor.seconds() - began > 0.25
    for client in (waiting, refused):
        status, kind, code = told(client, dialect)
        assert status == (503 if dialect == "openai" else 529)
        assert kind == ("service_unavailable_error" if dialect == "openai" else "overloaded_error")
        assert "\r\nretry-after: 1" in client.head
    backend.transport.write(unary(WHOLE[alias]))
    await first.has("hé".encode())
    records = await house.ended(3)
    assert [record.code for record in records] == ["backend_busy", "backend_busy", ""]
    assert [len(record.attempts) for record in records] == [1, 1, 1]
    assert len(house.backends_seen) == 1
    await the_next_call_is_served(house, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_who_waits_is_served_in_turn(open_house, dialect, alias):
    house = await open_house(QUICK, NARROW)
    clients = []
    for number in range(4):
        messages = [{"role": "user", "content": f"n{number}"}]
        clients.append(await house.post(PATHS[dialect], ask(alias, messages=messages)))
        await until(lambda: house.gauge() == len(clients))
    backend = await house.backend()
    for number, client in enumerate(clients):
        await backend.has(b"POST ", times=number + 1)
        assert f"n{number}".encode() in bytes(backend.received).rpartition(b"POST ")[2]
        backend.transport.write(unary(WHOLE[alias]))
        await client.has("hé".encode())
    assert len(house.backends_seen) == 1


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


async def the_second_answers(house, dialect, line):
    assert json.loads(line.body)["model"] == "two"
    line.transport.write(sse_head() + chunk(b"".join(EVENTS["a"])) + b"0\r\n\r\n")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", list(PATHS))
@pytest.mark.parametrize("fault", NEXT)
async def test_the_next_target_is_tried(open_house, dialect, fault):
    house = await open_house(config=PAIR.replace("FIRST", "http://127.0.0.1:PORT"))
    client = await house.post(PATHS[dialect], ask("pair", stream=True))
    NEXT[fault](await house.backend())
    await the_second_answers(house, dialect, await house.backend(2))
    await answered(client)
    assert "hé" in client.body.decode()
    await the_call_is_over(house, outcome="complete", attempts=2)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("fault", ["refused", "dns", "connect hang", "tls"])
async def test_the_next_target_is_tried_where_there_is_no_connection(
    open_house, port, crowded, fault
):
    url = {
        "refused": f"http://127.0.0.1:{port}",
        "dns": "http://nowhere.invalid",
        "connect hang": f"http://127.0.0.1:{crowded}",
        "tls": "https://127.0.0.1:PORT",
    }[fault]
    house = await open_house(config=PAIR.replace("FIRST", url))
    client = await house.post(PATHS["openai"], ask("pair", stream=True))
    if fault == "tls":
        await until(lambda: house.backends_seen and house.backends_seen[0].received)
        house.backends_seen[0].transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await the_second_answers(house, "openai", await house.backend(2 if fault == "tls" else 1))
    await answered(client)
    assert "hé" in client.body.decode()
    await the_call_is_over(house, outcome="complete", attempts=2)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", list(PATHS))
@pytest.mark.parametrize("fault", NO_NEXT)
async def test_no_other_target_is_tried(open_house, dialect, fault):
    house = await open_house(config=PAIR.replace("FIRST", "http://127.0.0.1:PORT"))
    client = await house.post(PATHS[dialect], ask("pair", stream=fault == "hang"))
    NO_NEXT[fault](await house.backend())
    await answered(client)
    assert told(client, dialect)[0] >= 400
    [record] = await house.ended()
    assert (record.outcome, len(record.attempts)) == ("backend_error", 1)
    assert len(house.backends_seen) == 1


# What the official SDKs make of it.


def ask_openai(port, alias, stream):
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0
    ) as client:
        answer = client.chat.completions.create(
            model=alias, messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        return [*answer] if stream else answer


def ask_anthropic(port, alias, stream):
    with anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{port}", api_key="k", max_retries=0
    ) as client:
        answer = client.messages.create(
            model=alias, messages=[{"role": "user", "content": "hi"}], max_tokens=9, stream=stream
        )
        return [*answer] if stream else answer


SDKS = {"openai": (ask_openai, openai), "anthropic": (ask_anthropic, anthropic)}

RAISED = {
    "closed": (fin, "InternalServerError"),
    "silence": (write(), "InternalServerError"),
    "garbage": (write(b"garbage\r\n\r\n"), "InternalServerError"),
    "redirect": (write(page(b"302 Found", b"location: /x\r\n")), "InternalServerError"),
    "our key is refused": (write(page(b"401 Unauthorized")), "InternalServerError"),
    "a page": (write(page(b"200 OK")), "InternalServerError"),
    "busy": (write(page(b"429 Busy", b"retry-after: 1\r\n")), "RateLimitError"),
    "overloaded": (write(page(b"503 Busy")), "InternalServerError"),
    "too large": (write(page(b"413 Large")), "APIStatusError"),
    "no such thing": (write(page(b"404 Nothing")), "NotFoundError"),
    "cut": (both(length(b'{"id":', 9), fin), "InternalServerError"),
    "nothing but headers": (write(sse_head(), then=fin), "InternalServerError"),
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize("fault", RAISED)
async def test_the_sdks_raise_what_they_should(house, dialect, alias, stream, fault):
    script, name = RAISED[fault]
    call, sdk = SDKS[dialect]
    asking = deferToThread(call, house.port, alias, stream)
    script(await house.backend())
    with pytest.raises(getattr(sdk, name)) as raised:
        await asking
    assert raised.value.request_id


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("fault", ["fin", "clean end", "silence", "a chunk's size is none"])
async def test_the_sdks_notice_a_stream_that_breaks(house, dialect, alias, fault):
    script, _ = MIDSTREAM[fault]
    call, sdk = SDKS[dialect]
    asking = deferToThread(call, house.port, alias, True)
    backend = await house.backend()
    backend.transport.write(sse_head() + chunk(EVENTS[alias][0]))
    script(backend)
    with pytest.raises(sdk.APIError):
        await asking
