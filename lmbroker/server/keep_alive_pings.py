"""Signs of life for the client of a stream whose answer has not begun.

Such a call may wait for a place at a backend, in the pause before another attempt, for a backend's
headers, or for the first event. After a while its client gets the head of the answer, and from
then on a comment now and then, so that neither it nor what stands between gives up. No event of an
answer was sent yet, so the call may still be tried elsewhere; an error is told inside the stream.
"""

from collections.abc import Callable
from typing import Any, Protocol

from lmbroker.call import Timeouts
from lmbroker.headers import Pairs


def told_late(headers: Pairs) -> bytes:
    """Comments that say who answers and what was lost on the way: the answer's headers of that
    kind, for a client that had the head before they were known."""
    lines = [
        f": {name}: {value}\n"
        for name, value in headers
        if name.startswith("x-lmbroker-") and name != "x-lmbroker-request-id"
    ]
    return "".join((*lines, "\n")).encode("ascii")


class Signs(Protocol):
    """``given``: the client has the head of its answer, and ``bytes_out`` of comments."""

    given: bool
    bytes_out: int

    def stop(self) -> None:
        """The answer is here, or nobody waits for it any more."""
        ...

    def tell(self, comments: bytes) -> None:
        """Say something besides; only where they were given."""
        ...


class SignsOfLife:
    """Given from ``timeouts.commit`` seconds from now on, every ``timeouts.ping`` seconds, until
    they are stopped. ``head`` sends the head of the answer, ``write`` the bytes of a sign."""

    def __init__(
        self,
        clock: Any,
        timeouts: Timeouts,
        sign: bytes,
        *,
        head: Callable[[], None],
        write: Callable[[bytes], None],
    ) -> None:
        self.given = False
        self.bytes_out = 0
        self._clock = clock
        self._pause = timeouts.ping
        self._sign = sign
        self._head = head
        self._write = write
        self._timer = clock.callLater(timeouts.commit, self._begin)

    def stop(self) -> None:
        if self._timer.active():
            self._timer.cancel()

    def _begin(self) -> None:
        self.given = True
        self._head()
        self._give()

    def _give(self) -> None:
        self._timer = self._clock.callLater(self._pause, self._give)
        self.tell(self._sign)

    def tell(self, comments: bytes) -> None:
        self.bytes_out += len(comments)
        self._write(comments)


class _NoSigns:
    """For whoever awaits no stream."""

    given = False
    bytes_out = 0

    def stop(self) -> None: ...

    def tell(self, comments: bytes) -> None: ...


NO_SIGNS: Signs = _NoSigns()
