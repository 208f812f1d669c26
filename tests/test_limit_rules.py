"""Limit rules: how they are written, and whom they meet."""

import re
from pathlib import Path

import pytest

from lmbroker.commands.explain import explain
from lmbroker.commands.limit_rules import limits_of, rule_lines, unpriced
from lmbroker.config.changes import changes
from lmbroker.config.config import ConfigError, parse
from lmbroker.routing.limit_rules import Amount, met
from lmbroker.usage import PICO

KEYS = "\n".join(
    f'[[keys]]\nname = "{name}"\nhash = "sha256:{number:064x}"'
    for number, name in enumerate(["ann", "bob", "team-x", "team-y"])
)
MODELS = """
[[models]]
alias = "fast"
type = "openai"
target = { url = "http://127.0.0.1:1", api_key = "env:KEY" }
[[models]]
alias = "claude-*"
type = "anthropic"
target = { url = "http://127.0.0.1:1", api_key = "env:KEY", model = "*" }
[usage]
file = "usage.sqlite"
"""


def config(*rules, usage=True):
    text = KEYS + MODELS + "".join(f"\n[[limits.rules]]\n{rule}\n" for rule in rules)
    if not usage:
        text = text.replace("[usage]", "").replace('file = "usage.sqlite"', "")
    return parse(text, name="t", environ={"KEY": "k"}, read_file=str)


def problems(*rules):
    with pytest.raises(ConfigError) as caught:
        config(*rules)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("written", "limit", "period"),
    [
        ('requests = "60/min"', 60, "minute"),
        ('requests = "1k / day"', 1000, "day"),
        ('tokens = "1M/day"', 10**6, "day"),
        ('tokens = "1.5M/hour"', 1_500_000, "hour"),
        ('tokens = "2G/month"', 2 * 10**9, "month"),
        ('tokens = "100_000/h"', 100_000, "hour"),
        ('cost = "20 USD/month"', 20 * PICO, "month"),
        ('cost = "$0.05/min"', PICO // 20, "minute"),
        ('cost = "1_000_000 USD/month"', 1_000_000 * PICO, "month"),
        ('cost = "5USD/never"', 5 * PICO, "never"),
        ("parallel = 8", 8, "never"),
    ],
)
def test_amounts_as_people_write_them(written, limit, period):
    [rule] = config(written).limit_rules
    measure = written.partition(" ")[0]
    assert rule.amounts == (Amount(measure=measure, limit=limit, period=period),)


@pytest.mark.parametrize(
    "written",
    [
        'requests = "60"',
        'requests = "60/fortnight"',
        'requests = "1.5/min"',
        'requests = "0/min"',
        "requests = 60",
        "requests = []",
        'tokens = "many/day"',
        'tokens = "-1/day"',
        'tokens = "1e6/day"',
        'cost = "20 EUR/month"',
        'cost = "20/month"',
        'cost = "6_000_000 USD/month"',
        'tokens = "10000000G/month"',
        'cost = "20 USD"',
        'tokens = ["1/min", "2/min"]',
    ],
)
def test_amounts_that_are_none(written):
    key = written.partition(" ")[0]
    found = problems(written)
    assert found.startswith(f"t: limits.rules[0].{key}") and "traceback" not in found.lower()
    assert "expected" in found or "two amounts" in found


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "limits.rules[0].requests: expected one of requests, tokens, cost and parallel"),
        ('request = "60/min"', 'limits.rules[0].request: unknown key (did you mean "requests"?)'),
        ("parallel = 0", "limits.rules[0].parallel: found an integer (0)"),
        ('parallel = 1\nfor = { model = "x" }', "limits.rules[0].for.model: unknown key"),
        ('parallel = 1\nper = "key"', "limits.rules[0].per: found a string ('key')"),
        ('parallel = 1\nthen = "slow"', "limits.rules[0].then: found a string ('slow')"),
        ('parallel = 1\nthen = "fast"\nsoft = true', "limits.rules[0].then: cannot stand beside"),
        ("parallel = 1\nreserve = 2", "limits.rules[0].reserve: found an integer (2)"),
        ('parallel = 1\nname = "a|b"', "limits.rules[0].name: found a string ('a|b')"),
        ('parallel = 1\non_failure = "x"', "limits.rules[0].on_failure: found a string ('x')"),
    ],
)
def test_mistakes_are_told_with_their_place(written, told):
    assert told in problems(written)


def test_two_rules_of_one_name():
    assert "limits.rules[1].name: another rule is for the same (all)" in problems(
        "parallel = 1", 'requests = "1/min"'
    )
    named = 'name = "x"\nparallel = 1'
    assert "limits.rules[1].name: found a string ('x')" in problems(named, named)


def test_rules_that_meet_nobody_are_warned_of():
    found = config(
        'for = { caller = "tem-*", alias = ["gpt-*", "claude-x"] }\nparallel = 1'
    ).warnings
    assert any("for.caller: 'tem-*' fits no key" in line for line in found)
    assert any("for.alias: 'gpt-*' fits no alias" in line for line in found)
    assert not any("claude-x" in line for line in found)


