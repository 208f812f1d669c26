"""The jobs and answers that pass between the service and a helper process.

They are plain structs as JSON, each with at most one body beside it, in files that have no name and
lie in memory.
"""

import os
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from typing import Any, Literal

import msgspec

from lmbroker.call import Call, Dialect, Mode
from lmbroker.errors import ErrorInfo
from lmbroker.limits import Limits
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.translation.losses import AnswerLosses
from lmbroker.workflows.contract import Asked, Outbound, Unary
from lmbroker.workflows.learned_rejections import Repair

LINE = 3
"""The descriptor of a helper's end of its line."""

PIECE = 4 * 1024 * 1024
"""Bytes that are copied at once: about two milliseconds."""

Step = Literal[
    "envelope",
    "request_limits",
    "need",
    "estimate",
    "outbound",
    "repair",
    "unary",
    "fold",
    "unfold",
    "failure",
    "masked",
]


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a call.

    ``call`` comes without its body and its fields; the body of the job is the request's, but for
    ``unary``, ``fold`` and ``unfold`` the answer's. ``secrets`` are masked in what a backend says
    of an error, and in a captured call.
    """

    step: Step
    call: Call | None = None
    backend: str = ""
    url: str = ""
    dialect: Dialect = ""
    also: Dialect = ""
    also_translated: bool = False
    omit_attribution: bool = False
    passthrough_errors: Literal["known-words", "as-is"] = "known-words"
    model: str = ""
    secrets: tuple[str, ...] = ()
    mode: Mode = "default"
    overrides: dict[str, Any] = {}
    asked: Asked | None = None
    limits: Limits | None = None
    messages_field: str = "messages"
    request_limits: RequestLimits | None = None
    error: ErrorInfo | None = None
    status: int = 0
    headers: dict[str, str] = {}
    now: int = 0

    def __repr__(self) -> str:
        """Show nothing that anybody sent."""
        return f"Job({self.step!r})"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The error that a step ended with.

    ``memory``: there was not enough; ``fault``: of ours. ``native``: the status of the backend's
    own words, which are the body.
    """

    kind: Literal["refused", "broken", "backend_refused", "memory", "fault"]
    info: ErrorInfo
    phase: str = ""
    native: int | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a job: a problem, or what its step gives.

    The bodies of ``outbound`` and ``unary`` come beside it. ``fields`` are the short ones of an
    envelope.
    """

    problem: Problem | None = None
    model: str = ""
    stream: bool = False
    fields: dict[str, bytes] = {}
    tokens: int = 0
    need: str = ""
    outbound: Outbound | None = None
    asked: Asked | None = None
    unary: Unary | None = None
    repair: Repair | None = None

    def __repr__(self) -> str:
        """Show nothing that anybody sent."""
        return "Done()"


def _plain(value: Any) -> Any:
    if isinstance(value, AnswerLosses):
        return None
    raise TypeError


def _made(kind: type, value: Any) -> Any:
    if kind is AnswerLosses:
        return AnswerLosses()
    raise TypeError


encode = msgspec.json.Encoder(enc_hook=_plain).encode
decode_job = msgspec.json.Decoder(Job, dec_hook=_made).decode
decode_done = msgspec.json.Decoder(Done, dec_hook=_made).decode


def new_file() -> int:
    """Return the descriptor of an empty file in memory. Raises OSError."""
    return os.memfd_create("lmbroker-body", os.MFD_CLOEXEC)


def pieces(body: bytes | memoryview) -> Iterator[memoryview]:
    """Return ``body`` in pieces that are copied at once."""
    whole = memoryview(body)
    for at in range(0, len(whole), PIECE):
        yield whole[at : at + PIECE]


def write(file: int, piece: memoryview) -> None:
    """Append ``piece`` to a file in memory. Raises OSError."""
    while piece:
        piece = piece[os.write(file, piece) :]


def filled(body: bytes) -> int:
    """Return a file with ``body``, at once. Raises OSError."""
    file = new_file()
    write(file, memoryview(body))
    return file


def read(file: int) -> bytes:
    """Return all of a file, which is closed then."""
    try:
        size = os.fstat(file).st_size
        body = os.pread(file, size, 0)
        while len(body) < size:
            body += os.pread(file, size - len(body), len(body))
        return body
    finally:
        os.close(file)


def mapped(file: int) -> bytes:
    """Return all of a file, which is closed then.

    Of a large one nothing is copied here: what it gives can be measured, and be looked at as a
    memoryview, like the bytes that it stands for.
    """
    size = os.fstat(file).st_size
    if size < PIECE:
        return read(file)
    try:
        whole: Any = mmap(file, size, access=ACCESS_READ)
    finally:
        os.close(file)
    return whole  # type: ignore[no-any-return]
