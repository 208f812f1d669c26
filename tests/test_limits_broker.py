"""Many calls at the broker under limits, on a fake clock: answers come whole, streamed, broken or
never, targets fail over, clients leave, configurations change; nothing stays reserved, and what was
counted is what the records say."""

import random

import pytest
from rig import EVENTS
from test_limiting import ANSWER
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure

from lmbroker.broker.broker import Broker
from lmbroker.call import Call, End
from lmbroker.config.config import parse
from lmbroker.errors import BrokerError, ErrorInfo, Refused, Unreachable

CONFIG = """
[retries]
attempts = 3
first_pause = 0.1
[[limits.rules]]
name = "all"
parallel = PARALLEL
tokens = ["4k/min", "1G/never"]
WAIT
[[limits.rules]]
name = "dear"
for = { alias = "m" }
requests = ["20/min", "1G/never"]
cost = "100 USD/day"
then = "cheap"
[[backends]]
name = "one"
type = "openai"
url = "http://one.test"
[[backends]]
name = "two"
type = "anthropic"
url = "http://two.test"
[[models]]
alias = "m"
targets = [{ backend = "one" }, { backend = "two" }]
price = { input = 1000, output = 2000 }
[[models]]
alias = "cheap"
targets = [{ backend = "one" }]
"""
MOST = 4
BODY = b'{"model":"m","max_tokens":50,"stream":%s,"messages":[{"role":"user","content":"hi"}]}'
WHOLE = {
    "one": ANSWER,
    "two": b'{"id":"m","type":"message","role":"assistant","model":"x","content":[{"type":"text",'
    b'"text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":5}}',
}


def config(parallel=MOST, wait=0):
    text = CONFIG.replace("PARALLEL", str(parallel)).replace("WAIT", f"wait = {wait}")
    return parse(text, name="t", environ={}, read_file=str)


class Consumer:
    """A client that takes everything."""

    def registerProducer(self, producer, streaming): ...

    def unregisterProducer(self): ...

    def write(self, data): ...


class Answer:
    """A backend's answer, of which the rest comes by and by."""

    queued, sent_at, held, memory = 0.0, None, None, None

    def __init__(self, clock, status, body, content_type, pieces=()):
        self.status, self._body, self.content_type = status, body, content_type
        self.headers = {"x-ratelimit-limit-requests": "77"}
        self._clock = clock
        self._pieces = pieces
        self._over = False
        self.transport = self

    async def body(self, *limits, **more):
        await deferLater(self._clock, 0.05)
        return self._body

    def deliver(self, protocol):
        protocol.makeConnection(self)
        at = 0.0
        for pause, piece in self._pieces:
            at += pause
            self._clock.callLater(at, self._give, protocol, piece)

    def _give(self, protocol, piece):
        if self._over:
            return
        if piece is None:
            self._over = True
            protocol.connectionLost(Failure(ConnectionDone()))
        else:
            protocol.dataReceived(piece)

    def abort(self):
        self._over = True

    def finished(self): ...

    def release_slot(self): ...

    def pauseProducing(self): ...

    def resumeProducing(self): ...


class Backends:
    """Two backends that do what chance says."""

    def __init__(self, clock, chance):
        self.clock = clock
        self.chance = chance
        self.in_flight = self.most = 0

    async def send(self, backend, outbound, timeouts):
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await deferLater(self.clock, self.chance.choice([0, 0.01, 0.4, 3]))
        finally:
            self.in_flight -= 1
        what = self.chance.random()
        if what < 0.1:
            raise Unreachable(ErrorInfo(kind="unreachable", message="", code="refused"))
        if what < 0.2:
            status = self.chance.choice([400, 401, 429, 500, 503])
            return Answer(self.clock, status, b'{"error":{"message":"no"}}', "application/json")
        if what < 0.25:
            return Answer(self.clock, 200, b"not JSON", "application/json")
        if b'"stream":true' not in outbound.body.replace(b" ", b""):
            return Answer(self.clock, 200, WHOLE[backend.name], "application/json")
        first, last = EVENTS["o" if backend.name == "one" else "a"]
        pieces = [(0.02, first), (self.chance.choice([0.1, 2]), last), (0.1, None)]
        if what < 0.4:
            del pieces[1]  # it breaks off
        elif what < 0.45:
            del pieces[1:]  # it falls silent
        return Answer(self.clock, 200, b"", "text/event-stream", pieces)


