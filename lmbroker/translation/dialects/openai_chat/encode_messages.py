"""Instructions and turns of another dialect -> messages (translation.md 2.4).

What is written for a turn does not depend on the turns after it, but for those of the same
speaker: so the next request of a conversation begins with the messages of this one.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from lmbroker.json_text import JSON, encode
from lmbroker.translation.dialects.openai.custom_calls import custom_input
from lmbroker.translation.dialects.openai.encode_parts import Parts, joined
from lmbroker.translation.dialects.openai.encode_turns import (
    CONTINUE,
    Content,
    Turns,
    Words,
    unattributed,
)
from lmbroker.translation.dialects.openai.fast_paths import plain_words
from lmbroker.translation.dialects.openai_chat.encode_parts import text
from lmbroker.translation.dialects.openai_chat.encode_reasoning import add_replay, path_of
from lmbroker.translation.dialects.openai_chat.message_order import in_order
from lmbroker.translation.shared.custom_tools import as_function_call
from lmbroker.translation.shared.names import wire_id, wire_name
from lmbroker.translation.unified.parts import (
    AudioPart,
    DocumentPart,
    ImagePart,
    OpaquePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import Turn

_role = attrgetter("role")


def encode_messages(parts: Parts) -> list[JSON]:
    """Return the messages of the request that ``parts`` writes."""
    wire = _Turns(parts)
    messages = _instructions(wire)
    for role, run in groupby(parts.request.turns, key=_role):
        turns = list(run)
        for turn in turns:
            if turn.extras:
                parts.losses.extras(turn.extras)
        if role == "user":
            written = wire.user(turns)
        elif role == "assistant":
            written = _assistant(wire, turns)
        else:
            written = [message for turn in turns for message in wire.later(turn)]
        messages += written
    messages = in_order(parts, messages)
    return messages if parts.profile.content_lists else [_as_text(each) for each in messages]


def _as_text(message: JSON) -> JSON:
    """Return the message with its content as one text where it is several."""
    content = message["content"]
    if not isinstance(content, list) or any(part.get("type") != "text" for part in content):
        return message
    return {**message, "content": "\n\n".join(part["text"] for part in content)}


class _Turns(Turns):
    def message(self, role: str, content: Content | None, name: str | None = None) -> JSON:
        if name is None:
            return {"role": role, "content": content}
        return {"role": role, "name": name, "content": content}

    def answer(self, part: ToolResultPart, shown: list[JSON]) -> JSON:
        id = wire_id(part.call_id, self.parts.profile.tool_id)
        content = self.parts.result(part, id, shown)
        return {"role": "tool", "tool_call_id": id, "content": joined(content, "\n")}


def _instructions(wire: _Turns) -> list[JSON]:
    parts = wire.parts
    kept = unattributed(parts.request.system)
    if not kept:
        return []
    said = plain_words(kept) or joined(parts.content(kept), "\n\n")
    if said and parts.profile.system_role == "user":
        return [wire.instruction([text(said)] if isinstance(said, str) else said)]
    return [wire.message(parts.profile.system_role, said)] if said else []


def _assistant(wire: _Turns, turns: Sequence[Turn]) -> list[JSON]:
    """Return consecutive turns of the model as one message.

    The summary of a conversation that was compacted becomes an instruction before it.
    """
    words = plain_words(turns[0].parts) if len(turns) == 1 else None
    if words is not None:
        return [wire.message("assistant", words, turns[0].name)] if words else []
    said = _Said(wire)
    for turn in turns:
        for part in turn.parts:
            said.add(part)
    name = next((turn.name for turn in turns if turn.name is not None), None)
    message = said.message(name)
    return said.before if message is None else [*said.before, message]


class _Said:
    """Collects what the model said in one message.

    The order of text and calls is lost in it.
    """

    def __init__(self, wire: _Turns) -> None:
        self.before: list[JSON] = []
        self._wire = wire
        self._parts = wire.parts
        self._words = Words(wire.parts)
        self._refusals: list[str] = []
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
        elif isinstance(part, ImagePart | DocumentPart | AudioPart | OpaquePart):
            compacted = self._words.stand_in(part)
            if compacted:
                self.before.append(self._wire.instruction([text(compacted)]))

    def _say(self, part: TextPart) -> None:
        for written in self._parts.part(part):
            self._mark = written.get(self._parts.profile.cache_marks, self._mark)
            if part.refusal:
                self._refusals.append(written["text"])
            else:
                self._words.say(written["text"])

    def message(self, name: str | None) -> JSON | None:
        """Return the message, None where it holds reasoning only: backends refuse such messages."""
        words, refusal = self._words.take(), "".join(self._refusals)
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
        message = self._wire.message("assistant", content, name)
        if refusal:
            message["refusal"] = refusal
        if self._calls:
            message["tool_calls"] = self._calls
        add_replay(self._parts, message, self._thoughts)
        return message


def _call(parts: Parts, part: ToolCallPart) -> JSON:
    parts.lost(part.extras)
    id, name = wire_id(part.id, parts.profile.tool_id), wire_name(part.name)
    if part.kind == "custom" and not parts.profile.custom_tools:
        part = as_function_call(part)
    if part.kind == "custom":
        given = custom_input(part, part.raw_args or "")
        return {"id": id, "type": "custom", "custom": {"name": name, "input": given}}
    arguments = part.raw_args or encode(part.args or {}).decode()
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def end_conversation(parts: Parts, messages: list[JSON]) -> JSON:
    """Make the model continue an answer at the end, and return the fields that this takes.

    The backend's own trick serves for that, or where it has none a user's message.
    """
    kind = parts.profile.prefill
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or "tool_calls" in last or kind == "native":
        return {}
    if kind == "no":
        parts.change("prefill")
        messages.append(_Turns(parts).message("user", CONTINUE))
        return {}
    if kind == "vllm":
        return {"continue_final_message": True, "add_generation_prompt": False}
    last["prefix"] = True
    return {}


def add_instruction(parts: Parts, messages: list[JSON], line: str) -> None:
    """Add a sentence of the broker's own to the instructions.

    It goes to the end where the model takes instructions there, so that the cached prefix stays the
    same; else after the instructions at the start.
    """
    role, wire = parts.profile.system_role, _Turns(parts)
    if wire.allowed_later() and messages and messages[-1]["role"] != "assistant":
        messages.append(wire.message(role, line))
        return
    if not messages or messages[0]["role"] != role:
        messages.insert(0, wire.message(role, line))
        return
    content = messages[0]["content"]
    if isinstance(content, str):
        messages[0]["content"] = f"{content}\n\n{line}"
    else:
        messages[0]["content"] = [*content, text(line)]
