"""Where a name leads, and the laws of every course through the targets."""

import itertools
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmbroker.call import Backend, Call, Caller, End, Record, Target
from lmbroker.errors import BackendRefused, Broken, BrokerError, ErrorInfo, Unreachable
from lmbroker.routing.aliases import (
    Aliases,
    Route,
    asked_for,
    asked_plainly,
    keeps_names,
    named,
    serving,
    sticky_key,
    unknown_model,
)
from lmbroker.routing.breaker import BreakerRules
from lmbroker.routing.failover import Failovers
from lmbroker.routing.retries import Retries
from lmbroker.routing.target_health import Health


def backend(name, dialect="openai", ref=""):
    return Backend(name=name, url=f"http://{name}", dialect=dialect, credential_ref=ref)


def target(name="b", model="m", dialect="openai"):
    return Target(backend=backend(name, dialect), model=model)


def route(name, *targets, **more):
    return Route(name=name, targets=targets or (target(),), **more)


# Names.

ALIASES = Aliases(
    [route(name) for name in ("*", "claude-*", "claude-opus-*", "claude-opus-5", "gpt", "other")],
)


@pytest.mark.parametrize(
    ("asked", "alias"),
    [
        ("gpt", "gpt"),
        ("claude-opus-5", "claude-opus-5"),
        ("claude-opus-5-5", "claude-opus-*"),
        ("claude-opus-", "claude-opus-*"),
        ("claude-haiku-4-5", "claude-*"),
        ("claude", "*"),
        ("Claude-opus-5", "*"),
        ("gpt-5", "*"),
        ("claude-*", "claude-*"),
    ],
)
def test_the_very_name_wins_then_the_longest_beginning(asked, alias):
    assert ALIASES.find(asked).name == alias


def test_unknown_names_lead_to_the_default_or_nowhere():
    routes = [route("gpt"), route("claude-*")]
    assert Aliases(routes, "gpt").find("mistral").name == "gpt"
    assert Aliases(routes, "gpt").find("claude-x").name == "claude-*"
    assert Aliases(routes).find("mistral") is None
    info = unknown_model("mistral").info
    assert (info.kind, info.code) == ("not_found", "model_not_found")


def test_a_list_of_aliases_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="two aliases are called 'gpt'"):
        Aliases([route("gpt"), route("gpt")])
    with pytest.raises(ValueError, match="the default alias 'x' does not exist"):
        Aliases([route("gpt")], "x")


@settings(deadline=None)
@given(st.lists(st.text("ab", max_size=4), unique=True), st.text("ab", max_size=6))
def test_no_longer_beginning_is_passed_over(beginnings, asked):
    aliases = Aliases([route(f"{text}*") for text in beginnings])
    fitting = [text for text in beginnings if asked.startswith(text)]
    found = aliases.find(asked)
    if not fitting:
        assert found is None
    else:
        assert found.name == max(fitting, key=len) + "*"


@pytest.mark.parametrize(
    ("model", "sent"),
    [("m", "m"), ("*", "asked"), ("vendor/{model}", "vendor/asked"), ("{model}:x", "asked:x")],
)
def test_a_target_may_take_the_name_that_was_asked_for(model, sent):
    assert named(target(model=model), "asked").model == sent


@given(st.sampled_from(["*", "{model}", "v/{model}", "{model}:x", "aa{model}aa"]), st.text("av/:x"))
def test_what_to_ask_for_is_the_reverse_of_what_is_sent(model, name):
    goal = target(model=model)
    assert keeps_names(goal)
    asked = asked_for(goal, name)
    if asked:
        assert named(goal, asked).model == name
    if name:
        assert asked_for(goal, named(goal, name).model) == name


def test_not_every_target_keeps_the_names_that_are_asked_for():
    assert not keeps_names(target(model="fixed"))
    assert not keeps_names(target(model="{model}/{model}"))


def test_only_targets_whose_dialect_has_the_operation_serve_it():
    both = route(
        "a", target("o"), target("a", dialect="anthropic"), target("p"), weights=(3.0, 2.0, 1.0)
    )
    assert serving(both, "chat") is both
    counting = serving(both, "count_tokens")
    assert [each.backend.name for each in counting.targets] == ["a"]
    assert counting.weights == (2.0,)
    assert serving(both, "embeddings").weights == (3.0, 1.0)
    assert serving(route("o"), "count_tokens").targets == ()
    failovers = Failovers(Health(), random.Random(1).random)
    with pytest.raises(BrokerError) as caught:
        failovers.begin(record("r"), serving(route("o"), "count_tokens"), "o", 0.0)
    assert caught.value.info.code == "unsupported_operation"


@pytest.mark.parametrize(
    ("sticky", "key"),
    [
        ((), ""),
        (("caller",), "caller=me"),
        (("header:X-Session",), "header:X-Session=s1"),
        (("header:x-none", "body:prompt_cache_key", "caller"), "body:prompt_cache_key=k"),
        (("body:stream", "body:none"), ""),
    ],
)
def test_the_sticky_key_is_the_first_value_that_there_is(sticky, key):
    call = Call(
        id="1",
        operation="chat",
        dialect="openai",
        asked="m",
        body=b'{"model":"m","stream":true,"prompt_cache_key":"k"}',
        headers={"x-session": "s1"},
        caller=Caller(name="me"),
    )
    assert sticky_key(route("a", sticky=sticky), call) == key


# Courses.


def record(name):
    return Record(id=name, operation="chat", dialect="openai", opened_at=0.0)


