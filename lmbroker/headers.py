"""The headers that cross the broker, in both directions (translation.md section 6).

An allow-list decides: a header that is not named here or in a dialect's ``HeaderFacts`` ends at the
broker. All names are in lower case. ``backends.sending`` adds the credential last.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from lmbroker import __version__
from lmbroker.call import Backend, Call
from lmbroker.errors import ErrorInfo
from lmbroker.usage import dollars

USER_AGENT = f"LMBroker/{__version__}"

HEADER_TEXT = 4000
"""The maximum of characters of a header value that is made of a client's or a backend's text."""

Pairs = tuple[tuple[str, str], ...]
"""Headers: (name in lower case, value)."""


ReceivedHeaders = tuple[Mapping[str, str], Container[str]]
"""The first value of each header, by its name in lower case, and the names that came repeatedly."""


class LongContext(msgspec.Struct, frozen=True, kw_only=True):
    """The header value that asks a backend for the long context window of its models."""

    header: str
    """The header, a list of values separated by commas."""
    value: str
    """The value that is added to the list."""
    models: str
    """A word in the names of the models that have such a window, in lower case."""


class HeaderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The headers that a dialect has of its own; names in lower case."""

    request_id: str
    """The header in which clients look for the id of their request."""
    credential: Callable[[str, str], Pairs]
    """Gives the headers that carry a key of the backend at a host: (key, host) -> headers."""
    version: tuple[str, str] | None = None
    """The header that names the version of the API, and the version that a backend gets where the
    client has named none."""
    passed: frozenset[str] = frozenset()
    """Headers of a client that a backend of the same dialect gets, too."""
    passed_prefix: str | None = None
    """The beginning of the names of further such headers."""
    kept_back: frozenset[str] = frozenset()
    """Headers with that beginning that no backend gets, as they belong to a client's credential."""
    long_context: LongContext | None = None
    """How a client asks for the long context window; None where models have one window."""


AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
"""Ends of the names of hosts where Azure serves models: they take a key in ``api-key``."""

_RETRY = ("retry-after", "retry-after-ms", "x-should-retry")
_RETRIES = frozenset(_RETRY)

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


def cost(picos: int | None) -> Pairs:
    """Return the header that says what an answer cost, in US dollars.

    It is None where that is not known.
    """
    return () if picos is None else (("x-lmbroker-cost", dollars(picos)),)


def to_backend(
    call: Call, facts: HeaderFacts, *, native: bool, stream: bool, model: str = ""
) -> Pairs:
    """Return the request headers for a backend of the dialect with ``facts``.

    The credential is not among them. ``model`` is the model's name at the backend. ``native`` is
    true where client and backend speak the same dialect: only then do vendor headers of the client
    mean anything to the backend.
    """
    every = _EVERY[stream]
    given = _end_to_end(call.headers) if native else _NOTHING
    if facts.version is not None:
        name, usual = facts.version
        every = (*every, (name, given.get(name, usual)))
    prefix, passed = facts.passed_prefix, facts.passed
    if prefix is not None:
        kept_back = facts.kept_back
        vendors = [
            (name, value)
            for name, value in given.items()
            if name in passed or (name.startswith(prefix) and name not in kept_back)
        ]
    elif passed.isdisjoint(given):
        vendors = []
    else:
        vendors = [(name, value) for name, value in given.items() if name in passed]
    if call.long_context and facts.long_context is not None:
        vendors = _with_long_context(vendors, facts.long_context, model)
    return (*every, *vendors) if vendors else every


def _with_long_context(
    vendors: list[tuple[str, str]], asking: LongContext, model: str
) -> list[tuple[str, str]]:
    """Return ``vendors`` with the value that asks for the long context window.

    Where ``model`` has no such window they are unchanged.
    """
    values = ",".join(value for name, value in vendors if name == asking.header)
    if asking.models not in model.lower() or asking.value in values:
        return vendors
    rest = [pair for pair in vendors if pair[0] != asking.header]
    return [*rest, (asking.header, ",".join(filter(None, (values, asking.value))))]


