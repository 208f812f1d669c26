"""Keep-alive pings for the client of a stream whose answer has not begun.

Such a call may wait for a slot at a backend, in the pause before another attempt, for a backend's
headers, or for the first event. After a while its client gets the head of the answer, and from
then on a comment now and then, so that neither the client nor a proxy before it times out. No event
of an answer was sent yet, so the call may still be tried at another target; an error is then sent
as an event of the stream.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from lmbroker.call import Timeouts
from lmbroker.headers import Pairs


def late_headers(headers: Pairs) -> bytes:
    """Return the ``x-lmbroker-*`` headers of an answer as comments of its stream.

    They are for a client that got the head before the broker knew who answers and what was lost.
    """
    lines = [
        f": {name}: {value}\n"
        for name, value in headers
        if name.startswith("x-lmbroker-") and name != "x-lmbroker-request-id"
    ]
    return "".join((*lines, "\n")).encode("ascii")


class Pings(Protocol):
    """The keep-alive pings of one call."""

    begun: bool
    """Whether the client has the head of its answer already."""
    bytes_out: int
    """The number of bytes of comments that were sent."""

    def stop(self) -> None:
        """Send no more pings: the answer is here, or nobody waits for it any more."""
        ...

    def send(self, comments: bytes) -> None:
        """Send further comments; only after the pings have begun."""
        ...


class KeepAlivePings:
    """Pings that begin ``timeouts.commit`` seconds from now and go out every ``timeouts.ping``.

    ``head`` sends the head of the answer, ``write`` sends the bytes of a ``ping``.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timeouts: Timeouts,
        ping: bytes,
        *,
        head: Callable[[], None],
        write: Callable[[bytes], None],
    ) -> None:
        self.begun = False
        self.bytes_out = 0
        self._clock = clock
        self._pause = timeouts.ping
        self._bytes = ping
        self._head = head
        self._write = write
        self._timer = clock.callLater(timeouts.commit, self._begin)

    def stop(self) -> None:
        """Send no more pings; may be called repeatedly."""
        if self._timer.active():
            self._timer.cancel()

    def send(self, comments: bytes) -> None:
        """Send ``comments`` and count them."""
        self.bytes_out += len(comments)
        self._write(comments)

    def _begin(self) -> None:
        self.begun = True
        self._head()
        self._ping()

    def _ping(self) -> None:
        self._timer = self._clock.callLater(self._pause, self._ping)
        self.send(self._bytes)


class _NoPings:
    """The pings of a call that is no stream: none."""

    begun = False
    bytes_out = 0

    def stop(self) -> None: ...

    def send(self, comments: bytes) -> None: ...


NO_PINGS: Pings = _NoPings()
"""The pings of a call that is no stream."""
