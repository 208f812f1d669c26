"""Reading the top level of a body, and swapping its model without touching another byte."""

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker import envelope, json_text
from lmbroker.errors import Refused

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(['"model":', "model"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["model", "a", "{", '"']) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
KEYS = st.text().filter(lambda key: key.lower() not in ("model", "stream"))


PIECES = (
    *("{", "}", "[", "]", ",", ":", " ", "1"),
    *(
        '"model"',
        '"m"',
        '"mod\\u0065l"',
        '"\\u006Dodel"',
        '"mo\\u0064el":"m"',
        '"\\u00fc"',
        '"\\"model\\""',
        '"a\\\\"',
        '"model":"m"',
        '"x":{"model":"m"}',
    ),
)


@given(
    before=st.lists(st.sampled_from(PIECES), max_size=5),
    behind=st.lists(st.sampled_from(PIECES), max_size=5),
)
def test_a_short_way_to_the_model_leads_to_the_same_place(before, behind):
    for comma in ("", ","):
        text = "{" + "".join(before) + comma + '"model":"m"' + comma + "".join(behind) + "}"
        body = text.encode()
        try:
            fields = envelope.read(body).fields
        except Refused:
            continue
        try:
            span = envelope._place(body, fields, "model")
        except Refused:
            span = None
        assert envelope._only_model(body, fields) in (None, span)


@given(
    fields=st.lists(st.tuples(KEYS, VALUES), max_size=6, unique_by=lambda pair: pair[0]),
    place=st.integers(0, 6),
    indent=st.sampled_from([None, 1, "\t"]),
    ascii_only=st.booleans(),
)
def test_only_the_top_level_model_changes(fields, place, indent, ascii_only):
    fields = [*fields[:place], ("model", "old name"), *fields[place:]]
    text = json.dumps(dict(fields), indent=indent, ensure_ascii=ascii_only)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        return
    try:
        head = envelope.read(body)
    except Refused:
        # A lone surrogate, escaped: no JSON text that can be told in UTF-8.
        assert "\\ud" in text
        return
    assert head.model == "old name"
    changed = envelope.with_model(body, 'new "näme"')
    assert json.loads(changed) == {**dict(fields), "model": 'new "näme"'}
    start = body.index(b'"old name"') if body.count(b'"old name"') == 1 else None
    if start is not None:
        assert changed[:start] == body[:start]
        assert changed.endswith(body[start + len('"old name"') :])


def test_every_other_byte_stays():
    body = (
        b' { "messages" : [{"role":"user","content":"say \\"model\\": \\"x\\" {["},'
        b'{"model":"inner"}],\n\t"model"  :  "alias" , "seed":123456789012345678901234567890,'
        b'"temperature":1.50,"stream":true}\r\n'
    )
    assert envelope.with_model(body, "real") == body.replace(b'"alias"', b'"real"')


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"null", "invalid_json"),
        (b'{"model":"x"', "invalid_json"),
        (b'{"model":"x","a":NaN}', "invalid_json"),
        (b'\xef\xbb\xbf{"model":"x"}', "invalid_json"),
        ('{"model":"x"}'.encode("utf-16"), "invalid_json"),
        (b'{"model":"\xe2x"}', "invalid_json"),
        (b'{"model":"x","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
        (b"{}", "missing_model"),
        (b'{"model":null}', "missing_model"),
        (b'{"model":7}', "missing_model"),
        (b'{"model":""}', "missing_model"),
        (b'{"model":"a\\u0000b"}', "invalid_value"),
        (b'{"model":"a\\r\\nb"}', "invalid_value"),
        ('{"model":"a\u202eb"}'.encode(), "invalid_value"),
        ('{"model":"a\u200bb"}'.encode(), "invalid_value"),
        (b'{"model":"' + b"m" * 257 + b'"}', "invalid_value"),
        (b'{"model":"a","Model":"b"}', "invalid_value"),
        (b'{"model":"a","stream":"yes"}', "invalid_type"),
    ],
)
def test_what_cannot_be_read_is_refused(body, code):
    with pytest.raises(Refused) as refusal:
        envelope.read(body)
    assert refusal.value.info.code == code
    assert refusal.value.info.kind == "invalid_request"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"mod\\u0065l":"a","model":"b"}',
        b'{"model":"b","\\u006dodel":"a"}',
        b'{"model":"a","x":{"model":1},"model":"b"}',
    ],
)
def test_a_second_model_is_refused(body):
    with pytest.raises(Refused) as refusal:
        envelope.with_model(body, "real")
    assert refusal.value.info.param == "model"


