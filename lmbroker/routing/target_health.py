"""The health of each target, as the calls that go there see it.

Pure: times are arguments, in seconds of one clock.

The evidence is what happens to real attempts. Checks, where a backend has them, say only whether it
lives (see ``breaker``). Every target has a breaker, and so has every key at it; besides, how many
calls are there and how long they wait is known. All of that is known for each kind of operation by
itself: a server that fails at embeddings may chat well.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from math import exp

import msgspec

from lmbroker.call import Outcome, Target
from lmbroker.errors import AttemptFailed, Broken, ErrorInfo
from lmbroker.routing.breaker import Breaker, BreakerRules, Change, State
from lmbroker.routing.retries import blame, lasting

RATE_LIMIT_REST = 5.0
"""The seconds that a key rests after a 429 that does not say how long."""

SETTLE = 10.0
"""The seconds in which a new pace has replaced about two thirds of an old one."""

STALE = 60.0
"""The seconds after which a measurement says nothing about now."""

CHANGES = 256
"""The maximum of changes of state that are kept for the log."""

NO_CHECKS = frozenset({404, 405, 501})
"""Statuses with which a backend says that it cannot be checked."""

APART = frozenset({"embeddings", "completions", "compact"})
"""Operations that are judged separately; all others count as chat."""

_UNKNOWN_COST = 1e6


def check_failure(status: int, retry_after: str | None) -> AttemptFailed | None:
    """Return what an answer with this status to a check means.

    Who refuses a key, has no time for it or does not like the question is alive.
    """
    if status < 500:
        return None
    info = ErrorInfo(
        kind="server",
        message="the backend failed its check",
        status=status,
        code=f"status_{status}",
        retry_after=retry_after,
    )
    return Broken(info)


class TargetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A target or one of its keys as it stands now, for those who look.

    ``since`` is when the state began, 0 where it never changed; ``free_at`` when the next attempt
    may be made, ``reason`` why not earlier. ``first_event`` is the seconds to the first event,
    None where nothing fresh is known; ``attempts`` and ``failed`` count the breaker's window.
    """

    backend: str
    model: str
    key: str
    state: State
    reason: str
    since: float
    free_at: float
    in_a_row: int
    attempts: int
    failed: int
    in_flight: int
    first_event: float | None
    operation: str = "chat"


class OpenAttempt:
    """One attempt at a target with one of its keys.

    ``waiting`` until its first event came or it failed, ``over`` when nothing of it is there any
    more.
    """

    __slots__ = ("began", "key", "over", "target", "waiting")

    def __init__(self, target: "TargetState", key: Breaker, began: float) -> None:
        self.began = began
        self.target = target
        self.key = key
        self.waiting = True
        self.over = False


class TargetState:
    """The state of one target, for one kind of operation: its health and its load.

    It has its breaker, those of its keys, and how busy and fast it is. ``in_flight`` counts
    attempts until their answers end, ``waiting`` those whose first event has not come. ``next_key``
    is the position of the key that is used next.
    """

    def __init__(
        self, name: tuple[str, str], changes: deque[Change], operation: str = "chat"
    ) -> None:
        self.name = name
        self.operation = operation
        self.breaker = Breaker((*name, ""), changes, operation)
        self.keys: dict[str, Breaker] = {}
        self.in_flight = 0
        self.waiting = 0
        self.next_key = 0
        self._changes = changes
        self._pace = 0.0
        self._measured_at: float | None = None

    def key(self, ref: str) -> Breaker:
        """Return the breaker of the key with this reference."""
        breaker = self.keys.get(ref)
        if breaker is None:
            breaker = self.keys[ref] = Breaker((*self.name, ref), self._changes, self.operation)
        return breaker

    def free(self, refs: Sequence[str], now: float) -> bool:
        """Return whether an attempt may be made with one of these keys."""
        if self.breaker.free(now):
            for ref in refs:
                if self.key(ref).free(now):
                    return True
        return False

    def free_at(self, refs: Sequence[str]) -> float:
        """Return from when on an attempt may be made with one of these keys."""
        return max(self.breaker.free_at(), min(self.key(ref).free_at() for ref in refs))

    def first_event(self, now: float) -> float | None:
        """Return the expected seconds to the first event, None where nothing was measured.

        It is the peak of late, sinking to the mean as answers come.
        """
        if self._measured_at is None or now - self._measured_at > STALE:
            return None
        return self._pace

    def cost(self, now: float) -> float:
        """Return what one more call would wait: pace times the calls there.

        A target that is not known costs nothing until one call has gone to find out, and then more
        than any.
        """
        pace = self.first_event(now)
        return _UNKNOWN_COST * self.waiting if pace is None else pace * (self.in_flight + 1)

    def measure(self, seconds: float, now: float) -> None:
        """Note that an answer's first event came after ``seconds``."""
        last, pace = self._measured_at, self._pace
        if last is None or now - last > STALE or seconds > pace:
            self._pace = seconds
        else:
            kept = exp(-max(0.0, now - last) / SETTLE)
            self._pace = pace * kept + seconds * (1 - kept)
        self._measured_at = now


