"""Prices that come with the package ``genai-prices``."""

from datetime import UTC, datetime

import pytest

from lmbroker.call import Backend, Target
from lmbroker.observers.prices import Prices
from lmbroker.usage import Price, Tier

WHEN = datetime(2026, 11, 1, tzinfo=UTC)


def target(url, model, price=None):
    return Target(backend=Backend(name="b", url=url, dialect="openai"), model=model, price=price)


@pytest.fixture(scope="module")
def loaded():
    prices = Prices(WHEN)
    prices.load([target("https://api.openai.com/v1", "gpt-5")])
    return prices


def test_a_model_that_is_listed(loaded):
    found = loaded.of(target("https://api.anthropic.com", "claude-sonnet-4-5-20250929"))
    assert (found.input, found.output, found.cache_read) == (3.0, 15.0, 0.3)
    assert (found.cache_write, found.cache_write_1h) == (3.75, 6.0)
    [tier] = found.tiers
    assert tier == Tier(
        above=200_000, input=6.0, output=22.5, cache_read=0.6, cache_write=7.5, cache_write_1h=12.0
    )


def test_a_configured_price_wins(loaded):
    price = Price(input=1, output=2)
    assert loaded.of(target("https://api.anthropic.com", "claude-sonnet-4-5", price)) is price


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("https://api.anthropic.com", "nobody-knows-this-model"),
        ("https://models.example/v1", "nobody-knows-this-model"),
        ("http://127.0.0.1:8000/v1", "gpt-5"),
    ],
)
def test_what_is_not_listed_has_no_price(loaded, url, model):
    assert loaded.of(target(url, model)) is None


def test_the_package_is_loaded_where_it_is_needed_only():
    prices = Prices(WHEN)
    away = target("https://api.openai.com/v1", "gpt-5")
    prices.load(
        [
            target("http://127.0.0.1:1/v1", "m"),
            target(away.backend.url, "m", Price(input=1, output=1)),
        ]
    )
    assert prices.of(away) is None
    prices.load([away])
    assert prices.of(away) is not None


def test_without_the_package_only_configured_prices_are_known(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "genai_prices.data_snapshot", None)
    prices = Prices(WHEN)
    prices.load([target("https://api.openai.com/v1", "gpt-5")])
    assert prices.of(target("https://api.openai.com/v1", "gpt-5")) is None
