"""Instructions and turns of another dialect -> messages (translation.md 2.4).

What is written for a turn does not depend on the turns after it, but for those of the same
speaker: so the next request of a conversation begins with the messages of this one.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from lmbroker.json_text import JSON, encode
from lmbroker.translation.dialects.openai.custom_calls import custom_input
from lmbroker.translation.dialects.openai.encode_parts import joined, plain
from lmbroker.translation.dialects.openai_chat.encode_parts import Parts, text
from lmbroker.translation.dialects.openai_chat.encode_reasoning import add_replay, path_of
from lmbroker.translation.dialects.openai_chat.message_order import in_order
from lmbroker.translation.shared.attribution import MARK as BILLING
from lmbroker.translation.shared.attribution import without_attribution
from lmbroker.translation.shared.left_out import NO_PLACE
from lmbroker.translation.shared.names import wire_id, wire_name
from lmbroker.translation.shared.readable import summary
from lmbroker.translation.unified.parts import (
    AudioPart,
    DocumentPart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import Turn

CONTINUE = "Continue."
"""Asks for a new answer where a model cannot go on with its last one."""

_role = attrgetter("role")


def encode_messages(parts: Parts) -> list[JSON]:
    """The messages of the request that ``parts`` writes."""
    messages = _instructions(parts)
    for role, run in groupby(parts.request.turns, key=_role):
        turns = list(run)
        for turn in turns:
            if turn.extras:
                parts.losses.extras(turn.extras)
        if role == "user":
            written = _user(parts, turns)
        elif role == "assistant":
            written = _assistant(parts, turns)
        else:
            written = [message for turn in turns for message in _later(parts, turn)]
        messages += written
    messages = in_order(parts, messages)
    return messages if parts.profile.content_lists else [_as_text(each) for each in messages]


def _as_text(message: JSON) -> JSON:
    """The message with one text in the place of several."""
    content = message["content"]
    if not isinstance(content, list) or any(part.get("type") != "text" for part in content):
        return message
    return {**message, "content": "\n\n".join(part["text"] for part in content)}


def _instructions(parts: Parts) -> list[JSON]:
    kept = _unattributed(parts.request.system)
    if not kept:
        return []
    said = plain(kept) or joined(parts.content(kept), "\n\n")
    if said and parts.profile.system_role == "user":
        return [_instruction(parts, [text(said)] if isinstance(said, str) else said)]
    return [_message(parts.profile.system_role, said)] if said else []


def _unattributed(parts: Sequence[Part]) -> list[Part]:
    """Instructions without the attribution line, which is for Anthropic only."""
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, TextPart) and part.text.startswith(BILLING):
            rest = without_attribution(part.text)
            if not rest:
                continue
            part = msgspec.structs.replace(part, text=rest)
        kept.append(part)
    return kept


def _later(parts: Parts, turn: Turn) -> list[JSON]:
    content = parts.content(_unattributed(turn.parts))
    if content and not _allowed_later(parts):
        parts.change("mid_system")
    return [_instruction(parts, content, turn.name)] if content else []


def _allowed_later(parts: Parts) -> bool:
    """Whether instructions may stand inside the conversation, as such."""
    profile = parts.profile
    strict = profile.system_first_only or profile.alternate_roles or profile.after_tool != "user"
    return profile.mid_system and not strict and profile.system_role != "user"


def _instruction(parts: Parts, content: list[JSON], name: str | None = None) -> JSON:
    """An instruction inside the conversation, or a user's message that says it is one."""
    if _allowed_later(parts):
        return _message(parts.profile.system_role, joined(content, "\n\n"), name)
    words = joined(content, "\n\n")
    if isinstance(words, str):
        return _message("user", f"[system]\n{words}", name)
    return _message("user", [text("[system]"), *words], name)


def _message(role: str, content: str | list[JSON] | None, name: str | None = None) -> JSON:
    if name is None:
        return {"role": role, "content": content}
    return {"role": role, "name": name, "content": content}


def _user(parts: Parts, turns: Sequence[Turn]) -> list[JSON]:
    """Turns of a user that follow each other: what answers the calls comes before all else."""
    results: list[JSON] = []
    rest: list[JSON] = []
    for turn in turns:
        words = plain(turn.parts)
        if words is not None:
            rest.append(_message("user", words, turn.name))
            continue
        before, shown, said = len(results), list[JSON](), list[JSON]()
        for part in turn.parts:
            if isinstance(part, ToolResultPart):
                results.append(_result(parts, part, shown))
            else:
                said += parts.part(part)
        content = [*shown, *said]
        if content or (len(results) == before and all(type(p) is TextPart for p in turn.parts)):
            said_once = content if len(content) > 1 else joined(content, "")
            rest.append(_message("user", said_once, turn.name))
    return results + rest


def _result(parts: Parts, part: ToolResultPart, shown: list[JSON]) -> JSON:
    """The message that answers a call. What it cannot hold is added to ``shown``, for the user's
    message after it."""
    id = wire_id(part.call_id, parts.profile.tool_id)
    content = parts.result(part, id, shown)
    return {"role": "tool", "tool_call_id": id, "content": joined(content, "\n")}


