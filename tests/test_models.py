"""The list of models: one body for both SDKs."""

import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from lmbroker.call import Backend, Caller, Target
from lmbroker.errors import Refused
from lmbroker.routing.aliases import Aliases, Route
from lmbroker.routing.retries import Retries
from lmbroker.workflows import model_list

NAMES = ["a", "b", "vendor/c:d", "e"]


def alias(name, model="unheard-of", **profile):
    backend = Backend(name="b", url="http://b", dialect="anthropic")
    return Route(name=name, targets=(Target(backend=backend, model=model),), profile=profile)


ALIASES = {name: alias(name) for name in NAMES}


def test_case_93_both_sdks_read_an_entry():
    entry = model_list.entry(alias("vendor/c:d"), 1795000000)
    assert Model.model_validate(entry).id == "vendor/c:d"
    assert ModelInfo.model_validate(entry).created_at.year == 2026
    assert (entry["max_input_tokens"], entry["max_tokens"]) == (None, None)


def test_limits_are_those_of_the_profile():
    entry = model_list.entry(alias("big", "claude-opus-5-5", max_output=1000), 0)
    assert (entry["max_input_tokens"], entry["max_tokens"]) == (1_000_000, 1000)


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ({}, NAMES, False),
        ({"limit": "2"}, ["a", "b"], True),
        ({"after_id": "b"}, ["vendor/c:d", "e"], False),
        ({"before_id": "b"}, ["a"], False),
        ({"after_id": "a", "limit": "1"}, ["b"], True),
        ({"after_id": "nobody"}, NAMES, False),
        ({"limit": "1000"}, NAMES, False),
    ],
)
def test_case_93_pages(query, ids, more):
    page = model_list.page(ALIASES, 0, query)
    assert [entry["id"] for entry in page["data"]] == ids
    assert page["has_more"] is more
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "9" * 5000, "²"])
def test_a_bad_limit_is_refused(limit):
    with pytest.raises(Refused) as refusal:
        model_list.page(ALIASES, 0, {"limit": limit})
    assert refusal.value.info.param == "limit"


def test_no_models():
    assert model_list.page({}, 0, {})["first_id"] is None


# What backends are asked, and what they list.


def test_each_dialect_is_asked_in_its_own_way():
    asked = model_list.request("openai")
    assert (asked.method, asked.path, asked.query, asked.body) == ("GET", "/models", b"", b"")
    assert {name for name, _ in asked.headers} == {"accept", "user-agent"}
    asked = model_list.request("anthropic")
    assert asked.query == b"limit=1000"
    assert ("anthropic-version", "2023-06-01") in asked.headers
    assert model_list.request("anthropic", "a/b&c").query == b"limit=1000&after_id=a%2Fb%26c"


@pytest.mark.parametrize(
    ("body", "dialect", "read"),
    [
        (b'{"object":"list","data":[{"id":"a","x":1},{"id":"b"}]}', "openai", (("a", "b"), "")),
        (b'[{"id":"a"}]', "openai", (("a",), "")),
        (b'{"data":[]}', "openai", ((), "")),
        (b'{"data":[{"id":"a"}],"has_more":true,"last_id":"a"}', "anthropic", (("a",), "a")),
        (b'{"data":[{"id":"a"}],"has_more":true,"last_id":"a"}', "openai", (("a",), "")),
        (b'{"data":[{"id":"a"}],"has_more":false,"last_id":"a"}', "anthropic", (("a",), "")),
        (b'{"data":[{"id":"a"}],"has_more":true}', "anthropic", (("a",), "")),
        (b'{"data":[{"name":"a"},{"id":""},{"id":"\\u0000"}]}', "openai", ((), "")),
        (b'{"data":[{"id":"%s"},{"id":"b"}]}' % (b"x" * 257), "openai", (("b",), "")),
    ],
)
def test_reading_a_list(body, dialect, read):
    assert model_list.decode(body, dialect) == read


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{}", b'{"data":{}}', b'{"data":[1]}', b'{"data":[{"id":1}]}', b"[" * 9999],
)
def test_what_is_no_list(body):
    with pytest.raises(ValueError, match="no list of models"):
        model_list.decode(body, "openai")


def test_a_list_of_more_objects_than_any_honest_one_is_not_read():
    for most in (model_list.OBJECTS - 1, model_list.OBJECTS):
        body = b'{"data": [' + b",".join([b'{"id": "a"}'] * most) + b"]}"
        if most < model_list.OBJECTS:
            assert len(model_list.decode(body, "openai")[0]) == most
        else:
            with pytest.raises(ValueError, match="too many objects"):
                model_list.decode(body, "openai")


