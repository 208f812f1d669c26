"""The routes as a resource of ``twisted.web``, and the small answers that no call is needed for."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import msgspec
from klein import Klein
from klein.resource import KleinResource
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from lmbroker.errors import ErrorInfo, Refused
from lmbroker.headers import Pairs
from lmbroker.server import cors, request_paths
from lmbroker.server.error_answers import REASONS, error_answer

_POSTED = {
    b"/v1/chat/completions": "chat_completions",
    b"/v1/completions": "completions",
    b"/v1/messages": "messages",
    b"/v1/messages/count_tokens": "count_tokens",
    b"/v1/embeddings": "embeddings",
}
"""The routes of calls: path -> name of the route."""

_NOT_UTF8 = ErrorInfo(kind="invalid_request", message="the path is not UTF-8")


class RoutesResource(KleinResource):
    """Klein's resource, with JSON for a path that is no UTF-8, and without the ``Host`` header:
    routing must not depend on it, and a malformed one must not become a traceback."""

    log = Logger()

    def __init__(
        self,
        app: Klein,
        origins: Callable[[], Sequence[str]],
        only: Container[bytes] | None = None,
    ) -> None:
        """``origins`` gives those whose pages may call now; ``only`` has the paths that are shown,
        None for all."""
        super().__init__(app)
        self._origins = origins
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
        origins = self._origins()
        if origins:
            received = received_headers(request)[0]
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
            return error_body(request, _NOT_UTF8)
        if self._only is not None and path not in self._only:
            return error_body(request, unknown_url(request.lmbroker_path).info)
        return super().render(request)

    def _served(self, result: Any, request: Any) -> None:
        if isinstance(result, Failure):
            self.log.failure("A call failed", result)
        elif request.channel is not None:  # its client has not left
            request.finish()


def unknown_url(path: str) -> Refused:
    return Refused("not_found", request_paths.problem(path), code="unknown_url")


def received_headers(request: Any) -> tuple[Mapping[str, str], Container[str]]:
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


def error_body(request: Any, info: ErrorInfo, status: int | None = None) -> bytes:
    answer = error_answer(request.lmbroker_path, received_headers(request)[0], info, status)
    request.setResponseCode(answer.status, REASONS.get(answer.status))
    for name, value in (*answer.headers, *request.lmbroker_cors):
        request.setHeader(name, value)
    return answer.body


def _preflight(request: Any, headers: Pairs) -> bytes:
    request.setResponseCode(204)
    for name, value in headers:
        request.setHeader(name, value)
    return b""


def json_body(request: Any, status: int, value: Any) -> bytes:
    body = msgspec.json.encode(value)
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("content-length", str(len(body)))
    for name, told in request.lmbroker_cors:
        request.setHeader(name, told)
    return body
