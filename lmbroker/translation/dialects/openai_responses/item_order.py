"""Puts items into the order that servers with chat templates demand (translation.md 2.4, 8.1).

All of it goes from left to right and looks back only: so the next request of a conversation begins
with the items of this one.
"""

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_turns import BETWEEN, FIRST, Content
from lmbroker.translation.dialects.openai_responses.encode_parts import Parts


def in_order(parts: Parts, items: list[JSON]) -> list[JSON]:
    """Return ``items`` in an order that the backend takes.

    To join items is reported as a change.
    """
    profile = parts.profile
    if profile.system_first_only or profile.alternate_roles or profile.after_tool != "user":
        order = _Order(parts)
        for item in items:
            order.add(item)
        items = order.whole()
    return items if profile.content_lists else [_as_text(parts, item) for item in items]


class _Order:
    """Collects items in the order that the backend takes.

    ``_speaker`` is who spoke last, calls and their results aside; ``_more`` are contents that are
    to be joined to an item, by its place.
    """

    def __init__(self, parts: Parts) -> None:
        self._items: list[JSON] = []
        self._more: dict[int, list[Content]] = {}
        self._parts = parts
        self._strict = parts.profile.alternate_roles
        self._after_tool = parts.profile.after_tool
        self._speaker = ""

    def whole(self) -> list[JSON]:
        """Return all items in their new order."""
        for place, more in self._more.items():
            item = self._items[place]
            key = "output" if "output" in item else "content"
            self._items[place] = {**item, key: _joined(self._parts, [item[key], *more])}
        return self._items

    def add(self, item: JSON) -> None:
        """Add the next item."""
        role = item.get("role", "")
        if role == "user":
            self._user(item)
            return
        by_model = role == "assistant" or not (role or "output" in item)
        if by_model and self._strict and not self._speaker:
            self._parts.change("first_assistant")
            self._say("user", FIRST)
        self._items.append(item)
        if role == "assistant":
            self._speaker = role

    def _user(self, item: JSON) -> None:
        last = self._items[-1] if self._items else {}
        joins = self._strict or self._parts.profile.system_first_only
        if last.get("role") == "user" and joins:
            self._join(item["content"])
            return
        if "output" in last:
            if self._after_tool == "merge" and self._is_text(item["content"]):
                self._parts.change("tool_result")
                self._join(item["content"])
                return
            if self._after_tool != "user" or (self._strict and self._speaker == "user"):
                self._parts.change("mid_system")
                said = [{"type": "output_text", "text": BETWEEN, "annotations": []}]
                self._say("assistant", said)
        self._speaker = "user"
        self._items.append(item)

    def _join(self, content: Content) -> None:
        self._more.setdefault(len(self._items) - 1, []).append(content)

    def _say(self, role: str, content: Content) -> None:
        self._items.append({"type": "message", "role": role, "content": content})
        self._speaker = role

    def _is_text(self, content: Content) -> bool:
        return isinstance(content, str) or all(part["type"] == self._parts.TEXT for part in content)


def _joined(parts: Parts, contents: list[Content]) -> Content:
    """Return several contents as one: texts as paragraphs, lists one after the other."""
    texts = [content for content in contents if isinstance(content, str)]
    if len(texts) == len(contents):
        return "\n\n".join(text for text in texts if text)
    return [
        part
        for content in contents
        for part in ([parts.text(content)] if isinstance(content, str) else content)
        if part.get("text") != ""
    ]


def _as_text(parts: Parts, item: JSON) -> JSON:
    """Return an item whose content is one text where it was several."""
    for key in ("content", "output"):
        content = item.get(key)
        if isinstance(content, list) and all("text" in part for part in content):
            return {**item, key: "\n\n".join(part["text"] for part in content)}
    return item
