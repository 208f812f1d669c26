"""Checks: backends that want it are asked at intervals whether they live, with ``GET /v1/models``.

``routing.target_health`` decides what an answer means. Here are the timers: one backend has one
check at a time, and none once it has said that it cannot be checked.
"""

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmbroker.backends.sending import BackendAnswer, Sender
from lmbroker.broker.broker import Broker
from lmbroker.call import Target
from lmbroker.errors import AttemptFailed, ErrorInfo, TimedOut
from lmbroker.routing.target_health import NO_CHECKS, check_failure
from lmbroker.workflows import model_list

SECONDS = 5.0
"""The maximum of seconds that a check may take."""

JITTER = 0.1
"""The part by which an interval varies, so that many brokers do not ask at once."""


class Checks:
    """The checks of one configuration after the other.

    ``report`` gets a backend's name and how a check of it ended, ``ok`` or one word; ``chance``
    draws from 0 to 1.
    """

    log = Logger()

    def __init__(
        self,
        broker: Broker,
        backends: Sender,
        report: Callable[[str, str], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._broker = broker
        self._backends = backends
        self._report = report
        self._chance = chance
        self._failing: dict[str, str] = {}
        self._running: list[Deferred[None]] = []

    def start(self) -> None:
        """Check the backends of the broker's configuration, and no others."""
        self.stop()
        checked = {
            target.backend.name: target
            for route in self._broker.config.aliases.values()
            for target in route.targets
            if target.backend.check_interval is not None
        }
        self._failing = {name: why for name, why in self._failing.items() if name in checked}
        for target in checked.values():
            running = Deferred.fromCoroutine(self._run(target))
            running.addErrback(self._stopped)
            self._running.append(running)

    def stop(self) -> None:
        """Check nothing any more; what is under way is given up."""
        running, self._running = self._running, []
        for each in running:
            each.cancel()

    def _stopped(self, failure: Any) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("Checks ended", failure)

    async def _run(self, target: Target) -> None:
        interval = target.backend.check_interval or 0.0
        wait = interval * self._chance()
        while True:
            await deferLater(self._broker.clock, wait)
            if not await self._check(target):
                return
            wait = interval * (1 - JITTER + 2 * JITTER * self._chance())

    async def _check(self, target: Target) -> bool:
        """Make one check; return False where the backend cannot be checked."""
        backend, clock = target.backend, self._broker.clock
        began = clock.seconds()
        asking = Deferred.fromCoroutine(self._ask(target))
        failure: AttemptFailed | None
        try:
            answer = await asking.addTimeout(SECONDS, clock)
        except AttemptFailed as error:
            failure = error
        except TimeoutError:
            info = ErrorInfo(kind="timeout", message="the check took too long", code="timeout")
            failure = TimedOut(info)
        else:
            if answer.status in NO_CHECKS:
                self._report(backend.name, "cannot")
                self.log.warn(
                    "Backend {backend} cannot be checked: it answers {status}",
                    backend=backend.name,
                    status=answer.status,
                )
                return False
            failure = check_failure(answer.status, answer.headers.get("retry-after"))
        self._log_change(backend.name, "" if failure is None else failure.info.label)
        self._broker.checked(backend.name, began, failure)
        return True

    async def _ask(self, target: Target) -> BackendAnswer:
        """Ask for the list and look at its status only.

        The list may be long, or be cut off by a timeout.
        """
        outbound = model_list.request(target.backend.dialect)
        answer = await self._backends.get(target.backend, outbound, target.timeouts)
        answer.abort()
        return answer

    def _log_change(self, backend: str, why: str) -> None:
        self._report(backend, why or "ok")
        before = self._failing.get(backend, "")
        if why:
            self._failing[backend] = why
            if not before:
                self.log.warn(
                    "Backend {backend} fails its checks ({why})", backend=backend, why=why
                )
        elif before:
            del self._failing[backend]
            self.log.info("Backend {backend} answers its checks again", backend=backend)
