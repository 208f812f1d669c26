"""The practice backend that runs where a configuration names it: the URL ``practice:``."""

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import succeed

from lmbroker.call import Backend
from lmbroker.config.config import Config
from lmbroker.config.endpoints import PRACTICE
from lmbroker.routing.aliases import Route
from lmbroker.testing import PracticeBackend

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class Practice:
    """Starts the practice backend once a configuration names it.

    ``reactor`` listens; ``pace`` is the pause between two streamed events, in seconds.
    """

    def __init__(self, reactor: Any, pace: float = 0.0) -> None:
        self._reactor = reactor
        self._pace = pace
        self._running: PracticeBackend | None = None

    def of(self, config: Config) -> Config:
        """Return ``config`` with the practice backend's address where it is named."""
        named = any(
            target.backend.url == PRACTICE
            for route in config.aliases.values()
            for target in route.targets
        )
        if not named:
            return config
        if self._running is None:
            self._running = PracticeBackend(self._reactor, pace=self._pace)
            self._running.start()
        return with_practice(config, self._running.url)

    def stop(self) -> "Deferred[None]":
        """Stop it; fires when nothing of it is left in the reactor."""
        running, self._running = self._running, None
        return succeed(None) if running is None else running.stop()


def with_practice(config: Config, url: str) -> Config:
    """Return ``config`` with the practice backend's real address in the place of ``practice:``."""

    def real(backend: Backend) -> Backend:
        return msgspec.structs.replace(backend, url=url) if backend.url == PRACTICE else backend

    def routed(route: Route) -> Route:
        targets = [
            msgspec.structs.replace(target, backend=real(target.backend))
            for target in route.targets
        ]
        keys = {name: tuple(map(real, keyed)) for name, keyed in route.keys.items()}
        return msgspec.structs.replace(route, targets=tuple(targets), keys=keys)

    return msgspec.structs.replace(
        config, aliases={name: routed(alias) for name, alias in config.aliases.items()}
    )
