"""Captures in all workers: the parent asks each of them, and gets what they keep.

Down the line go ``capture`` and ``uncapture``, each with a file of ``Asked``. Up it come
``captured`` with a file of ``Captured`` for each call, and ``uncaptured`` with one of ``IsOver``
when the capture is over in that worker.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmbroker.capture.wanted import Wanted
from lmbroker.daemon.captures import MOST_CAPTURES, Captures, Kept, Lines, Over, TooMany
from lmbroker.daemon.workers.beginning import read, write
from lmbroker.offload.channel import Line, Message

LATE_SECONDS = 5.0
"""So much longer than its time a capture waits for workers that have not said that it is over."""

LEAST_SECONDS = 0.1
"""A worker that begins is not asked for a shorter time."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The order to a worker to capture calls."""

    number: int
    wanted: Wanted


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a worker has kept."""

    number: int
    lines: Lines


class IsOver(msgspec.Struct, frozen=True, kw_only=True):
    """A capture is over in a worker."""

    number: int
    why: str
    lost: int


class Handle(Protocol):
    """The part of the parent's handle of a worker that captures use."""

    pid: int

    def send(self, kind: str, file: int | None = None) -> None:
        """Send a message with a file, which stays the caller's."""


class WorkerCaptures:
    """The captures of the parent; see ``Capturing``. ``workers`` gives those that live."""

    log = Logger()

    def __init__(self, workers: Callable[[], Iterable[Handle]], reactor: IReactorTime) -> None:
        self._workers = workers
        self._reactor = reactor
        self._on: dict[int, _Capture] = {}
        self._count = 0

    def begin(self, wanted: Wanted, kept: Kept, over: Over) -> Callable[[str], None]:
        """Begin a capture in all workers; returns what ends it. Raises TooMany."""
        if len(self._on) >= MOST_CAPTURES:
            raise TooMany
        self._count += 1
        number = self._count

        def ended(why: str, lost: int) -> None:
            del self._on[number]
            over(why, lost)

        capture = self._on[number] = _Capture(number, wanted, self._reactor, kept, ended)
        for worker in self._workers():
            capture.ask(worker)
        return capture.end

    def began(self) -> None:
        """Ask workers that have begun in the meantime, too."""
        for capture in self._on.values():
            for worker in self._workers():
                capture.ask(worker)

    def gone(self, worker: Handle) -> None:
        """Note that a worker has ended, with all that it had kept."""
        for capture in list(self._on.values()):
            capture.worker_over(worker, 0, "its workers have ended")

    def end(self, why: str) -> None:
        """End all captures."""
        for capture in list(self._on.values()):
            capture.end(why)

    def received(self, worker: Handle, message: Message, file: int | None) -> None:
        """Take a message of a worker about a capture."""
        if file is None:
            # There was no descriptor for it in this process.
            self.log.error("A captured call was lost: there are no descriptors left")
            return
        if message.kind == "captured":
            call = read(file, Captured)
            capture = self._on.get(call.number)
            if capture is not None:
                capture.keep(call.lines)
        else:
            over = read(file, IsOver)
            capture = self._on.get(over.number)
            if capture is not None:
                capture.worker_over(worker, over.lost, over.why)


class _Capture:
    """One capture in all workers."""

    def __init__(
        self, number: int, wanted: Wanted, reactor: IReactorTime, kept: Kept, over: Over
    ) -> None:
        self._number = number
        self._wanted = wanted
        self._reactor = reactor
        self._kept = kept
        self._over = over
        self._asked: dict[Handle, int] = {}
        self._busy: set[Handle] = set()
        self._count = self._bytes = self._lost = 0
        self._why = ""
        self._ends = reactor.seconds() + wanted.seconds
        self._timer: Any = reactor.callLater(wanted.seconds + LATE_SECONDS, self._late)

    def ask(self, worker: Handle) -> None:
        """Ask a worker, unless its process was asked already."""
        left = self._ends - self._reactor.seconds()
        if self._why or self._asked.get(worker) == worker.pid or left < LEAST_SECONDS:
            return
        self._asked[worker] = worker.pid
        self._busy.add(worker)
        wanted = msgspec.structs.replace(self._wanted, seconds=left)
        self._send(worker, "capture", Asked(number=self._number, wanted=wanted))

    def keep(self, lines: Lines) -> None:
        """Take a call that a worker has kept, as long as there are not too many of all."""
        size = sum(len(memoryview(line)) for line in lines)
        if self._count >= self._wanted.calls or self._bytes >= self._wanted.bytes:
            return
        self._count += 1
        self._bytes += size
        self._kept(lines)
        if self._count >= self._wanted.calls:
            self.end("as many calls are kept as were asked for")
        elif self._bytes >= self._wanted.bytes:
            self.end("as many bytes are kept as were asked for")

    def worker_over(self, worker: Handle, lost: int, why: str) -> None:
        """Note that the capture is over in a worker, which may have ended."""
        if worker not in self._busy:
            return
        self._busy.discard(worker)
        self._lost += lost
        self._finish(why)

    def end(self, why: str) -> None:
        """Have the workers end it."""
        if self._why:
            return
        self._why = why
        for worker in list(self._busy):
            self._send(worker, "uncapture", Asked(number=self._number, wanted=self._wanted))
        self._finish(why)

    def _late(self) -> None:
        self._busy.clear()
        self._finish("a worker did not answer")

    def _finish(self, why: str) -> None:
        if self._busy or self._over is _over_already:
            return
        if self._timer.active():
            self._timer.cancel()
        over, self._over = self._over, _over_already
        over(self._why or why, self._lost)

    def _send(self, worker: Handle, kind: str, what: Asked) -> None:
        file = write(what)
        try:
            worker.send(kind, file)
        finally:
            os.close(file)


def _over_already(why: str, lost: int) -> None:
    """Do nothing: the capture is over."""


class CapturesOfWorker:
    """The captures in a worker, which its parent asks for on ``line``."""

    def __init__(self, captures: Captures, line: Line) -> None:
        self._captures = captures
        self._line = line
        self._ends: dict[int, Callable[[str], None]] = {}

    def capture(self, file: int) -> None:
        """Begin a capture."""
        asked: Asked = read(file, Asked)
        number = asked.number

        def kept(lines: Lines) -> None:
            self._send("captured", Captured(number=number, lines=lines))

        def over(why: str, lost: int) -> None:
            self._ends.pop(number, None)
            self._send("uncaptured", IsOver(number=number, why=why, lost=lost))

        try:
            self._ends[number] = self._captures.begin(asked.wanted, kept, over)
        except TooMany:
            over("the worker has as many captures as it may", 0)

    def uncapture(self, file: int) -> None:
        """End a capture; it may be over already."""
        end = self._ends.get(read(file, Asked).number)
        if end is not None:
            end("it was ended")

    def _send(self, kind: str, what: Captured | IsOver) -> None:
        file = write(what)
        try:
            self._line.send(kind, file=file)
        finally:
            os.close(file)
