"""Writes the results of all commands to stdout, and remarks to stderr."""

import sys
from typing import TextIO

from lmbroker.errors import ErrorInfo


def write(data: bytes) -> None:
    """Write bytes to stdout at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def report(line: str) -> None:
    """Write one line to stderr."""
    print(line, file=sys.stderr)


def report_error(error: ErrorInfo, word: str) -> None:
    """Write an error to stderr as one line that begins with ``word``."""
    report(f"{word}: {' '.join(error.message.split())}")


class Progress:
    """A line at a terminal that counts the steps of long work; it is shown nowhere else.

    ``total`` is the number of steps, ``what`` their name in the plural.
    """

    def __init__(self, total: int, what: str, stream: TextIO | None = None) -> None:
        self._total = total
        self._what = what
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._done = 0
        self._stands = False

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        if self._shown:
            self._write(f"{self._done} of {self._total} {self._what}")

    def clear(self) -> None:
        """Make room for another line."""
        if self._stands:
            self._write("")

    def _write(self, text: str) -> None:
        # Back to the beginning of the line, and without what stands there.
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()
        self._stands = bool(text)
