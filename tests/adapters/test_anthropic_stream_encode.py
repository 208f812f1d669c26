"""Events -> Anthropic stream: legal, and what Anthropic's own accumulator makes of it is exact.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

import json
from typing import Any

import msgspec
import pytest
from streams import JSON, REPLY, events, message, payloads, told

from lmbroker.errors import Broken, ErrorInfo
from lmbroker.translation.dialects.anthropic_messages.stream_encode import (
    BAD_ARGUMENTS,
    COMMENT,
    PING,
    AnthropicEncoder,
)
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.shared.signature import seal, unseal
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Stop
from lmbroker.translation.unified.stream import Error, Finish, Ping, Start, StreamEvent, UsageUpdate
from lmbroker.usage import Usage

START = Start("chatcmpl-7", "gpt")
END = Finish(Stop(reason="end"), Usage(input=9, output=4))
PLAIN = Signature(origin="text")
SIGNED = Signature(origin="signable", value="c2ln")
FOREIGN = ReasoningPart(signature=PLAIN)


def answer(*parts: list[Any], end: Finish | Error = END) -> list[StreamEvent]:
    return [START, *events(*parts), end]


def text(*values: Any, refusal: bool = False) -> list[Any]:
    return [TextPart(text="", refusal=refusal), *values]


def call(id: str, name: str, *values: str, args: JSON | None = None) -> list[Any]:
    return [ToolCallPart(id=id, name=name, args=args), *values]


def reply(**changes: Any) -> Any:
    return msgspec.structs.replace(REPLY, **changes)


def content(*parts: list[Any], **changes: Any) -> list[JSON]:
    """The blocks of the message that the client's SDK puts together."""
    whole = message(told("anthropic", answer(*parts), reply(**changes)))
    return [block.to_dict(exclude_none=True) for block in whole.content]


def blocks(*parts: list[Any], **changes: Any) -> list[list[JSON]]:
    """Per block: its start and its deltas."""
    found: list[list[JSON]] = []
    for body in payloads(told("anthropic", answer(*parts), reply(**changes))):
        if body["type"] == "content_block_start":
            found.append([body["content_block"]])
        elif body["type"] == "content_block_delta":
            found[-1].append(body["delta"])
    return found


# The form.


