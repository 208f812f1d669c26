"""One configuration on its way into all workers: they all prepare, then they all take it over."""

import os
from collections.abc import Callable, Iterable

from lmbroker.backends.interfaces import IReactor
from lmbroker.config.file import Source
from lmbroker.daemon.workers.beginning import write
from lmbroker.daemon.workers.worker_handle import WorkerHandle

PREPARE_SECONDS = 10.0
"""Seconds that prepared workers wait for the others."""


class Handover:
    """Asks ``workers`` to prepare for what ``source`` says.

    ``done`` is called later, with the first problem that there was or ""; it answers with
    ``commit`` or ``abort``. Raises OSError where the system has no file for the messages to them;
    then nobody prepares.
    """

    def __init__(
        self,
        source: Source,
        workers: Iterable[WorkerHandle],
        reactor: IReactor,
        done: Callable[[str], None],
    ) -> None:
        self._source = source
        self._asked = set(workers)
        self._waiting = set(self._asked)
        self._reactor = reactor
        self._done = done
        self._problem = ""
        try:
            self._send("prepare", self._asked)
        except OSError:
            self.abort()
            raise
        self._timer = reactor.callLater(PREPARE_SECONDS, self._late)
        self._look()

    def answered(self, worker: WorkerHandle, problem: str) -> None:
        """Note that a worker is prepared, or that it refuses."""
        if worker in self._waiting:
            self._problem = self._problem or problem
            self._waiting.remove(worker)
            self._look()

    def gone(self, worker: WorkerHandle) -> None:
        """Note that a worker has ended.

        The one that replaces it gets the configuration that applies then.
        """
        self._asked.discard(worker)
        self.answered(worker, "")

    def commit(self, workers: Iterable[WorkerHandle]) -> None:
        """Let ``workers`` take it over, also those who came meanwhile.

        Raises OSError, and then nobody has; ``abort`` comes next.
        """
        late = set(workers) - self._asked
        self._asked |= late
        self._send("prepare", late)
        for worker in self._asked:
            worker.send("commit")

    def abort(self) -> None:
        """Let all workers that were asked forget the configuration."""
        for worker in self._asked:
            worker.send("abort")

    def _send(self, kind: str, workers: Iterable[WorkerHandle]) -> None:
        file = write(self._source)
        try:
            for worker in workers:
                worker.send(kind, file)
        finally:
            os.close(file)

    def _late(self) -> None:
        """Go on without the workers that have not answered: a busy one holds up no reload.

        Such a worker gets no connections until it has done what it was asked to.
        """
        if self._waiting == self._asked and not self._problem:
            self._timer = self._reactor.callLater(PREPARE_SECONDS, self._late)
            return
        for worker in self._waiting:
            worker.late, worker.takes = True, False
        self._waiting.clear()
        self._look()

    def _look(self) -> None:
        if self._waiting:
            return
        if self._timer.active():
            self._timer.cancel()
        self._reactor.callLater(0, self._done, self._problem)