def _end_to_end(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return ``headers`` without those that ``connection`` names: they end at this hop."""
    named = headers.get("connection")
    if named is None:
        return headers
    hop = set(map(str.strip, named.lower().split(",")))
    if hop.isdisjoint(headers):
        return headers
    return {name: value for name, value in headers.items() if name not in hop}


def to_list(facts: HeaderFacts) -> Pairs:
    """Return the headers that ask a backend for its models, without its credential."""
    version = () if facts.version is None else (facts.version,)
    return (("accept", "application/json"), ("user-agent", USER_AGENT), *version)


_TOKEN = ("eyJ", "sk-ant-oat")
"""The beginnings of a JSON Web Token and of an OAuth token of Anthropic's."""


def bearer(key: str) -> tuple[str, str]:
    """Return the header that carries ``key`` as a bearer token (RFC 6750)."""
    return "authorization", f"Bearer {key}"


def credential_headers(backend: Backend, facts: HeaderFacts) -> Pairs:
    """Return the headers that carry a backend's credential, () where it has none.

    ``Backend.key_header`` decides where it is set. A token goes as a bearer token everywhere, and
    where a key goes the dialect knows.
    """
    if backend.credential is None:
        return ()
    key = backend.credential.reveal()
    if backend.key_header == "authorization" or (not backend.key_header and key.startswith(_TOKEN)):
        return (bearer(key),)
    if backend.key_header:
        return ((backend.key_header, key),)
    return facts.credential(key, backend.host)


def first_values(raw: Iterable[tuple[bytes, Sequence[bytes]]]) -> ReceivedHeaders:
    """Return the headers of a request, from the values that each had in order of arrival."""
    found = [(name.decode("latin-1").lower(), values) for name, values in raw]
    repeated = {name for name, values in found if len(values) > 1}
    first = {name: values[0].decode("latin-1") for name, values in found}
    if "tracestate" in repeated:
        # A list that may come in several lines (RFC 9110, 5.3).
        first["tracestate"] = ",".join(
            value.decode("latin-1")
            for name, values in found
            if name == "tracestate"
            for value in values
        )
    return first, repeated


def for_another_backend(call: Call) -> Call:
    """Return ``call`` without what was meant for the first backend only.

    An idempotency key proves nothing to another one.
    """
    if "idempotency-key" not in call.headers:
        return call
    kept = {name: value for name, value in call.headers.items() if name != "idempotency-key"}
    return msgspec.structs.replace(call, headers=kept)


def about_bytes(headers: Mapping[str, str]) -> Pairs:
    """Return the header in which vLLM says what the bytes of its embeddings are."""
    value = headers.get("metadata")
    return () if value is None else (("metadata", value),)


def from_backend(headers: Mapping[str, str]) -> Pairs:
    """Return the response headers of a backend that every client may see."""
    if _RETRIES.isdisjoint(headers):
        return ()
    return tuple((name, headers[name]) for name in _RETRY if name in headers)


def backend_request_id(headers: Mapping[str, str], facts: HeaderFacts) -> str | None:
    """Return the id that the backend gave the request, None where it gave none.

    Servers of each format are known that use the header of another one.
    """
    return headers.get("request-id") or headers.get("x-request-id") or headers.get(facts.request_id)


def identity(
    facts: HeaderFacts,
    request_id: str,
    *,
    backend_id: str | None = None,
    backend: str = "",
    model: str = "",
    second_dialect: str = "",
    dropped: str = "",
    changed: str = "",
    attempts: int = 1,
) -> Pairs:
    """Return the headers that say who answered.

    The request id, under the name that the client's dialect has for it, and the ``x-lmbroker-*``
    ones. ``second_dialect``: that in which the backend was called, where it is not its own.
    """
    out = [
        (facts.request_id, backend_id or request_id),
        ("x-lmbroker-request-id", request_id),
    ]
    if backend:
        out.append(("x-lmbroker-backend", header_text(backend)))
    if model:
        out.append(("x-lmbroker-model", header_text(model)))
    if second_dialect:
        out.append(("x-lmbroker-dialect", second_dialect))
    if dropped:
        out.append(("x-lmbroker-dropped", header_text(dropped)))
    if changed:
        out.append(("x-lmbroker-changed", header_text(changed)))
    if attempts > 1:
        out.append(("x-lmbroker-attempts", str(attempts)))
    return tuple(out)


def failed_at(backend: str, model: str, attempts: int, second_dialect: str = "") -> Pairs:
    """Return the headers of an error answer that say where the last attempt was made.

    They also say in which dialect, if it was not the backend's own, and how many attempts there
    were.
    """
    where: Pairs = (
        ("x-lmbroker-backend", header_text(backend)),
        ("x-lmbroker-model", header_text(model)),
    )
    if second_dialect:
        where = (*where, ("x-lmbroker-dialect", second_dialect))
    return (*where, ("x-lmbroker-attempts", str(attempts))) if attempts > 1 else where


@lru_cache(maxsize=1024)
def header_text(text: str) -> str:
    """Return ``text`` with ``?`` for what is no printable ASCII.

    Model names and the names of unknown fields are anybody's.
    """
    text = text[:HEADER_TEXT]
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if " " <= each <= "~" else "?" for each in text)


def from_error(info: ErrorInfo, *, native: bool = False) -> Pairs:
    """Return the headers of an error answer: when, and whether, to try again; how to prove oneself.

    Another attempt does not help an account without money, but OpenAI's clients retry each 429: the
    answer asks them not to, except where it passes on the backend's own body (``native``), which
    gets no additions.
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
