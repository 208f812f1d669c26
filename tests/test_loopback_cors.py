"""Web pages that call the broker from a browser: what the answers let them read."""

import pytest
import pytest_twisted
from rig import CONFIG, PATHS, ask
from twisted.internet import reactor

from lmbroker.server.http import Site

PAGE = "http://localhost:5173"
OPEN = f'[server]\ncors_origins = ["{PAGE}"]\n' + CONFIG
PREFLIGHT = (
    "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: {}\r\n"
    "Access-Control-Request-Method: POST\r\n"
    "Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
)

pytestmark = pytest.mark.parametrize("engine_of_site", ["lean", "stock", None])


def site_of(engine):
    return None if engine is None else lambda resource: Site(resource, reactor, engine=engine)


@pytest_twisted.ensureDeferred
async def test_a_preflight_of_a_configured_page_is_answered(open_rig, engine_of_site):
    rig = await open_rig(config=OPEN, site=site_of(engine_of_site))
    client = await rig.client()
    client.transport.write(PREFLIGHT.format(PAGE).encode())
    await client.has(b"\r\n\r\n")
    assert client.head.startswith("http/1.1 204")
    assert f"access-control-allow-origin: {PAGE}" in client.head
    assert "access-control-allow-headers: authorization,content-type" in client.head


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("config", "origin"), [(OPEN, "http://other"), (CONFIG, PAGE)])
async def test_no_other_preflight_is(open_rig, engine_of_site, config, origin):
    rig = await open_rig(config=config, site=site_of(engine_of_site))
    client = await rig.client()
    client.transport.write(PREFLIGHT.format(origin).encode())
    await client.has(b"}")
    assert client.head.startswith("http/1.1 405")
    assert "access-control" not in client.head


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("stream", [True, False])
async def test_the_page_may_read_answers(open_rig, engine_of_site, stream):
    rig = await open_rig(config=OPEN, site=site_of(engine_of_site))
    client = await rig.post(PATHS["openai"], ask("o", stream=stream), [f"Origin: {PAGE}"])
    backend = await rig.backend()
    kind, body = (
        ("text/event-stream", b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n')
        if stream
        else ("application/json", b'{"choices":[]}')
    )
    backend.transport.write(
        f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await client.has(b"\r\n\r\n")
    assert client.head.startswith("http/1.1 200")
    assert client.head.count(f"access-control-allow-origin: {PAGE}") == 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/messages", 405),
        ("POST", "/v1/messages", 400),
    ],
)
async def test_the_page_may_read_errors_and_lists(open_rig, engine_of_site, method, path, status):
    rig = await open_rig(config=OPEN, site=site_of(engine_of_site))
    client = await rig.client()
    client.transport.write(
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )
    await client.has(b"}")
    assert client.head.startswith(f"http/1.1 {status}")
    assert f"access-control-allow-origin: {PAGE}" in client.head
