"""Events -> Responses stream: legal, of the SDK's types, and what its helper makes of it is exact.

``stream_told`` judges each stream by grammar and types.
"""

from typing import Any

import httpx2
import msgspec
import pytest
from openai import APIError, OpenAI
from pydantic import BaseModel
from responses_streams import accumulated, judge, kinds, last, stream_told
from streams import JSON, REPLY, events, payloads

from lmbroker.errors import ErrorInfo, Kind
from lmbroker.translation.dialects.openai_responses.response_encode import encode_response
from lmbroker.translation.dialects.openai_responses.stream_encode import (
    PING,
    ResponsesEncoder,
    stream_error,
)
from lmbroker.translation.dialects.openai_responses.tap import ResponsesTap
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.shared.signature import unseal
from lmbroker.translation.unified.fold import fold, unfold
from lmbroker.translation.unified.parts import (
    Citation,
    Extra,
    OpaquePart,
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
MESSAGE = [
    *("output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
    *("content_part.done", "output_item.done"),
]
BEGIN = ["created", "in_progress"]


def answer(*parts: list[Any], end: Finish = END) -> list[StreamEvent]:
    return [START, *events(*parts), end]


def text(*values: Any, refusal: bool = False) -> list[Any]:
    return [TextPart(text="", refusal=refusal), *values]


def call(id: str, name: str, *values: str, **fields: Any) -> list[Any]:
    return [ToolCallPart(id=id, name=name, **fields), *values]


def opaque(type: str, origin: str = "anthropic", **raw: Any) -> list[Any]:
    return [OpaquePart(origin=origin, type=type, raw={"type": type, **raw})]


def web(url: str = "https://a.example/", **fields: Any) -> Citation:
    return Citation(kind="url", url=url, title="A", origin="anthropic", raw={}, **fields)


def reply(**changes: Any) -> Any:
    return msgspec.structs.replace(REPLY, losses=AnswerLosses(), **changes)


def output(*parts: list[Any], end: Finish = END, **changes: Any) -> list[JSON]:
    """The items of an answer, which are the same streamed, whole, and streamed from the whole."""
    given, to = answer(*parts, end=end), reply(**changes)
    streamed = last(stream_told(given, to))
    whole = encode_response(fold(given), reply(**changes))
    assert whole == streamed
    assert last(stream_told(unfold(fold(given)), reply(**changes))) == streamed
    items: list[JSON] = streamed["output"]
    return items


def deltas(stream: bytes) -> list[str]:
    return [body["delta"] for body in payloads(stream) if body["type"].endswith(".delta")]


# The order of events.


def test_stream_of_text_is_told_in_this_order() -> None:
    stream = stream_told(answer(text("Hel", "", "lo")))
    assert kinds(stream) == [*BEGIN, *MESSAGE, "completed"]
    assert deltas(stream) == ["Hel", "lo"]
    assert accumulated(stream).output_text == "Hello"


def test_one_delta_byte_by_byte() -> None:
    stream = stream_told(answer(text('H"é')))
    assert (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
        b'"sequence_number":4,"item_id":"msg_7_0","output_index":0,"content_index":0,'
        b'"delta":"H\\"\xc3\xa9","logprobs":[]}\n\n'
    ) in stream


def test_text_parts_that_follow_each_other_are_one_message() -> None:
    (item,) = output(text("Hel"), text(), text("lo"))
    assert item["content"] == [
        {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}
    ]
    assert item["status"] == "completed"


def test_other_items_divide_messages() -> None:
    found = output(text("a"), call("c1", "f", "{}"), text("b"))
    assert [item["type"] for item in found] == ["message", "function_call", "message"]
    assert [item["id"] for item in found] == ["msg_7_0", "fc_7_1", "msg_7_2"]


def test_an_empty_answer_has_no_items() -> None:
    assert output() == output(text()) == []


def test_an_answer_that_only_ends_is_whole() -> None:
    assert kinds(stream_told([END])) == [*BEGIN, "completed"]


def test_a_ping_is_a_comment() -> None:
    assert ResponsesEncoder(REPLY).feed(Ping()) == PING == b": ping\n\n"


def test_the_phase_that_a_backend_told_stands_at_the_message() -> None:
    said = {"id": "msg_abc", "phase": "commentary"}
    extra = Extra(origin="responses", name="message", path="", value=said, loss="none")
    (item,) = output([TextPart(text="", extras=(extra,)), "Hm."])
    assert (item["id"], item["phase"]) == ("msg_abc", "commentary")


def test_what_another_dialect_says_besides_is_reported() -> None:
    to = reply()
    extra = Extra(origin="openai", name="audio", path="choices[].message.audio", value=1)
    stream_told(answer([TextPart(text="", extras=(extra,)), "Hm."]), to)
    assert to.losses.dropped == ("choices[].message.audio",)


def test_what_an_r_backend_says_of_a_call_stays() -> None:
    extra = Extra(origin="responses", name="caller", path="", value={"type": "direct"})
    (item,) = output(call("t", "f", "{}", extras=(extra,)))
    assert item["caller"] == {"type": "direct"}


# The envelope.


def test_the_answer_repeats_its_request() -> None:
    echo = {
        "instructions": "Be brief.",
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "parameters": None, "strict": False}],
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "high"},
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "store": True,
        "unknown": 1,
    }
    stream = stream_told(answer(text("Hi")), reply(echo=echo))
    for body in payloads(stream)[:2] + payloads(stream)[-1:]:
        found = body["response"]
        for key in ("instructions", "temperature", "tools", "metadata", "parallel_tool_calls"):
            assert found[key] == echo[key]
        assert found["text"] == {"format": {"type": "text"}, "verbosity": "low"}
        assert found["reasoning"] == {"effort": "high", "summary": None}
        assert found["store"] is False
        assert "unknown" not in found


