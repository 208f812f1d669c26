"""Turns -> messages and system blocks, in the order that Anthropic takes (translation.md 2.3).

Messages of one role that follow each other become one, tool results first in it; a message that
would be empty is left out. What is written for a turn does not depend on the turns after it,
but for the last one: so the next request of a conversation begins with the bytes of this one.
"""

from collections.abc import Sequence

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.anthropic_messages.encode_blocks import ORIGIN, Blocks
from lmbroker.translation.dialects.anthropic_messages.pairing import pair
from lmbroker.translation.shared.left_out import NO_AUDIO, left_out
from lmbroker.translation.unified.parts import TextPart, ToolCallPart, ToolResultPart
from lmbroker.translation.unified.request import Request, Turn

CONTINUE = "Continue."
"""The user's message that asks for a new answer where a model cannot go on with its last one."""

_CALLING = (ToolCallPart, ToolResultPart)

NOTHING = "."
"""The text of a user's message that Anthropic requires and the client did not send."""


def encode_conversation(blocks: Blocks) -> tuple[list[JSON], list[JSON]]:
    """Return the system blocks and the messages of the request that ``blocks`` writes.

    The prefill rules are applied later (``end_conversation``): they depend on thinking.
    """
    request = blocks.request
    if blocks.native:
        return blocks.turn(request.system), [_as_it_is(blocks, turn) for turn in request.turns]
    instructions, alone = request.system, tuple[TextPart, ...]()
    if not request.turns:
        instructions, alone = _last_instruction(request)
    system = blocks.turn(instructions)
    messages: list[JSON] = []
    turns: list[tuple[str, list[JSON]]] = []
    calls = False
    for turn in request.turns:
        written = _written(blocks, turn)
        calls = calls or any(type(part) in _CALLING for part in turn.parts)
        if written:
            turns.append((turn.role, written))
    followers = _followers([role for role, _ in turns])
    for (role, written), after in zip(turns, followers, strict=True):
        if role == "system" and not _allowed_here(blocks, messages, after):
            blocks.change("mid_system")
            _append(messages, "user", _as_user(written))
        else:
            _append(messages, role, written)
    if calls:
        messages = pair(blocks, messages)
    for message in messages:
        if message["role"] == "user" and len(message["content"]) > 1:
            message["content"].sort(key=lambda block: block["type"] != "tool_result")
    asked = blocks.turn(alone) if alone else []
    if asked:
        blocks.change("system")
        _append(messages, "user", asked)
    if not messages:
        blocks.change("messages")
        _append(messages, "user", [{"type": "text", "text": NOTHING}])
    elif messages[0]["role"] != "user":
        blocks.change("first_assistant")
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": NOTHING}]})
    return system, messages


def _as_user(written: list[JSON]) -> list[JSON]:
    """Return an instruction inside the conversation as a user's text that is labelled as one.

    At the start it would change the prefix of the conversation that caches know.
    """
    first, *rest = written
    if first["type"] != "text":
        return [{"type": "text", "text": "[system]"}, *written]
    return [{**first, "text": f"[system]\n{first['text']}"}, *rest]


def _written(blocks: Blocks, turn: Turn) -> list[JSON]:
    if turn.name is not None:
        blocks.drop("name")
    if not turn.extras:
        return blocks.turn(turn.parts)
    blocks.extras({}, turn.extras)
    written = blocks.turn(turn.parts)
    if any(extra.name == "audio" and extra.origin != ORIGIN for extra in turn.extras):
        written.insert(0, {"type": "text", "text": left_out("audio", NO_AUDIO)})
    return written


def _as_it_is(blocks: Blocks, turn: Turn) -> JSON:
    message: JSON = {"role": turn.role, "content": blocks.turn(turn.parts)}
    blocks.extras(message, turn.extras)
    return message


def _last_instruction(request: Request) -> tuple[tuple[TextPart, ...], tuple[TextPart, ...]]:
    """Return the instructions of a request without turns, the last message of them apart.

    That message is the question.
    """
    start = len(request.system) - 1
    while start > 0 and not any(e.name == "message.role" for e in request.system[start].extras):
        start -= 1
    if start < 0:
        return (), ()
    return request.system[:start], request.system[start:]


def _followers(roles: Sequence[str]) -> list[str]:
    """Return for each of ``roles`` the next one that is no instruction, at the end the model's."""
    after, found = "assistant", list[str]()
    for role in reversed(roles):
        found.append(after)
        if role != "system":
            after = role
    return found[::-1]


def _allowed_here(blocks: Blocks, messages: list[JSON], after: str) -> bool:
    """Return whether Anthropic takes an instruction at this point.

    It does after a user's message, before the model's or at the end.
    """
    if not blocks.profile.mid_system or not messages or messages[-1]["role"] == "assistant":
        return False
    return after == "assistant"


def _append(messages: list[JSON], role: str, written: list[JSON]) -> None:
    if not messages or messages[-1]["role"] != role:
        messages.append({"role": role, "content": []})
    messages[-1]["content"] += written


def end_conversation(blocks: Blocks, messages: list[JSON], prefill: bool) -> None:
    """Make the model continue an answer at the end, or ask for a new one.

    A model that can continue it refuses white space at its end. Others get a user's message.
    """
    last = messages[-1]
    if not prefill:
        blocks.drop("prefill")
        _append(messages, "user", [{"type": "text", "text": CONTINUE}])
        return
    block = last["content"][-1]
    if block["type"] == "text":
        last["content"][-1] = {**block, "text": block["text"].rstrip()}


def add_instruction(blocks: Blocks, system: list[JSON], messages: list[JSON], line: str) -> None:
    """Add a sentence of the broker's own to the instructions.

    It goes to the end where the model takes instructions there, so that the cached prefix stays the
    same; else after the system blocks.
    """
    block: JSON = {"type": "text", "text": line}
    if blocks.profile.mid_system and messages[-1]["role"] in ("user", "system"):
        _append(messages, "system", [block])
    else:
        system.append(block)


def limit_cache_marks(groups: list[list[JSON]], limit: int) -> None:
    """Remove all cache marks but the last ``limit`` of ``groups``, which are in prompt order.

    A longer lifetime after a shorter one is refused, so it is shortened.
    """
    marked = [block for group in groups for block in group if "cache_control" in block]
    for block in marked[: max(0, len(marked) - limit)]:
        del block["cache_control"]
    short = False
    for block in marked[max(0, len(marked) - limit) :]:
        if short and "ttl" in block["cache_control"]:
            block["cache_control"] = {"type": "ephemeral"}
        short = short or "ttl" not in block["cache_control"]
