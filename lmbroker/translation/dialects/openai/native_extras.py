"""Fields that the Unified Model has no place for, written back into the object that they came
from."""

from collections.abc import Iterable

from lmbroker.json_text import JSON
from lmbroker.translation.unified.parts import Extra


def put_extras(target: JSON, extras: Iterable[Extra]) -> None:
    """Write ``extras`` into ``target``, over what was made of the model.

    A dotted name belongs into an object that is there already.
    """
    own: set[str] = set()
    for extra in extras:
        step, _, name = extra.name.partition(".")
        held = target.get(step)
        if name and isinstance(held, dict):
            if step not in own:
                # It may be the client's object, which others look at, too.
                own.add(step)
                held = target[step] = held.copy()
            held[name] = extra.value
        else:
            own.discard(extra.name)
            target[extra.name] = extra.value