FAILURES = {
    "refused": lambda: Unreachable(ErrorInfo(kind="unreachable", message="", code="refused")),
    "died": lambda: Broken(ErrorInfo(kind="bad_upstream", message="", code="bad_response")),
    "429": lambda: BackendRefused(
        ErrorInfo(kind="rate_limit", message="", status=429, retry_after="3")
    ),
    "503": lambda: BackendRefused(ErrorInfo(kind="overloaded", message="", status=503)),
    "400": lambda: BackendRefused(ErrorInfo(kind="context_length", message="", status=400)),
    "401": lambda: BackendRefused(
        ErrorInfo(kind="bad_upstream", message="", status=401, code="backend_auth")
    ),
}

routes = st.builds(
    lambda names, models, weights, keys, strategy, attempts, seconds, same, fallback: Route(
        name="a",
        targets=tuple(target(name, model) for name, model in zip(names, models, strict=False)),
        weights=tuple(weights[: len(names)]),
        keys={
            name: tuple(backend(name, ref=f"env:{name}{n}") for n in range(count))
            for name, count in zip(names, keys, strict=False)
            if count > 1
        },
        strategy=strategy,
        retries=Retries(
            attempts=attempts,
            seconds=seconds,
            same_target=same,
            fallback_on=frozenset(fallback),
        ),
    ),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(("m", "*", "x/{model}")), min_size=4, max_size=4),
    st.lists(st.sampled_from((0.0, 1.0, 5.0)), min_size=4, max_size=4),
    st.lists(st.integers(1, 3), min_size=4, max_size=4),
    st.sampled_from(("ordered", "weighted", "least-busy", "fastest")),
    st.integers(1, 6),
    st.floats(0.0, 60.0),
    st.integers(0, 3),
    st.lists(st.sampled_from(("context_length", "backend_auth", "bad_upstream")), max_size=2),
)

calls = st.lists(
    st.tuples(
        st.floats(0.0, 20.0),
        st.sampled_from(("", "key one", "key two")),
        st.lists(st.sampled_from((*FAILURES, "answer", "leave")), min_size=12, max_size=12),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(routes, calls, st.randoms(use_true_random=False))
def test_every_course_keeps_to_its_targets_its_budget_and_its_rules(route, calls, source):
    health = Health(BreakerRules(failures=3, least=5))
    failovers = Failovers(health, source.random)
    rules, now = route.retries, 0.0
    allowed = {
        (each.name, each.credential_ref, named(goal, "asked").model)
        for goal in route.targets
        for each in route.keyed(goal.backend)
    }
    for number, (gap, key, script) in enumerate(calls):
        now += gap
        memory = record(str(number))
        failover = failovers.begin(memory, route, "asked", now, key=key)
        began, tried, last, outcomes = now, [], None, iter(script)
        try:
            while True:
                goal = failover.target(now)
                tried.append((goal.backend.name, goal.backend.credential_ref, goal.model))
                assert tried[-1] in allowed
                assert len(tried) <= rules.attempts
                assert len(tried) == 1 or now <= began + rules.seconds + 0.01
                assert tried.count(tried[-1]) <= 1 + rules.same_target
                outcome = next(outcomes)
                now += 0.5
                if outcome == "answer":
                    failover.answered(now)
                    memory.end = End(outcome="complete")
                    break
                memory.client_left = outcome == "leave"
                last = FAILURES["503" if outcome == "leave" else outcome]()
                pause = failover.failed(last, now, now)
                assert not memory.client_left
                if outcome == "400":
                    assert "context_length" in rules.fallback_on
                if outcome == "died":
                    assert "bad_upstream" in rules.fallback_on
                assert pause <= rules.longest_pause + 0.01
                now += pause
        except BrokerError as error:
            assert error is last
        memory.closed_at = now
        failovers.closed(memory)
        assert all(status.in_flight == 0 for status in health.snapshot(now))
        assert all(status.state != "half_open" for status in health.snapshot(now))


def test_calls_of_one_key_stay_together_over_a_change_of_the_list():
    def first(route, key):
        failovers = Failovers(Health(), random.Random(1).random)
        return failovers.begin(record("r"), route, "m", 0.0, key=key).target(0.0).backend.name

    names = "abcd"
    whole = route("a", *map(target, names), strategy="weighted")
    for count, gone in itertools.product(range(50), names):
        key = f"session {count}"
        home = first(whole, key)
        left = tuple(each for each in whole.targets if each.backend.name != gone)
        assert first(whole, key) == home
        if gone != home:
            assert first(msgspec.structs.replace(whole, targets=left), key) == home


def test_a_name_with_the_long_context_behind_it_finds_its_alias() -> None:
    target = Target(backend=Backend(name="b", url="http://b", dialect="anthropic"), model="*")
    plain = Route(name="m", targets=(target,))
    whole = Route(name="n[1m]", targets=(target,))
    beginning = Route(name="claude-*", targets=(target,))
    aliases = Aliases((plain, whole, beginning))
    for asked, found, name in (
        ("m[1m]", plain, "m"),
        ("n[1m]", whole, "n[1m]"),
        ("claude-x[1m]", beginning, "claude-x"),
        ("m", plain, "m"),
        ("x[1m]", None, "x"),
        ("[1m]", None, "[1m]"),
    ):
        call = Call(id="r", operation="chat", dialect="anthropic", asked=asked, body=b"")
        seen = asked_plainly(call, aliases)
        assert aliases.find(asked) is aliases.find(seen.asked) is found
        assert (seen.asked, seen.long_context) == (name, name != asked)
    assert aliases.find("m" + "[1m]" * 63) is plain
