"""Backends over TLS: whom we trust, what goes wrong, and that nothing waits for its orderly end."""

import socket

import pytest
import pytest_twisted
from broken_backends import HEAD, fin, rst
from certificates import Authority
from chaos import (
    CHAOS,
    ENDS,
    WHOLE,
    answered,
    config_for,
    cut,
    error_type,
    established,
    next_request,
    the_call_is_over,
    the_next_call_is_served,
    told,
    until,
)
from rig import PATHS, ask, unary
from twisted.internet import reactor
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.ssl import AcceptableCiphers, TLSVersion
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection

from lmbroker.backends import connections
from lmbroker.backends.peer import PROBE_SECONDS
from lmbroker.errors import Unreachable
from lmbroker.workflows import model_list

BOTH_ENDS = pytest.mark.parametrize(("dialect", "alias"), ENDS)

RIG = CHAOS

pytestmark = pytest.mark.usefixtures("engine")


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


def only(authority, ciphers):
    """A server of TLS 1.2 that knows these suites."""
    known = AcceptableCiphers.fromOpenSSLCipherString(ciphers)
    return authority.server(acceptableCiphers=known, lowerMaximumSecurityTo=TLSVersion.TLSv1_2)


def secure_config(ca):
    """Its backend has a name, and a certificate that must fit."""
    return config_for("https://localhost:PORT").replace('api_key = "env:KEY"', ca)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("fault", ["unknown authority", "wrong name", "expired", "weak", "no TLS"])
async def test_no_secure_connection(open_rig, authority, ca, dialect, alias, fault):
    options = {
        "unknown authority": Authority().server(),
        "wrong name": authority.server("elsewhere.example"),
        "expired": authority.server(expired=True),
        "weak": only(authority, "ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA256"),
        "no TLS": None,
    }[fault]
    listen = secured(options) if options is not None else None
    rig = await open_rig(config=secure_config(ca), listen=listen)
    client = await rig.post(PATHS[dialect], ask(alias))
    if fault == "no TLS":
        await until(lambda: rig.backends_seen and rig.backends_seen[0].received)
        rig.backends_seen[0].transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await answered(client)
    assert told(client, dialect)[0] == 502
    await the_call_is_over(rig, outcome="backend_error", code="tls")
    [backend] = rig.backends_seen
    await cut(backend)
    assert b"POST" not in backend.received


@pytest_twisted.ensureDeferred
async def test_why_there_is_no_secure_connection_is_logged(
    open_rig, authority, ca, nothing_fails_unheard, messages
):
    rig = await open_rig(
        config=secure_config(ca), listen=secured(authority.server("elsewhere.example"))
    )
    client = await rig.post(PATHS["openai"], ask("o"))
    await answered(client)
    [told_why] = [message for message in messages if "secure connection" in message]
    assert "localhost" in told_why and "elsewhere.example" not in client.body.decode()


@pytest_twisted.ensureDeferred
async def test_what_is_asked_besides_calls_tells_the_reason_once(open_rig, authority, ca, messages):
    rig = await open_rig(
        config=secure_config(ca), listen=secured(authority.server("elsewhere.example"))
    )
    target = rig.broker.config.alias("o").targets[0]
    for _ in range(3):
        with pytest.raises(Unreachable):
            await rig._backends.get(target.backend, model_list.request("openai"), target.timeouts)
    assert sum("secure connection" in message for message in messages) == 1


@pytest_twisted.ensureDeferred
async def test_a_tls_backend_is_served_and_its_connection_used_again(open_rig, authority, ca):
    rig = await open_rig(config=secure_config(ca), listen=secured(authority.server()))
    await the_next_call_is_served(rig, "openai", "o")
    [backend] = rig.backends_seen
    await the_next_call_is_served(rig, "anthropic", "o", on=backend, stream=True)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"]
)
async def test_a_backend_of_tls_1_2_is_served(open_rig, authority, ca, suite):
    rig = await open_rig(config=secure_config(ca), listen=secured(only(authority, suite)))
    await the_next_call_is_served(rig, "openai", "o")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("end", [fin, rst])
async def test_a_reused_tls_connection_that_dies_is_replaced(open_rig, authority, ca, end):
    rig = await open_rig(config=secure_config(ca), listen=secured(authority.server()))
    await the_next_call_is_served(rig, "openai", "o")
    client = await rig.post(PATHS["openai"], ask("o"))
    end(await next_request(rig))
    (await rig.backend(2)).transport.write(unary(WHOLE["o"]))
    await client.has("hé".encode())


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("secure", [False, True])
async def test_the_kernel_watches_the_backend(open_rig, authority, ca, secure):
    """One that vanishes without a word is noticed."""
    if secure:
        rig = await open_rig(config=secure_config(ca), listen=secured(authority.server()))
    else:
        rig = await open_rig()
    await rig.post(PATHS["openai"], ask("o"))
    backend = await rig.backend()
    port = backend.transport.getPeer().port
    [handle] = [
        each.socket
        for each in reactor.getReaders()
        if isinstance(each, Connection) and each.socket.getsockname()[1] == port
    ]
    assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    values = tuple(handle.getsockopt(socket.IPPROTO_TCP, name) for name in names)
    assert values == PROBE_SECONDS
    unheard = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert unheard == connections.UNHEARD_SECONDS * 1000


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_handshake_that_hangs(open_rig, ca, dialect, alias):
    rig = await open_rig(config=secure_config(ca))
    client = await rig.post(PATHS[dialect], ask(alias))
    await answered(client)
    assert told(client, dialect)[:2] == (504, error_type(dialect, 504))
    await the_call_is_over(rig, outcome="backend_error", code="timeout_headers")
    await cut(rig.backends_seen[0])


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
    open_rig, authority, ca, monkeypatch, answer
):
    """An orderly end of TLS takes two."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.2)
    rig = await open_rig(config=secure_config(ca), listen=secured(authority.server()))
    client = await rig.post(PATHS["openai"], ask("o"))
    backend = await rig.backend()
    backend.transport.write(TLS_ENDS[answer])
    await deferLater(reactor, 0)
    backend.transport.transport.pauseProducing()
    await answered(client)
    await until(lambda: not established(backend), 1)
