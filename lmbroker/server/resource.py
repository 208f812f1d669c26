"""The routes as a resource of ``twisted.web``, and the answers to requests that are no calls."""

from collections.abc import Callable, Container, Sequence
from typing import Any

import msgspec
from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.server import NOT_DONE_YET

from lmbroker.call import Operation
from lmbroker.errors import ErrorInfo, Refused
from lmbroker.headers import Pairs
from lmbroker.server import cors, request_paths
from lmbroker.server.error_answers import REASONS, error_answer
from lmbroker.server.http.lean_request import LeanRequest
from lmbroker.server.http.request import Request
from lmbroker.server.incoming import Incoming, StockRequest, TwistedRequest
from lmbroker.translation.dialects.catalog import client_paths

Serve = Callable[[Incoming, Operation, str], "Deferred[None]"]
"""Serves a call: (request, operation, dialect) -> the end of the call, which never fails."""

NO_WEBSOCKETS = 426
"""The status with which clients that open a WebSocket first (Codex) go on to HTTP at once; after
others they try several times."""

_NOT_UTF8 = ErrorInfo(kind="invalid_request", message="the path is not UTF-8")


_WEBSOCKET = ErrorInfo(
    kind="invalid_request",
    message="this broker has no WebSockets: send the request as a POST over HTTP, with "
    '"stream": true for a stream of events',
    code="websocket_not_supported",
)


class RoutesResource(KleinResource):
    """The routes of calls, which the dialects name, and behind them those of a Klein application.

    A path that is not UTF-8 is answered with JSON, too. ``Host`` is ignored: routing must not
    depend on that header, and a malformed one must not become a traceback.
    """

    log = Logger()

    def __init__(
        self,
        app: Klein,
        serve: Serve,
        origins: Callable[[], Sequence[str]],
        only: Container[bytes] | None = None,
    ) -> None:
        """Make the resource; ``serve`` serves the calls."""
        super().__init__(app)
        self._serve = serve
        self._calls = {path.encode(): call for path, call in client_paths().items()}
        self._origins = origins
        self._only = only

    def render(self, request: IRequest) -> Any:
        """Answer a request, by its route."""
        incoming = request if isinstance(request, LeanRequest) else _wrapped(request)
        path: bytes = request.path
        if request.prepath or b"%" in path:
            path = b"/" + b"/".join(request.postpath)
        incoming.route_path = path.decode("utf-8", "replace")
        incoming.cors = ()
        origins = self._origins()
        if origins:
            received = incoming.received_headers()[0]
            asked = cors.preflight(origins, received) if request.method == b"OPTIONS" else ()
            if asked:
                return _preflight(request, asked)
            incoming.cors = cors.allowed(origins, received)
        call = self._calls.get(path)
        if call is None:
            meant = request_paths.meant(incoming.route_path)
            if meant is not None:
                # The client's base URL is wrong in a way that leaves no doubt.
                incoming.route_path, path = meant, meant.encode()
                request.postpath = path[1:].split(b"/")
                call = self._calls.get(path)
        if call is not None and (self._only is None or path in self._only):
            if request.method != b"POST":
                if _opens_websocket(incoming):
                    return error_body(request, _WEBSOCKET, NO_WEBSOCKETS)
                return wrong_method(request, "POST")
            # Not by Klein, whose matching takes as long as all else between a request and its call.
            self._serve(incoming, *call).addBoth(self._served, request)
            return NOT_DONE_YET
        if self._only is None:
            unserved = request_paths.unserved(incoming.route_path)
            if unserved is not None:
                return error_body(request, unserved)
        request.getRequestHostname = lambda: b"localhost"  # type: ignore[method-assign]
        if not request.method.isupper():  # Werkzeug would take ``get`` for GET
            request.method = b"-" + request.method
        try:
            (request.path + path).decode("utf-8")
        except UnicodeDecodeError:
            return error_body(request, _NOT_UTF8)
        if self._only is not None and path not in self._only:
            return error_body(request, unknown_url(incoming.route_path).info)
        return super().render(request)

    def _served(self, result: Any, request: IRequest) -> None:
        if isinstance(result, Failure):
            self.log.failure("A call failed", result)
        elif request.channel is not None:  # type: ignore[attr-defined]  # its client has not left
            request.finish()


def _opens_websocket(incoming: Incoming) -> bool:
    """Return whether the request asks for a WebSocket in the place of an answer (RFC 6455)."""
    return incoming.received_headers()[0].get("upgrade", "").lower() == "websocket"


def _wrapped(request: Any) -> Incoming:
    """Return the ``Incoming`` over a request that is none itself, which keeps it."""
    request.responseHeaders.removeHeader("server")
    incoming = StockRequest(request) if isinstance(request, Request) else TwistedRequest(request)
    request.lmbroker_incoming = incoming
    return incoming


def incoming_of(request: IRequest) -> Incoming:
    """Return the request that Klein has given to a route, as an ``Incoming``."""
    if isinstance(request, LeanRequest):
        return request
    incoming: Incoming = request.lmbroker_incoming  # type: ignore[attr-defined]
    return incoming


def unknown_url(path: str) -> Refused:
    """Return the error for a path that is not served."""
    return Refused("not_found", request_paths.problem(path), code="unknown_url")


def wrong_method(request: IRequest, allow: str) -> bytes:
    """Return the body of the answer to a request with a method that its path does not take.

    ``allow`` has the methods that it takes.
    """
    request.setHeader("allow", allow)
    info = ErrorInfo(
        kind="invalid_request",
        message=f"this path takes {allow} only",
        code="method_not_allowed",
    )
    return error_body(request, info, 405)


def error_body(request: IRequest, info: ErrorInfo, status: int | None = None) -> bytes:
    """Return the body of the answer with ``info``, whose status and headers are set on ``request``.

    ``status`` is the HTTP status where it does not follow from the error.
    """
    incoming = incoming_of(request)
    answer = error_answer(incoming.route_path, incoming.received_headers()[0], info, status)
    request.setResponseCode(answer.status, REASONS.get(answer.status))
    for name, value in (*answer.headers, *incoming.cors):
        request.setHeader(name, value)
    # Twisted logs a request for the head alone that is given a body.
    return b"" if request.method == b"HEAD" else answer.body


def _preflight(request: IRequest, headers: Pairs) -> bytes:
    request.setResponseCode(204)
    for name, value in headers:
        request.setHeader(name, value)
    return b""


def json_body(request: IRequest, status: int, value: Any) -> bytes:
    """Set status and headers of an answer on ``request`` and return its body with ``value``."""
    body = msgspec.json.encode(value)
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("content-length", str(len(body)))
    for name, header in incoming_of(request).cors:
        request.setHeader(name, header)
    return body