def _assistant(parts: Parts, turns: Sequence[Turn]) -> list[JSON]:
    """Turns of the model that follow each other are one message; the summary of a conversation
    that was compacted becomes an instruction before it."""
    words = plain(turns[0].parts) if len(turns) == 1 else None
    if words is not None:
        return [_message("assistant", words, turns[0].name)] if words else []
    said = _Said(parts)
    for turn in turns:
        for part in turn.parts:
            said.add(part)
    name = next((turn.name for turn in turns if turn.name is not None), None)
    message = said.message(name)
    return said.before if message is None else [*said.before, message]


class _Said:
    """Collects what the model said: its order of text and calls is lost."""

    def __init__(self, parts: Parts) -> None:
        self.before: list[JSON] = []
        self._parts = parts
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._apart = False
        self._mark: JSON | None = None
        self._thoughts: list[ReasoningPart] = []
        self._calls: list[JSON] = []

    def add(self, part: object) -> None:
        parts = self._parts
        if isinstance(part, TextPart):
            self._say(part)
        elif isinstance(part, ReasoningPart):
            self._thoughts.append(part)
        elif isinstance(part, ToolCallPart):
            self._calls.append(_call(parts, part))
        elif isinstance(part, OpaquePart):
            self._opaque(part)
        elif isinstance(part, ImagePart | DocumentPart | AudioPart):
            self._medium(part)

    def _say(self, part: TextPart) -> None:
        for written in self._parts.part(part):
            self._mark = written.get(self._parts.profile.cache_marks, self._mark)
            if part.refusal:
                self._refusals.append(written["text"])
            else:
                self._put(written["text"], apart=False)

    def _put(self, words: str, *, apart: bool) -> None:
        """Texts are one text; what stands in for something else is a paragraph of its own."""
        gap = "\n\n" if self._texts and (apart or self._apart) else ""
        if gap + words:
            self._texts.append(gap + words)
        self._apart = apart

    def _medium(self, part: ImagePart | DocumentPart | AudioPart) -> None:
        """An answer of the model holds text only."""
        what = {ImagePart: "image", DocumentPart: "document", AudioPart: "audio"}[type(part)]
        for written in self._parts.part(part):
            if written["type"] != "text":
                written = self._parts.left_out(what, what, NO_PLACE)
            self._put(written["text"], apart=True)

    def _opaque(self, part: OpaquePart) -> None:
        for written in self._parts.part(part):
            self._put(written["text"], apart=True)
        said = summary(part) if part.type == "compaction" else ""
        if said:
            self.before.append(_instruction(self._parts, [text(said)]))

    def message(self, name: str | None) -> JSON | None:
        """The message; None where nothing was said but in thought, which backends refuse."""
        words, refusal = "".join(self._texts), "".join(self._refusals)
        if not (words or self._calls or refusal):
            for part in self._thoughts:
                self._parts.lost(part.extras)
                self._parts.drop(path_of(part))
            return None
        content: str | list[JSON] | None = words
        if self._mark is not None and words:
            content = [{**text(words), self._parts.profile.cache_marks: self._mark}]
        elif self._calls and not words:
            content = None
        message = _message("assistant", content, name)
        if refusal:
            message["refusal"] = refusal
        if self._calls:
            message["tool_calls"] = self._calls
        add_replay(self._parts, message, self._thoughts)
        return message


def _call(parts: Parts, part: ToolCallPart) -> JSON:
    parts.lost(part.extras)
    id, name = wire_id(part.id, parts.profile.tool_id), wire_name(part.name)
    if part.kind == "custom":
        given = custom_input(part, part.raw_args or "")
        return {"id": id, "type": "custom", "custom": {"name": name, "input": given}}
    arguments = part.raw_args or encode(part.args or {}).decode()
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def end_conversation(parts: Parts, messages: list[JSON]) -> JSON:
    """An answer at the end is to be continued, by the backend's own trick, or by a user's word
    where it has none; the fields that this takes."""
    kind = parts.profile.prefill
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or "tool_calls" in last or kind == "native":
        return {}
    if kind == "no":
        parts.change("prefill")
        messages.append(_message("user", CONTINUE))
        return {}
    if kind == "vllm":
        return {"continue_final_message": True, "add_generation_prompt": False}
    last["prefix"] = True
    return {}


def add_instruction(parts: Parts, messages: list[JSON], line: str) -> None:
    """A sentence of the broker's own: at the end where the model takes instructions there (the
    cached prefix stays the same), else after those at the start."""
    role = parts.profile.system_role
    if _allowed_later(parts) and messages and messages[-1]["role"] != "assistant":
        messages.append(_message(role, line))
        return
    if not messages or messages[0]["role"] != role:
        messages.insert(0, _message(role, line))
        return
    content = messages[0]["content"]
    if isinstance(content, str):
        messages[0]["content"] = f"{content}\n\n{line}"
    else:
        messages[0]["content"] = [*content, text(line)]
