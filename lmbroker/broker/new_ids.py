"""Ids of calls, traces and spans: each another than all before it; they may be foreseen."""

import os
from collections.abc import Container, Mapping
from random import Random

from lmbroker.broker.trace_context import parsed_parent, parsed_state
from lmbroker.call import SAMPLED, TraceContext

_random = Random()
os.register_at_fork(after_in_child=_random.seed)
_bits = _random.getrandbits

_HALF = 1 << 64


def new_request_id() -> str:
    """Return a fresh request id."""
    return "req_" + _bits(96).to_bytes(12, "big").hex()


def new_span_id() -> str:
    """Return a fresh id of a span."""
    return (_bits(64) or 1).to_bytes(8, "big").hex()


def trace_of(
    headers: Mapping[str, str], repeated: Container[str], ratio: float | None
) -> TraceContext:
    """Return the trace of a request with these ``headers``: its client's, or a new one.

    ``ratio`` is the share of new traces whose spans are recorded, None where no spans are. A
    client's trace is recorded where the client says so.
    """
    given = headers.get("traceparent")
    parent = None
    if given is not None and "traceparent" not in repeated:
        parent = parsed_parent(given)
    if parent is None:
        digits = _bits(192).to_bytes(24, "big").hex()
        if ratio is None or int(digits[16:32], 16) >= ratio * _HALF:
            return TraceContext(digits[:32], digits[32:])
        return TraceContext(digits[:32], digits[32:], SAMPLED, "", "", True)
    state = headers.get("tracestate", "")
    if state:
        state = parsed_state(state)
    if ratio is None:
        span_id, recorded = parent.span_id, False
    else:
        span_id, recorded = new_span_id(), parent.sampled
    return TraceContext(parent.trace_id, span_id, parent.flags, state, parent.span_id, recorded)
