"""Reads a client's request as a ``Call``: caller, body within its limits, model."""

from typing import Any

from twisted.internet.threads import deferToThread

from lmbroker import bounds
from lmbroker.broker.new_ids import trace_of
from lmbroker.broker.trace_context import parsed_request_id
from lmbroker.call import Call, Record
from lmbroker.config.config import Config
from lmbroker.config.models import MODES
from lmbroker.envelope import read
from lmbroker.errors import ErrorInfo, Refused
from lmbroker.headers import ReceivedHeaders
from lmbroker.offload import has_large_envelope
from lmbroker.offload.offload import Offload
from lmbroker.routing.keys import caller_of
from lmbroker.server import content_coding
from lmbroker.server.callers import CallerHook, hooked
from lmbroker.server.http.refusals import BUSY
from lmbroker.server.incoming import Incoming
from lmbroker.translation.dialects.catalog import ADAPTERS

LARGE_CODED = 16 * 1024
"""Compressed bodies from this length on are decoded in a thread: smaller ones expand to some
megabytes at most, which takes a few milliseconds."""


def note_request(incoming: Incoming, record: Record, ratio: float | None) -> ReceivedHeaders:
    """Note in ``record`` who sent a request and to which trace it belongs; return its headers.

    ``ratio`` is ``Broker.trace_ratio``.
    """
    headers, repeated = received = incoming.received_headers()
    record.client = incoming.client_host
    record.path = incoming.route_path
    record.user_agent = headers.get("user-agent", "")
    record.trace = trace_of(headers, repeated, ratio)
    given = headers.get("x-request-id")
    if given is not None:
        record.client_request_id = parsed_request_id(given)
    return received


async def read_call(
    incoming: Incoming,
    received: ReceivedHeaders,
    record: Record,
    config: Config,
    offload: Offload,
    hook: CallerHook | None = None,
) -> Call:
    """Return the call that ``incoming`` asks for; raises Refused.

    ``received`` are its headers. ``record`` gets what is known of the call by then, also where it
    is refused. ``hook`` says who calls, None leaves that to the configured keys.
    """
    headers, repeated = received
    if hook is None:
        caller = caller_of(config.keys, headers, repeated)
    else:
        caller = await hooked(hook, headers)
    record.caller = caller.name
    body = incoming.take_body()
    record.bytes_in = len(body)
    limit = config.limits.body_limit(incoming.route_path)
    if len(body) > limit:
        raise Refused(
            "too_large",
            f"the request body is larger than {limit} bytes",
            code="request_too_large",
        )
    coding = headers.get("content-encoding")
    if coding is not None:
        body = await _decoded(incoming, body, coding, limit)
    # A helper process reads a large body, so that no other call waits for that.
    messages = ADAPTERS[record.dialect].facts.messages_field
    large = has_large_envelope(body)
    if large:
        head = await offload.envelope(body, config.limits, messages)
    else:
        head = read(body)
        bounds.check_body(body, head.fields, config.limits, messages)
    record.stream = head.stream
    record.asked = head.model
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
        query=incoming.uri.partition(b"?")[2],
        headers=headers,
        caller=caller,
        mode=mode,
    )


def refused(info: ErrorInfo) -> Refused:
    """Return ``info`` as the error of a request that the broker refuses."""
    return Refused(info.kind, info.message, code=info.code, retry_after=info.retry_after)


async def _decoded(incoming: Incoming, body: bytes, header: str, limit: int) -> bytes:
    """Return ``body`` without its compression. Raises Refused."""
    codings = content_coding.codings(header)
    if not codings:
        return body
    if len(body) < LARGE_CODED:
        plain = content_coding.decoded(body, codings, limit)
    else:
        # The libraries let other threads run while they decode.
        plain = await deferToThread(content_coding.decoded, body, codings, limit)
    if len(plain) > len(body) and not incoming.grow_body(len(plain) - len(body)):
        raise refused(BUSY)
    return plain