def test_null_values_of_a_request_count_as_absent() -> None:
    nothing = dict.fromkeys(("metadata", "tools", "text", "reasoning", "tool_choice", "truncation"))
    assert last(stream_told(answer(), reply(echo=nothing))) == last(stream_told(answer()))


@pytest.mark.parametrize(
    ("id", "expected", "item"),
    [
        ("msg_7", "resp_7", "msg_7_0"),
        ("chatcmpl-7", "resp_7", "msg_7_0"),
        ("resp_7", "resp_7", "msg_7_0"),
    ],
)
def test_id_changes_its_prefix_only(id: str, expected: str, item: str) -> None:
    body = last(stream_told([Start(id, ""), *events(text("a")), END]))
    assert (body["id"], body["output"][0]["id"]) == (expected, item)


@pytest.mark.parametrize("id", ["x" * 70, "a:b/c", "é"])
def test_ids_of_items_are_such_as_openai_takes(id: str) -> None:
    """At most 64 characters: letters, digits, underscores and dashes."""
    item = last(stream_told([Start(id, ""), *events(text("a")), END]))["output"][0]
    assert len(item["id"]) <= 64
    assert item["id"].isascii() and item["id"].replace("_", "").replace("-", "").isalnum()


def test_missing_id_is_made_of_the_calls_own() -> None:
    ids = [
        last(stream_told([Start("", ""), END], reply(request_id=request)))["id"]
        for request in ("req_1", "req_1", "req_2")
    ]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == len("resp_") + 24


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
    stream = stream_told([Start("", "", None, None, tier), END], reply(wants_tier=asked))
    assert last(stream).get("service_tier") == expected


# Usage and the end.


def test_usage_has_all_counters() -> None:
    usage = Usage(input=3, cache_read=1024, cache_write=256, output=77, reasoning=9)
    assert last(
        stream_told([START, UsageUpdate(Usage(input=1)), Finish(Stop(reason="end"), usage)])
    )["usage"] == {
        "input_tokens": 1283,
        "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 256},
        "output_tokens": 77,
        "output_tokens_details": {"reasoning_tokens": 9},
        "total_tokens": 1360,
    }


def test_usage_that_the_end_does_not_tell_is_the_last_one_that_was_told() -> None:
    stream = stream_told([START, UsageUpdate(Usage(output=5)), Finish(Stop(reason="end"))])
    assert last(stream)["usage"]["output_tokens"] == 5


