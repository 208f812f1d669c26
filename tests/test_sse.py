"""Frames do not depend on cuts or line ends; boundaries do not touch a byte."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmbroker import sse
from lmbroker.bounds import is_dense
from lmbroker.sse import (
    Boundary,
    Frame,
    Reader,
    SSEError,
    encode_data,
    encode_event,
    last_words,
)

WIRE = sorted((Path(__file__).parent / "wire").glob("*/*.sse"))
BOM = b"\xef\xbb\xbf"
FRAGMENTS = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"data", b"data:", b"data: "),
    *(b"event", b"event:", b"event: ", b"id: 7", b"retry: 10", b":", b": ping", b" ", b"x"),
    *(b'{"a":', b"1", b"}", b"[DONE]", b"[DO", b"\x00", b"\xff", b"\x0b\x0c\x1c", BOM),
    *(mark.encode() for mark in ("\u2028", "\x85", "ü", "🙂")),
]
streams = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join)
cuts = st.lists(st.integers(0, 200), max_size=12)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [*sorted(min(place, len(data)) for place in places), len(data)]
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def read(pieces: list[bytes]) -> tuple[list[Frame], list[Frame]]:
    reader = Reader()
    return [frame for piece in pieces for frame in reader.feed(piece)], reader.close()


def reference(data: bytes) -> tuple[list[Frame], list[Frame]]:
    """The rules of WHATWG and ours, read off the whole of a stream: (whole events, last words)."""
    *lines, rest = re.split(rb"\r\n|\r|\n", data.removeprefix(BOM))
    frames: list[Frame] = []
    event: list[bytes] = []
    for line in lines:
        if line:
            event.append(line)
        else:
            frames += told(event)
            event = []
    last = told([*event, rest])
    return frames, [
        frame
        for frame in last
        if frame.data is not None and (frame.event == "error" or complete(frame.data))
    ]


def told(lines: list[bytes]) -> list[Frame]:
    """One event, after the comments in it and before its errors and the JSON in no field."""
    name, values, comments = "", [], []
    errors: list[Frame] = []
    bare: list[bytes] = []
    for line in lines:
        field, colon, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if colon and not field:
            comments.append(Frame("", None))
        elif field == b"data":
            values.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"error" and colon:
            errors.append(Frame("error", value))
        elif bare or line.startswith((b"{", b"[{")):
            bare.append(line)
    data = [Frame(name, b"\n".join(values))] if values else []
    rest = b"\n".join(bare)
    return [*comments, *data, *errors, *([Frame(name, rest)] if bare and complete(rest) else [])]


def complete(data: bytes | None) -> bool:
    if data is None:
        return False
    try:
        return data.strip() == b"[DONE]" or json.loads(data.decode()) is not Ellipsis
    except ValueError:
        return False


@given(streams, cuts)
@example(BOM + b"data: 1\r\n\r\n" + BOM + b"data: 2\n\n", [1, 2, 9, 10, 11])
@example(b"data: \xf0\x9f\x99\x82\xe2\x80\xa8\xc2\x85\r\r", [7, 8, 11, 14])
@example(b'data: {"a":\ndata: 1}', [12])
@example(b"data: 1\r\n\r", [])
@example(b'error: {"a":1}\n\n', [3, 9])
@example(b'data: 1\nerror: x\n{"a":\n  1}\n\n{"b":2}', [10, 20, 26])
def test_frames_are_those_of_the_whole_stream_wherever_it_is_cut(
    data: bytes, places: list[int]
) -> None:
    assert read(cut(data, places)) == reference(data)


@given(streams)
def test_frames_are_the_same_byte_by_byte(data: bytes) -> None:
    assert read([data[at : at + 1] for at in range(len(data))]) == reference(data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("path", WIRE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_samples_read_the_same_with_any_line_end_and_cut(path: Path, end: bytes) -> None:
    data = path.read_bytes()
    whole = read([data])
    assert len(whole[0]) == data.count(b"\n\n")
    assert whole[1] == []
    other = data.replace(b"\n", end)
    for size in (1, 7, len(other)):
        assert read([other[at : at + size] for at in range(0, len(other), size)]) == whole


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"data: a\n\n", [Frame("", b"a")]),
        (b"data:a\n\n", [Frame("", b"a")]),
        (b"data:  a\n\n", [Frame("", b" a")]),
        (b"data: a\ndata\ndata:b\n\n", [Frame("", b"a\n\nb")]),
        (b"data\n\n", [Frame("", b"")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [Frame("x", b"a"), Frame("", b"b")]),
        (b"data: a\nevent: x\n\n", [Frame("x", b"a")]),
        (b"event: x\nevent: y\ndata: a\n\n", [Frame("y", b"a")]),
        (b"event\ndata: a\n\n", [Frame("", b"a")]),
        (b"event: x\ndata: a\nid: 4\nretry: 5\n\n", [Frame("x", b"a")]),
        (b"event: ping\n\n", []),
        (b"id: 4\nDATA: a\n data: a\nother\n\n\n\n", []),
        (b": ping\n\n", [Frame("", None)]),
        (b":\n\n", [Frame("", None)]),
        (b": a\ndata: 1\n: b\n\n", [Frame("", None), Frame("", None), Frame("", b"1")]),
        (BOM + b"data: a\n\n", [Frame("", b"a")]),
        (BOM + BOM + b"data: a\n\n", []),
        (b"data: a\n\n" + BOM + b"data: a\n\n", [Frame("", b"a")]),
        ("data: a\u2028b\x85c\x0cd\n\n".encode(), [Frame("", "a\u2028b\x85c\x0cd".encode())]),
        (b"event: \xff\ndata: \xff\n\n", [Frame("\ufffd", b"\xff")]),
        (b"data: a\r\ndata: b\rdata: c\n\r\n", [Frame("", b"a\nb\nc")]),
    ],
)
def test_what_the_rules_make_of(data: bytes, frames: list[Frame]) -> None:
    assert read([data]) == (frames, [])


def test_event_that_ends_in_cr_is_told_at_once() -> None:
    reader = Reader()
    assert reader.feed(b"data: a\r\n\r") == [Frame("", b"a")]
    assert not reader.pending
    assert reader.feed(b"\ndata: b\r\r") == [Frame("", b"b")]


@pytest.mark.parametrize(
    ("tail", "frames"),
    [
        (b'data: {"a":1}', [Frame("", b'{"a":1}')]),
        (b'event: x\r\ndata: {"a":1}\r\n', [Frame("x", b'{"a":1}')]),
        (b'data: {"a":"\\ud83d"}', [Frame("", b'{"a":"\\ud83d"}')]),
        (b"data: [DONE]", [Frame("", b"[DONE]")]),
        (b": ping\ndata: [DONE]\n", [Frame("", b"[DONE]")]),
        (b'data: {"a":1', []),
        (b'data: {"a":NaN}', []),
        (b'data: {"a":"\xff"}', []),
        (b"data: [DONE", []),
        (b"data: " + b"[" * 100_000, []),
        (b"data:", []),
        (b"event: x", []),
        (b": ping", []),
        (b"", []),
    ],
)
def test_last_words_count_if_they_are_complete(tail: bytes, frames: list[Frame]) -> None:
    assert read([b"data: 0\n\n" + tail]) == ([Frame("", b"0")], frames)


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (b'event: error\ndata: {"a":1}', b'event: error\ndata: {"a":1}\n\n'),
        (b"event: error\ndata: Overloaded", b"event: error\ndata: Overloaded\n\n"),
        (b'event: error\ndata: {"a":', b""),
        (b"event: error\ndata:", b""),
        (b"event: error\ndata", b""),
        (b"event: error", b""),
    ],
)
def test_last_words_of_an_error_count_if_a_client_can_read_them(
    tail: bytes, expected: bytes
) -> None:
    assert last_words(tail) == expected


def test_pending_tells_of_an_unfinished_event() -> None:
    reader = Reader()
    seen = []
    for piece in (b"", b"\n", b"data: 1", b"\n", b"\n", b"\n", b": p", b"\r\n\r\n"):
        reader.feed(piece)
        seen.append(reader.pending)
    assert seen == [False, False, True, True, False, False, True, False]


def test_any_number_of_event_names() -> None:
    names = [f"name-{number}" for number in range(200)] + ["n" * 5000]
    data = b"".join(encode_event(name, b"1") for name in names)
    assert read([data + data])[0] == [Frame(name, b"1") for name in names + names]


LIMIT = 100
FITS = b"data: " + b"x" * (LIMIT - 6)


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_event_above_the_limit_is_refused_after_what_came_before_it(end: bytes, size: int) -> None:
    data = end.join((FITS, b"", FITS + b"x", b"", FITS, b"", b""))
    reader = Reader(LIMIT)
    frames = []
    with pytest.raises(SSEError):
        for at in range(0, len(data) + size, size):
            frames += reader.feed(data[at : at + size])
    assert frames == [Frame("", FITS[6:])]
    assert reader.close() == []
    with pytest.raises(SSEError):
        reader.feed(b"data: 1\n\n")


@pytest.mark.parametrize("size", [1, 7, 102, 1000])
def test_events_up_to_the_limit_pass_however_many(size: int) -> None:
    data = (FITS + b"\n\n") * 20
    reader = Reader(LIMIT)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    frames = [frame for piece in pieces for frame in reader.feed(piece)]
    assert frames == [Frame("", FITS[6:])] * 20


def test_many_short_lines_do_not_pass_the_limit() -> None:
    reader = Reader(LIMIT)
    with pytest.raises(SSEError):
        for _ in range(LIMIT):
            reader.feed(b"id:1\r\n")


def test_unfinished_event_above_the_limit_is_no_last_word() -> None:
    reader = Reader(LIMIT)
    assert reader.feed(b"data: 1\n\ndata: " + b"1" * 200) == [Frame("", b"1")]
    assert reader.close() == []


@pytest.fixture
def bytes_searched(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many held bytes were looked through, by the operations that search."""
    count = 0

    def counted(size: int) -> None:
        nonlocal count
        count += size

    class Held(bytearray):
        def rfind(self, wanted: Any, start: Any = 0, *end: Any) -> int:
            counted(len(self) - start)
            return super().rfind(wanted, start, *end)

        def find(self, wanted: Any, start: Any = 0, *end: Any) -> int:
            counted(len(self) - start)
            return super().find(wanted, start, *end)

        def __contains__(self, wanted: Any) -> bool:
            counted(len(self))
            return super().__contains__(wanted)

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            counted(len(found) if isinstance(key, slice) else 1)
            return found

    event_end = sse._EVENT_END

    class Pattern:
        def finditer(self, held: bytes, start: int, end: int) -> Any:
            counted(end - start)
            return event_end.finditer(held, start, end)

    monkeypatch.setattr(sse, "bytearray", Held, raising=False)
    monkeypatch.setattr(sse, "_EVENT_END", Pattern())
    return lambda: count


