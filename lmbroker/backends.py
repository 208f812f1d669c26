"""The backends' door: one HTTP request to one backend, over treq.

What Twisted's client gets wrong for a broker is put right here and nowhere else
(reliability.md A2, A4, A5, A9): no redirects, no cookies, no compression, a connection that can
be aborted in every phase, one retry for a kept-alive connection that had died, and four
exception types of a cancelled request told apart.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import treq.client
from OpenSSL.SSL import Error as OpenSSLError
from service_identity import VerificationError
from twisted.internet import defer
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from lmbroker.call import Backend, Timeouts
from lmbroker.connections import NO_COOKIES, Endpoints, Pinned, Pool, Tap
from lmbroker.endpoints import api_root
from lmbroker.errors import AttemptFailed, Broken, ErrorInfo, TimedOut, Unreachable
from lmbroker.gate import Gate
from lmbroker.headers import credential
from lmbroker.workflows.contract import Outbound

UNARY_LIMIT = 64 * 1024 * 1024
"""Largest unary answer, in bytes."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

_ANSWER_LOST = (ResponseNeverReceived, RequestTransmissionFailed, RequestGenerationFailed)


@implementer(IBodyProducer)
class _Body:
    """Writes the request's bytes at once: they are in memory already."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> "defer.Deferred[None]":
        consumer.write(self._body)
        self._body = b""
        return defer.succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class BackendAnswer:
    """A backend's status and headers; its body is still to come.

    ``headers`` have lower-case names and the first value of each.
    """

    def __init__(self, response: IResponse, tap: Tap, clock: Any, timeouts: Timeouts) -> None:
        self.status: int = response.code
        self.headers: Mapping[str, str] = {
            name.decode("ascii").lower(): values[0].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        self.content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._response = response
        self._tap = tap
        self._clock = clock
        self._timeouts = timeouts
        self._leave: Callable[[], None] | None = None

    def hold(self, leave: Callable[[], None]) -> None:
        """``leave`` gives the call's place at the backend back; it is called once it is over."""
        self._leave = leave

    def over(self) -> None:
        """The backend is done with this call. Told by whoever reads the body, when it ends."""
        self._tap.over()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def deliver(self, protocol: TwistedProtocol) -> None:
        """Give the body to ``protocol``, chunk by chunk."""
        self._response.deliverBody(protocol)

    def abort(self) -> None:
        """Close the connection now, whatever is in flight."""
        self._tap.abort()
        self.over()

    async def body(self, limit: int = UNARY_LIMIT) -> bytes:
        """The whole body. Raises Broken (cut, above ``limit`` bytes) or TimedOut."""
        collector = _Collector(self._clock, self._timeouts, limit)
        self.deliver(collector)
        try:
            body = await collector.done
        except BaseException:
            self.abort()
            raise
        self.over()
        return body


