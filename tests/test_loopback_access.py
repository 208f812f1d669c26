"""Who may use what, and what of a backend's secrets a client sees: on the running broker."""

import json

import pytest
import pytest_twisted
from rig import A_EVENT, CONFIG, O_EVENT, PATHS, ask, chunk, sse_head, unary
from site_in_memory import Wire
from twisted.internet import reactor
from twisted.internet.task import Clock

from lmbroker.broker.broker import Broker
from lmbroker.config.config import parse
from lmbroker.observers.access_log import access_fields
from lmbroker.routing.keys import hash_of
from lmbroker.server.http import Limits, Site
from lmbroker.server.routes import Front

KEYED = f"""
[[keys]]
name = "ann"
hash = "{hash_of("lmb-ann")}"
[[keys]]
name = "bob"
hash = "{hash_of("lmb-bob")}"
models = ["a*"]
"""
ANN, BOB = "Authorization: Bearer lmb-ann", "X-Api-Key: lmb-bob"
EXPOSED = CONFIG.replace('api_key = "env:KEY" }', 'api_key = "env:KEY" }\nexpose_limits = true')
SECRET = b"backend-key"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("headers", [(), ["X-Api-Key: wrong"], ["Authorization: Bearer"]])
async def test_case_86_without_a_valid_key_nothing_is_served(open_rig, dialect, headers):
    rig = await open_rig(config=KEYED + CONFIG)
    client = await rig.post(PATHS[dialect], ask("o"), headers)
    await client.has(b"the API key is missing or not valid")
    assert client.head.startswith("http/1.1 401")
    assert "www-authenticate: bearer" in client.head
    error = json.loads(client.body)["error"]
    wanted = "authentication_error" if dialect == "anthropic" else "invalid_request_error"
    assert error["type"] == wanted
    [record] = await rig.ended()
    assert (record.end.outcome, record.alias, record.caller) == ("refused", "", "anonymous")
    assert rig.backends_seen == []


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("site", ["lean", "stock", None])
@pytest.mark.parametrize("header", [ANN, BOB])
async def test_a_header_that_comes_twice_names_nobody(open_rig, header, site):
    def ours(resource):
        return Site(resource, reactor, engine=site)

    rig = await open_rig(config=KEYED + CONFIG, site=ours if site else None)
    client = await rig.post(PATHS["openai"], ask("o"), [header, header])
    await client.has(b"the API key is missing or not valid")
    assert client.head.startswith("http/1.1 401")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("header", [ANN, BOB])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_case_88_a_key_lets_in_and_stays_here(open_rig, dialect, header):
    rig = await open_rig(config=KEYED + CONFIG)
    client = await rig.post(PATHS[dialect], ask("a"), [header])
    backend = await rig.backend()
    assert b"lmb-" not in backend.received
    backend.transport.write(unary(b'{"type":"error","error":{"type":"x","message":"no"}}'))
    await client.has(b"\r\n\r\n")
    [record] = await rig.ended()
    assert record.caller == header.rpartition("-")[2]
    assert access_fields(record)["caller"] == record.caller
    assert "lmb-" not in repr(record)


@pytest_twisted.ensureDeferred
async def test_a_key_sees_and_reaches_its_own_models_only(open_rig):
    rig = await open_rig(config=KEYED + CONFIG)
    client = await rig.post(PATHS["openai"], ask("o"), [BOB])
    await client.has(b"does not exist or is not available to this key")
    assert client.head.startswith("http/1.1 404")
    assert rig.backends_seen == []
    for path, status, seen in [
        ("/v1/models", 200, ["a"]),
        ("/v1/models/a", 200, "a"),
        ("/v1/models/o", 404, None),
    ]:
        client = await rig.get(path, [BOB])
        await client.has(b"}")
        assert client.head.startswith(f"http/1.1 {status}")
        body = json.loads(client.body)
        if isinstance(seen, list):
            assert [model["id"] for model in body["data"]] == seen
        elif seen:
            assert body["id"] == seen
    client = await rig.get("/v1/models")
    await client.has(b"the API key is missing or not valid")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("path", ["/health", "/metrics", "/api/hello"])
async def test_what_tells_no_secrets_needs_no_key(open_rig, path):
    rig = await open_rig(config=KEYED + CONFIG)
    client = await rig.get(path)
    await client.has(b"\r\n\r\n")
    assert client.head.startswith("http/1.1 200")


