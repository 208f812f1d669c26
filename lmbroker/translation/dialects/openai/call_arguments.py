"""The arguments of a function call, as a conversation brings them back."""

from typing import Any

import msgspec

from lmbroker import json_text
from lmbroker.translation.shared.fields import wrong_type


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one call: the object ``args``, the text ``raw``, or both.

    ``args`` is None where the text is no object, ``raw`` where an object came. ``altered``: another
    backend may get something else than the client wrote.
    """

    args: dict[str, Any] | None
    raw: str | None
    altered: bool = False


def read_arguments(value: Any, path: str) -> Arguments:
    """Return the arguments of a call from ``value``, which stands at ``path``.

    None means no arguments. Raises Refused.
    """
    if value is None:
        return Arguments(args={}, raw=None)
    if isinstance(value, dict):
        return Arguments(args=value, raw=None)
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    whole = json_text.mended(value.encode(errors="replace")) if "\\u" in value else None
    said = value if whole is None else whole.decode()
    args = parse_args(said)
    return Arguments(args=args, raw=said, altered=args is None or whole is not None)


def parse_args(text: str) -> dict[str, Any] | None:
    """Return the arguments in ``text``: ``{}`` for an empty text, None for no JSON object."""
    if not text.strip():
        return {}
    try:
        value = json_text.decode(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
