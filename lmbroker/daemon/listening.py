"""Listening: the endpoints of a configuration as services, at the start and at each reload."""

import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.application import strports
from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.logger import Logger
from twisted.plugin import getPlugins

from lmbroker.backends.interfaces import IReactor
from lmbroker.config.config import Config
from lmbroker.config.endpoints import ENDPOINTS, parse_endpoint, with_backlog
from lmbroker.server.descriptors import Guard, Shortage
from lmbroker.tls.factory import secured

Endpoint = tuple[str, bool]
"""An endpoint as it is written, and whether it is one for metrics."""

Listener = Callable[[str, bool], IService]
"""Makes the service that listens on an endpoint; may raise anything."""


def endpoint_problems(config: Config) -> tuple[str, ...]:
    """Return the mistakes in endpoints of Twisted's plugins in ``config``, one line each.

    Twisted's own parser finds them; nothing listens yet.
    """
    found = []
    for key in ("listen", "metrics_listen"):
        for number, endpoint in enumerate(getattr(config.server, key)):
            if parse_endpoint(endpoint)[0].get("kind") in ENDPOINTS:
                continue
            try:
                # Endpoints keep the reactor and do not use it before they listen.
                serverFromString(object(), endpoint)
            except ValueError as error:
                plugins = {each.prefix for each in getPlugins(IStreamServerEndpointStringParser)}
                kinds = ", ".join((*ENDPOINTS, *sorted(plugins - set(ENDPOINTS))))
                reason = f"{error}; expected an endpoint string of one of the kinds {kinds}"
            except Exception as error:
                # Parsers of plugins raise whatever they trip over: TypeError, KeyError, ...
                reason = f"{type(error).__name__}: {error}"
            else:
                continue
            found.append(f"server.{key}[{number}]: found a string ({endpoint!r}): {reason}")
    return tuple(found)


class CannotStart(SystemExit, Exception):
    """The daemon cannot start; the message is one line.

    An Exception, so that twistd removes its pid file and reports to the waiting parent of a daemon;
    a SystemExit, so that Python then exits with 1 and prints no traceback.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.code = 1

    def print_problem(self) -> None:
        """Print the line where people look; twistd has made a log of ``sys.stderr``."""
        print(f"lmbroker: {self}", file=sys.__stderr__)


class CannotListen(CannotStart):
    """An endpoint of the configuration cannot be listened on."""

    def __init__(self, endpoint: str, error: Exception) -> None:
        cause = getattr(error, "socketError", error)
        reason = getattr(cause, "strerror", None) or f"{type(cause).__name__}: {cause}"
        if endpoint.startswith("systemd:"):
            reason = "systemd passed no such socket"
        super().__init__(f"cannot listen on {endpoint}: {reason}")


def check_free(config: Config) -> None:
    """Raise CannotListen where a TCP port of ``config`` is taken, before anything forks.

    Another may take it yet: the start itself has the last word.
    """
    for endpoint, _ in _listened(config):
        found, _ = parse_endpoint(endpoint)
        if found.get("kind") not in ("tcp", "tcp6", "ssl") or found["port"] == "0":
            continue
        host = found.get("interface", "")
        sixth = ":" in host or found["kind"] == "tcp6"
        family = socket.AF_INET6 if sixth else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sixth:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                trial.bind((host, int(found["port"])))
            except OSError as error:
                raise CannotListen(endpoint, error) from None


def listen(endpoint: str, factory: Any, reactor: IReactor, shortage: Shortage) -> IService:
    """Return the service that listens on an endpoint for ``factory``.

    ``shortage`` notes connections for which there are no descriptors.
    """
    guarding: Any = _Guarding(reactor, shortage)
    service: IService = strports.service(with_backlog(endpoint), factory, reactor=guarding)
    return service


class _Guarding:
    """A reactor whose ports are guarded (``descriptors``), and whose TLS is strong."""

    def __init__(self, reactor: IReactor, shortage: Shortage) -> None:
        self._reactor = reactor
        self._shortage = shortage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def _guarded(self, port: Any, *, secure: bool = False) -> Any:
        if hasattr(port, "socket"):
            Guard(port, self._reactor, self._shortage, secure=secure)
        return port

    def listenTCP(self, *how: Any, **more: Any) -> Any:
        return self._guarded(self._reactor.listenTCP(*how, **more))

    def listenUNIX(self, *how: Any, **more: Any) -> Any:
        return self._guarded(self._reactor.listenUNIX(*how, **more))

    def adoptStreamPort(self, *how: Any, **more: Any) -> Any:
        return self._guarded(self._reactor.adoptStreamPort(*how, **more))

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **more: Any) -> Any:
        listening = self._reactor.listenTCP(port, secured(factory, contextFactory), **more)
        return self._guarded(listening, secure=True)


class Listeners:
    """The listeners that ``owner`` runs, made by ``make``: one for each endpoint of ``config``.

    Raises CannotListen where a certificate or a socket of systemd cannot be used.
    """

    log = Logger()

    def __init__(self, owner: MultiService, make: Listener, config: Config) -> None:
        self._owner = owner
        self._make = make
        self._all = {each: self._listener(*each) for each in _listened(config)}

    def begin(self) -> None:
        """Listen, before anything else runs. Raises CannotListen, which was logged by then."""
        for (endpoint, _), listener in self._all.items():
            try:
                listener.privilegedStartService()
            except (CannotListenError, OSError) as error:
                failure = CannotListen(endpoint, error)
                self.log.critical("{problem}", problem=str(failure))
                failure.print_problem()
                raise failure from None

    def more(self, config: Config) -> dict[Endpoint, IService]:
        """Listen on what ``config`` has besides; ``keep`` or ``drop`` comes next.

        Raises CannotListen, and then listens where it did before.
        """
        added: dict[Endpoint, IService] = {}
        try:
            for each in _listened(config):
                if each not in self._all:
                    # The owner runs: adding a listener to it starts it.
                    added[each] = self._listener_now(*each)
        except CannotListen:
            self.drop(added)
            raise
        return added

    def keep(self, config: Config, added: dict[Endpoint, IService]) -> None:
        """Listen where ``config`` says, and nowhere else."""
        for each in set(self._all) - set(_listened(config)):
            self._all.pop(each).disownServiceParent()
        self._all.update(added)

    def drop(self, added: dict[Endpoint, IService]) -> None:
        """Take ``more`` back."""
        for listener in added.values():
            listener.disownServiceParent()

    def _listener(self, endpoint: str, aside: bool) -> IService:
        try:
            listener = self._make(endpoint, aside)
        except Exception as error:
            # Whatever the endpoint's own parser trips over: IndexError, OpenSSL's errors, ...
            raise CannotListen(endpoint, error) from None
        listener.setServiceParent(self._owner)
        return listener

    def _listener_now(self, endpoint: str, aside: bool) -> IService:
        try:
            return self._listener(endpoint, aside)
        except (CannotListenError, OSError) as error:
            raise CannotListen(endpoint, error) from None


def _listened(config: Config) -> list[Endpoint]:
    """Yield every endpoint, and whether it is one for metrics."""
    server = config.server
    return [
        *((endpoint, False) for endpoint in server.listen),
        *((endpoint, True) for endpoint in server.metrics_listen),
    ]


def problem_of(failure: Any) -> str:
    """Return why a configuration was not taken over, from a ConfigError or a CannotListen."""
    return "; ".join(getattr(failure, "problems", ())) or str(failure)
