"""What clients ask of a web search that the provider runs, across dialects (translation.md 8.1)."""

from typing import Any

import pytest

from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile

JSON = dict[str, Any]

USER = {"role": "user", "content": "What is new?"}
ADD = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "properties": {}}
ROME = {"type": "approximate", "city": "Rome"}
ASKED: dict[str, JSON] = {
    "openai": {
        "messages": [USER],
        "web_search_options": {
            "user_location": {"type": "approximate", "approximate": {"city": "Rome"}},
        },
    },
    "anthropic": {
        "max_tokens": 9,
        "messages": [USER],
        "tools": [
            {"type": "web_search_20250305", "name": "web_search", "user_location": ROME},
            {"name": "add", "input_schema": SCHEMA},
        ],
    },
    "responses": {
        "input": [USER],
        "tools": [{"type": "web_search", "user_location": ROME}, ADD],
    },
}
"""By the dialect of the client."""


def sent(
    dialect: str, backend: str, body: JSON, *, runs: bool, mode: Any = "default"
) -> tuple[JSON, Losses]:
    request, losses = ADAPTERS[dialect].decode_request({"model": "m", **body}), Losses(mode)
    known = profile(backend, "m", {"server_tools": runs})
    return ADAPTERS[backend].encode_request(request, known, losses), losses


@pytest.mark.parametrize(
    ("dialect", "backend", "expected"),
    [
        (
            dialect,
            "anthropic",
            {"type": "web_search_20250305", "name": "web_search", "user_location": ROME},
        )
        for dialect in ("openai", "responses")
    ]
    + [
        (dialect, "responses", {"type": "web_search", "user_location": ROME})
        for dialect in ("openai", "anthropic")
    ],
)
def test_a_search_goes_to_a_backend_that_runs_one(
    dialect: str, backend: str, expected: JSON
) -> None:
    body, losses = sent(dialect, backend, ASKED[dialect], runs=True)
    assert expected in body["tools"]
    assert len(body["tools"]) == 1 + (dialect != "openai")
    assert losses.paths == ()
    assert ("include" in body) == (backend == "responses")


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_search_beside_other_tools_is_left_out_elsewhere(backend: str) -> None:
    body, losses = sent("responses", backend, ASKED["responses"], runs=False)
    assert len(body["tools"]) == 1
    assert losses.dropped == ("tools[].type",)


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "more", [{"tools": [{"type": "web_search"}]}, {"tool_choice": {"type": "web_search"}}]
)
def test_a_search_that_the_request_is_about_is_refused_elsewhere(backend: str, more: JSON) -> None:
    with pytest.raises(Refused) as caught:
        sent("responses", backend, {**ASKED["responses"], **more}, runs=False)
    assert caught.value.info.param == "tools[0]"


def test_domains_and_limits_cross_where_there_is_a_word_for_them() -> None:
    search = {"type": "web_search", "filters": {"allowed_domains": ["a.org"]}}
    body, losses = sent("responses", "anthropic", {"input": "x", "tools": [search]}, runs=True)
    assert body["tools"][0]["allowed_domains"] == ["a.org"]
    asked = {
        "type": "web_search_20250305",
        "name": "web_search",
        "allowed_domains": ["a.org"],
        "max_uses": 3,
    }
    body, losses = sent(
        "anthropic", "responses", {**ASKED["anthropic"], "tools": [asked]}, runs=True
    )
    assert body["tools"] == [{"type": "web_search", "filters": {"allowed_domains": ["a.org"]}}]
    assert losses.dropped == ("tools[].max_uses",)


def test_how_much_to_read_is_lost_at_anthropic() -> None:
    search = {"type": "web_search", "search_context_size": "high"}
    _, losses = sent("responses", "anthropic", {"input": "x", "tools": [search]}, runs=True)
    assert losses.dropped == ("tools[].search_context_size",)
