"""OpenAI client -> Unified Model -> Anthropic backend.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

import base64
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_types import accept

from lmbroker.call import Mode
from lmbroker.errors import Refused
from lmbroker.translation.dialects.anthropic_messages.encode_request import encode_request
from lmbroker.translation.dialects.openai_chat.decode_request import decode_request
from lmbroker.translation.losses import Losses, listed
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.signature import seal
from lmbroker.translation.unified.parts import (
    Cache,
    Extra,
    OpaquePart,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.request import (
    Reasoning,
    Request,
    Sampling,
    Tool,
    ToolChoice,
    Turn,
)

JSON = dict[str, Any]

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
BMP = base64.b64encode(b"BM" + bytes(20)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n").decode()

HELLO = {"role": "user", "content": "Hello"}
HI = {"role": "assistant", "content": "Hi"}

OPUS_5 = "claude-opus-5"
OPUS_55 = "claude-opus-5-5"
SONNET_55 = "claude-sonnet-5-5"
SONNET_46 = "claude-sonnet-4-6"
HAIKU_45 = "claude-haiku-4-5"
OPUS_45 = "claude-opus-4-5"
UNKNOWN = "house-model"

NOT_IN_THE_SDK = ("temperature", "top_p", "top_k", "speed")
"""What the API takes and the SDK's types do not have (any more, or outside of their beta)."""


def translate(
    *messages: JSON,
    model: str = OPUS_5,
    mode: Mode = "default",
    overrides: JSON | None = None,
    **fields: Any,
) -> tuple[JSON, str]:
    """The Anthropic body and the header; every body is one that the vendor's SDK takes."""
    body = {"model": "alias", "messages": list(messages) or [HELLO], **fields}
    before = json.dumps(body)
    request = msgspec.structs.replace(decode_request(body), model=model)
    losses = Losses(mode, model="alias", dialect="anthropic")
    out = encode_request(request, profile("anthropic", model, overrides), losses)
    assert json.dumps(body) == before
    hint = MessageCreateParamsStreaming if out.get("stream") else MessageCreateParamsNonStreaming
    accept(hint, {k: v for k, v in out.items() if k not in NOT_IN_THE_SDK}, closed=True)
    return out, listed(losses.paths)


def refused(*messages: JSON, **fields: Any) -> str | None:
    with pytest.raises(Refused) as caught:
        translate(*messages, **fields)
    assert caught.value.info.kind == "unsupported"
    return caught.value.info.param


def tool(name: str = "f", **function: Any) -> JSON:
    return {"type": "function", "function": {"name": name, **function}}


def call(id: str = "call_1", name: str = "f", arguments: str = "{}") -> JSON:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: JSON, **message: Any) -> JSON:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **message}


def answer(id: str = "call_1", content: Any = "done") -> JSON:
    return {"role": "tool", "tool_call_id": id, "content": content}


def text(words: str, **more: Any) -> JSON:
    return {"type": "text", "text": words, **more}


def user(*blocks: JSON) -> JSON:
    return {"role": "user", "content": list(blocks)}


def image(url: str) -> JSON:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


def file(**fields: Any) -> JSON:
    return {"role": "user", "content": [{"type": "file", "file": fields}]}


def test_the_worked_pair() -> None:
    out, header = translate(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [text("What is this?")]},
        calling(
            call("toolu_A", "lookup", '{"q":"cat"}'),
            call("toolu_B", "lookup", ""),
            reasoning_content="Look it up.",
            reasoning_details=[
                {
                    "index": 0,
                    "type": "reasoning.text",
                    "format": "anthropic-claude-v1",
                    "text": "Look it up.",
                    "signature": "EqQB",
                }
            ],
        ),
        answer("toolu_A", "a cat"),
        answer("toolu_B", ""),
        {"role": "user", "content": "Go on."},
        tools=[tool("lookup", description="Find", parameters={"type": "object", "properties": {}})],
        tool_choice="auto",
        parallel_tool_calls=False,
        reasoning_effort="high",
        max_completion_tokens=4096,
        temperature=0.2,
        stop=["END", "\n"],
        user="u-42",
        stream=True,
        stream_options={"include_usage": True},
    )
    assert header == "temperature,stop"
    assert list(out.items()) == list(
        {
            "model": OPUS_5,
            "max_tokens": 4096,
            "system": [text("Be brief.")],
            "messages": [
                user(text("What is this?")),
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Look it up.", "signature": "EqQB"},
                        {
                            "type": "tool_use",
                            "id": "toolu_A",
                            "name": "lookup",
                            "input": {"q": "cat"},
                        },
                        {"type": "tool_use", "id": "toolu_B", "name": "lookup", "input": {}},
                    ],
                },
                user(
                    {"type": "tool_result", "tool_use_id": "toolu_A", "content": "a cat"},
                    {"type": "tool_result", "tool_use_id": "toolu_B"},
                    text("Go on."),
                ),
            ],
            "tools": [
                {
                    "name": "lookup",
                    "description": "Find",
                    "input_schema": {"type": "object", "properties": {}},
                }
            ],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "high"},
            "stop_sequences": ["END"],
            "metadata": {"user_id": "u-42"},
            "stream": True,
        }.items()
    )


def test_case_01_minimal() -> None:
    out, header = translate(model=UNKNOWN)
    assert out == {"model": UNKNOWN, "max_tokens": 8192, "messages": [user(text("Hello"))]}
    assert header == ""
    assert translate(model=HAIKU_45)[0]["max_tokens"] == 64_000


