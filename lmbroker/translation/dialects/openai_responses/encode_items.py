"""Instructions and turns of another dialect -> instructions and items (translation.md 8.1).

What is written for a turn does not depend on the turns after it, but for those of the same
speaker: so the next request of a conversation begins with the items of this one.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from lmbroker.json_text import JSON, encode
from lmbroker.translation.dialects.openai.custom_calls import custom_input
from lmbroker.translation.dialects.openai.encode_parts import joined
from lmbroker.translation.dialects.openai.encode_turns import (
    CONTINUE,
    Content,
    Turns,
    Words,
    unattributed,
)
from lmbroker.translation.dialects.openai.fast_paths import plain_words
from lmbroker.translation.dialects.openai_responses.encode_parts import Parts
from lmbroker.translation.dialects.openai_responses.encode_reasoning import reasoning_item
from lmbroker.translation.dialects.openai_responses.item_order import in_order
from lmbroker.translation.shared.custom_tools import as_function_call
from lmbroker.translation.shared.left_out import NO_CALL, NO_RESULT
from lmbroker.translation.shared.names import wire_id, wire_name
from lmbroker.translation.shared.pairing import Said, Wire, paired
from lmbroker.translation.shared.reasoning_places import in_place
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

_CALLS = {"function_call", "custom_tool_call"}
_RESULTS = {"function_call_output", "custom_tool_call_output"}
_role = attrgetter("role")


class Conversation(Turns):
    """The instructions and the items of one request."""

    parts: Parts

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.instructions = ""
        self.items: list[JSON] = []
        self._custom: set[str] = set()
        """The ids of the calls of custom tools."""
        self._thought: set[str] = set()
        """The ids of the reasoning items that were written: OpenAI refuses a repeated one."""
        self._write()

    def _write(self) -> None:
        parts = self.parts
        items = self._instructions()
        for role, run in groupby(parts.request.turns, key=_role):
            turns = list(run)
            for turn in turns:
                if turn.name is not None:
                    parts.drop("name")
                if turn.extras:
                    parts.lost(turn.extras)
            if role == "user":
                items += self.user(turns)
            elif role == "assistant":
                items += _Said(self, turns).items
            else:
                items += [message for turn in turns for message in self.later(turn)]
        wire = Wire(_said, _unanswered, self._as_user, parts.change)
        self.items = in_order(parts, paired(wire, items))
        if not self.items and self.instructions:
            self.items = [self.message(parts.profile.system_role, self.instructions)]
            self.instructions = ""

    def _instructions(self) -> list[JSON]:
        """Return the items of the leading instructions, none where the field for them serves."""
        parts, profile = self.parts, self.parts.profile
        kept = unattributed(parts.request.system)
        content = plain_words(kept) or joined(parts.content(kept), "\n\n")
        if not content:
            return []
        if profile.system_role == "user":
            return [
                self.instruction([parts.text(content)] if isinstance(content, str) else content)
            ]
        output = parts.request.output
        asks_for_json = output is not None and output.kind == "json_object"
        in_field = profile.instructions == "field" and not asks_for_json
        if isinstance(content, str) and in_field:
            self.instructions = content
            return []
        # Some servers ignore the field for instructions. It cannot hold cache marks, and OpenAI,
        # which gives a JSON object only where the word "json" occurs, looks for that among the
        # items only.
        return [self.message(profile.system_role, content)]

    def message(self, role: str, content: Content, name: str | None = None) -> JSON:
        """Return a message item; this dialect has no names of speakers."""
        return {"type": "message", "role": role, "content": content}

    def answer(self, part: ToolResultPart, shown: list[JSON]) -> JSON:
        """Return the item of a call's result."""
        id = wire_id(part.call_id, self.parts.profile.tool_id)
        output = joined(self.parts.result(part, id, shown), "\n")
        custom = id in self._custom
        kind = "custom_tool_call_output" if custom else "function_call_output"
        return {"type": kind, "call_id": id, "output": output}

    def call(self, part: ToolCallPart) -> JSON:
        """Return the item of a call."""
        self.parts.lost(part.extras)
        id, name = wire_id(part.id, self.parts.profile.tool_id), wire_name(part.name)
        if part.kind == "custom" and not self.parts.profile.custom_tools:
            part = as_function_call(part)
        if part.kind == "custom":
            self._custom.add(id)
            given = custom_input(part, part.raw_args or "")
            return {"type": "custom_tool_call", "call_id": id, "name": name, "input": given}
        arguments = part.raw_args or encode(part.args or {}).decode()
        return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}

    def thought(self, part: ReasoningPart) -> JSON | None:
        """Return the item of past reasoning.

        It is None for reasoning that another dialect made, and for an item that was written
        already.
        """
        self.parts.lost(part.extras)
        profile = self.parts.profile
        item = reasoning_item(part) if profile.reasoning_replay != "none" else None
        sealed = item is not None and "encrypted_content" in item
        if (
            item is None
            or (sealed and not profile.replay_signed)
            or item.get("id") in self._thought
        ):
            self.parts.drop("reasoning_part" if part.redacted is None else "redacted")
            return None
        if "id" in item:
            self._thought.add(item["id"])
        return item

    def _as_user(self, result: JSON) -> JSON:
        output = result["output"]
        if isinstance(output, list):
            return self.message("user", [self.parts.text(NO_CALL), *output])
        return self.message("user", f"{NO_CALL}\n{output}" if output else NO_CALL)

    def end(self) -> None:
        """Add a user's message after an answer at the end, since this dialect continues none."""
        last = self.items[-1] if self.items else {}
        if last.get("role") == "assistant" and self.parts.profile.prefill != "native":
            self.parts.change("prefill")
            self.items.append(self.message("user", CONTINUE))

    def add(self, line: str, *, among_items: bool = False) -> None:
        """Add a sentence of the broker's own to the instructions.

        It goes to the end where the model takes instructions there, so that the cached prefix stays
        the same; else after the instructions at the start, unless it must stand ``among_items``.
        """
        last = self.items[-1] if self.items else {}
        if self.allowed_later() and last.get("role") != "assistant":
            self.items.append(self.message(self.parts.profile.system_role, line))
        elif self.instructions and not among_items:
            self.instructions = f"{self.instructions}\n\n{line}" if self.instructions else line
        else:
            self.items.append(self.instruction([self.parts.text(line)]))

    def contents(self) -> list[Content]:
        """Return the contents of messages and results, in the order of the prompt."""
        return [item.get("content") or item.get("output") or "" for item in self.items]


