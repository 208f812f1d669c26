"""An observer that writes one line per call: who, where to, how long, how it ended. Nothing of
the contents."""

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from lmbroker.call import Attempt, Record
from lmbroker.headers import HEADER_TEXT
from lmbroker.losses import listed

Tell = Callable[[str, str, str, dict[str, Any]], None]
"""Takes level, logger, message and fields of a line."""


class AccessLog:
    """Tells each ended call as one line with a fixed list of fields: to ``tell``, or to Twisted's
    log where that is somebody else's."""

    log = Logger()

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell = tell

    def opened(self, record: Record) -> None: ...

    def attempted(self, record: Record, attempt: Attempt) -> None: ...

    def closed(self, record: Record) -> None:
        fields = access_fields(record)
        if self._tell is not None:
            level = "error" if record.outcome == "failed" else "info"
            what = f"{record.operation} {record.alias or '-'} {record.outcome} {record.status}"
            self._tell(level, self.log.namespace, what, fields)
            return
        emit = self.log.error if record.outcome == "failed" else self.log.info
        emit(
            "{operation} {alias} {outcome} {status}",
            operation=record.operation,
            alias=record.alias or "-",
            outcome=record.outcome,
            status=record.status,
            fields=fields,
        )


def access_fields(record: Record) -> dict[str, Any]:
    """What the access line says; durations in milliseconds since the call arrived."""
    attempt = record.attempts[-1] if record.attempts else None
    backend = attempt.target.backend if attempt is not None else None
    usage = record.usage
    fields = {
        "request_id": record.id,
        "operation": record.operation,
        "alias": record.alias or None,
        "caller": record.caller,
        "backend": backend.name if backend is not None else None,
        "model": attempt.target.model if attempt is not None else None,
        "dialects": f"{record.dialect}->{backend.dialect}" if backend is not None else None,
        "workflow": attempt.workflow if attempt is not None else None,
        "stream": record.stream,
        "status": record.status,
        "outcome": record.outcome,
        "code": record.code or None,
        "attempts": len(record.attempts),
        "ms_headers": _ms(record, record.headers_at),
        "ms_first_event": _ms(record, record.first_event_at),
        "ms": _ms(record, record.closed_at),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "tokens_in": usage and usage.input + usage.cache_read + usage.cache_write,
        "tokens_cached": usage and usage.cache_read,
        "tokens_out": usage and usage.output,
        "tokens_estimated": True if usage and usage.estimated else None,
        "stop": record.stop or None,
        # Names that clients made up: as many, and as long, as in the header that tells them.
        "dropped": listed(record.dropped)[:HEADER_TEXT] or None,
        "learned": ",".join(record.learned) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _ms(record: Record, moment: float | None) -> float | None:
    return None if moment is None else round((moment - record.opened_at) * 1000, 3)
