"""How each target does, as the calls that go there see it. Pure: times are arguments, in seconds
of one clock.

What real attempts meet is the evidence. Checks, where a backend has them, say only whether it
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
from lmbroker.routing.breaker import Breaker, BreakerRules, Change, State, Ticket
from lmbroker.routing.retries import blame, lasting

RATE_LIMIT_REST = 5.0
"""How long a key rests after a 429 that does not say how long."""

SETTLE = 10.0
"""In this time a new pace has replaced about two thirds of an old one."""

STALE = 60.0
"""What was measured longer ago says nothing about now."""

CHANGES = 256
"""How many changes of state are kept for whoever wants to log them."""

NO_CHECKS = frozenset({404, 405, 501})
"""Statuses with which a backend says that it cannot be checked."""

APART = frozenset({"embeddings", "completions"})
"""Operations that are judged by themselves; all others count as chat."""

_UNKNOWN_COST = 1e6


def check_failure(status: int, retry_after: str | None) -> AttemptFailed | None:
    """What an answer with this status to a check means. Who refuses a key, has no time for it or
    does not like the question is alive."""
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


class Standing(msgspec.Struct, frozen=True, kw_only=True):
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


class Visit(Ticket):
    """One attempt at a target with one of its keys. ``waiting`` until its first event came or it
    failed, ``over`` when nothing of it is there any more."""

    __slots__ = ("key", "over", "place", "waiting")

    def __init__(self, place: "Place", key: Breaker, began: float) -> None:
        self.began = began
        self.place = place
        self.key = key
        self.waiting = True
        self.over = False


class Place:
    """One target, for one kind of operation: its breaker, those of its keys, and how busy and fast
    it is.

    ``in_flight`` counts attempts until their answers end, ``waiting`` those whose first event has
    not come. ``turn`` is which key's turn it is.
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
        self.turn = 0
        self._changes = changes
        self._pace = 0.0
        self._measured_at: float | None = None

    def key(self, ref: str) -> Breaker:
        """The breaker of the key with this reference."""
        breaker = self.keys.get(ref)
        if breaker is None:
            breaker = self.keys[ref] = Breaker((*self.name, ref), self._changes, self.operation)
        return breaker

    def free(self, refs: Sequence[str], now: float) -> bool:
        """Whether an attempt may be made with one of these keys."""
        if self.breaker.free(now):
            for ref in refs:
                if self.key(ref).free(now):
                    return True
        return False

    def free_at(self, refs: Sequence[str]) -> float:
        """From when on an attempt may be made with one of these keys."""
        return max(self.breaker.free_at(), min(self.key(ref).free_at() for ref in refs))

    def first_event(self, now: float) -> float | None:
        """Seconds to the first event: the peak of late, sinking to the mean as answers come."""
        if self._measured_at is None or now - self._measured_at > STALE:
            return None
        return self._pace

    def cost(self, now: float) -> float:
        """What one more call would wait: pace times the calls there. A target that is not known
        costs nothing until one call has gone to find out, and then more than any."""
        pace = self.first_event(now)
        return _UNKNOWN_COST * self.waiting if pace is None else pace * (self.in_flight + 1)

    def measure(self, seconds: float, now: float) -> None:
        """An answer's first event came after ``seconds``."""
        last, pace = self._measured_at, self._pace
        if last is None or now - last > STALE or seconds > pace:
            self._pace = seconds
        else:
            kept = exp(-max(0.0, now - last) / SETTLE)
            self._pace = pace * kept + seconds * (1 - kept)
        self._measured_at = now


