"""The parent of the workers as a service.

It listens, reads the configuration, takes the signals, and sees to it that there are as many
workers as there should be.
"""

import atexit
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry
from twisted.application.service import IService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from lmbroker.backends.interfaces import IReactor
from lmbroker.config.changes import changes
from lmbroker.config.config import Config, ConfigError
from lmbroker.config.file import Source
from lmbroker.daemon.capture_command import capture_command
from lmbroker.daemon.control import Control
from lmbroker.daemon.listening import CannotListen, CannotStart, Endpoint, Listeners, problem_of
from lmbroker.daemon.listening_service import ListeningService
from lmbroker.daemon.reloads import away
from lmbroker.daemon.workers.accepting import Accepting
from lmbroker.daemon.workers.beginning import Beginning
from lmbroker.daemon.workers.captures import WorkerCaptures
from lmbroker.daemon.workers.handover import Handover
from lmbroker.daemon.workers.limits_line import ParentLimits
from lmbroker.daemon.workers.log import Log, SharedFile
from lmbroker.daemon.workers.tally import PARENT, Tally, counted_at
from lmbroker.daemon.workers.worker_handle import ENDED, WorkerHandle
from lmbroker.observers.daemon_metrics import DaemonMetrics
from lmbroker.observers.json_log import JSONLog
from lmbroker.observers.log_writer import LogWriter
from lmbroker.offload.channel import Message
from lmbroker.server import descriptors

LATE_SECONDS = 10.0
"""Seconds beyond their time after which workers that have not ended are killed."""

HURRIED_SECONDS = 5.0
"""The same after a second signal."""

LOOK_SECONDS = 1.0
"""Seconds between two checks of the log file's length."""

Loaded = tuple[Config, Source]


