"""Prices and the keeping of usage in the configuration file."""

import pytest

from lmbroker.config.config import ConfigError, UsageRules, parse
from lmbroker.usage import Price, Tier

MODEL = """
[[models]]
alias = "m"
type = "openai"
target = { url = "https://api.example/v1", api_key = "env:KEY" }
"""

SEVERAL = """
[[backends]]
name = "b"
type = "openai"
url = "https://api.example/v1"
api_key = "env:KEY"

[[models]]
alias = "m"
price = { input = 1, output = 2 }
targets = [{ backend = "b" }, { backend = "b", model = "o", price = { input = 0, output = 0 } }]
"""


def config(text):
    return parse(text, name="c.toml", environ={"KEY": "k"}, read_file=lambda path: "")


def problems(text):
    with pytest.raises(ConfigError) as raised:
        config(text)
    return raised.value.problems


def test_the_price_of_a_model():
    text = MODEL + "[models.price]\ninput = 3\noutput = 15.0\ncache_read = 0.3\n"
    (target,) = config(text).alias("m").targets
    assert target.price == Price(input=3, output=15.0, cache_read=0.3)


def test_without_a_price_there_is_none():
    assert config(MODEL).alias("m").targets[0].price is None


def test_the_rates_of_long_prompts_are_sorted():
    tiers = "[{ above = 500, input = 9, output = 9 }, { above = 200, input = 6, output = 22.5 }]"
    text = f"{MODEL}[models.price]\ninput = 3\noutput = 15\ntiers = {tiers}\n"
    (target,) = config(text).alias("m").targets
    assert target.price.tiers == (
        Tier(above=200, input=6, output=22.5),
        Tier(above=500, input=9, output=9),
    )


def test_a_targets_own_price_wins():
    first, second = config(SEVERAL).alias("m").targets
    assert first.price == Price(input=1, output=2)
    assert second.price == Price(input=0, output=0)


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        ("input = 1", "models[0].price.output: found nothing, expected a number"),
        ("input = -1\noutput = 1", "models[0].price.input"),
        ('input = "3"\noutput = 1', "models[0].price.input"),
        ("input = 1\noutput = 1\nimput = 1", "models[0].price.imput"),
        (
            "input = 1\noutput = 1\ntiers = [{ above = 0, input = 1, output = 1 }]",
            "models[0].price.tiers[0].above",
        ),
        ("input = 1\noutput = 1\ntiers = [{ above = 9 }]", "models[0].price.tiers[0].input"),
        ("input = nan\noutput = 1", "models[0].price.input"),
        ("input = inf\noutput = 1", "models[0].price.input"),
    ],
)
def test_mistakes_in_a_price(price, problem):
    found = problems(f"{MODEL}[models.price]\n{price}\n")
    assert any(problem in each for each in found), found


def test_the_rules_of_usage():
    text = '[usage]\nfile = "/u.sqlite"\ntags = ["X-Team"]\nkeep_days = 7\nkeep_calls = 0\n'
    rules = UsageRules(file="/u.sqlite", tags=("x-team",), keep_days=7, keep_calls=0)
    assert config(text + MODEL).usage == rules
    assert config(MODEL).usage == UsageRules()


@pytest.mark.parametrize(
    "tags",
    [
        '["authorization"]',
        '["x-api-key"]',
        '["cookie"]',
        '["a b"]',
        '["a", "b", "c", "d"]',
        '["a", "A"]',
    ],
)
def test_headers_by_which_usage_cannot_be_told_apart(tags):
    assert any("usage.tags" in each for each in problems(f"[usage]\ntags = {tags}\n{MODEL}"))
