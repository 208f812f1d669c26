"""Requests of clients of Chat Completions and Messages -> Responses (translation.md 8.1, and the
tables of section 2 as they hold there)."""

import base64
import json
import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_requests import judged, known, paired

from lmbroker.call import Mode
from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai_responses.encode_request import encode_request
from lmbroker.translation.dialects.openai_responses.families import UNKNOWN
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.left_out import NO_CALL, NO_RESULT
from lmbroker.translation.shared.signature import compact, seal
from lmbroker.translation.unified.request import Tool, WebSearch

JSON = dict[str, Any]

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n").decode()
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

HELLO = {"role": "user", "content": "Hello"}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}

ENC = seal({"k": "oi", "id": "rs_1", "enc": "gAAA"})
"""The signature by which a client of Messages carries a reasoning item."""


class Sent(msgspec.Struct, frozen=True):
    """What the backend gets, and what is reported."""

    body: JSON
    dropped: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def items(self) -> list[JSON]:
        return self.body["input"]

    @property
    def lost(self) -> tuple[str, ...]:
        return self.dropped + self.changed


def sent(
    client: str,
    body: JSON,
    *,
    model: str = "house-model",
    mode: Mode = "default",
    **overrides: Any,
) -> Sent:
    before = json.dumps(body)
    request = ADAPTERS[client].decode_request(body)
    losses = Losses(mode, model="alias")
    out = encode_request(request, known(model, **overrides), losses)
    assert json.dumps(body) == before
    judged({key: value for key, value in out.items() if key not in overrides.get("ext", ())})
    return Sent(out, losses.dropped, losses.changed)


def from_a(*messages: JSON, **more: Any) -> Sent:
    options = {key: more.pop(key) for key in list(more) if key in OPTIONS}
    body = {"model": "m", "max_tokens": 100, "messages": list(messages) or [HELLO], **more}
    return sent("anthropic", body, **options)


def from_o(*messages: JSON, **more: Any) -> Sent:
    options = {key: more.pop(key) for key in list(more) if key in OPTIONS}
    body = {"model": "m", "messages": list(messages) or [HELLO], **more}
    return sent("openai", body, **options)


OPTIONS = {"mode", "model", *Profile.__struct_fields__} - {"service_tier", "stop"}


def user(*blocks: JSON) -> JSON:
    return {"role": "user", "content": list(blocks)}


def said(*blocks: JSON) -> JSON:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **more: Any) -> JSON:
    return {"type": "text", "text": words, **more}


def use(id: str = "toolu_1", name: str = "f", **args: Any) -> JSON:
    return {"type": "tool_use", "id": id, "name": name, "input": args}


def result(id: str = "toolu_1", content: Any = "done", **more: Any) -> JSON:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def thinking(words: str = "hm", signature: str = ENC) -> JSON:
    return {"type": "thinking", "thinking": words, "signature": signature}


def image() -> JSON:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    return {"type": "image", "source": source}


def message(role: str, content: Any) -> JSON:
    return {"type": "message", "role": role, "content": content}


def answer(words: str) -> JSON:
    return message("assistant", [{"type": "output_text", "text": words, "annotations": []}])


def call(id: str = "toolu_1", name: str = "f", arguments: str = "{}") -> JSON:
    return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}


def output(id: str = "toolu_1", said: Any = "done") -> JSON:
    return {"type": "function_call_output", "call_id": id, "output": said}


def a_tool(name: str = "f", **more: Any) -> JSON:
    return {"name": name, "input_schema": {"type": "object"}, **more}


def o_tool(name: str = "f", **more: Any) -> JSON:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **more}}


REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": "gAAA",
}


# -- what each request says ------------------------------------------------------------------------


def test_nothing_is_kept_at_the_backend_and_encrypted_reasoning_is_asked_for():
    for out in (from_a(), from_o()):
        assert out.body["store"] is False
        assert out.body["include"] == ["reasoning.encrypted_content"]
        assert out.lost == ()


