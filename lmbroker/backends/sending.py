"""Sends one HTTP request to one backend, over treq.

There are no redirects, no cookies and no compression. A request can be aborted in every phase. It
is sent a second time where a kept-alive connection had died before the backend saw it. It is known
whether a request was cancelled or failed (reliability.md A2, A4, A5, A9).
"""

import ssl
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from typing import Any, Protocol

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.web.client import GzipDecoder
from twisted.web.iweb import IResponse

from lmbroker.backends.client.agent import Exchange, LeanClient
from lmbroker.backends.client.failures import StaleConnection, classified, reason_of, unreachable
from lmbroker.backends.client.response import BackendResponse, Response, TwistedResponse
from lmbroker.backends.concurrency_limit import BackendLoad, ConcurrencyLimit
from lmbroker.backends.connections import NO_COOKIES, NO_HEADERS, Body, Dropped, Endpoints
from lmbroker.backends.deadlines import Deadlines
from lmbroker.backends.interfaces import IReactor
from lmbroker.backends.key_files import KeyFiles
from lmbroker.backends.proxy_tunnel import ProxyFailed
from lmbroker.backends.resolver import Names
from lmbroker.backends.whole_bodies import AnswerMemory, Collector, MemoryShare, oversized
from lmbroker.call import Backend, Timeouts
from lmbroker.config.client_certificate import Unusable, read_client_certificate
from lmbroker.config.endpoints import operation_url
from lmbroker.errors import OutOfResources, Unreachable
from lmbroker.headers import credential_headers
from lmbroker.secret import Secret
from lmbroker.tls.contexts import client_context
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows.contract import Outbound

UNARY_LIMIT = 64 * 1024 * 1024
"""The maximum of bytes of a unary answer."""

SHORTAGE_LOG_SECONDS = 60.0
"""The seconds between two log lines about a shortage of descriptors."""

SECURE = "secure connection"
THROUGH_PROXY = "way through the proxy"
"""The name of this resource in log lines."""

_KEY_REFUSED = frozenset({401, 403})


