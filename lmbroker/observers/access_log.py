"""An observer that writes one line per call: who, where to, how long, how it ended.

It writes nothing of the contents.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from twisted.logger import Logger, LogLevel

from lmbroker.call import Attempt, Outcome, Record
from lmbroker.headers import HEADER_TEXT
from lmbroker.observers.json_log import HEAD, Line
from lmbroker.observers.overhead_metrics import phases_of
from lmbroker.redaction import SHOWN, shown
from lmbroker.translation.losses import listed
from lmbroker.usage import dollars

LEVELS: Mapping[Outcome | None, str] = {
    "backend_error": "warning",
    "stream_error": "warning",
    "failed": "error",
}
"""The level of a call's line by how the call ended; ``info`` for all others."""

_TWISTED = {"info": LogLevel.info, "warning": LogLevel.warn, "error": LogLevel.error}

MOST_TRIED = 20
"""The maximum of attempts in one access line."""

WriteLines = Callable[[Sequence[Line]], None]
"""Writes log lines together, as ``JSONLog.write_lines`` does."""

LOGGER = "lmbroker.accesslog.AccessLog"
"""The name of the logger of access lines, by which readers of logs select them. It does not change
with the name of this module."""


class AccessLog:
    """Writes each ended call as one line with a fixed list of fields.

    It does so by ``write``, or to Twisted's log where that is None. See ``batching.BatchObserver``.
    """

    def __init__(self, write: WriteLines | None = None) -> None:
        self._write = write
        self.log = Logger(namespace=LOGGER)

    def opened(self, record: Record) -> None:
        """Write nothing: a call has a line when it ends."""

    def attempted(self, record: Record, attempt: Attempt) -> None:
        """Write nothing: the line of the call lists its attempts."""

    def closed(self, record: Record) -> None:
        """Write the line of one call."""
        self.ended((), (record,))

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """Write the lines of the calls that have ended."""
        if self._write is not None:
            self._write([access_line(record) for record in records])
            return
        for record in records:
            end = record.end
            self.log.emit(
                _TWISTED[LEVELS.get(end.outcome, "info")],
                "{operation} {alias} {outcome} {status}",
                operation=record.operation,
                alias=record.alias or "-",
                outcome=end.outcome,
                status=end.status,
                fields=access_fields(record),
            )


