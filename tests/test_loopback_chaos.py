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
stream without an event                        here; after a commit: test_loopback_patience.py:
                                               test_case_69
stream that breaks after its first event       here, and test_loopback.py:
                                               test_a_stream_that_breaks_ends_with_one_error_in_band
an error event of the backend                  here; as the first event: test_loopback.py:
                                               test_case_68
terminator lost, hang after it                 here
too many calls at one backend                  here, and test_gate.py

client side                                    proved by
---------------------------------------------  -----------------------------------------------------
drops while sending headers or body            test_site_loopback.py:
                                               test_a_client_that_leaves_in_its_upload_is_forgotten
malformed HTTP, smuggling, NUL, bare CR or LF  test_site.py, test_site_smuggling.py
too many, too long, slow headers; slow body    test_site.py; test_site_loopback.py:
                                               test_a_dripping_client_meets_its_deadline
100 MB declared or chunked                     test_site_loopback.py:
                                               test_a_client_that_sends_all_before_it_reads_gets_its_413
no JSON, NaN, BOM, bad UTF-8, too deep         test_envelope.py
wrong types, missing model                     test_envelope.py, adapters/test_*_request_decode.py
duplicate keys                                 test_envelope.py
odd or unknown model names                     test_envelope.py; test_client_faults.py:
                                               test_an_unknown_model_is_404_for_openai_clients
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
import socket

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
    cut,
    next_request,
    the_call_is_over,
    the_next_call_is_served,
    told,
    told_in_band,
)
from conftest import free_port
from house import A_EVENT, CONFIG, EVENTS, O_EVENT, PATHS, ask, chunk, sse_head, unary
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread

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
    line.transport.abortConnection()


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
        loop = LoopingCall(lambda: line.transport.write(piece) if line.lost is None else loop.stop())
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
def unlistened():
    """A port that refuses."""
    return free_port()


@pytest.fixture
def crowded():
    """A port that neither accepts nor refuses: its queue of connections is full."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listening.getsockname())
        waiting.append(client)
    yield listening.getsockname()[1]
    for each in (*waiting, listening):
        each.close()


def config_for(url):
    return CONFIG.replace("http://127.0.0.1:PORT/v1/", url).replace("http://127.0.0.1:PORT", url)


@pytest_twisted.ensureDeferred
@STREAM
@BOTH_ENDS
async def test_a_refused_connection(open_house, unlistened, dialect, alias, stream):
    house = await open_house(config=config_for(f"http://127.0.0.1:{unlistened}"))
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
        await wait_for(lambda: house.backends_seen and house.backends_seen[0].received)
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


async def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        await deferLater(reactor, 0.005)
    raise AssertionError("it did not come to pass")


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
    "a flood of 100 Continue": (endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 500), 502, "bad_response"),
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
async def test_a_reused_connection_that_dies_is_replaced_by_a_fresh_one(
    house, dialect, alias, end
):
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
async def test_an_answer_that_comes_before_the_request_was_sent(
    house, dialect, alias, end, parts
):
    """A body that the kernel does not take at once, and a backend that reads none of it."""
    client = await house.client()
    body = ask(alias, padding="x" * (12 * MIB))
    if (dialect, alias) in (("openai", "a"), ("anthropic", "o")):
        body = ask(alias, messages=[{"role": "user", "content": "x" * (12 * MIB)}])
    head = f"POST {PATHS[dialect]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    client.transport.write(head.encode() + body)
    await wait_for(lambda: house.backends_seen and house.backends_seen[0].received)
    backend = house.backends_seen[0]
    backend.transport.pauseProducing()
    refusal = b'{"error":{"message":"too much","type":"invalid_request_error"}}'
    answer = unary(refusal, b"413 Content Too Large")
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
    await the_call_is_over(house, outcome="backend_error", code="request_too_large")
    await the_next_call_is_served(house, dialect, alias)
    if end is None:
        backend.transport.resumeProducing()
        await cut(backend)


@pytest_twisted.ensureDeferred
async def test_a_backend_that_reads_nothing_is_given_up(house):
    client = await house.post(PATHS["openai"], ask("o", padding="x" * (12 * MIB)))
    await wait_for(lambda: house.backends_seen and house.backends_seen[0].received)
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
    location = b"location: http://127.0.0.1:%d/elsewhere\r\n" % free_port()
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
    assert "\r\nretry-after: 7\r\n" in client.head
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
async def test_an_answer_that_ends_with_its_connection(
    house, dialect, alias, stream, version
):
    client = await house.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await house.backend()
    kind, body = b"application/json", WHOLE[alias]
    if stream:
        kind, body = b"text/event-stream", b"".join(EVENTS[alias])
    backend.transport.write(
        b"HTTP/%s 200 OK\r\ncontent-type: %s\r\n\r\n%s" % (version, kind, body)
    )
    fin(backend)
    await answered(client)
    assert "hé" in client.body.decode()
    await the_call_is_over(house, outcome="complete")
    await the_next_call_is_served(house, dialect, alias)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("line", [b"200 OK", b"429 Too Many"])
@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
async def test_a_compressed_answer_that_nobody_asked_for(house, dialect, alias, line, kind):
    client = await house.post(PATHS[dialect], ask(alias, stream=True))
    backend = await house.backend()
    assert "accept-encoding: identity" in backend.head
    plain = b"".join(EVENTS[alias]) if kind == b"text/event-stream" else WHOLE[alias]
    body = gzip.compress(plain)
    backend.transport.write(
        b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
        % (line, kind, len(body))
        + body
    )
    await answered(client)
    status, _, _ = told(client, dialect)
    message = json.loads(client.body)["error"]["message"]
    assert message.isascii()
    if line.startswith(b"200"):
        assert status == 502
        assert "compressed" in message
        await the_call_is_over(house, outcome="backend_error", code="wrong_content_encoding")
        await the_next_call_is_served(house, dialect, alias)
    else:
        assert status == 429
        await the_next_call_is_served(house, dialect, alias, on=backend)


# A stream without its first event.

NO_EVENT = {
    "fin": (write(sse_head(), then=fin), 502, "truncated"),
    "rst": (write(sse_head(), then=rst), 502, "truncated"),
    "empty": (write(sse_head(), b"0\r\n\r\n"), 502, "empty"),
    "comments only": (write(sse_head(), chunk(b": hi\n\n"), b"0\r\n\r\n"), 502, "empty"),
    "silence": (write(sse_head()), 504, "timeout_idle"),
    "comments for ever": (
        both(write(sse_head()), again_and_again(chunk(b": hi\n\n"))),
        504,
        "timeout_first_event",
    ),
    "garbage": (write(sse_head(), chunk(b'data: {"a\n\n'), b"0\r\n\r\n"), 502, "bad_upstream"),
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
    script, status, _ = NO_EVENT[fault]
    client = await house.post(PATHS[dialect], ask(alias, stream=True))
    backend = await house.backend()
    script(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    [record] = await house.ended()
    print(record.code)
    assert record.outcome == "backend_error"
    assert house.gauge() == 0
    clean = fault in ("empty", "comments only", "garbage")
    if not clean:
        await cut(backend)
