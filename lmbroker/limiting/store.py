"""The interface of stores of limits, and the store in this process.

docs/design/limits.md has the contract of stores.
"""

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from lmbroker.routing.limit_ledger import NEVER, Decision, Ledger
from lmbroker.routing.limit_rules import Bound

SHORTEST_WAIT = 0.01
"""Seconds after which a call that waits is looked at again, at the earliest."""

Bounds = tuple[Bound, ...]
Amounts = tuple[int, ...]


class Store(Protocol):
    """Counts what calls take of bounds, in one step for all bounds of a call."""

    def reserve(
        self, lease: str, bounds: Bounds, needs: Amounts
    ) -> "Decision | Deferred[Decision]":
        """Reserve ``needs`` of ``bounds`` under the name ``lease``, all of them or nothing.

        A Deferred never fails. Where it is cancelled, no lease stays.
        """
        ...

    def settle(self, lease: str, bounds: Bounds, used: Amounts) -> None:
        """Give a lease back, and count what its call has used."""
        ...

    def read(self, bounds: Bounds) -> "Decision | Deferred[Decision]":
        """Return how ``bounds`` are now."""
        ...


class _Waiting:
    """A call that waits for its turn."""

    __slots__ = (
        "blocked",
        "bounds",
        "decided",
        "decision",
        "holder",
        "lease",
        "needs",
        "until",
        "wanted",
    )

    def __init__(
        self, lease: str, bounds: Bounds, needs: Amounts, holder: str, decided: "Deferred[Decision]"
    ) -> None:
        self.lease = lease
        self.bounds = bounds
        self.needs = needs
        self.holder = holder
        self.decided = decided
        self.decision: Decision
        """Why it waits."""
        self.until = 0.0
        self.blocked: frozenset[str] = frozenset()
        """The counters for which it waits."""
        self.wanted = frozenset(
            bound.counter
            for bound, need in zip(bounds, needs, strict=True)
            if need and bound.wait and not bound.soft
        )
        """The counters of which it needs something, and would wait for that."""