@pytest.mark.parametrize("streamed", [True, False])
def test_a_stream_is_asked_for_without_options(streamed):
    out = from_o(stream=streamed, stream_options={"include_usage": True} if streamed else None)
    assert out.body.get("stream", False) is streamed
    assert "stream_options" not in out.body


# -- instructions ----------------------------------------------------------------------------------


def test_leading_instructions_are_the_field_for_them():
    out = from_a(HELLO, system=[text("One."), text("Two.")])
    assert out.body["instructions"] == "One.\n\nTwo."
    assert out.items == [message("user", "Hello")]
    out = from_o({"role": "developer", "content": "One."}, HELLO)
    assert out.body["instructions"] == "One."


def test_later_instructions_stay_in_their_place():
    later = {"role": "system", "content": "Now in French."}
    out = from_o(HELLO, {"role": "assistant", "content": "Hi"}, later, HELLO, model="gpt-5.2")
    assert [item["role"] for item in out.items] == ["user", "assistant", "developer", "user"]
    assert out.lost == ()
    out = from_o(HELLO, later, HELLO, mid_system=False)
    assert out.items[1] == message("user", "[system]\nNow in French.")
    assert out.changed == ("messages[].role",)
    out = from_o(HELLO, later, HELLO, system_first_only=True)
    assert out.items == [message("user", "Hello\n\n[system]\nNow in French.\n\nHello")]
    assert out.changed == ("messages[].role",)


def test_instructions_alone_are_what_is_asked():
    out = from_o({"role": "system", "content": "Say hi."})
    assert "instructions" not in out.body
    assert out.items == [message("system", "Say hi.")]


def test_instructions_with_cache_marks_are_a_message_that_can_hold_them():
    system = [text("One.", cache_control={"type": "ephemeral", "ttl": "1h"})]
    out = from_a(HELLO, system=system, model="gpt-5.6")
    mark = {"mode": "explicit", "ttl": "12h"}
    content = [{"type": "input_text", "text": "One.", "prompt_cache_breakpoint": mark}]
    assert out.items[0] == message("developer", content)
    assert from_a(HELLO, system=system, model="gpt-5.2").body["instructions"] == "One."


def test_the_word_json_is_among_the_items_where_an_object_is_asked_for():
    system = {"role": "system", "content": "Answer in JSON."}
    out = from_o(system, HELLO, response_format={"type": "json_object"})
    assert out.body["text"] == {"format": {"type": "json_object"}}
    assert out.items[0] == message("system", "Answer in JSON.")


@pytest.mark.parametrize("model", ["qwen3-coder", "llama-3.3", "claude-opus-5"])
def test_servers_of_other_models_get_instructions_as_a_message(model):
    """Some of them overlook the field."""
    out = from_o({"role": "system", "content": "Be brief."}, HELLO, model=model)
    assert "instructions" not in out.body
    assert out.items[0] == message("system", "Be brief.")


def test_the_line_that_asks_for_json_is_among_the_items_where_an_object_is_asked_for():
    held = {"name": "a", "schema": SCHEMA}
    out = from_o(
        {"role": "system", "content": "Be brief."},
        HELLO,
        response_format={"type": "json_schema", "json_schema": held},
        structured_outputs=False,
        mid_system=False,
    )
    assert out.body["text"] == {"format": {"type": "json_object"}}
    assert "JSON" in out.items[-1]["content"]


def test_a_model_without_instructions_gets_them_from_the_user():
    out = from_a(HELLO, system="Be brief.", system_role="user")
    assert out.items[0] == message("user", "[system]\nBe brief.")


def test_the_line_of_attribution_goes_nowhere():
    out = from_a(HELLO, system=[text("x-anthropic-billing-header: a=1"), text("Rules.")])
    assert out.body["instructions"] == "Rules."


# -- turns -----------------------------------------------------------------------------------------


def test_what_the_model_said_keeps_its_order():
    out = from_a(
        HELLO,
        said(text("First."), use("toolu_1"), text("Then."), use("toolu_2")),
        user(result("toolu_1"), result("toolu_2")),
    )
    assert out.items[1:] == [
        answer("First."),
        call("toolu_1"),
        answer("Then."),
        call("toolu_2"),
        output("toolu_1"),
        output("toolu_2"),
    ]


