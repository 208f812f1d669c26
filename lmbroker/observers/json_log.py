"""Twisted's log as JSON, one object a line.

Only what is named here is written: time, level, logger, the formatted message, and the
``fields`` of an event that brings some. Twisted's own JSON observer writes every keyword of an
event, contents included; this one cannot. Of a failure only the type and the place are logged.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from twisted.logger import ILogObserver, LogLevel, formatEvent
from zope.interface import implementer

from lmbroker.observers.console_log import Render
from lmbroker.observers.log_writer import LogWriter

_LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "warning": LogLevel.warn,
    "error": LogLevel.error,
    "critical": LogLevel.critical,
}
_NAMES = {"warn": "warning"}
_OF_TWISTED = ("twisted.", "log_legacy")
"""How the loggers of Twisted's own events are called; the latter are of its older modules."""
_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What every line begins with."""

    time: str = ""
    """When it was written, in UTC (RFC 3339, with milliseconds)."""
    level: str
    """`debug`, `info`, `warning`, `error` or `critical`."""
    logger: str
    """What said it: a class or a module of the broker, or of a library."""
    message: str
    """What happened, in words."""


class More(msgspec.Struct):
    """What any line may have besides."""

    error: str
    """Of a failure of the broker itself: the type of the exception."""
    where: str
    """The place of that failure: `FILE:LINE in FUNCTION`. Neither a traceback nor values follow."""
    worker: int
    """The number of the worker that says it, where there are several."""


MISSING = "{count} lines of the log are missing here: nothing took them in time"

HEAD = frozenset(Line.__struct_fields__)


class Stream(Protocol):
    """A text file, or what stands for one."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> None:
        """Send on what was written."""


@implementer(ILogObserver)
class JSONLog:
    """Writes events of at least ``level`` to ``stream``; ``level`` may be changed at any time.

    ``worker`` is the number of the worker that says them, where there are several. ``render`` makes
    other lines than JSON.
    """

    def __init__(
        self,
        stream: Stream | LogWriter,
        level: str,
        worker: int | None = None,
        render: Render | None = None,
    ) -> None:
        self._stream = stream
        self._write = self._write_text
        if isinstance(stream, LogWriter):
            self._write = stream.write
            stream.gap = self._gap
        self._render = render
        self._worker = worker
        self._end = b"}\n" if worker is None else b',"worker":%d}\n' % worker
        self._second = (-1, "")
        self.level = level

    @property
    def level(self) -> str:
        """The least level that is written."""
        return self._level

    @level.setter
    def level(self, name: str) -> None:
        """Write only events of at least this level from now on."""
        self._level = name
        self._threshold = _LEVELS[name]
        self._enabled = {each for each, level in _LEVELS.items() if level >= self._threshold}

    def __call__(self, event: Any) -> None:
        """Write one event of Twisted's log, if its level is high enough."""
        level = event.get("log_level") or LogLevel.info
        if level is LogLevel.info and event.get("log_namespace", "").startswith(_OF_TWISTED):
            # Ports and factories that start and stop.
            level = LogLevel.debug
        if level < self._threshold:
            return
        line: dict[str, Any] = {
            "time": self._rfc3339(event.get("log_time", time.time())),
            "level": _NAMES.get(level.name, level.name),
            "logger": event.get("log_namespace", "-"),
            "message": _message(event),
        }
        failure = event.get("log_failure") or event.get("failure")
        if failure is not None:
            line["error"] = failure.type.__name__
            if not line["message"]:
                line["message"] = "Unhandled error"
            line["where"] = _where(failure)
        fields = event.get("fields")
        if fields:
            line.update(fields)
        if self._worker is not None:
            line["worker"] = self._worker
        self._write(self._text(line) if self._render is not None else _encode(line) + b"\n")

    def write_lines(self, lines: Sequence[Line]) -> None:
        """Write lines together, without Twisted's log.

        An event of Twisted's log costs more than all the rest of a line that each call writes.
        """
        now = self._rfc3339(time.time())
        written = []
        for line in lines:
            if line.level in self._enabled:
                line.time = now
                written.append(self._encoded(line))
        if written:
            self._write(b"".join(written))

    def count_dropped(self, count: Callable[[int], object]) -> None:
        """Let ``count`` know of lines that were dropped since nothing took them."""
        if isinstance(self._stream, LogWriter):
            self._stream.dropped = count

    def settle(self) -> None:
        """Wait for a bounded time until all is written: the process ends."""
        if isinstance(self._stream, LogWriter):
            self._stream.settle()

    def _gap(self, count: int) -> bytes:
        line = Line(
            time=self._rfc3339(time.time()),
            level="warning",
            logger=LogWriter.__module__,
            message=MISSING.format(count=count),
        )
        return self._encoded(line)

    def _encoded(self, line: Line) -> bytes:
        if self._render is None:
            return _encode(line)[:-1] + self._end
        fields: dict[str, Any] = msgspec.to_builtins(line)
        if self._worker is not None:
            fields["worker"] = self._worker
        return self._text(fields)

    def _text(self, fields: dict[str, Any]) -> bytes:
        assert self._render is not None
        return self._render(fields).encode("utf-8", "replace") + b"\n"

    def _write_text(self, lines: bytes) -> None:
        assert not isinstance(self._stream, LogWriter)
        self._stream.write(lines.decode("utf-8"))
        self._stream.flush()

    def _rfc3339(self, seconds: float) -> str:
        whole = int(seconds)
        known, until_second = self._second
        if whole != known:
            until_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
            # At once: the thread that writes the log comes here, too.
            self._second = whole, until_second
        return f"{until_second}.{int(seconds % 1 * 1000):03d}Z"


def _message(event: Any) -> str:
    """Return the event's words.

    The text of an old ``log.err`` is a whole traceback, values included.
    """
    return event.get("why") or "" if event.get("failure") else formatEvent(event)


def _where(failure: Any) -> str:
    """Return the innermost place of a failure as ``file:line in function``.

    It holds no values and no message.
    """
    frames = traceback.extract_tb(failure.getTracebackObject())
    if not frames:
        return ""
    frame = frames[-1]
    return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} in {frame.name}"
