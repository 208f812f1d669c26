"""The errors of the broker, as a tree.

    BrokerError              carries one ErrorInfo: what the client gets to know
     ├─ Refused              we said no: the call is wrong, unknown, not allowed, cannot be carried
     └─ AttemptFailed        one attempt at one backend failed, no event went to the client yet
         ├─ Unreachable      no connection: refused, DNS, TLS, connect timeout; nothing was sent
         ├─ OutOfResources   the system gives us no connection: our own shortage, no backend's fault
         ├─ Broken           the connection died or the answer was unusable
         ├─ TimedOut         one of our timers fired
         └─ BackendRefused   the backend answered with an error of its own

After the first event to the client nothing is raised any more: what breaks then becomes an
in-band error inside the stream (``Transform.fail``).
"""

from typing import Any, Literal

import msgspec

Kind = Literal[
    "invalid_request",
    "auth",
    "billing",
    "permission",
    "not_found",
    "conflict",
    "too_large",
    "context_length",
    "unsupported",
    "rate_limit",
    "timeout",
    "overloaded",
    "server",
    "bad_upstream",
    "unreachable",
    "truncated",
    "cancelled",
]


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One error, dialect-free (translation.md section 1; kinds and wire forms: section 5.2).

    ``message`` is what the client reads: the backend's own words, or ours. ``status`` is the
    HTTP status that the backend gave, 0 where there was none; the status that the client gets
    follows from ``kind`` and the client's dialect. ``code`` is a short machine-readable word.
    ``retry_after`` and ``retry_after_ms`` are header values, relayed as they came. ``quoted``: the
    words, ``code`` among them, are a backend's own.
    """

    kind: Kind
    message: str
    status: int = 0
    param: str | None = None
    code: str | None = None
    retry_after: str | None = None
    retry_after_ms: str | None = None
    should_retry: str | None = None
    backend_request_id: str | None = None
    details: dict[str, Any] | None = None
    raw: Any = None
    quoted: bool = False

    @property
    def label(self) -> str:
        """One word of ours for logs and metrics.

        The code, or the kind where the code is a backend's: that may be any text, and as many of
        them as it likes.
        """
        return self.kind if self.quoted else self.code or self.kind


class BrokerError(Exception):
    """The root: an error that has an answer for the client."""

    def __init__(self, info: ErrorInfo) -> None:
        word = info.label if info.label != info.kind else info.status or ""
        super().__init__(f"{info.kind}: {word}".rstrip(": "))
        self.info = info


class Refused(BrokerError):
    """The broker said no, before any backend was called."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: str | None = None,
        should_retry: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            ErrorInfo(
                kind=kind,
                message=message,
                param=param,
                code=code,
                retry_after=retry_after,
                should_retry=should_retry,
                details=details,
            )
        )


class AttemptFailed(BrokerError):
    """One attempt failed; ``phase`` says where (resolving, connecting, sending, waiting, ...).

    ``clients_key``: it was made with the client's own key.
    """

    clients_key = False

    def __init__(self, info: ErrorInfo, *, phase: str = "", sent: bool = True) -> None:
        super().__init__(info)
        self.phase = phase
        self.sent = sent


class Unreachable(AttemptFailed):
    """No connection to the backend: nothing was sent, so trying elsewhere costs nothing."""

    def __init__(self, info: ErrorInfo, *, phase: str = "connecting") -> None:
        super().__init__(info, phase=phase, sent=False)


class OutOfResources(AttemptFailed):
    """The system gives this process no more descriptors or buffers: nothing was sent."""

    def __init__(self) -> None:
        info = ErrorInfo(
            kind="overloaded",
            message="the broker is out of descriptors for connections to backends",
            code="out_of_resources",
            retry_after="1",
        )
        super().__init__(info, phase="connecting", sent=False)


class Broken(AttemptFailed):
    """The backend's answer was cut, malformed, or not what a backend may answer."""


class TimedOut(AttemptFailed):
    """The backend took longer than one of our timers allows."""


class BackendRefused(AttemptFailed):
    """The backend answered with an HTTP error, or with an error as its first stream event."""

    def __init__(
        self,
        info: ErrorInfo,
        *,
        phase: str = "",
        native: tuple[int, bytes] | None = None,
    ) -> None:
        """Keep ``native`` where the client may see the backend's own words: (status, JSON body)."""
        super().__init__(info, phase=phase)
        self.native = native
        self.headers: tuple[tuple[str, str], ...] = ()
