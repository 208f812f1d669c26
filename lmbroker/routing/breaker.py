"""The breaker: whether attempts at a target, or with a key, are worth making.

Pure: times are arguments, in seconds of one clock.

    closed     failures in a row, too many of the last ones, one that lasts  -> open
    open       its time is over and an attempt is made, the probe            -> half_open
    open       an attempt that was made all the same is answered             -> closed
    half_open  the probe, or another attempt made since, is answered         -> closed
    half_open  the probe fails, or another attempt does lastingly            -> open
    half_open  the probe is given up, for its client left                    -> open

Besides that a target or a key *rests* for as long as the backend asks (``retry-after``); when
that time is over it is used as before.

A *check* is no attempt: a failed one counts in the row of failures and keeps an open breaker open,
and an answered one takes back what failed ones did. It closes nothing, since a backend that lists
its models may answer no calls.
"""

from collections import deque
from typing import Literal, Protocol

import msgspec

from lmbroker.constraints import Count, Positive

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
"""The changes of state that a breaker may make."""

LONGEST_REST = 600.0
"""A backend that asks for more is asked again after this time, in seconds."""

_SLICES = 10


class BreakerRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules by which a breaker opens, and for how many seconds.

    The fields' docstrings are their lines in docs/configuration.md.
    """

    failures: Count = 5
    """Failures in a row after which a target gets no calls for a while (its breaker opens)."""
    rate: Positive = 0.5
    """The part of a target's attempts in `breaker.window` that must fail for its breaker to open,
    where there were `breaker.least` of them or more."""
    least: Count = 20
    """Attempts in `breaker.window` below which `breaker.rate` does not count."""
    window: Positive = 60.0
    """Seconds over which `breaker.rate` and `breaker.least` are counted."""
    open: Positive = 15.0
    """Seconds after a breaker has opened until one call goes to the target to see whether it is
    well again."""
    open_lasting: Positive = 300.0
    """The seconds of `breaker.open` after a failure that somebody must mend: a refused credential,
    an empty account, a certificate."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a breaker's state, for the log.

    ``key`` is empty where it is the target's; ``operation`` is what is asked for there.
    """

    at: float
    backend: str
    model: str
    key: str
    before: State
    after: State
    reason: str
    operation: str = "chat"


class Window:
    """Counts what went well and what failed in the last seconds, in slices of a tenth."""

    def __init__(self) -> None:
        self._slices: deque[list[float]] = deque()

    def add(self, now: float, seconds: float, *, failed: bool) -> None:
        """Count one attempt."""
        slices = self._slices
        if not slices or now - slices[-1][0] >= seconds / _SLICES:
            self._forget(now - seconds)
            slices.append([now, 0, 0])
        slices[-1][1] += 1
        slices[-1][2] += failed

    def counts(self, now: float, seconds: float) -> tuple[int, int]:
        """Return how many attempts the last ``seconds`` had, and how many of them failed."""
        self._forget(now - seconds)
        made = sum(each[1] for each in self._slices)
        return int(made), int(sum(each[2] for each in self._slices))

    def clear(self) -> None:
        """Forget everything."""
        self._slices.clear()

    def _forget(self, before: float) -> None:
        while self._slices and self._slices[0][0] <= before:
            self._slices.popleft()


class Begun(Protocol):
    """The facts of an attempt under way that a breaker needs.

    They are which attempt it is, and when it began.
    """

    began: float


class Breaker:
    """The state of one target or key; see the table on top.

    What was begun before the last change of state is no evidence for a next one, but for the
    probe; and a row of failures is not broken by an answer to what was begun before the first of
    them: backends take their time to answer and none to fail.
    """

    def __init__(
        self, name: tuple[str, str, str], changes: deque[Change], operation: str = "chat"
    ) -> None:
        self.state: State = "closed"
        self.reason = ""
        self.since = 0.0
        self.in_a_row = 0
        self.window = Window()
        self._checks_in_row = 0
        self._row_began = 0.0
        self._name = name
        self._operation = operation
        self._changes = changes
        self._open_until = 0.0
        self._rest_until = 0.0
        self._rest_reason = ""
        self._probe: Begun | None = None

    def free_at(self) -> float:
        """Return from when on an attempt may be made."""
        return max(self._open_until, self._rest_until)

    def free(self, now: float) -> bool:
        """Return whether an attempt may be made: the one of a probe is the only one of its time."""
        return self.state != "half_open" and now >= self._open_until and now >= self._rest_until

    def why(self, now: float) -> str:
        """Return why no attempt may be made, or why the breaker last opened."""
        resting = self._rest_until > max(now, self._open_until)
        return self._rest_reason if resting else self.reason

    def began(self, attempt: Begun, now: float) -> None:
        """Note that an attempt is made, allowed or not."""
        if self.state == "open" and now >= self._open_until:
            self._probe = attempt
            self._change("half_open", now, self.reason)

    def answered(self, attempt: Begun, now: float) -> None:
        """Note that the backend answered an attempt as a healthy one does."""
        if self._probe is not attempt and attempt.began < self.since:
            return
        if self.state != "closed":
            self._close(now)
        elif attempt.began >= self._row_began:
            self.in_a_row = self._checks_in_row = 0

    def completed(self, attempt: Begun, now: float, rules: BreakerRules) -> None:
        """Note that an answer came to its proper end."""
        if self.state == "closed" and attempt.began >= self.since:
            self.window.add(now, rules.window, failed=False)

    def failed(self, attempt: Begun, now: float, reason: str, rules: BreakerRules) -> None:
        """Note that an attempt failed."""
        if self._probe is attempt:
            self._open(now, f"the probe failed: {reason}", rules.open)
        elif self.state == "closed" and attempt.began >= self.since:
            self.window.add(now, rules.window, failed=True)
            made, failed = self.window.counts(now, rules.window)
            if self._one_more(attempt.began, rules):
                self._open(now, f"{self.in_a_row} failures in a row, last {reason}", rules.open)
            elif made >= rules.least and failed >= rules.rate * made:
                self._open(now, f"{failed} of {made} attempts failed, last {reason}", rules.open)

    def _one_more(self, began: float, rules: BreakerRules) -> bool:
        """Count one more failure in a row; return whether it is one too many."""
        if not self.in_a_row:
            self._row_began = began
        self.in_a_row += 1
        return self.in_a_row >= rules.failures

    def check_failed(
        self, began: float, now: float, reason: str, rules: BreakerRules, *, lasting: bool
    ) -> None:
        """Note that a check failed which began at ``began``.

        ``lasting``: it will fail until somebody changes something.
        """
        if began < self.since:
            return
        if lasting:
            self._open(now, reason, rules.open_lasting)
        elif self.state == "open":
            self._open_until = max(self._open_until, now + rules.open)
        elif self.state == "closed":
            self._checks_in_row += 1
            if self._one_more(began, rules):
                self._open(now, f"{self.in_a_row} failures in a row, last {reason}", rules.open)

    def check_answered(self, began: float, rules: BreakerRules) -> None:
        """Note that a check was answered.

        An open breaker is then free ``open`` seconds after it opened, even where its failure should
        have lasted: no call goes there more often than without checks.
        """
        if began < self.since:
            return
        if self.state == "open":
            self._open_until = min(self._open_until, self.since + rules.open)
        elif self.state == "closed":
            self.in_a_row -= self._checks_in_row
            self._checks_in_row = 0

    def failed_lastingly(
        self, attempt: Begun, now: float, reason: str, rules: BreakerRules
    ) -> None:
        """Note that an attempt failed for a reason that stays until somebody changes something."""
        if self._probe is attempt or attempt.began >= self.since:
            self._open(now, reason, rules.open_lasting)

    def rest(self, now: float, reason: str, seconds: float) -> None:
        """Make no attempts for ``seconds``: the backend asks for it."""
        until = now + min(seconds, LONGEST_REST)
        if until > self._rest_until:
            self._rest_until, self._rest_reason = until, reason

    def given_up(self, attempt: Begun, now: float) -> None:
        """Note that an attempt ended without a verdict; if it was the probe, the next one is."""
        if self._probe is attempt:
            self._probe = None
            self._change("open", now, self.reason)

    def _open(self, now: float, reason: str, seconds: float) -> None:
        self._open_until = now + seconds
        self.reason = reason
        self._probe = None
        if self.state != "open":
            self._change("open", now, reason)

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
            operation=self._operation,
        )
        self._changes.append(change)
        self.state, self.since = after, now
        self.in_a_row = self._checks_in_row = 0
        self.window.clear()