def test_stream_is_told_event_by_event() -> None:
    stream = told("anthropic", answer(text("Hel", "", "lo")))
    assert stream.decode() == (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_7",'
        '"type":"message","role":"assistant","model":"alias","content":[],"stop_reason":null,'
        '"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,'
        '"cache_read_input_tokens":0,"output_tokens":0}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        '"content_block":{"type":"text","text":""}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"Hel"}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"lo"}}\n\n'
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        '"stop_sequence":null},"usage":{"input_tokens":9,"cache_creation_input_tokens":0,'
        '"cache_read_input_tokens":0,"output_tokens":4}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_case_73_sdk_puts_the_same_answer_together() -> None:
    found = content(
        [FOREIGN, "Hm, ", "yes.", PLAIN],
        text("Hel", "lo"),
        call("call_1", "weather", '{"city":', '"Kyiv"}'),
        call("call_2", "clock"),
    )
    assert found == [
        {"type": "thinking", "thinking": "Hm, yes.", "signature": "lmb1.eyJrIjoicmMifQ"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Kyiv"}},
        {"type": "tool_use", "id": "call_2", "name": "clock", "input": {}},
    ]


def test_case_51_model_is_the_one_that_the_client_asked_for() -> None:
    assert message(told("anthropic", answer())).model == "alias"


def test_missing_ids_are_made_of_the_calls_own() -> None:
    events = [Start("", ""), *answer(call("", "f", "{}"), call("", "g", "{}"))[1:]]
    first, again = (message(told("anthropic", events)) for _ in range(2))
    assert first == again
    assert first.id.startswith("msg_") and len(first.id) == 28
    ids = [block.id for block in first.content if block.type == "tool_use"]
    assert len(set(ids)) == 2
    assert all(id.startswith("call_") for id in ids)


def test_name_goes_back_to_what_the_client_called_it() -> None:
    (block,) = content(call("c", "short_1234", "{}"), tool_names={"short_1234": "x" * 80})
    assert block["name"] == "x" * 80


# Arguments.


@pytest.mark.parametrize("values", [(), ("",), (" ",), (" ", "\n")])
def test_case_57_call_without_arguments_has_one_empty_object(values: tuple[str, ...]) -> None:
    assert blocks(call("c", "f", *values))[0][1:] == [
        {"type": "input_json_delta", "partial_json": "{}"}
    ]


def test_arguments_that_came_whole() -> None:
    assert content(call("c", "f", args={"a": ["ü"]}))[0]["input"] == {"a": ["ü"]}


def test_blank_before_the_arguments_is_told_with_them() -> None:
    told_ones = blocks(call("c", "f", " ", '\n{"a"', ":1}"))[0][1:]
    assert [delta["partial_json"] for delta in told_ones] == [' \n{"a"', ":1}"]


@pytest.mark.parametrize("values", [("[1]",), ("[", "1", "]"), ("nonsense",), ('{"a":1}x',)])
def test_strict_arguments_that_are_no_object_are_wrapped(values: tuple[str, ...]) -> None:
    found = blocks(call("c", "f", *values))[0][1:]
    assert len(found) == 1
    assert json.loads(found[0]["partial_json"]) == {"INVALID_JSON": "".join(values)}


def test_strict_arguments_that_break_when_a_part_was_told_end_the_stream() -> None:
    events = answer(call("c", "f", '{"a":', "oops}"), text("Hi"))
    stream = told("anthropic", events)
    last = payloads(stream)[-1]
    assert last["error"] == {"type": "api_error", "message": BAD_ARGUMENTS.message}
    assert b"content_block_stop" not in stream
    encoder = AnthropicEncoder(REPLY)
    with pytest.raises(Broken) as caught:
        for event in events:
            encoder.feed(event)
    assert caught.value.info == BAD_ARGUMENTS


def test_each_call_is_looked_at_anew() -> None:
    found = content(call("c", "f", "nonsense"), call("d", "g", "{}"), call("e", "h", "[]"))
    assert [block["input"] for block in found] == [
        {"INVALID_JSON": "nonsense"},
        {},
        {"INVALID_JSON": "[]"},
    ]


def test_case_81_cut_arguments_are_told_as_they_are() -> None:
    events = answer(call("c", "f", '{"city":"Ky'), end=Finish(Stop(reason="max_tokens"), Usage()))
    stream = told("anthropic", events)
    assert payloads(stream)[2]["delta"]["partial_json"] == '{"city":"Ky'
    assert message(stream).stop_reason == "max_tokens"


def test_custom_call_is_a_call_with_one_input() -> None:
    shell = ToolCallPart(id="c", name="shell", kind="custom")
    assert content([shell, 'ls "', 'x"\n'])[0]["input"] == {"input": 'ls "x"\n'}
    assert content([shell])[0]["input"] == {"input": ""}


# Reasoning.


def test_signature_is_told_once_and_right_before_the_stop() -> None:
    (found,) = blocks([ReasoningPart(), "Hm, ", "yes.", SIGNED])
    assert found == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm, "},
        {"type": "thinking_delta", "thinking": "yes."},
        {"type": "signature_delta", "signature": "c2ln"},
    ]


def test_reasoning_that_nobody_signed_has_no_signature() -> None:
    (found,) = blocks([ReasoningPart(), "Hm."])
    assert [delta["type"] for delta in found] == ["thinking", "thinking_delta"]


def test_foreign_details_travel_in_the_signature() -> None:
    entries = [{"type": "reasoning.encrypted", "data": "b3BhcXVl"}]
    details = Signature(origin="details", value=json.dumps(entries))
    (found,) = blocks([FOREIGN, "Hm.", details])
    assert unseal(found[-1]["signature"]) == {"k": "rd", "d": entries}


def test_case_58_redacted_reasoning_is_whole_in_its_start() -> None:
    (found,) = blocks([ReasoningPart(redacted="b3BhcXVl")])
    assert found == [{"type": "redacted_thinking", "data": "b3BhcXVl"}]


def test_hidden_reasoning_travels_in_our_own_token() -> None:
    (found,) = blocks([FOREIGN, "Hm, ", "\ud83d", "\ude42", PLAIN], hide_reasoning=True)
    sealed = seal({"k": "rc", "t": "Hm, 🙂"})
    assert found[1:] == [{"type": "signature_delta", "signature": sealed}]
    (found,) = blocks([ReasoningPart(), "Hm.", SIGNED], hide_reasoning=True)
    assert found[1:] == [{"type": "signature_delta", "signature": "c2ln"}]


