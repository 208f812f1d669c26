"""Writes the log from a thread of its own, so that a blocked file stops nothing else.

A terminal on which somebody has pressed Ctrl-S, or a pipe whose reader stands still, makes a write
wait. Here only the thread waits. What comes meanwhile is kept up to a bound, then dropped and
counted; when the place takes text again, a line says how many are missing, where they would have
stood. A regular file takes its lines at once, without the thread.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

BUFFER_BYTES = 4 * 1024 * 1024
"""The maximum of bytes that are kept while nothing can be written."""

BATCH_BYTES = 64 * 1024
"""The maximum of bytes of one write, but for a line that is longer."""

REST_SECONDS = 0.01
"""Seconds of rest after a write: lines of that time are written together, so that many lines do not
slow down what logs them."""

FIRST_SECONDS = 0.2
"""Seconds that the start waits for what was logged before it."""

LAST_SECONDS = 1.0
"""Seconds that the end of the process waits for what is not written yet, in all."""


class Sink(Protocol):
    """The destination of whole lines.

    A write may wait as long as it likes; raises OSError if it fails.
    """

    def write(self, data: bytes, /) -> object:
        """Write whole lines."""


class LogWriter:
    """Takes whole lines and writes them to ``sink``, from the thread that ``start`` begins.

    Until then they are kept, since a process that becomes a daemon loses its threads.

    ``gap`` makes the line that says how many are missing; ``dropped`` is called each time when
    some were dropped, from any thread.
    """

    gap: Callable[[int], bytes] | None = None
    dropped: Callable[[int], object] | None = None

    def __init__(self, sink: Sink, limit: int = BUFFER_BYTES, *, direct: bool = False) -> None:
        """Write to ``sink``; ``direct`` where that is a regular file.

        Such a file takes what it is given at once: a line is written before ``write`` returns, as
        long as nothing waits.
        """
        self._sink = sink
        self._direct = direct
        self._limit = limit
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._idle = threading.Condition(self._lock)
        self._waiting: deque[bytes | int] = deque()
        """Lines, and in the place of some that were dropped their number."""
        self._held = 0
        self._jobs: deque[Callable[[], None]] = deque()
        self._busy = False
        self._torn = False
        self._thread: threading.Thread | None = None
        self._until: float | None = None
        """When a process that ends waits no longer; None: it does not end."""

    def write(self, lines: bytes) -> None:
        """Take whole lines; never waits, but in a process that ends (``settle``)."""
        lost = 0
        with self._lock:
            if self._direct and self._at_once(lines):
                return
            if self._held + len(lines) > self._limit:
                lost = lines.count(b"\n")
                self._miss(lost, self._waiting.append, -1)
            else:
                self._held += len(lines)
                self._waiting.append(lines)
        if lost:
            self._report(lost)
        elif not self._some.is_set():
            self._some.set()
        if self._until is not None:
            self._wait(self._until)

    def _at_once(self, lines: bytes) -> bool:
        """Write ``lines`` here and now if the thread is idle; return whether that was done."""
        if self._thread is None or self._busy or self._waiting or self._held or self._jobs:
            return False
        if self._torn:
            return False
        try:
            self._sink.write(lines)
        except Exception:
            self._torn = True
            return False
        return True

    def do(self, job: Callable[[], None]) -> None:
        """Call ``job`` in the thread, before what comes now is written.

        Whatever touches the sink may wait as long as a write. ``job`` must not raise.
        """
        self._jobs.append(job)
        self._some.set()

    def start(self) -> None:
        """Begin to write.

        What was kept is written before anything is served, where that is soon done.
        """
        self._begin()
        self._wait(time.monotonic() + FIRST_SECONDS)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                # A daemon: a write that never ends must not keep the process.
                thread = threading.Thread(target=self._run, name="log", daemon=True)
                thread.start()
                self._thread = thread

    def settle(self) -> None:
        """Wait for what is not written yet, since the process ends.

        The wait is bounded, now and with each further line.
        """
        if self._until is None:
            self._until = time.monotonic() + LAST_SECONDS
        try:
            self._begin()
        except RuntimeError:
            # The interpreter itself is at its end, and begins no thread.
            while self._batch():
                pass
        self._some.set()
        self._wait(self._until)

    def _wait(self, until: float) -> None:
        with self._lock:
            while self._busy or self._held or self._jobs:
                left = until - time.monotonic()
                if left <= 0 or not self._idle.wait(left):
                    return

    # The thread.

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            self._busy = True
            while self._jobs:
                self._jobs.popleft()()
            while self._batch():
                pass
            with self._lock:
                self._busy = False
                self._idle.notify_all()
            if self._until is None:
                time.sleep(REST_SECONDS)

    def _batch(self) -> bool:
        """Write what fits into one write; return whether there may be more."""
        pieces: list[bytes] = []
        lines: list[bytes] = []
        size = missing = 0
        with self._lock:
            while self._waiting:
                each = self._waiting[0]
                if isinstance(each, int):
                    missing += each
                    line = self.gap(each) if self.gap is not None else b""
                elif size and size + len(each) > BATCH_BYTES:
                    break
                else:
                    line = each
                    lines.append(each)
                    size += len(each)
                self._waiting.popleft()
                pieces.append(line)
        if not pieces:
            return False
        data = b"".join(pieces)
        try:
            # A full disk may have left half a line, which is ended first.
            self._sink.write(b"\n" + data if self._torn else data)
            self._torn = False
        except Exception as error:
            # The reader is gone, or the disk is full. The next line tries again, and nothing else.
            self._torn = self._torn or not isinstance(error, BrokenPipeError)
            lost = sum(each.count(b"\n") for each in lines)
            with self._lock:
                self._held -= size
                self._miss(missing + lost, self._waiting.appendleft, 0)
            self._report(lost)
            return False
        with self._lock:
            self._held -= size
        return True

    def _miss(self, count: int, put: Callable[[int], None], end: int) -> None:
        """Note that so many lines are missing at this end of what waits."""
        before = self._waiting[end] if self._waiting else b""
        if isinstance(before, int):
            self._waiting[end] = before + count
        else:
            put(count)

    def _report(self, lost: int) -> None:
        if self.dropped is not None and lost:
            self.dropped(lost)
