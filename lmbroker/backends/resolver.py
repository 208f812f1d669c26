"""Resolves the names of backends: lookups are shared, cached for seconds, and have a time limit.

``Names`` looks up each name once at a time for all who want it, and stops waiting in time.
``ThreadedResolver`` does the lookups: the system's resolver (``getaddrinfo``) blocks a thread for
as long as it likes, and cannot be stopped. Each name has at most one thread, so a slow name delays
no other one, and there are no more threads than names in the configuration.
"""

import errno
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.error import ConnectBindError, DNSLookupError, TimeoutError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from lmbroker.backends.interfaces import IReactor

FOUND_SECONDS = 10.0
"""How long the addresses of a name are cached. Records of Kubernetes and of most clouds live for 5
to 60 s."""

NOT_FOUND_SECONDS = 1.0
"""How long it is cached that a name is unknown."""

RACE_SECONDS = 0.05
"""The time without a connection after which the next address of a name is tried as well."""

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""The errors of a system that has no descriptors or buffers left: the peer is not at fault."""

Address = IPv4Address | IPv6Address
_ADDRESSES = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}


class Names:
    """The addresses of names, from the resolver of ``reactor``."""

    def __init__(self, reactor: IReactor) -> None:
        self._reactor = reactor
        self._known: dict[str, tuple[list[Address], float]] = {}
        """Name -> its addresses, none where it is unknown, and until when they are cached."""
        self._waiting: dict[str, list[Deferred[list[Address]]]] = {}
        """Name that is being looked up -> the Deferreds that wait for it."""

    def addresses(self, name: str, seconds: float) -> "Deferred[list[Address]]":
        """Look up a name; fires with its addresses, at least one.

        Fails with DNSLookupError where it has none, with TimeoutError after ``seconds``, or with
        ConnectBindError where no descriptors are left for the lookup.
        """
        known, until = self._known.get(name, ((), 0.0))
        if until > self._reactor.seconds():
            return succeed(list(known)) if known else fail(DNSLookupError(name))
        waiting = self._waiting.get(name)
        new = waiting is None
        if waiting is None:
            waiting = self._waiting[name] = []
        wanted: Deferred[list[Address]] = Deferred(waiting.remove)
        waiting.append(wanted)
        timer = self._reactor.callLater(seconds, self._too_late, waiting, wanted)

        def over(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        wanted.addBoth(over)
        if new:
            self._look_up(name)
        return wanted

    def forget(self, name: str) -> None:
        """Drop the addresses of a name from the cache, since none of them could be reached."""
        self._known.pop(name, None)

    def _look_up(self, name: str) -> None:
        found: list[Address] = []
        self._reactor.nameResolver.resolveHostName(
            _Receiver(found, lambda: self._found(name, found)), name
        )

    def _found(self, name: str, found: list[Address]) -> None:
        waiting = self._waiting.pop(name)
        shortage = None if found else _shortage()
        if shortage is None:
            holds = FOUND_SECONDS if found else NOT_FOUND_SECONDS
            self._known[name] = found, self._reactor.seconds() + holds
        while waiting:
            wanted = waiting.pop(0)
            if found:
                wanted.callback(list(found))
            else:
                wanted.errback(shortage or DNSLookupError(name))

    def _too_late(
        self, waiting: "list[Deferred[list[Address]]]", wanted: "Deferred[list[Address]]"
    ) -> None:
        waiting.remove(wanted)
        wanted.errback(TimeoutError())


def _shortage() -> ConnectBindError | None:
    """Return the error where no descriptors are left, None otherwise.

    Resolvers report an unknown name in that case.
    """
    try:
        socket.socket().close()
    except OSError as error:
        return ConnectBindError(error.errno, error.strerror)
    return None


@implementer(IStreamClientEndpoint)
class NamedEndpoint:
    """Connects to the first address of a name that accepts, within ``seconds`` in all."""

    __slots__ = ("_name", "_names", "_port", "_reactor", "_seconds")

    def __init__(
        self, reactor: IReactor, names: Names, name: str, port: int, seconds: float
    ) -> None:
        self._reactor = reactor
        self._names = names
        self._name = name
        self._port = port
        self._seconds = seconds

    def connect(self, factory: Any) -> "Deferred[Any]":
        """Look up the name and connect; fires with the protocol of ``factory``."""
        until = self._reactor.seconds() + self._seconds

        def known(addresses: list[Address]) -> Deferred[Any]:
            left = max(until - self._reactor.seconds(), 0.001)
            made: Deferred[Any] = self._to(addresses, left).connect(factory)
            return made.addErrback(useless)

        def useless(reason: Any) -> Any:
            self._names.forget(self._name)
            return reason

        return self._names.addresses(self._name, self._seconds).addCallback(known)

    def _to(self, addresses: list[Address], seconds: float) -> Any:
        if len(addresses) > 1:
            known = _Known(self._reactor, addresses)
            return HostnameEndpoint(
                known, self._name, self._port, seconds, attemptDelay=RACE_SECONDS
            )
        [address] = addresses
        six = isinstance(address, IPv6Address)
        kind = TCP6ClientEndpoint if six else TCP4ClientEndpoint
        return kind(self._reactor, address.host, self._port, seconds)


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects addresses in ``found``."""

    def __init__(self, found: list[Address], complete: Callable[[], None]) -> None:
        self._found = found
        self.resolutionComplete = complete

    def resolutionBegan(self, resolution: Any) -> None: ...

    def addressResolved(self, address: Any) -> None:
        self._found.append(address)


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class _Known:
    """A reactor that resolves every name to given addresses.

    Twisted's endpoint races the addresses of names only, so it is given a name.
    """

    def __init__(self, reactor: IReactor, addresses: list[Address]) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def resolveHostName(
        self,
        receiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[Any] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        resolution = _Resolution(hostName)
        receiver.resolutionBegan(resolution)
        for address in self._addresses:
            receiver.addressResolved(type(address)("TCP", address.host, portNumber))
        receiver.resolutionComplete()
        return resolution


@implementer(IHostnameResolver)
class ThreadedResolver:
    """Looks up names in daemon threads, for which the end of the process does not wait.

    It would wait for the threads of the reactor's pool. ``Names`` bounds their number.
    """

    def __init__(self, reactor: IReactor, look_up: Any = socket.getaddrinfo) -> None:
        self._reactor = reactor
        self._look_up = look_up

    def resolveHostName(
        self,
        receiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[Any] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Look up a name; ``receiver`` gets its addresses (``IHostnameResolver``)."""
        resolution = _Resolution(hostName)
        receiver.resolutionBegan(resolution)

        def look_up() -> None:
            try:
                found = self._look_up(hostName, portNumber, 0, socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                found = []
            self._reactor.callFromThread(report, found)

        def report(found: list[Any]) -> None:
            for family, _, _, _, address in found:
                kind = _ADDRESSES.get(family)
                if kind is not None and (addressTypes is None or kind in addressTypes):
                    receiver.addressResolved(kind(transportSemantics, *address))
            receiver.resolutionComplete()

        try:
            threading.Thread(target=look_up, name=f"look up {hostName}", daemon=True).start()
        except RuntimeError:
            # There are no more threads.
            self._reactor.callLater(0, report, [])
        return resolution


@implementer(IHostResolution)
class _Resolution:
    """A lookup that cannot be stopped."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None: ...
