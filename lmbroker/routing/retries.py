"""Decides what a failure means: whose fault it is, and whether, where and when to try again. Pure.

The rules are those of reliability.md A5 and C. A call that a backend may have begun to work on is
never made twice unless the operator says so:

    failure, before any event to the client                       another target   same one again
    no connection (refused, DNS, TLS, connect timeout, our queue)  yes              yes, not TLS
    429, 502, 503, 529, as status or as a stream's first event     yes              yes
    the stream ended before its first event                        yes              yes
    the connection died before the headers came                    ``unsafe``       ``unsafe``
    we are out of descriptors                                      no               no
    401, 402, 403                                                  yes              no
    401, 402, 403, 429 to the client's own key                     no               no
    the backend has no such operation (501, 405, or in words)      yes              no
    our own refusal of what this target cannot take                yes              no
    anything named by ``fallback_on``                              yes              no
    every other error, timeouts and 504 among them                 no               no

A key that was refused or is exhausted (401, 402, 403, 429) is a reason for another key of the
same backend in any case. A client who left is never called for again.
"""

from collections.abc import Callable, Sequence
from email.utils import mktime_tz, parsedate_tz
from math import isfinite
from typing import Literal, NamedTuple

import msgspec

from lmbroker.constraints import Count, CountOrNone, Positive
from lmbroker.errors import (
    AttemptFailed,
    BackendRefused,
    BrokerError,
    ErrorInfo,
    Kind,
    OutOfResources,
    Refused,
)

TRIED_AGAIN = frozenset({429, 502, 503, 529})
"""HTTP statuses with which a backend says that it did nothing."""

_DID_NOTHING: frozenset[Kind] = frozenset({"rate_limit", "overloaded", "billing"})
"""The kinds of errors that say the same, with status 200 or with a status that says something
else."""

_OF_THE_CALL: frozenset[Kind] = frozenset(
    {
        "invalid_request",
        "auth",
        "permission",
        "not_found",
        "conflict",
        "too_large",
        "context_length",
        "unsupported",
    }
)
"""Kinds of errors that another backend would report as well, whatever the status: they are about
the call itself."""

_OF_THE_KEY: frozenset[Kind] = frozenset({"auth", "permission", "billing", "rate_limit"})

_TO_BE_MENDED = frozenset({"tls", "proxy_auth", "proxy_refused"})
"""Codes of failures to reach a backend that somebody has to mend."""

Blame = Literal["target", "key", "call", "nobody"]


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """The rules for further attempts of a call: how many, how long, and after which errors.

    The fields' docstrings are their lines in docs/configuration.md.
    """

    attempts: Count = 3
    """Attempts of one call, the first included."""
    seconds: Positive = 30.0
    """Seconds after a call came in, after which no further attempt begins."""
    same_target: CountOrNone = 0
    """How often a call may try the same target again."""
    first_pause: Positive = 0.5
    """Seconds of the longest pause before a target is tried again for the first time; each further
    pause may be twice as long."""
    longest_pause: Positive = 10.0
    """Seconds of the longest pause before a target is tried again. A backend that asks for more
    with `retry-after` is not tried again in this call."""
    share: Positive = 0.1
    """How many further attempts all calls of an alias may make together, as a part of these calls:
    one in ten."""
    floor: Count = 60
    """Further attempts per minute that an alias may make besides those of `retries.share`."""
    unsafe: bool = False
    """A call may be made twice where its connection died before the answer began."""
    fallback_on: frozenset[str] = frozenset()
    """Kinds, codes or HTTP statuses (as text) of errors for which another target is tried too."""


def blame(error: AttemptFailed) -> Blame:
    """Return whose fault a failed attempt was.

    ``call``: the backend answered as a healthy one would; ``nobody``: it says nothing about the
    backend.
    """
    info = error.info
    if info.code == "backend_auth" or info.kind in _OF_THE_KEY:
        # An error about a client's own key concerns no other client.
        return "nobody" if error.clients_key else "key"
    if isinstance(error, OutOfResources) or (info.code == "backend_busy" and not error.sent):
        return "nobody"
    return "call" if info.kind in _OF_THE_CALL else "target"


def lasting(error: BrokerError) -> bool:
    """Return whether the failure stays until somebody changes something.

    So do a refused credential, an empty account, a certificate that does not fit, a proxy that lets
    nobody through.
    """
    info = error.info
    return info.code in _TO_BE_MENDED or _unpaid(info)