def _said(item: JSON) -> Said:
    kind = item["type"]
    if kind in _CALLS:
        return Said(True, (item["call_id"],))
    if kind in _RESULTS:
        return Said(answers=item["call_id"])
    return Said(kind == "reasoning" or item["role"] == "assistant")


def _unanswered(call: JSON, id: str) -> JSON:
    return {"type": f"{call['type']}_output", "call_id": id, "output": NO_RESULT}


class _Said:
    """Collects the items of consecutive turns of the model.

    Reasoning stands directly before what it preceded: where nothing follows it, it is left out.
    """

    def __init__(self, wire: Conversation, turns: Sequence[Turn]) -> None:
        self.items: list[JSON] = []
        self._wire = wire
        self._parts = wire.parts
        self._thoughts: list[ReasoningPart] = []
        self._words = Words(wire.parts)
        self._phase: str | None = None
        for turn in turns:
            self._phase = turn.phase
            for part in in_place(turn.parts):
                self._add(part)
            self._end_message()
        self._forget()

    def _add(self, part: Part) -> None:
        if isinstance(part, TextPart) and part.refusal:
            self._end_message()
            for written in self._parts.part(part):
                self._put(self._message([{"type": "refusal", "refusal": written["text"]}]))
        elif isinstance(part, TextPart):
            for written in self._parts.part(part):
                self._words.say(written["text"])
        elif isinstance(part, ReasoningPart):
            self._end_message()
            self._thoughts.append(part)
        elif isinstance(part, ToolCallPart):
            self._end_message()
            self._put(self._wire.call(part))
        elif isinstance(part, ImagePart | DocumentPart | AudioPart | OpaquePart):
            compacted = self._words.stand_in(part)
            if compacted:
                self._end_message()
                self._forget()
                self.items.append(self._wire.instruction([self._parts.text(compacted)]))

    def _end_message(self) -> None:
        words = self._words.take()
        if words:
            self._put(self._message([{"type": "output_text", "text": words, "annotations": []}]))

    def _message(self, content: list[JSON]) -> JSON:
        message = self._wire.message("assistant", content)
        if self._phase is not None:
            message["phase"] = self._phase
        return message

    def _put(self, item: JSON) -> None:
        """Add an item after the reasoning that preceded it."""
        for part in self._thoughts:
            thought = self._wire.thought(part)
            if thought is None:
                continue
            if item["type"] == "message" and "encrypted_content" in thought:
                # OpenAI takes reasoning with its id only with the message that has its own id, and
                # that id is lost; without an id it takes both.
                thought = {key: value for key, value in thought.items() if key != "id"}
            self.items.append(thought)
        self._thoughts = []
        self.items.append(item)

    def _forget(self) -> None:
        """Drop reasoning that nothing follows."""
        for part in self._thoughts:
            self._parts.lost(part.extras)
            self._parts.drop("reasoning_part" if part.redacted is None else "redacted")
        self._thoughts = []
