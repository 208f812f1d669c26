"""The list of models: one body for both SDKs."""

import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from lmbroker import models
from lmbroker.call import Alias, Backend, Target
from lmbroker.errors import Refused

NAMES = ["a", "b", "vendor/c:d", "e"]


def alias(name, model="unheard-of", **profile):
    backend = Backend(name="b", url="http://b", dialect="anthropic")
    return Alias(name=name, targets=(Target(backend=backend, model=model),), profile=profile)


ALIASES = {name: alias(name) for name in NAMES}


def test_case_93_both_sdks_read_an_entry():
    entry = models.entry(alias("vendor/c:d"), 1795000000)
    assert Model.model_validate(entry).id == "vendor/c:d"
    assert ModelInfo.model_validate(entry).created_at.year == 2026
    assert (entry["max_input_tokens"], entry["max_tokens"]) == (None, None)


def test_limits_are_those_of_the_profile():
    entry = models.entry(alias("big", "claude-opus-5-5", max_output=1000), 0)
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
    page = models.page(ALIASES, 0, query)
    assert [entry["id"] for entry in page["data"]] == ids
    assert page["has_more"] is more
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "9" * 5000, "²"])
def test_a_bad_limit_is_refused(limit):
    with pytest.raises(Refused) as refusal:
        models.page(ALIASES, 0, {"limit": limit})
    assert refusal.value.info.param == "limit"


def test_no_models():
    assert models.page({}, 0, {})["first_id"] is None
