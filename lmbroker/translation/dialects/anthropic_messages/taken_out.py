"""Cuts out of a passed-through Messages request what Anthropic would refuse or should not get.

Every other byte stays where it was. Cut out are:

- Thinking blocks with a signature of the broker's own (``lmb1.``), searches that Anthropic did not
  run, and what texts cite of these: nobody else can verify them, and Anthropic refuses such a
  request, and every later one of its conversation.
- The attribution line of Claude Code, where a backend's configuration says so.

One search finds out whether a body may hold either. A block that readers could take for different
things (a key that stands there twice) is left alone.
"""

from collections.abc import Iterator
from functools import partial

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.anthropic_messages import searches
from lmbroker.translation.shared import cuts
from lmbroker.translation.shared.attribution import MARK, without_attribution
from lmbroker.translation.shared.cuts import Span
from lmbroker.translation.shared.signature import PREFIX

_ANY = msgspec.json.Decoder()
_OURS = PREFIX.encode()
_OUR_IDS = searches.OUR_IDS.encode()
_BOTH = b"lmb1"
"""What stands in both of these."""
_MARK = MARK.encode()

PATHS = {
    "thinking": "messages[].content[].thinking",
    "redacted_thinking": "messages[].content[].thinking",
    "server_tool_use": "messages[].content[].server_tool_use",
    "web_search_tool_result": "messages[].content[].web_search_tool_result",
    "text": "messages[].content[].citations",
}
"""Type of a block -> the path that is reported when ``without_own`` cuts it out."""


def without_own(body: bytes, dropped: dict[str, None] | None = None) -> bytes:
    """Return ``body`` without the parts of earlier answers that the broker made for Anthropic's.

    A message of the model that would be empty is cut out as well: Anthropic refuses it, too.
    ``dropped`` gets the paths of what was cut out.
    """
    paths: dict[str, None] = {} if dropped is None else dropped
    return cuts.cut(body, partial(_own, dropped=paths)) if _marked(body) else body


def without_attribution_line(body: bytes) -> bytes:
    """Return ``body`` without the attribution line, wherever its instructions stand."""
    return cuts.cut(body, _attribution) if _MARK in body else body


def cut(body: bytes, attribution: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return ``body`` without any of that, and the paths to report as dropped.

    ``attribution``: without the attribution line as well.
    """
    dropped: dict[str, None] = {}
    kept = without_own(body, dropped)
    return (without_attribution_line(kept) if attribution else kept), tuple(dropped)


def may_concern(body: bytes, attribution: bool) -> bool:
    """Return whether there may be anything to cut out of ``body``.

    ``attribution``: the attribution line counts as well.
    """
    return _marked(body) or (attribution and _MARK in body)


def _marked(text: bytes) -> bool:
    """Return whether anything of the broker's own may stand in ``text``."""
    # Most bodies hold nothing of it, and ``rfind`` takes half as long as ``in``.
    return text.rfind(_BOTH) >= 0 and (_OURS in text or _OUR_IDS in text)


def _own(body: bytes, *, dropped: dict[str, None]) -> Iterator[tuple[Span, bytes]]:
    messages = cuts.items_of(body, "messages")
    empty = [False] * len(messages)
    found: list[Span] = []
    for number, message in enumerate(messages):
        if not _marked(body[slice(*message)]):
            continue
        content = _content_of(body, message, "assistant")
        if content is None or body[content[0] : content[0] + 1] != b"[":
            continue
        blocks = list(cuts.elements(body, content))
        ours = [False] * len(blocks)
        for at, (start, end) in enumerate(blocks):
            if not _marked(body[start:end]):
                continue
            block = _ANY.decode(body[start:end])
            if not isinstance(block, dict):
                continue
            kind = str(block.get("type"))
            ours[at] = _is_own_thinking(block, kind) or searches.is_ours(block)
            cited = [] if ours[at] else _own_citations(body, (start, end), block)
            found += cited
            if ours[at] or cited:
                dropped.setdefault(PATHS[kind])
        empty[number] = bool(blocks) and all(ours)
        if not empty[number]:
            found += cuts.with_commas(blocks, ours)
    for span in sorted([*found, *cuts.with_commas(messages, empty)]):
        yield span, b""


def _is_own_thinking(block: JSON, kind: str) -> bool:
    key = {"thinking": "signature", "redacted_thinking": "data"}.get(kind, "")
    value = block.get(key)
    return isinstance(value, str) and value.startswith(PREFIX)


def _own_citations(body: bytes, place: Span, block: JSON) -> list[Span]:
    """Return the spans of citations of pages that Anthropic has not read."""
    cited = block.get("citations")
    if block.get("type") != "text" or not isinstance(cited, list):
        return []
    ours = [
        isinstance(each, dict) and each.get("encrypted_index") == searches.SEAL for each in cited
    ]
    span = cuts.span_of(body, place, "citations") if any(ours) else None
    return [] if span is None else cuts.with_commas(list(cuts.elements(body, span)), ours)


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
        block = _ANY.decode(body[start:end]) if _MARK in body[start:end] else {}
        text = block.get("text")
        rest = without_attribution(text) if isinstance(text, str) else ""
        whole.append(isinstance(text, str) and rest == "" != text)
        if rest and rest != text:
            span = cuts.span_of(body, (start, end), "text")
            if span is not None:
                changed.append((span, msgspec.json.encode(rest)))
    gone = [(span, b"") for span in cuts.with_commas(blocks, whole)]
    yield from sorted([*gone, *changed])


def _content_of(body: bytes, message: Span, role: str) -> Span | None:
    """Return the span of a message's content, None for a message of another role."""
    said = cuts.span_of(body, message, "role")
    if said is None or _ANY.decode(body[slice(*said)]) != role:
        return None
    return cuts.span_of(body, message, "content")
