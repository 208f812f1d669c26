"""A credential that does not print."""

from typing import NoReturn


class Secret:
    """Holds a credential; only :meth:`reveal` gives it away.

    ``repr``, ``str`` and ``format`` show ``***``; comparing, pickling and JSON encoding are
    refused, so that a secret cannot slip into a log line or an error by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself, for the one header that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are not compared; use hmac.compare_digest on revealed bytes")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")
