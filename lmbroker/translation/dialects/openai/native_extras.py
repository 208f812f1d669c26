"""Writes fields unknown to the Unified Model back into the object from which they came."""

from collections.abc import Iterable

from lmbroker.json_text import JSON
from lmbroker.translation.unified.parts import Extra


def put_extras(target: JSON, extras: Iterable[Extra]) -> None:
    """Write ``extras`` into ``target``, over what was encoded from the Unified Model.

    A dotted name belongs into an object that is there already.
    """
    own: set[str] = set()
    for extra in extras:
        step, _, name = extra.name.partition(".")
        held = target.get(step)
        if name and isinstance(held, dict):
            if step not in own:
                # It may be the client's own object, which other code reads, too.
                own.add(step)
                held = target[step] = held.copy()
            held[name] = extra.value
        else:
            own.discard(extra.name)
            target[extra.name] = extra.value