# What clients may ask for.


def route(name, *targets, fallback_on=()):
    """A route to ``(backend, model)`` targets."""
    return Route(
        name=name,
        targets=tuple(
            Target(
                backend=Backend(name=backend, url=f"http://{backend}", dialect="openai"),
                model=model,
            )
            for backend, model in targets
        ),
        retries=Retries(fallback_on=frozenset(fallback_on)),
    )


def offered(routes, lists, *, default="", caller=Caller()):
    return list(model_list.offered(Aliases(routes, default), lists, caller))


CLAUDES = ("claude-opus", "gpt-4", "claude-haiku")


def test_a_pattern_has_in_its_place_what_its_backend_lists_and_it_fits():
    routes = [route("first", ("b", "m")), route("claude-*", ("b", "*")), route("last", ("b", "m"))]
    assert offered(routes, {"b": CLAUDES}) == ["first", "claude-opus", "claude-haiku", "last"]
    assert offered(routes, {}) == ["first", "last"]


def test_a_model_is_told_once_and_by_the_alias_that_a_call_for_it_goes_by():
    routes = [
        route("*", ("b", "*")),
        route("claude-*", ("c", "*")),
        route("gpt-4", ("b", "gpt-4")),
    ]
    lists = {"b": CLAUDES, "c": ("claude-haiku", "gpt-4", "claude-*")}
    assert offered(routes, lists) == ["claude-haiku", "gpt-4"]
    assert offered(routes, {"b": (*CLAUDES, "x")}) == ["x", "gpt-4"]


def test_an_entry_knows_the_limits_of_the_model_behind_the_pattern():
    found = model_list.offered(Aliases([route("*", ("b", "*"))]), {"b": ("gpt-4.1",)}, Caller())
    entry = model_list.entry(found["gpt-4.1"], 0)
    assert entry["id"] == "gpt-4.1"
    assert entry["max_input_tokens"] == model_list.entry(alias_of("gpt-4.1"), 0)["max_input_tokens"]
    assert entry["max_input_tokens"] is not None


def alias_of(model):
    return route(model, ("b", model))


@pytest.mark.parametrize(
    ("model", "ids"),
    [
        ("v/{model}", ["a-1", "a-v/x", "a-1-a-1"]),
        ("{model}", ["a-2"]),
        ("{model}2", ["a-"]),
        ("v/{model}-{model}", []),
        ("fixed", []),
    ],
)
def test_a_template_is_read_in_reverse(model, ids):
    lists = {"b": ("v/a-1", "v/", "v/b", "a-2", "v/a-v/x", "v/a-1-a-1")}
    assert offered([route("a-*", ("b", model))], lists) == ids


def test_a_target_with_a_fixed_model_takes_any_name_and_tells_none():
    both = route("*", ("b", "fixed"), ("c", "*"))
    assert offered([both], {"b": ("x",), "c": ("y",)}) == ["y"]


def test_what_one_of_several_targets_lacks_is_left_out_unless_the_next_is_asked_for_it():
    lists = {"b": ("x", "y"), "c": ("y", "z")}
    targets = ("b", "*"), ("c", "*"), ("silent", "*")
    assert offered([route("*", *targets)], lists) == ["y"]
    for word in ("not_found", "model_not_found", "404"):
        assert offered([route("*", *targets, fallback_on=[word])], lists) == ["x", "y", "z"]
    assert offered([route("*", *targets, fallback_on=["500"])], lists) == ["y"]


def test_the_default_alias_takes_names_that_lead_nowhere_else():
    routes = [route("own", ("b", "*")), route("claude-*", ("c", "*"))]
    lists = {"b": ("x", "claude-z"), "c": ()}
    assert offered(routes, lists) == ["own"]
    assert offered(routes, lists, default="own") == ["own", "x"]
    assert offered(routes, lists, default="own", caller=Caller(models=("x",))) == []
    assert offered(routes, lists, default="own", caller=Caller(models=("own",))) == ["own", "x"]


def test_a_key_sees_what_it_may_use():
    routes = [route("fast", ("b", "m")), route("claude-*", ("b", "*"))]
    lists = {"b": CLAUDES}
    assert offered(routes, lists, caller=Caller(models=("fast",))) == ["fast"]
    assert offered(routes, lists, caller=Caller(models=("*-opus",))) == ["claude-opus"]
    both = Caller(models=("claude-*",))
    assert offered(routes, lists, caller=both) == ["claude-opus", "claude-haiku"]
