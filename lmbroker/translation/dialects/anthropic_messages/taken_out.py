"""What is taken out of a Messages request that is passed through: each span that goes is cut out,
every other byte stays where it was.

- Thinking blocks with a signature of the broker's own (``lmb1.``): nobody else can verify it, and
  Anthropic refuses such a request, and every later one of its conversation.
- The attribution line of Claude Code, where a backend's configuration says so.

A body in which neither can stand is found by one search. A block that a reader could take for
another (a key that stands there twice) is left alone.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from lmbroker import envelope, json_text
from lmbroker.translation.shared.attribution import MARK, without_attribution
from lmbroker.translation.shared.signature import PREFIX

_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()
_BETWEEN = re.compile(rb"[\s,]*")
_OURS = PREFIX.encode()
_MARK = MARK.encode()

THINKING = "messages[].content[].thinking"
"""The path of what ``without_own_thinking`` takes out."""

Span = tuple[int, int]


def without_own_thinking(body: bytes) -> bytes:
    """``body`` without thinking blocks that the broker signed. A message of the model that would be
    empty goes with them: Anthropic refuses it, too."""
    return _cut(body, _own_thinking) if _OURS in body else body


def without_attribution_line(body: bytes) -> bytes:
    """``body`` without the attribution line in its instructions, wherever they stand."""
    return _cut(body, _attribution) if _MARK in body else body


def cut(body: bytes, attribution: bool) -> tuple[bytes, tuple[str, ...]]:
    """``body`` without all of that, and the paths of what a client must be told of;
    ``attribution``: without the attribution line as well."""
    kept = without_own_thinking(body)
    dropped = () if kept is body else (THINKING,)
    return (without_attribution_line(kept) if attribution else kept), dropped


def may_concern(body: bytes, attribution: bool) -> bool:
    """Whether anything may be taken out of ``body``; ``attribution``: that line as well."""
    return _OURS in body or (attribution and _MARK in body)


def _cut(body: bytes, find: Callable[[bytes], Iterator[tuple[Span, bytes]]]) -> bytes:
    try:
        found = list(find(body))
    except envelope.JSON_ERRORS:
        # Half a character may stand in it, which the search cannot read.
        other = json_text.mended(body)
        try:
            found = [] if other is None else list(find(other))
        except envelope.JSON_ERRORS:
            found = []
    pieces: list[bytes] = []
    at = 0
    for (start, end), instead in found:
        pieces += (body[at:start], instead)
        at = end
    return b"".join((*pieces, body[at:]))


def _own_thinking(body: bytes) -> Iterator[tuple[Span, bytes]]:
    messages = _messages(body)
    empty = [False] * len(messages)
    cuts: list[Span] = []
    for number, message in enumerate(messages):
        if _OURS not in body[slice(*message)]:
            continue
        content = _content_of(body, message, "assistant")
        if content is None or body[content[0] : content[0] + 1] != b"[":
            continue
        blocks = list(_elements(body, content))
        ours = [_is_own_thinking(body[start:end]) for start, end in blocks]
        empty[number] = bool(blocks) and all(ours)
        if not empty[number]:
            cuts += _with_commas(blocks, ours)
    for span in sorted([*cuts, *_with_commas(messages, empty)]):
        yield span, b""


def _is_own_thinking(block: bytes) -> bool:
    if _OURS not in block:
        return False
    told = _ANY.decode(block)
    key = {"thinking": "signature", "redacted_thinking": "data"}.get(str(told.get("type")), "")
    value = told.get(key)
    return isinstance(value, str) and value.startswith(PREFIX)


def _attribution(body: bytes) -> Iterator[tuple[Span, bytes]]:
    top = _span_of(body, (0, len(body)), "system")
    places = [] if top is None else [top]
    for message in _messages(body):
        place = _content_of(body, message, "system") if _MARK in body[slice(*message)] else None
        places += [] if place is None else [place]
    for place in sorted(places):
        yield from _attribution_in(body, place)


def _attribution_in(body: bytes, place: Span) -> Iterator[tuple[Span, bytes]]:
    held = body[slice(*place)]
    if _MARK not in held:
        return
    if held.startswith(b'"'):
        rest = without_attribution(_ANY.decode(held))
        yield place, msgspec.json.encode(rest)
        return
    if not held.startswith(b"["):
        return
    blocks = list(_elements(body, place))
    whole = []
    changed = []
    for start, end in blocks:
        told = _ANY.decode(body[start:end]) if _MARK in body[start:end] else {}
        text = told.get("text")
        rest = without_attribution(text) if isinstance(text, str) else ""
        whole.append(isinstance(text, str) and rest == "" != text)
        if rest and rest != text:
            span = _span_of(body, (start, end), "text")
            if span is not None:
                changed.append((span, msgspec.json.encode(rest)))
    gone = [(span, b"") for span in _with_commas(blocks, whole)]
    yield from sorted([*gone, *changed])


def _messages(body: bytes) -> list[Span]:
    place = _span_of(body, (0, len(body)), "messages")
    if place is None or body[place[0] : place[0] + 1] != b"[":
        return []
    return list(_elements(body, place))


def _content_of(body: bytes, message: Span, role: str) -> Span | None:
    """Where the content of a message stands, None for one of another role."""
    said = _span_of(body, message, "role")
    if said is None or _ANY.decode(body[slice(*said)]) != role:
        return None
    return _span_of(body, message, "content")


def _span_of(body: bytes, place: Span, key: str) -> Span | None:
    """Where the value of ``key`` stands in the object at ``place``; None where it does not stand
    there once."""
    found = envelope.place_of(body[slice(*place)], key)
    return None if found is None else (place[0] + found[0], place[0] + found[1])


def _elements(body: bytes, place: Span) -> Iterator[Span]:
    """Where the elements of the array at ``place`` stand."""
    at = place[0] + 1
    for raw in _LIST.decode(body[slice(*place)]):
        between = _BETWEEN.match(body, at)
        start = at if between is None else between.end()
        at = start + len(memoryview(raw))
        yield start, at


def _with_commas(spans: list[Span], gone: list[bool]) -> list[Span]:
    """The spans to cut so that the elements that are ``gone`` leave an array behind: each with what
    separates it from the next element that stays, or from the one before."""
    cuts: list[Span] = []
    kept_before = False
    for number, (start, end) in enumerate(spans):
        if not gone[number]:
            kept_before = True
            continue
        following = number + 1 < len(spans)
        if kept_before:
            cuts.append((spans[number - 1][1], end))
        elif following:
            cuts.append((start, spans[number + 1][0]))
        else:
            cuts.append((start, end))
    return cuts
