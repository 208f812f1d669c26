"""What a call costs, and where that is told."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.headers import cost
from lmbroker.usage import PICO, Price, Tier, Usage, cost_of, dollars

PRICE = Price(
    input=3,
    output=15,
    cache_read=0.3,
    cache_write=3.75,
    cache_write_1h=6,
    tiers=(Tier(above=200_000, input=6, output=22.5, cache_read=0.6, cache_write=7.5),),
)


def test_each_kind_of_token_has_its_rate():
    usage = Usage(input=1, cache_read=10, cache_write=100, output=1000)
    in_dollars = Decimal(3 + 3 + 375 + 15000) / 1_000_000
    assert Decimal(cost_of(usage, PRICE)) / PICO == in_dollars


def test_an_hour_in_the_cache_has_its_rate():
    usage = Usage(cache_write=100, cache_write_by_ttl={"5m": 60, "1h": 40})
    assert cost_of(usage, PRICE) == (60 * 3_750_000) + 40 * 6_000_000


def test_more_for_an_hour_than_there_is_counts_once():
    usage = Usage(cache_write=10, cache_write_by_ttl={"1h": 1000})
    assert cost_of(usage, PRICE) == 10 * 6_000_000


def test_rates_that_are_not_named():
    price = Price(input=2, output=4)
    assert cost_of(Usage(input=1, cache_read=1, cache_write=1), price) == 3 * 2_000_000
    price = Price(input=2, output=4, cache_write=3)
    assert cost_of(Usage(cache_write=1, cache_write_by_ttl={"1h": 1}), price) == 3_000_000


@pytest.mark.parametrize(("prompt", "rate"), [(200_000, 3), (200_001, 6)])
def test_a_long_prompt_has_other_rates_for_all_its_tokens(prompt, rate):
    assert cost_of(Usage(input=prompt), PRICE) == prompt * rate * 1_000_000
    # What a cache held is a part of the prompt.
    by_cache = Usage(input=1, cache_read=prompt - 1)
    assert cost_of(by_cache, PRICE) == (1 + (prompt - 1) // 10) * rate * 1_000_000 + (
        (prompt - 1) % 10 * rate * 100_000
    )


@given(
    price=st.decimals(0, 1000, places=6, allow_nan=False),
    tokens=st.integers(0, 10**7),
)
def test_costs_are_exact(price, tokens):
    found = cost_of(Usage(output=tokens), Price(input=0, output=float(price)))
    assert Decimal(found) / PICO == price * tokens / 1_000_000


@pytest.mark.parametrize(
    ("picos", "text"),
    [(0, "0"), (1, "0.000000000001"), (PICO, "1"), (1_230_000_000, "0.00123"), (12 * PICO, "12")],
)
def test_dollars_are_written_without_needless_zeros(picos, text):
    assert dollars(picos) == text


def test_the_header_of_a_cost():
    assert cost(PICO // 4) == (("x-lmbroker-cost", "0.25"),)
    assert cost(0) == (("x-lmbroker-cost", "0"),)
    assert cost(None) == ()
