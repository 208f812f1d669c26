"""Bounds of configured values, as types of the fields that hold them.

``config.fields`` checks them and words the errors; the tables of docs/configuration.md show them.
"""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
"""An integer of 1 or more."""

CountOrNone = Annotated[int, msgspec.Meta(ge=0)]
"""An integer of 0 or more."""

Positive = Annotated[float, msgspec.Meta(gt=0)]
"""A number above 0: seconds, or a share."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
"""A string that is not empty."""

RegularExpression = Annotated[str, msgspec.Meta(extra={"check": "regular expression"})]
"""A string that ``re`` can compile."""


def without(words: str) -> msgspec.Meta:
    """Return the mark of a field that says what applies without it, for docs/configuration.md."""
    return msgspec.Meta(extra={"without": words})