def test_lifetimes_of_caches_are_told_where_the_dialect_has_words_for_them() -> None:
    usage = Usage(cache_write=5, cache_write_by_ttl={"30m": 5})
    (found,) = [
        last(stream_told([START, Finish(Stop(reason="end"), each)]))["usage"][
            "input_tokens_details"
        ]
        for each in (usage,)
    ]
    assert found["cache_write_tokens_details"] == {"ttl_30m_tokens": 5, "ttl_12h_tokens": 0}


def test_searches_are_counted() -> None:
    usage = Usage(server_tools={"web_search_requests": 2, "web_fetch_requests": 0})
    body = last(stream_told([START, Finish(Stop(reason="end"), usage)]))
    assert body["tool_usage"]["web_search"] == {"num_requests": 2}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end", None),
        ("stop_sequence", None),
        ("tool_calls", None),
        ("max_tokens", "max_output_tokens"),
        ("refusal", "content_filter"),
        ("paused", "max_output_tokens"),
        ("context_full", "max_output_tokens"),
        ("compaction", "max_output_tokens"),
        ("other", "max_output_tokens"),
    ],
)
def test_stop_reasons(reason: Any, expected: str | None) -> None:
    body = last(stream_told(answer(text("Hi"), end=Finish(Stop(reason=reason)))))
    assert body["status"] == ("incomplete" if expected else "completed")
    assert body["incomplete_details"] == ({"reason": expected} if expected else None)
    assert body["output"][0]["status"] == body["status"]


def test_a_call_that_was_cut_off_is_incomplete() -> None:
    cut = Finish(Stop(reason="max_tokens"))
    first, second = output(call("c1", "f", "{}"), call("c2", "f", '{"a'), end=cut)
    assert (first["status"], second["status"]) == ("completed", "incomplete")
    assert second["arguments"] == '{"a'


# Refusals.


def test_a_refusal_in_the_models_words_is_content_of_a_complete_answer() -> None:
    end = Finish(Stop(reason="refusal", details={"explanation": "No."}))
    stream = stream_told(answer(text("No", ".", refusal=True), end=end))
    assert "refusal.delta" in kinds(stream) and kinds(stream)[-1] == "completed"
    assert output(text("No", ".", refusal=True), end=end)[0]["content"] == [
        {"type": "refusal", "refusal": "No."}
    ]


def test_an_explanation_is_told_as_a_refusal_of_an_incomplete_answer() -> None:
    end = Finish(Stop(reason="refusal", details={"explanation": "Not this."}))
    (item,) = output(text("I "), end=end)
    assert [part.get("text") or part["refusal"] for part in item["content"]] == ["I ", "Not this."]
    assert item["status"] == "incomplete"
    assert output(end=end)[0]["content"] == [{"type": "refusal", "refusal": "Not this."}]


def test_text_after_a_refusal_is_another_part() -> None:
    (item,) = output(text("a"), text("b", refusal=True), text("c"), text("d"))
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal", "output_text"]
    assert item["content"][2]["text"] == "cd"


# Citations.


def test_citations_are_annotations_counted_in_code_points_of_the_whole_text() -> None:
    (item,) = output(text("🙂 "), text("ab", web()), text("cd", web("https://b", start=1, end=2)))
    spans = [
        (each["url"], each["start_index"], each["end_index"])
        for each in item["content"][0]["annotations"]
    ]
    assert spans == [("https://a.example/", 2, 4), ("https://b", 5, 6)]


def test_citations_of_other_things_are_lost_and_reported() -> None:
    to = reply()
    page = Citation(kind="page", origin="anthropic", raw={})
    stream_told(answer(text("a", page), text(web())), to)
    assert to.losses.dropped == ("content[].citations",)


# Reasoning.


def reasoned(*values: Any, part: ReasoningPart | None = None, **changes: Any) -> JSON:
    (item,) = output([part or ReasoningPart(), *values], **changes)
    return item


def token(item: JSON) -> Any:
    return unseal(item["encrypted_content"])


def test_reasoning_is_a_summary_with_its_signature_in_a_token() -> None:
    item = reasoned("17 ", "is prime.", SIGNED)
    assert item["summary"] == [{"type": "summary_text", "text": "17 is prime."}]
    assert token(item) == {"k": "at", "s": "c2ln"}