def test_texts_of_one_answer_are_one():
    out = from_a(HELLO, said(text("It is "), text("so.")), HELLO)
    assert out.items[1] == answer("It is so.")


def test_a_refusal_is_one():
    out = from_o(HELLO, {"role": "assistant", "content": None, "refusal": "No."}, HELLO)
    refusal = [{"type": "refusal", "refusal": "No."}]
    assert out.items[1] == message("assistant", refusal)
    assert out.lost == ()


def test_an_answer_that_says_nothing_is_none():
    out = from_o(HELLO, {"role": "assistant", "content": ""}, HELLO)
    assert [item["role"] for item in out.items] == ["user", "user"]


def test_names_of_speakers_are_dropped():
    assert from_o({**HELLO, "name": "ann"}).dropped == ("messages[].name",)


def test_an_answer_at_the_end_is_not_continued():
    for out in (from_a(HELLO, said(text("Once"))), from_o(HELLO, said(text("Once")))):
        assert out.items[-1] == message("user", "Continue.")
        assert out.changed == ("messages[].role",)


def test_a_compacted_conversation_is_told_by_its_summary():
    block = {"type": "compaction", "content": "Ann likes tea."}
    out = from_a(HELLO, said(block, text("Hi")), HELLO, model="gpt-5.2")
    assert out.items[1:3] == [message("developer", "Ann likes tea."), answer("Hi")]


# -- the order that chat templates want -----------------------------------------------------------


def test_speakers_take_turns():
    out = from_o(
        {"role": "assistant", "content": "Hi"}, HELLO, HELLO, alternate_roles=True
    )  # fmt: skip
    assert [item["role"] for item in out.items] == ["user", "assistant", "user"]
    assert out.items[0] == message("user", ".")
    assert out.items[2] == message("user", "Hello\n\nHello")


def test_a_user_s_word_after_a_result():
    asked = (HELLO, said(use()), user(result(), text("Go on.")))
    out = from_a(*asked, after_tool="assistant")
    assert out.items[3:] == [answer("Understood."), message("user", "Go on.")]
    out = from_a(*asked, after_tool="merge")
    assert out.items[2:] == [output(said="done\n\nGo on.")]
    out = from_a(HELLO, said(use()), user(result(), image()), after_tool="merge")
    assert [item.get("role") for item in out.items[3:]] == ["assistant", "user"]
    assert from_a(*asked).items[3:] == [message("user", "Go on.")]


def test_content_is_one_text_where_lists_are_not_taken():
    out = from_a(
        user(text("a"), text("b")), said(text("c")), user(text("d"), image()), content_lists=False
    )
    assert [item["content"] for item in out.items[:2]] == ["a\n\nb", "c"]
    assert isinstance(out.items[2]["content"], list)


# -- images, files, audio --------------------------------------------------------------------------


def test_images_by_data_and_address():
    url = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
    out = from_a(user(text("See"), image(), url))
    assert out.items[0]["content"] == [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"},
        {"type": "input_image", "detail": "auto", "image_url": "https://a.example/b.png"},
    ]
    part = {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}
    assert from_o(user(part)).items[0]["content"][0]["detail"] == "low"


