"""Turns the failures of an HTTP client into our errors; our client fails as Twisted's does."""

import re
import ssl
from typing import Any

from service_identity import VerificationError
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)

from lmbroker.backends.connections import TooLong
from lmbroker.backends.proxy_tunnel import ProxyFailed
from lmbroker.backends.resolver import SHORTAGES
from lmbroker.errors import Broken, ErrorInfo, OutOfResources, TimedOut, Unreachable

_ANSWER_LOST = (ResponseNeverReceived, RequestTransmissionFailed, RequestGenerationFailed)


_CERTIFICATE_REFUSED = re.compile(r"alert (?:.*certificate|unknown ca|access denied)")
"""OpenSSL's texts for the alerts of a server that refused our client certificate (RFC 8446, 6.2). A
TLS 1.2 server that got no certificate sends no more than "handshake failure"."""


class StaleConnection(Exception):
    """A kept-alive connection died before the backend can have begun to work on our request."""


def _cause(error: Exception) -> Any:
    """Return the exception inside of Twisted's wrappers."""
    reasons: list[Any] = [error]
    while isinstance(reasons[0], _ANSWER_LOST):
        reasons = [reason.value for reason in reasons[0].reasons] or [None]
    return reasons[0]


def reason_of(error: Exception) -> str:
    """Return why a TLS handshake failed, in OpenSSL's words or for the name in the certificate."""
    cause = _cause(error)
    if isinstance(cause, VerificationError):
        return "the certificate is for another name"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return (cause.reason or type(cause).__name__).lower().replace("_", " ")
    return str(cause.args[0] if cause.args else "") or type(cause).__name__


def classified(error: Exception, *, late: bool, reused: bool) -> Exception:
    """Return the error of ours for a failed request.

    ``late``: the request was cancelled because it took too long; ``reused``: its connection was
    used before.
    """
    if late:
        return TimedOut(slow("the backend sent no answer in time", "timeout_headers"))
    if isinstance(error, StaleConnection):
        return error
    if isinstance(error, ResponseFailed) and error.reasons[0].check(TooLong):
        return broken("the backend's response headers are too large", "bad_response")
    if isinstance(error, ProxyFailed):
        return _of_the_proxy(error)
    cause = _cause(error)
    if isinstance(cause, DNSLookupError):
        return Unreachable(unreachable("the backend's host name was not found", "dns"))
    if isinstance(cause, TimeoutError):
        return TimedOut(
            slow("connecting to the backend took too long", "timeout_connect"), sent=False
        )
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable(unreachable("the backend refused the connection", "refused"))
    if isinstance(cause, ConnectError) and cause.osError in SHORTAGES:
        return OutOfResources()
    if isinstance(cause, ConnectError):
        return Unreachable(unreachable("the backend cannot be reached", "unreachable"))
    if isinstance(cause, ssl.SSLError | VerificationError) and not reused:
        message = "a secure connection to the backend failed"
        if _CERTIFICATE_REFUSED.search(reason_of(error)):
            message = "the backend did not accept the broker's client certificate, or got none"
        return Unreachable(unreachable(message, "tls"), phase="tls")
    if isinstance(error, _ANSWER_LOST) and _of_the_network(cause, reused):
        return broken("the backend closed the connection", "closed_before_headers")
    return broken("the backend's answer is not valid HTTP", "bad_response")


def _of_the_proxy(error: ProxyFailed) -> Exception:
    message = f"there is no way through the proxy to the backend: {error.reason}"
    if error.code == "timeout_connect":
        return TimedOut(slow(message, error.code), phase="proxy", sent=False)
    return Unreachable(unreachable(message, error.code), phase="proxy")


def _of_the_network(cause: Any, reused: bool) -> bool:
    """Return whether the connection broke.

    TLS of a connection that was used before fails in no other way.
    """
    return reused or type(cause).__module__.startswith("twisted.internet")


def broken(message: str, code: str) -> Broken:
    """Return the error for a backend that broke off, or did not speak HTTP."""
    return Broken(ErrorInfo(kind="bad_upstream", message=message, code=code))


def slow(message: str, code: str) -> ErrorInfo:
    """Return the facts of a timeout."""
    return ErrorInfo(kind="timeout", message=message, code=code)


def unreachable(message: str, code: str) -> ErrorInfo:
    """Return the facts of a backend to which no connection could be made."""
    return ErrorInfo(kind="unreachable", message=message, code=code)