def elsewhere(error: BrokerError, rules: Retries) -> bool:
    """Return whether another target may be tried after ``error``."""
    info = error.info
    if isinstance(error, Refused | BackendRefused) and info.kind == "unsupported":
        # A refusal of our own for this target, or a backend without such an operation: nothing was
        # worked on, and another target may take the call.
        return True
    words = {info.kind, info.code or "", str(info.status)}
    if not rules.fallback_on.isdisjoint(words):
        return True
    if isinstance(error, BackendRefused) and _unpaid(info) and not error.clients_key:
        # Nothing was worked on, and the other target has a key of its own.
        return True
    return _nothing_was_done(error, rules)


def _unpaid(info: ErrorInfo) -> bool:
    """Return whether a backend did nothing for want of a credential, a right or money."""
    return info.code == "backend_auth" or info.kind in ("auth", "permission", "billing")


def again(error: BrokerError, rules: Retries) -> bool:
    """Return whether the same target may be tried once more after ``error``."""
    return _nothing_was_done(error, rules) and not lasting(error)


def _nothing_was_done(error: BrokerError, rules: Retries) -> bool:
    if not isinstance(error, AttemptFailed) or isinstance(error, OutOfResources):
        # A resource that we lack, we lack for every target.
        return False
    if error.clients_key and error.info.kind in _OF_THE_KEY:
        # The client gets this error, which is about its own key; no other target is tried for it.
        return False
    if not error.sent:
        return True
    info = error.info
    if info.code == "closed_before_headers":
        return rules.unsafe
    if info.kind == "truncated":
        return error.phase == "first_event"
    if not isinstance(error, BackendRefused) or info.kind in _OF_THE_CALL:
        return False
    return info.status in TRIED_AGAIN or info.kind in _DID_NOTHING


def retry_after(info: ErrorInfo, wall: float) -> float | None:
    """Return in how many seconds the backend wants to be asked again, None if it does not say."""
    milliseconds = _number(info.retry_after_ms)
    if milliseconds is not None:
        return milliseconds / 1000
    seconds = _number(info.retry_after)
    if seconds is not None or info.retry_after is None:
        return seconds
    try:
        date = parsedate_tz(info.retry_after)
        return None if date is None else max(0.0, mktime_tz(date) - wall)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return max(0.0, value) if isfinite(value) else None


def pause(tries: int, rules: Retries, chance: Callable[[], float]) -> float:
    """Return seconds before a target that was tried ``tries`` times is tried again.

    They grow exponentially, with full jitter, so that calls that failed together do not come back
    together.
    """
    longest = min(rules.longest_pause, rules.first_pause * 2.0 ** min(tries - 1, 30))
    return chance() * longest


class Budget:
    """The second tries of one alias.

    A bucket of ``floor`` that each call fills by ``share`` and each minute by ``floor``. In any
    stretch of time there are no more second tries than ``floor`` + ``share`` x calls + ``floor`` x
    minutes, however many calls fail.
    """

    def __init__(self) -> None:
        self.calls = 0
        """Since the last second try; each call that is made is counted here."""
        self._left: float | None = None
        self._filled_at = 0.0

    def spend(self, now: float, rules: Retries) -> bool:
        """Return whether there may be a second try now; then it is counted."""
        most = max(float(rules.floor), 1.0 if rules.share else 0.0)
        more = rules.share * self.calls
        if self._left is None:
            self._left = float(rules.floor)
        else:
            more += max(0.0, now - self._filled_at) * rules.floor / 60
        self._left = min(most, self._left + more)
        self._filled_at = now
        self.calls = 0
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Failure(NamedTuple):
    """A failed attempt of a call: at which backend, with which error.

    ``after`` is in how many seconds that backend wants to be asked again.
    """

    backend: str
    error: BrokerError
    after: float | None


def reported(failures: Sequence[Failure], *, listed: bool) -> BrokerError:
    """Return the last of a call's failures, as the client shall see it when there is no other try.

    ``listed``: it failed for want of another target, not for what it is itself. Then the message
    lists all attempts, in our words instead of one backend's, and ``retry-after`` is that of the
    backend that wants to be asked soonest. The client is asked not to try again where no attempt
    failed for something that passes.
    """
    error = failures[-1].error
    info = error.info
    changes: dict[str, str | None] = {}
    if listed and len(failures) > 1:
        tried = ", ".join(f"{each.backend}: {_word(each.error)}" for each in failures)
        changes["message"] = f"{info.message} (tried {tried})"
        timed = [(each.after, each.error.info) for each in failures if each.after is not None]
        if timed:
            _, soonest = min(timed, key=lambda pair: pair[0])
            changes["retry_after"] = soonest.retry_after
            changes["retry_after_ms"] = soonest.retry_after_ms
        if isinstance(error, BackendRefused):
            error.native = None
    if info.should_retry is None and all(lasting(each.error) for each in failures):
        changes["should_retry"] = "false"
    if changes:
        error.info = msgspec.structs.replace(info, **changes)
    return error


def _word(error: BrokerError) -> str:
    return error.info.label