def test_case_02_token_limits() -> None:
    out, header = translate(max_tokens=10, max_completion_tokens=20)
    assert (out["max_tokens"], header) == (20, "")
    out, header = translate(max_tokens=100, overrides={"max_output": 50})
    assert (out["max_tokens"], header) == (50, "max_tokens")
    out, header = translate(max_completion_tokens=100, overrides={"max_output": 50})
    assert header == "max_completion_tokens"


def test_case_03_temperature() -> None:
    out, header = translate(temperature=1.7, overrides={"sampling": "full"}, model=UNKNOWN)
    assert (out["temperature"], header) == (1, "temperature")
    out, header = translate(temperature=1.7)
    assert ("temperature" in out, header) == (False, "temperature")


def test_leaving_out_a_default_is_no_loss() -> None:
    out, header = translate(temperature=1, top_p=1.0)
    assert ("temperature" in out, "top_p" in out, header) == (False, False, "")


def test_case_04_temperature_or_top_p() -> None:
    for model in (HAIKU_45, SONNET_46):
        out, header = translate(temperature=0.5, top_p=0.9, model=model)
        assert (out["temperature"], "top_p" in out, header) == (0.5, False, "top_p")
    assert translate(top_p=0.9, model=HAIKU_45)[0]["top_p"] == 0.9


def test_case_05_system_blocks() -> None:
    mark = {"type": "ephemeral"}
    out, header = translate(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [text("b", cache_control=mark), text("c")]},
        HELLO,
    )
    assert out["system"] == [text("a"), text("b", cache_control=mark), text("c")]
    assert header == ""


def test_case_06_instructions_in_the_middle() -> None:
    later = {"role": "system", "content": "Now in French."}
    out, header = translate(HELLO, later, HI, HELLO)
    assert [m["role"] for m in out["messages"]] == ["user", "system", "assistant", "user"]
    assert header == "" and "system" not in out
    out, header = translate(HELLO, HI, HELLO, later)
    assert out["messages"][-1] == {"role": "system", "content": [text("Now in French.")]}
    told = text("[system]\nNow in French.")
    for illegal in ((HELLO, HI, later, HELLO), (HELLO, later, HELLO)):
        out, header = translate(*illegal)
        assert told in out["messages"][-1]["content"] and "system" not in out
        assert header == "messages[].role"
    out, header = translate(HELLO, later, model=HAIKU_45)
    assert "system" not in out
    assert out["messages"] == [user(text("Hello"), told)]
    assert header == "messages[].role"


def test_case_07_only_instructions() -> None:
    out, header = translate({"role": "system", "content": "Tell a joke."})
    assert out["messages"] == [user(text("Tell a joke."))]
    assert "system" not in out and header == "messages[].content"
    out, _ = translate(
        {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Tell a joke."}
    )
    assert out["system"] == [text("Be brief.")]
    assert out["messages"] == [user(text("Tell a joke."))]


def test_case_08_results_first() -> None:
    out, _ = translate(
        HELLO,
        calling(call("a"), call("b"), call("c")),
        answer("a"),
        answer("b"),
        answer("c"),
        HELLO,
    )
    content = out["messages"][-1]["content"]
    assert [block.get("tool_use_id") for block in content] == ["a", "b", "c", None]
    assert len(out["messages"]) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        (" \n", {}),
        ('{"b":1,"a":2}', {"b": 1, "a": 2}),
        ("[1]", {"INVALID_JSON": "[1]"}),
        ('{"a":', {"INVALID_JSON": '{"a":'}),
    ],
)
def test_case_09_arguments(arguments: str, expected: JSON) -> None:
    out, header = translate(HELLO, calling(call(arguments=arguments)), answer(content=""))
    found = out["messages"][1]["content"][0]["input"]
    assert list(found.items()) == list(expected.items())
    assert out["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "call_1"}]
    wrapped = "INVALID_JSON" in expected
    assert header == ("messages[].tool_calls[].function.arguments" if wrapped else "")


def test_case_10_legacy_functions() -> None:
    out, header = translate(
        HELLO,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "done"},
        functions=[{"name": "f"}],
        function_call={"name": "f"},
    )
    assert out["messages"][1]["content"] == [
        {"type": "tool_use", "id": "call_fc_1", "name": "f", "input": {}}
    ]
    assert out["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_fc_1", "content": "done"}
    ]
    assert out["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert (out["tool_choice"], header) == ({"type": "tool", "name": "f"}, "")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "g"}}, {"type": "tool", "name": "g"}),
    ],
)
def test_case_11_tool_choice(choice: Any, expected: JSON) -> None:
    out, header = translate(tools=[tool("f"), tool("g")], tool_choice=choice)
    assert (out["tool_choice"], header) == (expected, "")
    assert translate(tool_choice=choice) == translate()


def test_case_11_allowed_tools() -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    out, _ = translate(
        tools=[tool("f"), tool("g")],
        tool_choice={"type": "allowed_tools", "allowed_tools": allowed},
    )
    assert [each["name"] for each in out["tools"]] == ["g"]
    assert out["tool_choice"] == {"type": "any"}


