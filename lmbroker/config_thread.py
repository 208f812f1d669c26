"""The thread in which a reload reads the configuration, while the reactor goes on."""

import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool

SWITCH_SECONDS = 0.0005
"""How long the reading thread may keep others from running at a time: Python's usual 5 ms would be
felt by every stream."""


def away(reactor: Any, work: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
    """What ``work`` returns or raises, done in a thread of ``reactor``: to read a configuration of
    many models takes seconds. At once where the reactor has no threads: a clock of tests."""
    if not hasattr(reactor, "getThreadPool"):
        return maybeDeferred(work, *arguments)
    return deferToThreadPool(reactor, reactor.getThreadPool(), _politely, work, *arguments)


def _politely(work: Callable[..., Any], *arguments: Any) -> Any:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        return work(*arguments)
    finally:
        sys.setswitchinterval(usual)
