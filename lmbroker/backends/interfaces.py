"""The interface of a reactor with everything that LMBroker calls.

It is for code that uses several parts of a reactor.
"""

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorProcess,
    IReactorSocket,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUNIX,
)


class IReactor(
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorProcess,
    IReactorSocket,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUNIX,
):
    """A reactor with all that the broker calls: what Twisted's own on POSIX provide.

    Tests hand over reactors in memory, which have the part that is used. What needs the time only
    takes an ``IReactorTime``.
    """