@pytest.mark.parametrize("kind", [Reader, Boundary])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_long_line_in_small_pieces_is_searched_once(
    kind: type[Reader] | type[Boundary], end: bytes, bytes_searched: Callable[[], int]
) -> None:
    data = b"event: x" + end + b"data: " + b"x" * 100_000 + end + end
    reader = kind()
    given_back = [reader.feed(data[at : at + 16]) for at in range(0, len(data), 16)]
    assert (
        len(b"".join(x if isinstance(x, bytes) else x[0].data or b"" for x in given_back if x))
        >= 1e5
    )
    assert len(data) <= bytes_searched() < 4 * len(data)


@pytest.mark.parametrize("data", [FITS + b"\n\n\n", b"\n" + FITS + b"\n\n", FITS + b"\n"])
def test_blank_lines_do_not_count_for_the_limit(data: bytes) -> None:
    for size in (1, 7, len(data)):
        reader = Reader(LIMIT)
        frames = [
            each for at in range(0, len(data), size) for each in reader.feed(data[at : at + size])
        ]
        assert frames + reader.close() == ([Frame("", FITS[6:])] if b"\n\n" in data else [])


@pytest.mark.parametrize("data", [FITS + b"x\n\n\n", FITS + b"x"])
def test_event_above_the_limit_is_refused_however_cut(data: bytes) -> None:
    for size in (1, 7, len(data)):
        reader = Reader(LIMIT)
        with pytest.raises(SSEError):
            for at in range(0, len(data), size):
                reader.feed(data[at : at + size])


