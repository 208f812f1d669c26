"""The list of models: one body for both SDKs."""

import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from lmbroker import models
from lmbroker.errors import Refused

NAMES = ["a", "b", "vendor/c:d", "e"]


def test_both_sdks_read_an_entry():
    entry = models.entry("vendor/c:d", 1795000000)
    assert Model.model_validate(entry).id == "vendor/c:d"
    assert ModelInfo.model_validate(entry).created_at.year == 2026


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
def test_pages(query, ids, more):
    page = models.page(NAMES, 0, query)
    assert [entry["id"] for entry in page["data"]] == ids
    assert page["has_more"] is more
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "9" * 5000, "²"])
def test_a_bad_limit_is_refused(limit):
    with pytest.raises(Refused) as refusal:
        models.page(NAMES, 0, {"limit": limit})
    assert refusal.value.info.param == "limit"


def test_no_models():
    assert models.page([], 0, {})["first_id"] is None