class World:
    """A broker and its clients."""

    def __init__(self, seed, **rules):
        self.clock = Clock()
        self.chance = random.Random(seed)
        self.records = []
        self.open = []
        self.rules = rules
        self.backends = Backends(self.clock, self.chance)
        self.broker = Broker(
            config(**rules),
            self.backends,
            [self],
            self.clock,
            lambda: 1_790_000_000 + self.clock.seconds(),
            self.chance.random,
        )

    def opened(self, record): ...

    def attempted(self, record, attempt): ...

    def closed(self, record):
        self.records.append(record)

    async def _serve(self, number):
        stream = self.chance.random() < 0.5
        operation = self.chance.choice(["chat"] * 5 + ["count_tokens"])
        dialect = self.chance.choice(["openai", "anthropic"])
        if operation == "count_tokens":
            dialect, stream = "anthropic", False
        record = self.broker.open(f"req_{number}", operation, dialect)
        body = BODY % (b"true" if stream else b"false")
        call = Call(
            id=record.id, operation=operation, dialect=dialect, asked="m", body=body, stream=stream
        )
        end = End(outcome="failed")
        operate = self.broker.count_tokens if operation == "count_tokens" else self.broker.chat
        try:
            answer = await operate(call, record)
            end = await answer.deliver(Consumer())
        except CancelledError:
            end = End(outcome="client_left")
        except Refused as error:
            end = End(outcome="refused", code=error.info.code)
        except BrokerError:
            end = End(outcome="backend_error")
        finally:
            self.broker.close(record, end)

    def call(self, number):
        serving = Deferred.fromCoroutine(self._serve(number))
        self.open.append(serving)
        serving.addBoth(lambda result: self.open.remove(serving) or result)

    def run(self, calls):
        for number in range(calls):
            self.call(number)
            if self.open and self.chance.random() < 0.1:
                self.chance.choice(self.open).cancel()
            if self.chance.random() < 0.02:
                self.broker.config = config(**self.rules)
            self.clock.advance(self.chance.choice([0, 0, 0.05, 0.3, 2]))
            self.check()
        for _ in range(4000):
            if not self.open:
                break
            self.clock.advance(0.5)
        assert self.open == []

    def check(self):
        held = self.ledger.reserved()
        assert held.get("all|all|parallel/never", 0) <= self.rules.get("parallel", MOST)
        assert held.get("all|all|parallel/never", 0) == self.ledger.leases

    @property
    def ledger(self):
        return self.broker.limits.ledger

    def used(self, counter):
        return next(iter(self.ledger.kept([counter])))[1]


@pytest.mark.parametrize("rules", [{}, {"wait": 2}], ids=["refusing", "waiting"])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_leaks_and_every_call_is_counted_by_what_is_known(seed, rules):
    world = World(seed, **rules)
    world.run(400)
    assert len(world.records) == 400
    outcomes = {record.end.outcome for record in world.records}
    assert outcomes >= {"complete", "stream_error", "refused", "backend_error", "client_left"}
    assert world.ledger.leases == 0 and world.ledger.reserved() == {}
    assert world.broker.limits.waiting == 0
    let_through = [record for record in world.records if record.reservation is not None]
    taken = sum(
        amount
        for record in let_through
        for _, measure, amount in record.reservation.shares()
        if measure == "tokens"
    )
    # Each rule has the tokens of a minute and those for good.
    assert world.used("all|all|tokens/never") == taken / 2
    counted = [
        record.usage.input + record.usage.output
        for record in let_through
        if record.usage is not None and record.operation == "chat"
    ]
    assert counted and sum(counted) <= taken / 2
    dear = [record for record in let_through if ("dear", "allowed") in record.limits]
    assert world.used("dear|all|requests/never") == len(dear)
    sent_on = [record for record in let_through if ("dear", "then") in record.limits]
    assert sent_on and all(record.alias == "cheap" for record in sent_on)
    assert world.used("dear|all|cost/day") >= sum(
        record.cost or 0 for record in dear if record.operation == "chat"
    )
    for record in world.records:
        if record.end.outcome == "refused":
            assert record.reservation is None or record.attempts, record.end


def test_calls_at_once_are_never_more_than_the_rule_says():
    world = World(9, parallel=2, wait=5)
    world.run(200)
    # One that has left is gone from the backend before the next comes.
    assert 1 <= world.backends.most <= 2