class _Collector(TwistedProtocol):
    """Collects a bounded body; silence and a body that never ends are errors."""

    def __init__(self, clock: Any, timeouts: Timeouts, limit: int) -> None:
        self.done: defer.Deferred[bytes] = defer.Deferred()
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._idle = timeouts.idle
        self._timer = clock.callLater(timeouts.idle, self._silent)
        self._last = clock.callLater(timeouts.total, self._too_long)

    def dataReceived(self, data: bytes) -> None:
        if self._timer.active():
            self._timer.reset(self._idle)
        self._size += len(data)
        if self._size > self._limit:
            self._end(_broken("the backend's answer is too large", "oversized"))
        elif not self.done.called:
            self._chunks.append(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        if reason.check(ResponseDone, PotentialDataLoss):
            self._end(b"".join(self._chunks))
        else:
            self._end(_broken("the backend closed the connection in its answer", "truncated"))

    def _silent(self) -> None:
        self._end(TimedOut(_slow("the backend stopped in its answer", "timeout_idle")))

    def _too_long(self) -> None:
        self._end(TimedOut(_slow("the backend's answer took too long", "timeout_total")))

    def _end(self, result: "bytes | AttemptFailed") -> None:
        for timer in (self._timer, self._last):
            if timer.active():
                timer.cancel()
        if self.done.called:
            return
        if isinstance(result, bytes):
            self.done.callback(result)
        else:
            self.done.errback(result)


class Sender(Protocol):
    """What the broker needs of this door; tests put their own in its place."""

    async def send(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts
    ) -> BackendAnswer: ...


class Backends:
    """Sends to backends. One per process: the connection pool lives here."""

    log = Logger()

    def __init__(self, reactor: Any, *, policy: Any = None) -> None:
        self._reactor = reactor
        self._pool = Pool(reactor)
        self._policies: dict[str, Any] = {"": policy or BrowserLikePolicyForHTTPS()}
        self._endpoints: dict[tuple[float, str], Endpoints] = {}
        self._gates: dict[tuple[Any, ...], Gate] = {}

    def close(self) -> "defer.Deferred[None]":
        """Close the idle connections."""
        closed: defer.Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def send(self, backend: Backend, outbound: Outbound, timeouts: Timeouts) -> BackendAnswer:
        """POST to a backend; returns when its response headers are here.

        Raises Full, Unreachable, TimedOut or Broken; CancelledError when the caller was
        cancelled.
        """
        leave = await self._gate(backend).enter()
        try:
            try:
                answer = await self._send(backend, outbound, timeouts, fresh=False)
            except _StaleConnection:
                answer = await self._send(backend, outbound, timeouts, fresh=True)
        except BaseException:
            leave()
            raise
        answer.hold(leave)
        return answer

    def _gate(self, backend: Backend) -> Gate:
        key = (backend.name, backend.max_in_flight, backend.queue, backend.queue_timeout)
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = Gate(self._reactor, *key[1:])
        return gate

    async def _send(
        self, backend: Backend, outbound: Outbound, timeouts: Timeouts, *, fresh: bool
    ) -> BackendAnswer:
        tap = Tap(self._pool, backend, fresh=fresh)
        endpoints = self._endpoint_factory(timeouts.connect, backend.ca)
        agent = Agent.usingEndpointFactory(self._reactor, endpoints, pool=tap)
        client = treq.client.HTTPClient(Pinned(agent), NO_COOKIES)
        url = api_root(backend.url) + outbound.path
        if outbound.query:
            url += "?" + outbound.query.decode("ascii", "replace")
        request = client.request(
            "POST",
            url,
            data=_Body(outbound.body),
            headers=_headers(backend, outbound),
            allow_redirects=False,
            cookies=NO_COOKIES,
            unbuffered=True,
            reactor=self._reactor,
        )
        late: list[bool] = []
        left: list[bool] = []

        def give_up() -> None:
            late.append(True)
            request.cancel()

        def leave(_: Any) -> None:
            left.append(True)
            request.cancel()

        # A cancelled request fails with one of several exceptions, by its phase; who cancelled
        # is known here only.
        response_here: defer.Deferred[Any] = defer.Deferred(leave)
        request.chainDeferred(response_here)
        timer = self._reactor.callLater(timeouts.headers, give_up)
        try:
            response = await response_here
        except Exception as error:
            tap.abort()
            if left:
                raise defer.CancelledError() from None
            if tap.flooded:
                message = "the backend's response headers are too large"
                raise _broken(message, "bad_response") from None
            failure = _classified(error, late=bool(late), reused=tap.reused)
            if isinstance(failure, Unreachable) and failure.phase == "tls":
                self.log.warn(
                    "No secure connection to backend {backend}: {reason}",
                    backend=backend.name,
                    reason=_reason(error),
                )
            raise failure from None
        finally:
            if timer.active():
                timer.cancel()
        tap.answered()
        return BackendAnswer(response.original, tap, self._reactor, timeouts)

    def _endpoint_factory(self, connect_timeout: float, ca: str) -> Endpoints:
        key = (connect_timeout, ca)
        factory = self._endpoints.get(key)
        if factory is None:
            factory = Endpoints(self._reactor, self._policy(ca), connect_timeout)
            self._endpoints[key] = factory
        return factory

    def _policy(self, ca: str) -> Any:
        """Whom to trust; the system's authorities where ``ca`` names none. Raises Unreachable."""
        policy = self._policies.get(ca)
        if policy is None:
            try:
                trusted = [Certificate.loadPEM(each) for each in _CERTIFICATE.findall(ca)]
            except OpenSSLError:
                message = "the certificates to trust cannot be read"
                raise Unreachable(_unreachable(message, "tls"), phase="tls") from None
            policy = BrowserLikePolicyForHTTPS(trustRoot=trustRootFromCertificates(trusted))
            self._policies[ca] = policy
        return policy


class _StaleConnection(Exception):
    """A kept-alive connection had died before our request reached the backend."""


def _headers(backend: Backend, outbound: Outbound) -> Headers:
    headers = Headers()
    for name, value in (*outbound.headers, *backend.headers):
        headers.setRawHeaders(name, [value])
    if backend.credential is not None:
        name, before = credential(backend.dialect)
        headers.setRawHeaders(name, [before + backend.credential.reveal()])
    return headers


def _cause(error: Exception) -> Any:
    """What is inside Twisted's wrappings."""
    reasons: list[Any] = [error]
    while isinstance(reasons[0], _ANSWER_LOST):
        reasons = [reason.value for reason in reasons[0].reasons] or [None]
    return reasons[0]


def _reason(error: Exception) -> str:
    """Why a handshake failed, as OpenSSL or service_identity say it."""
    cause = _cause(error)
    if isinstance(cause, VerificationError):
        return "the certificate is for another name"
    said = cause.args[0] if cause.args else ""
    if isinstance(said, list):
        said = "; ".join(str(entry[-1]) for entry in said)
    return str(said) or type(cause).__name__


def _classified(error: Exception, *, late: bool, reused: bool) -> Exception:
    """Which of ours a failure of Twisted's client is."""
    if late:
        return TimedOut(_slow("the backend sent no answer in time", "timeout_headers"))
    cause = _cause(error)
    if isinstance(cause, DNSLookupError):
        return Unreachable(_unreachable("the backend's host name was not found", "dns"))
    if isinstance(cause, TimeoutError):
        return TimedOut(
            _slow("connecting to the backend took too long", "timeout_connect"), sent=False
        )
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable(_unreachable("the backend refused the connection", "refused"))
    if isinstance(cause, ConnectError):
        return Unreachable(_unreachable("the backend cannot be reached", "unreachable"))
    if isinstance(cause, OpenSSLError | VerificationError) and not reused:
        return Unreachable(
            _unreachable("a secure connection to the backend failed", "tls"), phase="tls"
        )
    if isinstance(error, _ANSWER_LOST):
        if reused:
            return _StaleConnection()
        if type(cause).__module__.startswith("twisted.internet"):
            return _broken("the backend closed the connection", "closed_before_headers")
    return _broken("the backend's answer is not valid HTTP", "bad_response")


def _broken(message: str, code: str) -> Broken:
    return Broken(ErrorInfo(kind="bad_upstream", message=message, code=code))


def _slow(message: str, code: str) -> ErrorInfo:
    return ErrorInfo(kind="timeout", message=message, code=code)


def _unreachable(message: str, code: str) -> ErrorInfo:
    return ErrorInfo(kind="unreachable", message=message, code=code)
