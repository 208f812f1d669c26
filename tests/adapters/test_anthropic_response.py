"""Whole Anthropic answers, both ways: what a backend of this dialect says, what a client gets.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

from typing import Any

import msgspec
import pytest
from anthropic.types import Message
from streams import JSON, REPLY

from lmbroker.errors import Broken
from lmbroker.translation.dialects.anthropic_messages.ending import decode_usage, encode_usage
from lmbroker.translation.dialects.anthropic_messages.response import (
    decode_response,
    encode_response,
    gist,
)
from lmbroker.translation.shared.signature import seal
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    Part,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response, Stop
from lmbroker.usage import Usage

PLAIN = Signature(origin="text", field="reasoning_content")
SIGNED = Signature(origin="signable", value="c2ln")


def body(*content: JSON, **more: Any) -> JSON:
    head = {"id": "msg_7", "type": "message", "role": "assistant", "model": "claude"}
    ends = {"stop_reason": "end_turn", "stop_sequence": None}
    counts = {"input_tokens": 9, "output_tokens": 4}
    return {**head, "content": list(content), **ends, "usage": counts, **more}


def parts(*content: JSON) -> tuple[Part, ...]:
    return decode_response(body(*content)).parts


def reply(**changes: Any) -> Any:
    return msgspec.structs.replace(REPLY, **changes)


def response(*given: Part, **more: Any) -> Response:
    return Response(
        **{"id": "chatcmpl-7", "model": "gpt", "parts": given, "stop": Stop(reason="end"), **more}
    )


def told(*given: Part, stop: Stop = Stop(reason="end"), **changes: Any) -> JSON:
    """The message that a client gets; its SDK takes it."""
    whole = encode_response(response(*given, stop=stop), reply(**changes))
    Message.model_validate(whole)
    return whole


# What a backend says.


def test_answer_is_decoded() -> None:
    usage = {"input_tokens": 9, "output_tokens": 4, "service_tier": "standard"}
    assert decode_response(body({"type": "text", "text": "Hello"}, usage=usage)) == Response(
        id="msg_7",
        model="claude",
        parts=(TextPart(text="Hello"),),
        stop=Stop(reason="end", raw="end_turn"),
        usage=Usage(input=9, output=4, tier="standard"),
        tier="standard",
    )


def test_blocks_become_parts_in_their_order() -> None:
    cited = {"type": "char_location", "cited_text": "x", "start_char_index": 3}
    server = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    nameless = {"type": "tool_use", "id": "t", "name": "", "input": {}}
    assert parts(
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "thinking", "thinking": "Hm."},
        {"type": "thinking", "thinking": "Hm.", "signature": seal({"k": "rc"})},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "text", "text": "Hi", "citations": [cited]},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "u", "name": "g"},
        nameless,
        server,
        {"no": "block"},
    ) == (
        ReasoningPart(text="Hm.", signature=SIGNED),
        ReasoningPart(text="Hm."),
        ReasoningPart(text="Hm.", signature=PLAIN),
        ReasoningPart(redacted="b3BhcXVl"),
        TextPart(
            text="Hi",
            citations=(Citation(kind="char", cited_text="x", origin="anthropic", raw=cited),),
        ),
        ToolCallPart(id="t", name="f", args={"a": 1}),
        ToolCallPart(id="u", name="g", args={}),
        OpaquePart(origin="anthropic", type="tool_use", raw=nameless),
        OpaquePart(origin="anthropic", type="server_tool_use", raw=server),
    )


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "end"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "max_tokens"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("pause_turn", "paused"),
        ("model_context_window_exceeded", "context_full"),
        ("compaction", "compaction"),
        ("something_new", "other"),
    ],
)
def test_case_46_stop_reasons(word: str, reason: Any) -> None:
    assert decode_response(body(stop_reason=word)).stop == Stop(reason=reason, raw=word)


def test_case_46_answer_that_ends_without_a_word() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert decode_response(body(stop_reason=None)).stop == Stop(reason="end")
    assert decode_response(body(call, stop_reason=None)).stop == Stop(reason="tool_calls")


def test_case_48_refusal_details() -> None:
    why = {"type": "refusal", "category": "cyber", "explanation": "No."}
    found = decode_response(body(stop_reason="refusal", stop_details=why))
    assert found.stop == Stop(reason="refusal", details=why, raw="refusal")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 9, "output_tokens": 4}, Usage(input=9, output=4)),
        (
            {
                "input_tokens": 3,
                "cache_read_input_tokens": 1024,
                "cache_creation_input_tokens": 256,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 256,
                    "ephemeral_1h_input_tokens": 0,
                    "other": 3,
                },
                "output_tokens": 77,
                "output_tokens_details": {"thinking_tokens": 5},
                "server_tool_use": {"web_search_requests": 1},
                "service_tier": "batch",
            },
            Usage(
                input=3,
                cache_read=1024,
                cache_write=256,
                output=77,
                reasoning=5,
                cache_write_by_ttl={"5m": 256, "1h": 0},
                server_tools={"web_search_requests": 1},
                tier="batch",
            ),
        ),
        (
            {"input_tokens": 3, "cache_creation": {"ephemeral_1h_input_tokens": 7}},
            Usage(input=3, cache_write=7, cache_write_by_ttl={"1h": 7}),
        ),
        ({"input_tokens": -5, "output_tokens": 4.0}, Usage(output=4)),
        ({"output_tokens": 4}, Usage(output=4)),
        ({"service_tier": "standard"}, None),
        ({}, None),
        (None, None),
        ("many", None),
        ({"input_tokens": True}, None),
    ],
)
def test_case_47_usage(usage: Any, expected: Usage | None) -> None:
    assert decode_usage(usage) == expected
    assert decode_response(body(usage=usage)).usage == expected


@pytest.mark.parametrize("answer", [{}, {"content": None}, {"content": ""}, {"completion": "x"}])
def test_case_50_answer_without_content_is_none(answer: JSON) -> None:
    with pytest.raises(Broken) as caught:
        decode_response(answer)
    assert (caught.value.info.kind, caught.value.info.code) == (
        "bad_upstream",
        "bad_upstream_response",
    )


def test_case_50_error_in_a_200_is_an_error() -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    with pytest.raises(Broken) as caught:
        decode_response({"type": "error", "error": error})
    assert (caught.value.info.kind, caught.value.info.message) == ("overloaded", "Overloaded")


def test_gist_of_a_passed_answer() -> None:
    assert gist(body(stop_reason="tool_use")) == (Usage(input=9, output=4), "tool_calls")
    assert gist({}) == (None, "")
    assert gist({"usage": "?", "stop_reason": 7})[0] is None


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "tool_use", "refusal", "?", 7, None])
def test_gist_and_whole_answer_tell_the_same_stop(reason: Any) -> None:
    answer = body({"type": "text", "text": "Hi"}, stop_reason=reason)
    assert gist(answer)[1] == (decode_response(answer).stop.reason if reason else "")


# What a client gets.


def test_answer_is_encoded() -> None:
    assert told(TextPart(text="Hello")) == {
        "id": "msg_7",
        "type": "message",
        "role": "assistant",
        "model": "alias",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": encode_usage(Usage()),
    }


def test_case_51_model_is_the_one_that_the_client_asked_for() -> None:
    assert told(model="fast")["model"] == "fast"


def test_parts_become_blocks_in_their_order() -> None:
    raw = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    assert told(
        ReasoningPart(text="Hm.", signature=PLAIN),
        ReasoningPart(text="Hm."),
        ReasoningPart(redacted="b3BhcXVl"),
        TextPart(text="No.", refusal=True),
        OpaquePart(origin="responses", type="web_search_call", raw={}),
        OpaquePart(origin="anthropic", type="server_tool_use", raw=raw),
        ToolCallPart(id="c", name="f", args={"a": 1}, raw_args='{"a": 1}'),
    )["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "lmb1.eyJrIjoicmMifQ"},
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "text", "text": "No."},
        raw,
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
    ]


@pytest.mark.parametrize(
    ("part", "given"),
    [
        (ToolCallPart(id="c", name="f", args={}), {}),
        (ToolCallPart(id="c", name="f"), {}),
        (ToolCallPart(id="c", name="f", raw_args="nonsense"), {"INVALID_JSON": "nonsense"}),
        (ToolCallPart(id="c", name="f", raw_args="ls", kind="custom"), {"input": "ls"}),
        (ToolCallPart(id="c", name="f", kind="custom"), {"input": ""}),
    ],
)
def test_case_45_arguments_are_an_object(part: ToolCallPart, given: JSON) -> None:
    assert told(part)["content"][0]["input"] == given


def test_name_and_id_of_calls() -> None:
    calls = (ToolCallPart(id="", name="short_1", args={}), ToolCallPart(id="", name="g", args={}))
    first, second = told(*calls, tool_names={"short_1": "long"})["content"]
    assert first["name"] == "long"
    assert first["id"].startswith("call_")
    assert first["id"] != second["id"]


def test_hidden_reasoning_travels_in_our_own_token() -> None:
    foreign, ours = told(
        ReasoningPart(text="Hm.", signature=PLAIN),
        ReasoningPart(text="Hm.", signature=SIGNED),
        hide_reasoning=True,
    )["content"]
    assert foreign["thinking"] == ours["thinking"] == ""
    assert foreign["signature"] == seal({"k": "rc", "t": "Hm."})
    assert ours["signature"] == "c2ln"


def test_case_49_citations_are_anthropics_own_or_name_a_page() -> None:
    raw = {
        "type": "char_location",
        "cited_text": "x",
        "document_index": 0,
        "document_title": None,
        "start_char_index": 0,
        "end_char_index": 1,
        "file_id": None,
    }
    ours = Citation(kind="char", origin="anthropic", raw=raw)
    theirs = Citation(kind="url", url="https://a.example/", origin="openai")
    file = Citation(kind="file", title="a.pdf", origin="openai")
    first, second, third = told(
        TextPart(text="A", citations=(ours, file)),
        TextPart(text="B", citations=(theirs,)),
        TextPart(text="C", citations=(file,)),
    )["content"]
    assert first["citations"] == [raw]
    assert second["citations"] == [
        {
            "type": "web_search_result_location",
            "cited_text": "",
            "encrypted_index": seal({"k": "ws"}),
            "title": None,
            "url": "https://a.example/",
        }
    ]
    assert "citations" not in third


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (Stop(reason="end"), ("end_turn", None)),
        (Stop(reason="max_tokens", raw="length"), ("max_tokens", None)),
        (Stop(reason="tool_calls"), ("tool_use", None)),
        (Stop(reason="refusal"), ("refusal", None)),
        (Stop(reason="paused"), ("pause_turn", None)),
        (Stop(reason="context_full"), ("model_context_window_exceeded", None)),
        (Stop(reason="other", raw="odd"), ("max_tokens", None)),
        (Stop(reason="stop_sequence", sequence="###", raw="stop"), ("stop_sequence", "###")),
        (Stop(reason="stop_sequence", sequence="END", raw="stop"), ("end_turn", None)),
        (
            Stop(reason="stop_sequence", sequence="END", raw="stop_sequence"),
            ("stop_sequence", "END"),
        ),
    ],
)
def test_case_46_stop_reasons_and_strings(stop: Stop, expected: tuple[str, str | None]) -> None:
    whole = encode(stop)
    assert (whole["stop_reason"], whole["stop_sequence"]) == expected


def encode(stop: Stop) -> JSON:
    return encode_response(response(stop=stop), reply(stop=("###",)))


def test_case_48_refusal_has_its_details() -> None:
    why = {"type": "refusal", "category": None, "explanation": "No."}
    assert encode(Stop(reason="refusal", details=why))["stop_details"] == why
    assert "stop_details" not in encode(Stop(reason="refusal"))


def test_case_47_all_counters_stand_there() -> None:
    usage = Usage(input=3, cache_read=5, cache_write=2, output=4, reasoning=1, tier="priority")
    whole = encode_response(response(usage=usage), reply())
    assert whole["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 5,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 1},
    }


@pytest.mark.parametrize(
    ("asked", "tier", "expected"),
    [
        (True, "standard", "standard"),
        (True, "flex", None),
        (True, None, None),
        (False, "standard", None),
    ],
)
def test_service_tier_for_who_asked(asked: bool, tier: str | None, expected: str | None) -> None:
    whole = encode_response(response(tier=tier), reply(wants_tier=asked))
    assert whole["usage"].get("service_tier") == expected
