"""The store of limits in Redis or Valkey, for daemons on several machines and their workers.

Each step is one script, which Redis runs alone: ``redis_step.lua``, with the arithmetic of
``routing.limit_ledger``. docs/design/limits.md has the contract.
"""

import contextlib
import time
from collections.abc import Iterator
from importlib.resources import files
from secrets import token_hex
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmbroker.backends.interfaces import IReactor
from lmbroker.config.limit_store import RedisAddress
from lmbroker.limiting.redis_connection import RedisAway, RedisConnection
from lmbroker.limiting.store import Amounts, Bounds, LocalStore
from lmbroker.routing.limit_ledger import NEVER, SOON, Decision, Ledger
from lmbroker.routing.limit_rules import Bound
from lmbroker.routing.limit_windows import drain_seconds, has_window

PREFIX = "{lmbroker}"
"""The beginning of all keys."""

PATIENCE = 0.05
"""Seconds in which Redis has to decide; then ``on_failure`` does."""

LASTS = 15.0
RENEWED = 5.0
"""The leases of a process are given back where it did not renew them for ``LASTS`` seconds; it
renews them every ``RENEWED`` seconds."""

LOOKED_AGAIN = 0.25
"""Seconds after which a call that waits asks again at the latest: another machine may have given
something back."""

MOST_UNSAID = 10_000
"""The maximum of settlements that are kept for when Redis is back."""

SCRIPT = (files("lmbroker.limiting") / "redis_step.lua").read_text()

_decision = msgspec.json.Decoder(Decision).decode


class _Turn:
    """A call that waits: for which counters, and what wakes it."""

    __slots__ = ("wake", "wanted")

    def __init__(self, bounds: Bounds, needs: Amounts) -> None:
        self.wanted = frozenset(
            bound.counter
            for bound, need in zip(bounds, needs, strict=True)
            if need and bound.wait and not bound.soft
        )
        self.wake: Deferred[None] | None = None


