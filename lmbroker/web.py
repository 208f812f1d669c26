"""The clients' door: Klein routes, who calls, size limit, errors in the client's dialect.

``Front(broker).resource()`` is an ordinary ``IResource``: the daemon puts it at the root of its
own site, anybody else may put it anywhere in theirs.
"""

from collections.abc import Callable, Container, Coroutine, Mapping
from io import BytesIO
from typing import Any

import msgspec
from klein import Klein
from klein.resource import KleinResource
from prometheus_client import CollectorRegistry
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException

from lmbroker import cors, models, request_paths
from lmbroker.adapters.catalog import ADAPTERS
from lmbroker.broker import STREAM_HEADERS, Answer, Broker
from lmbroker.call import Call, Caller, Dialect, Operation, Record
from lmbroker.envelope import read
from lmbroker.error_answers import REASONS, error_answer, new_id
from lmbroker.errors import BackendRefused, BrokerError, ErrorInfo, Refused
from lmbroker.headers import REQUEST_ID, Pairs, from_error, identity
from lmbroker.keys import caller_of
from lmbroker.metrics import exposition
from lmbroker.offload import LARGE_ENVELOPE
from lmbroker.routing import unknown_model
from lmbroker.signs_of_life import NO_SIGNS, Signs, SignsOfLife, told_late
from lmbroker.unified import json_text

MODES = ("default", "strict", "lenient")

Operate = Callable[[Call, Record], Coroutine[Any, Any, Answer]]