def test_reasoning_comes_by_events_of_its_own() -> None:
    assert kinds(stream_told(answer([ReasoningPart(), "a", "b"])))[2:-1] == [
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
    ]


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (Signature(origin="signable"), {"k": "at", "s": ""}),
        (Signature(origin="text"), {"k": "rc"}),
        (Signature(origin="text", field="reasoning"), {"k": "rc", "f": "reasoning"}),
        (Signature(origin="details", value='[{"a":1}]'), {"k": "rd", "d": [{"a": 1}]}),
        (Signature(origin="extra", value='{"m":{"g":1}}'), {"k": "ec", "m": {"g": 1}}),
    ],
)
def test_reasoning_of_each_origin_has_its_token(signature: Signature, expected: JSON) -> None:
    assert token(reasoned("a", signature)) == expected


def test_redacted_reasoning_has_no_text() -> None:
    item = reasoned(part=ReasoningPart(redacted="b64"))
    assert item["summary"] == []
    assert token(item) == {"k": "ar", "d": "b64"}


def test_reasoning_that_nobody_signed_has_no_token() -> None:
    assert reasoned("a")["encrypted_content"] is None


@pytest.mark.parametrize("signature", [SIGNED, Signature(origin="text")])
def test_hidden_reasoning_travels_in_the_token_only(signature: Signature) -> None:
    item = reasoned("se", "cret", signature, hide_reasoning=True)
    assert item["summary"] == []
    assert token(item)["t"] == "secret"


def own(**held: Any) -> Signature:
    return Signature(origin="responses", value=msgspec.json.encode(held).decode())


def test_an_r_backends_own_item_keeps_its_id_and_bytes() -> None:
    signature = own(id="rs_abc", enc="gAAA")
    item = reasoned("a", signature, part=ReasoningPart(signature=signature))
    assert (item["id"], item["encrypted_content"]) == ("rs_abc", "gAAA")


def test_an_r_backends_summaries_stay_apart() -> None:
    signature = own(id="rs_1", enc="g", n=[3, 2])
    item = reasoned("ab", "c\n", "\nde", signature, part=ReasoningPart(signature=signature))
    assert [each["text"] for each in item["summary"]] == ["abc", "de"]


def test_an_r_backends_reasoning_that_came_as_content_is_content() -> None:
    signature = own(id="rs_1", c=1)
    item = reasoned("abc", signature, part=ReasoningPart(signature=signature))
    assert item["content"] == [{"type": "reasoning_text", "text": "abc"}]
    assert (item["summary"], item["encrypted_content"]) == ([], None)


# Calls.


def test_calls_are_items_of_their_own() -> None:
    first, second = output(call("t1", "f", '{"a":', "1}"), call("t2", "g"))
    assert first == {
        "id": "fc_7_0",
        "type": "function_call",
        "status": "completed",
        "call_id": "t1",
        "name": "f",
        "arguments": '{"a":1}',
    }
    assert second["arguments"] == "{}"


def test_arguments_that_are_blank_end_as_an_object() -> None:
    (item,) = output(call("t1", "f", " "))
    assert item["arguments"] == " {}"


def test_arguments_that_a_call_began_with_are_told() -> None:
    (item,) = output(call("t1", "f", args={"a": 1}))
    assert item["arguments"] == '{"a":1}'
    assert deltas(stream_told(answer(call("t1", "f", args={"a": 1})))) == ['{"a":1}']


def test_names_go_back_to_what_the_client_called_them() -> None:
    names, spaces = {"short": "ns__a long name!"}, {"ns__a long name!": "ns"}
    (item,) = output(call("t", "short"), tool_names=names, namespaces=spaces)
    assert (item["name"], item["namespace"]) == ("a long name!", "ns")


def test_calls_without_id_get_one() -> None:
    ids = [item["call_id"] for item in output(call("", "f"), call("", "f"))]
    assert len(set(ids)) == 2 and all(id.startswith("call_") for id in ids)


