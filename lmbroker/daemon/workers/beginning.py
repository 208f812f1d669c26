"""The first message to a worker, and how long things go to it: as files in memory."""

import os
from typing import Any

import msgspec

from lmbroker.config.file import Source

LINE = 3
"""The descriptor of a worker's end of the line."""


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to a worker.

    ``number`` counts from 1, ``folder`` is the tally's, ``lock`` that of the log; ``logger`` names
    a factory of observers where the log is not ours; ``reactor`` is one of twistd's.
    """

    number: int
    folder: str
    lock: str
    source: Source
    logger: str = ""
    reactor: str = ""


def read(descriptor: int, kind: Any) -> Any:
    """Return what a file holds that came along the line; closes it.

    Its other readers share the place in it, so none may go by that.
    """
    try:
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)
    return msgspec.json.decode(data, type=kind)


def write(value: Any) -> int:
    """Return the descriptor of a file in memory that holds ``value``, for ``read``."""
    descriptor = os.memfd_create("lmbroker")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(msgspec.json.encode(value))
    return descriptor
