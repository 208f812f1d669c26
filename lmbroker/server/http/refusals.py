"""The errors for requests that are not read to their end.

A refusal is (error, HTTP status); the status is None where it follows from the error's kind.
"""

from twisted.web import http

from lmbroker.errors import ErrorInfo

Refusal = tuple[ErrorInfo, int | None]

HEADERS_TOO_LARGE = 431

FULL = ErrorInfo(
    kind="overloaded",
    message="the broker has as many open connections as it takes",
    code="too_many_connections",
    retry_after="1",
)
CROWD = ErrorInfo(
    kind="rate_limit",
    message="there are too many open connections from this address",
    code="too_many_connections",
    retry_after="1",
)
BUSY = ErrorInfo(
    kind="overloaded",
    message="the broker holds as many request bodies as it takes",
    code="too_many_bodies",
    retry_after="1",
)


def malformed(problem: str) -> Refusal:
    """Return the refusal of a request that is not strict HTTP/1.1."""
    return _refusal(problem, "malformed_request", http.BAD_REQUEST)


def slow(what: str, seconds: float) -> Refusal:
    """Return the refusal of a request whose deadline has passed.

    ``what`` is ``headers`` or ``body``.
    """
    problem = f"the request's {what} took longer than {seconds:g} seconds"
    return _refusal(problem, "request_timeout", http.REQUEST_TIMEOUT)


def too_many_headers(limit: int) -> Refusal:
    """Return the refusal of a request with more than ``limit`` headers."""
    problem = f"the request has more than {limit} headers"
    return _refusal(problem, "headers_too_large", HEADERS_TOO_LARGE)


def headers_too_large(limit: int) -> Refusal:
    """Return the refusal of a request line and headers of more than ``limit`` bytes together."""
    problem = f"the request's headers are larger than {limit} bytes"
    return _refusal(problem, "headers_too_large", HEADERS_TOO_LARGE)


def header_too_long(limit: int) -> Refusal:
    """Return the refusal of a header line of more than ``limit`` bytes."""
    problem = f"a header is longer than {limit} bytes"
    return _refusal(problem, "headers_too_large", HEADERS_TOO_LARGE)


def request_line_too_long(limit: int) -> Refusal:
    """Return the refusal of a request line of more than ``limit`` bytes."""
    problem = f"the request line is longer than {limit} bytes"
    return _refusal(problem, "uri_too_long", http.REQUEST_URI_TOO_LONG)


def body_too_large(limit: int) -> Refusal:
    """Return the refusal of a body of more than ``limit`` bytes, announced or received."""
    problem = f"the request body is larger than {limit} bytes"
    return ErrorInfo(kind="too_large", message=problem, code="request_too_large"), None


def _refusal(problem: str, code: str, status: int) -> Refusal:
    return ErrorInfo(kind="invalid_request", message=problem, code=code), status
