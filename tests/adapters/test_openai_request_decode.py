"""Chat completion request -> Unified Model: every key is accounted for, complaints have paths."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.errors import ErrorInfo, Refused
from lmbroker.translation.dialects.openai_chat.decode_request import decode_request
from lmbroker.translation.unified.parts import (
    AudioPart,
    Base64,
    DocumentPart,
    Extra,
    FileRef,
    ImagePart,
    OpaquePart,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Url,
)
from lmbroker.translation.unified.request import (
    CachePolicy,
    OutputFormat,
    Reasoning,
    Request,
    ToolChoice,
)

HELLO = {"role": "user", "content": "Hello"}


def decode(*messages: dict[str, Any], **fields: Any) -> Request:
    return decode_request({"model": "m", "messages": list(messages) or [HELLO], **fields})


def refused(body: dict[str, Any]) -> tuple[str | None, str | None, str]:
    with pytest.raises(Refused) as caught:
        decode_request(body)
    info = caught.value.info
    assert info.kind == "invalid_request"
    return info.param, info.code, info.message


def extra(request: Request, name: str) -> Extra:
    return next(each for each in request.extras if each.name == name)


def test_a_minimal_request() -> None:
    request = decode()
    assert request.dialect == "openai"
    assert request.turns[0].parts == (TextPart(text="Hello"),)
    assert request.extras == ()
    assert not request.stream and request.reasoning is None and request.output is None


def test_null_is_absent() -> None:
    fields = ("temperature", "tools", "stop", "n", "stream", "response_format", "user", "store")
    request = decode(**dict.fromkeys(fields), made_up=None)
    assert request == decode()


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": [HELLO]}, "model", "missing_required_parameter"),
        ({"model": "m"}, "messages", "missing_required_parameter"),
        ({"model": "m", "messages": []}, "messages", "invalid_value"),
        ({"model": 5, "messages": [HELLO]}, "model", "invalid_type"),
        ({"model": "m", "messages": "x"}, "messages", "invalid_type"),
        ({"model": "m", "messages": ["x"]}, "messages[0]", "invalid_type"),
        ({"model": "m", "messages": [{}]}, "messages[0].role", "missing_required_parameter"),
        (
            {"model": "m", "messages": [HELLO, {"role": "pirate", "content": "x"}]},
            "messages[1].role",
            "invalid_value",
        ),
        (
            {"model": "m", "messages": [{"role": "user"}]},
            "messages[0].content",
            "missing_required_parameter",
        ),
        (
            {"model": "m", "messages": [{"role": "user", "content": 7}]},
            "messages[0].content",
            "invalid_type",
        ),
        (
            {"model": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}]},
            "messages[0].content[0].type",
            "missing_required_parameter",
        ),
        (
            {"model": "m", "messages": [{"role": "tool", "content": "x"}]},
            "messages[0].tool_call_id",
            "missing_required_parameter",
        ),
        (
            {
                "model": "m",
                "messages": [
                    HELLO,
                    {"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]},
                ],
            },
            "messages[1].tool_calls[0].function",
            "missing_required_parameter",
        ),
        (
            {"model": "m", "messages": [HELLO], "tools": [{"type": "function", "function": {}}]},
            "tools[0].function.name",
            "missing_required_parameter",
        ),
        ({"model": "m", "messages": [HELLO], "stop": ["a", 1]}, "stop[1]", "invalid_type"),
        ({"model": "m", "messages": [HELLO], "temperature": "hot"}, "temperature", "invalid_type"),
        ({"model": "m", "messages": [HELLO], "temperature": True}, "temperature", "invalid_type"),
        ({"model": "m", "messages": [HELLO], "temperature": 2.5}, "temperature", "invalid_value"),
        ({"model": "m", "messages": [HELLO], "max_tokens": 0}, "max_tokens", "invalid_value"),
        (
            {"model": "m", "messages": [HELLO], "response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "missing_required_parameter",
        ),
    ],
)
def test_complaints_name_the_place(body: dict[str, Any], param: str, code: str) -> None:
    assert refused(body)[:2] == (param, code)


def test_complaints_tell_the_type_and_never_the_value() -> None:
    param, _, message = refused({"model": "m", "messages": [{"role": "user", "content": 424242}]})
    assert param == "messages[0].content"
    assert "an integer" in message and "424242" not in message


@pytest.mark.parametrize(
    ("field", "value", "loss"),
    [
        ("n", 1, "none"),
        ("n", 2, "refuse"),
        ("logprobs", False, "none"),
        ("logprobs", True, "refuse_soft"),
        ("top_logprobs", 0, "none"),
        ("top_logprobs", 3, "refuse_soft"),
        ("store", False, "none"),
        ("store", True, "drop"),
        ("modalities", ["text"], "none"),
        ("modalities", ["text", "audio"], "refuse"),
        ("audio", {"voice": "x", "format": "wav"}, "refuse"),
        ("moderation", {"model": "x"}, "refuse_soft"),
        ("web_search_options", {}, "refuse_soft"),
        ("metadata", {"a": "b"}, "none"),
        ("prediction", {"type": "content", "content": "x"}, "none"),
        ("min_p", 0.1, "drop"),
        ("reasoning_effort", "gigantic", "drop"),
        ("service_tier", "golden", "drop"),
        ("response_format", {"type": "grammar"}, "refuse_soft"),
        ("tool_choice", "sometimes", "drop"),
    ],
)
def test_the_class_of_a_field_depends_on_what_it_says(field: str, value: Any, loss: str) -> None:
    found = extra(decode(**{field: value}), field)
    assert (found.loss, found.value, found.path) == (loss, value, field)


def test_unknown_keys_are_kept_at_every_level() -> None:
    request = decode(
        {"role": "system", "content": "s", "mood": 1},
        {
            "role": "user",
            "content": [{"type": "text", "text": "t", "mood": 2}],
            "mood": 3,
        },
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "a", "function": {"name": "f", "arguments": "", "mood": 4}, "mood": 5}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "", "mood": 6},
        tools=[{"type": "function", "mood": 7, "function": {"name": "f", "mood": 8}}],
        stream_options={"mood": 9},
    )
    held = [e for part in request.system for e in part.extras]
    held += [e for t in request.turns for e in t.extras]
    held += [e for t in request.turns for p in t.parts for e in getattr(p, "extras", ())]
    held += [e for tool in request.tools for e in tool.extras] + list(request.extras)
    found = {e.value: (e.name, e.path) for e in held if e.name.endswith("mood")}
    assert found == {
        1: ("message.mood", "messages[].mood"),
        2: ("mood", "messages[].content[].mood"),
        3: ("mood", "messages[].mood"),
        4: ("function.mood", "messages[].tool_calls[].function.mood"),
        5: ("mood", "messages[].tool_calls[].mood"),
        6: ("mood", "messages[].mood"),
        7: ("mood", "tools[].mood"),
        8: ("function.mood", "tools[].function.mood"),
        9: ("stream_options.mood", "stream_options.mood"),
    }


def test_leading_instructions_are_system_and_later_ones_turns() -> None:
    request = decode(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        HELLO,
        {"role": "developer", "content": "c"},
    )
    assert [part.text for part in request.system] == ["a", "b"]
    roles = [e.value for p in request.system for e in p.extras if e.name == "message.role"]
    assert roles == ["system", "developer"]
    assert [turn.role for turn in request.turns] == ["user", "system"]


def test_instructions_of_another_kind_than_text_are_left_out_and_reported() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    (part,) = decode({"role": "system", "content": [image]}).system
    assert part.text == "[image_url left out: only its own provider can read it]"
    assert [(e.path, e.loss) for e in part.extras if e.loss != "none"] == [
        ("messages[].content[].type", "drop")
    ]


def test_tool_messages_in_a_row_are_one_turn() -> None:
    request = decode(
        HELLO,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "b", "type": "function", "function": {"name": "f", "arguments": " "}},
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "[1]"}},
                {"id": "d", "type": "custom", "custom": {"name": "g", "input": "free"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "two"}]},
        {"role": "tool", "tool_call_id": "c", "content": ""},
        HELLO,
    )
    calls, results = request.turns[1].parts, request.turns[2].parts
    assert [c.args for c in calls if isinstance(c, ToolCallPart)] == [{"x": 1}, {}, None, None]
    assert [c.raw_args for c in calls if isinstance(c, ToolCallPart)] == [
        '{"x":1}',
        " ",
        "[1]",
        "free",
    ]
    assert results == (
        ToolResultPart(call_id="a", parts=(TextPart(text="one"),), as_text=True),
        ToolResultPart(call_id="b", parts=(TextPart(text="two"),)),
        ToolResultPart(call_id="c", parts=(), as_text=True),
    )
    assert [turn.role for turn in request.turns] == ["user", "assistant", "user", "user"]


@pytest.mark.parametrize("arguments", ['{"a":NaN}', "[" * 5000, "nope", '"text"'])
def test_arguments_that_are_no_object_stay_text(arguments: str) -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": arguments}}
    (part,) = decode({"role": "assistant", "tool_calls": [call]}).turns[0].parts
    assert isinstance(part, ToolCallPart)
    assert (part.args, part.raw_args) == (None, arguments)


def test_case_10_legacy_functions() -> None:
    request = decode(
        HELLO,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "done"},
        functions=[{"name": "f", "parameters": {"type": "object", "properties": {}}}],
        function_call={"name": "f"},
    )
    call, result = request.turns[1].parts[0], request.turns[2].parts[0]
    assert isinstance(call, ToolCallPart) and isinstance(result, ToolResultPart)
    assert call.id == result.call_id == "call_fc_1"
    assert request.legacy_functions and request.tools[0].name == "f"
    assert request.tool_choice == ToolChoice(mode="named", name="f", raw={"name": "f"})
    assert request.path("tool_choice") == "function_call"


def test_content_parts() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "t"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"file_data": "JVBERi0xLjQK", "filename": "a"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
    ]
    found = decode({"role": "user", "content": parts}).turns[0].parts
    assert found[:3] == (
        TextPart(text="t"),
        ImagePart(source=Base64(media_type="image/png", data="QUJD"), detail="low"),
        ImagePart(source=Url(url="https://x/y.png")),
    )
    pdf, text, held, audio, video = found[3:]
    assert isinstance(pdf, DocumentPart) and isinstance(pdf.source, Base64)
    assert pdf.source.media_type == "application/pdf" and pdf.filename == "a"
    assert isinstance(text, DocumentPart)
    assert text.source == Base64(media_type="text/plain", data="aGk=")
    assert held == DocumentPart(source=FileRef(id="file-1", origin="openai"))
    assert audio == AudioPart(format="wav", data="QUJD")
    assert video == OpaquePart(origin="openai", type="video_url", raw=parts[7])


def test_cache_marks_in_both_spellings() -> None:
    request = decode(
        {
            "role": "user",
            "content": [
                {
                    "type": "text",
                    "text": "a",
                    "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
                },
                {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {"role": "user", "content": "c", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        prompt_cache_options={"mode": "implicit"},
    )
    marks = [part.cache for turn in request.turns for part in turn.parts]  # type: ignore[union-attr]
    assert [mark.ttl for mark in marks if mark is not None] == ["12h", None, "1h"]
    assert request.cache == CachePolicy(mode="auto", raw={"mode": "implicit"})


def test_reasoning_details_come_first_and_put_streamed_pieces_together() -> None:
    details = [
        {"index": 0, "type": "reasoning.text", "format": "anthropic-claude-v1", "text": "Look "},
        {"index": 0, "type": "reasoning.text", "text": "up."},
        {"index": 0, "type": "reasoning.text", "signature": "EqQB"},
        {
            "index": 1,
            "type": "reasoning.encrypted",
            "format": "anthropic-claude-v1",
            "data": "opaque",
            "lmb_at": "5:1",
        },
        {
            "index": 2,
            "type": "reasoning.text",
            "format": "unknown",
            "signature": "lmb1.eyJrIjoicmMifQ",
        },
        {"index": 3, "type": "reasoning.summary", "format": "openai-responses-v1", "summary": "s"},
    ]
    request = decode(
        HELLO,
        {
            "role": "assistant",
            "content": "x",
            "reasoning_details": details,
            "reasoning_content": "Look up.",
        },
    )
    first, second, third, fourth, text = request.turns[1].parts
    assert first == ReasoningPart(
        text="Look up.", signature=Signature(origin="signable", value="EqQB")
    )
    assert second == ReasoningPart(redacted="opaque", at=(5, 1))
    usual = Signature(origin="text", field="reasoning_content")
    assert third == ReasoningPart(signature=usual)
    assert isinstance(fourth, ReasoningPart) and fourth.signature is not None
    assert (fourth.text, fourth.signature.origin) == ("s", "details")
    assert text == TextPart(text="x")
    kept = {e.name: (e.value, e.loss) for e in request.turns[1].extras}
    assert kept["reasoning_details"] == (details, "none")
    assert request.path("reasoning_part") == "messages[].reasoning_details"


def test_other_spellings_of_reasoning() -> None:
    blocks = [
        {"type": "thinking", "thinking": "a", "signature": "Eq"},
        {"type": "redacted_thinking", "data": "d"},
    ]
    litellm = decode({"role": "assistant", "content": "x", "thinking_blocks": blocks})
    assert litellm.turns[0].parts[:2] == (
        ReasoningPart(text="a", signature=Signature(origin="signable", value="Eq")),
        ReasoningPart(redacted="d"),
    )
    plain = decode({"role": "assistant", "content": "x", "reasoning": "hm"})
    assert plain.turns[0].parts[0] == ReasoningPart(text="hm", signature=Signature(origin="text"))
    assert plain.path("reasoning_part") == "messages[].reasoning"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning_effort": "minimal"}, Reasoning(effort="minimal")),
        ({"reasoning": {"effort": "high", "exclude": True}},
         Reasoning(effort="high", display="omitted")),
        ({"reasoning": {"max_tokens": 2000}}, Reasoning(mode="budget", budget=2000)),
        ({"reasoning": {"enabled": False}}, Reasoning(mode="off")),
        ({"reasoning": {"enabled": True}}, Reasoning(mode="adaptive")),
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "high"}, Reasoning(mode="off")),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}},
         Reasoning(mode="budget", budget=4096)),
        ({"thinking": {"type": "enabled"}}, Reasoning(mode="adaptive")),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"},
          "reasoning_effort": "high"}, Reasoning(mode="adaptive", effort="low")),
    ],
)  # fmt: skip
def test_reasoning_controls(fields: dict[str, Any], expected: Reasoning) -> None:
    assert decode(**fields).reasoning == expected


def test_output_formats() -> None:
    schema = {"type": "object", "properties": {}}
    held = {"name": "n", "description": "d", "schema": schema, "strict": True}
    found = decode(response_format={"type": "json_schema", "json_schema": held}).output
    assert found == OutputFormat(
        kind="json_schema", name="n", description="d", schema=schema, strict=True
    )
    found = decode(response_format={"type": "json_object"}).output
    assert found == OutputFormat(kind="json_object")
    assert decode(response_format={"type": "text"}).output is None


def test_case_23_who_asks() -> None:
    metadata = {"user_id": "c"}
    both = decode(user="b", safety_identifier="a", metadata=metadata)
    assert (both.user_id, both.path("user_id")) == ("a", "safety_identifier")
    assert decode(user="b", metadata=metadata).user_id == "b"
    last = decode(metadata=metadata)
    assert (last.user_id, last.path("user_id")) == ("c", "metadata.user_id")


def test_the_names_of_the_token_limit() -> None:
    assert decode(max_tokens=5).path("max_tokens") == "max_tokens"
    both = decode(max_tokens=5, max_completion_tokens=6)
    assert (both.max_tokens, both.path("max_tokens")) == (6, "max_completion_tokens")
    assert extra(both, "max_tokens").loss == "none"


def test_stream_options() -> None:
    request = decode(stream=True, stream_options={"include_usage": True})
    assert request.stream and request.stream_usage
    assert not decode(stream=True).stream_usage


@pytest.mark.parametrize("kind", [{"a": 1}, ["auto"], 7, None])
def test_tool_choice_of_a_type_that_is_no_word_is_refused(kind: Any) -> None:
    with pytest.raises(Refused):
        decode(tool_choice={"type": kind})


def test_tool_choice_forms() -> None:
    named = {"type": "custom", "custom": {"name": "g"}}
    assert decode(tool_choice=named).tool_choice == ToolChoice(
        mode="named", name="g", kind="custom", raw=named
    )
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
    }
    assert decode(tool_choice=allowed).tool_choice == ToolChoice(
        mode="required", allowed=("f",), raw=allowed
    )


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
_fields = st.sampled_from(
    [
        "messages",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "stop",
        "stream",
        "stream_options",
        "reasoning",
        "reasoning_effort",
        "thinking",
        "output_config",
        "response_format",
        "metadata",
        "user",
        "service_tier",
        "n",
        "logit_bias",
        "prompt_cache_options",
        "temperature",
        "max_tokens",
        "modalities",
        "audio",
        "x",
    ]
)
_message = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "function"])},
    optional=dict.fromkeys(
        (
            "content",
            "name",
            "tool_calls",
            "function_call",
            "tool_call_id",
            "reasoning_details",
            "thinking_blocks",
            "reasoning",
            "refusal",
            "cache_control",
            "audio",
        ),
        _json,
    ),
)


@given(st.dictionaries(_fields, _json), st.lists(_message, max_size=3))
def test_whatever_comes_is_decoded_or_refused(
    fields: dict[str, Any], messages: list[dict[str, Any]]
) -> None:
    body = {"model": "m", "messages": messages, **fields}
    try:
        decode_request(body)
    except Refused as refusal:
        assert refusal.info.kind == "invalid_request" and refusal.info.param


_roles = st.sampled_from(["system", "developer", "user", "assistant"])
_contents = st.sampled_from(["", " ", "Hi", "H\ud83d", [], [{"type": "text", "text": "Hi"}]])
_good_messages = st.one_of(
    st.fixed_dictionaries({"role": _roles, "content": _contents}),
    st.just({"role": "tool", "tool_call_id": "c", "content": "1"}),
)
_odd_messages = st.fixed_dictionaries(
    {"role": _roles | st.sampled_from(["x", 1, []])},
    optional={"content": _contents | st.sampled_from([None, 3, {}, ["Hi"]]), "name": st.just("n")},
)
_numbers = st.sampled_from([None, True, -1, 0, 0.5, 1, 2, 3, "1"])
_plain_fields = st.fixed_dictionaries(
    {},
    optional={
        "max_completion_tokens": _numbers,
        "max_tokens": _numbers,
        "stop": st.sampled_from([None, "x", [], ["x", "y"], ["x", 1], 1]),
        "stream": st.sampled_from([None, True, False, 1]),
        "stream_options": st.sampled_from([None, {}, {"include_usage": True}, {"mood": 1}, 1]),
        "temperature": _numbers,
        "top_p": _numbers,
        "mood": st.just(1),
    },
)


def outcome(body: dict[str, Any]) -> Request | ErrorInfo:
    try:
        return decode_request(body)
    except Refused as refusal:
        return refusal.info


@given(st.lists(_good_messages, min_size=1, max_size=4) | st.lists(_odd_messages, max_size=3))
def test_the_short_way_of_plain_messages_leads_where_the_long_one_does(
    messages: list[dict[str, Any]],
) -> None:
    # A key that is null is absent, but makes a message that is not plain.
    longer = [{**message, "refusal": None} for message in messages]
    short, long = ({"model": "m", "messages": each} for each in (messages, longer))
    assert outcome(short) == outcome(long)


@given(_plain_fields)
def test_the_short_way_of_plain_fields_leads_where_the_long_one_does(
    fields: dict[str, Any],
) -> None:
    body = {"model": "m", "messages": [HELLO], **fields}
    # One field of another kind makes a request that is not plain.
    told = outcome({**body, "parallel_tool_calls": True})
    if isinstance(told, Request):
        told = msgspec.structs.replace(told, parallel_tools=None)
    assert outcome(body) == told


def test_wishes_for_the_cache_and_the_length_of_the_answer() -> None:
    request = decode(prompt_cache_key="k", prompt_cache_retention="24h", verbosity="low")
    wishes = (request.cache_key, request.cache_retention, request.verbosity)
    assert wishes == ("k", "24h", "low")
    assert request.extras == ()