class LocalStore:
    """A ledger in this process. Calls wait in the order in which they came.

    ``wall`` gives unix seconds, ``clock`` sets timers. Each call may be of a holder, whose leases
    are given back when it is gone (``drop``).
    """

    def __init__(self, ledger: Ledger, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self.ledger = ledger
        self._clock = clock
        self._wall = wall
        self._queue: list[_Waiting] = []
        self._ahead: set[str] = set()
        """The counters for which calls wait, as of the last look at the queue."""
        self._timer: Any = None
        self._due = inf
        self._looking = self._again = False

    def reserve(
        self, lease: str, bounds: Bounds, needs: Amounts, holder: str = ""
    ) -> "Decision | Deferred[Decision]":
        """Reserve ``needs`` of ``bounds``; a Deferred where the call waits for its turn."""
        now = self._wall()
        if self._queue:
            # Whose time has come by now goes first.
            self._look()
            call = _Waiting(lease, bounds, needs, holder, Deferred(self._cancelled))
            call.blocked = call.wanted & self._ahead
            if call.blocked:
                # Its own bounds were not tried yet: it may be let through once it is first.
                call.decision = self.ledger.read(bounds, now)
                return self._wait(call, now)
        decision = self.ledger.reserve(lease, bounds, needs, now, holder)
        if decision.granted or not _may_wait(bounds, decision):
            return decision
        call = _Waiting(lease, bounds, needs, holder, Deferred(self._cancelled))
        call.decision = decision
        call.blocked = frozenset(bounds[at].counter for at in decision.refusing)
        return self._wait(call, now)

    def decide(self, lease: str, bounds: Bounds, needs: Amounts) -> Decision:
        """Reserve ``needs`` of ``bounds`` now, or refuse: nobody waits."""
        return self.ledger.reserve(lease, bounds, needs, self._wall())

    def settle(self, lease: str, bounds: Bounds, used: Amounts, holder: str = "") -> None:
        """Give a lease back, count what its call has used, and let through who waited for that."""
        self.ledger.settle(lease, bounds, used, self._wall(), holder)
        if self._queue:
            self._look()

    def read(self, bounds: Bounds) -> Decision:
        """Return how ``bounds`` are now."""
        return self.ledger.read(bounds, self._wall())

    def drop(self, holder: str) -> None:
        """Give back all leases of a holder that is gone; its calls wait no longer."""
        self._queue = [call for call in self._queue if call.holder != holder]
        self.ledger.drop(holder)
        self._look()

    def stop(self) -> None:
        """Let nobody wait any longer; who does is refused."""
        queue, self._queue = self._queue, []
        self._set_timer(inf, 0.0)
        for call in queue:
            call.decided.callback(_refused(call))

    # Waiting.

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._queue)

    def _wait(self, call: _Waiting, now: float) -> "Deferred[Decision]":
        waits = [bound.wait for bound in call.bounds if bound.counter in call.blocked]
        call.until = now + min(waits)
        self._queue.append(call)
        self._ahead |= call.blocked
        moment = call.until
        if call.decision.refusing:
            moment = min(moment, now + call.decision.retry_after)
        if moment < self._due:
            self._set_timer(moment, now)
        return call.decided

    def _look(self) -> None:
        """Let through whose turn it is, in order, and refuse who has waited long enough.

        Who is let through may end at once, and with that let others through: that is another round
        of this, not a call within it.
        """
        self._again = True
        if self._looking:
            return
        self._looking = True
        try:
            while self._again:
                self._again = False
                self._look_once()
        finally:
            self._looking = False

    def _look_once(self) -> None:
        now = self._wall()
        done: list[tuple[_Waiting, Decision]] = []
        staying: list[_Waiting] = []
        ahead: set[str] = set()
        self._ahead = ahead
        soonest = inf
        for call in self._queue:
            behind = call.wanted & ahead
            if not behind:
                decision = self.ledger.reserve(
                    call.lease, call.bounds, call.needs, now, call.holder
                )
                if decision.granted or not _may_wait(call.bounds, decision):
                    done.append((call, decision))
                    continue
                call.decision = decision
                soonest = min(soonest, now + decision.retry_after)
                behind = frozenset(call.bounds[at].counter for at in decision.refusing)
            call.blocked = behind
            if now >= call.until:
                done.append((call, _refused(call)))
                continue
            ahead |= behind
            staying.append(call)
            if call.until < soonest:
                soonest = call.until
        self._queue = staying
        self._set_timer(soonest, now)
        for call, decision in done:
            if not call.decided.called:
                call.decided.callback(decision)
            elif decision.granted:
                # What was let through before it in this turn has cancelled it.
                self.ledger.settle(
                    call.lease, call.bounds, (0,) * len(call.bounds), now, call.holder
                )
                self._again = True

    def _set_timer(self, moment: float, now: float) -> None:
        """Look again at ``moment``, ``inf`` for never, and at no other time."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._due = moment
        self._timer = None
        if moment < inf:
            self._timer = self._clock.callLater(max(SHORTEST_WAIT, moment - now), self._look)

    def _cancelled(self, decided: "Deferred[Decision]") -> None:
        self._queue = [call for call in self._queue if call.decided is not decided]
        # Calls behind it may be let through now.
        self._clock.callLater(0, self._look)


def _may_wait(bounds: Bounds, decision: Decision) -> bool:
    """Return whether a call that was refused waits for its turn."""
    if decision.retry_after == NEVER:
        return False
    return all(decision.retry_after <= bounds[at].wait for at in decision.refusing)


def _refused(call: _Waiting) -> Decision:
    """Return the refusal of a call that waited in vain."""
    blocked = tuple(at for at, bound in enumerate(call.bounds) if bound.counter in call.blocked)
    before = call.decision
    retry_after = before.retry_after if before.refusing else 1.0
    return Decision(False, blocked, retry_after, before.over, before.remaining, before.resets)
