"""A client who leaves, in every phase of its call: the backend is told at once, nobody is asked for
it again, nothing stays behind."""

import os

import pytest
import pytest_twisted
from chaos import (
    CHAOS,
    NARROW,
    PAIRS,
    QUICK,
    WHOLE,
    Resolver,
    config_for,
    crowded_port,
    established,
    next_request,
    resolver,
    the_next_call_is_served,
    until,
)
from rig import CONFIG, EVENTS, O_EVENT, PATHS, ask, chunk, sse_head, unary
from stopwatch import Stopwatch
from twisted.internet import reactor
from twisted.internet.task import deferLater

from lmbroker.call import Timeouts

AT_ONCE = 0.5
"""Seconds in which a backend hears that nobody waits for it any more. The shortest of our timers
that might tell it as well is twice as long."""

PATIENT = Timeouts(commit=0.05, ping=30)
"""No timer of ours ends a call here."""

LEAVES = pytest.mark.parametrize("rudely", [False, True], ids=["fin", "rst"])
BIG = "x" * (24 * 1024 * 1024)
"""More than the kernel takes at once."""

RIG = {**CHAOS, "timeouts": PATIENT}

pytestmark = pytest.mark.usefixtures("engine")


def leave(client, rudely):
    """Leave; returns a stopwatch that runs since then."""
    client.transport.abortConnection() if rudely else client.transport.loseConnection()
    return Stopwatch()


async def the_client_has_left(rig, *, attempts=1, code=""):
    """One record, nothing in flight, and nobody else was asked."""
    asked = len(rig.backends_seen)
    [record] = await rig.ended()
    assert (record.end.outcome, record.end.status) == ("client_left", record.end.status)
    assert len(record.attempts) == attempts
    assert rig.gauge() == 0
    await deferLater(reactor, 0.05)
    assert len(rig.backends_seen) == asked
    assert len(rig.records) == 1
    return record


# Before there is a connection.


@pytest.fixture
def no_answer():
    with resolver(Resolver(answers=False)) as installed:
        yield installed


@pytest_twisted.ensureDeferred
@LEAVES
@PAIRS
async def test_while_a_name_is_looked_up(open_rig, no_answer, dialect, alias, rudely):
    rig = await open_rig(config=config_for("http://slow.example:PORT"))
    client = await rig.post(PATHS[dialect], ask(alias))
    await until(lambda: no_answer.asked)
    left = leave(client, rudely)
    await rig.ended()
    assert left.stop() < AT_ONCE
    await the_client_has_left(rig)
    assert (no_answer.asked, rig.backends_seen) == (1, [])


@pytest_twisted.ensureDeferred
@LEAVES
@PAIRS
async def test_while_connecting(open_rig, dialect, alias, rudely):
    with crowded_port() as port:
        rig = await open_rig(config=config_for(f"http://127.0.0.1:{port}"))
        before = descriptors()
        client = await rig.post(PATHS[dialect], ask(alias))
        await until(lambda: rig.gauge() == 1)
        assert descriptors() == before + 3, "both ends of the client, and what is connecting"
        left = leave(client, rudely)
        await rig.ended()
        assert left.stop() < AT_ONCE
        await the_client_has_left(rig)
        assert descriptors() == before


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest_twisted.ensureDeferred
@LEAVES
async def test_in_the_handshake(open_rig, rudely):
    rig = await open_rig(config=config_for("https://127.0.0.1:PORT"))
    client = await rig.post(PATHS["openai"], ask("o"))
    await until(lambda: rig.backends_seen and rig.backends_seen[0].received)
    left = leave(client, rudely)
    await rig.backends_seen[0].closed()
    assert left.stop() < AT_ONCE
    await the_client_has_left(rig)


@pytest_twisted.ensureDeferred
@LEAVES
@PAIRS
async def test_while_waiting_for_a_place(rig, dialect, alias, rudely):
    first = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    client = await rig.post(PATHS[dialect], ask(alias))
    await until(lambda: rig.gauge() == 2)
    left = leave(client, rudely)
    await rig.ended()
    assert left.stop() < AT_ONCE
    assert rig.records[0].end.outcome == "client_left"
    assert rig.gauge() == 1
    backend.transport.write(unary(WHOLE[alias]))
    await first.has("hé".encode())
    await rig.ended(2)
    assert backend.received.count(b"POST ") == 1
    await the_next_call_is_served(rig, dialect, alias, on=backend)


# While the request is being sent.


@pytest.mark.process
@pytest.mark.sockets
@pytest_twisted.ensureDeferred
@LEAVES
@PAIRS
async def test_while_uploading(rig, dialect, alias, rudely):
    body = ask(alias, messages=[{"role": "user", "content": BIG}])
    client = await rig.post(PATHS[dialect], body)
    await until(lambda: rig.backends_seen and rig.backends_seen[0].received)
    backend = rig.backends_seen[0]
    backend.transport.pauseProducing()
    await deferLater(reactor, 0.1)
    assert len(backend.received) < len(body) / 2
    assert established(backend)
    left = leave(client, rudely)
    await until(lambda: not established(backend))
    assert left.stop() < AT_ONCE
    await the_client_has_left(rig)
    await the_next_call_is_served(rig, dialect, alias)


# While the answer is awaited, or comes.

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

PHASES = {
    "waiting": (b"", False, b""),
    "half the headers": (HEAD, False, b""),
    "headers of an answer": (HEAD + b"content-length: 99\r\n\r\n", False, b""),
    "half an answer": (HEAD + b"content-length: 99\r\n\r\n{", False, b""),
    "half an error": (
        b"HTTP/1.1 500 Oops\r\ncontent-length: 99\r\n\r\n{",
        False,
        b"",
    ),
    "first event awaited": (sse_head(), True, b""),
    "signs of life": (sse_head(), True, b": ping\n\n"),
    "signs of life, no headers": (b"", True, b": ping\n\n"),
    "a comment came": (sse_head() + chunk(b": hi\n\n"), True, b""),
    "streaming": (None, True, "hé".encode()),
    "half an event": (b"half", True, "hé".encode()),
}
"""What the backend has written, whether the call is streamed, and what the client has by then."""


