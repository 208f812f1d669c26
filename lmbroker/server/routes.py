"""The clients' door: Klein routes, who calls, size limit, errors in the client's dialect.

``Front(broker).resource()`` is an ordinary ``IResource``: the daemon puts it at the root of its
own site, anybody else may put it anywhere in theirs.
"""

from collections.abc import Callable, Container, Coroutine
from io import BytesIO
from typing import Any

import msgspec
from klein import Klein
from prometheus_client import CollectorRegistry
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from lmbroker import body_bounds, redaction
from lmbroker.broker.answers import STREAM_HEADERS, Answer
from lmbroker.broker.broker import Broker
from lmbroker.call import Call, Caller, Dialect, Operation, Record
from lmbroker.config.models import MODES
from lmbroker.envelope import read
from lmbroker.errors import BackendRefused, BrokerError, ErrorInfo, Refused
from lmbroker.headers import Pairs, failed_at, identity
from lmbroker.observers.metrics import exposition
from lmbroker.offload import has_large_envelope
from lmbroker.routing.aliases import unknown_model
from lmbroker.routing.keys import caller_of
from lmbroker.server import content_coding, request_paths
from lmbroker.server.error_answers import REASONS, call_error_answer, new_id
from lmbroker.server.keep_alive_pings import NO_PINGS, KeepAlivePings, Pings, late_headers
from lmbroker.server.resource import (
    RoutesResource,
    error_body,
    json_body,
    received_headers,
    unknown_url,
)
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows import model_list

