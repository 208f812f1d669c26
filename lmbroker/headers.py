"""Which headers cross the broker, in both directions (translation.md section 6).

Everything goes by allow-list: a header that is not named here stops at the broker. Names are
lower case throughout. Credentials are not made here; ``backends`` adds them last.
"""

from collections.abc import Mapping

import msgspec

from lmbroker import __version__
from lmbroker.call import Backend, Call, Dialect
from lmbroker.errors import ErrorInfo

USER_AGENT = f"LMBroker/{__version__}"
ANTHROPIC_VERSION = "2023-06-01"

LONG_CONTEXT_BETA = "context-1m-2025-08-07"
"""What asks Anthropic for the long context window (vendor documentation)."""
_BETA = "anthropic-beta"

HEADER_TEXT = 4000
"""Longest header value that is made of a client's or a backend's words, in characters."""

_NOT_FORWARDED = frozenset(
    {"anthropic-version", "anthropic-workspace-id", "anthropic-user-profile-id"}
)
"""The version goes on its own; the others are bound to a credential, and ours is another one."""
_OPENAI_NATIVE = ("openai-beta", "x-client-request-id", "idempotency-key")
_OPENAI_NATIVES = frozenset(_OPENAI_NATIVE)
_RETRY = ("retry-after", "retry-after-ms", "x-should-retry")
_RETRIES = frozenset(_RETRY)

REQUEST_ID: Mapping[Dialect, str] = {"openai": "x-request-id", "anthropic": "request-id"}
"""Under which name a client of each dialect looks for the request id."""

Pairs = tuple[tuple[str, str], ...]

_EVERY: Mapping[bool, Pairs] = {
    stream: (
        ("content-type", "application/json"),
        ("accept", "text/event-stream" if stream else "application/json"),
        ("user-agent", USER_AGENT),
    )
    for stream in (False, True)
}
"""What every request with a body says, by whether a stream is asked for."""

_NOTHING: Mapping[str, str] = {}


def to_backend(
    call: Call, dialect: Dialect, *, native: bool, stream: bool, model: str = ""
) -> Pairs:
    """The request headers for a backend of ``dialect``, without its credential; ``model`` is the
    model's name there.

    ``native`` is true where client and backend speak the same dialect: only then do vendor
    headers of the client mean anything to the backend.
    """
    every = _EVERY[stream]
    given = _end_to_end(call.headers) if native else _NOTHING
    if dialect == "anthropic":
        version = ("anthropic-version", given.get("anthropic-version", ANTHROPIC_VERSION))
        vendors = [
            (name, value)
            for name, value in given.items()
            if name == "idempotency-key"
            or (name.startswith("anthropic-") and name not in _NOT_FORWARDED)
        ]
        if call.long_context and "claude" in model.lower():
            betas = ",".join(value for name, value in vendors if name == _BETA)
            if LONG_CONTEXT_BETA not in betas:
                vendors = [pair for pair in vendors if pair[0] != _BETA]
                vendors.append((_BETA, ",".join(filter(None, (betas, LONG_CONTEXT_BETA)))))
        return (*every, version, *vendors)
    if _OPENAI_NATIVES.isdisjoint(given):
        return every
    return (*every, *[(name, given[name]) for name in _OPENAI_NATIVE if name in given])


def _end_to_end(headers: Mapping[str, str]) -> Mapping[str, str]:
    """``headers`` without those that ``connection`` names: they end at this hop."""
    named = headers.get("connection")
    if named is None:
        return headers
    hop = set(map(str.strip, named.lower().split(",")))
    if hop.isdisjoint(headers):
        return headers
    return {name: value for name, value in headers.items() if name not in hop}


def to_list(dialect: Dialect) -> Pairs:
    """The headers that ask a backend of ``dialect`` for its models, without its credential."""
    version = (("anthropic-version", ANTHROPIC_VERSION),) if dialect == "anthropic" else ()
    return (("accept", "application/json"), ("user-agent", USER_AGENT), *version)


