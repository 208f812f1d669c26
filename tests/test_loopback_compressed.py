"""Requests whose bodies a client compressed: backends get the plain bytes."""

import gzip
import json
import os
import zlib

import pytest
import pytest_twisted
import zstandard
from rig import CONFIG, PATHS, ask
from twisted.internet import reactor

from lmbroker.server.call_reading import LARGE_CODED
from lmbroker.server.http import Limits, Site

PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}

pytestmark = pytest.mark.parametrize("site_engine", ["lean", "stock"])


def site_of(engine, **limits):
    return lambda resource: Site(resource, reactor, Limits(**limits), engine=engine)


def request(body, coding, path=PATHS["openai"]):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Encoding: {coding}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("size", [10, 4 * LARGE_CODED])
async def test_a_backend_gets_the_plain_bytes(open_rig, site_engine, coding, size):
    rig = await open_rig(site=site_of(site_engine))
    body = json.dumps({**json.loads(ask("o")), "user": os.urandom(size).hex()}).encode()
    client = await rig.client()
    client.transport.write(request(PACKERS[coding](body), coding))
    backend = await rig.backend()
    await backend.has(b'"}')
    assert backend.body == body.replace(b'"model": "o"', b'"model": "real-o"')
    assert "content-encoding" not in backend.head


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("coding", "body", "status", "words"),
    [
        ("br", b"x", 415, b"content-encoding 'br' is not supported"),
        ("gzip, gzip, gzip", b"x", 415, b"is not supported"),
        ("gzip", b"plain", 400, b"not valid gzip"),
        ("zstd", b"", 400, b"not valid zstd"),
    ],
)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_what_cannot_be_decoded_is_told(
    open_rig, site_engine, dialect, coding, body, status, words
):
    rig = await open_rig(site=site_of(site_engine))
    client = await rig.client()
    client.transport.write(request(body, coding, PATHS[dialect]))
    await client.has(words)
    assert client.head.startswith(f"http/1.1 {status}")
    assert ("type" in json.loads(client.body)) == (dialect == "anthropic")


@pytest_twisted.ensureDeferred
async def test_the_bound_on_bodies_counts_the_decoded_one(open_rig, site_engine):
    config = "[limits]\nbody = 100000\n" + CONFIG
    rig = await open_rig(config=config, site=site_of(site_engine))
    client = await rig.client()
    client.transport.write(request(gzip.compress(b"[" * 200_000), "gzip"))
    await client.has(b"larger than 100000 bytes")
    assert client.head.startswith("http/1.1 413")


@pytest_twisted.ensureDeferred
async def test_all_bodies_together_count_decoded(open_rig, site_engine):
    rig = await open_rig(site=site_of(site_engine, bodies=50_000))
    client = await rig.client()
    client.transport.write(request(gzip.compress(b" " * 60_000), "gzip"))
    await client.has(b"as many request bodies")
    assert client.head.startswith("http/1.1 503")
