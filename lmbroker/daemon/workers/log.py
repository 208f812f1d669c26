"""One log for several processes: each writes whole lines to the same file.

The parent has opened it, and begins it anew.
"""

import fcntl
import os
import select
import stat
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.python.logfile import LogFile


class Log(Protocol):
    """Where the parent's log goes, and with it that of the workers."""

    @property
    def descriptor(self) -> int:
        """The descriptor of the open log."""

    def share(self, lock: str) -> None:
        """Let other processes write to the same log; ``lock`` is the path of their lock."""


class Lines:
    """Writes whole lines to a descriptor, to which others may write as well; waits while they do.

    The kernel does not mix writes to a file, nor short ones to a pipe. For what is not a file,
    ``lock`` is the path of a file that exists: who holds its lock writes.
    """

    def __init__(self, descriptor: int) -> None:
        self._lock: int | None = None
        self.descriptor = descriptor

    @property
    def regular(self) -> bool:
        """Whether it is a regular file, which makes no write wait."""
        return stat.S_ISREG(os.fstat(self.descriptor).st_mode)

    def share(self, lock: str) -> None:
        """Prepare for other processes that write from now on, too."""
        if not self.regular:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """Write whole lines; waits while others write."""
        if self._lock is None:
            self._write(data)
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._write(data)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except BlockingIOError:
                # A process that shares the descriptor has made it non-blocking.
                waiting = select.poll()
                waiting.register(self.descriptor, select.POLLOUT)
                waiting.poll()

    def move(self, descriptor: int) -> None:
        """Write to another descriptor from now on, and close this one."""
        os.close(self.descriptor)
        self.descriptor = descriptor


class SharedFile(LogFile):
    """The parent's log file.

    ``begun`` is called with the descriptor of each new one. Since others write, too, only the file
    itself says how large it is.
    """

    begun: Callable[[int], None] | None = None
    _kept: deque[int]

    @property
    def descriptor(self) -> int:
        """The descriptor of the file, which stays open until two more files were begun.

        One thread may use it while another one begins a file.
        """
        return self._kept[-1]

    def _openFile(self) -> None:
        super()._openFile()
        if not hasattr(self, "_kept"):
            self._kept = deque()
        self._kept.append(os.dup(self._file.fileno()))
        if len(self._kept) > 2:
            os.close(self._kept.popleft())

    def rotate(self) -> None:
        """Begin a new file, and call ``begun`` with its descriptor."""
        super().rotate()
        if self.begun is not None:
            self.begun(self.descriptor)

    def look(self) -> None:
        """Begin a new file where this one is long enough.

        Raises OSError; the next look tries again.
        """
        if self._file.closed:
            # The last look has closed the old file, and could not open a new one.
            self._openFile()
            if self.begun is not None:
                self.begun(self.descriptor)
        self.size = os.fstat(self._file.fileno()).st_size
        if self.shouldRotate():
            self.rotate()

    def share(self, lock: str) -> None:
        """Do nothing: a file needs no lock."""
