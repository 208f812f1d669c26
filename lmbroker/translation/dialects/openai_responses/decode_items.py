"""The items of a Responses request's input -> turns (translation.md 8.1).

What the encoder of this dialect must know; extras named here are of class ``none`` unless another
class is named:

- Everything between two items of the client is one assistant turn, a run of results is one user
  turn, and every other message is a turn of its own.
- ``message`` is a message's item without its content, and ``content`` its content where that was a
  text, or empty. Both stand in the extras of the turn, but for assistant messages and leading
  instructions in those of the part with which the message begins.
- ``before`` holds items that a model does not read (they offer tools, or change how answers are
  made), in the extras of the turn or part that follows them; after the last one they are the
  request's extra ``input_after``.
- ``item`` and ``part`` are an item or a part of content as it came, where the Unified Model does
  not hold all of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from lmbroker.errors import Refused
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.open_calls import OpenCalls
from lmbroker.translation.dialects.openai_responses import odd_items
from lmbroker.translation.dialects.openai_responses.decode_calls import (
    TOOL_SEARCH,
    VENDOR_CALLS,
    VENDOR_RESULTS,
    decode_call,
    decode_result,
    decode_vendor_call,
    decode_vendor_result,
)
from lmbroker.translation.dialects.openai_responses.decode_content import (
    ORIGIN,
    instructions,
    read_content,
    spelled,
    with_extras,
)
from lmbroker.translation.dialects.openai_responses.decode_controls import (
    EFFORTS,
    STATELESS,
    decode_format,
)
from lmbroker.translation.dialects.openai_responses.decode_reasoning import decode_reasoning
from lmbroker.translation.dialects.openai_responses.decode_tools import decode_tool
from lmbroker.translation.dialects.openai_responses.fast_paths import plain_question
from lmbroker.translation.dialects.openai_responses.opaque_items import (
    OF_CLIENT,
    OPAQUE,
    opaque,
)
from lmbroker.translation.shared.fields import Fields, bad_value, missing
from lmbroker.translation.shared.left_out import left_out
from lmbroker.translation.shared.odd_messages import MALFORMED, MOST
from lmbroker.translation.unified.parts import (
    Extra,
    LossClass,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import Effort, OutputFormat, Tool, Turn

ROLES = ("system", "developer", "user", "assistant")
_PHASES = ("commentary", "final_answer")
_OF_MESSAGE = ("id", "status", "phase", "name")
_WORST: tuple[LossClass, ...] = ("none", "change", "drop", "refuse_soft", "refuse")
_COMPACTION = "compaction is the vendor's own; a backend of its own format takes it"


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded input of a request.

    ``tools`` are offered by its items; ``effort`` and ``output`` are what the last items that
    change them ask for (``formatted``: there is one).
    """

    system: tuple[TextPart, ...]
    turns: tuple[Turn, ...]
    tools: list[Tool] = []
    effort: Effort | None = None
    formatted: bool = False
    output: OutputFormat | None = None
    extras: tuple[Extra, ...] = ()


def decode_items(items: list[Any], first: list[TextPart]) -> Input:
    """Return the conversation of ``items``, with the instructions ``first`` before it.

    Raises Refused.
    """
    reader = _Reader(first)
    odd = 0
    for number, item in enumerate(items):
        question = plain_question(item) if isinstance(item, dict) else ""
        if question:
            reader.ask(question)
            continue
        path = f"input[{number}]"
        last = number == len(items) - 1
        try:
            reader.take(item, path, number, last=last)
        except Refused:
            odd += 1
            if odd > MOST or not reader.take_odd(item, path, number, last=last):
                raise
    return reader.whole()


class _Silent(NamedTuple):
    """An item that is no part of the conversation, and the class of its loss."""

    raw: JSON
    loss: LossClass = "none"
    path: str = "input[]"
    reason: str = ""


