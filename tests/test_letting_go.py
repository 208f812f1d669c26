"""What a live stream's request took in memory is free from its first event on."""

import tracemalloc

import pytest
import pytest_twisted
from rig import EVENTS, PATHS, ask, chunk, sse_head, unary
from twisted.internet import reactor

from lmbroker.limits import Limits
from lmbroker.server.http import Site

pytestmark = pytest.mark.usefixtures("engine")

STREAMS = 8
CONFIG = """
[limits]
helpers = 0
[[backends]]
name = "o"
type = "openai"
url = "http://127.0.0.1:PORT"
api_key = "env:KEY"
[[backends]]
name = "a"
type = "anthropic"
url = "http://127.0.0.1:PORT"
api_key = "env:KEY"
[[models]]
alias = "o"
targets = [{ backend = "o", model = "real-o" }, { backend = "o", model = "other-o" }]
[[models]]
alias = "a"
targets = [{ backend = "a", model = "real-a" }, { backend = "a", model = "other-a" }]
"""
CLOSE = b"connection: close\r\n"
FAILED = unary(b'{"error": {"message": "overloaded"}}', b"503 Unavailable", CLOSE)
REFUSED = unary(
    b'{"error": {"message": "max_tokens: Extra inputs are not permitted"}}',
    b"400 Bad Request",
    CLOSE,
)
SIZE = 1_000_000


def large():
    """How many blocks of about a body's size there are."""
    return sum(trace.size > SIZE // 2 for trace in tracemalloc.take_snapshot().traces)


@pytest.mark.parametrize("first", ["answers", "fails", "refuses"])
@pytest.mark.parametrize("backend", ["o", "a"])
@pytest_twisted.ensureDeferred
async def test_a_stream_that_has_begun_holds_nothing_of_its_request(open_rig, backend, first):
    sites = []

    def site(resource):
        sites.append(Site(resource, reactor, Limits(bodies=2 * SIZE)))
        return sites[-1]

    rig = await open_rig(site=site, config=CONFIG)
    messages = [{"role": "user", "content": "word " * (SIZE // 5)}]
    body = ask(backend, stream=True, messages=messages)
    tracemalloc.start()
    try:
        before = large()
        clients = []
        number = 0
        # What fails again and again is not asked any more, and what is refused once is not sent.
        for _ in range({"answers": STREAMS, "fails": 2, "refuses": 1}[first]):
            number += 1
            client = await rig.post(PATHS["openai"], body)
            clients.append(client)
            line = await rig.backend(number)
            line.received = bytearray()
            if first == "fails" or (first == "refuses" and backend == "a"):
                number += 1
                line.transport.write(FAILED if first == "fails" else REFUSED)
                line = await rig.backend(number)
                line.received = bytearray()
            line.transport.write(sse_head() + chunk(EVENTS[backend][0]))
            await client.has(b"data: ")
        assert sites[0].body_bytes == 0
        assert large() == before
    finally:
        tracemalloc.stop()