class Front:
    """The routes. ``registry`` is what ``/metrics`` shows; None hides it, at any time. ``settle``
    is called before it is shown: all that has ended is then counted."""

    log = Logger()

    app = Klein()
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False

    def __init__(
        self,
        broker: Broker,
        registry: CollectorRegistry | None = None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._settle = settle
        self.registry = registry
        self._created = int(broker.wall())
        self._calls: set[_Live] = set()
        self.draining = False
        """No more calls are wanted: ``/ready`` says so."""
        self.unknown_path: Callable[[request_paths.Cause], None] = lambda cause: None
        """Is told why a path that somebody asked for is not served."""

    def end(self, error: ErrorInfo) -> None:
        """End every call now: streams with ``error`` in band, others with it as their answer."""
        for live in list(self._calls):
            live.end(error)

    def resource(self, only: Container[bytes] | None = None) -> IResource:
        """The routes as a resource for ``twisted.web``; ``only`` has the paths that it shows,
        None for all."""
        return _Resource(self.app, self._broker, only)

    # Routes.

    @app.route("/v1/chat/completions", methods=["POST"])
    def chat_completions(self, request: Any) -> "Deferred[None]":
        return self._serve(request, "chat", "openai", self._broker.chat)

    @app.route("/v1/messages", methods=["POST"])
    def messages(self, request: Any) -> "Deferred[None]":
        return self._serve(request, "chat", "anthropic", self._broker.chat)

    @app.route("/v1/messages/count_tokens", methods=["POST"])
    def count_tokens(self, request: Any) -> "Deferred[None]":
        return self._serve(request, "count_tokens", "anthropic", self._broker.count_tokens)

    @app.route("/v1/embeddings", methods=["POST"])
    def embeddings(self, request: Any) -> "Deferred[None]":
        return self._serve(request, "embeddings", "openai", self._broker.embeddings)

    @app.route("/v1/models", methods=["GET"])
    async def list_models(self, request: Any) -> bytes:
        query = {
            name.decode("latin-1"): values[0].decode("latin-1")
            for name, values in request.args.items()
        }
        try:
            aliases = await self._broker.listing.all(self._caller(request))
            return _json(request, 200, models.page(aliases, self._created, query))
        except Refused as error:
            return self._refuse(request, error)

    @app.route("/v1/models/<path:model>", methods=["GET"])
    async def show_model(self, request: Any, model: str) -> bytes:
        try:
            alias = await self._broker.listing.one(self._caller(request), model)
        except Refused as error:
            return self._refuse(request, error)
        if alias is None:
            return self._refuse(request, unknown_model(model))
        return _json(request, 200, models.entry(alias, self._created))

    @app.route("/health", methods=["GET"])
    def health(self, request: Any) -> bytes:
        return _json(request, 200, {"status": "ok"})

    @app.route("/ready", methods=["GET"])
    def ready(self, request: Any) -> bytes:
        if self.draining:
            return _json(request, 503, {"status": "draining"})
        return _json(request, 200, {"status": "ready"})

    @app.route("/api/hello", methods=["GET"])
    def hello(self, request: Any) -> bytes:
        return _json(request, 200, {"message": "hello"})

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Any) -> bytes:
        if self.registry is None:
            return self._refuse(request, _unknown_url(request.lmbroker_path))
        self._settle()
        body, content_type = exposition(self.registry)
        request.setHeader("content-type", content_type)
        return body

    # Errors that no call belongs to.

    @app.handle_errors(HTTPException)
    def _no_route(self, request: Any, failure: Failure) -> bytes:
        error: Any = failure.value
        status = error.code or 500
        if status == 405:
            allow = ", ".join(sorted(error.valid_methods or ()))
            request.setHeader("allow", allow)
            info = ErrorInfo(
                kind="invalid_request",
                message=f"this path takes {allow} only",
                code="method_not_allowed",
            )
        else:
            status, info = 404, self._unknown(request)
        return _error(request, info, status)

    def _unknown(self, request: Any) -> ErrorInfo:
        """The error for a path that is not served, which is counted and logged."""
        path = request.lmbroker_path
        why = request_paths.cause(path)
        self.unknown_path(why)
        self.log.info(
            "Unknown path {method} {path} ({why})",
            method=request_paths.shown(request.method.decode("latin-1")),
            path=request_paths.shown(path),
            why=why.replace("_", " "),
            fields={"client": getattr(request.getClientAddress(), "host", "")},
        )
        return _unknown_url(path).info

    @app.handle_errors(Exception)
    def _fault(self, request: Any, failure: Failure) -> bytes:
        self.log.error("A route failed: {type}", type=type(failure.value).__name__)
        return _error(request, _FAULT)

    def _refuse(self, request: Any, error: BrokerError) -> bytes:
        return _error(request, error.info)

    # Calls.

    def _serve(
        self, request: Any, operation: Operation, dialect: Dialect, operate: Operate
    ) -> "Deferred[None]":
        live = _Live()
        self._calls.add(live)
        serving = Deferred.fromCoroutine(self._call(request, operation, dialect, operate, live))
        live.serving = serving
        return serving

    async def _call(
        self,
        request: Any,
        operation: Operation,
        dialect: Dialect,
        operate: Operate,
        live: "_Live",
    ) -> None:
        """One call from its body to its end. Never raises: once bytes were written, an exception
        would make Klein append an HTML page to the stream."""
        record = self._broker.open(new_id(), operation, dialect)

        def left(_: object = None) -> None:
            record.client_left = True
            if live.serving is not None:
                live.serving.cancel()

        # The requests of our own site know a shorter way.
        when_left = getattr(request, "when_left", None)
        if when_left is None:
            request.notifyFinish().addErrback(left)
        else:
            when_left(left)
        try:
            call = await self._read(request, record)
            if call.stream:
                live.signs = self._signs(request, record, call)
            try:
                answer = await operate(call, record)
            finally:
                live.signs.stop()
            # Nothing can be sent again from here on, and a stream may last for minutes.
            del call
            let_go = getattr(request, "let_go", None)
            if let_go is not None:
                let_go()
            live.answer = answer
            record.status = answer.status
            if live.signs.given:
                live.signs.tell(told_late(answer.headers))
            else:
                self._head(request, answer.status, answer.headers)
            await answer.deliver(request)
        except CancelledError:
            if live.ended is None:
                record.client_left = True
            elif not record.client_left:
                self._tell(request, record, live.ended, in_band=live.signs.given)
        except BrokerError as error:
            if not record.client_left:
                self._tell(request, record, error, in_band=live.signs.given)
        except Exception:
            self.log.failure("A call failed")
            record.outcome, record.code = "failed", "internal_error"
            if record.client_left:
                pass
            elif request.startedWriting and live.answer is not None:
                # Not loseConnection: Klein finishes the request, which would look whole.
                request.transport.abortConnection()
            else:
                self._tell(request, record, BrokerError(_FAULT), in_band=live.signs.given)
                record.outcome = "failed"
        finally:
            record.bytes_out += live.signs.bytes_out
            self._calls.discard(live)
            self._broker.close(record)

    async def _read(self, request: Any, record: Record) -> Call:
        config = self._broker.config
        if len(self._calls) > config.limits.calls:
            raise _busy()
        headers, repeated = _received(request)
        caller = caller_of(config.keys, headers, repeated)
        record.caller = caller.name
        # The requests of our own site know a shorter way.
        take = getattr(request, "take_body", None)
        body = _body(request) if take is None else take()
        record.bytes_in = len(body)
        limit = config.limits.body_limit(request.lmbroker_path)
        if len(body) > limit:
            raise Refused(
                "too_large",
                f"the request body is larger than {limit} bytes",
                code="request_too_large",
            )
        # A large body holds no other call up.
        large = len(body) >= LARGE_ENVELOPE
        head = await self._broker.offload.envelope(body) if large else read(body)
        record.stream = head.stream
        mode: Any = headers.get("x-lmbroker-mode")
        if mode is not None and mode not in MODES:
            raise Refused(
                "invalid_request",
                f"x-lmbroker-mode must be one of {', '.join(MODES)}",
                param="x-lmbroker-mode",
                code="invalid_value",
            )
        return Call(
            id=record.id,
            operation=record.operation,
            dialect=record.dialect,
            alias=head.model,
            body=body,
            fields=head.fields,
            stream=head.stream and record.operation == "chat",
            query=request.uri.partition(b"?")[2],
            headers=headers,
            caller=caller,
            mode=mode,
        )

    def _caller(self, request: Any) -> Caller:
        """Raises Refused where no valid key is told."""
        return caller_of(self._broker.config.keys, *_received(request))

    def _signs(self, request: Any, record: Record, call: Call) -> Signs:
        """For the client of a stream; when, says the first target of its alias."""
        route = self._broker.config.alias(call.alias)
        if route is None or not route.targets:
            return NO_SIGNS

        def head() -> None:
            # Nothing of the call: this is there for as long as its answer.
            record.status = 200
            told = identity(record.dialect, record.id)
            self._head(request, 200, (*STREAM_HEADERS, *told))

        return SignsOfLife(
            self._broker.clock,
            route.targets[0].timeouts,
            ADAPTERS[call.dialect].ping(started=False),
            head=head,
            write=request.write,
        )

    def _tell(self, request: Any, record: Record, error: BrokerError, *, in_band: bool) -> None:
        """The error that ends a call before its answer began: an HTTP answer, or an event of the
        stream where the client has the head of it already."""
        info = error.info
        record.code = info.label
        if in_band:
            record.outcome = "stream_error"
            out = ADAPTERS[record.dialect].stream_error(info, record.id)
            record.bytes_out = len(out)
            request.write(out)
            return
        record.outcome = "refused" if isinstance(error, Refused) else "backend_error"
        status, value = ADAPTERS[record.dialect].encode_error(info, record.id)
        body = json_text.encode(value)
        native = error.native if isinstance(error, BackendRefused) else None
        if native is not None:
            status, body = native
        record.status = status
        record.bytes_out = len(body)
        self._head(
            request,
            status,
            (
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                (REQUEST_ID[record.dialect], info.backend_request_id or record.id),
                ("x-lmbroker-request-id", record.id),
                *from_error(info, native=native is not None),
                *(error.headers if isinstance(error, BackendRefused) else ()),
            ),
        )
        request.write(body)

    def _head(self, request: Any, status: int, headers: Pairs) -> None:
        reason = REASONS.get(status, b"Unknown Status")
        # The requests of our own site take them all at once.
        together = getattr(request, "set_head", None)
        headers = (*headers, *request.lmbroker_cors) if request.lmbroker_cors else headers
        if together is not None:
            together(status, reason, headers)
            return
        request.setResponseCode(status, reason)
        for name, value in headers:
            request.setHeader(name, value)


