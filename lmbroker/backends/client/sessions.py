"""TLS sessions of backends: another connection resumes one, and neither end signs or checks a
certificate for it (0.3 ms of ours, and over TLS 1.2 a round trip)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.protocols.tls import TLSMemoryBIOProtocol

if TYPE_CHECKING:
    from lmbroker.backends.client.pool import Key

SECONDS = 3600.0
"""So long after its certificate was looked at a backend is trusted without another look."""

ORIGINS = 256
"""Most keys of which sessions are kept; the one that was used longest ago goes first."""

EACH = 8
"""Most sessions of a key: so many new connections at once resume one each."""


class Sessions:
    """Sessions by what connections lead to, whom they trust and what they show there: with another
    of these a session is never offered. Each is offered once, as RFC 8446 (C.4) wants it, so one
    that fails does so once. The connection gets its successor once it has carried an answer: under
    TLS 1.3 the server's tickets come after the handshake."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: dict[Key, list[tuple[Any, float]]] = {}

    def offer(self, key: "Key", transport: Any) -> float:
        """Have a connection that is about to begin its handshake resume a session; returns when the
        certificate was looked at."""
        now = self._seconds()
        if not isinstance(transport, TLSMemoryBIOProtocol):
            return now
        kept = self._kept.get(key)
        while kept:
            session, looked_at = kept.pop()
            if now - looked_at <= SECONDS:
                try:
                    transport.getHandle().set_session(session)
                except ValueError:
                    # Of a context that is no more.
                    continue
                return looked_at
        return now

    def keep(self, key: "Key", transport: Any, looked_at: float) -> None:
        """Keep the session of a connection that has carried an answer."""
        if not isinstance(transport, TLSMemoryBIOProtocol):
            return
        session = transport.getHandle().get_session()
        if session is None:
            return
        kept = self._kept.pop(key, [])
        if len(self._kept) >= ORIGINS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = kept
        kept.append((session, looked_at))
        del kept[:-EACH]