def test_case_11_one_call_at_a_time() -> None:
    out, _ = translate(tools=[tool()], parallel_tool_calls=False)
    assert out["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    out, _ = translate(tools=[tool()], parallel_tool_calls=False, tool_choice="none")
    assert out["tool_choice"] == {"type": "none"}
    assert "tool_choice" not in translate(parallel_tool_calls=False)[0]
    assert "tool_choice" not in translate(tools=[tool()], parallel_tool_calls=True)[0]


def test_case_12_forced_choice_becomes_an_instruction() -> None:
    out, header = translate(tools=[tool()], tool_choice="required", model=OPUS_55)
    assert (out["tool_choice"], header) == ({"type": "auto"}, "tool_choice")
    line = "You must call at least one of the available tools in your next answer."
    assert out["messages"][-1] == {"role": "system", "content": [text(line)]}
    named = {"type": "function", "function": {"name": "f"}}
    out, _ = translate(
        {"role": "system", "content": "s"},
        HELLO,
        tools=[tool()],
        tool_choice=named,
        model=OPUS_55,
        overrides={"mid_system": False},
    )
    assert out["system"] == [text("s"), text("You must call the tool f in your next answer.")]
    over = {"forced_tools_fallback": "refuse"}
    assert refused(tools=[tool()], tool_choice=named, model=OPUS_55, overrides=over) == (
        "tool_choice"
    )


@pytest.mark.parametrize(
    ("parameters", "expected", "header"),
    [
        (None, {"type": "object", "properties": {}}, ""),
        ({}, {"type": "object", "properties": {}}, ""),
        (
            {"properties": {"a": {"type": "string"}}},
            {"type": "object", "properties": {"a": {"type": "string"}}},
            "",
        ),
        (
            {
                "anyOf": [
                    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]},
                ]
            },
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "tools[].function.parameters",
        ),
    ],
)
def test_case_13_parameters(parameters: Any, expected: JSON, header: str) -> None:
    out, said = translate(tools=[tool(parameters=parameters)])
    assert (out["tools"][0]["input_schema"], said) == (expected, header)


STRICT = {
    "type": "object",
    "properties": {"a": {"type": "string", "minLength": 2}},
    "required": ["a"],
    "additionalProperties": False,
}


def test_case_14_strict_tools() -> None:
    out, header = translate(tools=[tool(parameters=STRICT, strict=True)])
    (written,) = out["tools"]
    assert written["strict"] is True
    assert written["input_schema"]["properties"]["a"] == {
        "type": "string",
        "description": "{minLength: 2}",
    }
    assert header == "tools[].function.parameters"
    many = [tool(f"f{n}", parameters=STRICT, strict=True) for n in range(21)]
    out, header = translate(tools=many)
    assert not any("strict" in each for each in out["tools"])
    assert out["tools"][0]["input_schema"] == STRICT
    assert header == "tools[].function.strict"


def formatted(schema: JSON, **more: Any) -> JSON:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, **more}}


def test_case_15_structured_output() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
    schema = {"type": "object", "properties": {"a": inner}, "required": ["a"]}
    out, header = translate(response_format=formatted(schema, strict=True))
    closed = {**schema, "properties": {"a": {**inner, "additionalProperties": False}}}
    assert out["output_config"] == {
        "format": {"type": "json_schema", "schema": {**closed, "additionalProperties": False}}
    }
    assert header == ""


def test_case_15_a_schema_that_cannot_be_expressed() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    path = "response_format.json_schema.schema"
    assert refused(response_format=formatted(schema, strict=True), mode="strict") == path
    for fields in ({"strict": False}, {"strict": True}, {}):
        out, header = translate(response_format=formatted(schema, **fields))
        assert header == path and "output_config" not in out
        assert (
            json.dumps(schema, separators=(",", ":")) in out["messages"][-1]["content"][0]["text"]
        )


def test_case_15_json_object() -> None:
    out, header = translate(response_format={"type": "json_object"}, model=HAIKU_45)
    assert out["system"] == [text("Answer with one valid JSON object and nothing else.")]
    assert header == "response_format"


def test_a_format_cannot_go_with_an_answer_to_be_continued() -> None:
    schema = {"type": "object", "properties": {}}
    asked: JSON = {"model": HAIKU_45, "response_format": formatted(schema)}
    out, header = translate(HELLO, HI, **asked)
    assert "output_config" not in out and header == "response_format.json_schema.schema"
    out, _ = translate(HELLO, model=HAIKU_45, response_format=formatted(schema))
    assert out["output_config"]["format"]["type"] == "json_schema"


ADAPTIVE = {"type": "adaptive", "display": "summarized"}
OFF = {"type": "disabled"}
BETWEEN = {"type": "between_tools"}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def budget(tokens: int) -> JSON:
    return {"type": "enabled", "budget_tokens": tokens}


