"""``lmbroker capture``: keeps the next calls of a running daemon as files."""

import argparse
import contextlib
import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from typing import Any

import msgspec

from lmbroker.capture.wanted import Wanted
from lmbroker.commands.output import report
from lmbroker.config.file import find_config, load

ENDING = ".jsonl"
"""The suffix of the names of the files."""

_SPAN = re.compile(r"(\d{1,6})(s|m|h)?")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_ID = re.compile(r"[^A-Za-z0-9_-]")


class CannotCapture(Exception):
    """Nothing is captured; the message says why."""


def run(options: argparse.Namespace) -> int:
    """Capture into the folder; return the exit code, 0 where a call was kept.

    Raises ConfigError.
    """
    try:
        wanted = _wanted(options)
        config = "" if options.control else find_config(options.config)
        path = options.control or load(config).server.control
        if not path:
            problem = f"{config}: there is no server.control: set it and start anew"
            raise CannotCapture(problem)
        folder = _folder(options.out)
        return _capture(path, wanted, folder, options.out)
    except CannotCapture as problem:
        report(str(problem))
    except OSError as error:
        report(f"{error.filename or options.out}: {error.strerror}")
    return 1


def seconds_of(span: str) -> int:
    """Return the seconds of a span of time such as ``90``, ``60s``, ``5m`` or ``1h``.

    Raises ValueError.
    """
    found = _SPAN.fullmatch(span)
    if found is None:
        raise ValueError(f"found {span[:20]!r}, expected a span of time such as 60s, 5m or 1h")
    return int(found[1]) * _UNITS[found[2] or "s"]


def _wanted(options: argparse.Namespace) -> Wanted:
    try:
        return msgspec.convert(
            {
                "alias": options.alias,
                "caller": options.caller,
                "outcome": options.outcome,
                "calls": options.calls,
                "seconds": float(seconds_of(options.span)),
                "bytes": options.megabytes * 1024 * 1024,
            },
            Wanted,
        )
    except (msgspec.ValidationError, ValueError) as error:
        options.usage_error(str(error))
        raise


def _folder(name: str) -> int:
    """Return the descriptor of the folder, which is made where there is none.

    Raises CannotCapture for one that others may look into.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700)
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
    found = os.fstat(folder)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(folder)
        raise CannotCapture(f"{name}: others may look into it: take a new folder, or chmod 700")
    return folder


def _capture(path: str, wanted: Wanted, folder: int, name: str) -> int:
    kept = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            raise CannotCapture(f"{path}: {error.strerror}: does the daemon run?") from None
        request = {"command": "capture", "arguments": msgspec.to_builtins(wanted)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        for answer in _answers(connection):
            kind = answer.get("kind")
            if kind == "on":
                until = f"{wanted.calls} calls of {wanted.alias}, {wanted.seconds:g} s"
                report(f"capture is on: up to {until}; Ctrl-C ends it")
            elif kind == "call":
                kept += 1
                file = _write(folder, kept, answer["lines"])
                print(f"{os.path.join(name, file)}  {_summary(answer['lines'])}", flush=True)
            elif kind == "refused":
                raise CannotCapture(f"the daemon refuses: {answer['problem']}")
            elif kind == "done":
                lost = answer["lost"]
                report(f"capture is off: {answer['why']}; {kept} calls kept")
                if lost:
                    report(f"{lost} calls were too large to be kept: see --megabytes")
                return 0 if kept else 1
    raise CannotCapture("the daemon has closed the connection")


def _answers(connection: socket.socket) -> Iterator[Any]:
    with connection.makefile("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line)


def _write(folder: int, number: int, lines: list[Any]) -> str:
    """Write a call to a file of its own, which only its owner may read; returns its name."""
    call_id = _ID.sub("", str(lines[0].get("id", "")))[:80] if lines else ""
    name = f"{number:04}-{call_id}{ENDING}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        for line in lines:
            file.write(msgspec.json.encode(line) + b"\n")
    return name


def _summary(lines: list[Any]) -> str:
    """Return what became of a call, in a few words."""
    attempts = sum(line.get("event") == "attempt" for line in lines)
    ends = [line.get("outcome") or "-" for line in lines if line.get("event") == "end"]
    operation = lines[0].get("operation", "?") if lines else "?"
    return f"{operation}, {ends[0] if ends else 'under way'}, attempts: {attempts}"