@pytest.mark.parametrize(
    ("source", "written"),
    [
        (
            {"type": "base64", "media_type": "application/pdf", "data": PDF},
            {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        ),
        (
            {"type": "url", "url": "https://a.example/a.pdf"},
            {"file_url": "https://a.example/a.pdf"},
        ),
        (
            {"type": "base64", "media_type": WORD, "data": PDF[:-4] + "AAAA"},
            {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF[:-4]}AAAA"},
        ),
    ],
)
def test_documents_by_data_and_address(source, written):
    out = from_a(user({"type": "document", "source": source, "title": "a.pdf"}))
    assert out.items[0]["content"] == [{"type": "input_file", **written}]
    assert out.lost == ()


def test_files_of_any_type_are_sent_as_they_are():
    data = base64.b64encode(b"PK\x03\x04").decode()
    file = {"filename": "a.docx", "file_data": f"data:{WORD};base64,{data}"}
    out = from_o(user({"type": "file", "file": file}))
    assert out.items[0]["content"] == [{"type": "input_file", **file}]


def test_a_file_of_openai_s_is_known_by_its_id_and_one_of_another_vendor_is_not():
    out = from_o(user({"type": "file", "file": {"file_id": "file-1"}}))
    assert out.items[0]["content"] == [{"type": "input_file", "file_id": "file-1"}]
    block = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    out = from_a(user(block))
    assert "left out" in out.items[0]["content"]
    assert out.dropped == ("messages[].content[].type",)


def test_a_document_that_is_text_is_told_between_tags():
    source = {"type": "text", "media_type": "text/plain", "data": "Tea."}
    out = from_a(user({"type": "document", "source": source, "title": "a"}))
    assert out.items[0]["content"] == '<document title="a">\nTea.\n</document>'


def test_audio_is_left_out():
    part = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    out = from_o(user(part))
    assert out.items[0]["content"] == "[audio left out: this model cannot hear audio]"
    assert out.dropped == ("messages[].content[].input_audio",)


# -- calls and results -----------------------------------------------------------------------------


def test_a_result_may_hold_images():
    out = from_a(HELLO, said(use()), user(result(content=[text("See"), image()]), text("Well?")))
    url = f"data:image/png;base64,{PNG}"
    assert out.items[2] == output(
        said=[
            {"type": "input_text", "text": "See"},
            {"type": "input_image", "detail": "auto", "image_url": url},
        ]
    )
    assert out.items[3] == message("user", "Well?")
    assert out.lost == ()


def test_images_of_results_follow_where_a_result_is_text():
    out = from_a(HELLO, said(use()), user(result(content=[image()])), tool_result_images=False)
    follows = "[image 1 of this tool result follows in the next user message]"
    assert out.items[2] == output(said=follows)
    assert out.items[3]["content"][0]["text"] == "[image 1 of tool result toolu_1]"
    assert out.items[3]["content"][1]["type"] == "input_image"
    assert out.changed == ("messages[].content[].content",)


def test_results_as_text():
    blocks = [text("a"), text("b")]
    out = from_a(HELLO, said(use()), user(result(content=blocks)))
    assert out.items[2] == output(said="a\nb")
    out = from_a(HELLO, said(use()), user(result(content="no such file", is_error=True)))
    assert out.items[2] == output(said="ERROR: no such file")
    assert out.changed == ("messages[].content[].is_error",)


def test_calls_of_custom_tools_and_their_results():
    custom = {"id": "c1", "type": "custom", "custom": {"name": "run", "input": "ls -l"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [custom]}
    out = from_o(HELLO, asked, {"role": "tool", "tool_call_id": "c1", "content": "a b"})
    assert out.items[1:] == [
        {"type": "custom_tool_call", "call_id": "c1", "name": "run", "input": "ls -l"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "a b"},
    ]


def test_arguments_are_sent_as_they_were_written():
    function = {"name": "f", "arguments": '{"a": 1.00}'}
    asked = [{"id": "c1", "type": "function", "function": function}]
    out = from_o(
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": asked},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
    )
    assert out.items[1:] == [call("c1", arguments='{"a": 1.00}'), output("c1", "")]


def test_a_call_without_its_result_and_a_result_without_its_call():
    out = from_a(HELLO, said(use()), user(text("Stop.")), said(text("Well")), HELLO)
    assert out.items[1:4] == [call(), output(said=NO_RESULT), message("user", "Stop.")]
    assert out.changed == ("messages[]",)
    out = from_a(user(result("toolu_9", [text("x"), image()])), model="gpt-5.2")
    assert out.items[0]["content"][:2] == [
        {"type": "input_text", "text": NO_CALL},
        {"type": "input_text", "text": "x"},
    ]


def test_an_id_that_comes_twice_is_told_apart():
    out = from_a(HELLO, said(use()), user(result()), said(use()), user(result(content="again")))
    ids = [item["call_id"] for item in out.items if "call_id" in item]
    assert ids == ["toolu_1", "toolu_1", "toolu_1_2", "toolu_1_2"]


def test_ids_of_calls_may_have_64_characters():
    long, longer = "c" * 64, "c" * 65
    out = from_a(HELLO, said(use(long), use(longer)), user(result(long), result(longer)))
    ids = [item["call_id"] for item in out.items if "call_id" in item]
    assert ids[0] == long
    assert re.fullmatch("call_[0-9a-f]{24}", ids[1])
    assert known("gpt-5.2").tool_id == UNKNOWN.tool_id


# -- reasoning -------------------------------------------------------------------------------------


def test_reasoning_goes_back_directly_before_the_call_that_it_led_to():
    out = from_a(HELLO, said(text("Wait."), thinking(), use()), user(result()))
    assert out.items[1:4] == [answer("Wait."), REASONING, call()]
    assert out.lost == ()


def test_reasoning_before_a_message_goes_back_without_the_id_that_would_ask_for_the_message_s():
    out = from_a(HELLO, said(thinking(), text("Yes.")), HELLO)
    without = {key: value for key, value in REASONING.items() if key != "id"}
    assert out.items[1:3] == [without, answer("Yes.")]


def test_reasoning_that_nothing_follows_is_left_out():
    out = from_a(HELLO, said(use(), thinking()), user(result()), said(thinking()), HELLO)
    assert [item["type"] for item in out.items].count("reasoning") == 0
    assert out.dropped == ("messages[].content[].thinking",)


def test_reasoning_comes_once():
    out = from_a(
        HELLO, said(thinking(), use("t1")), user(result("t1")), said(thinking(), use("t2")),
        user(result("t2")),
    )  # fmt: skip
    assert [item["type"] for item in out.items].count("reasoning") == 1


def test_summaries_of_several_texts_and_reasoning_as_text():
    several = seal({"k": "oi", "id": "rs_1", "enc": "gAAA", "n": [1, 2]})
    out = from_a(HELLO, said(thinking("a\n\nbc", several), use()), user(result()))
    assert [part["text"] for part in out.items[1]["summary"]] == ["a", "bc"]
    local = seal({"k": "oi", "id": "rs_2", "c": 1})
    out = from_a(HELLO, said(thinking("hm", local), text("Yes.")), HELLO)
    assert out.items[1] == {
        "type": "reasoning",
        "id": "rs_2",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "hm"}],
    }


