"""Measures what the broker adds to the latency of a backend, for ``lmbroker bench``.

The measurement is polite: one call at a time, at most so many a second, a short prompt, few tokens.
Calls to the backend and calls through a broker in this process alternate, so that the load of the
backend affects both alike. The same client code sends and reads both, so that nothing but the
broker makes a difference.
"""

import math
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner
from zope.interface import implementer

from lmbroker import json_text
from lmbroker.backends.interfaces import IReactor
from lmbroker.backends.sending import Backends, Sender
from lmbroker.broker.relay import Relay
from lmbroker.call import Backend, Call, Dialect, Target
from lmbroker.config.config import Config, Server
from lmbroker.daemon.listening import CannotListen
from lmbroker.daemon.service import BrokerService, Surroundings
from lmbroker.errors import BackendRefused, Broken, BrokerError
from lmbroker.redaction import redact_error
from lmbroker.routing import aliases
from lmbroker.routing.aliases import Route
from lmbroker.routing.keys import Key, digest_of
from lmbroker.routing.retries import Retries
from lmbroker.secret import Secret
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.unified.parts import TextPart
from lmbroker.translation.unified.request import Request, Turn
from lmbroker.usage import Usage
from lmbroker.workflows import workflow_for
from lmbroker.workflows.contract import Workflow

MOST_CALLS = 500
"""The maximum of calls each way."""

MOST_RATE = 20.0
"""The maximum of calls a second, both ways together."""

WARM_UP = 1
"""Calls each way that are not counted: they open the connections."""

FAILURES = 3
"""The number of failed calls that ends the measurement."""

MAX_TOKENS = 16
PROMPT = "Count from one to ten, in words."
PROMPT_TOKENS = 16
"""The estimated tokens of the prompt, with what a chat adds to it."""

ERROR_BODY_LIMIT = 1024 * 1024
FEW = 6
"""The number of pairs below which nothing is known of how sure their median is."""

PrintLine = Callable[[str], None]
"""Shows one line to the user."""


Step = Callable[[], None]
"""Is called before each call."""


def _unseen() -> None:
    """Do nothing."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a measurement: ``calls`` each way, ``rate`` calls a second of both ways together.

    ``client`` is the dialect to ask the broker in, the backend's own if None.
    """

    alias: str
    calls: int = 20
    rate: float = 1.0
    stream: bool = True
    client: Dialect | None = None


class Timing(msgspec.Struct, frozen=True):
    """One call, in seconds from its start.

    ``first`` is when its first event was here; of an answer that is one JSON body it is when that
    was.
    """

    first: float
    whole: float


