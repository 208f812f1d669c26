"""A client that opens a WebSocket gets a refusal from which it goes on over HTTP, and a connection
that serves its next request (Codex)."""

import json

import pytest
import pytest_twisted
from rig import ask
from twisted.internet import reactor

from lmbroker.server.http import Site

UPGRADE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
]
PATHS = ["/v1/chat/completions", "/v1/messages", "/chat/completions"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("engine", ["lean", "stock"])
@pytest_twisted.ensureDeferred
async def test_a_websocket_is_refused_and_the_connection_serves_on(open_rig, engine, path):
    rig = await open_rig(site=lambda resource: Site(resource, reactor, engine=engine))
    client = await rig.get(path, UPGRADE)
    await client.has(b"WebSockets")
    assert client.head.startswith("http/1.1 426 ")
    assert json.loads(client.body)["error"]["message"].startswith("this broker has no WebSockets")
    length = int(client.head.partition("content-length: ")[2].split("\r\n")[0])
    assert length == len(client.body)
    before = len(client.received)
    client.transport.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.has(b'{"status":"ok"}')
    assert bytes(client.received[before:]).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "upgrade", [[], ["Connection: Upgrade", "Upgrade: h2c"], ["Upgrade: websockets"]]
)
@pytest_twisted.ensureDeferred
async def test_whatever_else_comes_with_another_method_is_told_the_method(open_rig, upgrade):
    rig = await open_rig()
    client = await rig.get("/v1/messages", upgrade)
    await client.has(b"this path takes POST only")
    assert client.head.startswith("http/1.1 405 ")


@pytest_twisted.ensureDeferred
async def test_a_post_that_asks_for_a_websocket_is_a_call(open_rig):
    rig = await open_rig()
    await rig.post("/v1/chat/completions", ask("o"), UPGRADE)
    backend = await rig.backend()
    assert "upgrade" not in backend.head