def test_what_a_restart_forgets_is_warned_of():
    rule = 'name = "sum"\ncost = "1 USD/month"'
    assert not config(rule).warnings
    assert any("forgets what was used (sum)" in line for line in config(rule, usage=False).warnings)
    assert not config('requests = "1/min"', usage=False).warnings


def counters(rules, caller, alias, asked=""):
    found = met(rules, caller, alias, asked)
    return [] if found is None else [bound.counter for bound in found.bounds]


def test_whom_rules_meet():
    rules = config(
        'name = "each"\nper = "caller"\nrequests = "60/min"',
        'name = "teams"\nfor = { caller = "team-*" }\ncost = "20 USD/month"',
        'name = "opus"\nfor = { alias = "claude-opus*" }\nper = ["alias", "caller"]\nparallel = 2',
        'name = "dear"\nfor = { alias = "claude-*" }\nrequests = "1/day"\nthen = "fast"',
    ).limit_rules
    assert counters(rules, "ann", "fast") == ["each|caller=ann|requests/minute"]
    assert counters(rules, "team-x", "fast") == [
        "each|caller=team-x|requests/minute",
        "teams|all|cost/month",
    ]
    assert counters(rules, "bob", "claude-*", "claude-opus-5") == [
        "each|caller=bob|requests/minute",
        "opus|caller=bob,alias=claude-*|parallel/never",
        "dear|all|requests/day",
    ]
    # Of what concerns no alias, the lists of models: the rules that are for all of them.
    assert counters(rules, "ann", "") == ["each|caller=ann|requests/minute"]
    assert met((), "ann", "fast") is None


def test_a_rule_is_not_for_the_calls_that_it_sends_on():
    [rule] = config('requests = "1/day"\nthen = "fast"').limit_rules
    assert counters((rule,), "ann", "fast") == []
    assert counters((rule,), "ann", "claude-*", "claude-x") != []


def test_a_reload_names_the_rules_that_changed():
    before = config('name = "one"\nparallel = 1', 'name = "two"\nparallel = 1')
    after = config('name = "one"\nparallel = 2', 'name = "three"\nparallel = 1')
    found = changes(before, after)
    assert "added limit rule three" in found and "removed limit rule two" in found
    assert "changed limit rule one" in found


def test_amounts_in_words():
    [rule] = config(
        'requests = ["1/min", "60/hour"]\ntokens = "5/never"\ncost = "2.5 USD/day"\nparallel = 3'
    ).limit_rules
    assert [amount.shown for amount in rule.amounts] == [
        "1 request a minute",
        "60 requests an hour",
        "5 tokens for good",
        "2.5 USD a day",
        "3 calls at once",
    ]


# What the commands say of them.


RULES = (
    'name = "each"\nper = "caller"\nrequests = "60/min"\nwait = 5',
    'name = "teams"\nfor = { caller = "team-*" }\ncost = "20 USD/month"\nthen = "fast"',
    'name = "opus"\nfor = { alias = "claude-opus*" }\nparallel = 2\nsoft = true',
)


def test_check_says_whom_each_rule_meets():
    assert list(rule_lines(config(*RULES))) == [
        "limit 'each': 60 requests a minute, for each caller; calls wait up to 5 s",
        "  keys ann, bob, team-x, team-y; aliases fast, claude-*",
        "limit 'teams': 20 USD a month, for all together; then 'fast'",
        "  keys team-x, team-y; aliases claude-*",
        "limit 'opus': 2 calls at once, for all together; soft",
        "  keys ann, bob, team-x, team-y; aliases claude-*",
    ]


def test_explain_says_which_rules_meet_a_call():
    found = config(*RULES)
    assert [line.partition(":")[0] for line in limits_of(found, "ann", "fast", "fast")] == [
        "limit 'each'"
    ]
    lines = list(explain(found, "claude-opus-5", "anthropic", None, "team-x"))
    named = [line.partition(":")[0] for line in lines if line.startswith("limit")]
    assert named == ["limit 'each'", "limit 'teams'", "limit 'opus'"]
    anybody = list(limits_of(found, "", "claude-*", "claude-opus-5"))
    assert "limit 'teams' (keys team-x, team-y): 20 USD a month, for all together" in anybody[1]
    assert "no key is called 'eve'" in list(limits_of(found, "eve", "fast", "fast"))


def test_check_names_what_has_no_price():
    assert unpriced(config('cost = "1 USD/day"')) == "fast, claude-*"
    assert unpriced(config('requests = "1/day"')) == ""


PAGE = Path(__file__).resolve().parents[1] / "docs" / "limits.md"
WORKED = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)[1:]


@pytest.mark.parametrize("text", WORKED, ids=lambda text: text.split('name = "')[1].split('"')[0])
def test_the_worked_configurations_of_the_page_are_without_a_mistake(text):
    names = re.findall(r"env:(\w+)", text)
    found = parse(text, name="t", environ=dict.fromkeys(names, "k"), read_file=str)
    assert found.warnings == ()
    for rule, line in zip(found.limit_rules, list(rule_lines(found))[1::2], strict=True):
        assert "none" not in line, rule