def test_an_escaped_key_is_found():
    assert envelope.with_model(b'{"mod\\u0065l":"a"}', "b") == b'{"mod\\u0065l":"b"}'


INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u3164\uffa0\ufe00\ufe0f\U000e0100"
"""Printable as Python has it, and nothing is seen of them."""


def test_no_name_holds_what_is_not_seen():
    lying = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = map(chr, range(0x110000))
    refused = [each for each in every if not envelope.can_be_asked_for(f"a{each}b")]
    found = {each for each in refused if unicodedata.category(each) in lying}
    assert found == {
        each for each in map(chr, range(0x110000)) if unicodedata.category(each) in lying
    }
    assert set(INVISIBLE) <= set(refused)
    assert {unicodedata.category(each) for each in refused} <= {*lying, "Cn", "Lo", "Mn"}
    assert len(refused) - len(found) < 4096


@pytest.mark.parametrize(
    "name", ["claude-opus", "o1 mini", "qwen/2.5:7b", "Mod\u00e8le", "\u6a21\u578b", "\U0001f600"]
)
def test_what_is_seen_is_a_name(name):
    assert envelope.can_be_asked_for(name)


@pytest.mark.parametrize(("text", "streaming"), [("true", True), ("false", False), ("null", False)])
def test_stream_flag(text, streaming):
    assert envelope.read(b'{"model":"m","stream":%s}' % text.encode()).stream is streaming


def test_bytes_that_are_no_utf8_are_refused_when_decoded():
    with pytest.raises(Refused):
        envelope.decode(b'{"model":"x","a":"\xff"}')


@pytest.mark.parametrize(
    ("body", "asking"),
    [
        (b'{"model":"m" }\n', b'{"model":"m" ,"stream_options":{"include_usage":true}}\n'),
        (
            b'{ "stream_options" : null, "model":"m"}',
            b'{ "stream_options" : {"include_usage":true}, "model":"m"}',
        ),
        (
            b'{"stream_options":{"a":[1]},"model":"m"}',
            b'{"stream_options":{"a":[1],"include_usage":true},"model":"m"}',
        ),
        (
            b'{"x":{"stream_options":{}},"stream_options":{},"model":"m"}',
            b'{"x":{"stream_options":{}},"stream_options":{"include_usage":true},"model":"m"}',
        ),
        (b'{"stream_options":{"include_usage":true},"model":"m"}', None),
        (b'{"stream_options":7,"model":"m"}', None),
        (b'{"stream_options":{"\xe0":1},"model":"m"}', None),
    ],
)
def test_case_42_usage_is_asked_for_without_touching_the_rest(body, asking):
    assert envelope.with_usage(body) == asking


@given(
    st.lists(
        st.tuples(
            st.sampled_from(['"n"', r'"\u006e"', '"N"', '"m"', r'"\"n\""', '"o"']),
            st.sampled_from(
                ["1", '"n"', '"}"', '{"n":1}', '[{"n":[]}]', '"\\\\"', "null", '{"o":1,"n":2}']
            ),
            st.sampled_from(["", " ", "\n\t"]),
        ),
        max_size=6,
    )
)
def test_a_repeated_key_is_seen_however_it_is_written(pairs):
    inside = [f"{space}{key}{space}:{space}{value}{space}" for key, value, space in pairs]
    body = ("{" + ",".join(['"model":"x"', *inside]) + "}").encode()
    said = [json.loads(key) for key, _, _ in pairs]
    fields = envelope.read(body).fields
    for key in ("n", "N", "m", '"n"'):
        assert envelope.repeats(body, fields, key) is (said.count(key) > 1)


@pytest.mark.parametrize("padding", ["", " " * 9])
def test_the_walk_does_not_come_out_inside_a_value(padding):
    """A repeated key has its last value, whose length is not that of the first."""
    body = (
        '{"metadata":{"a":"bc","model":"inner"},"model":"asked","metadata":{"k":"v"}'
        + padding
        + "}"
    ).encode()
    head = envelope.read(body)
    assert head.model == "asked"
    spliced = envelope.with_model(body, "target", head.fields)
    assert spliced == body.replace(b'"asked"', b'"target"')


def test_a_cap_is_not_hidden_by_a_repeated_key_in_front():
    body = b'{"a":{"b":"cd","n":1},"model":"x","n":9,"n":1,"a":{"k":"v"}}'
    assert envelope.repeats(body, envelope.read(body).fields, "n")


