"""Counting tokens and embeddings, over real sockets: what a backend cannot do is learned."""

import json

import pytest_twisted
from rig import CONFIG, ask, unary

COUNT = "/v1/messages/count_tokens"
EMBED = "/v1/embeddings"
VECTORS = json.dumps(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
        "model": "real-o",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
).encode()


def counted(client):
    return json.loads(client.body)["input_tokens"]


async def posts(line, number):
    await line.has(b"POST ", times=number)


async def embeddings_of(line, number):
    """The body of the ``number``-th request on a backend's connection."""
    await line.has(b"POST ", times=number)
    await line.until(lambda: bytes(line.received).split(b"POST ")[number].endswith(b"}"))
    return json.loads(bytes(line.received).split(b"POST ")[number].partition(b"\r\n\r\n")[2])


@pytest_twisted.ensureDeferred
async def test_a_backend_that_counts_is_asked(open_rig):
    rig = await open_rig()
    client = await rig.post(COUNT, ask("a"))
    backend = await rig.backend()
    backend.transport.write(unary(b'{"input_tokens": 4711}'))
    await client.has(b"4711")
    assert "x-lmbroker-estimated" not in client.head


@pytest_twisted.ensureDeferred
async def test_a_backend_that_does_not_count_is_asked_once_an_hour(open_rig):
    rig = await open_rig()
    client = await rig.post(COUNT, ask("a"))
    backend = await rig.backend()
    backend.transport.write(unary(b'{"detail": "Not Found"}', b"404 Not Found"))
    await client.has(b"input_tokens")
    assert "x-lmbroker-estimated: true" in client.head
    assert counted(client) < 50
    client = await rig.post(COUNT, ask("a"))
    await client.has(b"input_tokens")
    assert bytes(backend.received).count(b"POST ") == 1


@pytest_twisted.ensureDeferred
async def test_a_model_that_is_not_there_is_no_reason_to_estimate(open_rig):
    rig = await open_rig()
    client = await rig.post(COUNT, ask("a"))
    backend = await rig.backend()
    error = {"type": "error", "error": {"type": "not_found_error", "message": "model: real-a"}}
    backend.transport.write(unary(json.dumps(error).encode(), b"404 Not Found"))
    await client.has(b"model: real-a")
    assert " 404 " in client.head.split("\r\n")[0]


@pytest_twisted.ensureDeferred
async def test_an_openai_backend_is_asked_only_where_it_is_said_to_count(open_rig):
    rig = await open_rig()
    client = await rig.post(COUNT, ask("o"))
    await client.has(b"input_tokens")
    assert rig.backends_seen == []


@pytest_twisted.ensureDeferred
async def test_an_openai_backend_that_counts_gets_the_clients_own_request(open_rig):
    config = CONFIG.replace('alias = "o"', 'alias = "o"\nprofile.counts_tokens = true')
    rig = await open_rig(config=config)
    body = ask("o", system=[{"type": "text", "text": "s"}])
    client = await rig.post(COUNT, body)
    backend = await rig.backend()
    assert backend.head.startswith("post /v1/messages/count_tokens ")
    sent = json.loads(backend.received.partition(b"\r\n\r\n")[2])
    assert sent == {**json.loads(body), "model": "real-o"}
    backend.transport.write(unary(b'{"input_tokens": 12}'))
    await client.has(b"12")
    assert counted(client) == 12
    # That it does not after all is learned, too.
    client = await rig.post(COUNT, body)
    await posts(backend, 2)
    backend.transport.write(unary(b"", b"405 Method Not Allowed"))
    await client.has(b"input_tokens")
    client = await rig.post(COUNT, body)
    await client.has(b"input_tokens")
    assert bytes(backend.received).count(b"POST ") == 2


@pytest_twisted.ensureDeferred
async def test_embeddings_learn_which_field_is_refused(open_rig):
    rig = await open_rig()
    body = json.dumps({"model": "o", "input": "x", "user": "u", "encoding_format": "float"})
    client = await rig.post(EMBED, body.encode())
    backend = await rig.backend()
    assert (await embeddings_of(backend, 1))["user"] == "u"
    refusal = {"detail": [{"loc": ["body", "user"], "msg": "Extra inputs are not permitted"}]}
    backend.transport.write(unary(json.dumps(refusal).encode(), b"422 Unprocessable Entity"))
    sent = await embeddings_of(backend, 2)
    assert sent == {"model": "real-o", "input": "x", "encoding_format": "float"}
    backend.transport.write(unary(VECTORS))
    await client.has(b"0.25")
    assert "x-lmbroker-dropped: user" in client.head
    await rig.post(EMBED, body.encode())
    assert "user" not in await embeddings_of(backend, 3)


@pytest_twisted.ensureDeferred
async def test_embeddings_without_their_length_would_be_others(open_rig):
    rig = await open_rig()
    body = json.dumps({"model": "o", "input": "x", "dimensions": 2}).encode()
    client = await rig.post(EMBED, body)
    backend = await rig.backend()
    refusal = {"error": {"message": "Unknown parameter: 'dimensions'."}}
    backend.transport.write(unary(json.dumps(refusal).encode(), b"400 Bad Request"))
    await client.has(b"Unknown parameter: 'dimensions'.")
    assert bytes(backend.received).count(b"POST ") == 1


@pytest_twisted.ensureDeferred
async def test_embeddings_obey_what_the_profile_leaves_out(open_rig):
    config = CONFIG.replace('alias = "o"', 'alias = "o"\nprofile.omit = ["encoding_format"]')
    rig = await open_rig(config=config)
    body = json.dumps({"model": "o", "input": "x", "encoding_format": "float"}).encode()
    await rig.post(EMBED, body)
    backend = await rig.backend()
    assert await embeddings_of(backend, 1) == {"model": "real-o", "input": "x"}


@pytest_twisted.ensureDeferred
async def test_embeddings_as_bytes_go_through(open_rig):
    rig = await open_rig()
    body = json.dumps({"model": "o", "input": "x", "encoding_format": "bytes"}).encode()
    client = await rig.post(EMBED, body)
    backend = await rig.backend()
    backend.transport.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
        b'metadata: {"dtype":"float32"}\r\ncontent-length: 4\r\n\r\n\x00\x01\xff\x7f'
    )
    await client.has(b"\x00\x01\xff\x7f")
    assert "content-type: application/octet-stream" in client.head
    assert 'metadata: {"dtype":"float32"}' in client.head
