"""What is cut out of a Messages request that is passed through, and that nothing else changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.call import Backend, Call, Target
from lmbroker.translation.dialects.anthropic_messages.searches import SEAL
from lmbroker.translation.dialects.anthropic_messages.taken_out import (
    without_attribution_line,
    without_own,
)
from lmbroker.translation.shared.signature import seal
from lmbroker.workflows import workflow_for

JSON = dict[str, Any]

OURS = {"type": "thinking", "thinking": "hm, [", "signature": seal({"k": "rc"})}
OUR_DATA = {"type": "redacted_thinking", "data": seal({"k": "oi", "id": "r", "enc": "x"})}
THEIRS = {"type": "thinking", "thinking": "hm", "signature": "EqQB"}
OUR_USE = {"type": "server_tool_use", "id": "srvtoolu_lmb1a", "name": "web_search", "input": {}}
OUR_RESULT = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_lmb1a",
    "content": [{"type": "web_search_result", "encrypted_content": SEAL, "url": "u", "title": "t"}],
}
THEIR_USE = {**OUR_USE, "id": "srvtoolu_1"}
OURS_ALL = (OURS, OUR_DATA, OUR_USE, OUR_RESULT)
PAGE = {"type": "web_search_result_location", "url": "u", "encrypted_index": SEAL}
THEIR_PAGE = {**PAGE, "encrypted_index": "Eo8B"}
CITED = {"type": "text", "citations": [THEIR_PAGE, PAGE, PAGE, THEIR_PAGE], "text": "lmb1."}
TEXT = {"type": "text", "text": 'he said "lmb1." ], }'}
USE = {
    "type": "tool_use",
    "id": "c",
    "name": "f",
    "input": {"signature": "lmb1.x", "a": [1.0, 2]},
}
USER = {"role": "user", "content": "lmb1.eyJrIjoicmMifQ"}

block = st.sampled_from([OURS, OUR_DATA, THEIRS, TEXT, USE, OUR_USE, OUR_RESULT, THEIR_USE, CITED])
turn = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["user", "assistant"]),
    st.lists(block, max_size=5) | st.just("lmb1."),
)
layout = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}])


def expected(body: JSON) -> JSON:
    messages = []
    for message in body["messages"]:
        content = message["content"]
        if message["role"] == "assistant" and isinstance(content, list):
            content = [each for each in content if each not in OURS_ALL]
            uncited = {**CITED, "citations": [THEIR_PAGE, THEIR_PAGE]}
            content = [uncited if each == CITED else each for each in content]
            if message["content"] and not content:
                continue
        messages.append({**message, "content": content})
    return {**body, "messages": messages}


@given(st.lists(turn, max_size=5), layout)
def test_only_our_own_blocks_go(messages: list[JSON], written: JSON) -> None:
    body: JSON = {"model": "m", "messages": messages, "stop_sequences": ["lmb1."], "x": 1.50}
    raw = json.dumps(body, **written).encode()
    out = without_own(raw)
    assert json.loads(out) == expected(body)
    if expected(body) == body:
        assert out == raw


def test_every_other_byte_stays_where_it_was() -> None:
    ours = json.dumps(OURS).encode()
    head = b'{"model":"m" , "n":1.0,"messages" :[ {"content": [ '
    tail = b' {"type":"text" ,"text":"\\ud83d"} ],  "role":"assistant"} ]}\n'
    assert without_own(head + ours + b" ," + tail) == head + tail.lstrip()
    last = b'{"messages":[{"role":"assistant","content":[{"type":"text","text":"a"}'
    end = b"]}]}"
    assert without_own(last + b" , " + ours + end) == last + end


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"lmb1.",
        b'{"messages":"lmb1."}',
        b'{"messages":[1,null,"lmb1.",{"role":"assistant","content":["lmb1."]}]}',
        b'{"messages":[],"messages":[{"role":"assistant","content":['
        + json.dumps(OURS).encode()
        + b"]}]}",
        b'{"messages":[{"role":"assistant","role":"user","content":['
        + json.dumps(OURS).encode()
        + b"]}]}",
        b"[" * 100_000 + b"lmb1.",
    ],
)
def test_what_cannot_be_read_in_one_way_stays(body: bytes) -> None:
    assert without_own(body) == body
    assert without_attribution_line(body) == body


LINE = "x-anthropic-billing-header: cc_version=2.1.177; cch=aaaaa;"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"system": LINE}, {"system": ""}),
        ({"system": f"{LINE}\nYou are."}, {"system": "You are."}),
        (
            {"system": [{"type": "text", "text": LINE}, {"type": "text", "text": "You are."}]},
            {"system": [{"type": "text", "text": "You are."}]},
        ),
        (
            {"system": [{"type": "text", "text": f"{LINE}\n\nYou are.", "cache_control": {}}]},
            {"system": [{"type": "text", "text": "You are.", "cache_control": {}}]},
        ),
        (
            {"messages": [{"role": "system", "content": f"{LINE}\nGo."}, USER]},
            {"messages": [{"role": "system", "content": "Go."}, USER]},
        ),
        (
            {"messages": [{"role": "user", "content": LINE}], "system": "You are."},
            {"messages": [{"role": "user", "content": LINE}], "system": "You are."},
        ),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_the_attribution_line_is_cut_out_of_instructions(
    before: JSON, after: JSON, indent: int | None
) -> None:
    out = without_attribution_line(json.dumps(before, indent=indent).encode())
    assert json.loads(out) == after


def sent(body: JSON, **backend: Any) -> tuple[bytes, tuple[str, ...]]:
    raw = json.dumps(body).encode()
    call = Call(id="r", operation="chat", dialect="anthropic", asked="m", body=raw)
    target = Target(
        backend=Backend(name="b", url="http://b", dialect="anthropic", **backend), model="m"
    )
    workflow = workflow_for(call, target)
    return workflow.outbound().body, workflow.dropped


def test_passthrough_leaves_out_searches_that_anthropic_did_not_run_and_says_so() -> None:
    told = {"role": "assistant", "content": [OUR_USE, OUR_RESULT, CITED]}
    out, dropped = sent({"model": "m", "messages": [USER, told]})
    assert [block["type"] for block in json.loads(out)["messages"][1]["content"]] == ["text"]
    assert dropped == (
        "messages[].content[].server_tool_use",
        "messages[].content[].web_search_tool_result",
        "messages[].content[].citations",
    )


def test_passthrough_leaves_our_thinking_out_and_says_so() -> None:
    body = {"model": "m", "messages": [USER, {"role": "assistant", "content": [OURS, TEXT]}]}
    out, dropped = sent(body)
    assert json.loads(out) == expected(body)
    assert dropped == ("messages[].content[].thinking",)
    kept = {"model": "m", "messages": [USER, {"role": "assistant", "content": [THEIRS, TEXT]}]}
    assert sent(kept) == (json.dumps(kept).encode(), ())


def test_the_attribution_line_goes_only_where_the_configuration_says_so() -> None:
    body = {"model": "m", "system": [{"type": "text", "text": LINE}], "messages": [USER]}
    assert sent(body)[0] == json.dumps(body).encode()
    assert json.loads(sent(body, omit_attribution=True)[0])["system"] == []


@pytest.mark.parametrize("odd", ["lmb1.x", ["lmb1.x"], [OURS], 7, None])
def test_content_that_is_no_block_stays(odd: Any) -> None:
    message = {"role": "assistant", "content": [odd, TEXT]}
    body = json.dumps({"messages": [USER, message]}).encode()
    assert without_own(body, {}) == body