class _Way(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two ways to ask: the target as the client sees it, and the request's bytes."""

    target: Target
    body: bytes
    stream: bool

    def workflow(self) -> Workflow:
        """Return a passthrough: what comes is measured, not translated."""
        call = Call(
            id="bench",
            operation="chat",
            dialect=self.target.backend.dialect,
            asked=self.target.model,
            body=self.body,
            stream=self.stream,
        )
        return workflow_for(call, self.target)


@implementer(IConsumer)
class _Discarding:
    """A consumer that takes every byte and keeps none."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Do nothing: the producer is never paused."""

    def unregisterProducer(self) -> None:
        """Do nothing."""

    def write(self, data: bytes) -> None:
        """Discard the data."""


class _Asker:
    """Sends calls, one at a time, none sooner than ``pause`` seconds after the one before."""

    def __init__(self, sender: Sender, clock: IReactorTime, pause: float) -> None:
        self.tokens = 0
        """The tokens of all calls, as the backend counted them."""
        self._sender = sender
        self._clock = clock
        self._pause = pause
        self._due = 0.0

    async def ask(self, way: _Way) -> Timing:
        """Make one call when it is due, and return how long it took.

        Raises a BrokerError whose words are for people, without a credential.
        """
        wait = self._due - self._clock.seconds()
        if wait > 0:
            await deferLater(self._clock, wait)
        began = self._clock.seconds()
        self._due = began + self._pause
        try:
            first, usage = await self._answered(way)
        except BrokerError as error:
            error.info = redact_error(error.info, way.target.backend.secrets)
            raise
        ended = self._clock.seconds()
        if usage is not None:
            self.tokens += usage.input + usage.output
        return Timing((ended if first is None else first) - began, ended - began)

    async def _answered(self, way: _Way) -> tuple[float | None, Usage | None]:
        workflow = way.workflow()
        backend, timeouts = way.target.backend, way.target.timeouts
        answer = await self._sender.send(backend, workflow.outbound(), timeouts)
        if not 200 <= answer.status <= 299:
            body = await answer.body(ERROR_BODY_LIMIT)
            raise workflow.failure(answer.status, answer.headers, body)
        if answer.content_type != "text/event-stream":
            return None, workflow.unary(await answer.body(), now=0).usage
        transform = workflow.transform(now=0)
        relay = Relay(answer, transform, self._clock, timeouts)
        answer.deliver(relay)
        await relay.begun
        if transform.phase != "failed":
            await relay.deliver(_Discarding())
        if transform.phase == "failed" and transform.error is not None:
            failure = BackendRefused if transform.error.quoted else Broken
            raise failure(transform.error)
        return relay.first_event_at, transform.usage


async def measure(
    reactor: IReactor, config: Config, plan: Plan, print_line: PrintLine, step: Step = _unseen
) -> int:
    """Measure, print the result in lines for people, and return the exit code."""
    route = config.alias(plan.alias)
    if route is None:
        raise aliases.unknown_model(plan.alias)
    for line in announced(route, plan):
        print_line(line)
    async with _broker(reactor, config, route, plan) as (direct, through):
        backends = Backends(reactor)
        try:
            return await _alternated(
                _Asker(backends, reactor, 1 / plan.rate), direct, through, plan, print_line, step
            )
        finally:
            await backends.close()


async def _alternated(
    asker: _Asker, direct: _Way, through: _Way, plan: Plan, print_line: PrintLine, step: Step
) -> int:
    pairs: list[tuple[Timing, Timing]] = []
    failures = 0
    for number in range(WARM_UP + plan.calls):
        pair = []
        for name, way in (("backend", direct), ("broker", through)):
            step()
            try:
                pair.append(await asker.ask(way))
            except BrokerError as error:
                print_line(f"a call to the {name} failed: {' '.join(error.info.message.split())}")
                failures += 1
                # What fails the first time fails every time.
                if failures == FAILURES or number < WARM_UP:
                    print_line("given up")
                    return 1
        if number >= WARM_UP and len(pair) == 2:
            pairs.append((pair[0], pair[1]))
    if not pairs:
        return 1
    for line in report(pairs, plan.stream):
        print_line(line)
    if asker.tokens:
        print_line(f"tokens, as the backend counted them: {asker.tokens:,}")
    return 1 if failures else 0


# The two ways to ask.


@asynccontextmanager
async def _broker(
    reactor: IReactor, config: Config, route: Route, plan: Plan
) -> AsyncIterator[tuple[_Way, _Way]]:
    """Return a broker on a port of loopback, for as long as the block runs.

    It yields the way to the alias's first target, and the way there through the broker.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    # Without a key, anybody else on this machine could spend the backend's tokens meanwhile.
    key = secrets.token_urlsafe()
    ours = _narrowed(config, route, plan, port, key)
    # The practice backend answers at once: its pace for people would be all that is measured.
    service = BrokerService(ours, reactor, None, lambda: ours, Surroundings(pace=0.0))
    try:
        service.privilegedStartService()
        service.startService()
        # As the running broker knows it: with the address of the practice backend.
        running = service.broker.config.aliases[plan.alias]
        yield _direct(running, plan), _through(running, plan, port, key)
    finally:
        await service.stopService()


def _narrowed(config: Config, route: Route, plan: Plan, port: int, key: str) -> Config:
    """Return ``config`` with the alias's first target alone, tried once, and one client's key."""
    only = Route(
        name=plan.alias,
        targets=(aliases.named(route.targets[0], plan.alias),),
        mode=route.mode,
        profile=route.profile,
        retries=Retries(attempts=1),
    )
    # One process, one listener: a broker may be running under the same configuration.
    listen = (f"tcp:{port}:interface=127.0.0.1",)
    server = Server(listen=listen, drain_timeout=0.0, engine=config.server.engine)
    return msgspec.structs.replace(
        config,
        server=server,
        aliases={plan.alias: only},
        default="",
        keys=(Key(name="bench", digest=digest_of(key)),),
        warnings=(),
    )


def _direct(route: Route, plan: Plan) -> _Way:
    target = route.targets[0]
    backend = target.backend
    known = profile(backend.dialect, target.model, route.overrides(target), host=backend.host)
    body = _request(target.backend.dialect, target.model, known, plan)
    return _Way(target=_patient(target), body=body, stream=plan.stream)


def _through(route: Route, plan: Plan, port: int, key: str) -> _Way:
    target = route.targets[0]
    spoken = target.backend.dialect
    dialect = plan.client or spoken
    # A client of the backend's own dialect writes what the model takes, since it is passed through.
    model, overrides, host = "", None, ""
    if dialect == spoken:
        model, overrides, host = target.model, route.overrides(target), target.backend.host
    known = profile(dialect, model, overrides, host=host)
    backend = Backend(
        name="broker",
        url=f"http://127.0.0.1:{port}/v1",
        dialect=dialect,
        credential=Secret(key),
    )
    asked = Target(backend=backend, model=plan.alias, timeouts=target.timeouts)
    body = _request(dialect, plan.alias, known, plan)
    return _Way(target=_patient(asked), body=body, stream=plan.stream)


def _patient(target: Target) -> Target:
    """Return ``target`` with a wait for the first event that only its other timeouts limit."""
    timeouts = msgspec.structs.replace(target.timeouts, commit=target.timeouts.total)
    return msgspec.structs.replace(target, timeouts=timeouts)


def _request(dialect: Dialect, model: str, known: Profile, plan: Plan) -> bytes:
    request = Request(
        dialect=dialect,
        model=model,
        turns=(Turn(role="user", parts=(TextPart(text=PROMPT),)),),
        max_tokens=MAX_TOKENS,
        stream=plan.stream,
        stream_usage=plan.stream,
    )
    return json_text.encode(ADAPTERS[dialect].encode_request(request, known, Losses()))


# The report.


def announced(route: Route, plan: Plan) -> Iterator[str]:
    """Return what will be asked of whom, and what it will cost, before it begins."""
    target = aliases.named(route.targets[0], plan.alias)
    backend = target.backend
    way = "passed through" if plan.client in (None, backend.dialect) else "translated"
    streamed = "streamed" if plan.stream else "not streamed"
    calls = WARM_UP + plan.calls
    tokens = 2 * calls * (PROMPT_TOKENS + MAX_TOKENS)
    yield f"{plan.alias}: {backend.name} ({backend.dialect}, {backend.url}) model {target.model}"
    if len(route.targets) > 1:
        yield f"the first of its {len(route.targets)} targets only"
    yield (
        f"{2 * calls} calls, {calls} to the backend and {calls} through the broker ({way}, "
        f"{streamed}), in turns, one at a time, at most {plan.rate:g} a second: "
        f"{2 * calls / plan.rate:.0f} s or more"
    )
    yield f"each may answer with {MAX_TOKENS} tokens: about {tokens:,} tokens in all, at most"
    yield ""


def report(pairs: Sequence[tuple[Timing, Timing]], stream: bool) -> Iterator[str]:
    """Return the figures of (to the backend, through the broker), in milliseconds."""
    measures: list[tuple[str, Callable[[Timing], float]]] = [
        ("whole answer", lambda timing: timing.whole * 1000)
    ]
    if stream:
        measures.insert(0, ("first event", lambda timing: timing.first * 1000))
    yield f"{'ms':20}" + "".join(f"{name:>20}" for name, _ in measures)
    yield f"{'':20}" + f"{'p50':>10}{'p90':>10}" * len(measures)
    columns = [
        [[read(timing) for timing in way] for way in zip(*pairs, strict=True)]
        for _, read in measures
    ]
    for at, name in enumerate(("to the backend", "through the broker")):
        figures = [quantile(ways[at], share) for ways in columns for share in (0.5, 0.9)]
        yield f"{name:20}" + "".join(f"{figure:10.1f}" for figure in figures)
    figures = [
        quantile(through, share) - quantile(direct, share)
        for direct, through in columns
        for share in (0.5, 0.9)
    ]
    yield f"{'difference':20}" + "".join(f"{figure:+10.1f}" for figure in figures)
    yield ""
    for (name, _), (direct, through) in zip(measures, columns, strict=True):
        added = [one - other for one, other in zip(through, direct, strict=True)]
        yield f"{name}: {_added(added)}"


def _added(added: Sequence[float]) -> str:
    """Return what the differences of the pairs say, in words.

    It is their median, how sure that is, and whether it is more than chance.
    """
    middle = quantile(added, 0.5)
    text = f"the broker adds {middle:+.1f} ms (median of {len(added)} pairs)"
    if len(added) < FEW:
        return text
    least, most = surely_between(added)
    text = f"{text[:-1]}, between {least:+.1f} and {most:+.1f} with 95 % certainty)"
    if least <= 0 <= most:
        text += "; the backend's own ups and downs are larger than that"
    return text


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that at least ``share`` of ``values`` do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def surely_between(values: Sequence[float]) -> tuple[float, float]:
    """Return two of ``values`` between which the true median lies in 19 of 20 cases or more.

    The true median is that of all that could be measured: how many values lie below it is binomial,
    whatever their distribution.
    """
    ordered, count = sorted(values), len(values)
    outside, rank = 0.0, 0
    while outside + math.comb(count, rank) / 2**count <= 0.025:
        outside += math.comb(count, rank) / 2**count
        rank += 1
    low = max(rank - 1, 0)
    return ordered[low], ordered[count - 1 - low]


# The command.


def run(
    reactor: IReactor, config: Config, plan: Plan, print_line: PrintLine, step: Step = _unseen
) -> int:
    """Run the reactor until all is measured; return the exit code. Raises what ``measure`` does."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    ends: list[Any] = []
    interrupted: list[bool] = []

    def end(result: Any) -> None:
        if not interrupted:
            ends.append(result)
            reactor.stop()

    def begin() -> None:
        measuring = Deferred.fromCoroutine(measure(reactor, config, plan, print_line, step))
        reactor.addSystemEventTrigger("before", "shutdown", interrupt, measuring)
        measuring.addBoth(end)

    def interrupt(measuring: Deferred[int]) -> None:
        if not ends:
            # A call that fails because the reactor takes its connection away is no result.
            interrupted.append(True)
            measuring.cancel()

    reactor.callWhenRunning(begin)
    reactor.run()
    if not ends:
        return 130
    if isinstance(ends[0], int):
        return ends[0]
    ends[0].trap(BrokerError, CannotListen)
    ends[0].raiseException()
    return 1