CUSTOM = {"custom_tools": frozenset(["sh"])}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_the_input_of_a_custom_call_is_read_out_of_json_as_it_comes(size: int) -> None:
    value = 'a "b" \\ \n é \U0001f600 \u2028 /'
    for json in (msgspec.json.encode(value).decode(), _escaped(value)):
        arguments = f'{{ "input" : {json} }}'
        pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
        (item,) = output(call("t", "sh", *pieces), **CUSTOM)
        assert (item["type"], item["input"]) == ("custom_tool_call", value)
        assert not any("\ud800" <= each <= "\udfff" for each in item["input"])


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be")
    return (
        '"'
        + "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))
        + '"'
    )


def test_the_input_of_a_custom_call_comes_in_pieces() -> None:
    to = reply(**CUSTOM)
    stream = stream_told(answer(call("t", "sh", '{"input":"l', "s -", 'l"}')), to)
    assert deltas(stream) == ["l", "s -", "l"]
    assert not to.losses.changed


@pytest.mark.parametrize(
    ("arguments", "expected", "changed"),
    [
        ("", "", False),
        ("{}", "{}", False),
        ('{"command":"ls"}', '{"command":"ls"}', False),
        ('{"x":1,"input":"ls"}', "ls", False),
        ('{"input":5}', '{"input":5}', False),
        ("ls -l", "ls -l", False),
        ('{"input":"ls","x":1}', "ls", True),
        ('{"input":"ls', "ls", True),
        ('{"input":"a\\xb"}', "a\\xb", False),
        ('{"input":"a\\u00', "a", True),
    ],
)
def test_odd_arguments_of_a_custom_call(arguments: str, expected: str, changed: bool) -> None:
    to = reply(**CUSTOM)
    found = last(stream_told(answer(call("t", "sh", arguments)), to))["output"][0]
    assert found["input"] == expected
    assert bool(to.losses.changed) is changed
    if arguments:
        assert output(call("t", "sh", arguments), **CUSTOM)[0]["input"] == expected


def test_custom_calls_of_a_backend_that_has_them_are_told_as_they_come() -> None:
    (item,) = output(call("t", "sh", "ls ", '{"input":1}', kind="custom"))
    assert (item["type"], item["input"]) == ("custom_tool_call", 'ls {"input":1}')


def test_a_search_for_tools_is_the_clients_own() -> None:
    echo = {"tools": [{"type": "tool_search", "execution": "client", "parameters": None}]}
    (item,) = output(call("t", "tool_search", '{"query":', '"x"}'), echo=echo)
    assert item["type"] == "tool_search_call"
    assert (item["arguments"], item["execution"]) == ({"query": "x"}, "client")
    assert output(call("t", "tool_search", "{}"))[0]["type"] == "function_call"


# What providers run.

USE = opaque("server_tool_use", id="s1", name="web_search", input={"query": "q"})
FOUND = opaque(
    "web_search_tool_result",
    tool_use_id="s1",
    content=[{"type": "web_search_result", "url": "https://x"}],
)


def test_anthropics_web_search_is_a_web_search_call() -> None:
    first, second = output(USE, FOUND, text("a", web()))
    assert first == {
        "id": "ws_7_0",
        "type": "web_search_call",
        "status": "completed",
        "action": {
            "type": "search",
            "query": "q",
            "queries": ["q"],
            "sources": [{"type": "url", "url": "https://x"}],
        },
    }
    assert second["content"][0]["annotations"]
    to = reply()
    assert "web_search_call.searching" in kinds(stream_told(answer(USE, FOUND), to))
    assert to.losses.changed == ("content[].web_search_tool_result",)


def test_a_search_that_failed_says_so() -> None:
    error = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    failed = opaque("web_search_tool_result", tool_use_id="s1", content=error)
    assert output(USE, failed)[0]["status"] == "failed"


def test_searches_may_overlap_and_stay_without_result() -> None:
    other = opaque("server_tool_use", id="s2", name="web_search", input={})
    first, second, third = output(text("a"), USE, other, FOUND)
    assert (first["type"], second["status"], third["status"]) == (
        *("message", "completed", "incomplete"),
    )


