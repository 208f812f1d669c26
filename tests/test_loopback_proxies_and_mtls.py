"""Ways out: backends behind a proxy, and those that ask for a client's certificate. The faults of
the proxy itself; and over these ways, and for compressed requests of clients, rows of the fault
matrix and clients who leave."""

import gzip
import shutil
import socket
import subprocess
from base64 import b64decode

import pytest
import pytest_twisted
from broken_backends import endless, fin, rst
from certificates import Authority
from chaos import (
    CHAOS,
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
from connect_proxy import STANDS, ConnectProxy, answer
from ports import free_port
from rig import EVENTS, PATHS, ask, chunk, sse_head, unary
from test_loopback_cancellation import AT_ONCE, PATIENT, PHASES, leave, the_client_has_left
from test_loopback_chaos import NO_HEAD
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.ssl import TLSVersion
from twisted.internet.task import deferLater

from lmbroker.call import Timeouts

RIG = CHAOS

LEAVES = pytest.mark.parametrize("rudely", [False, True], ids=["fin", "rst"])
TLS = pytest.mark.parametrize("version", [TLSVersion.TLSv1_2, TLSVersion.TLSv1_3])


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """A ``ca``, and our certificate, as lines of configuration."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "ca.pem").write_text(authority.pem)
    cert, key = authority.files(folder)
    return {
        "ca": f'ca = "{folder / "ca.pem"}"',
        "own": f'client_cert = "{cert}", client_key = "{key}"',
    }


@pytest.fixture
def proxy():
    made = ConnectProxy()
    pytest_twisted.blockon(Deferred.fromCoroutine(made.listen()))
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


def over_tls(options):
    return lambda: SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")


def with_keys(url, *keys):
    """The rig's configuration with another URL and more keys."""
    return config_for(url).replace('api_key = "env:KEY"', ", ".join(['api_key = "env:KEY"', *keys]))


def through(proxy, url="http://backend.invalid:PORT", *keys):
    """Through the proxy. No resolver knows the backend's name."""
    return with_keys(url, f'proxy = "http://us%20er:env:KEY@{proxy.address}"', *keys)


async def open_way(way, open_rig, proxy, authority, files, **options):
    """A rig whose backend is reached by one of the ways."""
    server = over_tls(authority.asking())
    if way == "proxy":
        return await open_rig(config=through(proxy), **options)
    if way == "mTLS":
        config = with_keys("https://localhost:PORT", files["ca"], files["own"])
        return await open_rig(config=config, listen=server, **options)
    if way == "both":
        config = through(proxy, "https://localhost:PORT", files["ca"], files["own"])
        return await open_rig(config=config, listen=server, **options)
    return await open_rig(**options)


WAYS = ("proxy", "mTLS", "both")


async def post(rig, way, alias, **more):
    """A call of a client of OpenAI's; by the way ``compressed`` its body is."""
    body, headers = ask(alias, **more), ()
    if way == "compressed":
        body, headers = gzip.compress(body), ("Content-Encoding: gzip",)
    return await rig.post(PATHS["openai"], body, headers)


# What goes well.


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("way", WAYS)
async def test_a_backend_is_served_and_its_connection_used_again(
    open_rig, proxy, authority, files, way
):
    rig = await open_way(way, open_rig, proxy, authority, files)
    await the_next_call_is_served(rig, "openai", "o")
    [backend] = rig.backends_seen
    await the_next_call_is_served(rig, "anthropic", "o", on=backend, stream=True)
    if way == "mTLS":
        assert proxy.seen == []
        return
    [near] = proxy.seen
    host = "localhost" if way == "both" else "backend.invalid"
    port = rig._backend_port.getHost().port
    line, *fields = near.received.decode().split("\r\n")
    assert line == f"CONNECT {host}:{port} HTTP/1.1"
    assert fields[0] == f"Host: {host}:{port}"
    assert b64decode(fields[1].removeprefix("Proxy-Authorization: Basic ")) == b"us er:backend-key"
    assert fields[2:] == ["", ""]
    assert b"Proxy" not in backend.received


@pytest_twisted.ensureDeferred
async def test_the_proxy_looks_the_name_up(open_rig, proxy):
    with resolver(Resolver(answers=True)) as installed:
        rig = await open_rig(config=through(proxy))
        await the_next_call_is_served(rig, "openai", "o")
    assert installed.asked == 0


@pytest_twisted.ensureDeferred
async def test_a_proxy_in_several_reads_and_with_interim_answers(open_rig, proxy):
    def dripping(near):
        early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
        near.transport.setTcpNoDelay(True)
        near.transport.write(early + b"HT")
        reactor.callLater(0.02, near.open)
        near.transport.write = later(near.transport.write)

    def later(write):
        def once(data):
            if data == STANDS:
                for at, byte in enumerate(STANDS[2:]):
                    reactor.callLater(0.0005 * at, write, bytes([byte]))
            else:
                write(data)

        return once

    proxy.script = dripping
    rig = await open_rig(config=through(proxy))
    await the_next_call_is_served(rig, "openai", "o")


@pytest_twisted.ensureDeferred
@TLS
async def test_each_version_of_tls_shows_the_certificate(open_rig, authority, files, version):
    server = authority.asking(lowerMaximumSecurityTo=version)
    config = with_keys("https://localhost:PORT", files["ca"], files["own"])
    rig = await open_rig(config=config, listen=over_tls(server))
    await the_next_call_is_served(rig, "openai", "o")
    shown = rig.backends_seen[0].transport.getPeerCertificate()
    assert shown is not None


@pytest.mark.process
@pytest.mark.sockets
@pytest_twisted.ensureDeferred
@pytest.mark.skipif(shutil.which("tinyproxy") is None, reason="there is no tinyproxy here")
@pytest.mark.parametrize("secure", [False, True])
async def test_tinyproxy(open_rig, authority, files, tmp_path, secure):
    port = free_port()
    conf = tmp_path / "tinyproxy.conf"
    conf.write_text(f"Port {port}\nListen 127.0.0.1\nBasicAuth user backend-key\n")
    running = subprocess.Popen(["tinyproxy", "-d", "-c", conf], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if port_is_open(port):
                break
            await deferLater(reactor, 0.05)
        url = "https://localhost:PORT" if secure else "http://127.0.0.1:PORT"
        listen = over_tls(authority.asking()) if secure else None
        for user, status in (("user:env:KEY", 200), ("user:wrong", 502)):
            keys = (f'proxy = "http://{user}@127.0.0.1:{port}"', files["ca"], files["own"])
            rig = await open_rig(config=with_keys(url, *keys), listen=listen)
            if status == 200:
                await the_next_call_is_served(rig, "openai", "o")
                await the_next_call_is_served(
                    rig, "openai", "o", on=rig.backends_seen[0], stream=True
                )
            else:
                client = await rig.post(PATHS["openai"], ask("o"))
                await answered(client)
                assert told(client, "openai")[::2] == (502, "proxy_auth")
    finally:
        running.terminate()
        running.wait()


def port_is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


# Faults of the proxy.


def says(*pieces):
    """A proxy that says this, and nothing else."""
    return lambda near: near.transport.write(b"".join(pieces))


FAULTS = {
    "other credentials": (answer(b"407 Proxy Authentication Required"), "proxy_auth", "407"),
    "not allowed": (
        answer(b"403 No", b"content-length: 9\r\n\r\nbackend-k"),
        "proxy_refused",
        "403",
    ),
    "no CONNECT": (answer(b"405 Not Allowed", then=fin), "proxy_refused", "405"),
    "no way": (answer(b"502 Bad Gateway", then=fin), "proxy_failed", "502"),
    "too slow a way": (answer(b"504 Gateway Timeout", then=fin), "proxy_failed", "504"),
    "a redirect": (answer(b"302 Found", b"location: http://x/\r\n\r\n"), "proxy_refused", "302"),
    "another protocol": (says(b"SSH-2.0-OpenSSH\r\n"), "proxy_bad_answer", "not HTTP"),
    "TLS": (says(b"\x15\x03\x01\x00\x02\x02"), "proxy_bad_answer", "not HTTP"),
    "a status that is none": (answer(b"OK"), "proxy_bad_answer", "not HTTP"),
    "no end": (endless(b"HTTP/1.1 200 " + b"K" * 60_000), "proxy_bad_answer", "not HTTP"),
    "1xx without end": (endless(b"HTTP/1.1 100 Go\r\n\r\n" * 500), "proxy_bad_answer", "not HTTP"),
    "more than a tunnel": (says(STANDS, unary(WHOLE["o"])), "proxy_bad_answer", "more than"),
    "fin": (fin, "proxy_failed", "closed the connection"),
    "rst": (rst, "proxy_failed", "closed the connection"),
    "half an answer": (
        lambda near: (near.transport.write(STANDS[:-2]), fin(near)),
        "proxy_failed",
        "closed the connection",
    ),
    "silence": (says(), "timeout_connect", "in time"),
    "half an answer, silence": (says(STANDS[:-2]), "timeout_connect", "in time"),
}


SLOWER = {"timeouts": Timeouts(connect=0.3, headers=3, first_event=3, commit=5, ping=5)}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_faults_of_the_proxy(open_rig, proxy, messages, fault, secure):
    script, code, word = FAULTS[fault]
    status = 504 if code == "timeout_connect" else 502
    proxy.script = script
    config = through(proxy, "https://localhost:PORT" if secure else "http://backend.invalid:PORT")
    rig = await open_rig(config=config, **SLOWER)
    dialect, alias = ("openai", "o") if secure else ("anthropic", "a")
    client = await rig.post(PATHS[dialect], ask(alias, stream=secure))
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    assert b"the proxy to the backend" in client.body
    record = await the_call_is_over(rig, outcome="backend_error", code=code)
    assert record.attempts[0].error == code
    [told_why] = [message for message in messages if "through the proxy" in message]
    assert word in told_why
    assert not [message for message in messages if "backend-key" in message or "secure" in message]
    assert b"backend-key" not in client.received and b"backend-k" not in client.received
    await until(lambda: proxy.seen[0].lost is not None)
    assert rig.backends_seen == [] and len(proxy.seen) == 1
    proxy.script = ConnectProxy().script
    if not secure:
        await the_next_call_is_served_again(rig)


async def the_next_call_is_served_again(rig):
    client = await rig.post(PATHS["anthropic"], ask("a"))
    (await rig.backend()).transport.write(unary(WHOLE["a"]))
    await client.has("hé".encode())


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("fault", ["refused", "unknown", "hang", "slow name"])
async def test_no_connection_to_the_proxy(open_rig, messages, fault):
    with crowded_port() as crowded, resolver(Resolver(answers=fault == "unknown")):
        address, status, code = {
            "refused": (f"127.0.0.1:{free_port()}", 502, "proxy_unreachable"),
            "unknown": ("proxy.invalid:3128", 502, "proxy_unreachable"),
            "hang": (f"127.0.0.1:{crowded}", 504, "timeout_connect"),
            "slow name": ("proxy.invalid:3128", 504, "timeout_connect"),
        }[fault]
        keys = f'proxy = "http://{address}"'
        rig = await open_rig(config=with_keys("https://localhost:PORT", keys), **SLOWER)
        client = await rig.post(PATHS["openai"], ask("o"))
        await answered(client)
        assert told(client, "openai")[::2] == (status, code)
        await the_call_is_over(rig, outcome="backend_error", code=code)
        assert b"the proxy to the backend" in client.body
        assert any("through the proxy" in message for message in messages)


@pytest_twisted.ensureDeferred
async def test_a_tunnel_to_another_server_is_no_backend(open_rig, proxy, authority, files):
    """TLS is with the backend: a proxy that leads elsewhere is found out."""
    config = through(proxy, "https://backend.invalid:PORT", files["ca"])
    rig = await open_rig(config=config, listen=over_tls(authority.server("localhost")))
    client = await rig.post(PATHS["openai"], ask("o"))
    await answered(client)
    await the_call_is_over(rig, outcome="backend_error", code="tls")
    assert b"POST" not in rig.backends_seen[0].received


TWO_TARGETS = """
[breaker]
failures = 2
[[backends]]
name = "near"
type = "openai"
url = "http://127.0.0.1:PORT"
[[backends]]
name = "far"
type = "openai"
url = "http://backend.invalid:PORT"
proxy = "http://PROXY"
[[models]]
alias = "o"
targets = [{ backend = "far", model = "x" }, { backend = "near", model = "x" }]
"""


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("fault", "asked"), [("no way", 2), ("other credentials", 1)])
async def test_a_proxy_that_fails_is_a_reason_for_another_target(open_rig, proxy, fault, asked):
    """And after a while not to ask it any more: at once where somebody must mend it."""
    proxy.script = FAULTS[fault][0]
    config = TWO_TARGETS.replace("PROXY", proxy.address)
    rig = await open_rig(config=config, **SLOWER)
    for number in range(1, 4):
        client = await rig.post(PATHS["openai"], ask("o"))
        line = await rig.backend() if number == 1 else await next_request(rig)
        line.transport.write(unary(WHOLE["o"]))
        await client.has("hé".encode())
        await rig.ended(number)
    assert [len(record.attempts) for record in rig.records] == [1 + (n < asked) for n in range(3)]
    assert len(proxy.seen) == asked


# A backend that asks for a certificate, and does not get the one it wants.


@pytest_twisted.ensureDeferred
@TLS
@pytest.mark.parametrize("shown", ["none", "another's"])
async def test_a_backend_that_does_not_like_our_certificate(
    open_rig, authority, files, messages, version, shown
):
    wanted = authority if shown == "none" else Authority("another authority")
    server = authority.asking(of=wanted, lowerMaximumSecurityTo=version)
    keys = [files["ca"], *([] if shown == "none" else [files["own"]])]
    rig = await open_rig(config=with_keys("https://localhost:PORT", *keys), listen=over_tls(server))
    for dialect in ("openai", "anthropic"):
        client = await rig.post(PATHS[dialect], ask("o"))
        await answered(client)
        assert told(client, dialect)[0] == 502
    records = await rig.ended(2)
    assert [record.end.code for record in records] == ["tls", "tls"]
    nothing_said = version == TLSVersion.TLSv1_2 and shown == "none"
    assert nothing_said or b"certificate" in client.body
    assert [message for message in messages if "secure connection" in message]
    for backend in rig.backends_seen:
        await cut(backend)
        assert b"POST" not in backend.received


# The fault matrix over these ways.

EVERY_WAY = pytest.mark.parametrize("way", [*WAYS, "compressed"])


@pytest_twisted.ensureDeferred
@EVERY_WAY
@pytest.mark.parametrize("fault", NO_HEAD)
async def test_no_response_headers(open_rig, proxy, authority, files, fault, way):
    script, status, code = NO_HEAD[fault]
    rig = await open_way(way, open_rig, proxy, authority, files, timeouts=patience(code))
    client = await post(rig, way, "o")
    backend = await rig.backend()
    script(backend)
    await answered(client)
    assert told(client, "openai")[:2] == (status, error_type("openai", status))
    await the_call_is_over(rig, outcome="backend_error", code=code)
    await cut(backend)
    assert len(rig.backends_seen) == 1, "what may have reached the backend is not sent again"
    await the_next_call_is_served(rig, "openai", "o", stream=True)


BROKEN_ANSWERS = {
    "half an answer, fin": (unary(WHOLE["o"])[:-9], fin, "truncated"),
    "half an answer, rst": (unary(WHOLE["o"])[:-9], rst, "truncated"),
    "half an answer, hang": (unary(WHOLE["o"])[:-9], None, "timeout_idle"),
    "a stream, fin": (sse_head() + chunk(EVENTS["o"][0]), fin, "upstream_stream_truncated"),
    "a stream, rst": (sse_head() + chunk(EVENTS["o"][0]), rst, "upstream_stream_truncated"),
    "a stream, hang": (sse_head() + chunk(EVENTS["o"][0]), None, "timeout_idle"),
}


@pytest_twisted.ensureDeferred
@EVERY_WAY
@pytest.mark.parametrize("fault", BROKEN_ANSWERS)
async def test_an_answer_that_breaks(open_rig, proxy, authority, files, fault, way):
    written, end, code = BROKEN_ANSWERS[fault]
    rig = await open_way(way, open_rig, proxy, authority, files, timeouts=patience(code))
    stream = "stream" in fault
    client = await post(rig, way, "o", stream=stream)
    backend = await rig.backend()
    backend.transport.write(written)
    if end is not None:
        end(backend)
    await answered(client)
    outcome = "stream_error" if stream else "backend_error"
    await the_call_is_over(rig, outcome=outcome, code=code)
    await cut(backend)
    await the_next_call_is_served(rig, "openai", "o", stream=True)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", [fin, rst])
async def test_a_kept_connection_that_dies_is_replaced(open_rig, proxy, authority, files, way, end):
    rig = await open_way(way, open_rig, proxy, authority, files)
    await the_next_call_is_served(rig, "openai", "o")
    client = await rig.post(PATHS["openai"], ask("o"))
    end(await next_request(rig))
    (await rig.backend(2)).transport.write(unary(WHOLE["o"]))
    await client.has("hé".encode())
    await rig.ended(2)


# Clients who leave.


@pytest_twisted.ensureDeferred
@LEAVES
@EVERY_WAY
@pytest.mark.parametrize("phase", PHASES)
async def test_who_leaves_is_told_to_the_backend(
    open_rig, proxy, authority, files, phase, rudely, way
):
    written, stream, seen = PHASES[phase]
    patience = PATIENT if "signs" in phase else Timeouts()
    rig = await open_way(way, open_rig, proxy, authority, files, timeouts=patience)
    client = await post(rig, way, "o", stream=stream)
    backend = await rig.backend()
    if written in (None, b"half"):
        half = chunk(b'data: {"') if written else b""
        written = sse_head() + chunk(EVENTS["o"][0]) + half
    backend.transport.write(written)
    await client.has(seen) if seen else await deferLater(reactor, 0.02)
    left = leave(client, rudely)
    await backend.closed()
    assert left.stop() < AT_ONCE
    await the_client_has_left(rig)
    await the_next_call_is_served(rig, "openai", "o", stream=stream)


@pytest_twisted.ensureDeferred
@LEAVES
@pytest.mark.parametrize("said", [b"", STANDS[:-2]], ids=["nothing", "half its answer"])
async def test_who_leaves_while_the_proxy_is_waited_for(open_rig, proxy, said, rudely):
    proxy.script = lambda near: near.transport.write(said)
    rig = await open_rig(config=through(proxy), timeouts=PATIENT)
    client = await rig.post(PATHS["openai"], ask("o"))
    await until(lambda: proxy.seen and proxy.seen[0].received)
    await deferLater(reactor, 0.02)
    left = leave(client, rudely)
    await until(lambda: proxy.seen[0].lost is not None)
    assert left.stop() < AT_ONCE
    await the_client_has_left(rig)
    assert len(proxy.seen) == 1


@pytest_twisted.ensureDeferred
@LEAVES
async def test_who_leaves_while_the_proxy_is_connected_to(open_rig, rudely):
    with crowded_port() as port:
        keys = f'proxy = "http://127.0.0.1:{port}"'
        rig = await open_rig(config=with_keys("http://x.invalid:PORT", keys), timeouts=PATIENT)
        client = await rig.post(PATHS["openai"], ask("o"))
        await until(lambda: rig.gauge() == 1)
        left = leave(client, rudely)
        await rig.ended()
        assert left.stop() < AT_ONCE
        await the_client_has_left(rig)


@pytest_twisted.ensureDeferred
@LEAVES
async def test_who_leaves_in_the_handshake_within_the_tunnel(open_rig, proxy, rudely):
    rig = await open_rig(config=through(proxy, "https://localhost:PORT"), timeouts=PATIENT)
    client = await rig.post(PATHS["openai"], ask("o"))
    await until(lambda: rig.backends_seen and rig.backends_seen[0].received)
    left = leave(client, rudely)
    await rig.backends_seen[0].closed()
    assert left.stop() < AT_ONCE
    await the_client_has_left(rig)
