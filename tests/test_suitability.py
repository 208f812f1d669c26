"""Which targets of an alias suit a request."""

import json

import pytest

from lmbroker.call import Backend, Call, Target
from lmbroker.routing.suitability import BYTES_PER_TOKEN, Needs, lacking, may_be_too_long

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
A_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
PDF = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}}
A_PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}


def call(*parts, dialect="openai", **body):
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}, *parts]}]
    text = json.dumps({"model": "m", "messages": messages, **body}).encode()
    return Call(id="r", operation="chat", dialect=dialect, asked="m", body=text)


def target(dialect="openai", model="house-model"):
    return Target(backend=Backend(name="b", url="http://b", dialect=dialect), model=model)


@pytest.mark.parametrize(
    ("part", "overrides", "words"),
    [
        (IMAGE, {"vision": False}, "no images"),
        (A_IMAGE, {"vision": False}, "no images"),
        (PDF, {"pdf": False}, "no PDFs"),
        (A_PDF, {"pdf": False}, "no PDFs"),
    ],
)
def test_a_target_that_cannot_take_a_part_lacks_it(part, overrides, words):
    assert words in lacking(Needs(call(part)), target(), overrides)
    assert lacking(Needs(call()), target(), overrides) == ""


@pytest.mark.parametrize("part", [IMAGE, PDF])
def test_what_nobody_knows_is_asked(part):
    assert lacking(Needs(call(part)), target(), {}) == ""


def test_tools_that_a_vendor_runs_suit_its_own_dialect():
    needs = Needs(
        call(dialect="anthropic", tools=[{"type": "web_search_20250305", "name": "web_search"}])
    )
    assert lacking(needs, target("anthropic", "claude-sonnet-5"), {}) == ""
    assert "vendor" in lacking(needs, target(), {})


def asked(**body):
    text = json.dumps({"model": "m", "input": "hi", **body}).encode()
    return Needs(Call(id="r", operation="chat", dialect="responses", asked="m", body=text))


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"type": "compaction_trigger"}]},
        {"input": [{"type": "compaction", "encrypted_content": "x"}]},
        {"input": [{"type": "item_reference", "id": "rs_1"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]},
        {"input": [{"type": "mcp_list_tools", "id": "m"}]},
    ],
)
def test_what_only_one_dialect_can_read_suits_its_own_backends(body):
    assert lacking(asked(**body), target("responses"), {}) == ""
    for other in ("openai", "anthropic"):
        assert lacking(asked(**body), target(other), {}) != ""


def test_a_search_of_the_web_suits_who_runs_it():
    needs = asked(tools=[{"type": "web_search"}])
    assert lacking(needs, target("responses"), {}) == ""
    assert "vendor" in lacking(needs, target(), {})
    assert lacking(needs, target("anthropic", "claude-sonnet-5"), {"server_tools": True}) == ""


def test_what_is_only_written_about_it_is_nothing():
    needs = asked(input='{"type": "compaction_trigger"}', tools=[{"type": "function", "name": "f"}])
    assert lacking(needs, target(), {}) == ""


def test_a_tool_of_the_clients_own_needs_no_vendor():
    needs = Needs(call(dialect="anthropic", tools=[{"name": "web_search", "input_schema": {}}]))
    assert lacking(needs, target(), {}) == ""


def test_a_request_beyond_the_window_lacks_it_with_a_margin():
    long = call({"type": "text", "text": "x" * 4000})
    window = {"context": 1000}
    assert may_be_too_long(Needs(long), target(), window)
    assert not may_be_too_long(Needs(call()), target(), {"context": 1000 * BYTES_PER_TOKEN})
    assert not may_be_too_long(Needs(long), target(), {})
    assert "context" in lacking(Needs(long, 1200), target(), window)
    assert lacking(Needs(long, 1100), target(), window) == ""
