"""The broker: one method for each operation, each with its attempts and failovers.

The point of no return is a ``return``: an operation may try several backends, but only before
it returns an ``Answer``. ``Answer.deliver`` never retries; an error is then sent inside the stream.
"""

import contextlib
import random
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmbroker import headers, json_text
from lmbroker.backends.interfaces import IReactor
from lmbroker.backends.sending import Sender
from lmbroker.backends.turn_end import turns_of
from lmbroker.broker.answers import Answer, WholeAnswer
from lmbroker.broker.model_listing import Listing
from lmbroker.broker.new_ids import new_span_id
from lmbroker.broker.receiving import Receiver
from lmbroker.broker.target_attempt import TargetAttempt, needs_second_dialect, with_own_key
from lmbroker.broker.trace_context import handed_on
from lmbroker.call import (
    Attempt,
    Call,
    End,
    Observer,
    Record,
    Target,
    spoken_in,
)
from lmbroker.capture.tape import Tape
from lmbroker.config.config import Config
from lmbroker.errors import AttemptFailed, BackendRefused, BrokerError, ErrorInfo, Refused
from lmbroker.limiting.limiter import Limiter
from lmbroker.limiting.store import LocalStore, Store
from lmbroker.offload import LARGE_ENVELOPE, Offload, takes_long
from lmbroker.redaction import redact_error, shown
from lmbroker.routing import aliases, retries, suitability
from lmbroker.routing.aliases import Route
from lmbroker.routing.conversations import conversation_of, hashed
from lmbroker.routing.failover import Failovers
from lmbroker.routing.keys import may_use
from lmbroker.routing.limit_ledger import Ledger
from lmbroker.routing.target_health import Health, TargetStatus
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.refusals.error_kinds import NOT_LET_IN
from lmbroker.usage import Price, cost_of
from lmbroker.workflows import estimate, learned_rejections, second_dialect
from lmbroker.workflows.beginnings import Beginnings
from lmbroker.workflows.learned_rejections import LearnedRejections, Repairs
from lmbroker.workflows.listed_limits import ListedLimits
from lmbroker.workflows.token_ratios import TokenRatios

_OWN_KEY_REFUSED = ErrorInfo(
    kind="auth",
    message="the backend does not take your API key",
    status=401,
    code="invalid_api_key",
)


class Captures(Protocol):
    """The captures that are on."""

    def of_call(self, call: Call, record: Record) -> tuple[Tape, Callable[[Record], None]] | None:
        """Return a tape for a call that begins, and what is called when it has ended.

        It is None for a call that nobody wants.
        """
        ...


LIMITED = ("chat", "completions")
"""The operations to which the request limits apply."""


