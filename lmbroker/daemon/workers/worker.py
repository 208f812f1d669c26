"""A worker: the broker, with its connections brought along the line.

It does what it is asked to there. When the line ends, so did the parent: the worker drains and ends
as well.
"""

import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import serverFromString
from twisted.logger import ILogObserver, Logger

from lmbroker.backends.interfaces import IReactor
from lmbroker.config.config import Config
from lmbroker.config.endpoints import parse_endpoint
from lmbroker.config.file import Source
from lmbroker.daemon.listening import problem_of
from lmbroker.daemon.reloads import away
from lmbroker.daemon.service import BrokerService, Surroundings
from lmbroker.daemon.workers import tally
from lmbroker.daemon.workers.beginning import Beginning, read
from lmbroker.daemon.workers.captures import CapturesOfWorker
from lmbroker.daemon.workers.limits_line import LineStore
from lmbroker.daemon.workers.log import Lines
from lmbroker.observers.json_log import JSONLog
from lmbroker.observers.log_writer import LogWriter
from lmbroker.offload.channel import Line, Message
from lmbroker.server.descriptors import Shortage, is_shortage, refuse
from lmbroker.tls.factory import is_secured, secured


class Worker:
    """The broker of a worker, and its line to the parent."""

    log = Logger()

    def __init__(
        self,
        beginning: Beginning,
        config: Config,
        end: socket.socket,
        lines: Lines | None,
        writer: LogWriter | None,
        observer: ILogObserver,
        reactor: IReactor,
    ) -> None:
        self._reactor = reactor
        self._lines = lines
        self._writer = writer
        self._folder = beginning.folder
        self._factories: dict[str, Any] = {}
        self._next: tuple[Any, Any] | None = None
        self._steps = DeferredLock()
        self._leaving = False
        self._ending = False
        self._orphaned = False
        self._line = Line(end, reactor, self._received, self._gone)
        self._limits = LineStore(self._line)
        tally.count_at(beginning.folder, beginning.number)
        self._source = beginning.source
        self._config = config
        self._observer = observer if isinstance(observer, JSONLog) else None
        self._broker: BrokerService | None = None
        self._captures: CapturesOfWorker | None = None

    def run(self) -> None:
        """Run the reactor until the worker has drained."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._leave))
        self._reactor.callWhenRunning(self._begin)
        self._reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
        if self._writer is not None:
            self._writer.settle()
        if self._orphaned:
            # The parent, which would have deleted the folder, is gone.
            tally.remove(self._folder)

    def _begin(self) -> None:
        try:
            broker = BrokerService(
                self._config,
                self._reactor,
                self._observer,
                self._source.config,
                Surroundings(
                    self._listen, tally.merged(self._folder), led=True, limits=self._limits
                ),
            )
            broker.privilegedStartService()
            broker.startService()
        except (Exception, SystemExit) as error:
            self._line.send("failed", problem_of(error))
            self._end()
            return
        self._broker = broker
        self._captures = CapturesOfWorker(broker.captures, self._line)
        self._reactor.addSystemEventTrigger("before", "shutdown", broker.stopService)
        self._line.send("serving")

    def _listen(
        self, endpoint: str, factory: Any, reactor: IReactor, shortage: Shortage
    ) -> service.IService:
        """Return an endpoint at which the parent listens for us."""
        return _EndpointService(self._factories, endpoint, _wrapped(endpoint, factory))

    # The line.

    def _received(self, message: Message, file: int | None) -> None:
        act: Callable[[Message, int], None] = getattr(self, f"_on_{message.kind}")
        try:
            act(message, -1 if file is None else file)
        except Exception:
            # The line must go on: its end would mean that the parent is dead.
            self.log.failure("A message of the parent was not understood")

    def _on_serve(self, message: Message, file: int) -> None:
        factory = self._factories.get(message.text)
        if file < 0:
            # The system had no descriptor for it in this process, and has closed it.
            self._short()
            return
        connection = socket.socket(fileno=file)
        connection.setblocking(False)
        with connection:
            if factory is None:
                return
            try:
                self._reactor.adoptStreamConnection(file, connection.family, factory)
            except OSError as error:
                # Any other error means that the client has closed the connection.
                if is_shortage(error):
                    self._short()
                    refuse(connection, secure=is_secured(factory))

    def _short(self) -> None:
        if self._broker is not None:
            self._broker.shortage.report()

    # The steps that messages begin may take long, so they run one after the other.

    def _on_prepare(self, message: Message, file: int) -> None:
        self._steps.run(lambda: Deferred.fromCoroutine(self._prepare(file)))

    async def _prepare(self, file: int) -> None:
        try:
            config = await away(self._reactor, read(file, Source).config)
            broker = self._broker
            self._next = (config, broker.listen_more(config)) if broker is not None else None
        except Exception as error:
            self._line.send("refused", problem_of(error))
        else:
            self._line.send("prepared")

    def _on_commit(self, message: Message, file: int) -> None:
        self._steps.run(self._commit)

    def _commit(self) -> None:
        taken, self._next = self._next, None
        if taken is not None and self._broker is not None:
            self._broker.take(*taken)

    def _on_abort(self, message: Message, file: int) -> None:
        self._steps.run(self._abort)

    def _abort(self) -> None:
        taken, self._next = self._next, None
        if taken is not None and self._broker is not None:
            self._broker.leave(taken[1])

    def _on_log(self, message: Message, file: int) -> None:
        # Where the system had no descriptor for the new file, the old one goes on.
        if self._lines is not None and self._writer is not None and file >= 0:
            self._writer.do(partial(self._lines.move, file))

    def _on_capture(self, message: Message, file: int) -> None:
        if self._captures is not None and file >= 0:
            self._captures.capture(file)

    def _on_uncapture(self, message: Message, file: int) -> None:
        if self._captures is not None and file >= 0:
            self._captures.uncapture(file)

    def _on_decided(self, message: Message, file: int) -> None:
        self._limits.received(message, file)

    def _on_drain(self, message: Message, file: int) -> None:
        self._end()

    def _on_unready(self, message: Message, file: int) -> None:
        if self._broker is not None:
            self._broker.not_ready()

    def _on_hurry(self, message: Message, file: int) -> None:
        if self._broker is not None:
            self._broker.hurry()

    def _gone(self) -> None:
        self._limits.gone()
        self._orphaned = True
        self._end()

    def _leave(self) -> None:
        """Ask the parent to let this process end, once it has sent what is on its way."""
        if not self._leaving:
            self._leaving = True
            self._line.send("leaving")

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._reactor.stop()


class _EndpointService(service.Service):
    """While it runs, connections that came to ``endpoint`` are ``factory``'s."""

    def __init__(self, factories: dict[str, Any], endpoint: str, factory: Any) -> None:
        self._factories = factories
        self._endpoint = endpoint
        self._factory = factory

    def privilegedStartService(self) -> None:
        """Take the connections of the endpoint."""
        super().privilegedStartService()
        self._factories[self._endpoint] = self._factory

    def startService(self) -> None:
        """Take the connections of the endpoint unless that was done before."""
        super().startService()
        if self._endpoint not in self._factories:
            self.privilegedStartService()

    def stopService(self) -> None:
        """Take no more connections of the endpoint."""
        super().stopService()
        # The endpoint may be another's by now.
        if self._factories.get(self._endpoint) is self._factory:
            del self._factories[self._endpoint]


class _Wrapping:
    """A reactor that listens nowhere, and returns the factory that would have listened."""

    def listenTCP(self, port: int, factory: Any, *_: Any, **__: Any) -> Any:
        return factory

    def listenUNIX(self, address: str, factory: Any, *_: Any, **__: Any) -> Any:
        return factory

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **_: Any) -> Any:
        return secured(factory, contextFactory)


def _wrapped(endpoint: str, factory: Any) -> Any:
    """Return ``factory`` as ``endpoint`` would have it: with TLS, or in the wrapper of a plugin."""
    if parse_endpoint(endpoint)[0].get("kind") in ("tcp", "tcp6", "unix", "systemd"):
        return factory
    found: list[Any] = []
    listening = serverFromString(_Wrapping(), endpoint)
    listening.listen(factory).addCallback(found.append)
    return found[0]
