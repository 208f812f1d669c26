"""Repair of messages that break the rules of their format (translation.md 2.3).

The last message is the question: an error in it is answered to the client, who can correct it. The
messages before it are history, which the client can no longer change: what has one meaning only is
read by that meaning, what cannot be read is left out, and both are reported. This module holds what
both dialects share. Valid messages never come here.
"""

from collections.abc import Callable
from typing import Any

from lmbroker.errors import Refused
from lmbroker.json_text import JSON, encode
from lmbroker.translation.shared.fields import Fields
from lmbroker.translation.shared.left_out import left_out
from lmbroker.translation.unified.parts import Extra, LossClass

MOST = 3000
"""The maximum of messages of one request that are repaired, ten microseconds each; a request with
more is refused."""

MALFORMED = "it is not what the format says"

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool_result": "tool",
    "toolresult": "tool",
    "observation": "tool",
}
"""Names of the roles in other formats and templates."""


class Mended(Fields):
    """A repaired message, with a report of each repair."""

    __slots__ = ("reports",)

    def __init__(self, value: JSON, path: str, origin: str, reports: list[Extra]) -> None:
        super().__init__(value, path, origin)
        self.reports = reports

    def rest(self, prefix: str = "", loss: LossClass = "drop") -> tuple[Extra, ...]:
        """Return the reports of the repairs, and the keys that were not taken."""
        return (*self.reports, *super().rest(prefix, loss))


class Mending:
    """A message that is being repaired; ``held`` is its state so far."""

    def __init__(self, item: Any, path: str, origin: str) -> None:
        self.came = Fields(item if isinstance(item, dict) else {}, path, origin)
        self.held: JSON = dict(self.came.left)
        self.reports: list[Extra] = []
        if not isinstance(item, dict):
            self.held = {"role": "user", "content": written(item)}
            self._report("", "drop" if item is None else "change", item)

    def change(self, name: str, value: Any) -> None:
        """Replace the value of a field, and report that."""
        self._report(name, "change", self.came.left.get(name))
        self.held[name] = value

    def drop(self, name: str) -> None:
        """Remove a field, and report that."""
        self._report(name, "drop", self.came.left.get(name))
        self.held.pop(name, None)

    def report_inside(self, name: str, loss: LossClass) -> None:
        """Report that something inside a field is changed or left out."""
        self._report(name, loss, self.came.left.get(name))

    def _report(self, name: str, loss: LossClass, value: Any) -> None:
        if not name:
            path = self.came.extra("", value, loss).path.rstrip(".")
            self.reports.append(Extra(origin="", name="message", path=path, value=value, loss=loss))
        elif name in self.came.left and all(extra.name != name for extra in self.reports):
            self.reports.append(self.came.extra(name, value, loss))

    def text(self, name: str) -> None:
        """Make a field a text: a number is written as one, any other value is removed."""
        value = self.held.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.change(name, str(value))
        elif value is not None and not isinstance(value, str):
            self.drop(name)

    def kind(self, name: str, type: type) -> None:
        """Remove a field whose value is not of type ``type``."""
        value = self.held.get(name)
        if value is not None and not isinstance(value, type):
            self.drop(name)

    def role(self, known: tuple[str, ...]) -> str:
        """Set the role to its usual name and return it.

        An unknown role becomes ``user``, and the text says who said it.
        """
        said = self.held.get("role")
        if isinstance(said, str) and said in known:
            return said
        meant = usual_role(said)
        if meant not in known:
            meant = self._by_fields(known)
            if isinstance(said, str) and meant == "user":
                words = self.held.get("content")
                marked = f"[{said[:64]}]\n"
                if isinstance(words, str):
                    self.held["content"] = marked + words
        if "role" in self.came.left:
            self.change("role", meant)
        else:
            self.held["role"] = meant
            self._report("", "change", None)
        return meant

    def _by_fields(self, known: tuple[str, ...]) -> str:
        if "tool" in known and self.held.get("tool_call_id") is not None:
            return "tool"
        return "assistant" if self.held.get("tool_calls") else "user"

    def content(self, read: Callable[[Any, str], Any], mend: Callable[[JSON], list[JSON]]) -> None:
        """Make the content a list of parts that ``read`` accepts.

        ``mend`` gives the possible meanings of a part that ``read`` refuses.
        """
        value = self.held.get("content")
        if value is None or isinstance(value, str):
            self.held["content"] = value or ""
            return
        if isinstance(value, dict) and (isinstance(value.get("type"), str) or "text" in value):
            value = [value]
        if not isinstance(value, list):
            self.change("content", written(value))
            return
        parts = []
        for number, part in enumerate(value):
            parts += self._part(part, f"{self.came.at('content')}[{number}]", read, mend)
        self.held["content"] = parts

    def _part(
        self,
        part: Any,
        path: str,
        read: Callable[[Any, str], Any],
        mend: Callable[[JSON], list[JSON]],
    ) -> list[Any]:
        if part is None or part == "":
            return []
        if isinstance(part, str):
            return [{"type": "text", "text": part}]
        if not isinstance(part, dict):
            self.report_inside("content", "change")
            return [{"type": "text", "text": written(part)}]
        kind, words = part.get("type"), part.get("text")
        if kind in (None, "text") and isinstance(words, int | float):
            self.report_inside("content", "change")
            words = written(words)
            part = {**part, "text": words}
        if kind in (None, "text") and isinstance(words, str | None) and "text" in part:
            said = {"type": "text", "text": words} if words else None
            return [] if said is None else [said if kind is None else _uncached(part)]
        for tried in (part, *mend(part)):
            try:
                read(tried, path)
            except Refused:
                continue
            if tried is not part:
                self.report_inside("content", "change")
            return [tried]
        self.report_inside("content", "drop")
        what = kind[:64] if isinstance(kind, str) and kind else "part"
        return [{"type": "text", "text": left_out(what, MALFORMED)}]

    def fields(self) -> Mended:
        """Return the repaired message, to be read."""
        return Mended(self.held, self.came.path, self.came.origin, self.reports)

    def nothing(self, role: str) -> Mended:
        """Return an empty message of ``role``, for one that cannot be repaired."""
        self.reports = []
        self._report("", "drop", None)
        said = {"role": role, "content": left_out("message", MALFORMED)}
        return Mended(said, self.came.path, self.came.origin, self.reports)


def usual_role(said: Any) -> str:
    """Return the usual name of the role ``said``, "" where that is no role."""
    lower = said.lower() if isinstance(said, str) and len(said) < 64 else ""
    return _ROLES.get(lower, lower)


def called_else(said: Any, known: tuple[str, ...]) -> bool:
    """Return whether ``said`` is another name for one of the ``known`` roles."""
    return said not in known and usual_role(said) in known


def written(value: Any) -> str:
    """Return a value as text: a string unchanged, "" for None, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else encode(value).decode()


def _uncached(part: JSON) -> JSON:
    """Return a text without an invalid cache mark and without fields that make it unreadable."""
    mark, cited = part.get("cache_control"), part.get("citations")
    kept = {k: v for k, v in part.items() if k not in ("cache_control", "citations")}
    if isinstance(mark, dict):
        kept["cache_control"] = mark
    if isinstance(cited, list) and all(isinstance(each, dict) for each in cited):
        kept["citations"] = cited
    return kept