class Broker:
    """Answers calls: chooses targets, makes the attempts there, and returns the answer.

    ``config`` may be replaced at any time: a call keeps what it began with. So may ``observers``.
    ``listing`` knows the models.

    ``clock`` is the reactor, for its time and its helper processes; ``wall`` gives unix seconds.
    ``limits`` is where the limit rules count, by default this process.
    """

    log = Logger()

    def __init__(
        self,
        config: Config,
        backends: Sender,
        observers: Sequence[Observer],
        clock: IReactor,
        wall: Callable[[], float],
        chance: Callable[[], float] = random.random,
        price_of: Callable[[Target], Price | None] = attrgetter("price"),
        limits: Store | None = None,
    ) -> None:
        self._failovers = Failovers(Health(config.breaker), chance)
        self._config = config
        self._backends = backends
        self.observers = tuple(observers)
        self._price_of = price_of
        self.clock = clock
        self.turns = turns_of(clock)
        self.wall = wall
        self.trace_ratio: float | None = None
        """The share of new traces whose spans are recorded; None where nobody records spans."""
        self.learned = LearnedRejections()
        self._ratios = TokenRatios()
        self.limits: Store = limits or LocalStore(Ledger(), clock, wall)
        self.limiter: Limiter | None = None
        self._limit_by(config)
        self.listed = ListedLimits()
        self.listing = Listing(config.index, backends, clock, self.listed)
        self.beginnings = Beginnings(lambda: self._config.limits.beginnings)
        self.offload = Offload(clock, lambda: self._config.limits)
        self._receiver = Receiver(config.limits, clock, wall, self.offload, self._charge)
        self.captures: Captures | None = None
        """The captures that are on; None for none."""

    @property
    def config(self) -> Config:
        """The configuration for new calls."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        self._config = config
        self._failovers.health.rules = config.breaker
        self._receiver.limits = config.limits
        self._failovers.keep(config.aliases.values())
        self._limit_by(config)
        self.listing = Listing(config.index, self._backends, self.clock, self.listed)

    def _limit_by(self, config: Config) -> None:
        """Apply the limit rules of ``config``; where it has none, calls skip the limiter."""
        self.limiter = (
            Limiter(self.limits, config.limit_rules, self._price_of, self.wall)
            if config.limit_rules
            else None
        )

    # The memory of a call.

    def open(self, call_id: str, operation: Any, dialect: Any) -> Record:
        """Begin a call's record and notify the observers."""
        now = self.clock.seconds()
        record = Record(id=call_id, operation=operation, dialect=dialect, opened_at=now)
        record.arrived_at = self.turns.since
        for observer in self.observers:
            observer.opened(record)
        return record

    def close(self, record: Record, end: End) -> None:
        """End a call's record and notify the observers; does so once at most."""
        if record.closed_at is not None:
            return
        record.closed_at = self.clock.seconds()
        if record.client_left and end.outcome != "client_left":
            end = msgspec.structs.replace(end, outcome="client_left")
        record.end = end
        self._failovers.closed(record)
        self._charge(record)
        if record.reservation is not None:
            record.reservation.settle(record)
        usage = record.usage
        if record.estimated and usage is not None and not usage.estimated:
            counted = usage.input + usage.cache_read + usage.cache_write
            target = record.attempts[-1].target
            self._ratios.learn(target, counted=counted, estimated=record.estimated)
        for observer in self.observers:
            observer.closed(record)

    def _charge(self, record: Record) -> None:
        """Note what the tokens of a call cost so far, where the price is known."""
        if record.usage is not None and record.attempts:
            price = self._price_of(record.attempts[-1].target)
            if price is not None:
                record.cost = cost_of(record.usage, price)

    # The operations.

    async def chat(self, call: Call, record: Record) -> Answer:
        """Answer a call: one attempt after the other, as far as the rules of the alias go.

        What happens before this returns may happen again elsewhere; nothing does afterwards.

        Raises Refused or AttemptFailed, CancelledError when the client left.
        """
        call = aliases.asked_plainly(call, self._config.index)
        route = self._route(call, record)
        if self.limiter is not None:
            call, route = await self.limiter.admit(call, record, route, self._config.index)
        if call.operation != "chat":
            served = aliases.serving(route, call.operation)
            if served.targets:
                # Otherwise the first target raises an error that names the operation.
                route = served
        if route.request_limits is not None and call.operation in LIMITED:
            if not call.short_fields and len(call.body) < LARGE_ENVELOPE:
                route.request_limits.check(call)
            else:
                await self.offload.check(route.request_limits, call)
        return await self._answer(call, record, route)

    async def _answer(self, call: Call, record: Record, route: Route) -> Answer:
        """Return the answer of one of the route's targets; raises as ``chat``."""
        key, conversation = "", b""
        if route.sticky:
            key = aliases.sticky_key(route, call)
        elif route.sticky is None and (len(route.targets) > 1 or route.keys):
            found = conversation_of(call)
            conversation = hashed(route.name, found) if found else b""
        now = self.clock.seconds()
        lacking: Sequence[str] = ()
        if len(route.targets) > 1 and call.operation == "chat":
            lacking = await self._lacking(call, route, now)
        failover = self._failovers.begin(
            record, route, call.asked, now, key=key, conversation=conversation, lacking=lacking
        )
        while True:
            target = failover.target(now)
            try:
                answer = await self._attempt(call, record, route, target, now)
            except BrokerError as error:
                # The failover keeps the error. Its traceback would keep the call's body alive.
                error.__traceback__ = None
                pause = failover.failed(error, self.clock.seconds(), self.wall())
            else:
                failover.answered(self.clock.seconds())
                return answer
            finally:
                if self._failovers.health.changes:
                    self._log_changes()
            call = headers.for_another_backend(call)
            if pause:
                record.paused += pause
                await deferLater(self.clock, pause)
            now = self.clock.seconds()

    embeddings = chat

    async def _lacking(self, call: Call, route: Route, now: float) -> Sequence[str]:
        """Return what each target of ``route`` cannot take of ``call``, "" for nothing."""
        needs = suitability.Needs(call)
        targets = []
        for each in route.targets:
            target = aliases.named(each, call.asked)
            learned = self.learned.overrides(target, now)
            targets.append((target, {**learned, **route.overrides(target)}))
        if any(suitability.may_be_too_long(needs, *each) for each in targets):
            # A backend may read what we cannot; the length is unknown then.
            with contextlib.suppress(Refused):
                tokens = await self._estimate(call)
                needs.tokens = self._ratios.scaled(tokens, targets[0][0])
        return [suitability.lacking(needs, *each) for each in targets]

    async def _estimate(self, call: Call) -> int:
        long = takes_long(call.body)
        return await self.offload.estimate(call) if long else estimate(call)

    async def count_tokens(self, call: Call, record: Record) -> Answer:
        """Count the tokens of a request: by a backend that can, estimated otherwise.

        That is section 7.3 of translation.md. Raises as ``chat``.
        """
        call = aliases.asked_plainly(call, self._config.index)
        route = self._route(call, record)
        if self.limiter is not None:
            call, route = await self.limiter.admit(call, record, route, self._config.index)
        while (counting := self._counting(route, call)).targets:
            try:
                return await self._answer(call, record, counting)
            except AttemptFailed as error:
                if not learned_rejections.counts_nothing(error):
                    raise
                target = record.attempts[-1].target
                counted = spoken_in(target, call.dialect)
                self.learned.learn(counted, learned_rejections.NO_COUNT, self.clock.seconds())
        tokens = await self._estimate(call)
        tokens = self._ratios.scaled(tokens, aliases.named(route.targets[0], call.asked))
        facts = ADAPTERS[call.dialect].facts
        assert facts.counted is not None
        head = (
            ("content-type", "application/json"),
            ("x-lmbroker-estimated", "true"),
            *headers.identity(facts.headers, call.id, backend=route.targets[0].backend.name),
        )
        return WholeAnswer(200, head, json_text.encode(facts.counted(tokens)))

    def _counting(self, route: Route, call: Call) -> Route:
        """Return ``route`` with those of its targets only that count tokens, as far as is known."""
        now = self.clock.seconds()

        def counts(target: Target) -> bool:
            target = aliases.named(target, call.asked)
            backend = target.backend
            foreign = backend.dialect != call.dialect
            if foreign and aliases.has(target, "count_tokens"):
                return False  # it counts tokens of requests in its own dialect only
            repairs = self._repairs(route, target, now)
            known = profile(backend.dialect, target.model, repairs.overrides, host=backend.host)
            asked = spoken_in(target, call.dialect)
            return known.counts_tokens and not self.learned.counts_nothing(asked, now)

        return aliases.only(route, counts)

    def _repairs(self, route: Route, target: Target, now: float) -> Repairs:
        listed = self.listed.overrides(target)
        return Repairs(self.learned, target, route.overrides(target), now, listed)

    def _route(self, call: Call, record: Record) -> Route:
        """Return where the call's model name leads.

        Raises Refused where that is nowhere, where its caller may not go, and where it needs the
        memory of one backend and may come to others.
        """
        tags = self._config.usage.tags
        if tags:
            record.tags = tuple(shown(call.headers.get(tag, "")) for tag in tags)
        route = self._config.alias(call.asked)
        if route is not None:
            record.alias = route.name
            if may_use(call.caller, route.name, call.asked):
                aliases.check_memory(route, call)
                return aliases.for_client(route, call.dialect)
        self.log.info(
            "Unknown model {model} ({why})",
            model=shown(call.asked),
            why="not for this key" if route is not None else "no alias has this name",
            fields={"request_id": call.id, "caller": call.caller.name},
        )
        raise aliases.unknown_model(call.asked)

    def checked(self, backend: str, began: float, failure: AttemptFailed | None = None) -> None:
        """Note that a check (``checks``) of a backend was answered, or failed."""
        targets = [
            target
            for route in self.config.aliases.values()
            for target in route.targets
            if target.backend.name == backend
        ]
        after = None if failure is None else retries.retry_after(failure.info, self.wall())
        self._failovers.health.checked(targets, began, self.clock.seconds(), failure, after)
        self._log_changes()

    def targets(self) -> tuple[TargetStatus, ...]:
        """Return the state of every target that was called or checked, and of each of its keys."""
        return self._failovers.health.snapshot(self.clock.seconds())

    def _log_changes(self) -> None:
        """Log the changes of the targets' breakers."""
        changes = self._failovers.health.changes
        while changes:
            change = changes.popleft()
            emit = self.log.warn if change.after == "open" else self.log.info
            emit(
                "Backend {backend} model {model}{operation}{key}: {state} ({reason})",
                backend=change.backend,
                model=change.model,
                operation="" if change.operation == "chat" else f" {change.operation}",
                key=f" key {change.key}" if change.key else "",
                state=change.after.replace("_", " "),
                reason=change.reason or "-",
            )

    async def _attempt(
        self, call: Call, record: Record, route: Route, target: Target, now: float
    ) -> Answer:
        """Return the answer of one target.

        A request that it refuses and that can be repaired is sent again, at most twice a call.
        Raises BrokerError.
        """
        if target.backend.clients_key:
            target = with_own_key(target, call, self._config.keys)
        first = attempt = TargetAttempt(
            call, record, route, target, self._repairs(route, target, now)
        )
        second_dialect_is_open = second_dialect.may_go(call, target)
        refusal: BackendRefused | None = None
        while True:
            if second_dialect_is_open and await needs_second_dialect(first, refusal, self.offload):
                second_dialect_is_open = False
                other = spoken_in(target, target.backend.also)
                repairs = self._repairs(route, other, now)
                attempt = TargetAttempt(call, record, route, other, repairs)
            attempt.prepare(self._ratios.of(target), self.beginnings)
            try:
                answer = await self._send(attempt)
            except Refused:
                if attempt is not first:
                    # The second dialect cannot say something of the call: the first one then does
                    # as it would without the second.
                    attempt = first
                    continue
                if refusal is None:
                    raise
                # The repaired request cannot be made; the backend's own error says more.
                raise refusal from None
            except BackendRefused as error:
                # The traceback would keep the call's body alive.
                error.__traceback__ = None
                refusal = error
                repair = await attempt.repair(error, self.offload, self.clock)
                self.log.info(
                    "Backend {backend} refused {parameters} for {model}; asking again ({kinds})",
                    backend=attempt.target.backend.name,
                    parameters=", ".join(repair.parameters),
                    model=attempt.target.model,
                    kinds=", ".join(sorted(repair.kinds)),
                )
            else:
                for each in (first, attempt):
                    each.repairs.succeeded(self.clock.seconds())
                return answer

    async def _send(self, attempt: TargetAttempt) -> Answer:
        """Send one request and receive its answer; the record and the observers get an Attempt.

        Raises BrokerError.
        """
        record, target, workflow = attempt.record, attempt.target, attempt.workflow
        if not attempt.is_large:
            outbound = workflow.outbound()
        else:
            outbound = await self.offload.outbound(attempt.terms, workflow)
        record.dropped, record.changed = workflow.dropped, workflow.changed
        made = Attempt(target=target, workflow=workflow.name, started=self.clock.seconds())
        trace = record.trace
        if trace is not None:
            made.span_id = new_span_id() if trace.recorded else trace.span_id
            more = handed_on(trace, made.span_id, record.client_request_id or record.id)
            outbound = outbound.with_headers(more)
        record.attempts.append(made)
        try:
            answer = await self._backends.send(target.backend, outbound, target.timeouts)
            made.status = answer.status
            made.queued, made.sent_at = answer.queued, answer.sent_at
            record.headers_at = self.clock.seconds()
            return await self._receiver.receive(attempt, answer)
        except AttemptFailed as error:
            if error.phase == "queued":
                made.queued = self.clock.seconds() - made.started
            elif error.sent and made.sent_at is None:
                # How long connecting took is not known: the failure counts as the backend's.
                made.sent_at = made.started
            error.clients_key = target.backend.clients_key
            if error.clients_key and error.info.code == NOT_LET_IN.code:
                # Such an error may have come with status 200.
                error.info = _OWN_KEY_REFUSED
            error.info = redact_error(error.info, target.backend.secrets)
            made.error = error.info.label
            raise
        except BrokerError as error:
            made.error = error.info.label
            raise
        except CancelledError:
            made.error = "cancelled"
            raise
        except Exception:
            made.error = "internal_error"
            raise
        finally:
            made.ended = self.clock.seconds()
            for observer in self.observers:
                observer.attempted(record, made)
