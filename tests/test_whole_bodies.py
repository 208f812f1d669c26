"""Answers that are collected count against one bound, from their first byte until their clients
have them, and go to these at their pace."""

import json

import pytest
import pytest_twisted
from rig import CONFIG, PATHS, ask, unary
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from lmbroker.backends.pieces import PIECE, Pieces
from lmbroker.backends.whole_bodies import AnswerMemory, Collector
from lmbroker.errors import Refused
from lmbroker.limits import Limits
from lmbroker.server.http import Site

MOST = 600_000
BOUNDED = CONFIG + f"\n[limits]\nanswers = {MOST}\nhelpers = 0\n"

pytestmark = pytest.mark.usefixtures("engine")


def test_what_is_collected_takes_room_as_long_as_it_is_kept():
    memory = AnswerMemory(10)
    first, second = Collector(100, memory), Collector(100, memory)
    first.dataReceived(b"12345678")
    second.dataReceived(b"12")
    assert memory.used == 10
    second.dataReceived(b"3")
    with pytest.raises(Refused) as refused:
        second.body()
    assert (refused.value.info.kind, refused.value.info.code) == ("overloaded", "too_many_answers")
    assert memory.used == 8
    first.connectionLost(Failure(ResponseDone()))
    held = first.memory
    assert first.body() == b"12345678"
    del first
    assert memory.used == 8
    del held
    assert memory.used == 0


def answer(size):
    message = {"role": "assistant", "content": "word " * (size // 5)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    value = {"id": "c", "object": "chat.completion", "created": 1, "choices": [choice]}
    return unary(json.dumps(value).encode())


@pytest.mark.parametrize("model", ["o"])
@pytest_twisted.ensureDeferred
async def test_answers_in_memory_are_bounded_together(open_rig, model):
    rig = await open_rig(config=BOUNDED)
    memory = rig.broker._receiver.memory
    whole = answer(400_000)
    first = await rig.post(PATHS["openai"], ask(model))
    one = await rig.backend(1)
    one.transport.write(whole[:-100])
    for _ in range(500):
        if memory.used > len(whole) // 2:
            break
        await deferLater(reactor, 0.01)
    second = await rig.post(PATHS["anthropic"], ask(model))
    two = await rig.backend(2)
    two.transport.write(whole[:-100])
    await two.closed()
    (record,) = await rig.ended()
    assert (record.end.status, record.end.code) == (529, "too_many_answers")
    assert record.attempts[0].error == "too_many_answers"
    await second.has(b"overloaded_error")
    assert b"retry-after: 1" in second.received.lower()
    one.transport.write(whole[-100:])
    await rig.ended(2)
    await first.until(lambda: len(first.body) == len(whole.partition(b"\r\n\r\n")[2]))
    assert memory.used == 0


@pytest.mark.parametrize("leaves", [False, True])
@pytest_twisted.ensureDeferred
async def test_an_answer_counts_until_a_slow_client_has_it_or_leaves(open_rig, leaves):
    def site(resource):
        return Site(resource, reactor, Limits())

    rig = await open_rig(config=BOUNDED.replace(str(MOST), "30000000"), site=site)
    memory = rig.broker._receiver.memory
    whole = answer(20_000_000)
    client = await rig.post(PATHS["openai"], ask("o"))
    client.transport.pauseProducing()
    line = await rig.backend()
    line.transport.write(whole)
    for _ in range(500):
        if memory.used >= 20_000_000:
            break
        await deferLater(reactor, 0.01)
    await deferLater(reactor, 0.3)
    assert not rig.records and memory.used >= 20_000_000
    if leaves:
        client.transport.abortConnection()
    else:
        client.transport.resumeProducing()
    (record,) = await rig.ended()
    assert (record.end.outcome, memory.used) == ("client_left" if leaves else "complete", 0)
    if not leaves:
        await client.until(lambda: len(client.received) > 20_000_000)
        assert client.received.endswith(whole.partition(b"\r\n\r\n")[2])


class Consumer:
    def __init__(self):
        self.written = []
        self.producer = None

    def registerProducer(self, producer, streaming):
        assert not streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.written.append(data)


@pytest.mark.parametrize("size", [1, PIECE, PIECE + 1, 3 * PIECE - 1])
def test_a_body_is_given_in_pieces_as_they_are_asked_for(size):
    consumer, body = Consumer(), bytes(range(256)) * (size // 256 + 1)
    pieces = Pieces(body[:size], consumer)
    while consumer.producer is not None:
        assert not pieces.done.called
        consumer.producer.resumeProducing()
    assert pieces.done.called
    assert b"".join(consumer.written) == body[:size]
    assert max(map(len, consumer.written)) <= PIECE
