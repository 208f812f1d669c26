"""The captures that are on in a process: which calls they keep, and when they end."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmbroker import __version__
from lmbroker.call import Call, Record
from lmbroker.capture.events import FORMAT, Began, packed
from lmbroker.capture.masking import credentials_in
from lmbroker.capture.tape import Tape
from lmbroker.capture.wanted import Wanted
from lmbroker.errors import BrokerError

if TYPE_CHECKING:
    from lmbroker.broker.broker import Broker

MOST_OPEN = 100
"""Calls under way that a capture keeps at once, where only their ends say which are wanted."""

LEAST_BYTES = 4096
"""A capture with fewer bytes left than this is over."""

MOST_CAPTURES = 4
"""Captures that are on at once."""

Lines = tuple[msgspec.Raw, ...]
"""A captured call: its lines, without credentials."""

Kept = Callable[[Lines], None]
Over = Callable[[str, int], None]
"""(why the capture is over, how many calls were wanted and could not be kept)."""


class TooMany(Exception):
    """There are as many captures as are allowed."""


class Capturing(Protocol):
    """Begins captures, in this process or in all workers."""

    def begin(self, wanted: Wanted, kept: Kept, over: Over) -> Callable[[str], None]:
        """Begin a capture; returns what ends it. Raises TooMany.

        ``kept`` gets each call. ``over`` is called once, whatever ended it.
        """
        ...


class Captures:
    """The captures of ``broker``; see ``Capturing`` and ``broker.Captures``."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._on: list[_Capture] = []

    def begin(self, wanted: Wanted, kept: Kept, over: Over) -> Callable[[str], None]:
        """Begin a capture; returns what ends it. Raises TooMany."""
        if len(self._on) >= MOST_CAPTURES:
            raise TooMany

        def ended(capture: _Capture, why: str, lost: int) -> None:
            self._on.remove(capture)
            # While none is on, calls pay for one look at this and no more.
            self._broker.captures = self if self._on else None
            over(why, lost)

        capture = _Capture(wanted, self._broker, self._broker.clock, kept, ended)
        self._on.append(capture)
        self._broker.captures = self
        return capture.end

    def end(self, why: str) -> None:
        """End all captures."""
        for capture in list(self._on):
            capture.end(why)

    def of_call(self, call: Call, record: Record) -> tuple[Tape, Callable[[Record], None]] | None:
        """Return a tape for a call that begins; None for a call that nobody wants."""
        route = self._broker.config.alias(call.asked)
        alias = "" if route is None else route.name
        for capture in self._on:
            tape = capture.tape(call, record, alias)
            if tape is not None:
                return tape, partial(capture.call_ended, tape)
        return None


class _Capture:
    log = Logger()

    def __init__(
        self,
        wanted: Wanted,
        broker: "Broker",
        clock: IReactorTime,
        kept: Kept,
        over: Callable[["_Capture", str, int], None],
    ) -> None:
        self._wanted = wanted
        self._broker = broker
        self._clock = clock
        self._kept = kept
        self._over = over
        self._open: dict[Tape, Record] = {}
        self._masking = 0
        self._count = 0
        self._lost = 0
        self._left = wanted.bytes
        self._why: str | None = None
        self._timer: Any = clock.callLater(wanted.seconds, self.end, "its time is over")

    # Calls.

    def tape(self, call: Call, record: Record, alias: str) -> Tape | None:
        wanted = self._wanted
        if self._why is not None or not wanted.may_be(call, alias):
            return None
        room = MOST_OPEN if wanted.by_end else wanted.calls - self._count - self._masking
        if len(self._open) >= room:
            return None
        tape = Tape(self._clock.seconds, self._take)
        tape.secrets += credentials_in(call.headers)
        now = datetime.fromtimestamp(self._broker.wall(), UTC)
        tape.note(
            Began,
            format=FORMAT,
            version=__version__,
            time=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            id=call.id,
            operation=call.operation,
            dialect=call.dialect,
            asked=call.asked,
            alias=alias,
            caller=call.caller.name,
            stream=call.stream,
            mode=call.mode,
            path=record.path,
            query=call.query.decode("latin-1"),
            headers=dict(call.headers),
            data=call.body,
        )
        self._open[tape] = record
        return tape

    def call_ended(self, tape: Tape, record: Record) -> None:
        if self._open.pop(tape, None) is None:
            return
        if not self._wanted.is_wanted(record) or self._count + self._masking >= self._wanted.calls:
            self._give_back(tape)
        elif tape.full:
            self._give_back(tape)
            self._lost += 1
            self._go_on()
        else:
            self._keep(tape)

    def _take(self, size: int) -> bool:
        if size > self._left:
            return False
        self._left -= size
        return True

    def _give_back(self, tape: Tape) -> None:
        self._left += tape.taken
        tape.events.clear()

    def _keep(self, tape: Tape) -> None:
        self._masking += 1
        # A large one goes to a helper process: it would hold other calls up.
        masking = Deferred.fromCoroutine(
            self._broker.offload.masked(packed(tape.events), tape.secrets)
        )
        tape.events.clear()
        masking.addCallbacks(self._masked, self._not_masked)
        masking.addErrback(lambda failure: self.log.failure("A capture failed", failure))

    def _masked(self, lines: list[bytes]) -> None:
        self._masking -= 1
        self._count += 1
        self._kept(tuple(map(msgspec.Raw, lines)))
        self._go_on()

    def _not_masked(self, failure: Any) -> None:
        failure.trap(BrokerError)
        self._masking -= 1
        self._lost += 1
        self._go_on()

    def _go_on(self) -> None:
        if self._why is not None:
            if not self._masking:
                self._over(self, self._why, self._lost)
        elif self._count >= self._wanted.calls:
            self.end("as many calls are kept as were asked for")
        elif self._left < LEAST_BYTES and not self._open:
            self.end("as many bytes are kept as were asked for")

    # The end.

    def end(self, why: str) -> None:
        """Begin no more calls; what is under way is kept as it is where any end is wanted."""
        if self._why is not None:
            return
        self._why = why
        if self._timer.active():
            self._timer.cancel()
        open_tapes, self._open = list(self._open), {}
        # One more than there are, so that the capture is not over before the last of them.
        self._masking += 1
        for tape in open_tapes:
            if tape.events and not self._wanted.by_end and self._has_room():
                self._keep(tape)
            tape.full = True
        self._masking -= 1
        self._go_on()

    def _has_room(self) -> bool:
        return self._count + self._masking <= self._wanted.calls