THINKING: dict[str, list[tuple[JSON | None, str | None, str]]] = {
    OPUS_5: [
        (OFF, None, ""),
        (ADAPTIVE, "low", "reasoning_effort"),
        (ADAPTIVE, "low", ""),
        (ADAPTIVE, "medium", ""),
        (ADAPTIVE, "high", ""),
        (ADAPTIVE, "xhigh", ""),
        (ADAPTIVE, "max", ""),
    ],
    OPUS_55: [
        (None, "low", "reasoning_effort"),
        (ADAPTIVE, "low", "reasoning_effort"),
        (ADAPTIVE, "low", ""),
        (ADAPTIVE, "medium", ""),
        (ADAPTIVE, "high", ""),
        (ADAPTIVE, "xhigh", ""),
        (ADAPTIVE, "max", ""),
    ],
    SONNET_55: [
        (BETWEEN, None, "reasoning_effort"),
        (ADAPTIVE, "low", "reasoning_effort"),
        (ADAPTIVE, "low", ""),
        (ADAPTIVE, "medium", ""),
        (ADAPTIVE, "high", ""),
        (ADAPTIVE, "xhigh", ""),
        (ADAPTIVE, "max", ""),
    ],
    SONNET_46: [
        (OFF, None, ""),
        (ADAPTIVE, "low", "reasoning_effort"),
        (ADAPTIVE, "low", ""),
        (ADAPTIVE, "medium", ""),
        (ADAPTIVE, "high", ""),
        (ADAPTIVE, "high", "reasoning_effort"),
        (ADAPTIVE, "max", ""),
    ],
    HAIKU_45: [
        (OFF, None, ""),
        (budget(1024), None, ""),
        (budget(2048), None, ""),
        (budget(8192), None, ""),
        (budget(16384), None, ""),
        (budget(32000), None, ""),
        (budget(62976), None, ""),
    ],
    OPUS_45: [
        (OFF, None, ""),
        (budget(1024), "low", "reasoning_effort"),
        (budget(2048), "low", ""),
        (budget(8192), "medium", ""),
        (budget(16384), "high", ""),
        (budget(32000), "high", "reasoning_effort"),
        (budget(62976), "high", "reasoning_effort"),
    ],
    UNKNOWN: [
        (None, None, ""),
        (ADAPTIVE, "low", "reasoning_effort"),
        (ADAPTIVE, "low", ""),
        (ADAPTIVE, "medium", ""),
        (ADAPTIVE, "high", ""),
        (ADAPTIVE, "high", "reasoning_effort"),
        (ADAPTIVE, "high", "reasoning_effort"),
    ],
}


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [(m, e, row) for m, rows in THINKING.items() for e, row in zip(EFFORTS, rows, strict=True)],
)
def test_case_16_effort(
    model: str, effort: str, expected: tuple[JSON | None, str | None, str]
) -> None:
    out, header = translate(model=model, reasoning_effort=effort)
    found = out.get("thinking"), out.get("output_config", {}).get("effort"), header
    assert found == expected


@pytest.mark.parametrize(
    ("fields", "model", "thinking", "header"),
    [
        ({"reasoning": {"max_tokens": 20000}}, OPUS_5, ADAPTIVE, "reasoning"),
        ({"reasoning": {"max_tokens": 20000}}, HAIKU_45, budget(20000), ""),
        ({"reasoning": {"max_tokens": 10}}, HAIKU_45, budget(1024), ""),
        ({"reasoning": {"enabled": False}}, OPUS_5, OFF, ""),
        ({"thinking": {"type": "between_tools"}}, SONNET_55, BETWEEN, ""),
        ({"thinking": {"type": "adaptive"}}, OPUS_5, ADAPTIVE, ""),
        (
            {"reasoning": {"effort": "high", "exclude": True}},
            OPUS_5,
            {"type": "adaptive", "display": "omitted"},
            "",
        ),
        ({"reasoning": {"exclude": True}}, HAIKU_45, None, ""),
    ],
)
def test_case_16_other_controls(
    fields: JSON, model: str, thinking: JSON | None, header: str
) -> None:
    out, said = translate(model=model, **fields)
    assert (out.get("thinking"), said) == (thinking, header)


def test_show_reasoning_asks_models_that_think_anyway() -> None:
    over = {"show_reasoning": True}
    assert translate(model=OPUS_55, overrides=over)[0]["thinking"] == ADAPTIVE
    assert "thinking" not in translate(model=SONNET_46, overrides=over)[0]


def test_case_17_no_room_to_think() -> None:
    out, header = translate(model=HAIKU_45, max_tokens=1500, reasoning_effort="high")
    assert ("thinking" in out, header) == (False, "reasoning_effort")


def test_case_18_thinking_and_sampling() -> None:
    out, header = translate(model=SONNET_46, reasoning_effort="high", temperature=0.3, top_p=0.97)
    assert out["thinking"] == ADAPTIVE
    assert ("temperature" in out, out["top_p"], header) == (False, 0.97, "temperature")
    out, header = translate(model=SONNET_46, reasoning_effort="high", top_p=0.5, top_k=3)
    assert ("top_p" in out, "top_k" in out, header) == (False, False, "top_p,top_k")


def test_case_18_a_forced_choice_wins_over_manual_thinking() -> None:
    out, header = translate(
        model=HAIKU_45,
        reasoning_effort="high",
        temperature=0.3,
        tools=[tool()],
        tool_choice="required",
    )
    assert "thinking" not in out and out["tool_choice"] == {"type": "any"}
    assert (out["temperature"], header) == (0.3, "reasoning_effort")


def test_manual_thinking_is_left_out_where_the_calls_reasoning_is_lost() -> None:
    conversation = (HELLO, calling(call()), answer())
    out, header = translate(*conversation, model=HAIKU_45, reasoning_effort="high")
    assert ("thinking" in out, header) == (False, "reasoning_effort")
    blocks = [{"type": "thinking", "thinking": "", "signature": "Eq"}]
    signed = (HELLO, calling(call(), thinking_blocks=blocks), answer())
    out, header = translate(*signed, model=HAIKU_45, reasoning_effort="high")
    assert (out["thinking"]["type"], header) == ("enabled", "")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}, "modalities"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [tool(), {"type": "shell"}]}, "tools[1]"),
    ],
)
def test_case_19_refusals(fields: JSON, param: str) -> None:
    assert refused(**fields) == param