class Health:
    """All targets that were ever asked for.

    Keep one per process: what it knows outlives a change of the configuration. ``rules`` may be
    replaced at any time.
    """

    def __init__(self, rules: BreakerRules = BreakerRules()) -> None:
        self.rules = rules
        self.changes: deque[Change] = deque(maxlen=CHANGES)
        self._states: dict[tuple[str, str, str], TargetState] = {}

    def target(self, target: Target, operation: str = "chat") -> TargetState:
        """Return the state of a target, by the names in the configuration.

        A model ``*`` is one target, whatever models are asked for there.
        """
        operation = operation if operation in APART else "chat"
        name = (target.backend.name, target.model)
        state = self._states.get((*name, operation))
        if state is None:
            state = self._states[*name, operation] = TargetState(name, self.changes, operation)
        return state

    def keep(self, targets: Iterable[Target]) -> None:
        """Forget all targets but these; what is under way elsewhere ends without trace."""
        names = {(target.backend.name, target.model) for target in targets}
        self._states = {key: each for key, each in self._states.items() if each.name in names}

    def opened(self, state: TargetState, ref: str, now: float) -> OpenAttempt:
        """Note that an attempt goes out with the key ``ref``, and return it."""
        key = state.key(ref)
        attempt = OpenAttempt(state, key, now)
        state.in_flight += 1
        state.waiting += 1
        for breaker in (state.breaker, key):
            if breaker.state == "open":
                breaker.began(attempt, now)
        return attempt

    def attempted(
        self,
        attempt: OpenAttempt,
        now: float,
        failure: AttemptFailed | None = None,
        after: float | None = None,
    ) -> None:
        """Note that the attempt's answer began, or that it failed.

        ``after`` is in how many seconds the backend wants to be asked again.
        """
        if attempt.over or not attempt.waiting:
            return
        state, key = attempt.target, attempt.key
        attempt.waiting = False
        state.waiting -= 1
        if failure is None:
            state.measure(now - attempt.began, now)
            state.breaker.answered(attempt, now)
            key.answered(attempt, now)
            return
        attempt.over = True
        state.in_flight -= 1
        self._failed(attempt, now, failure, after)

    def _failed(
        self, attempt: OpenAttempt, now: float, failure: AttemptFailed, after: float | None
    ) -> None:
        rules = self.rules
        target, key = attempt.target.breaker, attempt.key
        reason = failure.info.label
        fault = blame(failure)
        if fault in ("key", "call"):
            target.answered(attempt, now)
            target.completed(attempt, now, rules)
        if fault == "target":
            key.given_up(attempt, now)
            if lasting(failure):
                target.failed_lastingly(attempt, now, reason, rules)
            else:
                target.failed(attempt, now, reason, rules)
            target.rest(now, reason, after or 0.0)
        elif fault == "nobody":
            key.given_up(attempt, now)
            target.given_up(attempt, now)
        elif fault == "key" and lasting(failure):
            key.failed_lastingly(attempt, now, reason, rules)
        else:
            key.answered(attempt, now)
            if fault == "key":
                key.rest(now, reason, RATE_LIMIT_REST if after is None else after)

    def closed(
        self, attempt: OpenAttempt, now: float, outcome: Outcome | None = None, reason: str = ""
    ) -> None:
        """Note that the call of the attempt ended, and forget the attempt."""
        if attempt.over:
            return
        state = attempt.target
        attempt.over = True
        state.in_flight -= 1
        if attempt.waiting:
            state.waiting -= 1
            state.breaker.given_up(attempt, now)
            attempt.key.given_up(attempt, now)
        elif outcome == "complete":
            state.breaker.completed(attempt, now, self.rules)
        elif outcome == "stream_error":
            state.breaker.failed(attempt, now, reason or outcome, self.rules)

    def checked(
        self,
        targets: Iterable[Target],
        began: float,
        now: float,
        failure: AttemptFailed | None = None,
        after: float | None = None,
    ) -> None:
        """Note that a check of the backend of these targets was answered, or failed.

        Its keys are not judged by that: one that may not list models may do all else.
        """
        names = {self.target(target).name for target in targets}
        for state in [each for each in self._states.values() if each.name in names]:
            breaker = state.breaker
            if failure is None:
                breaker.check_answered(began, self.rules)
                continue
            reason = f"check: {failure.info.label}"
            breaker.check_failed(began, now, reason, self.rules, lasting=lasting(failure))
            breaker.rest(now, reason, after or 0.0)

    def snapshot(self, now: float) -> tuple[TargetStatus, ...]:
        """Return the state of every target, and of its keys with a name or a problem."""
        return tuple(status for state in self._states.values() for status in self._of(state, now))

    def _of(self, state: TargetState, now: float) -> Iterator[TargetStatus]:
        for ref, breaker in (("", state.breaker), *state.keys.items()):
            own = breaker is state.breaker
            fine = breaker.state == "closed" and breaker.free(now)
            if fine and not own and not ref:
                continue
            backend, model = state.name
            made, failed = breaker.window.counts(now, self.rules.window)
            yield TargetStatus(
                backend=backend,
                model=model,
                operation=state.operation,
                key=ref,
                state=breaker.state,
                reason="" if fine else breaker.why(now),
                since=breaker.since,
                free_at=breaker.free_at(),
                in_a_row=breaker.in_a_row,
                attempts=made,
                failed=failed,
                in_flight=state.in_flight if own else 0,
                first_event=state.first_event(now) if own else None,
            )
