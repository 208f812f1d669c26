"""What is taken out of a Messages request that is passed through: each span that goes is cut out,
every other byte stays where it was.

- Thinking blocks with a signature of the broker's own (``lmb1.``): nobody else can verify it, and
  Anthropic refuses such a request, and every later one of its conversation.
- The attribution line of Claude Code, where a backend's configuration says so.

A body in which neither can stand is found by one search. A block that a reader could take for
another (a key that stands there twice) is left alone.
"""

from collections.abc import Iterator

import msgspec

from lmbroker.translation.shared import cuts
from lmbroker.translation.shared.attribution import MARK, without_attribution
from lmbroker.translation.shared.cuts import Span
from lmbroker.translation.shared.signature import PREFIX

_ANY = msgspec.json.Decoder()
_OURS = PREFIX.encode()
_MARK = MARK.encode()

THINKING = "messages[].content[].thinking"
"""The path of what ``without_own_thinking`` takes out."""


def without_own_thinking(body: bytes) -> bytes:
    """``body`` without thinking blocks that the broker signed. A message of the model that would be
    empty goes with them: Anthropic refuses it, too."""
    return cuts.cut(body, _own_thinking) if _OURS in body else body


def without_attribution_line(body: bytes) -> bytes:
    """``body`` without the attribution line in its instructions, wherever they stand."""
    return cuts.cut(body, _attribution) if _MARK in body else body


def cut(body: bytes, attribution: bool) -> tuple[bytes, tuple[str, ...]]:
    """``body`` without all of that, and the paths of what a client must be told of;
    ``attribution``: without the attribution line as well."""
    kept = without_own_thinking(body)
    dropped = () if kept is body else (THINKING,)
    return (without_attribution_line(kept) if attribution else kept), dropped


def may_concern(body: bytes, attribution: bool) -> bool:
    """Whether anything may be taken out of ``body``; ``attribution``: that line as well."""
    return _OURS in body or (attribution and _MARK in body)


def _own_thinking(body: bytes) -> Iterator[tuple[Span, bytes]]:
    messages = cuts.items_of(body, "messages")
    empty = [False] * len(messages)
    found: list[Span] = []
    for number, message in enumerate(messages):
        if _OURS not in body[slice(*message)]:
            continue
        content = _content_of(body, message, "assistant")
        if content is None or body[content[0] : content[0] + 1] != b"[":
            continue
        blocks = list(cuts.elements(body, content))
        ours = [_is_own_thinking(body[start:end]) for start, end in blocks]
        empty[number] = bool(blocks) and all(ours)
        if not empty[number]:
            found += cuts.with_commas(blocks, ours)
    for span in sorted([*found, *cuts.with_commas(messages, empty)]):
        yield span, b""


def _is_own_thinking(block: bytes) -> bool:
    if _OURS not in block:
        return False
    told = _ANY.decode(block)
    key = {"thinking": "signature", "redacted_thinking": "data"}.get(str(told.get("type")), "")
    value = told.get(key)
    return isinstance(value, str) and value.startswith(PREFIX)


def _attribution(body: bytes) -> Iterator[tuple[Span, bytes]]:
    top = cuts.span_of(body, (0, len(body)), "system")
    places = [] if top is None else [top]
    for message in cuts.items_of(body, "messages"):
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
    blocks = list(cuts.elements(body, place))
    whole = []
    changed = []
    for start, end in blocks:
        told = _ANY.decode(body[start:end]) if _MARK in body[start:end] else {}
        text = told.get("text")
        rest = without_attribution(text) if isinstance(text, str) else ""
        whole.append(isinstance(text, str) and rest == "" != text)
        if rest and rest != text:
            span = cuts.span_of(body, (start, end), "text")
            if span is not None:
                changed.append((span, msgspec.json.encode(rest)))
    gone = [(span, b"") for span in cuts.with_commas(blocks, whole)]
    yield from sorted([*gone, *changed])


def _content_of(body: bytes, message: Span, role: str) -> Span | None:
    """Where the content of a message stands, None for one of another role."""
    said = cuts.span_of(body, message, "role")
    if said is None or _ANY.decode(body[slice(*said)]) != role:
        return None
    return cuts.span_of(body, message, "content")
