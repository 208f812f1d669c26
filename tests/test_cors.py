"""Which web pages may call the broker from a browser."""

import pytest

from lmbroker.config.endpoints import origin_problem
from lmbroker.server.cors import allowed, preflight

PAGE = "http://localhost:5173"
ASKED = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


@pytest.mark.parametrize(
    "origin",
    ["*", PAGE, "https://app.example.com", "http://[::1]:3000", "chrome-extension://abcdef"],
)
def test_an_origin_has_scheme_host_and_port(origin):
    assert origin_problem(origin) == ""


@pytest.mark.parametrize(
    "origin", ["", "localhost", "https://a.example/", "https://a.example/x", "https://*.a.example"]
)
def test_anything_else_is_told(origin):
    assert "expected an origin" in origin_problem(origin)


def test_a_page_of_a_configured_origin_may_read_the_answer():
    told = dict(allowed([PAGE], {"origin": PAGE}))
    assert told["access-control-allow-origin"] == PAGE
    assert told["vary"] == "origin"
    exposed = told["access-control-expose-headers"].split(", ")
    assert "request-id" in exposed
    assert "x-ratelimit-remaining-tokens" in exposed
    assert "anthropic-ratelimit-requests-reset" in exposed


def test_any_page_may_where_any_is_configured():
    assert dict(allowed(["*"], {"origin": PAGE}))["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("headers", [{}, {"origin": "http://other"}, {"origin": "null"}])
def test_nobody_else_may(headers):
    assert allowed([PAGE], headers) == ()
    assert allowed([], {"origin": PAGE}) == ()
    assert preflight([PAGE], {**ASKED, **headers, "origin": headers.get("origin", "x")}) == ()


def test_a_preflight_allows_what_the_page_asks_for():
    told = dict(preflight([PAGE], ASKED))
    assert told["access-control-allow-origin"] == PAGE
    assert told["access-control-allow-headers"] == ASKED["access-control-request-headers"]
    assert "POST" in told["access-control-allow-methods"]


def test_a_page_of_the_internet_may_ask_for_a_private_address():
    asked = {**ASKED, "access-control-request-private-network": "true"}
    assert ("access-control-allow-private-network", "true") in preflight([PAGE], asked)


@pytest.mark.parametrize("names", ["a b", "x: y", "a,,b", "x" * 5000, "a\tb"])
def test_odd_header_names_are_not_repeated(names):
    told = dict(preflight([PAGE], {**ASKED, "access-control-request-headers": names}))
    assert "access-control-allow-headers" not in told


def test_options_without_the_question_of_a_preflight_is_none():
    assert preflight([PAGE], {"origin": PAGE}) == ()