def ends_whole(data: bytes) -> bool:
    """After a blank line; line ends alone are no part of an event."""
    return not data.strip(b"\r\n") or re.search(rb"(?>\r\n?|\n){2,}\Z", data) is not None


@given(streams, cuts)
@example(b"data: 1\r\n\r\ndata: 2\r\n\r\n", [10, 21])
@example(b"data: 1\r\rdata: 2\r\r", [9])
@example(b"data: 1\n\r\ndata: 2", [9])
@example(b"\r\na\r\n\n\r", [1, 2, 3, 4, 5, 6])
def test_boundary_gives_back_whole_events_and_every_byte(data: bytes, places: list[int]) -> None:
    boundary = Boundary()
    fed = given_back = b""
    for piece in cut(data, places):
        fed += piece
        given_back += boundary.feed(piece)
        assert given_back + boundary.tail == fed
        assert ends_whole(given_back)
        assert not given_back.endswith(b"\r") or fed[len(given_back) :][:1] not in (b"", b"\n")
        # Something inserted here is an event of its own, and cuts none in two.
        assert read([given_back, b"data: 1\n\n"])[0] == [*read([given_back])[0], Frame("", b"1")]
        if not fed.endswith(b"\r"):
            assert read([given_back])[0] == read([fed])[0]