@pytest.mark.parametrize("id", [None, 7, [1], {"a": 1}])
def test_searches_with_odd_ids(id: Any) -> None:
    use = opaque("server_tool_use", id=id, name="web_search", input=[1])
    found = opaque("web_search_tool_result", tool_use_id=id, content=[7, {"url": 7}])
    (item,) = output(use, found)
    assert (item["status"], item["action"]["sources"]) == ("completed", [])
    other = opaque("code_execution_tool_result", tool_use_id=id)
    (item,) = output(use, other)
    assert item["status"] == "incomplete"


def test_an_empty_text_ends_the_item_before_it() -> None:
    cut = Finish(Stop(reason="max_tokens"))
    (item,) = output(call("c", "f", '{"a'), text(), end=cut)
    assert item["status"] == "completed"


def test_what_only_anthropic_understands_is_reported() -> None:
    to = reply()
    stream = stream_told(answer(text("a"), opaque("code_execution_tool_result"), text("b")), to)
    assert accumulated(stream).output_text == "ab"
    assert len(last(stream)["output"]) == 1
    assert to.losses.dropped == ("content[].code_execution_tool_result",)


def test_an_r_backends_own_item_comes_as_it_was() -> None:
    raw = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}
    part = [OpaquePart(origin="responses", type="compaction", raw=raw)]
    assert output(text("a"), part)[1] == raw


# Halves of characters.


def test_a_character_that_is_cut_in_two_is_whole_in_what_is_done() -> None:
    to = reply()
    stream = stream_told(answer(text("a\ud83d", "\ude00b", web())), to)
    part = last(stream)["output"][0]["content"][0]
    assert part["text"] == "a\U0001f600b"
    assert part["annotations"][0]["end_index"] == 3
    assert not to.losses.changed


def test_half_a_character_alone_is_told_and_reported() -> None:
    to = reply()
    stream = stream_told(answer(text("a\ud83d"), text("b")), to)
    assert deltas(stream) == ["a\ud83d", "b"]
    assert to.losses.changed == ("content[].text",)


# Errors.


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("rate_limit", "rate_limit_exceeded"),
        ("billing", "insufficient_quota"),
        ("context_length", "context_length_exceeded"),
        ("invalid_request", "invalid_prompt"),
        ("unsupported", "invalid_prompt"),
        ("too_large", "invalid_prompt"),
        ("auth", "invalid_prompt"),
        ("permission", "invalid_prompt"),
        ("not_found", "invalid_prompt"),
        ("conflict", "server_error"),
        ("timeout", "server_error"),
        ("overloaded", "server_error"),
        ("server", "server_error"),
        ("bad_upstream", "server_error"),
        ("unreachable", "server_error"),
        ("truncated", "server_error"),
    ],
)
def test_an_error_ends_the_stream_at_once(kind: Kind, code: str) -> None:
    given = [START, *events(text("Hi"))[:2], Error(ErrorInfo(kind=kind, message="Sorry."))]
    stream = stream_told(given)
    assert kinds(stream)[-4:] == ["content_part.added", "output_text.delta", "error", "failed"]
    body = last(stream)
    assert body["status"] == "failed"
    assert (body["error"]["code"], body["error"]["message"]) == (code, "Sorry.")
    told = payloads(stream)[-2]
    assert told["error"]["code"] == told["code"] == code


def test_what_was_done_before_an_error_stays() -> None:
    given = [START, *events(call("t", "f", "{}"), text("Hi"))[:-1]]
    body = last(stream_told([*given, Error(ErrorInfo(kind="server", message=""))]))
    assert [item["type"] for item in body["output"]] == ["function_call"]


@pytest.mark.parametrize(
    ("message", "delay", "expected"),
    [
        ("Slow down.", "7", "Slow down. Please try again in 7s."),
        ("Slow down.", "0.5", "Slow down. Please try again in 0.5s."),
        ("Please try again in 20s.", "7", "Please try again in 20s."),
        ("Slow down.", None, "Slow down."),
        ("Slow down.", "Wed, 21 Oct 2026 07:28:00 GMT", "Slow down."),
    ],
)
def test_a_rate_limit_says_in_words_how_long_it_lasts(
    message: str, delay: str | None, expected: str
) -> None:
    error = ErrorInfo(kind="rate_limit", message=message, retry_after=delay)
    assert last(stream_told([START, Error(error)]))["error"]["message"] == expected


