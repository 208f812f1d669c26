"""The order of targets: a permutation, by weight, by load, by pace, sticky."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmbroker.routing.balancing import Candidate, distance, order

STRATEGIES = ("ordered", "weighted", "least-busy", "fastest")

chances = st.randoms(use_true_random=False).map(lambda source: source.random)
loads_of_any_kind = st.lists(
    st.builds(
        Candidate,
        name=st.text(max_size=5),
        weight=st.floats(0, 100),
        free=st.booleans(),
        free_at=st.floats(0, 1000),
        in_flight=st.integers(0, 50),
        cost=st.floats(0, 1000),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(loads_of_any_kind, st.sampled_from(STRATEGIES), chances, st.sampled_from(("", "key")))
def test_an_order_has_every_target_once_and_the_free_ones_first(candidates, strategy, chance, key):
    found = order(candidates, strategy, chance, key)
    assert sorted(found) == list(range(len(candidates)))
    free = [candidates[at].free for at in found]
    assert free == sorted(free, reverse=True)
    late = [candidates[at].free_at for at in found if not candidates[at].free]
    assert late == sorted(late)


@settings(deadline=None)
@given(loads_of_any_kind, chances, st.sampled_from(("", "key")))
def test_an_ordered_list_stays_in_order_whatever_else_is_known(candidates, chance, key):
    found = [at for at in order(candidates, "ordered", chance, key) if candidates[at].free]
    assert found == sorted(found)


def first_shares(candidates, strategy, calls=20_000):
    chance = random.Random(7).random
    firsts = Counter(order(candidates, strategy, chance)[0] for _ in range(calls))
    return [firsts[at] / calls for at in range(len(candidates))]


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2), (90, 9, 1), (1, 0, 3)])
def test_shares_follow_the_weights(weights):
    candidates = [Candidate(name=str(at), weight=weight) for at, weight in enumerate(weights)]
    for share, weight in zip(first_shares(candidates, "weighted"), weights, strict=True):
        assert share == pytest.approx(weight / sum(weights), abs=0.015)


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2), (1, 0, 3)])
def test_sticky_keys_are_spread_by_weight_too(weights):
    candidates = [Candidate(name=str(at), weight=weight) for at, weight in enumerate(weights)]
    firsts = Counter(order(candidates, "weighted", None, f"key {n}")[0] for n in range(10_000))
    for at, weight in enumerate(weights):
        assert firsts[at] / 10_000 == pytest.approx(weight / sum(weights), abs=0.02)


def test_a_target_without_weight_comes_last():
    candidates = [Candidate(name="spare", weight=0), Candidate(name="a"), Candidate(name="b")]
    for strategy in ("weighted", "least-busy"):
        assert order(candidates, strategy, random.Random(1).random)[-1] == 0


@settings(deadline=None)
@given(
    st.lists(st.text(max_size=8), min_size=2, max_size=8, unique=True),
    st.data(),
    st.text(min_size=1, max_size=20),
)
def test_taking_a_target_away_moves_no_other_key(names, data, key):
    gone = data.draw(st.sampled_from(names))
    left = [name for name in names if name != gone]

    def ranking(names):
        found = order([Candidate(name=name) for name in names], "weighted", None, key)
        return [names[at] for at in found]

    assert [name for name in ranking(names) if name != gone] == ranking(left)


def test_a_sticky_target_that_is_not_free_lends_its_keys_and_gets_them_back():
    names = ("a", "b", "c")
    free = [Candidate(name=name) for name in names]
    for n in range(200):
        home = order(free, "fastest", None, f"key {n}")[0]
        without = [Candidate(name=name, free=at != home) for at, name in enumerate(names)]
        other = order(without, "fastest", None, f"key {n}")[0]
        assert other != home
        assert order(free, "fastest", None, f"key {n}")[:2] == [home, other]


def test_a_name_cannot_be_taken_for_the_end_of_a_key():
    assert distance("ab", "c") != distance("a", "bc")


def test_the_least_busy_for_its_weight_is_first_and_ties_are_broken_by_chance():
    candidates = [
        Candidate(name="a", in_flight=3),
        Candidate(name="b", in_flight=5, weight=2),
        Candidate(name="c", in_flight=3),
    ]
    assert order(candidates, "least-busy", random.Random(1).random)[0] == 1
    shares = first_shares([Candidate(name="a"), Candidate(name="b")], "least-busy", 2000)
    assert shares[0] == pytest.approx(0.5, abs=0.05)


def test_the_faster_of_two_that_chance_names_is_first():
    candidates = [
        Candidate(name=str(at), cost=cost) for at, cost in enumerate((4.0, 1.0, 2.0, 3.0))
    ]
    assert first_shares(candidates[:2], "fastest", 200) == [0.0, 1.0]
    # Of 6 pairs the best is in 3, the second in 2 more, the third in the last one.
    expected = (0, 3 / 6, 2 / 6, 1 / 6)
    for share, wanted in zip(first_shares(candidates, "fastest"), expected, strict=True):
        assert share == pytest.approx(wanted, abs=0.02)
    rest = order(candidates, "fastest", random.Random(3).random)[1:]
    assert [candidates[at].cost for at in rest] == sorted(candidates[at].cost for at in rest)


def test_chance_at_its_ends_breaks_nothing():
    candidates = [Candidate(name=str(at), weight=at) for at in range(4)]
    for strategy in STRATEGIES:
        for number in (0.0, 1 - 2**-53):
            assert sorted(order(candidates, strategy, lambda number=number: number)) == [0, 1, 2, 3]