class BackendAnswer:
    """A backend's status and headers; its body is still to come.

    ``status`` is the HTTP status, ``headers`` holds the first value of each header by its name in
    lower case, ``content_type`` is the media type without parameters, in lower case.
    """

    def __init__(
        self,
        response: BackendResponse,
        exchange: Exchange,
        clock: IReactorTime,
        timeouts: Timeouts,
    ) -> None:
        self.status: int = response.code
        self.headers = response.fields
        self.content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._response = response
        self._exchange = exchange
        self._clock = clock
        self._timeouts = timeouts
        self._release: Callable[[], None] | None = None
        self.memory: MemoryShare | None = None
        """The memory that the collected body takes, for as long as a reference to this is kept."""
        self.queued = 0.0
        """For how many seconds the request waited for a slot of the backend."""
        self.sent_at = exchange.sent_at
        """When the request was written to its connection; None where that is not known."""

    def keep_slot(self, release: Callable[[], None]) -> None:
        """Keep the call's slot at the backend, until ``release`` is called at its end."""
        self._release = release

    def finished(self) -> None:
        """Release the slot: the backend is done with this call.

        The reader of the body calls this at its end.
        """
        if self._release is not None:
            self.release_slot()

    def release_slot(self) -> None:
        """Release the slot: the answer is whole, though its body may go on."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def watch(self, watched: Callable[[BackendResponse], BackendResponse]) -> None:
        """Take the body from ``watched`` of the response; before anything of it was taken."""
        self._response = watched(self._response)

    def deliver(self, protocol: TwistedProtocol) -> None:
        """Give the body to ``protocol``, in pieces as they come."""
        self._response.deliverBody(protocol)

    def abort(self) -> None:
        """Close the connection now, whatever is in flight."""
        self._exchange.abort()
        self.finished()

    async def body(self, limit: int = UNARY_LIMIT, memory: AnswerMemory | None = None) -> bytes:
        """Return the whole body, of at most ``limit`` bytes.

        Raises Broken where it is cut or longer, TimedOut, or Refused where all answers together
        would take more than ``memory``; what this one takes of that is ``self.memory``.
        """
        body = self._response.whole()
        if body is None:
            collector = Collector(limit, memory)
            self.deliver(collector)
            try:
                if collector.outcome is None:
                    await collector.watch(self._clock, self._timeouts)
                body = collector.body()
                self.memory = collector.memory
            except BaseException:
                self.abort()
                raise
        self.finished()
        if len(body) > limit:
            raise oversized()
        return body


class Sender(Protocol):
    """The interface of ``Backends`` that the broker uses; tests put their own in its place."""

    async def send(self, backend: Backend, outbound: Outbound, timeouts: Timeouts) -> BackendAnswer:
        """Send a call; returns when the response headers have come. Raises AttemptFailed."""
        ...

    async def get(self, backend: Backend, outbound: Outbound, timeouts: Timeouts) -> BackendAnswer:
        """Send a request that is no call, and takes no slot. Raises AttemptFailed."""
        ...


class Backends:
    """Sends requests to backends, and holds the connection pool: there is one in a process.

    ``dropped`` is called for connections that were given up.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        *,
        dropped: Dropped = lambda backend, why: None,
    ) -> None:
        self._reactor = reactor
        endpoints = Endpoints(reactor, Names(reactor), self._context)
        self._client = LeanClient(reactor, endpoints.to, dropped)
        self._key_files = KeyFiles(reactor)
        self._limits: dict[tuple[Any, ...], ConcurrencyLimit] = {}
        self._deadlines: dict[float, Deadlines] = {}
        self._last_reasons: dict[str, str] = {}
        self._shortage_logged_at: float | None = None

    def close(self) -> "defer.Deferred[None]":
        """Close the idle connections; fires when they are closed."""
        return self._client.close()

    def send(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> Coroutine[Any, Any, BackendAnswer]:
        """Send a call to a backend; returns when its response headers are here.

        Raises Full, Unreachable, TimedOut or Broken; CancelledError when the caller was
        cancelled.
        """
        if backend.max_in_flight is None:
            return self._keyed(backend, outbound, timeouts)
        return self._within_limit(backend, backend.max_in_flight, outbound, timeouts)

    def get(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> Coroutine[Any, Any, BackendAnswer]:
        """Send a request that is no call, and takes no slot. Raises as ``send``."""
        return self._keyed(backend, outbound, timeouts)

    async def _within_limit(
        self, backend: Backend, limit: int, outbound: Outbound, timeouts: Timeouts
    ) -> BackendAnswer:
        """Send a call in one of the backend's ``limit`` slots, kept until the answer ends."""
        concurrency = self._limit_of(backend, limit)
        queued = 0.0
        release = concurrency.try_acquire()
        if release is None:
            began = self._reactor.seconds()
            release = await concurrency.acquire()
            queued = self._reactor.seconds() - began
        try:
            answer = await self._keyed(backend, outbound, timeouts)
        except BaseException:
            release()
            raise
        answer.keep_slot(release)
        answer.queued = queued
        return answer

    def loads(self) -> dict[str, BackendLoad]:
        """Return the load of each backend with a concurrency limit that was called, by its name."""
        found: dict[str, BackendLoad] = {}
        for (name, *_), limit in self._limits.items():
            # A reload may have left an older limit, which some calls still hold.
            used, queued = found.get(name, (0, 0))
            found[name] = BackendLoad(used + limit.in_use, queued + limit.queued)
        return found

    def _limit_of(self, backend: Backend, limit: int) -> ConcurrencyLimit:
        key = (backend.name, limit, backend.queue, backend.queue_timeout)
        concurrency = self._limits.get(key)
        if concurrency is None:
            concurrency = self._limits[key] = ConcurrencyLimit(self._reactor, *key[1:])
        return concurrency

    def _keyed(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> Coroutine[Any, Any, BackendAnswer]:
        """Send a call with the keys that the backend's files hold now."""
        if not backend.key_files:
            return self._send(backend, outbound, timeouts)
        return self._by_files(backend, outbound, timeouts)

    async def _by_files(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> BackendAnswer:
        """Send a call, and once more where its key is refused and a file holds another by now."""
        await self._key_files.look(backend)
        keys = [secret.reveal() for secret in backend.key_files]
        answer = await self._send(backend, outbound, timeouts)
        if answer.status not in _KEY_REFUSED:
            return answer
        try:
            await self._key_files.again(backend)
        except BaseException:
            answer.abort()
            raise
        if keys == [secret.reveal() for secret in backend.key_files]:
            return answer
        answer.abort()
        self.log.info(
            "Backend {backend} refused a key that was replaced meanwhile: asking again",
            backend=backend.name,
        )
        return await self._send(backend, outbound, timeouts)

    async def _send(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts, *, fresh: bool = False
    ) -> BackendAnswer:
        """Send a request; ``fresh``: over a new connection, since a kept-alive one had died."""
        fields = _fields(backend, outbound)
        exchange = self._client.exchange(backend, fields, timeouts.connect, fresh=fresh)
        request = _Client(exchange, NO_COOKIES).request(
            outbound.method,
            _url(backend.url, outbound.path, outbound.query, backend.exact_root, backend.query),
            headers=NO_HEADERS,
            data=Body(outbound.body) if outbound.method == "POST" else None,
        )
        deadlines = self._deadlines.get(timeouts.headers)
        if deadlines is None:
            deadlines = Deadlines(self._reactor, timeouts.headers)
            self._deadlines[timeouts.headers] = deadlines
        deadlines.begin(request)
        try:
            response = await request
        except Exception as error:
            late = not deadlines.end(request)
            exchange.abort()
            if isinstance(error, defer.CancelledError) and not late:
                raise
            failure = classified(error, late=late, reused=exchange.reused)
            if isinstance(error, ProxyFailed):
                self._log_no_connection(backend.name, THROUGH_PROXY, error.reason, outbound)
            elif isinstance(failure, Unreachable) and failure.phase == "tls":
                self._log_no_connection(backend.name, SECURE, reason_of(error), outbound)
            if isinstance(failure, OutOfResources):
                self._short()
            if fresh or not isinstance(failure, StaleConnection):
                raise failure from None
        else:
            deadlines.end(request)
            plain: BackendResponse = response
            if "content-encoding" in response.fields:
                plain = _decoded(response)
            return BackendAnswer(plain, exchange, self._reactor, timeouts)
        return await self._send(backend, outbound, timeouts, fresh=True)

    def _short(self) -> None:
        """Close idle connections: the system has no more descriptors for this process."""
        self._client.drop_idle()
        now = self._reactor.seconds()
        if (
            self._shortage_logged_at is None
            or now - self._shortage_logged_at >= SHORTAGE_LOG_SECONDS
        ):
            self._shortage_logged_at = now
            self.log.error("No descriptors are left for connections to backends: calls are refused")

    def _log_no_connection(self, backend: str, kind: str, reason: str, outbound: Outbound) -> None:
        """Log a connection that failed: for each call, and for other requests only a new reason."""
        is_call = outbound.is_call and outbound.method == "POST"
        if is_call or self._last_reasons.get(backend) != reason:
            self.log.warn(
                "No {kind} to backend {backend}: {reason}",
                kind=kind,
                backend=backend,
                reason=reason,
            )
        self._last_reasons[backend] = reason

    def _context(self, backend: Backend) -> ssl.SSLContext:
        """Return the TLS context of connections to ``backend``.

        Without ``ca`` the system's authorities are trusted. Raises Unreachable where a certificate
        cannot be used.
        """
        try:
            own = None
            if backend.client_cert:
                key = backend.client_key
                own = read_client_certificate(backend.client_cert, key.reveal() if key else "")
            return client_context(backend.ca, own)
        except ssl.SSLError:
            message = "the certificates to trust cannot be read"
            raise Unreachable(unreachable(message, "tls"), phase="tls") from None
        except Unusable:
            message = "the broker's client certificate cannot be used"
            raise Unreachable(unreachable(message, "tls"), phase="tls") from None


class _Client(HTTPClient):
    """treq's client without what a call to a backend does not use.

    That is cookies, for which treq parses each URL once more, redirects, buffering, and parsing
    the URL and the headers anew.
    """

    def request(  # type: ignore[override]
        self, method: str, url: "_Ready", *, headers: Any, data: Body | None
    ) -> "defer.Deferred[Response]":
        """Send a request; fires with the response as it came."""
        answered: defer.Deferred[Any] = self._agent.request(
            method.encode("ascii"), url.to_text().encode("ascii"), headers, data
        )
        return answered


def _decoded(response: Response) -> BackendResponse:
    """Return ``response``, its body decoded as often as it was gzipped.

    No request asks for that, but some backends do not look.
    """
    given = response.headers.getRawHeaders(b"content-encoding", ())
    codings = [coding.strip() for line in given for coding in line.split(b",")]
    decoded: IResponse = response
    while codings and codings[-1] == b"gzip":
        decoded = GzipDecoder(decoded)
        del codings[-1]
    if codings:
        decoded.headers.setRawHeaders(b"content-encoding", [b",".join(codings)])
    else:
        decoded.headers.removeHeader(b"content-encoding")
    return response if decoded is response else TwistedResponse(decoded)


class _Ready(EncodedURL):
    """A URL that is not parsed again for each request. ``text`` is the whole URL."""

    text: str

    def to_uri(self) -> "_Ready":
        return self

    def to_text(self, with_password: bool = False) -> str:
        return self.text


@lru_cache(maxsize=1024)
def _url(base: str, path: str, query: bytes, exact: bool, own_query: str) -> "_Ready":
    """Return the URL of an operation of a backend.

    The backend's own query stands before the call's.
    """
    asked = query.decode("ascii", "replace")
    both = f"{own_query}&{asked}" if own_query and asked else own_query or asked
    text = operation_url(base, path, both, exact=exact)
    url: Any = _Ready.from_text(text)
    plain = EncodedURL.from_text(text)
    if ":" in plain.host:
        # to_uri would take an IPv6 address for a name, which it is not.
        url.text = plain.replace(host="x").to_uri().replace(host=plain.host).to_text()
    else:
        url.text = plain.to_uri().to_text()
    return url  # type: ignore[no-any-return]


def _fields(backend: Backend, outbound: Outbound) -> Mapping[str, str]:
    """Return the headers of a request: configured ones replace the call's, credentials both."""
    fields = dict(outbound.headers)
    for name, value in backend.headers:
        fields[name.lower()] = value.reveal() if isinstance(value, Secret) else value
    fields.update(credential_headers(backend, ADAPTERS[backend.dialect].facts.headers))
    return fields


def sent_headers(backend: Backend, outbound: Outbound) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the headers of a request with credentials, and the names of the configured ones."""
    own = {name.lower() for name, _ in backend.headers}
    own.update(dict(credential_headers(backend, ADAPTERS[backend.dialect].facts.headers)))
    return _fields(backend, outbound), tuple(sorted(own))


def url_of(backend: Backend, outbound: Outbound) -> str:
    """Return the URL that a request is sent to."""
    return _url(
        backend.url, outbound.path, outbound.query, backend.exact_root, backend.query
    ).to_text()