class _Live(msgspec.Struct, eq=False):
    """One call that is being served. ``ended``: why it was ended from here."""

    serving: "Deferred[None] | None" = None
    answer: Answer | None = None
    ended: Refused | None = None
    signs: Signs = NO_SIGNS

    def end(self, error: ErrorInfo) -> None:
        if self.answer is not None:
            self.answer.fail(error)
        elif self.serving is not None and not self.serving.called:
            self.ended = Refused(
                error.kind, error.message, code=error.code, retry_after=error.retry_after
            )
            self.serving.cancel()


class _Resource(KleinResource):
    """Klein's resource, with JSON for a path that is no UTF-8, and without the ``Host`` header:
    routing must not depend on it, and a malformed one must not become a traceback."""

    log = Logger()

    def __init__(self, app: Klein, broker: Broker, only: Container[bytes] | None = None) -> None:
        super().__init__(app)
        self._broker = broker
        self._only = only

    def render(self, request: Any) -> Any:
        path: bytes = request.path
        ours = hasattr(request, "set_head")
        if not ours:
            request.responseHeaders.removeHeader("server")
        if not ours or request.prepath or b"%" in path:
            path = b"/" + b"/".join(request.postpath)
        request.lmbroker_path = path.decode("utf-8", "replace")
        request.lmbroker_cors = ()
        origins = self._broker.config.server.cors_origins
        if origins:
            received = _received(request)[0]
            asked = cors.preflight(origins, received) if request.method == b"OPTIONS" else ()
            if asked:
                return _preflight(request, asked)
            request.lmbroker_cors = cors.allowed(origins, received)
        endpoint = _POSTED.get(path) if request.method == b"POST" else None
        if endpoint is None:
            meant = request_paths.meant(request.lmbroker_path)
            if meant is not None:
                # The client's base URL is wrong in a way that leaves no doubt.
                request.lmbroker_path, path = meant, meant.encode()
                request.postpath = path[1:].split(b"/")
                endpoint = _POSTED.get(path) if request.method == b"POST" else None
        if endpoint is not None and (self._only is None or path in self._only):
            # What Klein does for a route that it has found, for those that nobody need look for:
            # its matching takes as long as all the rest of this door.
            serving: Any = self._app.execute_endpoint(endpoint, request)
            serving.addBoth(self._served, request)
            return NOT_DONE_YET
        request.getRequestHostname = lambda: b"localhost"
        if not request.method.isupper():  # Werkzeug would take ``get`` for GET
            request.method = b"-" + request.method
        try:
            (request.path + path).decode("utf-8")
        except UnicodeDecodeError:
            return _error(request, _NOT_UTF8)
        if self._only is not None and path not in self._only:
            return _error(request, _unknown_url(request.lmbroker_path).info)
        return super().render(request)

    def _served(self, result: Any, request: Any) -> None:
        if isinstance(result, Failure):
            self.log.failure("A call failed", result)
        elif request.channel is not None:  # its client has not left
            request.finish()


