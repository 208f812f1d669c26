"""The HTTP answer that reports an error to a client for whom no call was opened yet.

In whose dialect it is, under which id, with which headers.
"""

from collections.abc import Container, Iterator
from http import HTTPStatus

import msgspec

from lmbroker import json_text
from lmbroker.broker.new_ids import new_request_id
from lmbroker.call import Dialect
from lmbroker.errors import ErrorInfo
from lmbroker.headers import Pairs, from_error
from lmbroker.translation.dialects.catalog import ADAPTERS

REASONS = {each.value: each.phrase.encode() for each in HTTPStatus} | {529: b"Overloaded"}
"""The reason phrase of each status. Twisted knows none that came after RFC 2616."""


def family(path: str, headers: Container[str] = ()) -> str:
    """Return the dialect in which errors on a path are reported, even where it does not exist.

    ``headers`` holds the lower-case names of the request's headers: where the path is no dialect's
    own, a header may show which one the client speaks.
    """
    for name, adapter in ADAPTERS.items():
        if path in adapter.facts.client_paths or path.startswith(adapter.facts.own_paths):
            return name
    for name, adapter in ADAPTERS.items():
        if any(header in headers for header in adapter.facts.own_headers):
            return name
    return next(iter(ADAPTERS))


def own_headers() -> Iterator[str]:
    """Return the request headers, in lower case, that show which dialect a client speaks."""
    return (name for adapter in ADAPTERS.values() for name in adapter.facts.own_headers)


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole HTTP answer.

    ``headers`` hold content type and length, request id and the words on trying again.
    """

    status: int
    request_id: str
    headers: Pairs
    body: bytes


_STATUS = {"unsupported_content_encoding": 415}
"""Statuses that follow from what was wrong, by the error's code, and not from its kind."""


def error_answer(
    path: str, headers: Container[str], info: ErrorInfo, status: int | None = None
) -> ErrorAnswer:
    """Return the answer with ``info`` to a request that is no call, in the dialect of its ``path``.

    ``status`` is given where it does not follow from the error.
    """
    return call_error_answer(family(path, headers), info, new_request_id(), status=status)


def call_error_answer(
    dialect: Dialect,
    info: ErrorInfo,
    request_id: str,
    *,
    status: int | None = None,
    native: tuple[int, bytes] | None = None,
    more: Pairs = (),
) -> ErrorAnswer:
    """Return the answer with ``info`` to a client of ``dialect``.

    ``native`` is (status, body) where a backend's own words are passed on, ``more`` are further
    headers.
    """
    adapter = ADAPTERS[dialect]
    usual, value = adapter.encode_error(info, request_id)
    body = json_text.encode(value)
    sent = status or _STATUS.get(info.code or "", usual)
    if native is not None:
        sent, body = native
    return ErrorAnswer(
        status=sent,
        request_id=request_id,
        headers=(
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            (adapter.facts.headers.request_id, info.backend_request_id or request_id),
            ("x-lmbroker-request-id", request_id),
            *from_error(info, native=native is not None),
            *more,
        ),
        body=body,
    )
