"""Anthropic client -> Unified Model -> OpenAI-compatible backend.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

import base64
import json
from hashlib import sha256
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from sdk_types import accept

from lmbroker.call import Mode
from lmbroker.errors import Refused
from lmbroker.translation.dialects.anthropic_messages.decode_request import decode_request
from lmbroker.translation.dialects.openai.families import UNKNOWN as UNKNOWN_OPENAI
from lmbroker.translation.dialects.openai_chat.encode_request import encode_request
from lmbroker.translation.losses import Losses, listed
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.shared.attribution import MARK as BILLING
from lmbroker.translation.shared.names import renamed
from lmbroker.translation.shared.signature import seal
from lmbroker.translation.unified.parts import (
    AudioPart,
    Extra,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import OutputFormat, Request, Tool, ToolChoice, Turn

JSON = dict[str, Any]

BLIND = "[image left out: this model cannot see images]"

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n").decode()

LOCAL = "house-model"
LLAMA = "llama-3.3"
QWEN = "qwen3-coder"
DEEPSEEK = "deepseek-chat"
MISTRAL = "mistral-large"
GPT_4O = "gpt-4o"
GPT_5 = "gpt-5"
GPT_52 = "gpt-5.2"
GPT_54 = "gpt-5.4"

RC = seal({"k": "rc"})

HELLO = {"role": "user", "content": "Hello"}
HI = {"role": "assistant", "content": "Hi"}


def translate(
    *messages: JSON,
    model: str = LOCAL,
    mode: Mode = "default",
    overrides: JSON | None = None,
    judged: bool = True,
    **fields: Any,
) -> tuple[JSON, str]:
    """The OpenAI body and the header; every body is one that the vendor's SDK takes, but for
    those that only some backends take (``judged`` false)."""
    body = {"model": "alias", "max_tokens": 100, "messages": list(messages) or [HELLO], **fields}
    before = json.dumps(body)
    request = msgspec.structs.replace(decode_request(body), model=model)
    out, header = encoded(request, mode, overrides)
    assert json.dumps(body) == before
    if judged:
        streamed = out.get("stream")
        hint = CompletionCreateParamsStreaming if streamed else CompletionCreateParamsNonStreaming
        accept(hint, without_reasoning(out), closed=model.startswith("gpt"))
    return out, header


def without_reasoning(body: JSON) -> JSON:
    """The body without past reasoning, for which the SDK has no type."""
    fields = ("reasoning_content", "reasoning", "reasoning_details")
    messages = [{k: v for k, v in m.items() if k not in fields} for m in body["messages"]]
    return {**body, "messages": messages}


def encoded(request: Request, mode: Mode = "default", overrides: Any = None) -> tuple[JSON, str]:
    losses = Losses(mode, model="alias", dialect="openai")
    out = encode_request(request, profile("openai", request.model, overrides), losses)
    return out, listed(losses.paths)


def refused(*messages: JSON, **fields: Any) -> str | None:
    with pytest.raises(Refused) as caught:
        translate(*messages, **fields)
    assert caught.value.info.kind == "unsupported"
    return caught.value.info.param


def text(words: str, **more: Any) -> JSON:
    return {"type": "text", "text": words, **more}


def user(*blocks: JSON) -> JSON:
    return {"role": "user", "content": list(blocks)}


def said(*blocks: JSON) -> JSON:
    return {"role": "assistant", "content": list(blocks)}


def use(id: str = "toolu_1", name: str = "f", input: Any = None) -> JSON:
    return {"type": "tool_use", "id": id, "name": name, "input": input or {}}


def result(id: str = "toolu_1", content: Any = "done", **more: Any) -> JSON:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def image(data: str = PNG) -> JSON:
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return {"type": "image", "source": source}


def document(source: JSON, **more: Any) -> JSON:
    return {"type": "document", "source": source, **more}


def pdf(**more: Any) -> JSON:
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    return document(source, **more)


def tool(name: str = "f", **more: Any) -> JSON:
    return {"name": name, "input_schema": {"type": "object"}, **more}


def thinking(words: str, signature: str = "EqQBnative") -> JSON:
    return {"type": "thinking", "thinking": words, "signature": signature}


IMAGE_URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def test_a_minimal_request() -> None:
    out, header = translate()
    assert list(out.items()) == [("model", LOCAL), ("messages", [HELLO]), ("max_tokens", 100)]
    assert header == ""


def test_the_order_of_the_keys_is_stable() -> None:
    out, _ = translate(
        stream=True,
        metadata={"user_id": "u"},
        stop_sequences=["x"],
        top_p=0.5,
        temperature=0.5,
        output_config={
            "effort": "low",
            "format": {"type": "json_schema", "schema": {"type": "object"}},
        },
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        tools=[tool()],
        system="s",
    )
    assert list(out) == [
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_tokens",
        "reasoning_effort",
        "response_format",
        "temperature",
        "top_p",
        "stop",
        "user",
        "stream",
        "stream_options",
    ]


def test_case_27_instructions() -> None:
    out, header = translate(
        system=[
            text("x-anthropic-billing-header: cc_version=2.1; cch=5f;"),
            text("You are a coder.", cache_control={"type": "ephemeral"}),
            text("Rules."),
        ]
    )
    assert out["messages"][0] == {"role": "system", "content": "You are a coder.\n\nRules."}
    assert header == ""
    assert translate(system="s", model=GPT_5)[0]["messages"][0]["role"] == "developer"
    for nothing in ([], "", [text("x-anthropic-billing-header: x")]):
        assert translate(system=nothing)[0]["messages"] == [HELLO]


def test_instructions_in_the_middle() -> None:
    later = {"role": "system", "content": [text("Be brief."), text("Be kind.")]}
    out, header = translate(HELLO, later, HI, HELLO)
    assert out["messages"][1] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert header == ""
    out, header = translate(HELLO, later, HI, HELLO, model=LLAMA)
    assert out["messages"] == [
        {"role": "user", "content": "Hello\n\n[system]\nBe brief.\n\nBe kind."},
        HI,
        HELLO,
    ]
    assert header == "messages[].role"


def test_templates_that_want_turns_get_one_message_of_a_user_in_a_row() -> None:
    later = {"role": "system", "content": "s"}
    out, _ = translate(user(text("a"), image()), later, model=LLAMA, overrides={"vision": True})
    assert out["messages"] == [user(text("a"), IMAGE_URL, text("[system]\ns"))]
    assert [m["role"] for m in translate(HELLO, HELLO)[0]["messages"]] == ["user", "user"]


def test_case_28_results_come_first() -> None:
    out, header = translate(
        HELLO,
        said(use("a"), use("b"), use("c")),
        user(text("one"), result("a", "A"), text("two"), result("b", [text("x"), text("y")])),
        user(result("c", None)),
    )
    assert out["messages"][2:] == [
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "tool", "tool_call_id": "b", "content": "x\ny"},
        {"role": "tool", "tool_call_id": "c", "content": ""},
        user(text("one"), text("two")),
    ]
    assert header == ""


def test_case_29_images_in_results() -> None:
    conversation = (
        HELLO,
        said(use("a"), use("b")),
        user(result("a", [text("screen"), image()]), result("b", [image(), image()])),
    )
    out, header = translate(*conversation)
    follows = "[image {} of this tool result follows in the next user message]"
    assert [m["content"] for m in out["messages"][2:4]] == [
        f"screen\n{follows.format(1)}",
        f"{follows.format(1)}\n{follows.format(2)}",
    ]
    assert out["messages"][4] == user(
        text("[image 1 of tool result a]"),
        IMAGE_URL,
        text("[image 1 of tool result b]"),
        IMAGE_URL,
        text("[image 2 of tool result b]"),
        IMAGE_URL,
    )
    assert header == "messages[].content[].content"
    out, header = translate(*conversation, overrides={"tool_result_images": True}, judged=False)
    assert out["messages"][2]["content"] == [text("screen"), IMAGE_URL]
    assert len(out["messages"]) == 4 and header == ""
    out, header = translate(*conversation, overrides={"vision": False})
    assert [m["content"] for m in out["messages"][2:]] == [f"screen\n{BLIND}", f"{BLIND}\n{BLIND}"]
    assert header == "messages[].content[].type"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("exit 1", "ERROR: exit 1"),
        ("Error: no file", "Error: no file"),
        ("ERROR: x", "ERROR: x"),
        ([text("a"), text("b")], "ERROR: a\nb"),
        (None, "ERROR:"),
    ],
)
def test_case_30_errors(content: Any, expected: str) -> None:
    failed = result(content=content, is_error=True)
    out, header = translate(HELLO, said(use()), user(failed))
    assert out["messages"][2]["content"] == expected
    assert header == "messages[].content[].is_error"
    assert translate(HELLO, said(use()), user(result(is_error=False)))[1] == ""


def test_case_31_what_the_model_said() -> None:
    out, header = translate(
        HELLO,
        said(text("a"), use("t1", input={"b": 1, "a": "é\ud83d"}), text("b"), use("t2"), text("c")),
        user(result("t1"), result("t2")),
        said(use("t3")),
        user(result("t3")),
    )
    first, second = out["messages"][1], out["messages"][4]
    assert first["content"] == "abc" and second["content"] is None
    calls = [call["function"]["arguments"] for call in first["tool_calls"]]
    assert calls == ['{"b":1,"a":"\\u00e9\\ud83d"}', "{}"]
    assert header == ""


def test_turns_of_the_model_in_a_row_are_one_message() -> None:
    out, _ = translate(HELLO, said(text("a"), use()), said(text("b")), user(result()))
    assert [m["role"] for m in out["messages"]] == ["user", "assistant", "tool"]
    assert out["messages"][1]["content"] == "ab"


@pytest.mark.parametrize("block", [thinking("hm"), thinking("hm", RC), text("")])
def test_a_turn_of_the_model_without_words_and_calls_is_left_out(block: JSON) -> None:
    out, header = translate(HELLO, said(block), HELLO)
    assert out["messages"] == [HELLO, HELLO]
    assert header == ("messages[].content[].thinking" if block["type"] == "thinking" else "")


def test_case_32_tool_ids() -> None:
    long = "toolu_" + "x" * 35
    for model, id, kept in (
        (GPT_4O, long, False),
        (LOCAL, long, True),
        (LOCAL, "functions.f:0", False),
        (MISTRAL, "toolu_1", False),
        (MISTRAL, "abcDEF123", True),
    ):
        first, _ = translate(HELLO, said(use(id)), user(result(id)), model=model)
        more = (said(use("zz")), user(result("zz")))
        second, _ = translate(HELLO, said(use(id)), user(result(id)), *more, model=model)
        called = first["messages"][1]["tool_calls"][0]["id"]
        assert called == first["messages"][2]["tool_call_id"]
        assert second["messages"][: len(first["messages"])] == first["messages"]
        assert (called == id) is kept
        assert len(called) == (9 if model == MISTRAL else len(called)) <= 41
    assert len(translate(HELLO, said(use(long)), user(result(long)), model=GPT_4O)[1]) == 0


def test_case_33_tool_names() -> None:
    name = "mcp__server__" + "y" * 67
    out, header = translate(
        HELLO,
        said(use(name=name)),
        user(result()),
        tools=[tool(name)],
        tool_choice={"type": "tool", "name": name},
    )
    sent = out["tools"][0]["function"]["name"]
    assert len(name) == 80 and len(sent) == 64 and header == ""
    assert out["messages"][1]["tool_calls"][0]["function"]["name"] == sent
    assert out["tool_choice"] == {"type": "function", "function": {"name": sent}}
    assert renamed([name]) == {sent: name}


THINKING: dict[str, JSON] = {
    "nothing": {},
    "disabled": {"thinking": {"type": "disabled"}},
    "between_tools": {"thinking": {"type": "between_tools"}},
    "adaptive": {"thinking": {"type": "adaptive"}},
    "omitted": {"thinking": {"type": "adaptive", "display": "omitted"}},
    "low": {"output_config": {"effort": "low"}},
    "medium": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
    "xhigh": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
    "budget": {"thinking": {"type": "enabled", "budget_tokens": 10000}},
    "both": {
        "thinking": {"type": "enabled", "budget_tokens": 10000},
        "output_config": {"effort": "low"},
    },
    "off_low": {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
}
EFFORT = "output_config.effort"
CONTROLS: dict[str, dict[str, tuple[JSON, str]]] = {
    "effort": {
        "nothing": ({}, ""),
        "disabled": ({"reasoning_effort": "none"}, ""),
        "between_tools": ({"reasoning_effort": "none"}, "thinking"),
        "adaptive": ({}, ""),
        "omitted": ({}, ""),
        "low": ({"reasoning_effort": "low"}, ""),
        "medium": ({"reasoning_effort": "medium"}, ""),
        "xhigh": ({"reasoning_effort": "high"}, EFFORT),
        "budget": ({"reasoning_effort": "medium"}, "thinking"),
        "both": ({"reasoning_effort": "low"}, "thinking"),
        "off_low": ({"reasoning_effort": "none"}, EFFORT),
    },
    "deepseek": {
        "nothing": ({}, ""),
        "disabled": ({"thinking": {"type": "disabled"}}, ""),
        "between_tools": ({"thinking": {"type": "disabled"}}, "thinking"),
        "adaptive": ({"thinking": {"type": "enabled"}}, ""),
        "omitted": ({"thinking": {"type": "enabled"}}, ""),
        "low": ({"thinking": {"type": "enabled"}, "reasoning_effort": "low"}, ""),
        "medium": ({"thinking": {"type": "enabled"}, "reasoning_effort": "high"}, EFFORT),
        "xhigh": ({"thinking": {"type": "enabled"}, "reasoning_effort": "high"}, EFFORT),
        "budget": ({"thinking": {"type": "enabled"}}, "thinking"),
        "both": ({"thinking": {"type": "enabled"}, "reasoning_effort": "low"}, "thinking"),
        "off_low": ({"thinking": {"type": "disabled"}}, EFFORT),
    },
    "template_kwargs": {
        "nothing": ({}, ""),
        "disabled": ({"chat_template_kwargs": {"enable_thinking": False}}, ""),
        "between_tools": ({"chat_template_kwargs": {"enable_thinking": False}}, "thinking"),
        "adaptive": ({"chat_template_kwargs": {"enable_thinking": True}}, ""),
        "omitted": ({"chat_template_kwargs": {"enable_thinking": True}}, ""),
        "low": ({"chat_template_kwargs": {"enable_thinking": True}}, EFFORT),
        "medium": ({"chat_template_kwargs": {"enable_thinking": True}}, EFFORT),
        "xhigh": ({"chat_template_kwargs": {"enable_thinking": True}}, EFFORT),
        "budget": ({"chat_template_kwargs": {"enable_thinking": True}}, "thinking"),
        "both": ({"chat_template_kwargs": {"enable_thinking": True}}, f"thinking,{EFFORT}"),
        "off_low": ({"chat_template_kwargs": {"enable_thinking": False}}, EFFORT),
    },
    "openrouter": {
        "nothing": ({}, ""),
        "disabled": ({"reasoning": {"enabled": False}}, ""),
        "between_tools": ({"reasoning": {"enabled": False}}, "thinking"),
        "adaptive": ({"reasoning": {"enabled": True}}, ""),
        "omitted": ({"reasoning": {"enabled": True}}, ""),
        "low": ({"reasoning": {"effort": "low"}}, ""),
        "medium": ({"reasoning": {"effort": "medium"}}, ""),
        "xhigh": ({"reasoning": {"effort": "xhigh"}}, ""),
        "budget": ({"reasoning": {"max_tokens": 10000}}, ""),
        "both": ({"reasoning": {"max_tokens": 10000}}, EFFORT),
        "off_low": ({"reasoning": {"enabled": False}}, EFFORT),
    },
    "none": {
        "nothing": ({}, ""),
        "disabled": ({}, ""),
        "between_tools": ({}, "thinking"),
        "adaptive": ({}, ""),
        "omitted": ({}, ""),
        "low": ({}, EFFORT),
        "medium": ({}, EFFORT),
        "xhigh": ({}, EFFORT),
        "budget": ({}, "thinking"),
        "both": ({}, f"thinking,{EFFORT}"),
        "off_low": ({}, EFFORT),
    },
}
CONTROL_FIELDS = ("reasoning_effort", "thinking", "chat_template_kwargs", "reasoning")


@pytest.mark.parametrize(
    ("control", "asked"), [(control, asked) for control in CONTROLS for asked in THINKING]
)
def test_case_34_reasoning_controls(control: str, asked: str) -> None:
    overrides: JSON = {"reasoning_control": control}
    if control == "deepseek":
        overrides["effort"] = ["low", "high", "max"]
    out, header = translate(overrides=overrides, **THINKING[asked])
    found = {name: out[name] for name in CONTROL_FIELDS if name in out}
    assert (found, header) == CONTROLS[control][asked]


def test_case_34_levels_of_models() -> None:
    off = {"type": "disabled"}
    assert translate(model=GPT_52, thinking=off)[0]["reasoning_effort"] == "none"
    assert translate(model=GPT_52, thinking=off)[1] == ""
    assert translate(model=GPT_5, thinking=off)[0]["reasoning_effort"] == "minimal"
    assert translate(model=GPT_5, thinking=off)[1] == "thinking"
    top = {"effort": "max"}
    assert translate(model=GPT_52, output_config=top)[0]["reasoning_effort"] == "xhigh"
    assert translate(model=DEEPSEEK, output_config=top)[0]["reasoning_effort"] == "max"
    assert translate(model=DEEPSEEK, output_config=top)[1] == ""
    none = {"effort": ()}
    by_template = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
    assert translate(overrides=none, thinking=off) == ({**translate()[0], **by_template}, "")
    by_effort = {**none, "reasoning_control": "effort"}
    assert translate(overrides=by_effort, thinking=off) == (translate()[0], "thinking")
    assert translate(overrides=none, output_config=top) == (translate()[0], EFFORT)
    always = {"reasoning_control": "none", "thinking_default": "always"}
    assert translate(overrides=always, thinking=off) == (translate()[0], "thinking")


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ({}, ""),
        (THINKING["disabled"], ""),
        (THINKING["between_tools"], "thinking"),
        (THINKING["off_low"], EFFORT),
        (THINKING["medium"], EFFORT),
        (THINKING["low"], EFFORT),
        (THINKING["adaptive"], "thinking"),
        (THINKING["budget"], "thinking"),
    ],
)
def test_case_35_tools_instead_of_reasoning(fields: JSON, header: str) -> None:
    apart = {"tools_with_reasoning": False}
    out, found = translate(model=GPT_54, tools=[tool()], overrides=apart, **fields)
    assert (out["reasoning_effort"], found) == ("none", header)
    asked = translate(model=GPT_54, tools=[tool()], **fields)[0]
    assert asked.get("reasoning_effort") == translate(model=GPT_54, **fields)[0].get(
        "reasoning_effort"
    )
    assert translate(model=GPT_54, **THINKING["low"])[0]["reasoning_effort"] == "low"
    assert "reasoning_effort" not in translate(model=GPT_54)[0]


def test_case_36_stop_sequences_and_user() -> None:
    assert translate(stop_sequences=["a", "b", "c", "d"])[0]["stop"] == ["a", "b", "c", "d"]
    for model in (LOCAL, GPT_5):
        out, header = translate(stop_sequences=list("abcde"), model=model)
        assert (out["stop"], header) == (list("abcde"), "")
    out, header = translate(stop_sequences=list("abcde"), overrides={"stop_max": 4})
    assert (out["stop"], header) == (list("abcd"), "stop_sequences")
    out, header = translate(stop_sequences=list("abcde"), overrides={"stop": False})
    assert "stop" not in out and header == "stop_sequences"
    assert "stop" not in translate(stop_sequences=[])[0]
    long = {"user_id": "u" * 200}
    out, header = translate(metadata=long, model=GPT_4O)
    assert out["safety_identifier"] == sha256(b"u" * 200).hexdigest() and header == ""
    assert translate(metadata=long)[0]["user"] == "u" * 200
    out, header = translate(metadata=long, model=LLAMA)
    assert header == "" and "u" * 200 not in json.dumps(out)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [tool(), {"type": "web_search_20250305", "name": "web_search"}]}, "tools[1]"),
        ({"tools": [{"type": "computer_20250124", "name": "computer"}]}, "tools[0]"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0]"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "tools[0]"),
        ({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}, "mcp_servers"),
        ({"container": "c_1"}, "container"),
        ({"compaction": {"type": "x"}}, "compaction"),
        ({"billing_policy": {"bill_to": "other"}}, "billing_policy"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"thread": {"type": "continue", "id": "t"}}, "thread"),
    ],
)
def test_case_37_refusals(fields: JSON, param: str) -> None:
    assert refused(**fields) == param


def test_case_37_what_passes() -> None:
    mark = {"type": "ephemeral"}
    out, header = translate(
        system=[text("s", cache_control=mark)],
        tools=[tool(cache_control=mark), tool("g", defer_loading=True)],
        cache_control=mark,
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        mcp_servers=[],
    )
    assert header == "context_management,tools[].defer_loading"
    assert [each["function"]["name"] for each in out["tools"]] == ["f", "g"]
    assert "cache" not in json.dumps(out)
    web = {"type": "web_search_20250305", "name": "web_search"}
    out, header = translate(tools=[web], mode="lenient")
    assert "tools" not in out and header == "tools[]"
    assert translate(inference_geo="eu", overrides={"inference_geo": ["eu"]})[1] == ""


def test_a_thread_that_is_continued_is_told_to_start_anew() -> None:
    with pytest.raises(Refused) as caught:
        translate(HI, thread={"type": "continue", "id": "t"})
    assert caught.value.info.details == {"error_code": "thread_unsupported_request"}


def test_case_38_prefill() -> None:
    out, header = translate(HELLO, HI)
    assert out["messages"] == [HELLO, HI] and header == ""
    for how in ({"model": GPT_4O}, {"overrides": {"prefill": "no"}}):
        out, header = translate(HELLO, HI, **how)
        assert out["messages"] == [HELLO, HI, {"role": "user", "content": "Continue."}]
        assert header == "messages[].role"
        assert refused(HELLO, HI, mode="strict", **how) == "messages[].role"
    unanswered = (HELLO, said(use()))
    assert translate(*unanswered, model=GPT_4O)[0]["messages"][-1]["role"] == "assistant"
    out, _ = translate(HELLO, HI, overrides={"prefill": "vllm"})
    assert (out["continue_final_message"], out["add_generation_prompt"]) == (True, False)
    for trick in ("mistral", "deepseek"):
        out, _ = translate(HELLO, HI, overrides={"prefill": trick})
        assert out["messages"][-1] == {**HI, "prefix": True}
    out, header = translate(HELLO, HI, overrides={"prefill": "native"})
    assert out["messages"] == [HELLO, HI] and header == ""
    for trick in ("vllm", "mistral"):
        out, _ = translate(HELLO, HI, HELLO, overrides={"prefill": trick})
        assert "prefix" not in json.dumps(out) and "continue_final_message" not in out


def test_case_39_max_tokens() -> None:
    assert refused(max_tokens=0) == "max_tokens"
    with pytest.raises(Refused) as caught:
        decode_request({"model": "m", "messages": [HELLO]})
    assert caught.value.info.code == "missing_required_parameter"
    out, header = translate(max_tokens=99999, model=GPT_4O)
    assert (out["max_completion_tokens"], header) == (16384, "max_tokens")
    assert "max_tokens" not in out


def test_case_40_documents() -> None:
    def one(block: JSON, **more: Any) -> tuple[Any, str]:
        out, header = translate(user(block), **more)
        return out["messages"][0]["content"], header

    place = "messages[].content[].type"
    held = {"filename": "document.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    assert one(pdf(), model=GPT_4O) == ([{"type": "file", "file": held}], "")
    content, header = one(pdf(title="Plan", context="c"), model=GPT_4O)
    assert content[0]["file"]["filename"] == "Plan" and header == place
    assert one(pdf())[0][0]["type"] == "file"
    elsewhere = "the file lies with another vendor"
    for block, words in (
        (pdf(title="Plan"), '[PDF "Plan" left out: this model cannot read PDF files]'),
        (document({"type": "file", "file_id": "f"}), f"[document left out: {elsewhere}]"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}},
         f"[image left out: {elsewhere}]"),
        (document({"type": "url", "url": "https://x/y.pdf"}),
         "[document left out: only its address was given, and this model cannot open addresses]"),
        (document({"type": "base64", "media_type": "application/zip", "data": "UEs="}),
         "[document left out: this model cannot read files of its type]"),
    ):  # fmt: skip
        assert one(block, overrides={"pdf": False}) == (words, place)
        assert refused(user(block), overrides={"pdf": False}, mode="strict") == place
    plain = {"type": "text", "media_type": "text/plain", "data": "words"}
    assert one(document(plain)) == ("<document>\nwords\n</document>", place)
    titled = document(plain, title='A "B"', context="about", citations={"enabled": True})
    assert one(titled) == (
        '<document title="A &quot;B&quot;">\nabout\nwords\n</document>',
        f"messages[].content[].citations,{place}",
    )
    pieces = {"type": "content", "content": [text("one"), image(), text("two")]}
    assert one(document(pieces, title="T"))[0] == [
        text('<document title="T">\none'),
        IMAGE_URL,
        text("two\n</document>"),
    ]


def test_case_40_search_results_and_references() -> None:
    found = {
        "type": "search_result",
        "title": "T",
        "source": "https://x",
        "content": [text("a"), text("b")],
    }
    out, header = translate(user(found))
    assert out["messages"][0]["content"] == "[T](https://x)\na\nb"
    assert header == "messages[].content[].type"
    reference = {"type": "tool_reference", "tool_name": "g"}
    out, header = translate(HELLO, said(use()), user(result(content=[reference])))
    assert out["messages"][2]["content"] == 'Tool "g" is available.'
    assert header == "messages[].content[].type"


def test_tools_of_the_provider_in_the_history() -> None:
    out, header = translate(
        HELLO,
        said(
            text("Let me look."),
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s1",
                "content": [
                    {
                        "type": "web_search_result",
                        "title": "A",
                        "url": "https://a",
                        "encrypted_content": "sealed",
                        "page_age": None,
                    },
                    {"type": "web_search_result", "title": "B", "url": "https://b"},
                ],
            },
            text("It is so.", citations=[{"type": "char_location", "cited_text": "x"}]),
        ),
        HELLO,
    )
    assert out["messages"][1]["content"] == (
        "Let me look.\n\n[web_search result] A - https://a\nB - https://b\n\nIt is so."
    )
    assert header == "messages[].content[].type,messages[].content[].citations"


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        (
            "code_execution",
            {"type": "code_execution_result", "stdout": "1\n", "stderr": "", "return_code": 0},
            "[code_execution result] 1",
        ),
        (
            "web_search",
            {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
            "[web_search result] error: max_uses_exceeded",
        ),
        (
            "web_fetch",
            {
                "type": "web_fetch_result",
                "url": "https://x",
                "content": {
                    "type": "document",
                    "title": "T",
                    "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                },
            },
            "[web_fetch result] https://x\nT\nwords",
        ),
        ("mcp", [text("a"), text("b")], "[mcp result] a\nb"),
        (
            "tool_search",
            {"tool_references": [{"type": "tool_reference", "tool_name": "g"}]},
            '[tool_search result] Tool "g" is available.',
        ),
        ("odd", 5, "[odd result]"),
    ],
)
def test_results_of_the_providers_tools_are_told(kind: str, content: Any, expected: str) -> None:
    block = {"type": f"{kind}_tool_result", "tool_use_id": "s1", "content": content}
    out, header = translate(HELLO, said(block), HELLO)
    assert out["messages"][1]["content"].rstrip() == expected
    assert header == "messages[].content[].type"


def test_other_blocks_of_anthropic() -> None:
    path = "messages[].content[].type"
    summary = {"type": "compaction", "content": "So far: x."}
    out, header = translate(HELLO, said(summary, text("Go on.")), HELLO)
    assert out["messages"][1:3] == [
        {"role": "system", "content": "So far: x."},
        {"role": "assistant", "content": "Go on."},
    ]
    assert header == path
    out, header = translate(HELLO, said(summary), HELLO, model=LLAMA)
    assert out["messages"][0]["content"] == "Hello\n\n[system]\nSo far: x.\n\nHello"
    unread = "[brand_new left out: only its own provider can read it]\n\n"
    for kind, before in (("fallback", ""), ("brand_new", unread)):
        out, header = translate(HELLO, said({"type": kind}, text("a")), HELLO)
        assert out["messages"][1] == {"role": "assistant", "content": f"{before}a"}
        assert header == path
    upload = {"type": "container_upload", "file_id": "f"}
    out, header = translate(user(upload))
    held = "[file left out: there is no container that could hold it]"
    assert out["messages"] == [{"role": "user", "content": held}] and header == path
    assert refused(user(upload), mode="strict") == path


def test_images_by_url_and_models_that_see_none() -> None:
    url = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    out, _ = translate(user(text("Look"), url))
    assert out["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "https://x/y.png"},
    }
    assert translate(user(url), model=LLAMA)[0]["messages"][0]["content"][0]["type"] == "image_url"
    blind = {"vision": False}
    out, header = translate(user(text("Look"), url), overrides=blind)
    assert out["messages"][0]["content"] == [text("Look"), text(BLIND)]
    assert header == "messages[].content[].type"
    assert refused(user(url), overrides=blind, mode="strict") == "messages[].content[].type"


def test_case_43_same_conversation_same_bytes() -> None:
    conversation = [
        HELLO,
        said(thinking("hm", RC), text("a"), use("x:1"), use("x:2")),
        user(text("see"), result("x:2", [image()]), result("x:1", is_error=True)),
        {"role": "system", "content": "later"},
        said(text("b")),
        user(document({"type": "text", "media_type": "text/plain", "data": "d"})),
        said(use("y", input={"z": 1, "a": [1, 2]})),
        user(result("y")),
    ]
    for model in (LOCAL, LLAMA, MISTRAL, GPT_4O, DEEPSEEK):
        overrides = {"vision": True}
        written = []
        for end in (1, 3, 4, 6, 8):
            asked: JSON = {"model": model, "overrides": overrides, "system": "s", "tools": [tool()]}
            first, _ = translate(*conversation[:end], **asked)
            second, _ = translate(*json.loads(json.dumps(conversation[:end])), **asked)
            assert json.dumps(first) == json.dumps(second)
            written.append(first)
        for before, after in pairwise(written):
            old, new = before["messages"], after["messages"]
            assert new[: len(old) - 1] == old[:-1]
            assert json.dumps(new[len(old) - 1]["content"]).startswith(
                json.dumps(old[-1]["content"])[:-1]
            )


def test_case_97_reasoning_goes_back_to_deepseek() -> None:
    conversation = (
        HELLO,
        said(thinking("first", RC), thinking("second", RC), use("a")),
        user(result("a")),
        said(use("b")),
        user(result("b")),
        said(thinking("signed"), use("c")),
        user(result("c")),
        said(thinking("end", RC), text("Done.")),
        HELLO,
    )
    out, header = translate(*conversation, model=DEEPSEEK)
    told = [m.get("reasoning_content") for m in out["messages"] if m["role"] == "assistant"]
    assert told == ["firstsecond", " ", " ", "end"]
    assert header == "messages[].content[].thinking"
    out, header = translate(*conversation)
    told = [m.get("reasoning_content") for m in out["messages"] if m["role"] == "assistant"]
    assert told == ["firstsecond", None, None, "end"]
    assert header == "messages[].content[].thinking"
    out, header = translate(*conversation, overrides={"reasoning_replay": "none"})
    assert "reasoning" not in json.dumps(out) and header == "messages[].content[].thinking"
    out, _ = translate(*conversation, overrides={"reasoning_replay": "reasoning"})
    assert out["messages"][1]["reasoning"] == "firstsecond"
    assert "reasoning" not in out["messages"][3]


def test_foreign_reasoning_goes_back_verbatim() -> None:
    entry = {"type": "reasoning.encrypted", "format": "google-gemini-v1", "data": "x", "index": 0}
    signed = seal({"k": "rd", "d": [entry]})
    conversation = (HELLO, said(thinking("hm", signed), use()), user(result()))
    out, header = translate(*conversation, overrides={"reasoning_replay": "reasoning_details"})
    assert out["messages"][1]["reasoning_details"] == [entry] and header == ""
    out, header = translate(*conversation, overrides={"reasoning_replay": "reasoning_content"})
    assert "reasoning_details" not in out["messages"][1]
    assert out["messages"][1]["reasoning_content"] == "hm"
    assert header == "messages[].content[].thinking"
    plain = (HELLO, said(thinking("hm", RC), use()), user(result()))
    out, header = translate(*plain, overrides={"reasoning_replay": "reasoning_details"})
    assert out["messages"][1]["reasoning_details"] == [
        {"index": 0, "type": "reasoning.text", "format": "unknown", "text": "hm"}
    ]


def test_case_98_signed_and_redacted_reasoning_is_dropped() -> None:
    redacted = {"type": "redacted_thinking", "data": "sealed"}
    for block in (thinking("hm"), redacted, thinking("", seal({"k": "oi", "id": "r", "enc": "x"}))):
        out, header = translate(
            HELLO,
            said(block, use()),
            user(result()),
            overrides={"reasoning_replay": "reasoning_content"},
        )
        assert set(out["messages"][1]) == {"role", "content", "tool_calls"}
        key = "data" if block is redacted else "thinking"
        assert header == f"messages[].content[].{key}"


def test_sampling() -> None:
    fields = {"temperature": 0.3, "top_p": 0.9, "top_k": 5}
    out, header = translate(**fields)
    assert (out["temperature"], out["top_p"], header) == (0.3, 0.9, "top_k")
    assert translate(**fields, overrides={"ext": ["top_k"]})[0]["top_k"] == 5
    assert translate(**fields, model=GPT_5)[1] == "temperature,top_p,top_k"
    assert translate(temperature=1, top_p=1, model=GPT_5) == (translate(model=GPT_5)[0], "")
    assert translate(temperature=0.3, model=GPT_52)[0]["temperature"] == 0.3
    low, off = {"output_config": {"effort": "low"}}, {"thinking": {"type": "disabled"}}
    assert translate(temperature=0.3, **low, model=GPT_52)[1] == "temperature"
    assert translate(temperature=0.3, **off, model=GPT_52)[1] == ""
    medium = {"default_effort": "medium"}
    assert translate(temperature=0.3, model=GPT_52, overrides=medium)[1] == "temperature"


def test_fields_that_only_some_backends_take() -> None:
    assert translate(min_p=0.1)[1] == "min_p"
    out, header = translate(min_p=0.1, model=QWEN)
    assert (out["min_p"], header) == (0.1, "")
    assert refused(min_p=0.1, mode="strict") == "min_p"


def test_streams_ask_for_usage() -> None:
    out, _ = translate(stream=True)
    assert (out["stream"], out["stream_options"]) == (True, {"include_usage": True})
    assert "stream_options" not in translate(stream=True, overrides={"stream_options": False})[0]
    assert "stream" not in translate(stream=False)[0]


def test_tiers() -> None:
    assert translate(service_tier="auto", model=GPT_4O)[0]["service_tier"] == "auto"
    assert translate(service_tier="standard_only", model=GPT_4O)[0]["service_tier"] == "default"
    assert translate(service_tier="auto") == translate()
    assert translate(speed="fast", model=GPT_4O)[1] == "speed"
    out, header = translate(speed="fast", model=GPT_4O, overrides={"map_fast": True})
    assert (out["service_tier"], header) == ("fast", "")


CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}


def test_structured_output() -> None:
    def formatted(schema: JSON, **more: Any) -> tuple[JSON, str]:
        form = {"type": "json_schema", "schema": schema}
        return translate(output_config={"format": form}, **more)

    out, header = formatted(CLOSED)
    held = {"name": "output", "schema": CLOSED, "strict": True}
    assert out["response_format"] == {"type": "json_schema", "json_schema": held}
    assert header == ""
    out, header = formatted(OPEN)
    assert out["response_format"]["json_schema"]["strict"] is False
    assert header == "output_config.format.schema"
    line = (
        "Answer with one valid JSON value that conforms to this JSON schema, and nothing else:\n"
        + json.dumps(OPEN, separators=(",", ":"))
    )
    out, header = formatted(OPEN, overrides={"structured_outputs": False}, system="s")
    assert out["response_format"] == {"type": "json_object"}
    assert out["messages"][-1] == {"role": "system", "content": line}
    assert header == "output_config.format.schema"
    plain = {"structured_outputs": False, "json_object": False}
    out, header = formatted(OPEN, overrides=plain, model=LLAMA, system="s")
    assert "response_format" not in out
    assert out["messages"] == [{"role": "system", "content": f"s\n\n{line}"}, HELLO]
    out, header = formatted(OPEN, overrides=plain, model=LLAMA)
    assert out["messages"][0] == {"role": "system", "content": line}


def test_strict_tools() -> None:
    out, header = translate(tools=[{**tool(), "input_schema": CLOSED, "strict": True}])
    assert out["tools"][0]["function"]["strict"] is True and header == ""
    for takes, schema in ((True, OPEN), (False, CLOSED)):
        strict = {**tool(), "input_schema": schema, "strict": True}
        out, header = translate(tools=[strict], overrides={"strict_tools": takes})
        assert "strict" not in out["tools"][0]["function"] and header == "tools[].strict"
    assert translate(tools=[tool(strict=False)])[1] == ""


def test_examples_are_told_in_the_description() -> None:
    examples = [{"a": 1}, {"a": "ü"}]
    out, header = translate(
        tools=[tool(description="d", input_examples=examples), tool("g", input_examples=examples)]
    )
    lines = 'Examples of its input, one a line:\n{"a":1}\n{"a":"ü"}'
    described = [each["function"]["description"] for each in out["tools"]]
    assert described == [f"d\n\n{lines}", lines]
    assert header == "tools[].input_examples"


def test_tool_search_is_left_out_and_so_is_what_could_wait() -> None:
    search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    later = [tool(f"late{n}", defer_loading=True) for n in range(4)]
    asked: JSON = {"tools": [search, tool("a"), *later, tool("b")]}
    out, header = translate(**asked)
    assert len(out["tools"]) == 6
    assert header == "tools[].type,tools[].defer_loading"

    def names(*messages: JSON, tool_max: int) -> list[str]:
        out, _ = translate(*messages, **asked, overrides={"tool_max": tool_max})
        return [each["function"]["name"] for each in out["tools"]]

    assert names(tool_max=4) == ["a", "late0", "late1", "b"]
    found = result(content=[{"type": "tool_reference", "tool_name": "late3"}])
    assert names(HELLO, said(use()), user(found), tool_max=3) == ["a", "late3", "b"]
    called = (HELLO, said(use(name="late2")), user(result()))
    assert names(*called, tool_max=3) == ["a", "late2", "b"]
    assert names(*called, tool_max=1) == ["a", "b"]
    out, header = translate(tools=[search], tool_choice={"type": "any"})
    assert "tools" not in out and "tool_choice" not in out and header == "tools[].type"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choice(choice: JSON, expected: Any) -> None:
    out, header = translate(tools=[tool()], tool_choice=choice)
    assert (out["tool_choice"], header) == (expected, "")
    assert "parallel_tool_calls" not in out
    out, _ = translate(tools=[tool()], tool_choice={**choice, "disable_parallel_tool_use": True})
    assert out["parallel_tool_calls"] is False
    out, header = translate(tool_choice={**choice, "disable_parallel_tool_use": True})
    assert out == translate()[0] and header == ""


def test_a_forced_choice_that_the_model_does_not_take() -> None:
    asked: JSON = {"tools": [tool()], "tool_choice": {"type": "tool", "name": "f"}}
    out, header = translate(**asked, overrides={"forced_tools": False})
    assert out["messages"][-1]["content"] == "You must call the tool f in your next answer."
    assert "tool_choice" not in out and header == "tool_choice"
    refuse = {"forced_tools": False, "forced_tools_fallback": "refuse"}
    assert refused(**asked, overrides=refuse) == "tool_choice"


def test_cache_marks_where_the_backend_has_them() -> None:
    mark, hour = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
    out, header = translate(
        user(text("a", cache_control=mark)),
        said(text("b"), text("c", cache_control=hour), use()),
        user(result(content="r", cache_control=mark), text("d", cache_control=mark)),
        system=[text("s", cache_control=hour), text("t", cache_control=mark)],
        overrides={"cache_breakpoints": True},
    )
    short, long = {"mode": "explicit"}, {"mode": "explicit", "ttl": "12h"}
    assert [m["content"] for m in out["messages"]] == [
        [text("s"), text("t")],
        [text("a", prompt_cache_breakpoint=short)],
        [text("bc", prompt_cache_breakpoint=long)],
        [text("r", prompt_cache_breakpoint=short)],
        [text("d", prompt_cache_breakpoint=short)],
    ]
    assert header == ""


def test_what_comes_from_other_dialects_still() -> None:
    request = Request(
        dialect="responses",
        model=LOCAL,
        turns=(
            Turn(
                role="user",
                parts=(TextPart(text="a"), AudioPart(format="wav", data="QQ==")),
                name="ann",
            ),
            Turn(
                role="assistant",
                parts=(
                    TextPart(text="No.", refusal=True),
                    ToolCallPart(id="a", name="g", raw_args="free", kind="custom"),
                    ToolCallPart(id="b", name="f", args={"x": 1}, raw_args='{ "x":1}'),
                ),
            ),
            Turn(role="user", parts=(ToolResultPart(call_id="a"), ToolResultPart(call_id="b"))),
            Turn(role="user", parts=()),
        ),
        tools=(
            Tool(kind="custom", name="g", grammar={"type": "text"}),
            Tool(kind="function", name="f"),
            Tool(kind="function", name="h"),
        ),
        tool_choice=ToolChoice(mode="required", allowed=("g", "f")),
        output=OutputFormat(kind="json_object"),
        tier="flex",
    )
    out, header = encoded(request)
    accept(CompletionCreateParamsNonStreaming, out)
    heard = {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}
    assert out["messages"] == [
        {"role": "user", "name": "ann", "content": [text("a"), heard]},
        {
            "role": "assistant",
            "content": None,
            "refusal": "No.",
            "tool_calls": [
                {"id": "a", "type": "custom", "custom": {"name": "g", "input": "free"}},
                {
                    "id": "b",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{ "x":1}'},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": ""},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": ""},
    ]
    assert [each["type"] for each in out["tools"]] == ["custom", "function"]
    assert out["response_format"] == {"type": "json_object"}
    assert (out["tool_choice"], header) == ("required", "tier")


def test_the_profile_of_an_unknown_model() -> None:
    assert profile("openai", LOCAL) == UNKNOWN_OPENAI


_words = st.sampled_from(["a", "b c", "\U0001f600", "x " * 5])
_mark = st.sampled_from([{}, {}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}])
_text = st.builds(lambda words, mark: text(words, **mark), _words, _mark)
_result_content = st.none() | _words | st.lists(_text | st.builds(image), max_size=3)
_result = st.builds(
    lambda id, content, failed: result(id, content, is_error=failed),
    st.sampled_from(["a", "b:c"]),
    _result_content,
    st.booleans(),
)
_user = st.builds(
    lambda content: {"role": "user", "content": content},
    _words | st.lists(_text | _result | st.builds(image), min_size=1, max_size=4),
)


def says(message: JSON) -> bool:
    """Whether a message of the model has words or calls: others are left out."""
    content = message["content"]
    if message["role"] != "assistant" or isinstance(content, str):
        return bool(content) or message["role"] != "assistant"
    return any(block.get("text") or block["type"] == "tool_use" for block in content)


_system = st.builds(lambda words: {"role": "system", "content": words}, _words)
_thought = st.builds(thinking, _words, st.sampled_from([RC, "signed"]))
_assistant = st.builds(
    lambda content: {"role": "assistant", "content": content},
    _words
    | st.lists(
        _text | _thought | st.builds(use, st.sampled_from(["a", "b:c"])), min_size=1, max_size=4
    ),
)
_exchange = st.lists(_user | _system, min_size=1, max_size=2).flatmap(
    lambda asked: st.builds(lambda answered: [*asked, *answered], st.lists(_assistant, max_size=2))
)
_conversation = st.lists(_exchange, min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(_conversation, st.sampled_from([LOCAL, LLAMA, QWEN, DEEPSEEK, MISTRAL, GPT_4O, GPT_54]))
def test_every_conversation_is_taken_and_grows_at_its_end(
    exchanges: list[list[JSON]], model: str
) -> None:
    overrides = {"vision": True, "prefill": "native"}
    asked: JSON = {"model": model, "overrides": overrides, "system": "s", "tools": [tool()]}
    messages = [message for exchange in exchanges for message in exchange]
    assume(all(says(message) for message in messages))
    out, header = translate(*messages, **asked)
    assert (out, header) == translate(*messages, **asked)
    shorter = [message for exchange in exchanges[:-1] for message in exchange]
    if shorter and exchanges[-2][-1]["role"] == "assistant":
        before, _ = translate(*shorter, **asked)
        assert out["messages"][: len(before["messages"])] == before["messages"]
    roles = [message["role"] for message in out["messages"]]
    assert roles[0] in ("system", "developer")
    pairs = set(pairwise(roles))
    assert ("assistant", "assistant") not in pairs
    if profile("openai", model).system_first_only:
        assert ("user", "user") not in pairs and "system" not in roles[1:]
    else:
        assert ("user", "tool") not in pairs
    told = json.dumps(out["messages"], ensure_ascii=False)
    for message in messages:
        if isinstance(message["content"], str):
            assert message["content"] in told


_spoken = st.builds(
    Turn,
    role=st.sampled_from(["user", "assistant", "system"]),
    parts=st.tuples(st.builds(TextPart, text=st.sampled_from(["", "a", "b"]))),
    name=st.none() | st.just("Ann"),
)


@given(
    st.lists(st.builds(TextPart, text=st.sampled_from(["", "a", BILLING])), max_size=2),
    st.lists(_spoken, min_size=1, max_size=5),
    st.sampled_from([LOCAL, LLAMA, DEEPSEEK, GPT_4O, GPT_54]),
    st.booleans(),
)
def test_plain_texts_are_written_as_others_are(
    system: list[TextPart], turns: list[Turn], model: str, first_only: bool
) -> None:
    silent = Extra(origin="anthropic", name="x", path="x", value=1, loss="none")

    def marked(part: Any) -> Any:
        """With what leaves no trace, and makes of the text no plain one."""
        return msgspec.structs.replace(part, extras=(silent,))

    plain = Request(
        dialect="anthropic", model=model, system=tuple(system), turns=tuple(turns), max_tokens=1
    )
    other = msgspec.structs.replace(
        plain,
        system=tuple(map(marked, system)),
        turns=tuple(
            msgspec.structs.replace(turn, parts=tuple(map(marked, turn.parts)), extras=(silent,))
            for turn in turns
        ),
        extras=(silent,),
    )
    overrides = {"prefill": "native", "system_first_only": first_only}
    assert encoded(plain, overrides=overrides) == encoded(other, overrides=overrides)


def test_a_text_on_its_own_loses_nothing_unheard() -> None:
    cited = text("a", citations=[{"type": "char_location", "cited_text": "x"}])
    for block, lost in ((cited, "citations"), (text("a", x=1), "x")):
        out, header = translate(HELLO, said(block), HELLO)
        assert out["messages"][1] == {"role": "assistant", "content": "a"}
        assert header == f"messages[].content[].{lost}"
        out, header = translate(user(block))
        assert out["messages"] == [{"role": "user", "content": "a"}]
        assert header == f"messages[].content[].{lost}"
    no = Turn(role="assistant", parts=(TextPart(text="No.", refusal=True),))
    out, _ = encoded(
        Request(dialect="x", model=LOCAL, turns=(no,)), overrides={"prefill": "native"}
    )
    assert out["messages"] == [{"role": "assistant", "content": "", "refusal": "No."}]


def test_tool_schemas_are_completed() -> None:
    bare = {"name": "f", "input_schema": {"type": "object", "required": None}}
    out, header = translate(tools=[bare])
    assert out["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert header == ""


PATTERNED = {
    "type": "object",
    "properties": {"pattern": {"type": "string", "pattern": "x"}},
    "required": ["pattern"],
    "additionalProperties": False,
}
PLAIN = {**PATTERNED, "properties": {"pattern": {"type": "string"}}}


def test_keywords_that_a_backend_refused_are_taken_out_of_schemas() -> None:
    form = {"format": {"type": "json_schema", "schema": PATTERNED}}
    asked: JSON = {"tools": [{**tool(), "input_schema": PATTERNED}], "output_config": form}
    out, header = translate(overrides={"omit_schema_keywords": ["pattern"]}, **asked)
    assert out["tools"][0]["function"]["parameters"] == PLAIN
    assert out["response_format"]["json_schema"]["schema"] == PLAIN
    assert header == "tools[].input_schema,output_config.format.schema"
    assert translate(**asked)[0]["tools"][0]["function"]["parameters"] == PATTERNED


def test_a_choice_of_a_tool_that_was_left_out_is_left_out_with_it() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    named = {"type": "tool", "name": "web_search"}
    asked: JSON = {"tools": [tool(), search], "tool_choice": named}
    out, header = translate(mode="lenient", **asked)
    assert "tool_choice" not in out and header == "tools[],tool_choice"
    out, header = translate(tools=[tool()], tool_choice={"type": "tool", "name": "f"})
    assert out["tool_choice"]["function"] == {"name": "f"} and header == ""


def test_cache_marks_in_the_form_of_gateways() -> None:
    short, long = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
    out, header = translate(
        user(text("a", cache_control=short)),
        said(text("b", cache_control=long)),
        HELLO,
        model="anthropic/claude-sonnet-4.6",
        system=[text("s", cache_control=short)],
        judged=False,
    )
    assert [m["content"] for m in out["messages"][:3]] == [
        [text("s", cache_control=short)],
        [text("a", cache_control=short)],
        [text("b", cache_control=long)],
    ]
    assert header == ""
    out, _ = translate(user(text("a", cache_control=short)), model="gpt-5.6")
    assert out["messages"][0]["content"] == [text("a", prompt_cache_breakpoint=EXPLICIT)]
    assert translate(user(text("a", cache_control=short)))[0]["messages"] == [
        {"role": "user", "content": "a"}
    ]


EXPLICIT = {"mode": "explicit"}


def test_a_salt_of_the_cache_goes_to_those_who_take_one() -> None:
    out, header = translate(cache_salt="s", overrides={"ext": ["cache_salt"]}, judged=False)
    assert out["cache_salt"] == "s" and header == ""
    out, header = translate(cache_salt="s")
    assert "cache_salt" not in out and header == "cache_salt"


MEDIA = (image(), pdf(), document({"type": "url", "url": "https://x/y.pdf"}))


@pytest.mark.parametrize("block", MEDIA, ids=lambda block: block["type"])
def test_nothing_in_the_history_makes_a_later_turn_fail(block: JSON) -> None:
    takes_nothing = {"vision": False, "pdf": False, "tool_result_images": True}
    places = (
        (user(block), HI, HELLO),
        (HELLO, said(use("a")), user(result("a", [block])), HI, HELLO),
        (HELLO, said(text("Look."), {"type": "brand_new"}), HELLO, HI, user(block)),
    )
    for conversation in places:
        out, header = translate(*conversation, overrides=takes_nothing)
        told = json.dumps(out["messages"])
        assert "left out: " in told and "image_url" not in told and '"file"' not in told
        assert "messages[].content[].type" in header
        longer, _ = translate(*conversation, HI, HELLO, overrides=takes_nothing)
        assert longer["messages"][: len(out["messages"])] == out["messages"]


def test_where_content_may_not_be_a_list_its_texts_become_one() -> None:
    texts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": texts}
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    turns = ({"role": "user", "content": texts}, {"role": "assistant", "content": [call]})
    last = {"role": "user", "content": [result, *texts]}
    out, _ = translate(*turns, last, system=texts, overrides={"content_lists": False})
    said = [message["content"] for message in out["messages"] if message.get("content")]
    assert all(isinstance(each, str) for each in said)
    assert out["messages"][1]["content"] == "a\n\nb"
    image = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
    seen = {"role": "user", "content": [*texts, image]}
    out, _ = translate(seen, overrides={"content_lists": False})
    assert [part["type"] for part in out["messages"][0]["content"]] == ["text", "text", "image_url"]
    out, _ = translate(seen, overrides={"content_lists": False, "vision": False})
    assert isinstance(out["messages"][0]["content"], str)