class _Reader:
    """Reads the items of a request one by one."""

    def __init__(self, first: list[TextPart]) -> None:
        self._system = list(first)
        self._turns: list[Turn] = []
        self._said: list[Part] = []
        """The parts of the current assistant turn."""
        self._phase: Any = None
        self._results: list[ToolResultPart] = []
        self._before: list[_Silent] = []
        self._calls = OpenCalls()
        self._tools: list[Tool] = []
        self._effort: Effort | None = None
        self._output: OutputFormat | None = None
        self._formatted = False

    def whole(self) -> Input:
        """Return the input that was read."""
        self._close()
        turns = tuple(self._turns)
        if not turns and not self._system:
            turns = (Turn(role="user", parts=()),)
        return Input(
            system=tuple(self._system),
            turns=turns,
            tools=self._tools,
            effort=self._effort,
            formatted=self._formatted,
            output=self._output,
            extras=self._waiting("input_after"),
        )

    def ask(self, text: str) -> None:
        """Add a message of the user that consists of one text."""
        self._close()
        spelled_as = Extra(
            origin=ORIGIN, name="content", path="input[].content", value=text, loss="none"
        )
        extras = (*self._waiting(), spelled_as)
        self._turns.append(Turn(role="user", parts=(TextPart(text=text),), extras=extras))

    def take(self, raw: Any, path: str, number: int, *, last: bool = False) -> None:
        """Read one item. Raises Refused, and then has read nothing of it."""
        item = Fields(raw, path, ORIGIN)
        kind = item.text("type")
        if kind is None:
            kind = _kind(item)
        reader = _READERS.get(kind)
        if reader is not None:
            reader(self, item, kind, raw, number)
        elif kind == "item_reference":
            self._reference(item, raw, last=last)
        elif kind in OPAQUE:
            self._opaque(kind, raw)
        else:
            raise bad_value(item.at("type"), "there is no such type of item")

    def take_odd(self, raw: Any, path: str, number: int, *, last: bool) -> bool:
        """Read an item that breaks the rules of its format.

        Returns False for a ``last`` one that needs more than the usual name of its role.
        """
        read = False
        try:
            for meant in odd_items.meanings(raw, path, number, self._calls.first, last=last):
                kind = meant.text("type") or "message"
                reader = _READERS.get(kind)
                if reader is None:
                    self._opaque(kind, raw)
                else:
                    reader(self, meant, kind, raw, number)
                read = True
        except Refused:
            if last:
                return False
            lost = OpaquePart(origin=ORIGIN, type="item", raw=raw, text=left_out("item", MALFORMED))
            self._close()
            self._turns.append(Turn(role="user", parts=(lost,), extras=self._waiting()))
        return read or not last

    def _message(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        role = item.need_text("role")
        if role not in ROLES or odd_items.of_chat(item.left):
            raise bad_value(item.at("role"), "there is no such role")
        content = item.any("content")
        if content is None and role != "assistant":
            raise missing(item.at("content"))
        if role == "assistant":
            self._answer(item, content, raw)
        elif role == "user":
            self._user(item, content)
        else:
            self._instruct(item, content, role)

    def _user(self, item: Fields, content: Any) -> None:
        parts = read_content(content, item.at("content"), "user")
        name = item.left.get("name")
        extras = [*spelled(item, content, parts), *_own(item, "user", always=False)]
        self._close()
        self._turns.append(
            Turn(
                role="user",
                parts=tuple(parts),
                name=name if isinstance(name, str) else None,
                extras=(*self._waiting(), *extras),
            )
        )

    def _instruct(self, item: Fields, content: Any, role: str) -> None:
        texts = instructions(content, item.at("content"))
        extras = [*spelled(item, content, texts), *_own(item, role, always=True)]
        if not (self._turns or self._said or self._results):
            texts = texts or [TextPart(text="")]
            first = with_extras(texts[0], (*self._waiting(), *extras))
            self._system += [first, *texts[1:]]
            return
        self._close()
        extras = [*self._waiting(), *extras]
        self._turns.append(Turn(role="system", parts=tuple(texts), extras=tuple(extras)))

    def _answer(self, item: Fields, content: Any, raw: Any) -> None:
        held = [] if content is None else read_content(content, item.at("content"), "assistant")
        phase = item.left.get("phase")
        extras = [*spelled(item, content, held), *_own(item, "assistant", always=True)]
        if not held:
            self._before.append(_Silent(raw))
            return
        self._phase = phase if phase in _PHASES else self._phase
        self._say(with_extras(held[0], tuple(extras)))
        for part in held[1:]:
            self._say(part)

    def _reason(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        self._say(decode_reasoning(item, raw))

    def _chat_reason(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        text, sealed = item.need_text("text"), odd_items.CHAT_REASONING
        self._say(ReasoningPart(text=text, signature=sealed, extras=item.rest()))

    def _call(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        self._say(decode_call(item, kind))

    def _result(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        self._answered(decode_result(item, kind, number, self._calls, raw))

    def _vendor_call(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        if VENDOR_CALLS[kind][0] == TOOL_SEARCH and item.left.get("execution") != "client":
            self._opaque(kind, raw)
            return
        self._say(decode_vendor_call(item, kind, number, raw))

    def _vendor_result(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        if kind != "tool_search_output":
            self._answered(decode_vendor_result(item, kind, number, self._calls, raw))
            return
        if item.left.get("execution") != "client":
            self._opaque(kind, raw)
        else:
            self._answered(decode_vendor_result(item, kind, number, self._calls, raw))
        self._offer(item)

    def _more_tools(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        lost = self._offer(item)
        self._before.append(_Silent(raw, "drop" if lost else "none", "input[].tools"))

    def _offer(self, item: Fields) -> bool:
        """Offer the tools of an item; return True where some of them cannot be read."""
        lost = False
        tools = item.left.get("tools")
        for number, tool in enumerate(tools if isinstance(tools, list) else ()):
            try:
                self._tools += decode_tool(tool, f"{item.at('tools')}[{number}]", "inline")
            except Refused:
                lost = True
        return lost

    def _update(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        """Apply a change of how answers are made from here on."""
        lost: list[Extra] = []
        reasoning, text = item.mapping("reasoning"), item.inside("text")
        effort = (reasoning or {}).get("effort")
        form = None if text is None else text.inside("format")
        if form is not None:
            self._output, self._formatted = decode_format(form, lost), True
        if effort in EFFORTS:
            self._effort = effort
        known = effort is None or effort in EFFORTS
        self._before.append(_Silent(raw, "none" if known and not lost else "drop"))

    def _trigger(self, item: Fields, kind: str, raw: Any, number: int) -> None:
        self._before.append(_Silent(raw, "refuse", item.at("type"), _COMPACTION))

    def _reference(self, item: Fields, raw: Any, *, last: bool) -> None:
        id = item.need_text("id")
        if last:
            self._before.append(_Silent(raw, "refuse", item.at("id"), STATELESS))
        elif id.startswith("rs_"):
            self._before.append(_Silent(raw, "drop", "input[].id"))
        else:
            self._opaque("item_reference", raw)

    def _opaque(self, kind: str, raw: Any) -> None:
        part = opaque(kind, raw)
        if kind in OF_CLIENT or (kind not in OPAQUE and kind.endswith(odd_items.ANSWERS)):
            self._close()
            self._turns.append(Turn(role="user", parts=(part,), extras=self._waiting()))
        else:
            self._say(part)

    def _say(self, part: Part) -> None:
        """Add a part of the model's answer."""
        if self._results:
            self._close()
        if isinstance(part, ToolCallPart):
            self._calls.add(part)
        self._said.append(with_extras(part, self._waiting()))

    def _answered(self, part: ToolResultPart) -> None:
        """Add the result of a call."""
        if self._said:
            self._close()
        self._results.append(with_extras(part, self._waiting()))

    def _close(self) -> None:
        """End the current turn."""
        if self._said:
            parts = tuple(self._said)
            self._turns.append(Turn(role="assistant", parts=parts, phase=self._phase))
            self._said, self._phase = [], None
        if self._results:
            self._turns.append(Turn(role="user", parts=tuple(self._results)))
            self._results = []

    def _waiting(self, name: str = "before") -> tuple[Extra, ...]:
        """Return an extra with the items before the next one that a model does not read."""
        waiting = self._before
        if not waiting:
            return ()
        self._before = []
        worst = max(waiting, key=lambda each: _WORST.index(each.loss))
        return (
            Extra(
                origin=ORIGIN,
                name=name,
                path=worst.path,
                value=[each.raw for each in waiting],
                loss=worst.loss,
                reason=worst.reason,
            ),
        )


def _kind(item: Fields) -> str:
    """Return the type of an item without a ``type``."""
    left = item.left
    if "role" in left:
        return "message"
    if set(left) == {"id"}:
        return "item_reference"
    raise missing(item.at("type"))


def _own(item: Fields, role: str, *, always: bool) -> list[Extra]:
    """Return extras for the fields of a message besides its content.

    The role alone is none, unless ``always``.
    """
    held = {"type": "message", "role": role}
    held.update((name, item.any(name)) for name in _OF_MESSAGE if name in item.left)
    own = [item.extra("message", held, "none")] if always or len(held) > 2 else []
    return [*own, *item.rest()]


_Taker = Callable[[_Reader, Fields, str, Any, int], None]
_READERS: dict[str, _Taker] = {
    "message": _Reader._message,
    "reasoning": _Reader._reason,
    odd_items.OF_CHAT: _Reader._chat_reason,
    "function_call": _Reader._call,
    "custom_tool_call": _Reader._call,
    "function_call_output": _Reader._result,
    "custom_tool_call_output": _Reader._result,
    **dict.fromkeys(VENDOR_CALLS, _Reader._vendor_call),
    **dict.fromkeys(VENDOR_RESULTS, _Reader._vendor_result),
    "additional_tools": _Reader._more_tools,
    "configuration_update": _Reader._update,
    "compaction_trigger": _Reader._trigger,
}