class Health:
    """All targets that were ever asked for. Keep one per process: what it knows outlives a change
    of the configuration. ``rules`` may be replaced at any time."""

    def __init__(self, rules: BreakerRules = BreakerRules()) -> None:
        self.rules = rules
        self.changes: deque[Change] = deque(maxlen=CHANGES)
        self._places: dict[tuple[str, str, str], Place] = {}

    def place(self, target: Target, operation: str = "chat") -> Place:
        """The state of a target, by the names in the configuration: a model ``*`` is one place,
        whatever models are asked for there."""
        operation = operation if operation in APART else "chat"
        name = (target.backend.name, target.model)
        place = self._places.get((*name, operation))
        if place is None:
            place = self._places[*name, operation] = Place(name, self.changes, operation)
        return place

    def keep(self, targets: Iterable[Target]) -> None:
        """Forget all targets but these; what is under way elsewhere ends without trace."""
        names = {(target.backend.name, target.model) for target in targets}
        self._places = {key: each for key, each in self._places.items() if each.name in names}

    def opened(self, place: Place, ref: str, now: float) -> Visit:
        """An attempt goes out, with the key of this reference."""
        key = place.key(ref)
        visit = Visit(place, key, now)
        place.in_flight += 1
        place.waiting += 1
        for breaker in (place.breaker, key):
            if breaker.state == "open":
                breaker.began(visit, now)
        return visit

    def attempted(
        self,
        visit: Visit,
        now: float,
        failure: AttemptFailed | None = None,
        after: float | None = None,
    ) -> None:
        """The attempt's answer began, or it failed; ``after`` is in how many seconds the backend
        wants to be asked again."""
        if visit.over or not visit.waiting:
            return
        place, key = visit.place, visit.key
        visit.waiting = False
        place.waiting -= 1
        if failure is None:
            place.measure(now - visit.began, now)
            place.breaker.answered(visit, now)
            key.answered(visit, now)
            return
        visit.over = True
        place.in_flight -= 1
        self._failed(visit, now, failure, after)

    def _failed(
        self, visit: Visit, now: float, failure: AttemptFailed, after: float | None
    ) -> None:
        rules = self.rules
        target, key = visit.place.breaker, visit.key
        reason = failure.info.label
        fault = blame(failure)
        if fault in ("key", "call"):
            target.answered(visit, now)
            target.completed(visit, now, rules)
        if fault == "target":
            key.given_up(visit, now)
            if lasting(failure):
                target.failed_lastingly(visit, now, reason, rules)
            else:
                target.failed(visit, now, reason, rules)
            target.rest(now, reason, after or 0.0)
        elif fault == "nobody":
            key.given_up(visit, now)
            target.given_up(visit, now)
        elif fault == "key" and lasting(failure):
            key.failed_lastingly(visit, now, reason, rules)
        else:
            key.answered(visit, now)
            if fault == "key":
                key.rest(now, reason, RATE_LIMIT_REST if after is None else after)

    def closed(
        self, visit: Visit, now: float, outcome: Outcome | None = None, reason: str = ""
    ) -> None:
        """The call of the attempt ended. Whatever became of it, nothing of it is left here."""
        if visit.over:
            return
        place = visit.place
        visit.over = True
        place.in_flight -= 1
        if visit.waiting:
            place.waiting -= 1
            place.breaker.given_up(visit, now)
            visit.key.given_up(visit, now)
        elif outcome == "complete":
            place.breaker.completed(visit, now, self.rules)
        elif outcome == "stream_error":
            place.breaker.failed(visit, now, reason or outcome, self.rules)

    def checked(
        self,
        targets: Iterable[Target],
        began: float,
        now: float,
        failure: AttemptFailed | None = None,
        after: float | None = None,
    ) -> None:
        """The backend of these targets was checked: it answered, or it failed. Its keys are not
        judged by that: one that may not list models may do all else."""
        ticket = Ticket(began)
        names = {self.place(target).name for target in targets}
        for place in [each for each in self._places.values() if each.name in names]:
            breaker = place.breaker
            if failure is None:
                breaker.check_answered(ticket, self.rules)
                continue
            reason = f"check: {failure.info.label}"
            if lasting(failure):
                breaker.failed_lastingly(ticket, now, reason, self.rules)
            else:
                breaker.check_failed(ticket, now, reason, self.rules)
            breaker.rest(now, reason, after or 0.0)

    def snapshot(self, now: float) -> tuple[Standing, ...]:
        """Every target and, below it, each of its keys that has a name or something to tell."""
        return tuple(
            standing for place in self._places.values() for standing in self._of(place, now)
        )

    def _of(self, place: Place, now: float) -> Iterator[Standing]:
        for ref, breaker in (("", place.breaker), *place.keys.items()):
            own = breaker is place.breaker
            fine = breaker.state == "closed" and breaker.free(now)
            if fine and not own and not ref:
                continue
            backend, model = place.name
            made, failed = breaker.window.counts(now, self.rules.window)
            yield Standing(
                backend=backend,
                model=model,
                operation=place.operation,
                key=ref,
                state=breaker.state,
                reason="" if fine else breaker.why(now),
                since=breaker.since,
                free_at=breaker.free_at(),
                in_a_row=breaker.in_a_row,
                attempts=made,
                failed=failed,
                in_flight=place.in_flight if own else 0,
                first_event=place.first_event(now) if own else None,
            )
