"""JSON text in and out: what it may hold is what JSON may hold, half characters included."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import objects, texts

from lmbroker import json_text


@given(objects)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    data = json_text.encode(value)
    assert json_text.decode(data) == value
    assert json_text.decode(data.decode()) == value
    assert json.loads(data) == value


def test_text_is_compact_utf8_and_escaped_only_where_utf8_cannot_say_it() -> None:
    assert json_text.encode({"b": "ü🙂", "a": [1, None]}) == '{"b":"ü🙂","a":[1,null]}'.encode()
    assert json_text.encode({"a": "ü\ud83d"}) == b'{"a":"\\u00fc\\ud83d"}'
    with pytest.raises(UnicodeEncodeError):
        json_text.encode_text("\ud83d")


@pytest.mark.parametrize("number", [2**64, -(2**70), 10**40, 0.5, 1e300, -0.0])
def test_numbers_of_any_length(number: float) -> None:
    assert json_text.decode(json_text.encode([number])) == [number]
    assert json_text.decode(f'["\\ud83d",{number}]') == ["\ud83d", number]


NUMBERS = (
    *("0", "7", "1.0", "1.00", "0.10", "-0.0", "0.00001", "123456.1234567", "1e5", "1E+5", "1e-05"),
    *("1e16", "1e+16", "1e400", "-1e400", "1e-400", "18446744073709551616", "9" * 300),
    *(
        "0.1000000000000000055511151231257827",
        "12345678901234567890.123",
        "-9.999999999999999999",
    ),
)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_written_as_it_came(number: str) -> None:
    for text in (f'{{"a":[{number}]}}', f'{{"a":[{number}],"b":"\\ud83d"}}'):
        assert json_text.encode(json_text.decode(text)).decode() == text


def test_any_float_is_written_as_it_came() -> None:
    for chance in map(random.Random, range(300)):
        value = chance.uniform(-1, 1) * 10 ** chance.randint(-8, 20)
        for text in (repr(value), f"{value:.{chance.randint(1, 25)}f}", f"{value:e}"):
            assert json_text.encode(json_text.decode(text)).decode() == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1,]", "{'a':1}", "nul", "NaN", "Infinity", "-Infinity", "1e", ".5"),
        *('"a', '["\\ud83d",NaN]', '["\\ud83d",1.]', "[" * 100_000),
    ],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    for data in (text, text.encode()):
        with pytest.raises(ValueError):
            json_text.decode(data)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(ValueError):
        json_text.decode(b'"\xff"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" \n", {}),
        ('{"a":1}', {"a": 1}),
        (' {"a":"\\ud83d"} ', {"a": "\ud83d"}),
        ("[1]", None),
        ("null", {}),
        ("nonsense", None),
        ('{"a":', None),
    ],
)
def test_arguments_are_an_object_or_none(text: str, expected: Any) -> None:
    assert json_text.arguments(text) == expected


@given(texts, st.data())
def test_pieces_make_the_text_also_where_a_character_was_cut(text: str, data: Any) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    at = 2 * data.draw(st.integers(0, len(units) // 2))
    pieces = [part.decode("utf-16-le", "surrogatepass") for part in (units[:at], units[at:])]
    assert json_text.joined(pieces) == text