# What else a part may be.


def test_case_48_refused_text_is_text() -> None:
    why = {"type": "refusal", "category": None, "explanation": "No."}
    end = Finish(Stop(reason="refusal", details=why), Usage())
    stream = told("anthropic", answer(text("No.", refusal=True), end=end))
    whole = message(stream)
    assert whole.content[0].to_dict()["text"] == "No."
    assert whole.stop_reason == "refusal"
    assert payloads(stream)[-2]["delta"]["stop_details"] == why


def test_case_49_citations_are_anthropics_own_or_name_a_page() -> None:
    raw = {"type": "char_location", "cited_text": "x"}
    ours = Citation(kind="char", origin="anthropic", raw=raw)
    theirs = Citation(kind="url", url="https://a.example/", title="A", origin="openai")
    file = Citation(kind="file", title="a.pdf", origin="openai")
    (found,) = blocks(text("Hi", ours, theirs, file))
    page = {
        "type": "web_search_result_location",
        "cited_text": "",
        "encrypted_index": seal({"k": "ws"}),
        "title": "A",
        "url": "https://a.example/",
    }
    assert found[2:] == [{"type": "citations_delta", "citation": each} for each in (raw, page)]


SEARCH = {
    "id": "ws_1",
    "type": "web_search_call",
    "action": {
        "type": "search",
        "query": "weather",
        "sources": [{"type": "url", "url": "https://a.example/"}, {"type": "api", "name": "x"}],
    },
}


def test_a_search_of_the_web_has_its_call_and_its_results() -> None:
    part = OpaquePart(origin="responses", type="web_search_call", raw=SEARCH, place="output[]")
    stream = told("anthropic", answer([part], text("Hi")))
    use, result, _ = message(stream).content
    assert (use.type, use.name) == ("server_tool_use", "web_search")
    assert use.input == {"query": "weather"}
    assert (result.type, result.tool_use_id) == ("web_search_tool_result", use.id)
    (page,) = result.content
    assert (page.url, page.title, page.encrypted_content) == (
        "https://a.example/",
        "https://a.example/",
        seal({"k": "ws"}),
    )


@pytest.mark.parametrize(
    "action",
    [
        None,
        {"type": "search", "query": "weather"},
        {"type": "search", "sources": SEARCH["action"]["sources"]},
        {"type": "open_page", "url": "https://a.example/"},
        {"type": "search", "query": 7, "queries": 7, "sources": 7},
        {"type": "search", "query": "x", "sources": [7, {"url": 7}]},
    ],
)
def test_a_search_that_does_not_say_what_it_found_is_lost_and_told(action: Any) -> None:
    raw = {**SEARCH, "action": action}
    part = OpaquePart(origin="responses", type="web_search_call", raw=raw, place="output[]")
    asked = reply(losses=AnswerLosses())
    stream = told("anthropic", answer([part], text("Hi")), asked)
    assert [block.type for block in message(stream).content] == ["text"]
    assert asked.losses.dropped == ("output[].web_search_call",)


def test_blocks_have_no_gaps_where_a_part_cannot_be_told() -> None:
    raw = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    native = OpaquePart(origin="anthropic", type="server_tool_use", raw=raw)
    foreign = OpaquePart(origin="responses", type="web_search_call", raw={})
    stream = told("anthropic", answer(text("A"), [foreign], [native], text("B")))
    starts = [body for body in payloads(stream) if body["type"] == "content_block_start"]
    assert [(body["index"], body["content_block"]["type"]) for body in starts] == [
        (0, "text"),
        (1, "server_tool_use"),
        (2, "text"),
    ]
    assert starts[1]["content_block"] == raw


def test_case_77_halves_of_a_character_are_escaped() -> None:
    stream = told("anthropic", answer(text("a\ud83d", "\ude42b")))
    assert stream.isascii()
    assert [delta.get("text") for delta in blocks(text("a\ud83d", "\ude42b"))[0][1:]] == [
        "a\ud83d",
        "\ude42b",
    ]


# Usage and the end.


def test_message_start_tells_the_usage_that_is_known_then() -> None:
    start = Start("msg_7", "claude", Usage(input=9, cache_read=3, output=1))
    usage = payloads(told("anthropic", [start, END]))[0]["message"]["usage"]
    assert usage == {
        "input_tokens": 9,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 1,
    }