@pytest_twisted.ensureDeferred
@LEAVES
@PAIRS
@pytest.mark.parametrize("phase", PHASES)
async def test_while_the_answer_is_awaited_or_comes(open_rig, dialect, alias, phase, rudely):
    written, stream, seen = PHASES[phase]
    rig = await open_rig(timeouts=PATIENT if "signs" in phase else Timeouts())
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    if written in (None, b"half"):
        half = chunk(b'data: {"') if written else b""
        written = sse_head() + chunk(EVENTS[alias][0]) + half
    backend.transport.write(written)
    await client.has(seen) if seen else await deferLater(reactor, 0.02)
    left = leave(client, rudely)
    await backend.closed()
    assert left.stop() < AT_ONCE
    record = await the_client_has_left(rig)
    assert record.attempts[0].error == ("" if seen == "hé".encode() else "cancelled")
    if alias == "a" and phase in ("streaming", "half an event"):
        assert record.usage.input == 3, "what is known of the costs is recorded"
    await the_next_call_is_served(rig, dialect, alias, stream=stream)


@pytest_twisted.ensureDeferred
@LEAVES
@PAIRS
async def test_while_the_backend_waits_for_a_slow_client(rig, dialect, alias, rudely):
    """We have stopped to read from the backend; the client leaves without having read on."""
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    client.transport.pauseProducing()
    backend.transport.write(sse_head() + chunk(EVENTS[alias][0]))
    event = chunk(O_EVENT if alias == "o" else EVENTS["a"][0][EVENTS["a"][0].rindex(b"event") :])
    written = [0]

    class Pull:
        def resumeProducing(self):
            written[0] += 1
            backend.transport.write(event * 500)

        def stopProducing(self): ...

    backend.transport.registerProducer(Pull(), False)
    before = -1
    while before != written[0]:
        before = written[0]
        await deferLater(reactor, 0.15)
    assert established(backend)
    left = leave(client, rudely)
    await backend.closed()
    assert left.stop() < 2 * AT_ONCE
    await the_client_has_left(rig)
    await the_next_call_is_served(rig, dialect, alias)


# Between two attempts.


@pytest_twisted.ensureDeferred
@LEAVES
async def test_after_a_repair(open_rig, rudely):
    """The backend has refused a parameter, and is asked again without it."""
    rig = await open_rig(config=NARROW.replace("real-a", "claude-opus-4-6"))
    client = await rig.post(PATHS["openai"], ask("a", temperature=0.5))
    backend = await rig.backend()
    refusal = (
        b'{"type":"error","error":{"type":"invalid_request_error",'
        b'"message":"temperature: Extra inputs are not permitted"}}'
    )
    backend.transport.write(unary(refusal, b"400 Bad Request"))
    await backend.has(b"POST ", times=2)
    left = leave(client, rudely)
    await backend.closed()
    assert left.stop() < AT_ONCE
    record = await the_client_has_left(rig, attempts=2)
    assert record.attempts[1].error == "cancelled"
    await the_next_call_is_served(rig, "openai", "a")


@pytest_twisted.ensureDeferred
@LEAVES
async def test_on_the_fresh_connection_for_one_that_had_died(rig, rudely):
    await the_next_call_is_served(rig, "openai", "o")
    client = await rig.post(PATHS["openai"], ask("o"))
    (await next_request(rig)).transport.abortConnection()
    fresh = await rig.backend(2)
    left = leave(client, rudely)
    await fresh.closed()
    assert left.stop() < AT_ONCE
    await rig.ended(2)
    await deferLater(reactor, 0.05)
    assert len(rig.backends_seen) == 2
    assert rig.records[1].end.outcome == "client_left"
    assert rig.gauge() == 0


AGAIN = CONFIG.replace(
    "[[models]]",
    "[[models]]\nretries = { same_target = 2, first_pause = 5, longest_pause = 5 }",
)


@pytest_twisted.ensureDeferred
@LEAVES
@PAIRS
async def test_in_the_pause_before_another_attempt(open_rig, dialect, alias, rudely):
    rig = await open_rig(config=AGAIN)
    client = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    backend.transport.write(unary(b"{}", b"503 Busy", b"retry-after: 4\r\n"))
    await deferLater(reactor, 0.05)
    assert rig.gauge() == 1, "it waits to try again"
    until_retry = reactor.seconds() + 3.5
    left = leave(client, rudely)
    await rig.ended()
    assert left.stop() < AT_ONCE
    await the_client_has_left(rig)
    assert backend.received.count(b"POST ") == 1
    timers = [call for call in reactor.getDelayedCalls() if call.getTime() > until_retry]
    assert not [call for call in timers if "deferLater" in repr(call)]


# Who leaves when all is over takes nothing with them.


@pytest_twisted.ensureDeferred
@LEAVES
@PAIRS
async def test_after_the_end(open_rig, dialect, alias, rudely):
    rig = await open_rig(timeouts=QUICK)
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(b"".join(EVENTS[alias])))
    await client.has(b"0\r\n\r\n")
    leave(client, rudely)
    await deferLater(reactor, 0.05)
    backend.transport.write(b"0\r\n\r\n")
    [record] = await rig.ended()
    assert record.end.outcome == "complete"
    await the_next_call_is_served(rig, dialect, alias, on=backend)
