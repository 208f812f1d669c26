"""Encodes recorded calls as spans of OpenTelemetry: protobuf, for OTLP.

A call has a span of kind SERVER, and each attempt at a backend one of kind CLIENT below it, with
the attributes of the semantic conventions for generative AI, version 0.1.0. Nothing of the contents
is in them, as in the log. Needs the package ``opentelemetry-proto``, which is imported when an
encoder is made.
"""

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from lmbroker import __version__
from lmbroker.call import Attempt, Operation, Record
from lmbroker.config.config import Config
from lmbroker.observers.access_log import product
from lmbroker.redaction import SHOWN, shown
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import listed
from lmbroker.usage import dollars

PACKAGE = "opentelemetry.proto"

FIRST_CHUNK = "gen_ai.first_chunk"
"""The event of an attempt's span when the first event of a stream came."""

_OPERATIONS: dict[Operation, str] = {"completions": "text_completion"}
"""Operations that the conventions call otherwise."""

_FINISHED = {
    "end": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "context_full": "length",
    "tool_calls": "tool_call",
    "refusal": "content_filter",
}
"""Why an answer ended, in the words of the conventions; all others stay as they are."""

_PROVIDERS = {
    ".openai.azure.com": "azure.ai.openai",
    ".cognitiveservices.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.inference",
    ".amazonaws.com": "aws.bedrock",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    ".moonshot.ai": "moonshot_ai",
    ".moonshot.cn": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
"""The conventions' names of providers, by the end of the host's. Any other backend is named by the
format that it speaks."""

_REMOTE, _LOCAL = 0x300, 0x100
"""Flags of a span: its parent is known to be another process's, or this one's."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


def span_problems(config: Config) -> tuple[str, ...]:
    """Return what is missing for the spans that ``config`` asks for."""
    if config.tracing is None:
        return ()
    try:
        found = find_spec(PACKAGE) is not None
    except ModuleNotFoundError:
        found = False
    return () if found else ("tracing: needs opentelemetry-proto: pip install 'lmbroker[otel]'",)


class SpanEncoder:
    """Encodes the spans of calls; ``service_name`` is whose they are."""

    def __init__(self, service_name: str) -> None:
        from opentelemetry.proto.common.v1 import common_pb2
        from opentelemetry.proto.resource.v1 import resource_pb2
        from opentelemetry.proto.trace.v1 import trace_pb2

        self._trace = trace_pb2
        resource = {
            "service.name": service_name,
            "service.version": __version__,
            "service.instance.id": str(uuid4()),
            "process.pid": os.getpid(),
        }
        held = resource_pb2.Resource()
        _fill(held.attributes, resource.items())
        self._resource = _field(1, held.SerializeToString())
        scope = common_pb2.InstrumentationScope(name="lmbroker", version=__version__)
        self._scope = _field(1, scope.SerializeToString())

    def spans(self, record: Record, offset: float) -> bytes:
        """Return the spans of one ended call, as a part of a batch.

        ``offset`` is what the broker's clock lacks to unix seconds.
        """
        assert record.trace is not None
        found = [self._of_call(record, offset)]
        for number, attempt in enumerate(record.attempts, 1):
            last = number == len(record.attempts)
            found.append(self._of_attempt(record, attempt, last, offset))
        return b"".join([_field(2, span.SerializeToString()) for span in found])

    def batch(self, parts: list[bytes]) -> bytes:
        """Return the request of OTLP with ``parts``: an ``ExportTraceServiceRequest``."""
        spans = _field(2, self._scope + b"".join(parts))
        return _field(1, self._resource + spans)

    def _of_call(self, record: Record, offset: float) -> Any:
        trace, end = record.trace, record.end
        assert trace is not None
        broken = end.outcome in ("backend_error", "stream_error", "failed")
        return self._span(
            record,
            span_id=trace.span_id,
            parent_id=trace.parent_id,
            flags=_REMOTE if trace.parent_id else _LOCAL,
            name=f"POST {record.path}" if record.path else record.operation,
            kind=self._trace.Span.SPAN_KIND_SERVER,
            times=(record.opened_at + offset, (record.closed_at or record.opened_at) + offset),
            attributes=_of_call(record),
            failed=broken,
        )

    def _of_attempt(self, record: Record, attempt: Attempt, last: bool, offset: float) -> Any:
        trace = record.trace
        assert trace is not None
        ended = attempt.ended or attempt.started
        answered = last and not attempt.error
        if answered and record.closed_at is not None:
            # Of a stream the attempt knows only when it began.
            ended = record.closed_at
        broken = answered and record.end.outcome == "stream_error"
        span = self._span(
            record,
            span_id=attempt.span_id,
            parent_id=trace.span_id,
            flags=_LOCAL,
            name=f"{_operation(record)} {attempt.target.model}",
            kind=self._trace.Span.SPAN_KIND_CLIENT,
            times=(attempt.started + offset, ended + offset),
            attributes=_of_attempt(record, attempt, answered),
            failed=broken or bool(attempt.error),
        )
        if answered and record.stream and record.first_event_at is not None:
            nano = int((record.first_event_at + offset) * 1e9)
            span.events.append(self._trace.Span.Event(name=FIRST_CHUNK, time_unix_nano=nano))
        return span

    def _span(
        self,
        record: Record,
        *,
        span_id: str,
        parent_id: str,
        flags: int,
        name: str,
        kind: Any,
        times: tuple[float, float],
        attributes: Iterator[tuple[str, Any]],
        failed: bool,
    ) -> Any:
        trace = record.trace
        assert trace is not None
        span = self._trace.Span(
            trace_id=bytes.fromhex(trace.trace_id),
            span_id=bytes.fromhex(span_id),
            parent_span_id=bytes.fromhex(parent_id),
            trace_state=trace.state,
            flags=flags | int(trace.flags, 16),
            name=name,
            kind=kind,
            start_time_unix_nano=int(times[0] * 1e9),
            end_time_unix_nano=int(times[1] * 1e9),
        )
        _fill(span.attributes, attributes)
        if failed:
            span.status.code = self._trace.Status.STATUS_CODE_ERROR
        return span


def _fill(attributes: Any, pairs: Iterable[tuple[str, Any]]) -> None:
    """Add attributes in their place: to make each by itself takes three times as long."""
    add = attributes.add
    for key, value in pairs:
        attribute = add()
        attribute.key = key
        held = attribute.value
        if isinstance(value, str):
            # What a client named may hold what UTF-8 cannot.
            text = value if value.isascii() else value.encode("utf-8", "replace").decode()
            held.string_value = text
        elif isinstance(value, bool):
            held.bool_value = value
        elif isinstance(value, int):
            held.int_value = value
        elif isinstance(value, float):
            held.double_value = value
        else:
            for each in value:
                held.array_value.values.add().string_value = each


def _operation(record: Record) -> str:
    return _OPERATIONS.get(record.operation, record.operation)


def _of_call(record: Record) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a call's span."""
    end = record.end
    yield "http.request.method", "POST"
    if record.path:
        yield "http.route", record.path
        yield "url.path", record.path
    if end.status:
        yield "http.response.status_code", end.status
    if record.client:
        yield "client.address", record.client
    if record.user_agent:
        yield "user_agent.original", product(record.user_agent)
    yield "http.request.body.size", record.bytes_in
    yield "http.response.body.size", end.bytes_out
    if end.outcome in ("backend_error", "stream_error", "failed"):
        yield "error.type", end.code or end.outcome
    yield "lmbroker.request_id", record.id
    yield "lmbroker.operation", record.operation
    yield "lmbroker.caller", record.caller
    if record.client_request_id:
        yield "lmbroker.client_request_id", record.client_request_id
    if record.alias:
        yield "lmbroker.alias", record.alias
    if record.asked and record.asked != record.alias:
        yield "lmbroker.asked", shown(record.asked)
    if end.outcome:
        yield "lmbroker.outcome", end.outcome
    if end.code:
        yield "lmbroker.code", end.code
    yield "lmbroker.attempts", len(record.attempts)
    if record.cost is not None:
        yield "lmbroker.cost_usd", float(dollars(record.cost))
    if record.dropped:
        yield "lmbroker.dropped", listed(record.dropped)[:SHOWN]
    if record.changed:
        yield "lmbroker.changed", listed(record.changed)[:SHOWN]


def _of_attempt(record: Record, attempt: Attempt, answered: bool) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an attempt's span; ``answered``: the client got its answer."""
    backend = attempt.target.backend
    provider, address, port = _server(backend.host, backend.url, backend.dialect)
    yield "gen_ai.operation.name", _operation(record)
    yield "gen_ai.provider.name", provider
    yield "gen_ai.request.model", attempt.target.model
    if record.stream:
        yield "gen_ai.request.stream", True
    yield "server.address", address
    yield "server.port", port
    if attempt.status:
        yield "http.response.status_code", attempt.status
    yield "lmbroker.backend", backend.name
    yield "lmbroker.dialect", backend.dialect
    yield "lmbroker.workflow", attempt.workflow
    end = record.end
    error = attempt.error
    if answered and end.outcome == "stream_error":
        error = end.code or end.outcome
    if error:
        yield "error.type", error
    if not answered:
        return
    if record.backend_id:
        yield "lmbroker.backend_request_id", record.backend_id[:SHOWN]
    if record.tool_calls:
        yield "lmbroker.tool_calls", record.tool_calls
    if record.stop or error:
        reason = "error" if error else _FINISHED.get(record.stop, record.stop)
        yield "gen_ai.response.finish_reasons", [reason]
    if record.stream and record.first_event_at is not None:
        yield "gen_ai.response.time_to_first_chunk", record.first_event_at - attempt.started
    usage = record.usage
    if usage is not None:
        yield "gen_ai.usage.input_tokens", usage.input + usage.cache_read + usage.cache_write
        yield "gen_ai.usage.output_tokens", usage.output
        if usage.cache_read:
            yield "gen_ai.usage.cache_read.input_tokens", usage.cache_read
        if usage.cache_write:
            yield "gen_ai.usage.cache_write.input_tokens", usage.cache_write
        if usage.reasoning:
            yield "gen_ai.usage.reasoning.output_tokens", usage.reasoning
        if usage.estimated:
            yield "lmbroker.usage.estimated", True


@lru_cache(maxsize=1024)
def _server(host: str, url: str, dialect: str) -> tuple[str, str, int]:
    """Return the provider, the address and the port of a backend."""
    parts = urlsplit(url)
    facts = ADAPTERS[dialect].facts
    provider = (facts.api or facts.name).lower()
    for end, name in _PROVIDERS.items():
        if host.endswith(end):
            provider = name
    return provider, host, parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _field(number: int, payload: bytes) -> bytes:
    """Return a field of a protobuf message that holds another one.

    Encoded messages are joined by this, so that each call is encoded once, when it has ended.
    """
    size = len(payload)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2,)) + bytes(length) + payload


def rejected_of(answer: bytes) -> int:
    """Return how many spans a receiver has rejected, by its answer to a batch."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    try:
        response = trace_service_pb2.ExportTraceServiceResponse.FromString(answer)
    except DecodeError:
        return 0
    rejected: int = response.partial_success.rejected_spans
    return max(0, rejected)
