"""Names and ids made valid: unchanged where they are, and the same replacement every time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.shared.names import renamed, wire_id, wire_name

ANY = r"^[A-Za-z0-9_-]{1,64}$"
SHORT = r"^[A-Za-z0-9]{9}$"


@pytest.mark.parametrize("name", ["f", "get_weather", "mcp__a-b", "x" * 64])
def test_a_valid_name_stays(name: str) -> None:
    assert wire_name(name) == name


def test_an_invalid_name_keeps_its_beginning() -> None:
    assert wire_name("weather.get") == "weather_get_b8affdae8c8c"
    assert wire_name("x" * 80).startswith("x" * 51 + "_")
    assert len(wire_name("x" * 80)) == 64


def test_names_that_begin_alike_stay_apart() -> None:
    assert wire_name("x" * 80 + "a") != wire_name("x" * 80 + "b")


def test_the_way_back() -> None:
    assert renamed(["f", "a.b"]) == {wire_name("a.b"): "a.b"}


def test_case_32_ids() -> None:
    assert wire_id("toolu_01A", ANY) == "toolu_01A"
    assert re.fullmatch(r"call_[0-9a-f]{24}", wire_id("a:b", ANY))
    assert re.fullmatch(r"call_[0-9a-f]{24}", wire_id("a" * 41, r"^[A-Za-z0-9_-]{1,40}$"))
    assert re.fullmatch(r"[A-Za-z0-9]{9}", wire_id("toolu_01A", SHORT))
    assert wire_id("abcDEF123", SHORT) == "abcDEF123"
    assert wire_id("call_1\n", ANY) != "call_1\n"


@given(st.text(min_size=0, max_size=90), st.sampled_from([ANY, SHORT]))
def test_replacements_are_valid_and_stable(text: str, pattern: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", wire_name(text))
    assert re.search(pattern, wire_id(text, pattern))
    assert wire_id(text, pattern) == wire_id(text, pattern)
    assert wire_id(wire_id(text, pattern), pattern) == wire_id(text, pattern)
