"""Finds the caller of a request, by the configured keys or by a program that embeds the broker."""

from collections.abc import Awaitable, Callable, Container, Mapping
from inspect import isawaitable

from lmbroker.call import Caller
from lmbroker.config.config import Config
from lmbroker.errors import Refused
from lmbroker.routing.keys import caller_of

CallerHook = Callable[[Mapping[str, str]], Caller | Awaitable[Caller | None] | None]
"""Headers, with names in lower case -> who sent them, None for somebody who may not call. A
coroutine or a Deferred of that is awaited; ``Refused`` may be raised."""


async def hooked(hook: CallerHook, headers: Mapping[str, str]) -> Caller:
    """Return who sent these headers, as a hook says. Raises Refused where it knows nobody."""
    found = hook(headers)
    if isawaitable(found):
        found = await found
    if found is None:
        raise Refused("auth", "you may not call here", code="invalid_api_key")
    return found


async def caller_by(
    hook: CallerHook | None,
    config: Config,
    headers: Mapping[str, str],
    repeated: Container[str],
) -> Caller:
    """Return who sent these headers: as the hook says, or by the keys where there is none.

    Raises Refused.
    """
    if hook is None:
        return caller_of(config.keys, headers, repeated)
    return await hooked(hook, headers)
