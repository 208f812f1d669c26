"""The files that ``lmbroker capture`` has written, for the commands that read them."""

import os
from collections.abc import Iterator, Sequence

from lmbroker.capture.captured import CapturedAttempt, CapturedCall, captured
from lmbroker.capture.events import NotCaptured
from lmbroker.commands.capture import ENDING


class Unreadable(Exception):
    """A file cannot be read, or is none of a captured call; the message names it."""


def read_file(name: str) -> CapturedCall:
    """Return the call in a file. Raises Unreadable."""
    try:
        with open(name, "rb") as file:
            return captured(file)
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror}") from None
    except NotCaptured as error:
        raise Unreadable(f"{name}: {error}") from None


def names_in(places: Sequence[str]) -> Iterator[str]:
    """Return the files among ``places``, and those of captured calls in the folders among them.

    Raises Unreadable for a folder without any.
    """
    for place in places:
        if not os.path.isdir(place):
            yield place
            continue
        found = sorted(name for name in os.listdir(place) if name.endswith(ENDING))
        if not found:
            raise Unreadable(f"{place}: there is no captured call in it")
        yield from (os.path.join(place, name) for name in found)


def attempt_of(call: CapturedCall, number: int | None, name: str) -> CapturedAttempt:
    """Return an attempt by its number from 1, the last for None. Raises Unreadable."""
    count = len(call.attempts)
    if not count:
        raise Unreadable(f"{name}: no backend was asked")
    if number is not None and not 1 <= number <= count:
        raise Unreadable(f"{name}: there is no attempt {number}, but {count} of them")
    return call.attempts[-1 if number is None else number - 1]