def test_encrypted_reasoning_alone_is_left_out_where_it_cannot_be_read():
    local = seal({"k": "oi", "id": "rs_2", "c": 1})
    blocks = (thinking(), use("t1"), thinking("c", local), use("t2"))
    turns = (HELLO, said(*blocks), user(result("t1"), result("t2")))
    out = from_a(*turns, replay_signed=False)
    assert [item["id"] for item in out.items if item["type"] == "reasoning"] == ["rs_2"]
    out = from_a(*turns, reasoning_replay="none")
    assert [item for item in out.items if item["type"] == "reasoning"] == []
    assert out.dropped == ("messages[].content[].thinking",)


@pytest.mark.parametrize(
    "block",
    [
        thinking(signature="EqQB"),
        thinking(signature=seal({"k": "rc"})),
        thinking(signature=seal({"k": "oi", "id": "rs_1"}), words=""),
        {"type": "redacted_thinking", "data": "abc"},
    ],
)
def test_reasoning_of_others_is_dropped(block):
    out = from_a(HELLO, said(block, use()), user(result()))
    assert [item["type"] for item in out.items].count("reasoning") == 0
    assert len(out.dropped) == 1
    assert out.dropped[0].startswith("messages[].content[].")


def test_reasoning_that_came_through_chat_completions():
    entry = {"type": "reasoning.encrypted", "format": "unknown", "data": ENC, "index": 0}
    words = {"type": "reasoning.text", "format": "unknown", "text": "hm", "signature": ENC}
    function = {"name": "f", "arguments": "{}"}
    for held in ([words], [entry]):
        asked = {
            "role": "assistant",
            "content": None,
            "reasoning_details": held,
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}],
        }
        out = from_o(HELLO, asked, {"role": "tool", "tool_call_id": "toolu_1", "content": "done"})
        assert [item["type"] for item in out.items[1:3]] in (
            ["reasoning", "function_call"],
            ["function_call", "function_call_output"],
        )


