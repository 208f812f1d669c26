"""A helper process as its owner sees it: started, given one job at a time, ended."""

import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmbroker.backends.interfaces import IReactor
from lmbroker.offload.channel import Line, Message, pair
from lmbroker.offload.jobs import (
    LINE,
    Done,
    Job,
    decode_done,
    encode,
    filled,
    mapped,
    new_file,
    pieces,
    read,
    write,
)

START_SECONDS = 10.0
"""Seconds within which a process must report that it is ready."""

IDLE_SECONDS = 30.0
"""Seconds without a job after which a helper is ended."""

LEFT_SECONDS = 1.0
"""Seconds that a helper whose client has left may go on with its job: most end before, and a new
process takes a quarter of a second."""


class Task:
    """A job that waits or is worked at.

    ``done`` fires with what became of it and the body that came with it; ``left``: nobody waits for
    that any more. ``large``: it may take long.
    """

    def __init__(self, job: Job, body: bytes, *, large: bool, leave: Callable[["Task"], None]):
        self.job = job
        self.body = body
        self.large = large
        self.left = False
        self.tried = False
        self.done: Deferred[tuple[Done, bytes]] = Deferred(lambda _: leave(self))

    def end(self, result: Any) -> None:
        """Give the waiting call its result, or an exception."""
        if self.done.called or self.left:
            return
        if isinstance(result, BaseException):
            self.done.errback(result)
        else:
            self.done.callback(result)


class Helper(ProcessProtocol):
    """One process.

    ``owner.free(helper)`` is called when it may have another job, and ``gone(helper, task)`` with
    the job that ended with it. ``task`` is what it works at; ``ready``: it has begun to serve.
    ``memory`` and ``seconds`` bound one job.
    """

    log = Logger()

    def __init__(self, reactor: IReactor, owner: Any, memory: int, seconds: float) -> None:
        self.task: Task | None = None
        self.ready = False
        self.late = False
        """Whether it was ended because a job took too long."""
        self._reactor = reactor
        self._owner = owner
        self._memory = memory
        self._seconds = seconds
        self._parts: list[int] = []
        self._closed = False
        self._timer: Any = None
        self._process: Any = None

    def start(self) -> None:
        """Start the process. Raises OSError where there is none to be had."""
        ours, theirs = pair()
        self._line = Line(ours, self._reactor, self._received, self._gone)
        self._wait(START_SECONDS, self._too_late)
        environ = dict(os.environ)
        environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
        command = [sys.executable, "-P", "-m", "lmbroker.offload"]
        command += [str(self._memory), str(int(self._seconds))]
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            with theirs:
                # What it prints could contain the data that it works at.
                files = {0: nowhere, 1: nowhere, 2: nowhere, LINE: theirs.fileno()}
                self._process = self._reactor.spawnProcess(
                    self, command[0], command, environ, childFDs=files
                )
        except BaseException:
            self._closed = True
            self._rest()
            self._line.close()
            raise
        finally:
            os.close(nowhere)

    def give(self, task: Task) -> None:
        """Give ``task`` to the process."""
        self.task = task
        if self.ready:
            self._rest()
        handing = Deferred.fromCoroutine(self._hand(task))
        handing.addErrback(lambda _: self.kill())

    async def _hand(self, task: Task) -> None:
        """Send the job and its body, piece by piece, one in each iteration of the reactor."""
        self._send(filled(encode(task.job)))
        file = new_file()
        try:
            for piece in pieces(task.body):
                if piece.nbytes < len(task.body):
                    await deferLater(self._reactor, 0)
                if self.task is not task:
                    return
                write(file, piece)
        except BaseException:
            os.close(file)
            raise
        self._send(file)
        if self.ready and self.task is task:
            self._begin()

    def _send(self, file: int) -> None:
        self._line.send("job", file=file)
        os.close(file)

    def _begin(self) -> None:
        self._wait(self._seconds, self._too_late)

    def leave(self) -> None:
        """Note that nobody waits for the job any more."""
        task = self.task
        self._reactor.callLater(LEFT_SECONDS, lambda: self._end_of(task))

    def _end_of(self, task: Task | None) -> None:
        if self.task is task is not None:
            self.kill()

    def wait(self) -> None:
        """Note that there is nothing to do now."""
        # Not ``close``: a process that is blocked would not see that.
        self._wait(IDLE_SECONDS, self.kill)

    def close(self) -> None:
        """Let it end, which it does at once where it has nothing to do."""
        if not self._closed:
            self._line.close()
            self._gone()

    def kill(self) -> None:
        """End it now."""
        if not self._closed:
            self._signal()
            self.close()

    def _signal(self) -> None:
        try:
            self._process.signalProcess("KILL")
        except Exception:
            self.log.debug("A helper process had ended already")

    def _too_late(self) -> None:
        self.late = self.ready
        self.kill()

    def _wait(self, seconds: float, act: Callable[[], None]) -> None:
        self._rest()
        self._timer = self._reactor.callLater(seconds, act)

    def _rest(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    # What the process sends.

    def _received(self, message: Message, file: int | None) -> None:
        if message.kind == "ready":
            self.ready = True
            if self.task is not None:
                self._begin()
            else:
                self._owner.free(self)
        elif file is not None:
            self._parts.append(file)
            if len(self._parts) == 2:
                self._finish()

    def _finish(self) -> None:
        head, body = self._parts
        self._parts = []
        task, self.task = self.task, None
        self._rest()
        if task is None or task.left:
            os.close(head)
            os.close(body)
        else:
            try:
                done = decode_done(read(head)), mapped(body)
            except Exception as error:
                self.log.failure("A helper process was not understood")
                task.end(error)
            else:
                task.end(done)
        if not self._closed:
            self._owner.free(self)

    def _gone(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._rest()
        for file in self._parts:
            os.close(file)
        self._parts = []
        task, self.task = self.task, None
        self._owner.gone(self, task)

    def processEnded(self, reason: Any) -> None:
        """Close the channel to the helper process, which has ended."""
        self.close()