def test_a_code_of_openais_own_stays() -> None:
    error = ErrorInfo(kind="invalid_request", message="", code="image_too_large")
    assert last(stream_told([START, Error(error)]))["error"]["code"] == "image_too_large"


def test_an_error_before_the_answer_is_told_within_one() -> None:
    stream = stream_told([Error(ErrorInfo(kind="server", message="Sorry."))])
    assert kinds(stream) == ["created", "in_progress", "error", "failed"]


def test_the_end_of_a_stream_of_which_nothing_is_known() -> None:
    found = payloads(stream_error(ErrorInfo(kind="truncated", message="Gone."), "req_1"))
    assert [body["type"] for body in found] == ["error", "response.failed"]
    assert found[1]["response"]["error"]["message"] == "Gone."
    assert found[0]["error"]["message"] == "Gone."


def test_judge_is_awake() -> None:
    stream = stream_told(answer(text("Hi")))
    with pytest.raises(Exception, match="sequence_number"):
        judge(stream.replace(b'"sequence_number":3', b'"sequence_number":9'))


def test_the_end_of_a_stream_that_was_passed_through_goes_on_with_its_numbers() -> None:
    stream = stream_told(answer(text("Hi", " there")))
    blocks = [block + b"\n\n" for block in stream.split(b"\n\n")[:-1]]
    for kept in range(1, len(blocks)):
        tap = ResponsesTap()
        for block in blocks[:kept]:
            tap.see(block)
        end = stream_error(ErrorInfo(kind="timeout", message="Late."), "req_1", tap)
        judge(b"".join(blocks[:kept]) + end)
        assert last(end)["id"] == "resp_7"


def test_a_stream_without_numbers_gets_them_for_its_end() -> None:
    tap = ResponsesTap()
    tap.see(b'data: {"type":"response.created","response":{}}\n\ndata: [1]\n\ndata: {\n\n')
    end = payloads(stream_error(ErrorInfo(kind="timeout", message=""), "req_1", tap))
    assert [body["sequence_number"] for body in end] == [0, 1]


# The SDK's own client.


def client(stream: bytes) -> OpenAI:
    """A client whose server answers each call with ``stream``."""

    def answered(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        return httpx2.Response(200, content=stream, headers=headers)

    transport = httpx2.Client(transport=httpx2.MockTransport(answered))
    return OpenAI(api_key="none", base_url="http://sdk.test/v1", http_client=transport)


def broken_off(kind: Kind) -> bytes:
    error = ErrorInfo(kind=kind, message="Sorry.")
    return stream_told([START, *events(text("Hi"))[:2], Error(error)])


@pytest.mark.parametrize("kind", ["overloaded", "rate_limit", "truncated", "context_length"])
def test_the_sdk_raises_an_error_inside_a_stream(kind: Kind) -> None:
    said = []
    with pytest.raises(APIError, match=r"^Sorry\.$"):
        for event in client(broken_off(kind)).responses.create(model="m", input="Hi", stream=True):
            said.append(event.type)
    assert said[-1] == "response.output_text.delta"


def test_the_sdks_helper_raises_it_too() -> None:
    helper = client(broken_off("overloaded")).responses.stream(model="m", input="Hi")
    with pytest.raises(APIError, match=r"^Sorry\.$"), helper as stream:
        stream.get_final_response()


def test_the_sdks_helper_tells_all_deltas_and_the_whole_answer() -> None:
    parts = ([ReasoningPart(), "Hm.", SIGNED], text("Hel", "lo"), call("c", "f", '{"a"', ":1}"))
    told = stream_told(answer(*parts))
    with client(told).responses.stream(model="m", input="Hi") as stream:
        heard = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert heard == ["Hel", "lo"]
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output_text == "Hello"


def test_the_sdk_parses_structured_text() -> None:
    class Answer(BaseModel):
        a: int

    told = stream_told(answer(text('{"a"', ": 1}")))
    helper = client(told).responses.stream(model="m", input="Hi", text_format=Answer)
    with helper as stream:
        assert stream.get_final_response().output_parsed == Answer(a=1)
