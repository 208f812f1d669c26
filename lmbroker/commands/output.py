"""Writes the results of all commands to stdout, and remarks to stderr."""

import sys

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
