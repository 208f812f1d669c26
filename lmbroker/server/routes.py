"""The routes of the clients' side, and the answers that no call is needed for.

``Front(broker).resource()`` is an ordinary ``IResource``: the daemon puts it at the root of its
own site, anybody else may put it anywhere in theirs.
"""

from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

from klein import Klein
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from lmbroker import redaction
from lmbroker.broker.broker import Broker
from lmbroker.broker.new_ids import new_request_id
from lmbroker.call import Caller, Operation, Record
from lmbroker.errors import BrokerError, ErrorInfo, Refused
from lmbroker.observers.exposition import exposition
from lmbroker.observers.usage_report import check_by, seconds_of, shown_usage
from lmbroker.routing.aliases import unknown_model
from lmbroker.server import request_paths
from lmbroker.server.callers import CallerHook, caller_by
from lmbroker.server.error_answers import family
from lmbroker.server.incoming import Incoming
from lmbroker.server.resource import (
    RoutesResource,
    error_body,
    incoming_of,
    json_body,
    unknown_url,
    wrong_method,
)
from lmbroker.server.served_call import FAULT, Operate, ServedCall, log_refused_key
from lmbroker.workflows import model_list

UsageOf = Callable[[str, float, Sequence[str]], "Deferred[Any]"]
"""(caller, since, by) -> what the caller has used (``usage_report.report``), None where nothing is
kept."""


