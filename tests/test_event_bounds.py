"""Values and lines are counted alike however an event is cut; long texts are left out of JSON."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmbroker import event_bounds
from lmbroker.event_bounds import EventCount, is_dense, without_texts

PIECES = ("a", '"', "\\", "é", "\n", ",", "[", "{", '\\"', "\\\\", "b" * 700, "data: ")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


def counted(event: bytes) -> int:
    """Strings where they begin, and commas and opening brackets outside of them."""
    count, at, in_string = 0, 0, False
    while at < len(event):
        sign = event[at : at + 1]
        if sign == b"\\":
            at += 1
        elif sign == b'"':
            in_string = not in_string
            count += in_string
        elif sign in b",[{" and not in_string:
            count += 1
        at += 1
    return count


def shortened(value: Any) -> Any:
    if isinstance(value, str):
        inside = json.dumps(value, ensure_ascii=False).encode()[1:-1]
        return value if len(inside) < event_bounds.LONG_TEXT else ""
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if isinstance(value, dict):
        return {shortened(key): shortened(each) for key, each in value.items()}
    return value


@given(VALUES, st.integers(1, 9))
@example(["\\" * 9 + '"'], 1)
def test_what_is_counted_does_not_depend_on_the_cuts(value, step):
    event = json.dumps(value, ensure_ascii=False).encode() + b"\r\n\n"
    count, held = EventCount(), bytearray()
    for at in range(0, len(event), step):
        held += event[at : at + step]
        count.see(held)
    assert (count.values, count.lines) == (counted(event), 3)


@pytest.mark.parametrize(
    ("event", "dense"),
    [
        (b"[]," * 60_000, False),  # it is not large
        (b'"abc",' * 49_999 + b" " * 300_000, False),
        (b'"abc",' * 50_000, True),
        (b"[1]," * 70_000, True),
        (b'{"a":{},' * 40_000, True),
        (b'"' + b'",",' * 100_000, True),
        (b'"' + b'\\",[' * 100_000, False),  # one text
        (b"x\n" * 200_000, True),
        (b"x\r" * 200_000, True),
        (b"\n".join([b"x" * 1000] * 1000), False),
    ],
)
def test_a_large_event_is_dense_or_not(event, dense):
    assert is_dense(event) is dense
    assert is_dense(bytearray(event)) is dense


@given(VALUES)
@example("\\" * 999 + '"')
@example(['"' * 999, "b" * 1999])
def test_without_texts_is_the_same_json_but_for_its_long_texts(value):
    event = b"data: " + json.dumps(value, ensure_ascii=False).encode()
    assert json.loads(without_texts(event)[6:]) == shortened(value)


@pytest.mark.parametrize("event", [b"", b'"', b'"' + b"a" * 99, b"a" * 99, b'""', b'"a\\"'])
def test_what_is_no_whole_string_stays(event):
    assert without_texts(event) == event


def test_an_event_of_many_escaped_quotes_is_short_as_well():
    """Its long text goes with them; what is short may lose them."""
    many = 'He said "no", \\ and "yes". ' * event_bounds.FEW_QUOTES
    event = json.dumps({"a": many, "id": "x", "say": 'a "word"\\', "b": [1, many]}).encode()
    short = {"a": "", "id": "x", "say": "a word", "b": [1, ""]}
    assert json.loads(without_texts(event)) == short


def test_an_event_of_many_strings_stays_as_it_is():
    event = json.dumps(['"'] * (event_bounds.FEW_QUOTES + 1)).encode()
    assert without_texts(event) is event
