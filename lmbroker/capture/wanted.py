"""The calls that a capture keeps, and its bounds."""

from typing import Annotated, Literal, get_args

import msgspec

from lmbroker.call import Call, Outcome, Record

MIB = 1024 * 1024
"""Bytes."""

MOST_CALLS = 1000
MOST_SECONDS = 3600.0
MOST_BYTES = 1024 * MIB

Wish = Literal["any", "failed", "retried"] | Outcome
"""How a call must have ended: ``failed`` is every end but ``complete``, ``retried`` any end after
more than one attempt."""

WISHES: tuple[str, ...] = tuple(
    word for group in get_args(Wish) for word in (get_args(group) or (group,))
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The calls that a capture keeps: the next of an alias, as many as ``calls``.

    ``caller`` None stands for all callers. The capture ends after ``seconds``, and when ``bytes``
    of bodies are kept.
    """

    alias: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    caller: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    outcome: Wish = "any"
    calls: Annotated[int, msgspec.Meta(ge=1, le=MOST_CALLS)] = 5
    seconds: Annotated[float, msgspec.Meta(gt=0, le=MOST_SECONDS)] = 60.0
    bytes: Annotated[int, msgspec.Meta(ge=1, le=MOST_BYTES)] = 64 * MIB

    def may_be(self, call: Call, alias: str) -> bool:
        """Return whether a call that begins is one of them, as far as is known.

        Its model name leads to ``alias``.
        """
        return self.alias in (alias, call.asked) and self.caller in (None, call.caller.name)

    def is_wanted(self, record: Record) -> bool:
        """Return whether a call of those that has ended is wanted by its end."""
        outcome = record.end.outcome
        if self.outcome == "any":
            return True
        if self.outcome == "retried":
            return len(record.attempts) > 1
        return outcome != "complete" if self.outcome == "failed" else outcome == self.outcome

    @property
    def by_end(self) -> bool:
        """Whether only the end of a call decides."""
        return self.outcome != "any"