def test_case_47_all_counters_stand_at_the_end() -> None:
    usage = Usage(
        input=3,
        cache_read=1024,
        cache_write=256,
        output=77,
        reasoning=5,
        cache_write_by_ttl={"5m": 256, "1h": 0},
        server_tools={"web_search_requests": 1},
    )
    stream = told("anthropic", answer(end=Finish(Stop(reason="end"), usage)))
    assert payloads(stream)[-2]["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 256,
        "cache_read_input_tokens": 1024,
        "output_tokens": 77,
        "output_tokens_details": {"thinking_tokens": 5},
        "cache_creation": {"ephemeral_5m_input_tokens": 256, "ephemeral_1h_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 1},
    }


@pytest.mark.parametrize(
    "early",
    [
        [Start("", "", Usage(input=1)), UsageUpdate(Usage(input=7, output=2))],
        [Start("", "", Usage(input=7, output=2))],
    ],
)
def test_usage_told_before_the_end_is_held_for_it(early: list[StreamEvent]) -> None:
    usage = payloads(told("anthropic", [*early, Finish(Stop(reason="end"))]))[-2]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 2)


@pytest.mark.parametrize(
    ("asked", "tiers", "expected"),
    [
        (True, ("standard", None), ("standard", "standard")),
        (True, (None, "priority"), (None, "priority")),
        (True, ("flex", None), (None, None)),
        (False, ("standard", "standard"), (None, None)),
    ],
)
def test_service_tier_for_who_asked(
    asked: bool, tiers: tuple[str | None, str | None], expected: tuple[str | None, str | None]
) -> None:
    first, last = tiers
    start = Start("", "", Usage(), None, first)
    end = Finish(Stop(reason="end"), Usage(), last)
    bodies = payloads(told("anthropic", [start, end], reply(wants_tier=asked)))
    found = [
        usage.get("service_tier") for usage in (bodies[0]["message"]["usage"], *usages(bodies))
    ]
    assert tuple(found) == expected


def usages(bodies: list[JSON]) -> list[JSON]:
    return [body["usage"] for body in bodies if "usage" in body]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("refusal", "refusal"),
        ("paused", "pause_turn"),
        ("context_full", "model_context_window_exceeded"),
        ("compaction", "compaction"),
        ("other", "max_tokens"),
    ],
)
def test_case_46_stop_reasons(reason: Any, expected: str) -> None:
    end = Finish(Stop(reason=reason, raw="odd"), Usage())
    assert message(told("anthropic", answer(end=end))).stop_reason == expected


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (Stop(reason="stop_sequence", sequence="END", raw="stop_sequence"), "END"),
        (Stop(reason="stop_sequence", sequence="END", raw="stop"), None),
        (Stop(reason="stop_sequence", sequence="###", raw="stop"), "###"),
    ],
)
def test_case_46_stop_string_counts_if_the_client_asked_for_it(
    stop: Stop, expected: str | None
) -> None:
    end = Finish(stop, Usage())
    whole = message(told("anthropic", answer(end=end), reply(stop=("###",))))
    assert whole.stop_sequence == expected
    assert whole.stop_reason == ("stop_sequence" if expected else "end_turn")


def test_finish_without_a_start_is_a_whole_stream() -> None:
    whole = message(told("anthropic", [END]))
    assert (whole.content, whole.stop_reason) == ([], "end_turn")
    assert whole.usage.output_tokens == 4


def test_case_56_error_ends_the_stream_and_leaves_open_what_is_open() -> None:
    broken = Error(ErrorInfo(kind="overloaded", message="Overloaded"))
    body = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_1",
    }
    opened = answer(call("c", "f", '{"a"'))[:3]
    for given in ([broken], [*opened, broken]):
        stream = told("anthropic", given)
        assert payloads(stream)[-1] == body
        assert b"message_stop" not in stream and b"content_block_stop" not in stream


def test_case_70_ping_is_an_event_only_after_message_start() -> None:
    encoder = AnthropicEncoder(REPLY)
    assert encoder.feed(Ping()) == b""
    encoder.feed(START)
    assert encoder.feed(Ping()) == PING
    adapter = ADAPTERS["anthropic"]
    assert (adapter.ping(False), adapter.ping(True)) == (COMMENT, PING)
