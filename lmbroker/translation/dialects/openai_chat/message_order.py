"""Puts messages into the order that backends and their chat templates demand (translation.md 2.4).

The messages are read from left to right. What becomes of one depends only on those before it, back
to the last answer of the model, so that the next request of a conversation begins with the messages
of this one.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_parts import Parts
from lmbroker.translation.dialects.openai.encode_turns import BETWEEN, FIRST
from lmbroker.translation.dialects.openai_chat.encode_parts import text
from lmbroker.translation.shared.left_out import NO_CALL, NO_RESULT
from lmbroker.translation.shared.pairing import Said, Wire, paired

_JOINED = ("reasoning_content", "reasoning", "refusal")
_LISTED = ("tool_calls", "reasoning_details", "thinking_blocks")


def in_order(parts: Parts, messages: list[JSON]) -> list[JSON]:
    """Return ``messages`` in an order that the backend accepts.

    To join messages is reported as a change.
    """
    profile = parts.profile
    for message in messages:
        if "tool_calls" in message or message["role"] == "tool":
            wire = Wire(_said, _unanswered, _as_user, parts.change)
            messages = paired(wire, messages)
            break
    if not (profile.system_first_only or profile.alternate_roles or profile.after_tool != "user"):
        return messages
    order = _Order(parts)
    for message in messages:
        order.add(message)
    return [_one(group) for group in order.groups]


def _said(message: JSON) -> Said:
    role = message["role"]
    if role == "assistant":
        return Said(True, [call["id"] for call in message.get("tool_calls", ())])
    return Said(answers=message["tool_call_id"]) if role == "tool" else Said()


def _unanswered(message: JSON, id: str) -> JSON:
    return {"role": "tool", "tool_call_id": id, "content": NO_RESULT}


def _as_user(result: JSON) -> JSON:
    content = result["content"]
    if not isinstance(content, list):
        return {"role": "user", "content": f"{NO_CALL}\n{content}" if content else NO_CALL}
    return {"role": "user", "content": [text(NO_CALL), *content]}


class _Order:
    """Collects messages in groups, each of which becomes one message.

    ``_speaker`` is the role that spoke last, without calls and their results. ``_earlier`` is the
    role that spoke before the last group.
    """

    def __init__(self, parts: Parts) -> None:
        self.groups: list[list[JSON]] = []
        self._parts = parts
        self._strict = parts.profile.alternate_roles
        self._after_tool = parts.profile.after_tool
        self._speaker = self._earlier = ""

    def add(self, message: JSON) -> None:
        last = self.groups[-1][0]["role"] if self.groups else ""
        if message["role"] == "user":
            self._user(message, last)
        elif message["role"] == "assistant":
            self._assistant(message, last)
        else:
            self._new(message)

    def _user(self, message: JSON, last: str) -> None:
        if last == "user" and (self._strict or self._parts.profile.system_first_only):
            self.groups[-1].append(message)
            return
        if last == "tool" and self._after_tool == "merge" and _only_text(message):
            self._parts.change("tool_result")
            self.groups[-1].append(message)
            return
        strictly = self._after_tool != "user" or (self._strict and self._speaker == "user")
        if last == "tool" and strictly:
            self._parts.change("mid_system")
            self._new({"role": "assistant", "content": BETWEEN})
        self._new(message)

    def _assistant(self, message: JSON, last: str) -> None:
        if not self._strict:
            self._new(message)
            return
        if not self._speaker:
            self._parts.change("first_assistant")
            self._new({"role": "user", "content": FIRST})
        if last == "assistant":
            self.groups[-1].append(message)
            if "tool_calls" in message:
                self._speaker = self._earlier
        else:
            self._new(message)

    def _new(self, message: JSON) -> None:
        self.groups.append([message])
        self._earlier = self._speaker
        if message["role"] in ("user", "assistant") and "tool_calls" not in message:
            self._speaker = message["role"]


def _only_text(message: JSON) -> bool:
    content = message["content"]
    return isinstance(content, str) or all(part["type"] == "text" for part in content)


def _one(group: list[JSON]) -> JSON:
    """Return a group of messages as one, with the role and the further fields of the first."""
    first, *rest = group
    if not rest:
        return first
    first["content"] = _one_content([m["content"] for m in group if m["content"]])
    for key in _JOINED:
        said = [m[key] for m in group if m.get(key)]
        if said:
            first[key] = "\n\n".join(said)
    for key in _LISTED:
        held = [each for m in group for each in m.get(key) or ()]
        if held:
            first[key] = held
    if not first["content"]:
        first["content"] = None if "tool_calls" in first else ""
    return first


def _one_content(contents: Sequence[str | list[JSON]]) -> str | list[JSON]:
    """Return the contents as one text of paragraphs, or as content parts where one is a list."""
    words = list(takewhile(lambda content: isinstance(content, str), contents))
    start: list[Any] = ["\n\n".join(words)] if words else []  # type: ignore[arg-type]
    if len(words) == len(contents):
        return start[0] if start else ""
    every = [*start, *contents[len(words) :]]
    return [part for content in every for part in listed(content)]


def listed(content: str | list[JSON]) -> list[JSON]:
    """Return ``content`` as content parts."""
    return [text(content)] if isinstance(content, str) else content