@pytest.mark.parametrize(
    ("part", "param", "words"),
    [
        (
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
            "messages[].content[].input_audio",
            "[audio left out: this model cannot hear audio]",
        ),
        (
            {"type": "file", "file": {"file_id": "f", "filename": "a.pdf"}},
            "messages[].content[].file",
            '[document "a.pdf" left out: the file lies with another vendor]',
        ),
        (
            {"type": "video_url", "video_url": {}},
            "messages[].content[].type",
            "[video_url left out: only its own provider can read it]",
        ),
    ],
)
def test_case_19_parts_that_are_left_out(part: JSON, param: str, words: str) -> None:
    asked = {"role": "user", "content": [part]}
    out, header = translate(asked, HI, HELLO)
    assert out["messages"][0] == user(text(words)) and header == param
    assert refused(asked, mode="strict") == param


def test_case_19_an_answer_that_was_spoken() -> None:
    spoken = {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    out, header = translate(HELLO, spoken, HELLO)
    assert out["messages"][1]["content"] == [text("[audio left out: this model cannot hear audio]")]
    assert header == "messages[].audio"


def test_case_19_what_says_nothing_passes() -> None:
    assert translate(n=1, logprobs=False, logit_bias={}, seed=0, frequency_penalty=0) == translate()


def test_case_20_stop() -> None:
    assert translate(stop="x")[0]["stop_sequences"] == ["x"]
    assert translate(stop=["a", "b", "c", "d"])[0]["stop_sequences"] == ["a", "b", "c", "d"]
    out, header = translate(stop=[" ", "\n"])
    assert ("stop_sequences" in out, header) == (False, "stop")


def test_case_21_images() -> None:
    out, _ = translate(image(f"data:image/jpeg;base64,{PNG}"))
    assert out["messages"][0]["content"][0]["source"] == {
        "type": "base64",
        "media_type": "image/png",
        "data": PNG,
    }
    path = "messages[].content[].image_url"
    for url, why in (
        (f"data:image/bmp;base64,{BMP}", "this model cannot read files of its type"),
        ("file:///etc/passwd", "its source is of an unknown kind"),
    ):
        out, header = translate(image(url))
        assert out["messages"] == [user(text(f"[image left out: {why}]"))] and header == path
        assert refused(image(url), mode="strict") == path
    out, _ = translate(image("https://example.com/cat.png"))
    assert out["messages"][0]["content"][0]["source"] == {
        "type": "url",
        "url": "https://example.com/cat.png",
    }
    blind = {"vision": False}
    out, header = translate(image("https://example.com/cat.png"), overrides=blind)
    assert out["messages"] == [user(text("[image left out: this model cannot see images]"))]
    assert header == path


def test_case_21_files() -> None:
    for data in (f"data:application/pdf;base64,{PDF}", PDF):
        out, _ = translate(file(file_data=data, filename="a.pdf"))
        assert out["messages"][0]["content"] == [
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            }
        ]
    out, _ = translate(file(file_data="data:text/markdown;base64,IyBIaQ=="))
    assert out["messages"][0]["content"][0]["source"] == {
        "type": "text",
        "media_type": "text/plain",
        "data": "# Hi",
    }
    path = "messages[].content[].file"
    for data, what, why in (
        (
            "data:application/zip;base64,UEs=",
            "document",
            "this model cannot read files of its type",
        ),
        ("data:text/plain;base64,/w==", "document", "this model cannot read files of its type"),
        (PDF, "PDF", "this model cannot read PDF files"),
    ):
        out, header = translate(file(file_data=data), overrides={"pdf": False})
        assert out["messages"] == [user(text(f"[{what} left out: {why}]"))] and header == path
        assert refused(file(file_data=data), overrides={"pdf": False}, mode="strict") == path


def test_case_22_cache_marks() -> None:
    parts = [
        text("a", prompt_cache_breakpoint={"mode": "explicit"}),
        text("b", cache_control={"type": "ephemeral"}),
        text("c", prompt_cache_breakpoint={"mode": "explicit", "ttl": "12h"}),
        text("d", cache_control={"type": "ephemeral", "ttl": "1h"}),
        text("e", prompt_cache_breakpoint={"mode": "explicit", "ttl": "30m"}),
        text("f", cache_control={"type": "ephemeral"}),
    ]
    out, header = translate({"role": "user", "content": parts})
    short, hour = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
    marks = [block.get("cache_control") for block in out["messages"][0]["content"]]
    assert (marks, header) == ([None, None, hour, hour, short, short], "")


def test_case_22_an_automatic_mark_counts() -> None:
    mark = {"type": "ephemeral"}
    messages = [{"role": "user", "content": [text(t, cache_control=mark) for t in "abcd"]}]
    out, _ = translate(*messages, prompt_cache_options={"mode": "implicit"})
    assert out["cache_control"] == mark
    assert sum("cache_control" in block for block in out["messages"][0]["content"]) == 3
    out, _ = translate(*messages, overrides={"cache_breakpoints": False})
    assert not any("cache_control" in block for block in out["messages"][0]["content"])


def test_case_22_tools_and_messages_carry_marks() -> None:
    mark = {"type": "ephemeral"}
    out, header = translate(
        {"role": "system", "content": "s", "cache_control": mark},
        {"role": "user", "content": "u", "cache_control": mark},
        tools=[{**tool(), "cache_control": mark}],
    )
    assert out["tools"][0]["cache_control"] == mark
    assert out["system"] == [text("s", cache_control=mark)]
    assert out["messages"][0]["content"] == [text("u", cache_control=mark)]
    assert header == ""


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"safety_identifier": "a", "user": "b", "metadata": {"user_id": "c"}}, "a"),
        ({"user": "b", "metadata": {"user_id": "c"}}, "b"),
        ({"metadata": {"user_id": "c"}}, "c"),
    ],
)
def test_case_23_user_id(fields: JSON, expected: str) -> None:
    out, header = translate(**fields)
    assert (out["metadata"], header) == ({"user_id": expected}, "")


