"""The trace of a call, as W3C Trace Context defines it (https://www.w3.org/TR/trace-context).

What does not follow its grammar counts as not sent, and so does a ``tracestate`` without a valid
``traceparent``.
"""

import re

from lmbroker.call import TraceContext

_KNOWN_FLAGS = 3
"""``sampled`` and ``random``: all others must be 0 where they are handed on."""

_USUAL = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]").fullmatch
"""Matches a valid header of this version with known flags only, as nearly all are."""
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16

MOST_STATES = 32
"""The maximum of members of a ``tracestate``."""

STATE_TEXT = 512
"""The maximum of characters of a ``tracestate`` that is handed on: whole members are left out, the
last ones first."""

_STATE = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)

REQUEST_ID_TEXT = 128
"""The maximum of characters of a client's request id."""

_REQUEST_ID = re.compile(rf"[!-~]{{1,{REQUEST_ID_TEXT}}}")


def parsed_parent(text: str) -> TraceContext | None:
    """Return the trace that a ``traceparent`` header names, None where it is not valid.

    A later version is read as far as this one goes, as the specification demands.
    """
    if _USUAL(text) is not None:
        span_id = text[36:52]
        return TraceContext(text[3:35], span_id, text[53:], "", span_id)
    found = _PARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if trace_id == _NO_TRACE or span_id == _NO_SPAN or (more and version == "00"):
        return None
    known = f"{int(flags, 16) & _KNOWN_FLAGS:02x}"
    return TraceContext(trace_id, span_id, known, "", span_id)


def parsed_state(text: str) -> str:
    """Return a ``tracestate`` header as it is handed on, "" where it is not valid.

    It is never longer than ``STATE_TEXT``.
    """
    members = [each.strip(" \t") for each in text.split(",")]
    members = [each for each in members if each]
    if len(members) > MOST_STATES or not all(map(_STATE.fullmatch, members)):
        return ""
    if len({each.partition("=")[0] for each in members}) < len(members):
        return ""
    size = -1
    for count, member in enumerate(members):
        size += 1 + len(member)
        if size > STATE_TEXT:
            members = members[:count]
            break
    return ",".join(members)


def parsed_request_id(text: str) -> str:
    """Return a client's request id, "" where it is too long or not of visible ASCII characters."""
    return text if _REQUEST_ID.fullmatch(text) else ""


def handed_on(trace: TraceContext, span_id: str, request_id: str) -> tuple[tuple[str, str], ...]:
    """Return the headers by which a backend knows the trace and the request.

    ``span_id`` is the span of which the backend's are parts.
    """
    parent = ("traceparent", f"00-{trace.trace_id}-{span_id}-{trace.flags}")
    if trace.state:
        return parent, ("tracestate", trace.state), ("x-request-id", request_id)
    return parent, ("x-request-id", request_id)