class RedisStore:
    """Limits in Redis. ``local`` counts by itself what rules want so while Redis is away.

    ``holder`` is the name of this process, which no other has. Calls of one process wait in the
    order in which they came.
    """

    log = Logger()

    def __init__(
        self, redis: RedisConnection, clock: IReactorTime, local: LocalStore, holder: str
    ) -> None:
        self.local = local
        self.failures = 0
        """How many decisions ``on_failure`` has made."""
        self.unsaid_lost = 0
        """How many settlements were given up, since too many waited."""
        self._redis = redis
        self._clock = clock
        self._holder = holder
        self._away = False
        self._queue: list[_Turn] = []
        self._counted_here: dict[str, tuple[Bounds, Amounts]] = {}
        self._unsaid: dict[tuple[str, str], list[str]] = {}
        self._renewal: Any = None
        self._stopped = False

    @property
    def away(self) -> bool:
        """Whether Redis cannot be reached, as far as is known."""
        return self._away

    def start(self) -> None:
        """Connect, and renew the leases from now on."""
        self._redis.start()
        self._renew()

    async def stop(self) -> None:
        """Give back all leases of this process, and close the connection."""
        self._stopped = True
        if self._renewal is not None and self._renewal.active():
            self._renewal.cancel()
        self._wake_all()
        with contextlib.suppress(RedisAway):
            await self._ask("drop", [])
        await self._redis.stop()

    def reserve(self, lease: str, bounds: Bounds, needs: Amounts) -> "Deferred[Decision]":
        """Reserve ``needs`` of ``bounds``. Cancelling the Deferred gives the lease back."""
        return Deferred.fromCoroutine(self._reserve(lease, bounds, needs))

    def settle(self, lease: str, bounds: Bounds, used: Amounts) -> None:
        """Give a lease back and count what its call has used, when Redis can be reached."""
        here = self._counted_here.pop(lease, None)
        if here is not None:
            amounts = {bound.counter: amount for bound, amount in zip(bounds, used, strict=True)}
            self.local.settle(
                lease, here[0], tuple(amounts.get(bound.counter, 0) for bound in here[0])
            )
        self._say("settle", lease, bounds, used)

    def read(self, bounds: Bounds) -> "Deferred[Decision]":
        """Return how ``bounds`` are now; as this process knows them while Redis is away."""
        return Deferred.fromCoroutine(self._read(bounds))

    async def _read(self, bounds: Bounds) -> Decision:
        try:
            return _decision(await self._ask("read", _arguments(bounds, (0,) * len(bounds))))
        except RedisAway:
            return self.local.read(bounds)

    # Reserving.

    async def _reserve(self, lease: str, bounds: Bounds, needs: Amounts) -> Decision:
        turn = _Turn(bounds, needs)
        until: float | None = None
        wanted = turn.wanted
        if any(wanted & other.wanted for other in self._queue):
            self._queue.append(turn)
            until = self._clock.seconds() + min(b.wait for b in bounds if b.counter in wanted)
        try:
            while True:
                if until is not None and self._is_behind(turn):
                    await self._pause(turn, until - self._clock.seconds())
                decision = await self._decided(lease, bounds, needs)
                now = self._clock.seconds()
                late = until is not None and now >= until
                if decision.granted or late or self._stopped or not _may_wait(bounds, decision):
                    return decision
                if until is None:
                    until = now + min(bounds[at].wait for at in decision.refusing)
                    self._queue.append(turn)
                pause = min(decision.retry_after, LOOKED_AGAIN, until - now)
                await self._pause(turn, max(0.0, pause))
        except CancelledError:
            self._say("cancel", lease, (), ())
            self._uncount(lease)
            raise
        finally:
            if turn in self._queue:
                self._queue.remove(turn)
                self._wake_all()

    def _is_behind(self, turn: _Turn) -> bool:
        """Return whether a call that came before waits for something that this one wants."""
        earlier = self._queue[: self._queue.index(turn)]
        return any(turn.wanted & other.wanted for other in earlier)

    async def _pause(self, turn: _Turn, seconds: float) -> None:
        wake: Deferred[None] = Deferred()
        turn.wake = wake
        timer = self._clock.callLater(max(0.0, seconds), _fire, wake)
        try:
            await wake
        finally:
            turn.wake = None
            if timer.active():
                timer.cancel()

    def _wake_all(self) -> None:
        for turn in tuple(self._queue):
            if turn.wake is not None:
                _fire(turn.wake)

    async def _decided(self, lease: str, bounds: Bounds, needs: Amounts) -> Decision:
        """Return the decision of Redis, or that of ``on_failure`` where there is none in time."""
        try:
            return _decision(await self._ask("reserve", _arguments(bounds, needs), lease))
        except RedisAway:
            # It may have been decided all the same.
            self._say("cancel", lease, (), ())
            self.failures += 1
            return self._decide_here(lease, bounds, needs)

    def _decide_here(self, lease: str, bounds: Bounds, needs: Amounts) -> Decision:
        count = len(bounds)
        remaining = [bound.limit for bound in bounds]
        resets = [NEVER] * count
        denied = tuple(
            at
            for at, (bound, need) in enumerate(zip(bounds, needs, strict=True))
            if bound.on_failure == "deny" and need and not bound.soft
        )
        if denied:
            for at in denied:
                remaining[at] = 0
            return Decision(False, denied, SOON, (), tuple(remaining), tuple(resets))
        places = tuple(at for at, bound in enumerate(bounds) if bound.on_failure == "local")
        if not places:
            return Decision(True, (), 0.0, (), tuple(remaining), tuple(resets))
        mine = tuple(bounds[at] for at in places)
        wanted = tuple(needs[at] for at in places)
        found = self.local.decide(lease, mine, wanted)
        for here, at in enumerate(places):
            remaining[at], resets[at] = found.remaining[here], found.resets[here]
        if found.granted:
            self._counted_here[lease] = mine, wanted
        return Decision(
            found.granted,
            tuple(places[at] for at in found.refusing),
            found.retry_after,
            tuple(places[at] for at in found.over),
            tuple(remaining),
            tuple(resets),
        )

    def _uncount(self, lease: str) -> None:
        here = self._counted_here.pop(lease, None)
        if here is not None:
            self.local.settle(lease, here[0], (0,) * len(here[0]))

    # Redis.

    async def _ask(self, step: str, arguments: list[str], lease: str = "") -> str:
        """Run one step. Raises RedisAway where it does not answer in time."""
        try:
            answer = await self._redis.run(
                SCRIPT, PREFIX, [step, "", self._holder, lease, str(LASTS), *arguments], PATIENCE
            )
        except RedisAway as away:
            self._lost(away.reason)
            raise
        return answer

    def _say(self, step: str, lease: str, bounds: Bounds, used: Amounts) -> None:
        """Report something to Redis, now or when it can be reached again."""
        unsaid = self._unsaid
        if len(unsaid) >= MOST_UNSAID:
            del unsaid[next(iter(unsaid))]
            self.unsaid_lost += 1
        unsaid[step, lease] = _arguments(bounds, used)
        if not self._away:
            Deferred.fromCoroutine(self._send(step, lease))

    async def _send(self, step: str, lease: str) -> None:
        arguments = self._unsaid.get((step, lease))
        if arguments is None:
            return
        try:
            await self._ask(step, arguments, lease)
        except RedisAway:
            return
        self._unsaid.pop((step, lease), None)
        self._wake_all()

    def _renew(self) -> None:
        self._renewal = None
        Deferred.fromCoroutine(self._renewed())

    async def _renewed(self) -> None:
        pause = RENEWED
        try:
            await self._ask("renew", [])
        except RedisAway:
            pause = 1.0
        else:
            if self._away:
                self._away = False
                self.log.info("Limits are counted in Redis again")
            for step, lease in tuple(self._unsaid):
                await self._send(step, lease)
                if self._away:
                    break
        if not self._stopped:
            self._renewal = self._clock.callLater(pause, self._renew)

    def _lost(self, reason: str) -> None:
        if not self._away and not self._stopped:
            self._away = True
            self.log.warn("Redis does not count limits ({reason})", reason=reason)


def redis_store(address: RedisAddress, reactor: IReactor) -> RedisStore:
    """Return the store of this process in the Redis at ``address``."""
    local = LocalStore(Ledger(), reactor, time.time)
    return RedisStore(RedisConnection(address, reactor), reactor, local, token_hex(8))


def _fire(wake: "Deferred[None]") -> None:
    if not wake.called:
        wake.callback(None)


def _may_wait(bounds: Bounds, decision: Decision) -> bool:
    """Return whether a call that was refused waits for its turn."""
    if decision.retry_after == NEVER or not decision.refusing:
        return False
    return all(decision.retry_after <= bounds[at].wait for at in decision.refusing)


def _arguments(bounds: Bounds, amounts: Amounts) -> list[str]:
    """Return the arguments of a step for its bounds."""
    return [
        argument
        for bound, amount in zip(bounds, amounts, strict=True)
        for argument in _of_bound(bound, amount)
    ]


def _of_bound(bound: Bound, amount: int) -> Iterator[str]:
    yield bound.counter
    yield str(drain_seconds(bound))
    yield bound.period if has_window(bound) else ""
    yield str(bound.limit)
    yield "1" if bound.soft else ""
    yield "1" if bound.measure == "requests" else ""
    yield str(amount)