def test_case_24_the_models_word_last_or_first() -> None:
    out, header = translate(HELLO, HI)
    assert out["messages"][-1] == user(text("Continue."))
    assert header == "messages[].role"
    out, header = translate(HELLO, {"role": "assistant", "content": "Hi "}, model=HAIKU_45)
    assert out["messages"][-1] == {"role": "assistant", "content": [text("Hi")]}
    assert header == ""
    out, header = translate(HI, HELLO)
    assert out["messages"][0] == user(text("."))
    assert header == "messages[].role"
    out, _ = translate(HELLO, HI, model=HAIKU_45, reasoning_effort="high")
    assert out["messages"][-1] == user(text("Continue."))


def test_case_25_nothing_empty_goes_out() -> None:
    out, header = translate(
        {"role": "system", "content": ""},
        {"role": "user", "content": [text(""), text("Hello"), text(" ")]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "again"},
    )
    assert out["messages"] == [user(text("Hello"), text("again"))]
    assert ("system" in out, header) == (False, "")
    out, header = translate({"role": "user", "content": ""})
    assert (out["messages"], header) == ([user(text("."))], "messages")


def test_case_26_unknown_fields_and_modes() -> None:
    out, header = translate(min_p=0.1, made_up={"a": 1})
    assert header == "min_p,made_up" and "min_p" not in out
    assert refused(min_p=0.1, mode="strict") == "min_p"
    assert translate(logit_bias={"1": 5}, mode="lenient")[1] == "logit_bias"
    assert refused(n=2, mode="lenient") == "n"
    _, header = translate({**user(text("Hello", mood=1)), "mood": 2})
    assert header == "messages[].mood,messages[].content[].mood"


def test_case_43_same_conversation_same_bytes() -> None:
    conversation = [
        {"role": "system", "content": "s"},
        HELLO,
        {"role": "system", "content": "later"},
        calling(call("a:1", "we.ird", '{"x":1}'), call("b:2", "we.ird", "")),
        answer("a:1"),
        answer("b:2", [text("two")]),
        {"role": "user", "name": "ann", "content": [text("and"), text("")]},
        {"role": "assistant", "content": "Hi", "reasoning_content": "hm"},
        HELLO,
    ]
    ends = (3, 6, 7, 9)
    written = []
    for end in ends:
        first, _ = translate(*conversation[:end], tools=[tool("we.ird")])
        second, _ = translate(*json.loads(json.dumps(conversation[:end])), tools=[tool("we.ird")])
        assert json.dumps(first) == json.dumps(second)
        written.append(first)
    for before, after in pairwise(written):
        for old, new in zip(before["messages"], after["messages"], strict=False):
            assert json.dumps(new["content"]).startswith(json.dumps(old["content"])[:-1])
        assert before["system"] == after["system"]


def test_case_98_only_anthropics_signatures_go_back() -> None:
    details = [
        {
            "index": 0,
            "type": "reasoning.text",
            "format": "unknown",
            "text": "hm",
            "signature": seal({"k": "rc"}),
        }
    ]
    blocks = [{"type": "thinking", "thinking": "hm", "signature": seal({"k": "rc"})}]
    for message, path in (
        ({"reasoning_details": details}, "messages[].reasoning_details"),
        ({"thinking_blocks": blocks}, "messages[].thinking_blocks"),
        ({"reasoning_content": "hm"}, "messages[].reasoning_content"),
    ):
        out, header = translate(HELLO, {**HI, **message}, HELLO)
        assert out["messages"][1]["content"] == [text("Hi")]
        assert header == path