LIMITS = (
    b"anthropic-ratelimit-requests-limit: 50\r\n"
    b"anthropic-ratelimit-requests-remaining: 49\r\n"
    b"anthropic-ratelimit-requests-reset: 2026-11-18T11:07:00Z\r\n"
)
COMPLETION = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'
)
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}'
)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("status", [b"200 OK", b"429 Too Many Requests"])
@pytest.mark.parametrize("exposed", [False, True])
async def test_case_91_limits_are_shown_where_the_alias_says_so(open_rig, exposed, status):
    rig = await open_rig(config=EXPOSED if exposed else CONFIG)
    client = await rig.post(PATHS["openai"], ask("a"))
    backend = await rig.backend()
    body = MESSAGE if status.startswith(b"200") else b'{"type":"error","error":{"message":"slow"}}'
    backend.transport.write(unary(body, status, LIMITS))
    await client.has(b"\r\n\r\n")
    assert ("x-ratelimit-limit-requests: 50" in client.head) is exposed
    assert ("x-ratelimit-reset-requests: 20s" in client.head) is exposed
    assert "anthropic-ratelimit" not in client.head


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("started", [False, True])
async def test_case_87_a_backends_error_never_tells_our_key(open_rig, dialect, alias, started):
    rig = await open_rig(config=CONFIG)
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    error = (
        b'data: {"error":{"message":"key backend-key is odd","type":"server_error"}}\n\n'
        if alias == "o"
        else b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
        b'"message":"key backend-key is odd"}}\n\n'
    )
    first = {"o": O_EVENT, "a": A_EVENT}[alias] if started else b""
    backend.transport.write(sse_head() + chunk(first + error))
    await client.has(b"key *** is odd")
    assert SECRET not in client.received


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("way", ["error", "first", "stream"])
async def test_a_secret_header_reaches_its_backend_and_comes_back_masked(
    open_rig, tmp_path, dialect, alias, way
):
    (tmp_path / "gate").write_text("Bearer gate-secret\n")
    header = f'api_key = "env:KEY", headers = {{ x-gate = "file:{tmp_path}/gate" }}'
    rig = await open_rig(config=CONFIG.replace('api_key = "env:KEY"', header))
    client = await rig.post(PATHS[dialect], ask(alias, stream=way != "error"))
    backend = await rig.backend()
    assert b"x-gate: bearer gate-secret\r\n" in bytes(backend.received).lower()
    error = b'{"error":{"message":"gate-secret, backend-key","type":"invalid_request_error"}}'
    if way == "error":
        backend.transport.write(unary(error, b"400 Bad Request"))
    else:
        first = {"o": O_EVENT, "a": A_EVENT}[alias] if way == "stream" else b""
        event = b"event: error\n" if alias == "a" else b""
        backend.transport.write(sse_head() + chunk(first + event + b"data: " + error + b"\n\n"))
    await client.has(b"***, ***")
    assert b"gate-secret" not in client.received


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [b"200 OK", b"429 Too Many Requests"])
async def test_no_header_of_a_backend_tells_a_key(open_rig, alias, stream, status):
    rig = await open_rig(config=EXPOSED)
    client = await rig.post(PATHS["anthropic"], ask(alias, stream=stream))
    backend = await rig.backend()
    told = (
        b"request-id: req-backend-key-1\r\nretry-after: backend-key\r\n"
        b"x-should-retry: back%65nd-key\r\nretry-after-ms: sk-12345678abcdefgh\r\n"
        b"anthropic-ratelimit-requests-limit: backend-key\r\n"
        b"x-ratelimit-limit-requests: backend-key\r\n"
    )
    if status.startswith(b"429"):
        backend.transport.write(unary(b'{"error":{"message":"slow"}}', status, told))
    elif stream:
        event = {"o": O_EVENT, "a": A_EVENT}[alias]
        backend.transport.write(sse_head(told) + chunk(event))
    else:
        backend.transport.write(unary({"o": COMPLETION, "a": MESSAGE}[alias], status, told))
    await client.has(b"\r\n\r\n")
    assert client.head.startswith(f"http/1.1 {status[:3].decode()}")
    if status.startswith(b"200"):
        assert "request-id: req-***-1" in client.head
    for key in (b"backend-key", b"back%65nd-key", b"sk-12345678"):
        assert key not in client.received


@pytest_twisted.ensureDeferred
async def test_a_body_is_bounded_by_its_path_on_any_site(open_rig):
    limits = '[limits]\nbody = 300\n[limits.body_by_path]\n"/v1/messages" = 150\n'
    rig = await open_rig(config=limits + CONFIG)
    for path, limit in ((PATHS["openai"], 300), (PATHS["anthropic"], 150)):
        client = await rig.post(path, ask("nobody", user="x" * 400))
        await client.has(b"larger than %d bytes" % limit)
        assert client.head.startswith("http/1.1 413")
        client = await rig.post(path, ask("nobody"))
        await client.has(b"does not exist")


BOUNDED = """
[limits.body_by_path]
"/v1/chat" = 1000
[[models]]
alias = "o"
type = "openai"
target = { url = "http://127.0.0.1:1/v1", model = "m", api_key = "env:KEY" }
"""


@pytest.mark.parametrize("engine", ["lean", "stock"])
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/%63hat/completions"])
def test_a_body_is_bounded_on_our_own_site_however_its_path_is_written(engine, path):
    config = parse(BOUNDED, name="c", environ={"KEY": "k"}, read_file=str)
    clock = Clock()
    broker = Broker(config, None, (), clock, lambda: 0.0)
    for limits in (config.limits, Limits()):
        site = Site(Front(broker).resource(), clock, limits, engine)
        wire = Wire(clock, "127.0.0.1")
        wire.protocol = site.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        body = ask("o", user="x" * 5000)
        head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
        wire.protocol.dataReceived(head + body)
        clock.advance(0)
        assert wire.value().startswith(b"HTTP/1.1 413")
        assert b"larger than 1000 bytes" in wire.value()


@pytest_twisted.ensureDeferred
async def test_an_idempotency_key_goes_to_a_backend_of_its_own_dialect(open_rig):
    rig = await open_rig(config=CONFIG)
    for alias, passed in (("o", True), ("a", False)):
        await rig.post(PATHS["openai"], ask(alias), ["Idempotency-Key: k-1"])
        backend = await rig.backend(len(rig.backends_seen) + 1)
        assert (b"k-1" in backend.received) is passed
