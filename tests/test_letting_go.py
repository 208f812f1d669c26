"""What a live stream's request took in memory is free from its first event on."""

import tracemalloc

import pytest
import pytest_twisted
from house import EVENTS, PATHS, ask, chunk, sse_head
from twisted.internet import reactor

from lmbroker.limits import Limits
from lmbroker.site import Site

pytestmark = pytest.mark.usefixtures("engine")

STREAMS = 8
SIZE = 1_000_000


def large():
    """How many blocks of about a body's size there are."""
    return sum(trace.size > SIZE // 2 for trace in tracemalloc.take_snapshot().traces)


@pytest.mark.parametrize("backend", ["o", "a"])
@pytest_twisted.ensureDeferred
async def test_a_stream_that_has_begun_holds_nothing_of_its_request(open_house, backend):
    sites = []

    def site(resource):
        sites.append(Site(resource, reactor, Limits(bodies=2 * SIZE)))
        return sites[-1]

    house = await open_house(site=site)
    messages = [{"role": "user", "content": "word " * (SIZE // 5)}]
    body = ask(backend, stream=True, messages=messages)
    tracemalloc.start()
    try:
        before = large()
        clients = []
        for _ in range(STREAMS):
            client = await house.post(PATHS["openai"], body)
            clients.append(client)
            line = await house.backend(len(clients))
            line.received = bytearray()
            line.transport.write(sse_head() + chunk(EVENTS[backend][0]))
            await client.has(b"data: ")
        assert sites[0].body_bytes == 0
        assert large() - before <= 1
    finally:
        tracemalloc.stop()
