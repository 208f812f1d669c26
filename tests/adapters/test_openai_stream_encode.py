"""Events -> OpenAI chunks: legal, and what OpenAI's own accumulators make of them is exact.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

from typing import Any

import msgspec
import pytest
from streams import JSON, REPLY, completion, deltas, events, payloads, told

from lmbroker.errors import ErrorInfo
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    Part,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Stop
from lmbroker.translation.unified.stream import Error, Finish, Ping, Start, StreamEvent, UsageUpdate
from lmbroker.usage import Usage

START = Start("msg_7", "claude")
END = Finish(Stop(reason="end"), Usage(input=9, output=4))
SIGNED = Signature(origin="signable", value="c2ln")


def answer(*parts: list[Any], end: Finish = END) -> list[StreamEvent]:
    return [START, *events(*parts), end]


def text(*values: Any, refusal: bool = False) -> list[Any]:
    return [TextPart(text="", refusal=refusal), *values]


def thought(*values: Any) -> list[Any]:
    return [ReasoningPart(), *values]


def call(id: str, name: str, *values: str, args: JSON | None = None) -> list[Any]:
    return [ToolCallPart(id=id, name=name, args=args), *values]


def reply(**changes: Any) -> Any:
    return msgspec.structs.replace(REPLY, **changes)


def said(*parts: list[Any], **changes: Any) -> list[JSON]:
    """The deltas that tell ``parts``."""
    return deltas(told("openai", answer(*parts), reply(**changes)))


def web(url: str = "https://a.example/", **fields: Any) -> Citation:
    return Citation(kind="url", url=url, title="A", origin="anthropic", raw={}, **fields)


# The envelope.


def test_stream_is_told_in_chunks_of_one_envelope() -> None:
    stream = told("openai", answer(text("Hel", "", "lo")))
    envelope = (
        b'data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1795000000,'
        b'"model":"alias","choices":['
    )
    rest = b',"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    assert stream == b"".join(
        (
            *(envelope, b'{"index":0,"delta":{"role":"assistant","content":""}', rest),
            *(envelope, b'{"index":0,"delta":{"content":"Hel"}', rest),
            *(envelope, b'{"index":0,"delta":{"content":"lo"}', rest),
            *(envelope, b'{"index":0,"delta":{}', rest.replace(b'on":null', b'on":"stop"')),
            *(envelope, b'],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,'),
            b'"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0}}}\n\n',
            b"data: [DONE]\n\n",
        )
    )


def test_case_51_model_is_the_one_that_the_client_asked_for() -> None:
    assert {body["model"] for body in payloads(told("openai", answer(text("Hi"))))} == {"alias"}


@pytest.mark.parametrize(
    ("id", "expected"), [("msg_7", "chatcmpl-7"), ("chatcmpl-7", "chatcmpl-7"), ("x", "chatcmpl-x")]
)
def test_id_changes_its_prefix_only(id: str, expected: str) -> None:
    first = payloads(told("openai", [Start(id, ""), END]))[0]
    assert first["id"] == expected


def test_missing_id_is_made_of_the_calls_own() -> None:
    ids = [
        payloads(told("openai", [Start("", ""), END], reply(request_id=request)))[0]["id"]
        for request in ("req_1", "req_1", "req_2")
    ]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == len("chatcmpl-") + 24


@pytest.mark.parametrize(
    ("asked", "tier", "expected"),
    [
        (True, "standard", "default"),
        (True, "priority", "priority"),
        (True, None, None),
        (False, "standard", None),
    ],
)
def test_service_tier_for_who_asked(asked: bool, tier: str | None, expected: str | None) -> None:
    stream = told("openai", [Start("", "", None, None, tier), END], reply(wants_tier=asked))
    assert {body.get("service_tier") for body in payloads(stream)} == {expected}


# Usage.


def test_case_72_usage_not_asked_for_is_nowhere() -> None:
    stream = told("openai", answer(text("Hi"), call("c", "f", "{}")), reply(stream_usage=False))
    assert b"usage" not in stream


def test_case_72_usage_asked_for_is_null_until_the_last_chunk() -> None:
    *rest, last = payloads(told("openai", answer(text("Hi"))))
    assert all("usage" in body and body["usage"] is None for body in rest)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 13


def test_case_47_usage_counts_the_prompt_as_a_whole() -> None:
    usage = Usage(input=3, cache_read=1024, cache_write=256, output=77, reasoning=5)
    stream = told("openai", answer(end=Finish(Stop(reason="end"), usage)))
    assert payloads(stream)[-1]["usage"] == {
        "prompt_tokens": 1283,
        "completion_tokens": 77,
        "total_tokens": 1360,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 256},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }


@pytest.mark.parametrize(
    "early",
    [
        [Start("", "", Usage(input=1)), UsageUpdate(Usage(input=7, output=2))],
        [Start("", "", Usage(input=7, output=2))],
    ],
)
def test_usage_told_before_the_end_is_held_for_it(early: list[StreamEvent]) -> None:
    stream = told("openai", [*early, Finish(Stop(reason="end"))])
    assert payloads(stream)[-1]["usage"]["total_tokens"] == 9


# Parts.


def test_case_73_accumulators_of_the_sdk_yield_exact_strings() -> None:
    stream = told(
        "openai",
        answer(
            thought("Hm, ", "yes.", SIGNED),
            text("Hel", "lo"),
            call("toolu_1", "weather", '{"city":', '"Kyiv"}'),
            thought("More.", SIGNED),
            call("toolu_2", "clock"),
            end=Finish(Stop(reason="tool_calls"), Usage(input=9, output=4)),
        ),
    )
    whole = completion(stream)
    choice = whole.choices[0]
    message = choice.message.to_dict()
    assert (whole.id, choice.finish_reason) == ("chatcmpl-7", "tool_calls")
    assert message["role"] == "assistant"
    assert message["content"] == "Hello"
    assert message["reasoning_content"] == "Hm, yes.\n\nMore."
    assert message["tool_calls"] == [
        {
            "id": "toolu_1",
            "type": "function",
            "index": 0,
            "function": {
                "name": "weather",
                "arguments": '{"city":"Kyiv"}',
                "parsed_arguments": None,
            },
        },
        {
            "id": "toolu_2",
            "type": "function",
            "index": 1,
            "function": {"name": "clock", "arguments": "{}", "parsed_arguments": None},
        },
    ]
    head = {"type": "reasoning.text", "format": "anthropic-claude-v1"}
    assert message["reasoning_details"] == [
        {"index": 0, **head, "text": "Hm, yes.", "signature": "c2ln"},
        {"index": 1, **head, "lmb_at": "5:1", "text": "More.", "signature": "c2ln"},
    ]
    assert whole.usage is not None
    assert whole.usage.total_tokens == 13


def test_case_57_call_without_arguments_has_empty_ones() -> None:
    assert said(call("c", "f"))[1:] == [
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    ]
    given = said(call("c", "f", args={"a": "ü"}))[1]
    assert given["tool_calls"][0]["function"]["arguments"] == '{"a":"ü"}'


def test_calls_are_counted_apart_from_the_other_parts() -> None:
    found = said(text("Hi"), call("c", "f", "{}"), text("Ho"), call("d", "g", "{}"))
    indices = [each["tool_calls"][0]["index"] for each in found if "tool_calls" in each]
    assert indices == [0, 0, 1, 1]


def test_case_63_missing_id_is_made_once_and_is_the_same_each_time() -> None:
    parts = call("", "f", "{}"), call("", "g", "{}")
    first, _, second, _ = said(*parts)
    ids = [each["tool_calls"][0]["id"] for each in (first, second)]
    assert ids[0] != ids[1]
    assert all(id.startswith("call_") and len(id) == 29 for id in ids)
    assert said(*parts) == [first, *said(*parts)[1:]]


def test_name_goes_back_to_what_the_client_called_it() -> None:
    found = said(call("c", "short_1234", "{}"), tool_names={"short_1234": "a very long name"})
    assert found[0]["tool_calls"][0]["function"]["name"] == "a very long name"


def test_case_10_legacy_functions_get_the_first_call_only() -> None:
    events = answer(
        text("Hi"),
        call("c", "f", '{"a"', ":1}"),
        call("d", "g", "{}"),
        end=Finish(Stop(reason="tool_calls"), Usage()),
    )
    stream = told("openai", events, reply(legacy_functions=True))
    assert deltas(stream) == [
        {"content": "Hi"},
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a"'}},
        {"function_call": {"arguments": ":1}"}},
    ]
    choice = completion(stream).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert choice.message.function_call.arguments == '{"a":1}'


def test_legacy_function_without_arguments() -> None:
    assert said(call("c", "f"), legacy_functions=True)[1:] == [
        {"function_call": {"arguments": "{}"}}
    ]


def test_a_custom_tool_is_known_by_the_name_that_the_backend_got() -> None:
    names = {"custom_tools": frozenset({"sent"}), "tool_names": {"sent": "the client's own"}}
    (found,) = said(call("c", "sent", '{"input":"ls"}'), **names)[-1]["tool_calls"]
    assert found["custom"] == {"name": "the client's own", "input": "ls"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (('{"inp', 'ut":"ls \\"', 'x\\"\\n"}'), 'ls "x"\n'),
        (("nonsense",), "nonsense"),
        (('{"other":1}',), '{"other":1}'),
        ((), ""),
    ],
)
def test_custom_tool_called_as_a_function(given: tuple[str, ...], expected: str) -> None:
    found = said(call("c", "shell", *given), custom_tools=frozenset({"shell"}))
    custom = {"name": "shell", "input": expected}
    assert found == [{"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": custom}]}]


@pytest.mark.parametrize(
    ("args", "expected"), [({"input": "ls"}, "ls"), ({"other": 1}, '{"other":1}'), ({}, "")]
)
def test_custom_tool_whose_input_came_whole(args: JSON, expected: str) -> None:
    found = said(call("c", "shell", args=args), custom_tools=frozenset({"shell"}))
    assert found[0]["tool_calls"][0]["custom"]["input"] == expected


def test_custom_call_stays_free_text() -> None:
    shell = ToolCallPart(id="c", name="shell", kind="custom")
    (found,) = said([shell, '{"input":', '"x"}'])
    assert found["tool_calls"][0]["custom"] == {"name": "shell", "input": '{"input":"x"}'}


def test_refused_text_is_no_content() -> None:
    stream = told(
        "openai",
        answer(
            text("No.", refusal=True),
            thought("Hm.", SIGNED),
            end=Finish(Stop(reason="refusal", details={"explanation": "No."}), Usage()),
        ),
    )
    message = completion(stream).choices[0].message
    assert (message.content, message.refusal) == ("", "No.")
    assert b"lmb_at" not in stream, "it stands before all content"


def test_case_48_explanation_of_a_refusal_is_told_where_no_text_was() -> None:
    stop = Stop(reason="refusal", details={"type": "refusal", "explanation": "Not this."})
    stream = told("openai", answer(text("Well, "), end=Finish(stop, Usage())))
    choice = completion(stream).choices[0]
    assert choice.finish_reason == "content_filter"
    assert (choice.message.content, choice.message.refusal) == ("Well, ", "Not this.")


def test_refusal_without_a_word() -> None:
    end = Finish(Stop(reason="refusal", details={"explanation": None}), Usage())
    assert deltas(told("openai", answer(end=end))) == []


def test_what_only_its_own_vendor_understands_is_left_out() -> None:
    opaque = OpaquePart(origin="anthropic", type="server_tool_use", raw={})
    assert said([opaque], text("Hi")) == [{"content": "Hi"}]


# Reasoning.


def test_case_58_redacted_and_omitted_reasoning_are_entries() -> None:
    found = said(thought(SIGNED), [ReasoningPart(redacted="b3BhcXVl")], text("Hi"))
    form = "anthropic-claude-v1"
    assert [delta.get("reasoning_details") for delta in found] == [
        [{"index": 0, "type": "reasoning.text", "format": form, "signature": "c2ln"}],
        [{"index": 1, "type": "reasoning.encrypted", "format": form, "data": "b3BhcXVl"}],
        None,
    ]


def test_foreign_reasoning_says_so_at_once() -> None:
    rest = Signature(origin="text")
    found = said([ReasoningPart(signature=rest), "Hm.", rest])
    assert found[0]["reasoning_details"][0]["format"] == "unknown"
    assert found[1]["reasoning_details"][0]["signature"] == "lmb1.eyJrIjoicmMifQ"


def test_blocks_of_reasoning_are_parted_in_what_is_shown_only() -> None:
    found = said(thought("A"), thought(SIGNED), thought("B", "C"))
    assert [delta.get("reasoning_content") for delta in found] == ["A", None, "\n\nB", "C"]
    assert [delta["reasoning_details"][0].get("text") for delta in found] == ["A", None, "B", "C"]


def test_hidden_reasoning_shows_nothing_but_what_proves_omitted_one() -> None:
    found = said(
        thought("Hm.", SIGNED),
        thought(SIGNED),
        [ReasoningPart(redacted="b3BhcXVl")],
        hide_reasoning=True,
    )
    assert not any("reasoning_content" in delta for delta in found)
    entries = [delta["reasoning_details"][0] for delta in found]
    assert [(entry["index"], entry["type"]) for entry in entries] == [
        (0, "reasoning.text"),
        (1, "reasoning.encrypted"),
    ]
    assert not any("text" in entry for entry in entries)


# Citations.


def test_case_49_annotations_count_code_points_of_the_whole_content() -> None:
    stream = told(
        "openai",
        answer(
            text("🙂🙂 ü"),
            text("Paris", web(), "!", web(), web("https://b.example/")),
            text(" So", web("https://c.example/", start=1, end=3)),
        ),
    )
    message = completion(stream).choices[0].message
    content = message.content or ""
    assert content == "🙂🙂 üParis! So"
    spans = [
        (each["url_citation"]["url"], content[slice(*positions(each))])
        for each in message.to_dict()["annotations"]  # type: ignore[attr-defined]
    ]
    assert spans == [
        ("https://a.example/", "Paris!"),
        ("https://b.example/", "Paris!"),
        ("https://c.example/", "So"),
    ]


def positions(annotation: Any) -> tuple[int, int]:
    cited = annotation["url_citation"]
    return cited["start_index"], cited["end_index"]


def test_annotations_come_in_one_chunk_before_the_end() -> None:
    found = said(text("A", web()), text("B", web()))
    assert [list(delta) for delta in found] == [["content"], ["content"], ["annotations"]]
    assert found[-1]["annotations"][1] == {
        "type": "url_citation",
        "url_citation": {
            "end_index": 2,
            "start_index": 1,
            "title": "A",
            "url": "https://a.example/",
        },
    }


def test_citations_of_no_url_have_no_form_here() -> None:
    document = Citation(kind="page", title="Book", origin="anthropic", raw={})
    assert said(text("A", document)) == [{"content": "A"}]


def test_case_77_halves_of_a_character_count_as_one() -> None:
    stream = told(
        "openai",
        answer(text("\ud83d", "\ude42", "\ude42", "x\ud83d", "\ude42"), thought("Hm.")),
    )
    found = deltas(stream)
    assert "".join(delta.get("content", "") for delta in found) == (
        "\ud83d\ude42\ude42x\ud83d\ude42"
    )
    assert found[-1]["reasoning_details"][0]["lmb_at"] == "4:0", "🙂, a half, x, 🙂"


def test_case_77_halves_of_a_character_in_reasoning_and_arguments() -> None:
    found = said(thought("a", "\ud83d", "\ude42"), call("c", "f", '{"a":"\ud83d', '\ude42"}'))
    shown = "".join(delta.get("reasoning_content", "") for delta in found)
    assert shown.encode("utf-16-le", "surrogatepass").decode("utf-16-le") == "a🙂"
    last = found[-1]["tool_calls"][0]["function"]["arguments"]
    assert last == '\ude42"}'


# The end.


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_calls", "tool_calls"),
        ("refusal", "content_filter"),
        ("paused", "length"),
        ("context_full", "length"),
        ("compaction", "length"),
        ("other", "length"),
    ],
)
def test_case_46_finish_reasons(reason: Any, expected: str) -> None:
    stream = told("openai", answer(text("Hi"), end=Finish(Stop(reason=reason), Usage())))
    assert completion(stream).choices[0].finish_reason == expected


def test_finish_without_a_start_is_a_whole_stream() -> None:
    bodies = payloads(told("openai", [END]))
    assert bodies[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert bodies[1]["choices"][0]["finish_reason"] == "stop"


def test_case_56_error_ends_the_stream_without_done() -> None:
    broken = Error(ErrorInfo(kind="overloaded", message="Overloaded"))
    for given in ([broken], [*answer(text("Half"))[:3], broken]):
        stream = told("openai", given)
        assert b"[DONE]" not in stream
        assert payloads(stream)[-1] == {
            "error": {
                "message": "Overloaded",
                "type": "service_unavailable_error",
                "param": None,
                "code": "server_is_overloaded",
            }
        }


def test_case_70_ping_is_a_comment() -> None:
    stream = told("openai", [START, Ping(), END])
    assert b"\n\n: ping\n\n" in stream
    assert len(payloads(stream)) == 3


def test_parts_of_requests_alone_are_not_for_answers() -> None:
    """The types allow no others; a part that says nothing says nothing."""
    parts: list[Part] = [TextPart(text=""), ReasoningPart()]
    assert said(*([part] for part in parts)) == []