_POSTED = {
    b"/v1/chat/completions": "chat_completions",
    b"/v1/messages": "messages",
    b"/v1/messages/count_tokens": "count_tokens",
    b"/v1/embeddings": "embeddings",
}
"""The routes of calls: path -> name of the route."""

_NOT_UTF8 = ErrorInfo(kind="invalid_request", message="the path is not UTF-8")
_FAULT = ErrorInfo(kind="server", message="the broker failed to serve this call")


def _body(request: Any) -> bytes:
    """All of it: a stream may last for minutes, and nobody reads its request again."""
    body: bytes = request.content.read()
    request.content.close()
    request.content = BytesIO()
    return body


def _busy() -> Refused:
    return Refused(
        "overloaded",
        "the broker is serving as many calls as it may",
        code="server_is_overloaded",
        retry_after="1",
    )


def _unknown_url(path: str) -> Refused:
    return Refused("not_found", request_paths.problem(path), code="unknown_url")


def _received(request: Any) -> tuple[Mapping[str, str], Container[str]]:
    """The headers, names in lower case: the first value of each, and which came repeatedly."""
    # The requests of our own site have them at hand.
    received: Mapping[str, str] | None = getattr(request, "received", None)
    if received is not None:
        return received, ()
    found = [
        (name.decode("latin-1").lower(), values)
        for name, values in request.requestHeaders.getAllRawHeaders()
    ]
    repeated = {name for name, values in found if len(values) > 1}
    return {name: values[0].decode("latin-1") for name, values in found}, repeated


def _error(request: Any, info: ErrorInfo, status: int | None = None) -> bytes:
    answer = error_answer(request.lmbroker_path, _received(request)[0], info, status)
    request.setResponseCode(answer.status, REASONS.get(answer.status))
    for name, value in (*answer.headers, *request.lmbroker_cors):
        request.setHeader(name, value)
    return answer.body


def _preflight(request: Any, headers: Pairs) -> bytes:
    request.setResponseCode(204)
    for name, value in headers:
        request.setHeader(name, value)
    return b""


def _json(request: Any, status: int, value: Any) -> bytes:
    body = msgspec.json.encode(value)
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("content-length", str(len(body)))
    for name, told in request.lmbroker_cors:
        request.setHeader(name, told)
    return body