LARGE_CODED = 16 * 1024
"""Compressed bodies from this length on are decoded in a thread: smaller ones expand to some
megabytes at most, which takes a few milliseconds."""

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
        return RoutesResource(self.app, lambda: self._broker.config.server.cors_origins, only)

    # Routes.

    @app.route("/v1/chat/completions", methods=["POST"])
    def chat_completions(self, request: Any) -> "Deferred[None]":
        return self._serve(request, "chat", "openai", self._broker.chat)

    @app.route("/v1/completions", methods=["POST"])
    def completions(self, request: Any) -> "Deferred[None]":
        return self._serve(request, "completions", "openai", self._broker.chat)

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
            return json_body(request, 200, model_list.page(aliases, self._created, query))
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
        return json_body(request, 200, model_list.entry(alias, self._created))

    @app.route("/health", methods=["GET"])
    def health(self, request: Any) -> bytes:
        return json_body(request, 200, {"status": "ok"})

    @app.route("/ready", methods=["GET"])
    def ready(self, request: Any) -> bytes:
        if self.draining:
            return json_body(request, 503, {"status": "draining"})
        return json_body(request, 200, {"status": "ready"})

    @app.route("/api/hello", methods=["GET"])
    def hello(self, request: Any) -> bytes:
        return json_body(request, 200, {"message": "hello"})

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Any) -> bytes:
        if self.registry is None:
            return self._refuse(request, unknown_url(request.lmbroker_path))
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
        return error_body(request, info, status)

    def _unknown(self, request: Any) -> ErrorInfo:
        """The error for a path that is not served, which is counted and logged."""
        path = request.lmbroker_path
        why = request_paths.cause(path)
        self.unknown_path(why)
        self.log.info(
            "Unknown path {method} {path} ({why})",
            method=redaction.shown(request.method.decode("latin-1")),
            path=redaction.shown(path),
            why=why.replace("_", " "),
            fields={"client": getattr(request.getClientAddress(), "host", "")},
        )
        return unknown_url(path).info

    @app.handle_errors(Exception)
    def _fault(self, request: Any, failure: Failure) -> bytes:
        self.log.error("A route failed: {type}", type=type(failure.value).__name__)
        return error_body(request, _FAULT)

    def _refuse(self, request: Any, error: BrokerError) -> bytes:
        self._note(request, error)
        return error_body(request, error.info)

    def _note(self, request: Any, error: BrokerError) -> None:
        """Log from where a client came whose key is wrong."""
        if isinstance(error, Refused) and error.info.kind == "auth":
            client = getattr(request.getClientAddress(), "host", "")
            self.log.info("Refused a client's key", fields={"client": client})

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
                live.pings = self._pings(request, record, call)
            try:
                answer = await operate(call, record)
            finally:
                live.pings.stop()
            # Nothing can be sent again from here on, and a stream may last for minutes.
            del call
            let_go = getattr(request, "let_go", None)
            if let_go is not None:
                let_go()
            live.answer = answer
            record.status = answer.status
            if live.pings.begun:
                live.pings.send(late_headers(answer.headers))
            else:
                self._head(request, answer.status, answer.headers)
            await answer.deliver(request)
        except CancelledError:
            if live.ended is None:
                record.client_left = True
            elif not record.client_left:
                self._tell(request, record, live.ended, in_band=live.pings.begun)
        except BrokerError as error:
            if not record.client_left:
                self._tell(request, record, error, in_band=live.pings.begun)
        except Exception:
            self.log.failure("A call failed")
            record.outcome, record.code = "failed", "internal_error"
            if record.client_left:
                pass
            elif request.startedWriting and live.answer is not None:
                # Not loseConnection: Klein finishes the request, which would look whole.
                request.transport.abortConnection()
            else:
                self._tell(request, record, BrokerError(_FAULT), in_band=live.pings.begun)
                record.outcome = "failed"
        finally:
            record.bytes_out += live.pings.bytes_out
            self._calls.discard(live)
            self._broker.close(record)

    async def _read(self, request: Any, record: Record) -> Call:
        config = self._broker.config
        if len(self._calls) > config.limits.calls:
            raise _busy()
        headers, repeated = received_headers(request)
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
        coding = headers.get("content-encoding")
        if coding is not None:
            body = await self._decoded(request, body, coding, limit)
        # A large body holds no other call up.
        large = has_large_envelope(body)
        if large:
            head = await self._broker.offload.envelope(body, config.limits)
        else:
            head = read(body)
            body_bounds.check(body, head.fields, config.limits)
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
            asked=head.model,
            body=body,
            fields=head.fields,
            short_fields=large,
            stream=head.stream and record.operation in ("chat", "completions"),
            query=request.uri.partition(b"?")[2],
            headers=headers,
            caller=caller,
            mode=mode,
        )

    async def _decoded(self, request: Any, body: bytes, header: str, limit: int) -> bytes:
        """``body`` without its compression. Raises Refused."""
        codings = content_coding.codings(header)
        if not codings:
            return body
        if len(body) < LARGE_CODED:
            plain = content_coding.decoded(body, codings, limit)
        else:
            # The libraries let other threads run while they decode.
            plain = await deferToThread(content_coding.decoded, body, codings, limit)
        grow = getattr(request, "grow", None)
        if grow is not None and len(plain) > len(body) and not grow(len(plain) - len(body)):
            raise _no_room()
        return plain

    def _caller(self, request: Any) -> Caller:
        """Raises Refused where no valid key is told."""
        return caller_of(self._broker.config.keys, *received_headers(request))

    def _pings(self, request: Any, record: Record, call: Call) -> Pings:
        """For the client of a stream; when, says the first target of its alias."""
        route = self._broker.config.alias(call.asked)
        if route is None or not route.targets:
            return NO_PINGS

        def head() -> None:
            # Nothing of the call: this is there for as long as its answer.
            record.status = 200
            told = identity(record.dialect, record.id)
            self._head(request, 200, (*STREAM_HEADERS, *told))

        return KeepAlivePings(
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
        native, more = None, Pairs()
        if isinstance(error, BackendRefused):
            native, more = error.native, error.headers
        if record.attempts:
            target = record.attempts[-1].target
            more = (*more, *failed_at(target.backend.name, target.model, len(record.attempts)))
        self._note(request, error)
        answer = call_error_answer(record.dialect, info, record.id, native=native, more=more)
        record.status = answer.status
        record.bytes_out = len(answer.body)
        self._head(request, answer.status, answer.headers)
        request.write(answer.body)

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
    pings: Pings = NO_PINGS

    def end(self, error: ErrorInfo) -> None:
        if self.answer is not None:
            self.answer.fail(error)
        elif self.serving is not None and not self.serving.called:
            self.ended = Refused(
                error.kind, error.message, code=error.code, retry_after=error.retry_after
            )
            self.serving.cancel()


_FAULT = ErrorInfo(kind="server", message="the broker failed to serve this call")


def _body(request: Any) -> bytes:
    """All of it: a stream may last for minutes, and nobody reads its request again."""
    body: bytes = request.content.read()
    request.content.close()
    request.content = BytesIO()
    return body


def _no_room() -> Refused:
    return Refused(
        "overloaded",
        "the broker holds as many request bodies as it takes",
        code="too_many_bodies",
        retry_after="1",
    )


def _busy() -> Refused:
    return Refused(
        "overloaded",
        "the broker is serving as many calls as it may",
        code="server_is_overloaded",
        retry_after="1",
    )
