"""Answers in normal form, legal event sequences, and streams with faults, for hypothesis."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from lmbroker import json_text
from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.anthropic_messages.blocks import decode_citation
from lmbroker.translation.shared.signature import compact
from lmbroker.translation.unified.fold import unfold
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    Part,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response, Stop, StopReason
from lmbroker.translation.unified.stream import Error, PartDelta, Ping, StreamEvent, UsageUpdate
from lmbroker.usage import Usage

PIECES = [
    *("Hello", " ", "\n", "ü", "🙂", "👩🏽\u200d🚀", "\u2028", "\x85", "\x00", '"', "\\"),
    *("\ud83d", "\ude42"),
]

texts = (st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=8)).map(
    lambda text: json_text.joined([text])
)
"""Half characters included; those that meet are one."""
words = st.text("abcdefgh_", min_size=1, max_size=8)
counts = st.integers(0, 10**6)

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.just(0.5) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(texts, values, max_size=3)

BROKEN_ARGS = ["[1]", "nonsense", "null", '"x"', '{"a":1}x', '{"a" 1}', "{}{}"]
CUT_ARGS = ['{"a":', '{"a":"x', "{", '{"a":tr']


def call_of(id: str, name: str, raw: str) -> ToolCallPart:
    """A call that was told as text."""
    return ToolCallPart(id=id, name=name, args=json_text.arguments(raw), raw_args=raw)


ids = st.just("") | words
whole_calls = st.one_of(
    st.builds(ToolCallPart, id=ids, name=words, args=objects),
    st.builds(call_of, ids, words, objects.map(json.dumps)),
    st.builds(call_of, ids, words, objects.map(lambda value: json_text.encode(value).decode())),
)
custom_calls = st.builds(ToolCallPart, id=ids, name=words, raw_args=texts, kind=st.just("custom"))
calls = (
    whole_calls
    | custom_calls
    | st.builds(call_of, ids, words, st.sampled_from([*BROKEN_ARGS, *CUT_ARGS, " "]))
)

signatures = st.one_of(
    st.just(Signature(origin="text")),
    st.builds(Signature, origin=st.just("signable"), value=words),
    st.builds(
        Signature,
        origin=st.just("details"),
        value=st.lists(
            st.fixed_dictionaries({"type": st.just("reasoning.encrypted"), "data": words}),
            min_size=1,
            max_size=2,
        ).map(compact),
    ),
    st.builds(
        Signature,
        origin=st.just("responses"),
        value=st.fixed_dictionaries({"id": words, "enc": words}).map(compact),
    ),
)
reasoning = st.one_of(
    st.builds(ReasoningPart, text=texts, signature=st.none() | signatures),
    st.builds(ReasoningPart, redacted=words),
)

citations = st.one_of(
    st.builds(
        lambda kind, url: decode_citation({"type": kind, "url": url, "cited_text": "x"}),
        st.sampled_from(["web_search_result_location", "page_location", "new_location"]),
        words,
    ),
    st.builds(Citation, kind=st.just("url"), url=words, origin=st.just("openai")),
)
said = st.builds(TextPart, text=texts, citations=st.lists(citations, max_size=2).map(tuple))
refused = st.builds(TextPart, text=texts.filter(bool), refusal=st.just(True))

SERVER_TOOL = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}}
SEARCH_CALL = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "x"},
}
opaque = st.sampled_from(
    [
        OpaquePart(origin="anthropic", type="server_tool_use", raw=SERVER_TOOL),
        OpaquePart(origin="anthropic", type="fallback", raw={"type": "fallback", "x": [1]}),
        OpaquePart(origin="responses", type="web_search_call", raw=SEARCH_CALL),
    ]
)
parts: st.SearchStrategy[Part] = st.one_of(said, refused, reasoning, calls, opaque)

REASONS: tuple[StopReason, ...] = (
    "end",
    "stop_sequence",
    "max_tokens",
    "tool_calls",
    "refusal",
    "paused",
    "context_full",
    "compaction",
    "other",
)
STOP_STRINGS = ("###", "END")


def stop_of(reason: StopReason, sequence: str, why: str | None) -> Stop:
    details = {"type": "refusal", "category": None, "explanation": why}
    return Stop(
        reason=reason,
        sequence=sequence if reason == "stop_sequence" else None,
        details=details if reason == "refusal" else None,
    )


stops = st.builds(
    stop_of, st.sampled_from(REASONS), st.sampled_from(STOP_STRINGS), st.none() | texts
)


def usage_of(by_ttl: dict[str, int] | None, **counted: Any) -> Usage:
    if by_ttl is not None:
        counted["cache_write"] = sum(by_ttl.values())
    return Usage(cache_write_by_ttl=by_ttl, **counted)


usages = st.builds(
    usage_of,
    st.none() | st.fixed_dictionaries({"5m": counts, "1h": counts}),
    input=counts,
    cache_read=counts,
    cache_write=counts,
    output=counts,
    reasoning=st.none() | counts,
    server_tools=st.none() | st.just({"web_search_requests": 1}),
)


def answers(of: st.SearchStrategy[Part]) -> st.SearchStrategy[Response]:
    """Answers in normal form, made of such parts."""
    return st.builds(
        Response,
        id=ids,
        model=st.just("m") | st.just(""),
        created=st.none() | counts,
        parts=st.lists(of, max_size=5).map(tuple),
        stop=stops,
        usage=st.none() | usages,
        tier=st.sampled_from([None, "standard", "priority"]),
    )


responses = answers(parts)


def cut_text(text: str, places: list[int]) -> list[str]:
    """``text`` in pieces; a cut may go through the middle of a character, as UTF-16 has it."""
    units = text.encode("utf-16-le", "surrogatepass")
    ends = sorted({2 * (place % (len(units) // 2 + 1)) for place in places} | {0, len(units)})
    cut = [units[a:b] for a, b in pairwise(ends)]
    return [piece.decode("utf-16-le", "surrogatepass") for piece in cut]


places = st.lists(st.integers(0, 1000), max_size=4)


@st.composite
def sequences(
    draw: st.DrawFn, of: st.SearchStrategy[Response] = responses, broken: bool = False
) -> list[StreamEvent]:
    """Legal event sequences: an answer told in pieces, with signs of life and counts between;
    ``broken``: it may end in an error, anywhere."""
    told: list[StreamEvent] = []
    for event in unfold(draw(of)):
        if isinstance(event, PartDelta) and isinstance(event.value, str):
            cut = cut_text(event.value, draw(places))
            told += [PartDelta(event.index, event.kind, piece) for piece in cut]
        else:
            told.append(event)
        between = draw(st.integers(0, 9))
        if between == 1:
            told.append(Ping())
        elif between == 2:
            told.append(UsageUpdate(draw(usages)))
    while isinstance(told[-1], Ping | UsageUpdate):
        told.pop()
    if broken and draw(st.booleans()):
        at = draw(st.integers(0, len(told) - 1))
        error = ErrorInfo(kind="overloaded", message=draw(texts))
        told = [*told[:at], Error(error)]
    return told


def cut_bytes(data: bytes, where: list[int]) -> list[bytes]:
    """``data`` in pieces; the places are taken round the length."""
    ends = sorted({place % (len(data) + 1) for place in where} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


cuts = st.lists(st.integers(0, 2**16), max_size=12)

JUNK = [
    b": ping\n\n",
    b"\n",
    b"\r",
    b"data: [DONE]\n\n",
    b"data: {\n\n",
    b"data: []\n\n",
    b'data: {"error":{"message":"Overloaded"}}\n\n',
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
    b'event: ping\ndata: {"type":"ping"}\n\n',
    b'event: new\ndata: {"type":"new"}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":[7,{"type":[]}],"tool_calls":[7]}}],"usage":7}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{}}\n\n',
    b"\xff\xfe",
]


@st.composite
def spoilt(draw: st.DrawFn, stream: bytes) -> bytes:
    """``stream`` with events lost, repeated, put elsewhere or cut, and with junk between."""
    blocks = [block + b"\n\n" for block in stream.split(b"\n\n")[:-1]]
    for fault in draw(st.lists(st.sampled_from(["lose", "repeat", "move", "junk"]), max_size=3)):
        at = draw(st.integers(0, len(blocks)))
        if fault == "junk" or not blocks:
            blocks.insert(at, draw(st.sampled_from(JUNK)))
            continue
        block = blocks.pop(at % len(blocks))
        if fault == "repeat":
            blocks[at:at] = [block, block]
        elif fault == "move":
            blocks.insert(draw(st.integers(0, len(blocks))), block)
    whole = b"".join(blocks)
    if draw(st.booleans()):
        whole = whole[: draw(st.integers(0, len(whole)))]
    return whole