def test_case_96_reasoning_comes_back_in_either_form_and_its_lack_is_no_mistake() -> None:
    """There is no memory of reasoning: a part that a client does not send back is gone."""
    signed = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    detail = {
        "index": 0,
        "type": "reasoning.text",
        "format": "anthropic-claude-v1",
        "text": "hm",
        "signature": "c2ln",
    }
    for message, expected in (
        ({"reasoning_details": [detail]}, [signed]),
        ({"thinking_blocks": [signed]}, [signed]),
        ({"reasoning_details": [detail], "reasoning_content": "hm"}, [signed]),
        ({}, []),
    ):
        asked = calling(call(), **message)
        out, header = translate(HELLO, asked, answer(), tools=[tool()])
        called = {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
        assert out["messages"][1]["content"] == [*expected, called]
        assert header == ""


def test_reasoning_goes_back_to_its_place() -> None:
    entry = {"type": "reasoning.text", "format": "anthropic-claude-v1"}
    details = [
        {**entry, "index": 0, "text": "one", "signature": "A"},
        {**entry, "index": 1, "text": "two", "signature": "B", "lmb_at": "3:0"},
        {**entry, "index": 2, "text": "", "signature": "C", "lmb_at": "6:1"},
    ]
    out, header = translate(
        HELLO,
        calling(call("a"), call("b"), content="abc😀ef", reasoning_details=details),
        answer("a"),
        answer("b"),
    )
    found = [
        block.get("text") or block.get("signature") or block.get("id")
        for block in out["messages"][1]["content"]
    ]
    assert found == ["A", "abc", "B", "😀ef", "a", "C", "b"]
    assert header == ""


def test_redacted_reasoning_goes_back() -> None:
    details = [{"type": "reasoning.encrypted", "format": "anthropic-claude-v1", "data": "x"}]
    out, _ = translate(HELLO, {**HI, "reasoning_details": details}, HELLO)
    assert out["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": "x"}


def test_case_32_names_and_ids_are_replaced_alike() -> None:
    name = "weather.get/" + "x" * 80
    out, header = translate(
        HELLO,
        calling(call("call:1", name)),
        answer("call:1"),
        tools=[tool(name)],
        tool_choice={"type": "function", "function": {"name": name}},
    )
    used = out["messages"][1]["content"][0]
    assert used["name"] == out["tools"][0]["name"] == out["tool_choice"]["name"]
    assert used["id"] == out["messages"][2]["content"][0]["tool_use_id"]
    assert len(used["name"]) == 64 and header == ""


def test_custom_tools() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    custom = {"type": "custom", "custom": {"name": "g", "description": "d", "format": grammar}}
    out, header = translate(
        HELLO,
        calling({"id": "a", "type": "custom", "custom": {"name": "g", "input": "free"}}),
        answer("a"),
        tools=[custom],
    )
    assert out["tools"][0]["input_schema"]["required"] == ["input"]
    assert out["tools"][0]["description"].endswith("lark grammar:\nstart: A")
    assert out["messages"][1]["content"][0]["input"] == {"input": "free"}
    assert header == "tools[].custom.format"


def test_tiers() -> None:
    assert translate(service_tier="auto")[0]["service_tier"] == "auto"
    assert translate(service_tier="default")[0]["service_tier"] == "standard_only"
    assert translate(service_tier="flex")[1] == "service_tier"
    out, header = translate(service_tier="priority", overrides={"map_fast": True})
    assert (out["speed"], header) == ("fast", "")


def test_web_search_where_the_route_allows_it() -> None:
    options = {
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Bonn"}},
    }
    out, header = translate(web_search_options=options, overrides={"server_tools": True})
    assert out["tools"] == [
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "user_location": {"type": "approximate", "city": "Bonn"},
        }
    ]
    assert header == "web_search_options.search_context_size"


def test_names_refusals_and_tool_result_parts() -> None:
    out, header = translate(
        {**HELLO, "name": "ann"},
        {"role": "assistant", "content": None, "refusal": "No."},
        HELLO,
        calling(call()),
        answer(content=[text("a"), {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]),
    )
    assert out["messages"][1]["content"] == [text("No.")]
    assert [block["type"] for block in out["messages"][-1]["content"][0]["content"]] == [
        "text",
        "image",
    ]
    assert header == "messages[].name,messages[].refusal"


def test_the_profile_of_an_unknown_model_is_the_default_one() -> None:
    assert profile("anthropic", UNKNOWN) == Profile(reasoning_replay="origin")


_words = st.sampled_from(["", " ", "a", "b c", "\U0001f600", "x " * 5])
_mark = st.sampled_from([{}, {}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}])
_text = st.builds(lambda words, mark: text(words, **mark), _words, _mark)
_picture = st.just({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})
_content = _words | st.lists(_text, max_size=3)
_user = st.builds(
    lambda content: {"role": "user", "content": content},
    _words | st.lists(_text | _picture, max_size=4),
)
_system = st.builds(lambda content: {"role": "system", "content": content}, _content)
_details = st.lists(
    st.builds(
        lambda words, at: {
            "type": "reasoning.text",
            "format": "anthropic-claude-v1",
            "text": words,
            "signature": "S",
            "lmb_at": f"{at[0]}:{at[1]}",
        },
        _words,
        st.tuples(st.integers(0, 12), st.integers(0, 2)),
    ),
    max_size=2,
)
_assistant = st.builds(
    lambda content, calls, details: {
        "role": "assistant",
        "content": content,
        **({"tool_calls": [call(id, arguments=args) for id, args in calls]} if calls else {}),
        **({"reasoning_details": details} if details else {}),
    },
    st.none() | _content,
    st.lists(
        st.tuples(st.sampled_from(["a", "b:c"]), st.sampled_from(["", "{}", "[1]"])), max_size=2
    ),
    _details,
)
_tool = st.builds(answer, st.sampled_from(["a", "b:c"]), _content)
_conversation = st.lists(_user | _system | _assistant | _tool, min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    _conversation,
    st.sampled_from(sorted(THINKING)),
    st.sampled_from([None, *EFFORTS]),
    st.sampled_from([None, "auto", "required"]),
)
def test_every_conversation_becomes_one_that_anthropic_takes(
    messages: list[JSON], model: str, effort: str | None, choice: str | None
) -> None:
    fields: JSON = {"reasoning_effort": effort, "tools": [tool()], "tool_choice": choice}
    out, header = translate(*messages, model=model, **fields)
    assert (out, header) == translate(*messages, model=model, **fields)
    written = out["messages"]
    assert written[0]["role"] == "user"
    roles = [message["role"] for message in written]
    for before, after in pairwise(roles):
        assert before != after
        assert after != "system" or before == "user"
        assert before != "system" or after == "assistant"
    if not profile("anthropic", model).mid_system:
        assert "system" not in roles
    if roles[-1] == "assistant":
        assert profile("anthropic", model).prefill != "no"
    blocks = [block for message in written for block in message["content"]]
    assert all(message["content"] for message in written)
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")
    marked = [block for block in (*out.get("system", ()), *blocks) if "cache_control" in block]
    assert len(marked) <= 4
    for message in written:
        kinds = [block["type"] == "tool_result" for block in message["content"]]
        assert kinds == sorted(kinds, reverse=True)
    said = "".join(b["text"] for b in (*out.get("system", ()), *blocks) if b["type"] == "text")
    for turn in messages:
        if turn["role"] != "tool" and isinstance(turn["content"], str):
            assert turn["content"].strip() in said


