"""Request limits: what one call may ask for at most. Off unless the configuration says so.

Only the request itself is looked at, as the client wrote it: nothing is cut down, and a
request that names no limit has the model's own. A value that could be read in two ways is
refused, so that what we compare is what the backend sees.
"""

from typing import Annotated

import msgspec

from lmbroker import envelope
from lmbroker.call import Call
from lmbroker.constraints import Count, without
from lmbroker.errors import Refused

_NAMES = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "n": "n",
}
"""Fields of a request, and the limit of each."""


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most of each that a call may ask for; None: whatever it likes.

    ``max_tokens`` also holds for ``max_completion_tokens`` and ``max_output_tokens``.
    """

    max_tokens: Annotated[Count, without("`limits.max_tokens`")] | None = None
    """Most tokens that a call of this model may ask for."""
    n: Annotated[Count, without("`limits.n`")] | None = None
    """Most answers that a call of this model may ask for at once."""

    def check(self, call: Call) -> None:
        """Raise Refused where ``call`` asks for more, or for no number, or twice.

        Names that differ in case only count as well, the long s among them: some backends take them
        for the same.
        """
        fields = call.fields
        if fields is None:
            fields = envelope.read(call.body).fields
        for written, raw in fields.items():
            name = written.casefold()
            cap = getattr(self, _NAMES[name]) if name in _NAMES else None
            if cap is None:
                continue
            if envelope.repeats(call.body, fields, written):
                raise _refused(name, "stands in the body more than once", "invalid_value")
            if bytes(raw) == b"null":
                continue
            value = envelope.value_of(fields, written)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _refused(name, "must be a number", "invalid_type")
            if value > cap:
                raise _refused(name, f"may be at most {cap} for this model", "invalid_value")


def _refused(name: str, problem: str, code: str) -> Refused:
    return Refused("invalid_request", f"{name!r} {problem}", param=name, code=code)