def test_boundary_passes_whole_events_as_they_are() -> None:
    chunk = b"data: 1\n\ndata: 2\n\n"
    assert Boundary().feed(chunk) is chunk


def test_boundary_waits_for_the_lf_of_a_crlf() -> None:
    boundary = Boundary()
    assert boundary.feed(b"data: 1\r\n\r") == b""
    assert boundary.feed(b"\n") == b"data: 1\r\n\r\n"
    assert boundary.tail == b""


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_between_events_are_no_part_of_either(end: bytes) -> None:
    event, begun = b"data: 1" + end * 2, b"data: 2"
    boundary = Boundary()
    assert boundary.feed(event + end * 3 + begun) == event + end * 3
    boundary = Boundary()
    pieces = (event, end, end + end + begun[:1], begun[1:])
    assert b"".join(map(boundary.feed, pieces)) == event + end * 3
    assert boundary.tail == begun
    assert list(sse.split(event + end * 3 + event)) == [event, end * 3, event]


def test_boundary_refuses_a_tail_above_the_limit() -> None:
    boundary = Boundary(LIMIT)
    assert boundary.feed(b"data: 1\n\n" + FITS) == b"data: 1\n\n"
    with pytest.raises(SSEError):
        boundary.feed(b"x")


@given(st.text("abc_.", min_size=1), st.binary().filter(lambda data: not set(data) & {10, 13}))
def test_what_is_encoded_is_read_again(name: str, data: bytes) -> None:
    stream = encode_event(name, data) + sse.COMMENT_PING + encode_data(data)
    assert stream == encode_event(name.encode(), data) + b": ping\n\n" + encode_data(data)
    assert read([stream]) == ([Frame(name, data), Frame("", None), Frame("", data)], [])


def test_frame_keeps_its_contents_out_of_its_repr() -> None:
    assert repr(Frame("x", b"hidden")) == "Frame('x', 6 bytes)"
    assert repr(Frame("", None)) == "Frame('', comment)"