class Front:
    """The routes of a broker.

    ``registry`` is what ``/metrics`` shows; None hides it, and may be set at any time. ``settle``
    is called before it is shown, so that all calls that have ended are counted by then.
    """

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
        self._calls: set[ServedCall] = set()
        self._operations: dict[Operation, Operate] = {
            "chat": broker.chat,
            "completions": broker.chat,
            "embeddings": broker.embeddings,
            "count_tokens": broker.count_tokens,
            "compact": broker.chat,
        }
        self.draining = False
        """Whether the broker is about to stop, as ``/ready`` reports it."""
        self.caller_hook: CallerHook | None = None
        """Who calls, as a program says that embeds the broker; None leaves it to the keys."""
        self.usage_of: UsageOf | None = None
        self.away: Callable[..., Any] = _at_once
        """Does what takes long: (work, arguments) -> what it returns, or a Deferred of that."""
        self.unknown_path: Callable[[request_paths.Cause], None] = lambda cause: None
        """Called with the reason why a requested path is not served."""

    def end(self, error: ErrorInfo) -> None:
        """End every call now: streams with ``error`` in band, others with it as their answer."""
        for call in list(self._calls):
            call.end(error)

    def resource(self, only: Container[bytes] | None = None) -> IResource:
        """Return the routes as a resource of ``twisted.web``.

        ``only`` has the paths that it serves, None for all.
        """
        return RoutesResource(
            self.app, self._serve, lambda: self._broker.config.server.cors_origins, only
        )

    # The routes without a call; ``RoutesResource`` has those of calls.

    async def list_models(self, request: IRequest) -> bytes:
        """Return the models that the caller may use, a page of them."""
        query = {
            name.decode("latin-1"): values[0].decode("latin-1")
            for name, values in request.args.items()
        }
        path = _list_path(request)
        try:
            async with self._admitted(request) as caller:
                aliases = await self._broker.listing.all(caller)
            return json_body(request, 200, model_list.page(aliases, self._created, query, path))
        except Refused as error:
            return self._refuse(request, error)

    async def show_model(self, request: IRequest, model: str) -> bytes:
        """Return one model that the caller may use."""
        try:
            async with self._admitted(request) as caller:
                alias = await self._broker.listing.one(caller, model)
        except Refused as error:
            return self._refuse(request, error)
        if alias is None:
            return self._refuse(request, unknown_model(model))
        entry = model_list.entry(alias, self._created, _list_path(request))
        return json_body(request, 200, entry)

    for _path in model_list.list_paths():
        app.route(_path, methods=["GET"], endpoint=f"list {_path}")(list_models)
        app.route(f"{_path}/<path:model>", methods=["GET"], endpoint=f"show {_path}")(show_model)
    del _path

    @app.route("/v1/usage", methods=["GET"])
    async def show_usage(self, request: IRequest) -> bytes:
        """Return what the caller has used: over ``since`` (``7d``), by the words in ``by``."""
        try:
            caller = await self._caller(request)
            since = self._broker.wall() - seconds_of(_argument(request, "since", "30d"))
            by = [word for word in _argument(request, "by", "alias").split(",") if word]
            check_by(by)
        except ValueError as error:
            return self._refuse(request, Refused("invalid_request", str(error)))
        except Refused as error:
            return self._refuse(request, error)
        found = await self.usage_of(caller.name, since, by) if self.usage_of else None
        limiter = self._broker.limiter
        if found is None and limiter is None:
            return self._refuse(request, unknown_url(incoming_of(request).route_path))
        shown = shown_usage(caller.name, since, found or ())
        if limiter is not None:
            shown["limits"] = await limiter.left(caller.name, self._broker.config.aliases)
        return json_body(request, 200, shown)

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Answer 200 while the process runs."""
        return json_body(request, 200, {"status": "ok"})

    @app.route("/ready", methods=["GET"])
    def ready(self, request: IRequest) -> bytes:
        """Answer 200 while calls are welcome, 503 once the broker is about to stop."""
        if self.draining:
            return json_body(request, 503, {"status": "draining"})
        return json_body(request, 200, {"status": "ready"})

    @app.route("/api/hello", methods=["GET"])
    def hello(self, request: IRequest) -> bytes:
        """Answer 200: some clients of Anthropic ask this before their first call."""
        return json_body(request, 200, {"message": "hello"})

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: IRequest) -> "bytes | Deferred[bytes]":
        """Return the metrics as Prometheus reads them; 404 where they are hidden."""
        if self.registry is None:
            return self._refuse(request, unknown_url(incoming_of(request).route_path))
        self._settle()
        received = incoming_of(request).received_headers()[0]
        written = self.away(exposition, self.registry, received.get("accept", ""))
        if isinstance(written, Deferred):
            return written.addCallback(_written, request)
        return _written(written, request)

    # Errors without a call.

    @app.handle_errors(HTTPException)
    def _no_route(self, request: IRequest, failure: Failure) -> bytes:
        error: Any = failure.value
        status = error.code or 500
        if status == 405:
            return wrong_method(request, ", ".join(sorted(error.valid_methods or ())))
        return error_body(request, self._unknown(request), 404)

    def _unknown(self, request: IRequest) -> ErrorInfo:
        """Return the error for a path that is not served, which is counted and logged."""
        path = incoming_of(request).route_path
        why = request_paths.cause(path)
        self.unknown_path(why)
        self.log.info(
            "Unknown path {method} {path} ({why})",
            method=redaction.shown(request.method.decode("latin-1")),
            path=redaction.shown(path),
            why=why.replace("_", " "),
            fields={"client": incoming_of(request).client_host},
        )
        return unknown_url(path).info

    @app.handle_errors(Exception)
    def _fault(self, request: IRequest, failure: Failure) -> bytes:
        self.log.error("A route failed: {type}", type=type(failure.value).__name__)
        return error_body(request, FAULT)

    def _refuse(self, request: IRequest, error: BrokerError) -> bytes:
        log_refused_key(self.log, incoming_of(request), error)
        return error_body(request, error.info)

    async def _caller(self, request: IRequest) -> Caller:
        """Return who sent the request. Raises Refused where it has no valid key."""
        broker, received = self._broker, incoming_of(request).received_headers()
        return await caller_by(self.caller_hook, broker.config, *received)

    @asynccontextmanager
    async def _admitted(self, request: IRequest) -> AsyncIterator[Caller]:
        """Give who sent a request for models, which counts by the limit rules while it is served.

        Raises Refused where it has no valid key, and by the rules.
        """
        caller = await self._caller(request)
        limiter, incoming = self._broker.limiter, incoming_of(request)
        if limiter is None:
            yield caller
            return
        record = Record(
            id=new_request_id(),
            operation="models",
            dialect=family(incoming.route_path, incoming.received_headers()[0]),
            opened_at=self._broker.clock.seconds(),
        )
        try:
            await limiter.admit_listing(caller, record)
            yield caller
        finally:
            for name, value in record.limit_headers:
                request.setHeader(name, value)
            if record.reservation is not None:
                record.reservation.settle(record)

    def _serve(self, incoming: Incoming, operation: Operation, dialect: str) -> "Deferred[None]":
        call = ServedCall(self._broker, self._calls, incoming, self.caller_hook)
        return call.serve(operation, dialect, self._operations[operation])


def _at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


def _written(written: tuple[bytes, str], request: IRequest) -> bytes:
    """Set the headers for a body of this content type, and return the body."""
    body, content_type = written
    request.setHeader("vary", "accept")
    request.setHeader("content-type", content_type)
    return body


def _argument(request: IRequest, name: str, default: str) -> str:
    """Return the value of a query parameter."""
    values: list[bytes] = request.args.get(name.encode(), [])
    return values[0].decode("latin-1") if values else default


def _list_path(request: IRequest) -> str:
    """Return the path of the list of models to which a request belongs."""
    path = incoming_of(request).route_path
    return next(each for each in model_list.list_paths() if path.startswith(each))