class ParentService(ListeningService):
    """The service of ``count`` workers.

    ``read`` gives the configuration anew, for reloads; it raises ConfigError. ``observer`` writes
    to ``stream`` by ``writer``; all three are None, and ``logger`` names a factory of observers,
    where the log is somebody else's. ``reactor_name`` is one of twistd's, where it was given one.
    """

    log = Logger()

    def __init__(
        self,
        loaded: Loaded,
        reactor: IReactor,
        read: Callable[[], Loaded],
        count: int,
        *,
        observer: JSONLog | None,
        stream: Log | None,
        writer: LogWriter | None = None,
        logger: str = "",
        reactor_name: str = "",
    ) -> None:
        super().__init__(loaded[0], reactor, observer)
        self.tally: Tally
        self.stream = stream
        self._writer = writer
        self._source = loaded[1]
        self._read = read
        self._logger = logger
        self._reactor_name = reactor_name
        self._workers = [WorkerHandle(number, self, reactor) for number in range(1, count + 1)]
        self._turn = 0
        self._shortage = descriptors.Shortage(reactor)
        self._listeners = Listeners(self, self._listener, self._config)
        self._captures = WorkerCaptures(self._serving, reactor)
        if self._config.server.control:
            commands = {"capture": capture_command(self._captures)}
            Control(self._config.server.control, reactor, commands).setServiceParent(self)
        self.limits = ParentLimits(self._config, reactor)
        self._looking: LoopingCall | None = None
        self._handover: Handover | None = None
        self._served = False
        self._given_up = False
        self._emptied: Deferred[None] | None = None
        self._delayed: Deferred[None] | None = None

    def _listener(self, endpoint: str, aside: bool) -> IService:
        return Accepting(endpoint, self._reactor, self._hand, self._shortage)

    # Starting.

    def privilegedStartService(self) -> None:
        """Take SIGHUP and listen. Raises CannotListen."""
        # First of all: without a handler the signal ends the process.
        self._on_signal(signal.SIGHUP, self.reload)
        self._begin_listening()

    def startService(self) -> None:
        """Make the tally and share the log; the workers start once the reactor runs."""
        super().startService()
        # Here, not before: twistd has become the user that it was asked to be.
        try:
            self.tally = Tally()
        except OSError as error:
            failure = CannotStart(f"no folder can be made for the counts: {error.strerror}")
            failure.print_problem()
            raise failure from None
        with counted_at(self.tally.folder, PARENT):
            self._daemon_metrics = DaemonMetrics(CollectorRegistry(), time.time())
        if self.stream is not None:
            self.stream.share(self._lock)
        if isinstance(self.stream, SharedFile) and self._writer is not None:
            self.stream.begun = self._begun
            # In the thread that writes: a disk may hang.
            self._looking = LoopingCall(self._writer.do, partial(self._look, self.stream))
            self._looking.clock = self._reactor
            self._looking.start(LOOK_SECONDS)
        self.limits.start()
        self._log_warnings(self._config)
        self._reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        for worker in self._workers:
            worker.start()

    @property
    def _lock(self) -> str:
        """The file whose lock a process holds that writes to the log."""
        return os.path.join(self.tally.folder, "log.lock")

    def _look(self, file: SharedFile) -> None:
        try:
            file.look()
        except OSError as error:
            self.log.error("The log file cannot be begun anew: {why}", why=error.strerror)

    def _begun(self, descriptor: int) -> None:
        """Pass the descriptor of a new log file on; called in the thread that writes the log."""
        self._reactor.callFromThread(self._hand_over_log, os.dup(descriptor))

    def _hand_over_log(self, descriptor: int) -> None:
        for worker in self._workers:
            worker.send("log", descriptor)
        os.close(descriptor)

    # Connections.

    def _hand(self, endpoint: str, connection: socket.socket) -> bool:
        """Give a connection to the worker whose turn it is, or to the next that can take it."""
        server = self._config.server
        if endpoint not in server.listen and endpoint not in server.metrics_listen:
            # A reload that is under way has added it: the workers still have the old configuration.
            return False
        count = len(self._workers)
        for step in range(count):
            turn = (self._turn + step) % count
            if self._workers[turn].hand(endpoint, connection.fileno()):
                self._turn = (turn + 1) % count
                return True
        return False

    # For the handles of the workers.

    def beginning(self, number: int) -> Beginning:
        """Return the first message to a worker."""
        return Beginning(
            number=number,
            folder=self.tally.folder,
            lock=self._lock,
            source=self._source,
            logger=self._logger,
            reactor=self._reactor_name,
        )

    def began(self) -> None:
        """Note that there are other processes than before."""
        try:
            self.tally.living([os.getpid(), *(worker.pid for worker in self._living())])
        except OSError as error:
            # Only the metrics of processes are wrong then, for a while.
            self.log.error("The tally cannot be written: {why}", why=error.strerror)

    def serves(self) -> None:
        """Note that one more worker serves."""
        for each in self:
            if isinstance(each, Accepting):
                each.go_on()
        self._captures.began()
        if self._served or not all(worker.takes for worker in self._workers):
            return
        self._served = True
        self._log_serving(f" with {len(self._workers)} workers")

    def answered(self, worker: WorkerHandle, problem: str) -> None:
        """Note that a worker has prepared for a configuration, or refuses it."""
        if self._handover is not None:
            self._handover.answered(worker, problem)
        if worker.late:
            # The others did not wait for it, and serve by that configuration already.
            if problem:
                worker.late = False
                self.log.error(
                    "Worker {number} cannot go along with the others and begins anew: {problem}",
                    number=worker.number,
                    problem=problem,
                )
                worker.send("drain")
            else:
                worker.caught_up()
                self.serves()

    def ended(self, worker: WorkerHandle, how: str, problem: str) -> None:
        """Note that a worker's process has ended."""
        self.began()
        self._captures.gone(worker)
        self.limits.gone(worker.holder)
        if self._handover is not None:
            self._handover.gone(worker)
        if self._emptied is not None:
            if not self._living() and not self._emptied.called:
                self._emptied.callback(None)
        elif not self._served:
            self._give_up(problem or f"worker {worker.number} {how}")
        else:
            emit = self.log.info if how == ENDED and not problem else self.log.error
            emit(
                "Worker {number} {how}; another begins in {seconds:g} s",
                number=worker.number,
                how=f"could not start: {problem}" if problem else how,
                seconds=worker.restart(),
            )
            if self._daemon_metrics is not None:
                self._daemon_metrics.restarted()

    def _give_up(self, problem: str) -> None:
        """End the start: what stops one worker stops all."""
        if self._given_up:
            return
        self._given_up = True
        self.log.critical("{problem}", problem=problem)
        print(f"lmbroker: {problem}", file=sys.__stderr__)
        # twistd has no exit code for what fails once the reactor runs. Registered last, this is
        # called first.
        atexit.register(os._exit, 1)
        self._reactor.stop()

    def captured(self, worker: WorkerHandle, message: Message, file: int | None) -> None:
        """Note that a worker has kept a call, or has ended a capture."""
        self._captures.received(worker, message, file)

    def _serving(self) -> list[WorkerHandle]:
        return [worker for worker in self._workers if worker.takes]

    def _living(self) -> list[WorkerHandle]:
        return [worker for worker in self._workers if worker.pid]

    # Reloading.

    async def _reload(self) -> None:
        try:
            config, source = await away(self._reactor, self._read)
            changed = await away(self._reactor, changes, self._config, config)
            if not self.running:
                return
            added = self._listeners.more(config)
        except (ConfigError, CannotListen) as error:
            self._report_no_reload(problem_of(error))
            return
        prepared: Deferred[str] = Deferred()
        try:
            handover = Handover(source, self._living(), self._reactor, prepared.callback)
        except OSError as error:
            self._listeners.drop(added)
            self._report_no_reload(_not_sent(error))
            return
        self._handover = handover
        problem = await prepared
        self._handover = None
        if not problem:
            try:
                handover.commit(self._living())
            except OSError as error:
                problem = _not_sent(error)
        if problem:
            handover.abort()
            self._listeners.drop(added)
            self._report_no_reload(problem)
        else:
            self._take(config, source, added, changed)

    def _take(
        self, config: Config, source: Source, added: dict[Endpoint, IService], changed: str
    ) -> None:
        self._listeners.keep(config, added)
        self._config, self._source = config, source
        self.limits.take(config)
        if self._observer is not None:
            self._observer.level = config.log_level
        self._report_reload(config, changed)

    # Stopping.

    def stopService(self) -> "Deferred[None]":
        """Drain all workers; the Deferred fires when they have ended."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._on_signal(number, self._hurry)
        self._manager.stopping()
        self._emptied = Deferred()
        self._captures.end("the broker stops")
        await self._delay(self._config.server.drain_delay)
        await super().stopService()
        for worker in self._workers:
            worker.stop()
        if self._living():
            self._kill_in(self._config.server.drain_timeout + LATE_SECONDS)
            await self._emptied
        await self.limits.stop()
        if self._looking is not None and self._looking.running:
            self._looking.stop()
        self._manager.stopped()
        self.tally.remove()

    async def _delay(self, seconds: float) -> None:
        """Let the workers serve on for a while although they say that they are not ready."""
        if not seconds:
            return
        self.log.info(
            "Not ready any more; connections are accepted for {seconds} s more", seconds=seconds
        )
        for worker in self._workers:
            worker.send("unready")
        self._delayed = Deferred()
        timer = self._reactor.callLater(seconds, self._delayed.callback, None)
        try:
            await self._delayed
        except CancelledError:
            timer.cancel()  # somebody is in a hurry

    def _hurry(self) -> None:
        if self._delayed is not None:
            self._delayed.cancel()
        for worker in self._workers:
            worker.send("hurry")
        self._kill_in(HURRIED_SECONDS)

    def _kill_in(self, seconds: float) -> None:
        self._reactor.callLater(seconds, self._kill)

    def _kill(self) -> None:
        for worker in self._living():
            self.log.error("Worker {number} did not end in time", number=worker.number)
            worker.kill()


def _not_sent(error: OSError) -> str:
    return f"nothing can be sent to the workers: {error.strerror}"
