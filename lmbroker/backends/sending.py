"""The backends' door: one HTTP request to one backend, over treq.

No redirects, no cookies, no compression, a connection that can be aborted in every phase, one
retry for a kept-alive connection that had died, and who cancelled a request is known
(reliability.md A2, A4, A5, A9).
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from typing import Any, Protocol

from hyperlink import EncodedURL
from OpenSSL.SSL import Error as OpenSSLError
from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.logger import Logger
from twisted.web.client import ContentDecoderAgent, GzipDecoder
from twisted.web.iweb import IResponse

from lmbroker.backends.client.agent import Exchange, LeanClient
from lmbroker.backends.client.failures import StaleConnection, classified, reason_of, unreachable
from lmbroker.backends.concurrency_limit import ConcurrencyLimit
from lmbroker.backends.connections import NO_COOKIES, NO_HEADERS, Body, Dropped, Endpoints, Policy
from lmbroker.backends.deadlines import Deadlines
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
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows.contract import Outbound

UNARY_LIMIT = 64 * 1024 * 1024
"""Largest unary answer, in bytes."""

SHORTAGE_LOG_SECONDS = 60.0
"""A shortage of descriptors is logged no more often than this."""

SECURE = "secure connection"
THROUGH_PROXY = "way through the proxy"
"""What there is none of, in the log."""

_KEY_REFUSED = frozenset({401, 403})

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class BackendAnswer:
    """A backend's status and headers; its body is still to come.

    ``headers`` have lower-case names and the first value of each.
    """

    def __init__(
        self, response: IResponse, exchange: Exchange, clock: Any, timeouts: Timeouts
    ) -> None:
        self.status: int = response.code
        headers: Any = response.headers
        # Our own client has them at hand.
        fields: Mapping[str, str] | None = getattr(headers, "fields", None)
        if fields is None:
            fields = {
                name.decode("ascii").lower(): values[0].decode("latin-1")
                for name, values in headers.getAllRawHeaders()
            }
        self.headers = fields
        self.content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._response = response
        self._exchange = exchange
        self._clock = clock
        self._timeouts = timeouts
        self._release: Callable[[], None] | None = None
        self.memory: MemoryShare | None = None
        """The share that the body has of its room, for as long as somebody keeps this."""

    def keep_slot(self, release: Callable[[], None]) -> None:
        """``release`` gives the call's place at the backend back; it is called once it is over."""
        self._release = release

    def finished(self) -> None:
        """The backend is done with this call. Told by whoever reads the body, when it ends."""
        if self._release is not None:
            self.release_slot()

    def release_slot(self) -> None:
        """The answer is whole, though its body may go on: another call may have its place."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def deliver(self, protocol: TwistedProtocol) -> None:
        """Give the body to ``protocol``, chunk by chunk."""
        self._response.deliverBody(protocol)

    def abort(self) -> None:
        """Close the connection now, whatever is in flight."""
        self._exchange.abort()
        self.finished()

    async def body(self, limit: int = UNARY_LIMIT, memory: AnswerMemory | None = None) -> bytes:
        """The whole body. Raises Broken (cut, above ``limit`` bytes), TimedOut, or Full where there
        is no ``room``; what is taken of it is ``self.memory``."""
        # Our own client has most of them at hand.
        take = getattr(self._response, "whole", None)
        body: bytes | None = take() if take is not None else None
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
    """What the broker needs of this door; tests put their own in its place."""

    async def send(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> BackendAnswer: ...

    async def get(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> BackendAnswer: ...


class Backends:
    """Sends to backends. One per process: the connection pool lives here. ``dropped`` is told of
    connections that were given up."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        policy: Any = None,
        dropped: Dropped = lambda backend, why: None,
    ) -> None:
        self._reactor = reactor
        self._usual_policy = policy or Policy()
        endpoints = Endpoints(reactor, Names(reactor), self._policy)
        self._client = LeanClient(reactor, endpoints.to, dropped)
        self._key_files = KeyFiles(reactor)
        self._limits: dict[tuple[Any, ...], ConcurrencyLimit] = {}
        self._deadlines: dict[float, Deadlines] = {}
        self._no_way: dict[str, str] = {}
        self._told_short: float | None = None

    def close(self) -> "defer.Deferred[None]":
        """Close the idle connections."""
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
        """GET of a backend, beside its calls: takes no place from them. Raises as ``send``."""
        return self._keyed(backend, outbound, timeouts)

    async def _within_limit(
        self, backend: Backend, limit: int, outbound: Outbound, timeouts: Timeouts
    ) -> BackendAnswer:
        """With one of the backend's ``limit`` places, from now on until the answer is over."""
        concurrency = self._limit_of(backend, limit)
        release = concurrency.try_acquire() or await concurrency.acquire()
        try:
            answer = await self._keyed(backend, outbound, timeouts)
        except BaseException:
            release()
            raise
        answer.keep_slot(release)
        return answer

    def _limit_of(self, backend: Backend, limit: int) -> ConcurrencyLimit:
        key = (backend.name, limit, backend.queue, backend.queue_timeout)
        concurrency = self._limits.get(key)
        if concurrency is None:
            concurrency = self._limits[key] = ConcurrencyLimit(self._reactor, *key[1:])
        return concurrency

    def _keyed(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> Coroutine[Any, Any, BackendAnswer]:
        """With the keys that stand in the backend's files now."""
        if not backend.key_files:
            return self._send(backend, outbound, timeouts)
        return self._by_files(backend, outbound, timeouts)

    async def _by_files(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> BackendAnswer:
        """Where a key is refused and its file holds another one by now, the call is sent once
        more."""
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
        """``fresh``: not over a kept-alive connection; only where one of them had died."""
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
                self._tell_no_way(backend.name, THROUGH_PROXY, error.reason, outbound.method)
            elif isinstance(failure, Unreachable) and failure.phase == "tls":
                self._tell_no_way(backend.name, SECURE, reason_of(error), outbound.method)
            if isinstance(failure, OutOfResources):
                self._short()
            if fresh or not isinstance(failure, StaleConnection):
                raise failure from None
        else:
            deadlines.end(request)
            return BackendAnswer(response, exchange, self._reactor, timeouts)
        return await self._send(backend, outbound, timeouts, fresh=True)

    def _short(self) -> None:
        """The system has no descriptors left for us: use those that only wait."""
        self._client.make_room()
        now = self._reactor.seconds()
        if self._told_short is None or now - self._told_short >= SHORTAGE_LOG_SECONDS:
            self._told_short = now
            self.log.error("No descriptors are left for connections to backends: calls are refused")

    def _tell_no_way(self, backend: str, kind: str, reason: str, method: str) -> None:
        """Log it for each call; for what else is asked of a backend only where it is new."""
        if method == "POST" or self._no_way.get(backend) != reason:
            self.log.warn(
                "No {kind} to backend {backend}: {reason}",
                kind=kind,
                backend=backend,
                reason=reason,
            )
        self._no_way[backend] = reason

    def _policy(self, backend: Backend) -> Any:
        """Whom to trust, the system's authorities where ``ca`` names none, and what to show.
        Raises Unreachable."""
        if not backend.ca and not backend.client_cert:
            return self._usual_policy
        trusted = own = None
        try:
            if backend.ca:
                trusted = trustRootFromCertificates(
                    [Certificate.loadPEM(each) for each in _CERTIFICATE.findall(backend.ca)]
                )
            if backend.client_cert:
                key = backend.client_key
                own = read_client_certificate(backend.client_cert, key.reveal() if key else "")
        except OpenSSLError:
            message = "the certificates to trust cannot be read"
            raise Unreachable(unreachable(message, "tls"), phase="tls") from None
        except Unusable:
            message = "the broker's client certificate cannot be used"
            raise Unreachable(unreachable(message, "tls"), phase="tls") from None
        return Policy(trusted, own)


class _Client(HTTPClient):
    """treq's client without what a call to a backend has no use for: cookies, for which treq reads
    each URL once more, redirects, buffering, and reading the URL and the headers anew."""

    def request(  # type: ignore[override]
        self, method: str, url: "_Ready", *, headers: Any, data: Body | None
    ) -> "defer.Deferred[IResponse]":
        """Send a request; fires with the response, its body decoded where it is gzipped."""
        agent = ContentDecoderAgent(self._agent, _DECODERS)
        address = url.to_text().encode("ascii")
        answered: defer.Deferred[IResponse] = agent.request(
            method.encode("ascii"), address, headers, data
        )
        return answered


_DECODERS = [(b"gzip", GzipDecoder)]


class _Ready(EncodedURL):
    """A URL that need not be read again for each request. ``text`` is it in full."""

    text: str

    def to_uri(self) -> "_Ready":
        return self

    def to_text(self, with_password: bool = False) -> str:
        return self.text


@lru_cache(maxsize=1024)
def _url(base: str, path: str, query: bytes, exact: bool, own_query: str) -> "_Ready":
    """Where an operation of a backend lives; its own query stands before the call's."""
    asked = query.decode("ascii", "replace")
    both = f"{own_query}&{asked}" if own_query and asked else own_query or asked
    text = operation_url(base, path, both, exact=exact)
    url: Any = _Ready.from_text(text)
    plain = EncodedURL.from_text(text)
    if ":" in plain.host:
        # An address of IPv6: to_uri takes it for a name, and it is none.
        url.text = plain.replace(host="x").to_uri().replace(host=plain.host).to_text()
    else:
        url.text = plain.to_uri().to_text()
    return url  # type: ignore[no-any-return]


def _fields(backend: Backend, outbound: Outbound) -> Mapping[str, str]:
    """The headers of a request: the credential above the configured ones above the call's."""
    fields = dict(outbound.headers)
    for name, value in backend.headers:
        fields[name.lower()] = value.reveal() if isinstance(value, Secret) else value
    fields.update(credential_headers(backend, ADAPTERS[backend.dialect].facts.headers))
    return fields