def test_a_request_of_this_dialect_is_written_as_it_was_decoded() -> None:
    def kept(name: str, value: Any) -> Extra:
        return Extra(origin="anthropic", name=name, path=name, value=value, loss="refuse")

    server = {"type": "web_search_20250305", "name": "web_search"}
    opaque = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    request = Request(
        dialect="anthropic",
        model=OPUS_5,
        system=(TextPart(text="s", cache=Cache(ttl="1h", raw={"type": "ephemeral", "ttl": "1h"})),),
        turns=(
            Turn(role="assistant", parts=(TextPart(text=" "),)),
            Turn(
                role="assistant",
                parts=(
                    ReasoningPart(signature=Signature(origin="signable", value="S")),
                    OpaquePart(origin="anthropic", type="server_tool_use", raw=opaque),
                    ToolCallPart(id="a:b", name="a.b", args={}),
                ),
                extras=(kept("clear_at", 1),),
            ),
        ),
        tools=(Tool(kind="server", name="web_search", raw=server),),
        tool_choice=ToolChoice(mode="required", raw={"type": "any", "new": 1}),
        max_tokens=0,
        sampling=Sampling(temperature=0.5),
        reasoning=Reasoning(mode="budget", budget=2000, effort="low"),
        extras=(kept("container", "c"), kept("output_config.task_budget", 5)),
    )
    losses = Losses()
    assert encode_request(request, profile("anthropic", OPUS_5), losses) == {
        "model": OPUS_5,
        "max_tokens": 0,
        "system": [text("s", cache_control={"type": "ephemeral", "ttl": "1h"})],
        "messages": [
            {"role": "assistant", "content": [text(" ")]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "", "signature": "S"},
                    opaque,
                    {"type": "tool_use", "id": "a:b", "name": "a.b", "input": {}},
                ],
                "clear_at": 1,
            },
        ],
        "tools": [server],
        "tool_choice": {"type": "any", "new": 1},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "low", "task_budget": 5},
        "temperature": 0.5,
        "container": "c",
    }
    assert losses.paths == ()


def test_free_objects_in_the_schema_of_an_answer_keep_their_meaning() -> None:
    """Closed, an object that lists no properties would be only ``{}``."""
    free = {"type": "object", "description": "any keys"}
    for schema in (free, {"type": "object", "properties": {"a": free}, "required": ["a"]}):
        out, header = translate(response_format=formatted(schema, strict=True))
        assert "output_config" not in out and header == "response_format.json_schema.schema"
        assert json.dumps(schema, separators=(",", ":")) in json.dumps(out["messages"]).replace(
            "\\", ""
        )
    closed = {"type": "object", "properties": {}, "additionalProperties": False}
    out, header = translate(response_format=formatted(closed))
    assert out["output_config"]["format"]["schema"] == closed and header == ""


def test_keywords_that_were_refused_are_taken_out_of_schemas() -> None:
    schema = {
        "type": "object",
        "properties": {"pattern": {"type": "string", "pattern": "x"}},
        "required": ["pattern"],
        "additionalProperties": False,
    }
    plain = {**schema, "properties": {"pattern": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    out, header = translate(
        tools=[tool],
        response_format=formatted(schema),
        overrides={"omit_schema_keywords": ["pattern"]},
    )
    assert out["tools"][0]["input_schema"] == plain
    assert out["output_config"]["format"]["schema"] == plain
    assert header == "tools[].function.parameters,response_format.json_schema.schema"


_told = st.builds(
    lambda role: {"role": role, "content": f"as {role}"}, st.sampled_from(["user", "system"])
)
_called = st.builds(
    lambda ids: [calling(*map(call, ids)), *map(answer, ids)],
    st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True),
)
_asked = st.lists(st.one_of(_told.map(lambda each: [each]), _called), min_size=1, max_size=4)


@given(st.lists(_asked, min_size=1, max_size=4), st.sampled_from([OPUS_5, HAIKU_45, UNKNOWN]))
def test_instructions_inside_the_conversation_leave_what_was_before_as_it_was(
    exchanges: list[list[list[JSON]]], model: str
) -> None:
    conversation: list[JSON] = [{"role": "system", "content": "Top."}, HELLO]
    before: list[JSON] = []
    for exchange in exchanges:
        conversation += [message for messages in exchange for message in messages]
        out, _ = translate(*conversation, model=model)
        assert out["system"] == [text("Top.")]
        assert out["messages"][: len(before)] == before
        before = out["messages"]
        conversation.append(HI)


def test_stop_words_that_the_backend_does_not_take() -> None:
    out, header = translate(stop=["a", "b"], overrides={"stop_max": 1})
    assert (out["stop_sequences"], header) == (["a"], "stop")
    out, header = translate(stop=["a", "b"], overrides={"stop": False})
    assert "stop_sequences" not in out and header == "stop"


def test_a_tool_is_not_forced_beside_reasoning_where_both_are_refused() -> None:
    asked = {"tools": [tool()], "tool_choice": "required", "model": UNKNOWN}
    alone = {"forced_tools_with_reasoning": False}
    out, header = translate(reasoning_effort="high", overrides=alone, **asked)
    assert (out["tool_choice"], header) == ({"type": "auto"}, "tool_choice")
    assert translate(overrides=alone, **asked)[0]["tool_choice"] == {"type": "any"}
    assert translate(reasoning_effort="high", **asked)[0]["tool_choice"] == {"type": "any"}
