"""Requests that go on from a beginning which was translated before (translation.md 0.7).

The messages behind the beginning are translated as a conversation of their own, in which one turn
of a user stands for all that was before and reports what was lost of it. What that turn becomes is
then replaced by what the beginning became. Only beginnings are remembered for which that gives the
same bytes as a translation of the whole: the conditions stand in ``_settled`` and ``after``, and
each beginning is tried at the request of which it is made.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from lmbroker import envelope, json_text
from lmbroker.bounds import has_more_of
from lmbroker.call import Call
from lmbroker.errors import Refused
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.base import Adapter
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.unified.counting import count_turns
from lmbroker.translation.unified.parts import (
    DocumentPart,
    Extra,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import Request, Turn
from lmbroker.workflows.beginnings import Beginning, Way

STAND_IN = "\ufdd0 what was said before \ufdd0"
"""The text of the turn that stands for the beginning. Its place in the request is sought among the
first two messages only."""

MESSAGES = "messages"
"""The field of the messages in both dialects of a continued request."""

LATEST = 3
"""So many of the last messages are never a part of a beginning: an agent may send them in another
form the next time."""

MARKED = 8
"""The number of last messages among which cache marks move on with each request."""

MANY_OBJECTS = 1500
MANY_COMMAS = 5000
"""Of more of these no beginning is made: the request is translated twice then, and these bound how
long that may take."""

LEAST_MORE = 4 * 1024
"""The bytes by which a beginning must be longer than the one before it."""

_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_BETWEEN = re.compile(rb"[\s,]*")
_MARKS = (b"cache_control", b"prompt_cache_breakpoint")
_NUMBERED = "call_fc_"
"""The prefix of ids of calls that depend on their place in the conversation."""
_PARTS = frozenset({TextPart, ImagePart, DocumentPart, ReasoningPart, ToolCallPart, ToolResultPart})


class _Role(msgspec.Struct):
    role: str = ""


_ROLE = msgspec.json.Decoder(_Role)
_ERRORS = (*envelope.JSON_ERRORS, Refused, UnicodeEncodeError)
"""What a request that cannot be continued may raise; translated as a whole it raises that again, in
its own words."""


class Continued(NamedTuple):
    """The part of a request behind its beginning."""

    beginning: Beginning
    request: Request
    """The request, with the turns behind the beginning only."""


def is_possible(client: Adapter, backend: Adapter, profile: Profile) -> bool:
    """Return whether requests of ``client`` may be continued for ``backend``."""
    plain = not (profile.system_first_only or profile.alternate_roles)
    whole = not any(path.startswith(MESSAGES) for path in profile.omit)
    same = client.facts.messages_field == backend.facts.messages_field == MESSAGES
    return same and plain and whole and profile.after_tool == "user"


def after(beginning: Beginning, messages: bytes, call: Call, client: Adapter) -> Continued | None:
    """Return the request of ``call`` behind ``beginning``, with which its ``messages`` begin.

    It is None where it must be translated as a whole.
    """
    rest = messages[len(beginning.came) :].lstrip()
    fields = call.fields
    if not rest.startswith(b",") or fields is None:
        return None
    try:
        body = {
            name: envelope.value_exactly(b"[" + rest[1:] if name == MESSAGES else raw)
            for name, raw in fields.items()
        }
        request = client.decode_request(body)
    except _ERRORS:
        return None
    asked, turns = request.reasoning, request.turns
    if (
        not turns
        or turns[0].role != "assistant"
        or (request.system and beginning.system)
        or request.odd
        or request.legacy_functions
        or request.output is not None
        or (asked is not None and asked.replay_all is not None)
        or len(request.tools) > beginning.way.profile.tool_max
    ):
        return None
    ids = _ids(turns)
    if not beginning.ids.isdisjoint(ids) or any(id.startswith(_NUMBERED) for id in ids):
        return None
    path = _reasoning_path(beginning, request)
    if path is None:
        return None
    request = msgspec.structs.replace(
        request,
        system=beginning.system or request.system,
        paths={**request.paths, "reasoning_part": path},
    )
    return Continued(beginning, request)


def encode(continued: Continued, backend: Adapter, losses: Losses) -> JSON | None:
    """Return the request in the dialect of ``backend``.

    It is None where it must be translated as a whole.
    """
    beginning, request = continued
    whole = msgspec.structs.replace(request, turns=(_stand_in(beginning.lost), *request.turns))
    try:
        body = backend.encode_request(whole, beginning.way.profile, losses)
    except (*_ERRORS, RecursionError):
        return None
    messages: Any = body.get(MESSAGES)
    place = _place(messages) if isinstance(messages, list) else None
    if place is None:
        return None
    messages[place] = msgspec.Raw(beginning.written)
    return body


def learned(
    way: Way, messages: bytes, before: Beginning | None, client: Adapter, backend: Adapter
) -> Beginning | None:
    """Return the longest beginning of ``messages`` that may be remembered, longer than ``before``.

    It is None where there is none that is worth it.
    """
    start = 0 if before is None else len(before.came)
    rest = messages[start:]
    text = rest if before is None else b"[" + rest.lstrip()[1:]
    if has_more_of(text, b"{", MANY_OBJECTS) or has_more_of(text, b",", MANY_COMMAS):
        return None
    try:
        raws = _RAWS.decode(text)
        count = _settled_count(raws)
        end = _end(text, raws[:count])
        if not count or end < LEAST_MORE:
            return None
        items = [envelope.value_exactly(raw) for raw in raws[:count]]
        request = client.decode_request({"model": "", "max_tokens": 1, MESSAGES: items})
        usual = client.decode_request({"model": "", "max_tokens": 1, MESSAGES: [_WORD]})
        if not _settled(request, before):
            return None
        first = _stand_in(() if before is None else before.lost)
        if before is not None:
            path = _reasoning_path(before, request)
        else:
            path = request.paths.get("reasoning_part", "")
        if path is None:
            return None
        request = msgspec.structs.replace(
            request, max_tokens=None, paths={**request.paths, "reasoning_part": path}
        )
        losses = Losses(way.mode)  # type: ignore[arg-type]
        written = _written(request, first, way.profile, backend, losses)
    except (*_ERRORS, RecursionError):
        return None
    if written is None:
        return None
    came = messages[: start + end + (len(rest) - len(rest.lstrip()) if before else 0)]
    tokens = count_turns(request.turns, way.model)
    ids, names = _ids(request.turns), _names(request.turns)
    if before is not None:
        written = b"".join((before.written, b",", written))
        tokens = before.tokens[0] + tokens[0], before.tokens[1] + tokens[1]
        ids, names = before.ids | ids, before.names | names
    return Beginning(
        way=way,
        came=came,
        written=written,
        system=request.system if before is None else before.system,
        lost=tuple(_extras(losses)),
        ids=ids,
        names=names,
        tokens=tokens,
        reasons=_reasons(request.turns) or (before is not None and before.reasons),
        reasoning_path=path,
        usual_path=usual.paths.get("reasoning_part", ""),
    )


_WORD = {"role": "user", "content": "."}


def _settled_count(raws: Sequence[Any]) -> int:
    """Return how many of the messages may be a beginning.

    The model answers the last of them, and none of them will be sent in another form.
    """
    most = len(raws) - LATEST
    for place in range(max(0, len(raws) - MARKED), max(0, most)):
        if any(mark in bytes(raws[place]) for mark in _MARKS):
            most = place
    for count in range(most, max(0, most - 4 * MARKED), -1):
        asks = _ROLE.decode(raws[count - 1]).role in ("user", "tool")
        if asks and _ROLE.decode(raws[count]).role == "assistant":
            return count
    return 0


def _end(text: bytes, raws: Sequence[Any]) -> int:
    """Return the place behind the last of ``raws``, the first items of the list ``text``."""
    at = 1
    for raw in raws:
        found = _BETWEEN.match(text, at)
        at = found.end() if found is not None else at
        if not text.startswith(raw, at):
            return 0
        at += len(memoryview(raw))
    return at


def _settled(request: Request, before: Beginning | None) -> bool:
    """Return whether no later turn changes the translation of these turns.

    Nor may they change that of later turns, except by what a ``Beginning`` holds.
    """
    turns = request.turns
    known = frozenset[str]() if before is None else before.ids
    if (
        not turns
        or request.odd
        or turns[0].role != ("user" if before is None else "assistant")
        or turns[-1].role != "user"
        or (before is not None and request.system)
    ):
        return False
    calls: set[str] = set()
    for turn in turns:
        if turn.role == "system" or turn.name is not None:
            return False
        for part in turn.parts:
            if not _is_plain(part):
                return False
            if isinstance(part, ToolCallPart):
                if part.id in calls or part.id in known or part.id.startswith(_NUMBERED):
                    return False
                calls.add(part.id)
            elif isinstance(part, ToolResultPart) and part.call_id not in calls:
                return False
    return True


def _is_plain(part: Any) -> bool:
    if type(part) not in _PARTS or getattr(part, "cache", None) is not None:
        return False
    if isinstance(part, ToolCallPart):
        return part.kind == "function" and part.namespace is None
    if isinstance(part, ToolResultPart):
        return all(map(_is_plain, part.parts or ()))
    return True


def _written(
    request: Request, first: Turn, profile: Profile, backend: Adapter, losses: Losses
) -> bytes | None:
    """Return the messages of the turns of ``request``, as the backend gets them.

    ``first`` stands in for what was before them. None where they are not settled.
    """
    alone = msgspec.structs.replace(request, system=(), turns=(first,))
    nothing = Losses(losses.mode)
    backend.encode_request(msgspec.structs.replace(alone, turns=(_stand_in(()),)), profile, nothing)
    if nothing.paths:
        return None  # such a request loses something besides its messages
    begins = request.turns[0].role == "user"
    turns = request.turns if begins else (first, *request.turns)
    body = backend.encode_request(msgspec.structs.replace(alone, turns=turns), profile, losses)
    messages = body[MESSAGES]
    if not begins:
        if _place(messages) != 0:
            return None
        messages = messages[1:]
    ordered = {request.path("mid_system"), request.path("first_assistant"), f"{MESSAGES}[]"}
    if not ordered.isdisjoint(losses.paths) or not messages:
        return None
    roles = [message["role"] for message in messages]
    if roles[0] != request.turns[0].role or roles[-1] == "assistant":
        return None
    written = json_text.encode_text(messages)[1:-1]
    return None if any(b'"%b"' % mark in written for mark in _MARKS) else written


def _stand_in(lost: tuple[Extra, ...]) -> Turn:
    return Turn(role="user", parts=(TextPart(text=STAND_IN),), extras=lost)


_AS_WRITTEN: tuple[Any, ...] = (STAND_IN, [{"type": "text", "text": STAND_IN}])


def _place(messages: Sequence[JSON]) -> int | None:
    """Return where the stand-in stands, before a message of the model.

    It is None where it is not there.
    """
    for place, message in enumerate(messages[:2]):
        if message.get("role") == "user" and message.get("content") in _AS_WRITTEN:
            following = messages[place + 1 : place + 2]
            return place if following and following[0].get("role") == "assistant" else None
    return None


def _extras(losses: Losses) -> list[Extra]:
    """Return what was lost, first seen first, as fields of a turn."""
    dropped, changed = frozenset(losses.dropped), frozenset(losses.changed)
    extras = []
    for path in losses.paths:
        for loss, among in (("drop", dropped), ("change", changed)):
            if path in among:
                extras.append(Extra(origin="", name="", path=path, value=None, loss=loss))  # type: ignore[arg-type]
    return extras


def _ids(turns: Sequence[Turn]) -> frozenset[str]:
    ids = set()
    for turn in turns:
        for part in turn.parts:
            if isinstance(part, ToolCallPart):
                ids.add(part.id)
            elif isinstance(part, ToolResultPart):
                ids.add(part.call_id)
    return frozenset(ids)


def _names(turns: Sequence[Turn]) -> frozenset[str]:
    parts = [part for turn in turns for part in turn.parts]
    return frozenset(part.name for part in parts if isinstance(part, ToolCallPart))


def _reasons(turns: Sequence[Turn]) -> bool:
    return any(isinstance(part, ReasoningPart) for turn in turns for part in turn.parts)


def _reasoning_path(beginning: Beginning, request: Request) -> str | None:
    """Return the client's name for the field of reasoning in beginning and ``request`` together.

    It is None where that is not sure.
    """
    path, usual = request.paths.get("reasoning_part", ""), beginning.usual_path
    if path == beginning.reasoning_path or not beginning.reasons:
        return path
    reported = any(extra.path == usual for turn in request.turns for extra in turn.extras)
    if path == usual and not reported and not _reasons(request.turns):
        return beginning.reasoning_path
    return None
