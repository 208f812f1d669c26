"""TLS sessions of backends, which other connections resume.

Neither end signs or checks a certificate for a resumed session: that saves 0.3 ms of processor time
here, and a round trip with TLS 1.2.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lmbroker.tls.connection import SecureConnection

if TYPE_CHECKING:
    from lmbroker.backends.client.pool import Key

SECONDS = 3600.0
"""How long after a check of its certificate a backend is trusted without another check."""

ORIGINS = 256
"""The maximum of keys whose sessions are kept; the least recently used one goes first."""

EACH = 8
"""The maximum of sessions of a key: so many new connections at once resume one each."""


class Sessions:
    """TLS sessions by the key of their connections.

    So none is offered to another host, or with other trusted authorities or another client
    certificate. Each session is offered once, as RFC 8446 (C.4) recommends, so one that fails does
    so once. Its successor is kept when the connection has carried an answer: with TLS 1.3 the
    server's tickets come after the handshake.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: dict[Key, list[tuple[Any, float]]] = {}

    def offer(self, key: "Key", transport: Any) -> float:
        """Have a connection that is about to begin its handshake resume a session.

        Returns the time at which the backend's certificate was checked.
        """
        now = self._seconds()
        if not isinstance(transport, SecureConnection):
            return now
        kept = self._kept.get(key)
        while kept:
            session, looked_at = kept.pop()
            if now - looked_at <= SECONDS:
                try:
                    transport.offer(session)
                except ValueError:
                    # The session belongs to a context that was dropped.
                    continue
                return looked_at
        return now

    def keep(self, key: "Key", transport: Any, looked_at: float) -> None:
        """Keep the session of a connection that has carried an answer."""
        if not isinstance(transport, SecureConnection):
            return
        session = transport.session
        if session is None:
            return
        kept = self._kept.pop(key, [])
        if len(self._kept) >= ORIGINS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = kept
        kept.append((session, looked_at))
        del kept[:-EACH]
