"""The parent's handle of one worker: it starts the process, talks to it, and starts it again."""

import os
import signal
import sys
from typing import Any, Protocol

from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol

from lmbroker.backends.interfaces import IReactor
from lmbroker.daemon.workers.beginning import LINE, Beginning, write
from lmbroker.daemon.workers.limits_line import KINDS as LIMITS
from lmbroker.daemon.workers.limits_line import ParentLimits
from lmbroker.daemon.workers.log import Log
from lmbroker.daemon.workers.tally import Tally
from lmbroker.offload.channel import Line, Message, pair

STEADY_SECONDS = 10.0
"""Seconds after which a worker that dies did not die of its start."""

LEAVE_SECONDS = 1.0
"""Seconds without new connections after which a worker that wants to end may do so."""

FIRST_PAUSE = 0.5
"""Seconds before the next worker is started where two in a row died of their start. After the first
of them the next is started at once; with each further one the pause doubles."""

LONGEST_PAUSE = 30.0
"""The longest such pause, in seconds."""


SYSTEMD = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Environment variables that name sockets of systemd, which are the parent's (sd_listen_fds(3))."""

LAST_READS = 16
"""How often the line is read when its process has ended: each time a bounded number of messages."""

ENDED = "has ended"
"""The words for a process that ended of its own will."""


class Parent(Protocol):
    """The part of the parent that a handle uses."""

    stream: Log | None
    tally: Tally
    limits: ParentLimits

    def beginning(self, number: int) -> Beginning:
        """Return the first message for the worker of a number."""

    def began(self) -> None:
        """Note that a worker's process has started."""

    def serves(self) -> None:
        """Note that a worker takes connections."""

    def answered(self, worker: "WorkerHandle", problem: str) -> None:
        """Note that a worker has prepared a configuration, or why it cannot."""

    def captured(self, worker: "WorkerHandle", message: Message, file: int | None) -> None:
        """Take what a worker says of a capture."""

    def ended(self, worker: "WorkerHandle", how: str, problem: str) -> None:
        """Note that a worker's process has ended, how, and by which problem of its own."""


class WorkerHandle(ProcessProtocol):
    """One worker as the parent sees it: its process, the line to it, and how to start it again.

    ``number`` counts from 1. ``pid`` is 0 while there is no process. ``takes``: its worker serves,
    and wants connections. ``late``: it is to prepare for a configuration by which the others serve
    already.
    """

    def __init__(self, number: int, parent: Parent, reactor: IReactor) -> None:
        self.number = number
        self.pid = 0
        self.takes = False
        self.late = False
        self._parent = parent
        self._reactor = reactor
        self._line: Line | None = None
        self._process: Any = None
        self._problem = ""
        self._failures = 0
        self._began = 0.0
        self._waiting: Any = None
        self._stopping = False
        self._left = False
        self._lives = 0

    @property
    def holder(self) -> str:
        """The name under which its process reserves what its calls need."""
        return f"{self.number}.{self._lives}"

    def start(self) -> None:
        """Start a process here."""
        self._waiting = None
        self._problem = ""
        self._left = self.late = False
        self._began = self._reactor.seconds()
        try:
            self._start()
        except OSError as error:
            self._hang_up()
            self._parent.ended(self, f"was not started: {error.strerror}", "")

    def _start(self) -> None:
        self._parent.tally.begin(self.number)
        self._lives += 1
        ours, theirs = pair()
        self._line = Line(ours, self._reactor, self._received, self._hung_up)
        file = write(self._parent.beginning(self.number))
        self._line.send("begin", file=file)
        os.close(file)
        if self._parent.stream is not None:
            self._line.send("log", file=self._parent.stream.descriptor)
        environ = {name: os.environ[name] for name in os.environ if name not in SYSTEMD}
        environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
        command = [sys.executable, "-P", "-m", "lmbroker.workers"]
        with theirs:
            files = {0: 0, 1: 1, 2: 2, LINE: theirs.fileno()}
            self._process = self._reactor.spawnProcess(
                self, command[0], command, environ, childFDs=files
            )
        self.pid = self._process.pid
        self._parent.began()

    def restart(self) -> float:
        """Start another process after a pause; return its seconds."""
        if self._left or self._reactor.seconds() - self._began > STEADY_SECONDS:
            self._failures = 0
        pause = 0.0
        if self._failures:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._failures - 1))
        self._failures += not self._left
        self._waiting = self._reactor.callLater(pause, self.start)
        return pause

    def hand(self, endpoint: str, descriptor: int) -> bool:
        """Return whether the worker takes a connection."""
        if not self.takes or self._line is None:
            return False
        return self._line.hand("serve", endpoint, descriptor)

    def caught_up(self) -> None:
        """Note that the worker has done what the others did before it."""
        self.late = False
        self.takes = not self._stopping and not self._left

    def send(self, kind: str, file: int | None = None) -> None:
        """Send a message to the worker, if there is one."""
        if self._line is not None:
            self._line.send(kind, file=file)

    def stop(self) -> None:
        """Let the worker drain, and begin no other."""
        self._stopping = True
        self.takes = False
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self.send("drain")

    def kill(self) -> None:
        """Kill the process at once."""
        self._process.signalProcess("KILL")

    # From the worker.

    def _received(self, message: Message, file: int | None) -> None:
        if message.kind == "serving":
            self.takes = not self._stopping
            self._parent.serves()
        elif message.kind in ("prepared", "refused"):
            self._parent.answered(self, message.text)
        elif message.kind in ("captured", "uncaptured"):
            self._parent.captured(self, message, file)
        elif message.kind in LIMITS and self._line is not None:
            self._parent.limits.received(self.holder, self._line, message, file)
        elif message.kind == "leaving":
            self.takes = False
            self._left = True
            # The request may still be on its way on the connection that it was handed last.
            if self._line is not None:
                self._reactor.callLater(LEAVE_SECONDS, self._line.send, "drain")
        elif message.kind == "failed":
            self._problem = message.text

    def _hung_up(self) -> None:
        self.takes = False

    def _hang_up(self) -> None:
        self.takes = False
        if self._line is not None:
            self._line.close()
            self._line = None

    def processEnded(self, reason: Any) -> None:
        """Close the line, and report the end to the parent."""
        if self._line is not None:
            # Its last words may still be on the line.
            for _ in range(LAST_READS):
                self._line.doRead()
        self._hang_up()
        self.pid = 0
        self._parent.tally.end(self.number)
        self._parent.ended(self, _how(reason.value), self._problem)


def _how(error: Exception) -> str:
    """Return how a process has ended."""
    if not isinstance(error, ProcessTerminated):
        return ENDED
    if error.signal is not None:
        return f"was ended by {signal.Signals(error.signal).name}"
    return f"ended with exit code {error.exitCode}"
