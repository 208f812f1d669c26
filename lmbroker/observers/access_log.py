"""An observer that writes one line per call: who, where to, how long, how it ended.

Nothing of the contents.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from twisted.logger import Logger, LogLevel

from lmbroker.call import Attempt, Outcome, Record
from lmbroker.headers import HEADER_TEXT
from lmbroker.observers.json_log import HEAD, Line
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
"""Most attempts that one access line lists."""

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
    model: str
    status: int = 0
    code: str = ""
    ms: float | None = None


class AccessLine(Line, kw_only=True, omit_defaults=True):
    """What the access line says, in the order in which it says it.

    Nothing stands for what is not known. Durations are in milliseconds since the call arrived.
    """

    request_id: str
    client_request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    backend_request_id: str | None = None
    operation: str
    path: str | None = None
    asked: str | None = None
    alias: str | None = None
    caller: str
    client: str | None = None
    user_agent: str | None = None
    backend: str | None = None
    model: str | None = None
    dialects: str | None = None
    workflow: str | None = None
    stream: bool
    status: int
    outcome: str | None = None
    code: str | None = None
    attempts: int
    tried: list[Tried] | None = None
    ms_headers: float | None = None
    ms_first_event: float | None = None
    ms: float | None = None
    bytes_in: int
    bytes_out: int
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_cache_write: int | None = None
    tokens_out: int | None = None
    tokens_reasoning: int | None = None
    tokens_estimated: bool | None = None
    cost: str | None = None
    tags: list[str] | None = None
    limits: str | None = None
    stop: str | None = None
    dropped: str | None = None
    changed: str | None = None
    learned: str | None = None


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
        stop=record.stop or None,
    )
    if record.client_request_id:
        line.client_request_id = record.client_request_id
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
    """Return the same, as a dict, without what every line begins with."""
    fields: dict[str, Any] = msgspec.to_builtins(access_line(record))
    return {name: value for name, value in fields.items() if name not in HEAD}


def _ms(began: float, moment: float | None) -> float | None:
    return None if moment is None else round((moment - began) * 1000, 3)
