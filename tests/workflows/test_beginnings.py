"""What is remembered of conversations is bounded, and the longest beginning is found."""

import pytest

from lmbroker.translation.profiles.lookup import profile
from lmbroker.workflows import beginnings
from lmbroker.workflows.beginnings import Beginning, Beginnings, Way

pytestmark = pytest.mark.pure

WAY = Way("ann", "anthropic", "openai", "m", "default", profile("openai", "m"))


def beginning(came: bytes, way: Way = WAY) -> Beginning:
    return Beginning(
        way=way,
        came=came,
        written=came,
        system=(),
        lost=(),
        ids=frozenset(),
        names=frozenset(),
        tokens=(0, 0),
        reasons=False,
        reasoning_path="",
        usual_path="",
    )


def started(size: int, who: str = "a") -> bytes:
    return f"[{who}".encode() * 100 + b"x" * size


def test_the_longest_beginning_of_the_same_way_is_found():
    held = Beginnings(lambda: 1 << 20)
    short, long = beginning(started(30_000)), beginning(started(30_500))
    held.keep(short, None)
    held.keep(long, None)
    assert held.find(WAY, started(30_400)) is short
    assert held.find(WAY, started(31_000)) is long
    assert held.find(WAY, started(29_000)) is None
    other = profile("openai", "m", {"vision": False})
    for way in (
        Way("ann", "openai", "openai", "m", "default", WAY.profile),
        Way("ann", "anthropic", "openai", "n", "default", WAY.profile),
        Way("ann", "anthropic", "openai", "m", "lenient", WAY.profile),
        Way("bob", "anthropic", "openai", "m", "default", WAY.profile),
        Way("ann", "anthropic", "openai", "m", "default", other),
    ):
        assert held.find(way, started(31_000)) is None


def test_a_longer_one_takes_the_place_of_the_one_that_it_goes_on_from():
    held = Beginnings(lambda: 1 << 20)
    first, second = beginning(started(30_000)), beginning(started(40_000))
    held.keep(first, None)
    held.keep(second, first)
    assert held.size == second.size
    assert held.find(WAY, started(35_000)) is None


def test_all_together_take_no_more_than_they_may_and_the_oldest_go():
    one = beginning(started(30_000, "a"))
    held = Beginnings(lambda: 3 * one.size)
    for who in "abc":
        held.keep(beginning(started(30_000, who)), None)
    assert held.find(WAY, started(30_000, "a")) is not None
    held.keep(beginning(started(30_000, "d")), None)
    assert held.size == 3 * one.size
    found = [who for who in "abcd" if held.find(WAY, started(30_000, who)) is not None]
    assert found == ["a", "c", "d"]
    held.keep(beginning(started(300_000, "e")), None)
    assert held.find(WAY, started(300_000, "e")) is None


def test_branches_of_one_conversation_are_few():
    held = Beginnings(lambda: 1 << 30)
    for number in range(9):
        held.keep(beginning(started(30_000) + b"%d" % number), None)
    assert held.size <= beginnings.BRANCHES * beginning(started(30_001)).size


def test_a_single_request_leaves_nothing_and_what_is_vain_is_not_tried_each_time():
    held = Beginnings(lambda: 1 << 20)
    assert not held.wants(WAY, started(40_000))
    assert held.size == 0
    assert held.wants(WAY, started(40_000))
    held.vain(WAY, started(40_000))
    assert not held.wants(WAY, started(45_000))
    assert held.wants(WAY, started(51_000))


def test_conversations_that_were_only_seen_are_bounded(monkeypatch):
    monkeypatch.setattr(beginnings, "SEEN", 3)
    held = Beginnings(lambda: 1 << 20)
    for who in "abcd":
        held.wants(WAY, started(40_000, who))
    assert not held.wants(WAY, started(40_000, "a"))
    assert held.wants(WAY, started(40_000, "d"))


def test_nothing_is_remembered_where_there_is_no_room():
    held = Beginnings(lambda: 0)
    assert not held.wants(WAY, started(40_000)) and not held.wants(WAY, started(40_000))
    held.keep(beginning(started(40_000)), None)
    assert held.size == 0


def test_what_would_not_be_found_or_has_no_room_is_not_kept():
    held = Beginnings(lambda: 1 << 20)
    short = beginning(started(5_000))
    assert not held.keep(short, None, short.came + b"," * 40_000)
    assert held.keep(short, None, short.came + b",")
    assert not held.keep(beginning(started(2_000_000)), None)
    assert held.size == short.size


def test_what_is_not_used_is_forgotten_by_the_second_time():
    held = Beginnings(lambda: 1 << 20)
    for who in "ab":
        held.keep(beginning(started(30_000, who)), None)
    held.age()
    assert held.find(WAY, started(31_000, "a")) is not None
    held.age()
    assert held.find(WAY, started(31_000, "b")) is None
    assert held.find(WAY, started(31_000, "a")) is not None


def test_contents_are_in_no_repr():
    assert "[a" not in repr(beginning(started(30_000)))
