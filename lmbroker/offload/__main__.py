"""A helper process: ``python -m lmbroker.offload``, with its end of the line as descriptor 3.

It ends when the line does. Nothing of what it works at is written anywhere but to its owner.
"""

import gc
import os
import resource
import signal
import socket
import sys

from lmbroker.offload.channel import Message, send, take
from lmbroker.offload.jobs import LINE, Done, decode_job, encode, filled, read
from lmbroker.offload.work import fault, out_of_memory, work

GRACE_SECONDS = 5
"""Seconds that a helper works at most beyond its owner's own wait: an owner that is gone kills no
helper."""


def main(memory: int, seconds: int) -> None:
    """Work until the line is closed."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
        # These signals are meant for the owner; a terminal and systemd send them to all processes.
        signal.signal(number, signal.SIG_IGN)
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    end = socket.socket(fileno=LINE)
    # Decoded bodies form no cycles, and to look for them takes longer than all else.
    gc.disable()
    gc.freeze()
    send(end, Message("ready"))
    while True:
        try:
            job, body = _next(end), _next(end)
        except (EOFError, OSError):
            return
        signal.alarm(seconds + GRACE_SECONDS)
        whole = answer(end, job, body)
        signal.alarm(0)
        if not whole:
            # What is left of the free memory is fragmented.
            return
        gc.collect()


def answer(end: socket.socket, job: int, body: int) -> bool:
    """Do one job and send its result; False where there was not enough memory."""
    done, out = _done(job, body)
    try:
        head = encode(done)
    except MemoryError:
        done, out = out_of_memory()
        head = encode(done)
    except Exception:
        done, out = fault()
        head = encode(done)
    for part in (head, out):
        file = filled(part)
        send(end, Message("done"), file)
        os.close(file)
    return done.problem is None or done.problem.kind != "memory"


def _done(job: int, body: int) -> tuple[Done, bytes]:
    try:
        return work(decode_job(read(job)), read(body))
    except MemoryError:
        return out_of_memory()
    except Exception:
        return fault()


def _next(end: socket.socket) -> int:
    file = take(end)[1]
    if file is None:
        raise EOFError
    return file


main(int(sys.argv[1]), int(sys.argv[2]))