ADAPTIVE = {"type": "adaptive"}


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ({}, None),
        ({"thinking": ADAPTIVE}, {"summary": "auto"}),
        (
            {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
            {"effort": "low", "summary": "auto"},
        ),
        ({"output_config": {"effort": "low"}}, {"effort": "low", "summary": "auto"}),
        (
            {"thinking": {**ADAPTIVE, "display": "omitted"}, "output_config": {"effort": "low"}},
            {"effort": "low"},
        ),
        ({"thinking": {"type": "disabled"}}, {"effort": "none"}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"effort": "low", "summary": "auto"},
        ),
    ],
)
def test_how_much_to_reason(asked, written):
    assert from_a(**asked).body.get("reasoning") == written


def test_effort_of_chat_completions():
    assert from_o(reasoning_effort="high").body["reasoning"] == {
        "effort": "high",
        "summary": "auto",
    }
    out = from_o(reasoning={"effort": "high", "exclude": True})
    assert out.body["reasoning"] == {"effort": "high"}
    assert from_o(reasoning_effort="xhigh", model="gpt-5.2").body["reasoning"]["effort"] == "xhigh"


def test_tools_and_reasoning_go_together():
    for known_of_chat in (True, False):
        out = from_o(
            tools=[o_tool()],
            reasoning_effort="high",
            model="gpt-5.4",
            tools_with_reasoning=known_of_chat,
        )
        assert out.body["reasoning"]["effort"] == "high"
        assert out.lost == ()


# -- tools -----------------------------------------------------------------------------------------


def test_tools_are_flat_and_say_whether_they_are_strict():
    out = from_o(tools=[o_tool(strict=True), o_tool("g", description="G.")])
    shape = {"type": "function", "parameters": SCHEMA}
    assert out.body["tools"] == [
        {**shape, "name": "f", "strict": True},
        {**shape, "name": "g", "description": "G.", "strict": False},
    ]
    out = from_a(tools=[a_tool(strict=True)])
    assert out.body["tools"][0]["strict"] is False
    assert out.dropped == ("tools[].strict",)


def test_custom_tools_and_their_grammar():
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    custom = {"type": "custom", "custom": {"name": "run", "description": "Run.", "format": grammar}}
    out = from_o(tools=[custom])
    flat = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    assert out.body["tools"] == [
        {"type": "custom", "name": "run", "description": "Run.", "format": flat}
    ]


def test_custom_tools_are_functions_where_only_these_are_taken():
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a"}}
    custom = {"type": "custom", "custom": {"name": "run", "format": grammar}}
    asked = {"id": "c1", "type": "custom", "custom": {"name": "run", "input": "ls"}}
    out = from_o(
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "c1", "content": "a"},
        tools=[custom],
        tool_choice={"type": "custom", "custom": {"name": "run"}},
        custom_tools=False,
    )
    assert out.body["tools"][0]["type"] == "function"
    assert out.body["tools"][0]["parameters"]["required"] == ["input"]
    assert "regex grammar:\na" in out.body["tools"][0]["description"]
    assert out.body["tool_choice"] == {"type": "function", "name": "run"}
    assert out.items[1:] == [call("c1", "run", '{"input":"ls"}'), output("c1", "a")]
    assert out.changed == ("tools[].custom.format",)


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        (
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "name": "f"},
        ),
    ],
)
def test_how_tools_are_chosen(asked, written):
    out = from_o(tools=[o_tool(), o_tool("g")], tool_choice=asked, parallel_tool_calls=False)
    assert out.body["tool_choice"] == written
    assert out.body["parallel_tool_calls"] is False


def test_the_tools_that_are_allowed_are_named_and_all_are_offered():
    named = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    asked = {"type": "allowed_tools", "allowed_tools": named}
    out = from_o(tools=[o_tool(), o_tool("g")], tool_choice=asked)
    assert len(out.body["tools"]) == 2
    assert out.body["tool_choice"] == {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "g"}],
    }
    out = from_o(tools=[o_tool(), o_tool("g")], tool_choice=asked, allowed_tools=False)
    assert [tool["name"] for tool in out.body["tools"]] == ["g"]
    assert out.body["tool_choice"] == "required"