_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
"""Hosts where Azure serves models: a key goes in ``api-key`` there, a token of Entra as Bearer."""
_TOKEN = ("eyJ", "sk-ant-oat")
"""What begins a JSON Web Token, and an OAuth token of Anthropic's: both go as Bearer everywhere."""


def credential_headers(backend: Backend) -> Pairs:
    """The headers that carry a backend's credential, () where it has none.

    ``Backend.key_header`` decides where it is set. Else OpenAI's format sends ``Authorization:
    Bearer`` (a key for Azure ``api-key``) and Anthropic's ``x-api-key``. Other vendors' servers of
    Anthropic's format want the one or the other, and get both.
    """
    if backend.credential is None:
        return ()
    key = backend.credential.reveal()
    bearer = ("authorization", f"Bearer {key}")
    if backend.key_header:
        return (bearer,) if backend.key_header == "authorization" else ((backend.key_header, key),)
    if key.startswith(_TOKEN):
        return (bearer,)
    host = backend.host
    if backend.dialect != "anthropic":
        return (("api-key", key),) if host.endswith(_AZURE) else (bearer,)
    if host.endswith(_AZURE):
        return (("api-key", key), ("x-api-key", key))
    if key.startswith("sk-ant-") or host == "api.anthropic.com":
        return (("x-api-key", key),)
    return (("x-api-key", key), bearer)


def for_another_backend(call: Call) -> Call:
    """``call`` without what was meant for the first backend only: an idempotency key proves
    nothing to another one."""
    if "idempotency-key" not in call.headers:
        return call
    kept = {name: value for name, value in call.headers.items() if name != "idempotency-key"}
    return msgspec.structs.replace(call, headers=kept)


def about_bytes(headers: Mapping[str, str]) -> Pairs:
    """The header in which vLLM says what the bytes of its embeddings are."""
    told = headers.get("metadata")
    return () if told is None else (("metadata", told),)


def from_backend(headers: Mapping[str, str]) -> Pairs:
    """The response headers of a backend that every client may see."""
    if _RETRIES.isdisjoint(headers):
        return ()
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
    changed: str = "",
    attempts: int = 1,
) -> Pairs:
    """The headers that say who answered: the request id and the ``x-lmbroker-*`` ones."""
    out = [
        (REQUEST_ID[dialect], backend_id or request_id),
        ("x-lmbroker-request-id", request_id),
    ]
    if backend:
        out.append(("x-lmbroker-backend", _header_text(backend)))
    if model:
        out.append(("x-lmbroker-model", _header_text(model)))
    if dropped:
        out.append(("x-lmbroker-dropped", _header_text(dropped)))
    if changed:
        out.append(("x-lmbroker-changed", _header_text(changed)))
    if attempts > 1:
        out.append(("x-lmbroker-attempts", str(attempts)))
    return tuple(out)


def failed_at(backend: str, model: str, attempts: int) -> Pairs:
    """The headers of an error answer that say where the last attempt was made, and how many there
    were."""
    where = (
        ("x-lmbroker-backend", _header_text(backend)),
        ("x-lmbroker-model", _header_text(model)),
    )
    return (*where, ("x-lmbroker-attempts", str(attempts))) if attempts > 1 else where


def _header_text(text: str) -> str:
    """``text`` with ``?`` for what is no printable ASCII: model names and the names of unknown
    fields are anybody's."""
    text = text[:HEADER_TEXT]
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if " " <= each <= "~" else "?" for each in text)


def from_error(info: ErrorInfo, *, native: bool = False) -> Pairs:
    """The headers of an error answer: when, and whether, to try again; how to prove oneself.

    An account without money is not mended by trying again, but OpenAI's clients retry each 429:
    they are told not to, except where the backend's own words are passed on (``native``), which
    go without additions.
    """
    should_retry = info.should_retry
    if info.kind == "billing" and not native:
        should_retry = should_retry or "false"
    pairs = (
        ("retry-after", info.retry_after),
        ("retry-after-ms", info.retry_after_ms),
        ("x-should-retry", should_retry),
        ("www-authenticate", "Bearer" if info.kind == "auth" else None),
    )
    return tuple((name, value) for name, value in pairs if value)
