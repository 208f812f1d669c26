"""How each target does, as the calls that go there see it. Pure: times are arguments, in seconds
of one clock.

Nothing is asked of a backend only to see whether it lives: what real attempts meet is all the
evidence. Every target has a breaker, and so has every key at it:

    closed     failures in a row, too many of the last ones, one that lasts  -> open
    open       its time is over and an attempt is made, the probe            -> half_open
    open       an attempt that was made all the same is answered             -> closed
    half_open  the probe is answered                                         -> closed
    half_open  the probe fails                                               -> open
    half_open  the probe is given up, for its client left                    -> open

Besides that a target or a key *rests* for as long as the backend asks (``retry-after``); when
that time is over it is used as before.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from math import exp
from typing import Literal

import msgspec

from lmbroker.call import Outcome, Target
from lmbroker.errors import AttemptFailed
from lmbroker.retries import blame, lasting

State = Literal["closed", "open", "half_open"]

LEGAL: frozenset[tuple[State, State]] = frozenset(
    {
        ("closed", "open"),
        ("open", "half_open"),
        ("open", "closed"),
        ("half_open", "closed"),
        ("half_open", "open"),
    }
)
"""The changes that a breaker may make."""

RATE_LIMIT_REST = 5.0
"""How long a key rests after a 429 that does not say how long."""

LONGEST_REST = 600.0
"""A backend that asks for more is asked again after this time."""

SETTLE = 10.0
"""In this time a new pace has replaced about two thirds of an old one."""

STALE = 60.0
"""What was measured longer ago says nothing about now."""

CHANGES = 256
"""How many changes of state are kept for whoever wants to log them."""

_SLICES = 10
_UNKNOWN_COST = 1e6


class BreakerRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens and for how many seconds.

    It opens after ``failures`` in a row, or when at least ``rate`` of the last ``window``
    seconds' attempts failed and there were ``least`` or more. It stays open for ``rest``; after a
    failure that lasts (a refused credential, an empty account, a wrong certificate) for
    ``lasting``.
    """

    failures: int = 5
    rate: float = 0.5
    least: int = 20
    window: float = 60.0
    rest: float = 15.0
    lasting: float = 300.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a breaker's state, for the log. ``key`` is empty where it is the target's."""

    at: float
    backend: str
    model: str
    key: str
    before: State
    after: State
    reason: str


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


class Window:
    """Counts what went well and what failed in the last seconds, in slices of a tenth."""

    def __init__(self) -> None:
        self._slices: deque[list[float]] = deque()

    def add(self, now: float, seconds: float, *, failed: bool) -> None:
        """Count one attempt."""
        slices = self._slices
        if not slices or now - slices[-1][0] >= seconds / _SLICES:
            slices.append([now, 0, 0])
        slices[-1][1] += 1
        slices[-1][2] += failed

    def counts(self, now: float, seconds: float) -> tuple[int, int]:
        """How many attempts the last ``seconds`` had, and how many of them failed."""
        slices = self._slices
        while slices and now - slices[0][0] >= seconds:
            slices.popleft()
        return int(sum(each[1] for each in slices)), int(sum(each[2] for each in slices))

    def clear(self) -> None:
        """Forget everything."""
        self._slices.clear()


class Ticket:
    """One attempt under way, as health knows it."""

    __slots__ = ("began", "key", "over", "place", "waiting")

    def __init__(self, place: "Place", key: "Breaker", began: float) -> None:
        self.place = place
        self.key = key
        self.began = began
        self.waiting = True
        self.over = False


class Breaker:
    """The state of one target or key; see the table on top. What was begun before the last
    change of state is no evidence for a next one, but for the probe."""

    def __init__(self, name: tuple[str, str, str], changes: deque[Change]) -> None:
        self.state: State = "closed"
        self.reason = ""
        self.since = 0.0
        self.in_a_row = 0
        self.window = Window()
        self._name = name
        self._changes = changes
        self._open_until = 0.0
        self._rest_until = 0.0
        self._rest_reason = ""
        self._probe: Ticket | None = None

    def free_at(self) -> float:
        """From when on an attempt may be made."""
        return max(self._open_until, self._rest_until)

    def free(self, now: float) -> bool:
        """Whether an attempt may be made: the one of a probe is the only one of its time."""
        return self.state != "half_open" and now >= self.free_at()

    def why(self, now: float) -> str:
        """Why no attempt may be made, or why the breaker last opened."""
        resting = self._rest_until > max(now, self._open_until)
        return self._rest_reason if resting else self.reason

    def began(self, ticket: Ticket, now: float) -> None:
        """An attempt is made, allowed or not."""
        if self.state == "open" and now >= self._open_until:
            self._probe = ticket
            self._change("half_open", now, self.reason)

    def answered(self, ticket: Ticket, now: float) -> None:
        """The backend answered an attempt as a healthy one does."""
        if self._probe is not ticket and ticket.began < self.since:
            return
        self.in_a_row = 0
        if self.state != "closed":
            self._close(now)

    def completed(self, ticket: Ticket, now: float, rules: BreakerRules) -> None:
        """An answer came to its proper end."""
        if self.state == "closed" and ticket.began >= self.since:
            self.window.add(now, rules.window, failed=False)

    def failed(self, ticket: Ticket, now: float, reason: str, rules: BreakerRules) -> None:
        """An attempt failed."""
        if self._probe is ticket:
            self.trip(now, f"the probe failed: {reason}", rules.rest)
        elif self.state == "closed" and ticket.began >= self.since:
            self.in_a_row += 1
            self.window.add(now, rules.window, failed=True)
            made, failed = self.window.counts(now, rules.window)
            if self.in_a_row >= rules.failures:
                self.trip(now, f"{self.in_a_row} failures in a row, last {reason}", rules.rest)
            elif made >= rules.least and failed >= rules.rate * made:
                self.trip(now, f"{failed} of {made} attempts failed, last {reason}", rules.rest)

    def trip(self, now: float, reason: str, seconds: float) -> None:
        """Open now, or stay open, for ``seconds``."""
        self._open_until = max(self._open_until, now + seconds)
        self.reason = reason
        self._probe = None
        if self.state != "open":
            self._change("open", now, reason)

    def rest(self, now: float, reason: str, seconds: float) -> None:
        """Make no attempts for ``seconds``: the backend asks for it."""
        until = now + min(seconds, LONGEST_REST)
        if until > self._rest_until:
            self._rest_until, self._rest_reason = until, reason

    def given_up(self, ticket: Ticket, now: float) -> None:
        """An attempt ended that says nothing; if it was the probe, the next one is."""
        if self._probe is ticket:
            self._probe = None
            self._change("open", now, self.reason)

    def _close(self, now: float) -> None:
        self._open_until = self._rest_until = 0.0
        self._probe = None
        self._change("closed", now, "answered")

    def _change(self, after: State, now: float, reason: str) -> None:
        backend, model, key = self._name
        change = Change(
            at=now,
            backend=backend,
            model=model,
            key=key,
            before=self.state,
            after=after,
            reason=reason,
        )
        self._changes.append(change)
        self.state, self.since = after, now
        self.in_a_row = 0
        self.window.clear()


class Place:
    """One target: its breaker, those of its keys, and how busy and fast it is.

    ``in_flight`` counts attempts until their answers end, ``waiting`` those whose first event has
    not come. ``turn`` is which key's turn it is.
    """

    def __init__(self, name: tuple[str, str], changes: deque[Change]) -> None:
        self.name = name
        self.breaker = Breaker((*name, ""), changes)
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
            breaker = self.keys[ref] = Breaker((*self.name, ref), self._changes)
        return breaker

    def free(self, refs: Sequence[str], now: float) -> bool:
        """Whether an attempt may be made with one of these keys."""
        return self.breaker.free(now) and any(self.key(ref).free(now) for ref in refs)

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
        pace = self.first_event(now)
        if pace is None or self._measured_at is None or seconds > pace:
            self._pace = seconds
        else:
            kept = exp(-max(0.0, now - self._measured_at) / SETTLE)
            self._pace = pace * kept + seconds * (1 - kept)
        self._measured_at = now


class Health:
    """All targets that were ever asked for. Keep one per process: what it knows outlives a change
    of the configuration. ``rules`` may be replaced at any time."""

    def __init__(self, rules: BreakerRules = BreakerRules()) -> None:
        self.rules = rules
        self.changes: deque[Change] = deque(maxlen=CHANGES)
        self._places: dict[tuple[str, str], Place] = {}

    def place(self, target: Target) -> Place:
        """The state of a target, by the names in the configuration: a model ``*`` is one place,
        whatever models are asked for there."""
        name = (target.backend.name, target.model)
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = Place(name, self.changes)
        return place

    def opened(self, place: Place, ref: str, now: float) -> Ticket:
        """An attempt goes out, with the key of this reference."""
        ticket = Ticket(place, place.key(ref), now)
        place.in_flight += 1
        place.waiting += 1
        place.breaker.began(ticket, now)
        ticket.key.began(ticket, now)
        return ticket

    def attempted(
        self,
        ticket: Ticket,
        now: float,
        failure: AttemptFailed | None = None,
        after: float | None = None,
    ) -> None:
        """The attempt's answer began, or it failed; ``after`` is in how many seconds the backend
        wants to be asked again."""
        if ticket.over or not ticket.waiting:
            return
        place, key = ticket.place, ticket.key
        ticket.waiting = False
        place.waiting -= 1
        if failure is None:
            place.measure(now - ticket.began, now)
            place.breaker.answered(ticket, now)
            key.answered(ticket, now)
            return
        ticket.over = True
        place.in_flight -= 1
        reason = failure.info.code or failure.info.kind
        fault = blame(failure)
        if fault in ("key", "call"):
            place.breaker.answered(ticket, now)
            place.breaker.completed(ticket, now, self.rules)
        if fault == "key" and lasting(failure):
            key.trip(now, reason, self.rules.lasting)
        elif fault == "key":
            key.given_up(ticket, now)
            key.rest(now, reason, RATE_LIMIT_REST if after is None else after)
        elif fault == "call":
            key.answered(ticket, now)
        else:
            key.given_up(ticket, now)
        if fault == "nobody":
            place.breaker.given_up(ticket, now)
        elif fault == "target" and lasting(failure):
            place.breaker.trip(now, reason, self.rules.lasting)
        elif fault == "target":
            place.breaker.failed(ticket, now, reason, self.rules)
            if after is not None:
                place.breaker.rest(now, reason, after)

    def closed(
        self, ticket: Ticket, now: float, outcome: Outcome | None = None, reason: str = ""
    ) -> None:
        """The call of the attempt ended. Whatever became of it, nothing of it is left here."""
        if ticket.over:
            return
        place = ticket.place
        ticket.over = True
        place.in_flight -= 1
        if ticket.waiting:
            place.waiting -= 1
            place.breaker.given_up(ticket, now)
            ticket.key.given_up(ticket, now)
        elif outcome == "complete":
            place.breaker.completed(ticket, now, self.rules)
        elif outcome == "stream_error":
            place.breaker.failed(ticket, now, reason or outcome, self.rules)

    def snapshot(self, now: float) -> tuple[Standing, ...]:
        """Every target and, below it, each of its keys that has a name or something to tell."""
        return tuple(standing for place in self._places.values() for standing in self._of(place, now))

    def _of(self, place: Place, now: float) -> Iterator[Standing]:
        for ref, breaker in (("", place.breaker), *place.keys.items()):
            if breaker is not place.breaker and not ref and breaker.free(now):
                continue
            backend, model = place.name
            made, failed = breaker.window.counts(now, self.rules.window)
            own = breaker is place.breaker
            yield Standing(
                backend=backend,
                model=model,
                key=ref,
                state=breaker.state,
                reason="" if breaker.state == "closed" and breaker.free(now) else breaker.why(now),
                since=breaker.since,
                free_at=breaker.free_at(),
                in_a_row=breaker.in_a_row,
                attempts=made,
                failed=failed,
                in_flight=place.in_flight if own else 0,
                first_event=place.first_event(now) if own else None,
            )