class Tried(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt as the access line shows it: where, how it ended, how many milliseconds it took.

    ``code`` is absent where it went well, ``status`` where no answer came.
    """

    backend: str
    """The backend."""
    model: str
    """The model's name there."""
    status: int = 0
    """The HTTP status of the backend; left out where it did not answer."""
    code: str = ""
    """The `code` of the failure; left out where it went well."""
    ms: float | None = None
    """Milliseconds that it took; of a stream, those to its beginning."""


class AccessLine(Line, kw_only=True, omit_defaults=True):
    """The access line: its fields in the order in which they are written.

    Fields of unknown value are left out. Durations are in milliseconds since the call arrived.
    """

    request_id: str
    """The broker's id of the call; the client has it as `x-lmbroker-request-id`."""
    client_request_id: str | None = None
    """The client's own id of the request, its `x-request-id`; the backend got the same."""
    trace_id: str | None = None
    """The trace that the call belongs to ([W3C Trace
    Context](https://www.w3.org/TR/trace-context/)): the client's, or one that the broker began."""
    span_id: str | None = None
    """The span of the call in it; where the broker records no spans, the one that it handed on."""
    backend_request_id: str | None = None
    """The id that the backend gave the request, by which its provider finds it."""
    operation: str
    """`chat`, `completions`, `embeddings`, `count_tokens` or `compact`."""
    path: str | None = None
    """The path that was asked for."""
    asked: str | None = None
    """The model's name as the client wrote it, where that is not the alias."""
    alias: str | None = None
    """The alias that the model's name led to."""
    caller: str
    """The name of the client's key; `anonymous` where there are no `[[keys]]`."""
    client: str | None = None
    """The address of the client, or of the proxy before the broker."""
    user_agent: str | None = None
    """The first product of the client's `user-agent`: `claude-cli/2.1.3`."""
    backend: str | None = None
    """The backend of the last attempt."""
    model: str | None = None
    """The model's name there. Where an alias ends with `*`, it is what the client asked for."""
    dialects: str | None = None
    """The client's format and the one in which the backend was called: `openai->anthropic`."""
    workflow: str | None = None
    """`passthrough` or `translation`."""
    stream: bool
    """Whether a stream was asked for."""
    status: int
    """The HTTP status that the client got."""
    outcome: str | None = None
    """How it ended; [operations.md](operations.md#the-access-line) says what each word means."""
    code: str | None = None
    """Why it did not succeed: a word of the broker's, such as `timeout_idle`; never a backend's."""
    attempts: int
    """Attempts at backends."""
    tried: list[Tried] | None = None
    """Where one of them failed, each attempt; see below."""
    ms_headers: float | None = None
    """Milliseconds from the call's arrival to the backend's headers."""
    ms_first_event: float | None = None
    """The same to the first event, or to the whole of an answer that is not streamed."""
    ms: float | None = None
    """Milliseconds from the call's arrival to its end."""
    ms_queue: float | None = None
    """Milliseconds that the call waited for a slot of its backends (`max_in_flight`)."""
    ms_connect: float | None = None
    """Milliseconds until its connection to the backend was there, those of attempts that failed
    included; near 0 where one was used again."""
    ms_overhead: float | None = None
    """Milliseconds that the broker added: from the last byte of the request to the first of the
    answer, without the time that the backends took. `ms_queue` and `ms_connect` are part of it."""
    bytes_in: int
    """Bytes of the request's body."""
    bytes_out: int
    """Bytes of the answer's body."""
    tokens_in: int | None = None
    """Tokens of the prompt, as the backend counted them."""
    tokens_cached: int | None = None
    """Those of them that were read from a cache."""
    tokens_cache_write: int | None = None
    """Those of them that were written to a cache."""
    tokens_out: int | None = None
    """Tokens of the answer."""
    tokens_reasoning: int | None = None
    """Those of them that were reasoning, where the backend says so."""
    tokens_estimated: bool | None = None
    """`true` where the backend did not count and the broker estimated."""
    cost: str | None = None
    """What the tokens cost, in US dollars, as text, exact; where the [price](operations.md#usage)
    is known."""
    tags: list[str] | None = None
    """The values of the headers in `usage.tags`, in their order."""
    limits: str | None = None
    """The [limit rules](limits.md) that did more than allow the call, each with what it did: `NAME:
    refused`, `exceeded` (a soft one) or `then` (it sent the call to another alias)."""
    tool_calls: int | None = None
    """How many tools of the client the answer calls."""
    stop: str | None = None
    """Why the model stopped."""
    dropped: str | None = None
    """Names of the fields that were left out in translation, as in `x-lmbroker-dropped`; those of
    the answer begin with `answer.`."""
    changed: str | None = None
    """Names of the fields of which the other side got something else, as in
    `x-lmbroker-changed`."""
    learned: str | None = None
    """What the backend refused in this call and the broker repaired in another try, by the
    backend's names."""


def access_line(record: Record) -> AccessLine:
    """Return the access line of an ended call."""
    began, end = record.opened_at, record.end
    line = AccessLine(
        level=LEVELS.get(end.outcome, "info"),
        logger=LOGGER,
        message=f"{record.operation} {record.alias or '-'} {end.outcome} {end.status}",
        request_id=record.id,
        operation=record.operation,
        path=record.path or None,
        alias=record.alias or None,
        caller=record.caller,
        client=record.client or None,
        stream=record.stream,
        status=end.status,
        outcome=end.outcome,
        code=end.code or None,
        attempts=len(record.attempts),
        ms_headers=_ms(began, record.headers_at),
        ms_first_event=_ms(began, record.first_event_at),
        ms=_ms(began, record.closed_at),
        bytes_in=record.bytes_in,
        bytes_out=end.bytes_out,
        tool_calls=record.tool_calls or None,
        stop=record.stop or None,
    )
    if record.client_request_id:
        line.client_request_id = record.client_request_id
    phases = phases_of(record)
    if phases is not None:
        _, _, queue, connect, _, _ = phases
        line.ms_queue = round(queue * 1000, 3) or None
        line.ms_connect = round(connect * 1000, 3)
        line.ms_overhead = round(sum(phases) * 1000, 3)
    trace = record.trace
    if trace is not None:
        line.trace_id = trace.trace_id
        line.span_id = trace.span_id
    if record.attempts:
        attempt = record.attempts[-1]
        backend = attempt.target.backend
        line.backend = backend.name
        line.model = attempt.target.model
        line.dialects = f"{record.dialect}->{backend.dialect}"
        line.workflow = attempt.workflow
        if attempt.error or len(record.attempts) > 1:
            line.tried = [_tried(each) for each in record.attempts[:MOST_TRIED]]
    if record.asked and record.asked != record.alias:
        line.asked = shown(record.asked)
    if record.user_agent:
        line.user_agent = product(record.user_agent)
    if record.backend_id:
        line.backend_request_id = record.backend_id[:SHOWN]
    usage = record.usage
    if usage is not None:
        line.tokens_in = usage.input + usage.cache_read + usage.cache_write
        line.tokens_cached = usage.cache_read
        line.tokens_cache_write = usage.cache_write or None
        line.tokens_out = usage.output
        line.tokens_reasoning = usage.reasoning
        line.tokens_estimated = usage.estimated or None
    if record.cost is not None:
        line.cost = dollars(record.cost)
    if record.tags:
        line.tags = list(record.tags)
    if record.limits:
        said = [f"{rule}: {word}" for rule, word in record.limits if word != "allowed"]
        line.limits = ", ".join(said) or None
    if record.dropped:
        # Names that clients made up: as many, and as long, as in the header that names them.
        line.dropped = listed(record.dropped)[:HEADER_TEXT]
    if record.changed:
        line.changed = listed(record.changed)[:HEADER_TEXT]
    if record.learned:
        line.learned = ",".join(record.learned)
    return line


@lru_cache(maxsize=1024)
def product(user_agent: str) -> str:
    """Return the first product of a ``user-agent`` header with its version (RFC 9110, 10.1.5).

    What comes behind it says something of the client's machine.
    """
    return shown(user_agent[:SHOWN].partition(" ")[0])


def _tried(attempt: Attempt) -> Tried:
    return Tried(
        backend=attempt.target.backend.name,
        model=attempt.target.model,
        status=attempt.status,
        code=attempt.error,
        ms=_ms(attempt.started, attempt.ended),
    )


def access_fields(record: Record) -> dict[str, Any]:
    """Return the access line as a dict, without what every line begins with."""
    fields: dict[str, Any] = msgspec.to_builtins(access_line(record))
    return {name: value for name, value in fields.items() if name not in HEAD}


def _ms(began: float, moment: float | None) -> float | None:
    return None if moment is None else round((moment - began) * 1000, 3)
