"""W3C Trace Context: what is read strictly, what is handed on, and what is made anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.broker.trace_context import (
    MOST_STATES,
    REQUEST_ID_TEXT,
    STATE_TEXT,
    handed_on,
    parsed_parent,
    parsed_request_id,
    parsed_state,
)
from lmbroker.call import TraceContext

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_parent():
    assert parsed_parent(PARENT) == TraceContext(TRACE, SPAN, "01", "", SPAN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "0",
        PARENT + "-",
        PARENT + "-more",  # version 00 has four parts
        f" {PARENT}",
        PARENT + "\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"00_{TRACE}_{SPAN}_01",
        f"0-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        "00-" + "\u0664" * 32 + f"-{SPAN}-01",
    ],
)
def test_an_invalid_parent_counts_as_none(text):
    assert parsed_parent(text) is None


@pytest.mark.parametrize("text", [f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-what-is-new"])
def test_a_later_version_is_read_as_far_as_this_one_goes(text):
    assert parsed_parent(text) == parsed_parent(PARENT)


@given(st.integers(0, 255))
def test_flags_that_nobody_knows_are_not_handed_on(flags):
    trace = parsed_parent(f"00-{TRACE}-{SPAN}-{flags:02x}")
    assert trace.flags == f"0{flags & 3}" and trace.sampled == bool(flags & 1)
    assert handed_on(trace, SPAN, "r")[0] == ("traceparent", f"00-{TRACE}-{SPAN}-0{flags & 3}")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"),
        ("a=1, b=2\t,\t c=3", "a=1,b=2,c=3"),
        ("a=1,,b=2,", "a=1,b=2"),
        ("fw529a3039@dt=FfAAAA;x!", "fw529a3039@dt=FfAAAA;x!"),
        ("0tenant@sys=1", "0tenant@sys=1"),
        ("a= spaces within", "a= spaces within"),
        ("a=" + "v" * 256, "a=" + "v" * 256),
    ],
)
def test_a_valid_state_is_handed_on(text, state):
    assert parsed_state(text) == state


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "=1",
        "a=",
        "A=1",
        "1=1",
        "a=1=2",
        "a=1,a=2",
        "a=\u00e9",
        "a=1\r\nx: y",
        "a=\x00",
        "a=" + "v" * 257,
        "k" * 257 + "=1",
        "a@b@c=1",
        ",".join(f"k{each}=1" for each in range(MOST_STATES + 1)),
        "a=1,no",
    ],
)
def test_an_invalid_state_counts_as_none(text):
    assert parsed_state(text) == ""


def test_of_a_long_state_the_first_members_are_handed_on():
    members = [f"k{each}={'v' * 60}" for each in range(20)]
    state = parsed_state(",".join(members))
    assert state and len(state) <= STATE_TEXT
    assert state.split(",") == members[: state.count(",") + 1]


@given(st.text(max_size=60))
def test_what_is_handed_on_is_valid_whatever_came(text):
    for parse in (parsed_state, parsed_request_id):
        out = parse(text)
        assert parse(out) == out and out.isascii() and (out == "" or out.isprintable())
    parent = parsed_parent(text)
    assert parent is None or parsed_parent(handed_on(parent, parent.span_id, "r")[0][1]) == parent


@pytest.mark.parametrize("text", ["a b", "\u00e9", "a\n", "", "x" * (REQUEST_ID_TEXT + 1)])
def test_a_request_id_that_nobody_could_read_counts_as_none(text):
    assert parsed_request_id(text) == ""
    assert parsed_request_id("r-1:x/" + "y" * 100) == "r-1:x/" + "y" * 100