def test_what_stands_beside_a_repeated_or_escaped_key_is_not_walked_over_in_python():
    """The number of Python calls does not grow with what the values hold."""
    for keys in (b'"x":1,"x":2,"model":"old"', b'"mod\\u0065l":"old"'):
        calls = []
        for size in (1_000, 100_000):
            body = b"{" + keys + b',"t":[' + b'[{"a":"[{"}],' * size + b"0]}"
            head = envelope.read(body)
            count = 0

            def called(*_):
                nonlocal count
                count += 1

            sys.setprofile(called)
            try:
                changed = envelope.with_model(body, "new", head.fields)
            finally:
                sys.setprofile(None)
            assert changed == body.replace(b'"old"', b'"new"')
            calls.append(count)
        assert calls[0] == calls[1] < 200


def test_very_many_repeated_keys_are_refused():
    body = b'{"model":"m"' + b',"a":{"model":"x"}' * 300 + b"}"
    with pytest.raises(Refused) as refusal:
        envelope.with_model(body, "real")
    assert "repeats" in refusal.value.info.message
    few = b'{"model":"m"' + b',"a":{"model":"x"}' * 90 + b"," + b" " * 5000 + b'"b":1}'
    assert envelope.with_model(few, "real") == few.replace(b'"m"', b'"real"')


def test_usage_is_asked_for_at_the_top_level_only():
    inner = b'{"a":{"stream_options":null},"t":"\\"stream_options\\":null"}'
    body = b'{"model":"m","x":' + inner + b',"stream_options":null,"y":' + inner + b"}"
    wanted = b'{"include_usage":true}'
    assert envelope.with_usage(body) == (
        b'{"model":"m","x":' + inner + b',"stream_options":' + wanted + b',"y":' + inner + b"}"
    )
    twice = b'{"model":"m","stream_options":null,"stream_options":null}'
    assert envelope.with_usage(twice) is None


HALVES = [
    (rb'{"model":"m","a":"\ud83d"}', rb'{"model":"m","a":"\ufffd"}'),
    (rb'{"model":"m","a":"x\uD83D\uDE00\ude00y"}', rb'{"model":"m","a":"x\uD83D\uDE00\ufffdy"}'),
    (rb'{"model":"m","a":"\ud83d\ud83d\ude00"}', rb'{"model":"m","a":"\ufffd\ud83d\ude00"}'),
    (rb'{"model":"m","a":"\ude00\ud83d \ude00"}', rb'{"model":"m","a":"\ufffd\ufffd \ufffd"}'),
    (rb'{"model":"m","a":"\\ud83d\n\ud83d\\"}', rb'{"model":"m","a":"\\ud83d\n\ufffd\\"}'),
    (rb'{"model":"m","\udfff":1}', rb'{"model":"m","\ufffd":1}'),
]


@pytest.mark.parametrize(("body", "expected"), HALVES)
def test_half_a_character_is_mended_for_reading_at_its_place(body: bytes, expected: bytes) -> None:
    assert json_text.mended(body) == expected
    assert envelope.decode(body) == json.loads(expected)
    assert envelope.read(body).model == "m"
    value, paths = envelope.decode_exactly(body)
    assert value == json.loads(expected)
    assert paths == (("",) if b"dfff" in body else ("a",))
    assert envelope.with_model(body, "n", envelope.read(body).fields) == body.replace(
        b'"m"', b'"n"'
    )
    long = body.replace(b'"m"', b'"m" , "pad":"' + b"x" * envelope.SHORT + b'"')
    expected = long.replace(b'"m"', b'"n"')
    assert envelope.with_model(long, "n", envelope.read(long).fields) == expected


def test_what_has_no_half_characters_is_not_mended() -> None:
    for body in (rb'{"a":"\ud83d\ude00"}', rb'{"a":"\\ud83d"}', b"{", rb'{"a":"\uE000"}'):
        assert json_text.mended(body) is None


def test_numbers_are_read_as_they_were_written() -> None:
    body = b'{"a":1e400,"b":[12345678901234567890123,1.0,0.30000000000000000001,1.50]}'
    value, _ = envelope.decode_exactly(body)
    assert json_text.encode(value) == body


def test_a_long_value_is_not_taken_apart():
    long = [[]] * (envelope.SHORT_VALUE // 3)
    body = json.dumps({"model": "m", "n": long, "stream_options": {"a": long}}).encode()
    head = envelope.read(body)
    assert head.value("n") is None
    assert envelope.with_usage(body) is None
    for model in (long, "a" * envelope.SHORT_VALUE):
        with pytest.raises(Refused):
            envelope.read(json.dumps({"model": model}).encode())