def test_a_web_search_is_the_backend_s_own_where_it_has_one():
    search = WebSearch(allowed_domains=("a.example",), location={"city": "Bern"}, max_uses=3)
    raw = {"type": "web_search_20250305", "name": "web_search"}
    tool = Tool(kind="server", name="web_search", raw=raw, search=search)
    request = ADAPTERS["anthropic"].decode_request(
        {"model": "m", "max_tokens": 1, "messages": [HELLO]}
    )
    request = msgspec.structs.replace(request, tools=(tool,))
    losses = Losses()
    out = encode_request(request, known("gpt-5.2", server_tools=True), losses)
    assert out["tools"] == [
        {
            "type": "web_search",
            "filters": {"allowed_domains": ["a.example"]},
            "user_location": {"type": "approximate", "city": "Bern"},
        }
    ]
    assert losses.dropped == ("tools[].max_uses",)
    with pytest.raises(Refused):
        encode_request(request, known("gpt-5.2"), Losses())


def test_the_web_search_of_a_chat_request_is_a_tool():
    place = {"type": "approximate", "approximate": {"city": "Bern"}}
    asked = {"search_context_size": "low", "user_location": place}
    out = from_o(web_search_options=asked, server_tools=True)
    assert out.body["tools"] == [
        {
            "type": "web_search",
            "user_location": {"type": "approximate", "city": "Bern"},
            "search_context_size": "low",
        }
    ]
    assert out.lost == ()
    with pytest.raises(Refused):
        from_o(web_search_options=asked)


def test_a_tool_that_must_be_called_becomes_an_instruction_at_the_end():
    out = from_o(tools=[o_tool()], tool_choice="required", forced_tools=False)
    assert "tool_choice" not in out.body
    assert out.items[-1]["role"] == "system"
    assert "must call" in out.items[-1]["content"]
    assert out.changed == ("tool_choice",)


# -- the form of the answer, and the other controls ------------------------------------------------


