"""Losses: fields that the other dialect cannot carry, and are reported or refused.

Classes (translation.md 0.2): B is dropped, and reported in ``x-lmbroker-dropped``, or changed
(approximated), and reported in ``x-lmbroker-changed``; C is refused with a 400 before any backend
is called; C° is refused unless the mode is ``lenient``; in mode ``strict`` every B is refused too.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from lmbroker.call import Mode
from lmbroker.errors import Refused
from lmbroker.translation.unified.parts import Extra

_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""The name of a type that a refusal may repeat: any other text may be confidential."""

HEADER_NAMES = 20
"""The maximum of paths in the header, before ``+N``."""

_INDEX = re.compile(r"\[\d+\]")
_PATH = re.compile(r"[A-Za-z0-9_.\[\]-]{1,96}")
"""A path that may be reported: a backend chooses the names of its fields."""
_MOST = 64
"""The maximum of paths that are kept of one answer."""


def listed(paths: Sequence[str]) -> str:
    """Return ``paths`` as the value of a header.

    It has the first ``HEADER_NAMES`` of them, and how many more there are.
    """
    text = ",".join(paths[:HEADER_NAMES])
    return text + f",+{len(paths) - HEADER_NAMES}" if len(paths) > HEADER_NAMES else text


def located(refusal: Refused, refused: tuple[str, str], body: Any) -> Refused:
    """Return ``refusal`` with the real indices in its path.

    They are those of the first place in ``body`` that matches ``refused``: a path with ``[]``, and
    the text that stands there, "" for any.
    """
    path, said = refused
    found = _first(body, _STEP.findall(path), "", said)
    if found is None:
        return refusal
    place, value = found
    shown = repr(place)
    if isinstance(value, str) and path.endswith("].type") and _WORD.fullmatch(value):
        shown += f' "{value}"'
    message = refusal.info.message.replace(repr(path), shown, 1)
    info = refusal.info
    return Refused(info.kind, message, param=place, code=info.code, details=info.details)


def _first(held: Any, steps: list[str], place: str, said: str) -> tuple[str, Any] | None:
    """Return the first value that ``steps`` lead to, with its place.

    No path has more than a few steps.
    """
    if not steps:
        return (place, held) if not said or held == said or not isinstance(held, str) else None
    step, rest = steps[0], steps[1:]
    if step == "[]":
        for number, each in enumerate(held if isinstance(held, list) else ()):
            found = _first(each, rest, f"{place}[{number}]", said)
            if found is not None:
                return found
        return None
    if not isinstance(held, dict) or step not in held:
        return None
    return _first(held[step], rest, f"{place}.{step}" if place else step, said)


_STEP = re.compile(r"[^.\[\]]+|\[\]")


def in_answer(paths: Iterable[str]) -> tuple[str, ...]:
    """Return ``paths`` of an answer with the prefix ``answer.``, which those of a request lack."""
    return tuple(f"answer.{path}" for path in paths)


class Losses:
    """Collects the losses of one request; one instance per attempt.

    ``model`` and ``dialect`` are named in refusals: the alias that the client asked for and
    the dialect that cannot carry the field.
    """

    def __init__(self, mode: Mode = "default", *, model: str = "", dialect: str = "") -> None:
        self.mode = mode
        self.model = model
        self.dialect = dialect
        self._paths: dict[str, None] = {}
        self._dropped: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self.refused: tuple[str, str] | None = None
        """The path that was refused as a loss, and the client's value there."""

    def recall(self, dropped: Iterable[str], changed: Iterable[str]) -> None:
        """Replace the losses with those that another process has found."""
        self._dropped = dict.fromkeys(dropped)
        self._changed = dict.fromkeys(changed)
        self._paths = {**self._dropped, **self._changed}

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of all that was dropped or changed, first seen first, no duplicates."""
        return tuple(self._paths)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Paths of what the backend does not get, first seen first."""
        return tuple(self._dropped)

    @property
    def changed(self) -> tuple[str, ...]:
        """Paths of which the backend got something else than the client wrote, first seen first."""
        return tuple(self._changed)

    def drop(
        self,
        path: str,
        reason: str = "cannot be carried over",
        *,
        said: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        """Report that the backend does not get what stands at ``path`` (class B).

        The path is in the client's naming, with indices as ``[]``. Raises Refused in mode strict.
        """
        if self.mode == "strict":
            self.refused = (path, said)
            raise self.refusal(path, reason, details)
        self._paths.setdefault(path)
        self._dropped.setdefault(path)

    def change(
        self,
        path: str,
        reason: str = "cannot be carried over as it is",
        *,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Report that the backend gets something else in the place of ``path`` (class B).

        The path is in the client's naming, with indices as ``[]``. Raises Refused (with
        ``details``) in mode strict.
        """
        if self.mode == "strict":
            raise self.refusal(path, reason, details)
        self._paths.setdefault(path)
        self._changed.setdefault(path)

    def refuse(
        self,
        path: str,
        reason: str = "",
        *,
        soft: bool = False,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Raise Refused with ``path`` as param, with its indices (class C; C° with ``soft``)."""
        if soft and self.mode == "lenient":
            self.drop(_INDEX.sub("[]", path))
            return
        raise self.refusal(path, reason, details)

    def extras(self, extras: Iterable[Extra]) -> None:
        """Account for fields that only their own dialect understands."""
        for extra in extras:
            if extra.loss == "change":
                self.change(extra.path, details=extra.details)
            elif extra.loss == "drop":
                self.drop(extra.path, details=extra.details)
            elif extra.loss == "refuse":
                self.refuse(extra.path, extra.reason, details=extra.details)
            elif extra.loss == "refuse_soft":
                self.refuse(extra.path, extra.reason, soft=True, details=extra.details)

    def refusal(
        self, path: str, reason: str = "", details: dict[str, Any] | None = None
    ) -> Refused:
        """Return the error that says that ``path`` cannot be served."""
        where = f" of model {self.model!r}" if self.model else ""
        kind = f" ({self.dialect})" if self.dialect else ""
        text = f"{path!r} cannot be served by the backend{where}{kind}"
        if reason:
            text += f": {reason}"
        return Refused(
            "unsupported", text, param=path, code="unsupported_parameter", details=details
        )


class AnswerLosses:
    """Collects what one answer loses on its way from the backend to the client.

    Paths are in the backend's naming, with indices as ``[]`` (``choices[].message.audio``). An
    answer is never refused for its losses. A path that could hold more than field names is reported
    as ``?``, since these paths reach logs and headers.
    """

    __slots__ = ("changed", "dropped")

    def __init__(self) -> None:
        self.dropped: tuple[str, ...] = ()
        """Paths of what the client does not get, first seen first."""
        self.changed: tuple[str, ...] = ()
        """Paths of what the client gets in another form, first seen first."""

    def drop(self, path: str) -> None:
        """Report that the client does not get what stands at ``path``."""
        self.dropped = _with(self.dropped, path)

    def change(self, path: str) -> None:
        """Report that the client gets something else in the place of ``path``."""
        self.changed = _with(self.changed, path)

    def extras(self, extras: Iterable[Extra]) -> None:
        """Account for fields of an answer that only its own dialect understands."""
        for extra in extras:
            if extra.loss != "none":
                self.drop(extra.path)


def _with(paths: tuple[str, ...], path: str) -> tuple[str, ...]:
    if _PATH.fullmatch(path) is None:
        path = "?"
    return paths if path in paths or len(paths) >= _MOST else (*paths, path)