TINY = b"[" + b"[]," * 150_000 + b"[]]"
QUOTES = b'"' + b'\\"' * 200_000


@pytest.mark.parametrize("kind", [Reader, Boundary])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_an_event_of_more_values_than_anybody_means_is_too_much(kind, end):
    whole = b"data: " + TINY + end
    for size in (4096, 65536, len(whole) - 1):
        reader = kind()
        with pytest.raises(SSEError):
            for at in range(0, len(whole), size):
                assert not reader.feed(whole[at : at + size])
            reader.feed(b"data: 1\n\n")


@pytest.mark.parametrize("kind", [Reader, Boundary])
def test_a_large_event_that_is_one_text_passes(kind):
    text = b'{"a": "' + b'[], {\\"x\\": 1}, ' * 100_000 + b'"}'
    reader = kind()
    out = [reader.feed(each) for each in (b"data: ", text, b"\n\n")]
    assert out[2]


def test_counting_the_values_of_a_text_that_does_not_end_is_linear():
    assert not is_dense(QUOTES)
    reader = Reader()
    with pytest.raises(SSEError):
        reader.feed(b"data: " + TINY)
    assert reader.close() == []


@pytest.mark.parametrize("line", [b":", b"data:1", b"x", b""])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_of_more_lines_than_anybody_means_is_too_much(line, end):
    whole = (line + end) * 30_000 + b"data: 1" + end * 2
    for size in (len(whole), 50_000):
        reader = Reader()
        feed = [whole[at : at + size] for at in range(0, len(whole), size)]
        if line:
            with pytest.raises(SSEError):
                for piece in (*feed, b"data: 1\n\n"):
                    reader.feed(piece)
        else:
            assert [frame.data for piece in feed for frame in reader.feed(piece)][:1] == [b"1"]
    reader = Reader()
    reader.feed((line or b":") * 1 + b"\n")
    reader.feed(b":\n" * 30_000)
    assert reader.close() == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_passed_event_of_as_many_lines_is_too_much(end):
    boundary = Boundary()
    whole = b"x" + (b"x" + end) * 300_000
    with pytest.raises(SSEError):
        for at in range(0, len(whole), 65536):
            boundary.feed(whole[at : at + 65536])
        boundary.feed(end + end)


def test_as_many_lines_in_events_of_their_own_pass():
    whole = b": ping\n\n" * 60_000 + b"data: 1\n\n"
    for kind in (Reader, Boundary):
        reader = kind()
        assert all(reader.feed(whole[at : at + 65536]) for at in range(0, len(whole), 65536))


def both_ways(data: bytes) -> list[Any]:
    """What is read where many events are taken apart at once, and where none are."""
    found = []
    for many in (0, 1 << 30):
        with patch.object(sse, "_MANY", many):
            found.append(read([data]))
    return found


@given(streams)
def test_events_that_are_alike_are_read_as_others_are(data: bytes) -> None:
    at_once, one_by_one = both_ways(data)
    assert at_once == one_by_one


ALIKE = (
    b'data: {"a": 1}\n\n',
    b'event: delta\ndata: {"a": 1}\n\n',
    b'event: other\ndata: {"a": "data: "}\n\n',
)
ODD = (
    b"",
    b"\n",
    b": ping\n\n",
    b"data: 1\ndata: 2\n\n",
    b"data:1\n\n",
    b"event: delta\n\n",
    b"event:delta\ndata: 1\n\n",
    b"event: \ndata: \n\n",
    b"data: 1\nevent: delta\n\n",
    b'{"error": "no"}\n\n',
    b"id: 1\nevent: delta\ndata: 1\n\n",
)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("alike", ALIKE)
def test_an_odd_event_among_others_is_read_as_by_itself(alike: bytes, odd: bytes) -> None:
    for before, after in ((0, 3), (1, 3), (2, 2), (3, 0)):
        at_once, one_by_one = both_ways(alike * before + odd + alike * after)
        assert at_once == one_by_one