def test_an_answer_of_a_schema():
    held = {"name": "a", "description": "A.", "schema": SCHEMA, "strict": True}
    out = from_o(response_format={"type": "json_schema", "json_schema": held})
    assert out.body["text"] == {"format": {"type": "json_schema", **held}}
    form = {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
    out = from_a(output_config={"format": form})
    assert out.body["text"]["format"]["strict"] is False
    assert out.body["text"]["format"]["name"] == "output"


def test_sampling():
    out = from_o(temperature=0.5, top_p=0.9)
    assert (out.body["temperature"], out.body["top_p"]) == (0.5, 0.9)
    out = from_o(temperature=0.5, reasoning_effort="high", model="gpt-5.2")
    assert "temperature" not in out.body
    assert out.dropped == ("temperature",)


def test_fields_that_this_format_does_not_have():
    out = from_o(frequency_penalty=1, presence_penalty=0, seed=7, stop=["x"], top_k=3)
    assert set(out.dropped) == {"frequency_penalty", "seed", "stop", "top_k"}
    kept = ("frequency_penalty", "presence_penalty", "seed", "top_k", "stop")
    out = from_o(frequency_penalty=1, presence_penalty=0, seed=7, top_k=3, ext=kept)
    assert out.body["frequency_penalty"] == 1
    assert out.body["presence_penalty"] == 0
    assert out.lost == ()
    with pytest.raises(Refused):
        from_o(logit_bias={"1": 5})
    assert from_o(logit_bias={"1": 5}, mode="lenient").dropped == ("logit_bias",)
    assert from_o(logit_bias={}).lost == ()
    for field in ({"n": 2}, {"logprobs": True}, {"modalities": ["audio"]}):
        with pytest.raises(Refused):
            from_o(**field)


def test_the_limit_of_the_answer():
    assert from_o(max_completion_tokens=50).body["max_output_tokens"] == 50
    assert "max_output_tokens" not in from_o().body
    assert known("gpt-5.2").ranges[0][:2] == ("max_output_tokens", 16)
    with pytest.raises(Refused):
        from_a(max_tokens=0)


def test_who_asks_and_which_tier_serves():
    out = from_o(safety_identifier="u1", service_tier="flex", metadata={"a": "b"}, model="gpt-5.2")
    assert out.body["safety_identifier"] == "u1"
    assert out.body["service_tier"] == "flex"
    assert out.body["metadata"] == {"a": "b"}
    assert from_a(metadata={"user_id": "u1"}).body["user"] == "u1"


def test_cache_marks_at_most_four_the_last_ones():
    mark = {"cache_control": {"type": "ephemeral"}}
    turns = [user(text(f"{n}", **mark)) for n in range(6)]
    out = from_a(*turns, model="gpt-5.6")
    marked = [isinstance(item["content"], list) for item in out.items]
    content = [item["content"][0] for item in out.items if isinstance(item["content"], list)]
    assert all(marked)
    assert ["prompt_cache_breakpoint" in part for part in content] == [False] * 2 + [True] * 4
    assert from_a(*turns).items[0]["content"] == "0"


# -- prompt caches ---------------------------------------------------------------------------------


def test_the_next_turn_begins_with_what_this_one_begins_with():
    turns = [
        HELLO,
        said(thinking(), text("Wait."), use("t1"), use("t2")),
        user(result("t1"), result("t2"), text("Go on.")),
        said(text("Done.")),
        user(text("Again.")),
        said(use("t1")),
        user(result("t1", [image()])),
        said(text("There.")),
        HELLO,
    ]
    ends = [n for n in range(1, len(turns) + 1) if turns[n - 1]["role"] == "user"]
    bodies = [from_a(*turns[:n], system="Be brief.", tools=[a_tool()]).body for n in ends]
    for before, after in pairwise(bodies):
        assert after["input"][: len(before["input"])] == before["input"]
        assert {**after, "input": 0} == {**before, "input": 0}


def test_the_signature_of_an_item_is_read_whatever_it_holds():
    for value in ("", "null", "[]", compact({"id": 1, "enc": 2, "n": "x"})):
        token = seal({"k": "oi"}) if not value else seal({"k": "oi", "id": value, "enc": value})
        from_a(HELLO, said(thinking(signature=token), use()), user(result()))


IDS = st.sampled_from(["t1", "t2", "t3", "x" * 70])
SAID = st.one_of(
    st.sampled_from([text("a"), text("b\n")]),
    st.sampled_from(
        [
            thinking(),
            thinking(signature="EqQB"),
            thinking("", seal({"k": "oi", "id": "rs_2", "enc": "gBBB"})),
            thinking("c", seal({"k": "oi", "id": "rs_3", "c": 1})),
            {"type": "redacted_thinking", "data": "x"},
        ]
    ),
    st.builds(use, IDS),
)
ANSWERED = st.tuples(st.lists(SAID, max_size=4), st.sampled_from([text("z"), use("t1")])).map(
    lambda pair: said(*pair[0], pair[1])
)
"""An answer of nothing but reasoning is none: what stands around it is one turn."""
ASKED = st.one_of(
    st.sampled_from([text("c"), image()]),
    st.builds(result, IDS, st.sampled_from(["d", "", [text("e"), image()], None])),
)
TURNS = st.lists(
    st.tuples(
        st.lists(ASKED, min_size=1, max_size=4).map(lambda blocks: user(*blocks)),
        ANSWERED,
    ),
    max_size=4,
).map(lambda pairs: [turn for pair in pairs for turn in pair])


@given(TURNS, st.lists(ASKED, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_whatever_was_said_is_taken_and_the_next_turn_begins_with_it(turns, last):
    turns = [*turns, user(*last)]
    bodies = [
        from_a(*turns[: n + 1], model="gpt-5.6").body
        for n, turn in enumerate(turns)
        if turn["role"] == "user"
    ]
    for body in bodies:
        paired(body["input"])
    for before, after in pairwise(bodies):
        assert after["input"][: len(before["input"])] == before["input"]
