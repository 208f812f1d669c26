"""A scanner knows at each character whether an object is whole, or can no more become one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.shared.json_scan import ObjectScanner

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half characters are legal in JSON.
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
texts = st.builds(
    lambda value, ascii, indent: json.dumps(value, ensure_ascii=ascii, indent=indent),
    st.dictionaries(st.text(), values, max_size=4),
    st.booleans(),
    st.sampled_from([None, 0, 1]),
)


def scanned(*pieces: str) -> ObjectScanner:
    scanner = ObjectScanner()
    for piece in pieces:
        scanner.feed(piece)
    return scanner


def is_object(text: str) -> bool:
    """What the standard library says."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return isinstance(json.loads(text, parse_constant=refuse), dict)
    except ValueError:
        return False


@given(texts, st.text(" \t\r\n", max_size=2))
def test_object_is_whole_at_its_end_and_no_sooner(text: str, space: str) -> None:
    scanner = ObjectScanner()
    scanner.feed(space)
    for char in text:
        assert not scanner.complete
        scanner.feed(char)
        assert not scanner.broken
    assert scanner.complete
    scanner.feed(space)
    assert scanner.complete and not scanner.broken


@given(texts, st.integers(0), st.sampled_from('{}[],:"\\ \n0-.eEtnu\x01\ud83d'))
def test_what_is_no_object_is_never_taken_for_one(text: str, place: int, char: str) -> None:
    place %= len(text) + 1
    for spoilt in (text[:place] + char + text[place:], text[:place] + char + text[place + 1 :]):
        scanner = scanned(spoilt)
        assert (scanner.complete and not scanner.broken) == is_object(spoilt)


@given(texts, st.lists(st.integers(0, 200), max_size=4))
def test_cuts_change_nothing(text: str, places: list[int]) -> None:
    text = text.replace(":", ",", 1) if places[:1] == [7] else text
    ends = [*sorted(places), len(text)]
    cut = scanned(*(text[a:b] for a, b in zip([0, *ends], ends, strict=False)))
    whole = scanned(text)
    assert (cut.complete, cut.broken) == (whole.complete, whole.broken)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("", "["),
        ("", '"'),
        ("", "n"),
        (" ", "x"),
        ("{", "a"),
        ("{", ","),
        ('{"a"', "}"),
        ('{"a"', "1"),
        ('{"a":', "}"),
        ('{"a":', "x"),
        ('{"a":t', "u"),
        ('{"a":true', "e"),
        ('{"a":tru', "}"),
        ('{"a":1', "x"),
        ('{"a":0', "1"),
        ('{"a":1.', "e"),
        ('{"a":1e+', "}"),
        ('{"a":-', "}"),
        ('{"a":"', "\n"),
        ('{"a":"\\', "x"),
        ('{"a":"\\u12', "g"),
        ('{"a":1,', "}"),
        ('{"a":[1', "}"),
        ('{"a":[', ","),
        ("{}", "{"),
        ("{}", "0"),
    ],
)
def test_broken_at_the_first_character_that_cannot_stand_there(good: str, bad: str) -> None:
    scanner = scanned(good)
    assert not scanner.broken
    scanner.feed(bad)
    assert scanner.broken


def test_nothing_mends_what_is_broken() -> None:
    scanner = scanned("nonsense", "{}")
    assert scanner.broken
    assert not scanner.complete


def test_a_long_piece_that_is_a_whole_object_is_not_scanned() -> None:
    whole = json.dumps({"a": [[0]] * 22_000, "b": "[" * 100_000})
    assert scanned(whole).complete
    for more in ("x", "{}"):
        assert scanned(whole, more).broken
    assert not scanned(whole + " ").broken
    assert scanned("[" + whole + "]").broken


@pytest.mark.parametrize("begin", ["", '{"a": ['])
def test_a_long_piece_of_more_values_than_anybody_means_breaks_the_object(begin: str) -> None:
    tiny = "[]," * 50_000
    assert scanned(begin or '{"b": [', tiny).broken
    assert scanned(begin + ('{"b": [' if not begin else "") + tiny).broken


def test_a_long_text_is_one_value() -> None:
    text = json.dumps({"a": "[1, {}], " * 100_000})
    pieces = text[:7], text[7:500_000], text[500_000:]
    assert scanned(*pieces).complete
    assert not scanned(*pieces[:2]).broken


@given(texts | st.text(), st.lists(st.integers(0, 40), max_size=8))
def test_the_cuts_between_pieces_change_nothing(text: str, cuts: list[int]) -> None:
    def state(*pieces: str) -> tuple[bool, bool, bool]:
        scanner = scanned(*pieces)
        return scanner.complete, scanner.broken, scanner.inside

    places = sorted(min(cut, len(text)) for cut in cuts)
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert state(*pieces) == state(*text)
