"""Whole OpenAI answers, both ways: what a backend of this dialect says, what a client gets.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai._models import construct_type
from openai.types.chat import ChatCompletion
from strategies import refused, said, stop_of, stops
from streams import JSON, REPLY, o_chunk, o_usage

from lmbroker.errors import Broken
from lmbroker.translation.dialects.openai.ending import decode_usage
from lmbroker.translation.dialects.openai_chat.ending import encode_usage
from lmbroker.translation.dialects.openai_chat.response import (
    decode_response,
    encode_response,
    gist,
)
from lmbroker.translation.dialects.openai_chat.tap import OpenAITap
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

PLAIN = Signature(origin="text")


def came_in(field: str) -> Signature:
    """The signature of plain text that stood in ``field``."""
    return PLAIN if field == "reasoning_content" else Signature(origin="text", field=field)


SIGNED = Signature(origin="signable", value="c2ln")


def body(message: JSON | None = None, finish: Any = "stop", **more: Any) -> JSON:
    said = {"role": "assistant", "content": None, **(message or {})}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-7", "object": "chat.completion", "created": 1790000000}
    return {**head, "model": "gpt", "choices": [choice], **more}


def parts(**message: Any) -> tuple[Part, ...]:
    return decode_response(body(message)).parts


def broken(answer: JSON) -> tuple[str, str | None]:
    with pytest.raises(Broken) as caught:
        decode_response(answer)
    return caught.value.info.kind, caught.value.info.code


def reply(**changes: Any) -> Any:
    return msgspec.structs.replace(REPLY, **changes)


def response(*given: Part, **more: Any) -> Response:
    return Response(
        **{"id": "msg_7", "model": "claude", "parts": given, "stop": Stop(reason="end"), **more}
    )


def message(*given: Part, stop: Stop = Stop(reason="end"), **changes: Any) -> JSON:
    """The message that a client gets; its SDK takes the whole."""
    whole = encode_response(response(*given, stop=stop), reply(**changes))
    ChatCompletion.model_validate(whole)
    found = whole["choices"][0]["message"]
    assert isinstance(found, dict)
    return found


# What a backend says.


def test_answer_is_decoded() -> None:
    whole = body({"content": "Hello"}, usage=o_usage(), service_tier="default")
    assert decode_response(whole) == Response(
        id="chatcmpl-7",
        model="gpt",
        created=1790000000,
        parts=(TextPart(text="Hello"),),
        stop=Stop(reason="end", raw="stop"),
        usage=Usage(input=9, output=4),
        tier="standard",
    )


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_comes_first(key: str) -> None:
    assert parts(content="Hi", **{key: "Hm."}) == (
        ReasoningPart(text="Hm.", signature=came_in(key)),
        TextPart(text="Hi"),
    )


def test_content_as_list() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    content = [thinking, {"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    assert parts(content=content) == (
        ReasoningPart(text="Hm.", signature=came_in("content")),
        TextPart(text="Hi"),
    )


def test_reasoning_details_are_kept_for_replay() -> None:
    entries = [
        {"type": "reasoning.summary", "summary": "Hm.", "format": "x", "index": 0, "id": None},
        {"type": "reasoning.encrypted", "data": "b3BhcXVl", "format": "x", "index": 0},
    ]
    (part,) = parts(reasoning_details=entries, reasoning=None)
    assert isinstance(part, ReasoningPart) and part.signature is not None
    assert (part.text, part.signature.origin) == ("Hm.", "details")
    assert json.loads(part.signature.value) == entries


def call(arguments: Any, **more: Any) -> JSON:
    return {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": arguments},
        **more,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"b": 1, "a": 2}', {"args": {"b": 1, "a": 2}, "raw_args": '{"b": 1, "a": 2}'}),
        ({"a": 1}, {"args": {"a": 1}, "raw_args": '{"a":1}'}),
        ("", {"args": {}}),
        (" \n", {"args": {}}),
        (None, {"args": {}}),
        ("[1]", {"raw_args": "[1]"}),
        ('{"a":', {"raw_args": '{"a":'}),
    ],
)
def test_case_65_arguments(arguments: Any, expected: JSON) -> None:
    assert parts(tool_calls=[call(arguments)]) == (ToolCallPart(id="c", name="f", **expected),)


def test_key_order_of_arguments_is_kept() -> None:
    (part,) = parts(tool_calls=[call('{"b":1,"a":{"d":1,"c":2}}')])
    assert isinstance(part, ToolCallPart)
    assert json.dumps(part.args) == '{"b": 1, "a": {"d": 1, "c": 2}}'


def test_calls_of_all_kinds() -> None:
    custom = {"id": "d", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    legacy = {"name": "g", "arguments": "{}"}
    assert parts(tool_calls=[call("{}"), custom], function_call=legacy) == (
        ToolCallPart(id="c", name="f", args={}, raw_args="{}"),
        ToolCallPart(id="d", name="shell", raw_args="ls", kind="custom"),
        ToolCallPart(id="", name="g", args={}, raw_args="{}"),
    )


@pytest.mark.parametrize("name", ["", None, 7])
def test_call_without_a_name_is_left_out(name: Any) -> None:
    nameless = {"id": "c", "function": {"name": name, "arguments": "{}"}}
    found = decode_response(body({"content": "Hi", "tool_calls": [nameless, "?"]}, "tool_calls"))
    assert found.parts == (TextPart(text="Hi"),)
    assert found.stop == Stop(reason="end", raw="tool_calls")


def test_case_48_refusal() -> None:
    found = decode_response(body({"refusal": "No."}, "stop"))
    assert found.parts == (TextPart(text="No.", refusal=True),)
    assert found.stop.reason == "refusal"
    assert found.stop.details == {"type": "refusal", "category": None, "explanation": "No."}


def test_values_of_the_wrong_type_say_nothing() -> None:
    odd = {"refusal": {"x": 1}, "reasoning": ["x"], "reasoning_details": 7, "tool_calls": "x"}
    assert parts(content="Hi", function_call="x", **odd) == (TextPart(text="Hi"),)
    assert parts(content="Hi", refusal="", reasoning="") == (TextPart(text="Hi"),)
    assert parts(content=7) == ()


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("tool_calls", "end"),
        ("function_call", "end"),
        (None, "end"),
        ("eos", "end"),
        ("eos_token", "end"),
        ("complete", "end"),
        ("something_new", "other"),
    ],
)
def test_case_46_finish_reasons(finish: str | None, reason: str) -> None:
    assert decode_response(body({"content": "Hi"}, finish)).stop.reason == reason
    called = decode_response(body({"tool_calls": [call("{}")]}, finish)).stop.reason
    assert called == (reason if reason in ("max_tokens", "refusal") else "tool_calls")


def test_case_46_content_filter_has_details() -> None:
    assert decode_response(body({"content": ""}, "content_filter")).stop.details == {
        "type": "refusal",
        "category": None,
        "explanation": None,
    }


@pytest.mark.parametrize("key", ["stop_reason", "matched_stop"])
def test_case_46_matched_stop_string(key: str) -> None:
    whole = body({"content": "Hi"})
    whole["choices"][0][key] = "END"
    stop = decode_response(whole).stop
    assert stop == Stop(reason="stop_sequence", sequence="END", raw="stop")


@pytest.mark.parametrize(
    ("finish", "kind"), [("error", "server"), ("insufficient_system_resource", "overloaded")]
)
def test_case_46_finish_reasons_that_are_errors(finish: str, kind: str) -> None:
    assert broken(body({"content": "Half"}, finish))[0] == kind


@pytest.mark.parametrize(
    "answer",
    [
        {},
        body(choices=[]),
        body(choices=None),
        body(choices=[{"index": 0, "message": {}, "finish_reason": "stop"}]),
        body(choices=[{"index": 0, "finish_reason": "stop"}]),
        {"object": "error", "message": "Overloaded"},
    ],
)
def test_case_50_answer_without_a_message_is_none(answer: JSON) -> None:
    assert broken(answer) == ("bad_upstream", "bad_upstream_response")


def test_case_50_error_in_a_200_is_an_error() -> None:
    told = {"error": {"message": "Overloaded", "code": "server_is_overloaded"}}
    assert broken(told) == ("overloaded", "server_is_overloaded")


@pytest.mark.parametrize("finish", ["content_filter", "length"])
def test_answer_that_was_silenced_may_have_no_message(finish: str) -> None:
    found = decode_response(body(choices=[{"index": 0, "finish_reason": finish}]))
    assert found.parts == ()


def test_only_the_choice_of_index_0_counts() -> None:
    whole = body({"content": "Yes"})
    whole["choices"].insert(
        0, {"index": 1, "message": {"content": "No"}, "finish_reason": "length"}
    )
    assert decode_response(whole).parts == (TextPart(text="Yes"),)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (o_usage(), Usage(input=9, output=4)),
        (
            o_usage(
                1283,
                77,
                prompt_tokens_details={"cached_tokens": 1024, "cache_write_tokens": 256},
                completion_tokens_details={"reasoning_tokens": 0},
            ),
            Usage(input=3, cache_read=1024, cache_write=256, output=77, reasoning=0),
        ),
        # xAI leaves reasoning out of the completion.
        (
            {
                "prompt_tokens": 307,
                "completion_tokens": 26,
                "total_tokens": 560,
                "completion_tokens_details": {"reasoning_tokens": 227},
            },
            Usage(input=307, output=253, reasoning=227),
        ),
        # DeepSeek.
        (o_usage(9, 4, prompt_cache_hit_tokens=8), Usage(input=1, cache_read=8, output=4)),
        (
            o_usage(9, 4, prompt_tokens_details={"cached_tokens": 5}, prompt_cache_hit_tokens=8),
            Usage(input=4, cache_read=5, output=4),
        ),
        (
            o_usage(9, 4, completion_tokens_details={"reasoning_tokens": 0}, reasoning_tokens=3),
            Usage(input=9, output=4, reasoning=0),
        ),
        # More cached than there was.
        (
            o_usage(9, 4, prompt_tokens_details={"cached_tokens": 20}),
            Usage(input=0, cache_read=9, output=4),
        ),
        # What was written counted as cached, too (OpenRouter's Gemini).
        (
            o_usage(50, 4, prompt_tokens_details={"cached_tokens": 40, "cache_write_tokens": 40}),
            Usage(input=10, cache_write=40, output=4),
        ),
        (
            o_usage(50, 4, prompt_tokens_details={"cached_tokens": 45, "cache_write_tokens": 30}),
            Usage(input=5, cache_read=15, cache_write=30, output=4),
        ),
        (
            o_usage(9, 4, prompt_tokens_details={"cached_tokens": 30, "cache_write_tokens": 20}),
            Usage(input=0, cache_write=9, output=4),
        ),
        # Mistral, Moonshot, LiteLLM, vLLM, gateways in front of Claude.
        (o_usage(9, 4, num_cached_tokens=8), Usage(input=1, cache_read=8, output=4)),
        (o_usage(9, 4, cached_tokens=8), Usage(input=1, cache_read=8, output=4)),
        (
            o_usage(9, 4, prompt_tokens_details={"cache_creation_tokens": 5}),
            Usage(input=4, cache_write=5, output=4),
        ),
        (
            o_usage(9, 4, prompt_tokens_details={"cached_tokens": 2, "created_cache_tokens": 5}),
            Usage(input=2, cache_read=2, cache_write=5, output=4),
        ),
        (
            o_usage(9, 4, cache_creation_input_tokens=5, cache_read_input_tokens=3),
            Usage(input=1, cache_read=3, cache_write=5, output=4),
        ),
        # Writer's spelling.
        (
            o_usage(
                9,
                4,
                prompt_token_details={"cached_tokens": 2},
                completion_token_details={"reasoning_tokens": 3},
            ),
            Usage(input=7, cache_read=2, output=4, reasoning=3),
        ),
        # Mistral leaves sound out of the prompt.
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 248,
                "total_tokens": 632,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
            },
            Usage(input=384, output=248),
        ),
        ({"prompt_tokens": 9}, Usage(input=9)),
        ({"prompt_tokens": 9.0, "completion_tokens": -1}, Usage(input=9)),
        (o_usage(9, 4, prompt_tokens_details=None), Usage(input=9, output=4)),
        (None, None),
        ({}, None),
        ([], None),
        ({"prompt_tokens": None, "completion_tokens": "4"}, None),
        ({"total_tokens": True, "prompt_tokens": True}, None),
    ],
)
def test_case_47_usage(usage: Any, expected: Usage | None) -> None:
    assert decode_usage(usage) == expected
    assert decode_response(body({"content": "Hi"}, usage=usage)).usage == expected


def test_gist_of_a_passed_answer() -> None:
    assert gist(body({"content": "Hi"}, "tool_calls", usage=o_usage())) == (
        Usage(input=9, output=4),
        "tool_calls",
    )
    assert gist({}) == (None, "")
    assert gist({"choices": "?", "usage": "?"}) == (None, "")


CALLED = ("tool_calls", "function_call")
FINISHES = ("stop", "length", "content_filter", *CALLED)


@pytest.mark.parametrize("finish", [*FINISHES, "?", None])
def test_gist_and_whole_answer_tell_the_same_stop(finish: str | None) -> None:
    calls = [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]
    said = {"tool_calls": calls} if finish in CALLED else {"content": "Hi"}
    answer = body(said, finish)
    assert gist(answer)[1] == (decode_response(answer).stop.reason if finish else "")


@pytest.mark.parametrize("finish", FINISHES)
def test_a_passed_stream_tells_the_same_stop(finish: str) -> None:
    tap = OpenAITap()
    for chunk in (o_chunk({"content": "Hi"}), o_chunk(finish=finish)):
        tap.see(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert tap.stop == gist(body({}, finish))[1]


# What a client gets.


def test_answer_is_encoded() -> None:
    told = encode_response(response(TextPart(text="Hel"), TextPart(text="lo")), reply())
    assert told == {
        "id": "chatcmpl-7",
        "object": "chat.completion",
        "created": 1795000000,
        "model": "alias",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": encode_usage(Usage()),
    }


def test_case_51_model_is_the_one_that_the_client_asked_for() -> None:
    assert encode_response(response(), reply(model="fast"))["model"] == "fast"


@pytest.mark.parametrize(
    ("given", "content"),
    [
        ((), ""),
        ((ToolCallPart(id="c", name="f", args={}),), None),
        ((TextPart(text=""), ToolCallPart(id="c", name="f", args={})), None),
        ((TextPart(text="Hi"), ToolCallPart(id="c", name="f", args={})), "Hi"),
        ((TextPart(text="No.", refusal=True),), ""),
    ],
)
def test_content_is_null_only_beside_calls(given: tuple[Part, ...], content: str | None) -> None:
    assert message(*given)["content"] == content


@pytest.mark.parametrize(
    ("part", "arguments"),
    [
        (ToolCallPart(id="c", name="f", args={"a": "ü"}), '{"a":"ü"}'),
        (ToolCallPart(id="c", name="f", args={"a": 1}, raw_args='{"a": 1}'), '{"a": 1}'),
        (ToolCallPart(id="c", name="f", raw_args="nonsense"), "nonsense"),
        (ToolCallPart(id="c", name="f", args={}), "{}"),
    ],
)
def test_arguments_are_text(part: ToolCallPart, arguments: str) -> None:
    (found,) = message(part)["tool_calls"]
    assert found == {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": arguments},
    }


def test_case_10_legacy_functions_get_the_first_call_only() -> None:
    calls = (ToolCallPart(id="c", name="f", args={}), ToolCallPart(id="d", name="g", args={}))
    found = encode_response(
        response(*calls, stop=Stop(reason="tool_calls")), reply(legacy_functions=True)
    )
    choice = found["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]


def test_a_custom_tool_is_known_by_the_name_that_the_backend_got() -> None:
    part = ToolCallPart(id="c", name="sent", args={"input": "ls"})
    names = {"custom_tools": frozenset({"sent"}), "tool_names": {"sent": "the client's own"}}
    (found,) = message(part, **names)["tool_calls"]
    assert found["custom"] == {"name": "the client's own", "input": "ls"}


@pytest.mark.parametrize(
    "part",
    [
        ToolCallPart(id="c", name="shell", args={"input": "ls"}),
        ToolCallPart(id="c", name="shell", args={"input": "ls"}, raw_args='{"input":"ls"}'),
        ToolCallPart(id="c", name="shell", raw_args="ls", kind="custom"),
        ToolCallPart(id="c", name="shell", raw_args="ls"),
    ],
)
def test_custom_tools_get_free_text(part: ToolCallPart) -> None:
    (found,) = message(part, custom_tools=frozenset({"shell"}))["tool_calls"]
    assert found == {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}}


def test_name_and_id_of_calls() -> None:
    calls = (ToolCallPart(id="", name="short_1", args={}), ToolCallPart(id="", name="g", args={}))
    first, second = message(*calls, tool_names={"short_1": "long"})["tool_calls"]
    assert first["function"]["name"] == "long"
    assert first["id"].startswith("call_")
    assert first["id"] != second["id"]


def test_case_58_reasoning_is_shown_and_kept_for_replay() -> None:
    found = message(
        ReasoningPart(text="First.", signature=SIGNED),
        ReasoningPart(signature=SIGNED),
        TextPart(text="🙂 Hi"),
        ReasoningPart(text="Second.", signature=PLAIN),
        ToolCallPart(id="c", name="f", args={}),
        ReasoningPart(redacted="b3BhcXVl"),
    )
    form = {"type": "reasoning.text", "format": "anthropic-claude-v1"}
    assert found["reasoning_content"] == "First.\n\nSecond."
    assert found["reasoning_details"] == [
        {"index": 0, **form, "text": "First.", "signature": "c2ln"},
        {"index": 1, **form, "signature": "c2ln"},
        {
            "index": 2,
            **form,
            "format": "unknown",
            "lmb_at": "4:0",
            "text": "Second.",
            "signature": "lmb1.eyJrIjoicmMifQ",
        },
        {"index": 3, **form, "type": "reasoning.encrypted", "lmb_at": "4:1", "data": "b3BhcXVl"},
    ]


def test_hidden_reasoning_shows_nothing_but_what_proves_omitted_one() -> None:
    found = message(
        ReasoningPart(text="First.", signature=SIGNED),
        ReasoningPart(signature=SIGNED),
        hide_reasoning=True,
    )
    assert "reasoning_content" not in found
    assert [entry["index"] for entry in found["reasoning_details"]] == [0]
    assert "text" not in found["reasoning_details"][0]


def test_reasoning_that_says_and_proves_nothing_is_nothing() -> None:
    found = message(ReasoningPart(), ReasoningPart(text="Hm."))
    assert found["reasoning_content"] == "Hm."
    assert [entry["index"] for entry in found["reasoning_details"]] == [0]


def test_case_48_refusal_is_told_once() -> None:
    why = Stop(reason="refusal", details={"explanation": "Not this."})
    assert message(stop=why)["refusal"] == "Not this."
    assert message(TextPart(text="No.", refusal=True), stop=why)["refusal"] == "No."
    assert message(stop=Stop(reason="refusal"))["refusal"] is None
    assert message(stop=Stop(reason="end", details={"explanation": "x"}))["refusal"] is None


def test_case_49_annotations_count_code_points() -> None:
    web = Citation(kind="url", url="https://a.example/", title=None, origin="anthropic", raw={})
    found = message(
        TextPart(text="🙂🙂 ü"),
        TextPart(text="Paris", citations=(web, web)),
        TextPart(text="!", citations=(Citation(kind="page", url="https://b.example/"),)),
    )
    (annotation,) = found["annotations"]
    nowhere = Citation(kind="url", title="A")
    assert "annotations" not in message(TextPart(text="Hi", citations=(nowhere,)))
    cited = annotation["url_citation"]
    assert found["content"][cited["start_index"] : cited["end_index"]] == "Paris"
    assert cited["title"] == ""


def test_what_only_its_own_vendor_understands_is_left_out() -> None:
    opaque = OpaquePart(origin="anthropic", type="server_tool_use", raw={})
    assert message(opaque, TextPart(text="Hi"))["content"] == "Hi"


@pytest.mark.parametrize(
    ("asked", "tier", "expected"),
    [(True, "standard", "default"), (True, None, None), (False, "standard", None)],
)
def test_service_tier_for_who_asked(asked: bool, tier: str | None, expected: str | None) -> None:
    told = encode_response(response(tier=tier), reply(wants_tier=asked))
    assert told.get("service_tier") == expected


@example(TextPart(text="Hi"), stop_of("refusal", "", "Why."), False)
@given(said | refused, stops, st.booleans())
def test_one_text_is_told_as_one_of_several_is(part: TextPart, stop: Stop, legacy: bool) -> None:
    alone, beside = response(part, stop=stop), response(TextPart(text=""), part, stop=stop)
    asked = reply(legacy_functions=legacy)
    assert encode_response(alone, asked) == encode_response(beside, asked)


@given(st.none() | st.text(max_size=3), st.sampled_from([None, "", []]))
def test_one_text_is_heard_as_others_are(text: str | None, nothing: Any) -> None:
    silent = {"refusal": nothing, "reasoning": nothing, "function_call": nothing}
    plain = decode_response(body({"content": text, "tool_calls": nothing, **silent}))
    assert plain == decode_response(body({"content": text, "tool_calls": [None], **silent}))
    assert plain.parts == ((TextPart(text=text),) if text else ())


def test_sdk_reads_what_is_told() -> None:
    told = encode_response(
        response(
            TextPart(text="Hi"),
            ToolCallPart(id="c", name="f", args={"a": 1}),
            usage=Usage(input=3, cache_read=5, output=4, reasoning=2),
        ),
        reply(),
    )
    whole = construct_type(type_=ChatCompletion, value=told)
    assert isinstance(whole, ChatCompletion) and whole.usage is not None
    assert whole.usage.prompt_tokens == 8
    assert whole.usage.total_tokens == 12
