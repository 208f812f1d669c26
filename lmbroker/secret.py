"""A credential that does not print."""

from typing import Any, NoReturn

FORMER = 4
"""So many former values of a credential are still masked."""


class Secret:
    """Holds a credential; only :meth:`reveal` gives it away.

    ``repr``, ``str`` and ``format`` show ``***``; comparing, pickling and JSON encoding are
    refused, so that a secret cannot slip into a log line or an error by accident. ``words`` are
    the texts that must be masked in what others write.
    """

    __slots__ = ("_value", "words")

    def __init__(self, value: str) -> None:
        self._value = value
        self.words = _words(value)

    def reveal(self) -> str:
        """Return the credential itself, for the one header that needs it."""
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


class FileSecret(Secret):
    """A credential that is read from a file and may change there.

    ``key_files`` reads it again: ``seen`` is the file as it was last read, ``next_look`` when it is
    looked at again, in seconds of the reactor's clock, ``problem`` why it could not be read, ""
    where it could.
    """

    __slots__ = ("next_look", "path", "problem", "seen")

    def __init__(self, value: str, path: str) -> None:
        super().__init__(value)
        self.path = path
        self.seen: Any = None
        self.next_look = float("-inf")
        self.problem = ""

    def turn(self, value: str) -> None:
        """Make ``value`` the credential from now on; the former ones stay among ``words``."""
        self._value = value
        self.words = tuple(dict.fromkeys((*_words(value), *self.words)))[: 2 * (1 + FORMER)]


def _words(value: str) -> tuple[str, ...]:
    """Return ``value``, and what follows its first word.

    A text that quotes "Bearer KEY" may leave the first word out.
    """
    rest = value.partition(" ")[2].strip()
    return (value, rest) if rest else (value,)
