"""Which headers cross the broker, in both directions (translation.md section 6).

Everything goes by allow-list: a header that is not named here stops at the broker. Names are
lower case throughout. Credentials are not made here; ``backends`` adds them last.
"""

from collections.abc import Iterable, Mapping

from lmbroker import __version__
from lmbroker.call import Call, Dialect
from lmbroker.errors import ErrorInfo

USER_AGENT = f"LMBroker/{__version__}"
ANTHROPIC_VERSION = "2023-06-01"

_HELD_BACK = frozenset({"anthropic-workspace-id", "anthropic-user-profile-id"})
_OPENAI_NATIVE = ("openai-beta", "x-client-request-id", "idempotency-key")
_RETRY = ("retry-after", "retry-after-ms", "x-should-retry")

REQUEST_ID: Mapping[Dialect, str] = {"openai": "x-request-id", "anthropic": "request-id"}
"""Under which name a client of each dialect looks for the request id."""

Pairs = tuple[tuple[str, str], ...]


def to_backend(call: Call, dialect: Dialect, *, native: bool, stream: bool) -> Pairs:
    """The request headers for a backend of ``dialect``, without its credential.

    ``native`` is true where client and backend speak the same dialect: only then do vendor
    headers of the client mean anything to the backend.
    """
    out = [
        ("content-type", "application/json"),
        ("accept", "text/event-stream" if stream else "application/json"),
        ("user-agent", USER_AGENT),
    ]
    if native and dialect == "anthropic":
        out.append(("anthropic-version", call.headers.get("anthropic-version", ANTHROPIC_VERSION)))
        out += (
            (name, value)
            for name, value in call.headers.items()
            if name.startswith("anthropic-")
            and name != "anthropic-version"
            and name not in _HELD_BACK
        )
        if "idempotency-key" in call.headers:
            out.append(("idempotency-key", call.headers["idempotency-key"]))
    elif native:
        out += ((name, call.headers[name]) for name in _OPENAI_NATIVE if name in call.headers)
    elif dialect == "anthropic":
        out.append(("anthropic-version", ANTHROPIC_VERSION))
    return tuple(out)


def from_backend(headers: Mapping[str, str]) -> Pairs:
    """The response headers of a backend that every client may see."""
    return tuple((name, headers[name]) for name in _RETRY if name in headers)


def backend_request_id(headers: Mapping[str, str]) -> str | None:
    """The backend's own id of the request, whatever its dialect calls it."""
    return headers.get("request-id") or headers.get("x-request-id")


def identity(
    dialect: Dialect,
    request_id: str,
    *,
    backend_id: str | None = None,
    backend: str = "",
    model: str = "",
    dropped: str = "",
    attempts: int = 1,
) -> Pairs:
    """The headers that say who answered: the request id and the ``x-lmbroker-*`` ones."""
    out: Iterable[tuple[str, str]] = (
        (REQUEST_ID[dialect], backend_id or request_id),
        ("x-lmbroker-request-id", request_id),
        ("x-lmbroker-backend", backend),
        ("x-lmbroker-model", _header_text(model)),
        ("x-lmbroker-dropped", dropped),
        ("x-lmbroker-attempts", str(attempts) if attempts > 1 else ""),
    )
    return tuple((name, value) for name, value in out if value)


def _header_text(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def from_error(info: ErrorInfo) -> Pairs:
    """The headers of an error answer: when, and whether, to try again."""
    pairs = (
        ("retry-after", info.retry_after),
        ("retry-after-ms", info.retry_after_ms),
        ("x-should-retry", info.should_retry),
    )
    return tuple((name, value) for name, value in pairs if value)
