"""Responses request -> Unified Model: what each item, tool and field becomes, what errors name,
and that nothing in an old item makes a request fail."""

import json
from typing import Any

import pytest

from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai_responses.decode_request import decode_request
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.shared.signature import seal
from lmbroker.translation.unified.parts import (
    Base64,
    DocumentPart,
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
from lmbroker.translation.unified.request import OutputFormat, Reasoning, Request, WebSearch

JSON = dict[str, Any]

USER: JSON = {"role": "user", "content": "Hello"}
CALL: JSON = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'}
DONE: JSON = {"type": "function_call_output", "call_id": "c1", "output": "2"}
ADD: JSON = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}
PNG = "data:image/png;base64,iVBORw0KGgo="


def decode(*items: Any, **fields: Any) -> Request:
    return decode_request({"model": "m", "input": list(items) or [USER], **fields})


def refused(*items: Any, **fields: Any) -> tuple[str | None, str | None]:
    with pytest.raises(Refused) as caught:
        decode(*items, **fields)
    assert caught.value.info.kind == "invalid_request"
    return caught.value.info.param, caught.value.info.code


def lost(request: Request) -> dict[str, str]:
    """Paths of all extras of a request that are a loss, each with its class."""
    held = [*request.extras]
    for turn in request.turns:
        held += turn.extras
        for part in turn.parts:
            held += part.extras
    for part in request.system:
        held += part.extras
    for tool in request.tools:
        held += tool.extras
    return {each.path: each.loss for each in held if each.loss != "none"}


def texts(request: Request) -> list[tuple[str, str]]:
    return [
        (turn.role, part.text)
        for turn in request.turns
        for part in turn.parts
        if isinstance(part, TextPart)
    ]


def test_an_input_that_is_a_text_is_what_the_user_says() -> None:
    request = decode_request({"model": "m", "input": "Hello", "instructions": "Be brief."})
    assert texts(request) == [("user", "Hello")]
    assert [part.text for part in request.system] == ["Be brief."]
    assert request.stream_usage and not request.stream
    assert lost(request) == {}


def test_instructions_come_before_leading_messages_which_are_instructions_too() -> None:
    developer = {"type": "message", "role": "developer", "content": "A", "id": "msg_1"}
    system = {"role": "system", "content": [{"type": "input_text", "text": "B"}]}
    request = decode(developer, system, USER, developer, instructions="I")
    assert [part.text for part in request.system] == ["I", "A", "B"]
    assert [turn.role for turn in request.turns] == ["user", "system"]


def test_all_between_two_items_of_the_client_is_one_turn_of_the_model() -> None:
    said = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "phase": "commentary",
        "content": [{"type": "output_text", "text": "Let me.", "annotations": []}],
    }
    second = {**CALL, "call_id": "c2"}
    request = decode(USER, said, CALL, second, DONE, {**DONE, "call_id": "c2"}, USER)
    assert [turn.role for turn in request.turns] == ["user", "assistant", "user", "user"]
    answer, results = request.turns[1], request.turns[2]
    assert answer.phase == "commentary"
    assert [type(part) for part in answer.parts] == [TextPart, ToolCallPart, ToolCallPart]
    assert all(isinstance(part, ToolResultPart) for part in results.parts)
    assert lost(request) == {}


def test_content_holds_texts_images_and_files() -> None:
    content = [
        {"type": "input_text", "text": "See", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": PNG, "detail": "original"},
        {"type": "input_image", "image_url": "https://a/b.png", "detail": "auto"},
        {"type": "input_image", "file_id": "file_1", "detail": "low"},
        {
            "type": "input_file",
            "file_data": "data:application/pdf;base64,JVBERg==",
            "filename": "a",
        },
        {"type": "input_file", "file_url": "https://a/b.pdf"},
        {"type": "input_file", "file_id": "file_2"},
    ]
    request = decode({"role": "user", "content": content})
    text, inline, by_url, by_id, paper, paper_url, paper_id = request.turns[0].parts
    assert isinstance(text, TextPart) and text.cache is not None
    assert isinstance(inline, ImagePart) and inline.detail == "original"
    assert inline.source == Base64(media_type="image/png", data="iVBORw0KGgo=")
    assert isinstance(by_url, ImagePart) and by_url.source == Url(url="https://a/b.png")
    assert isinstance(by_id, ImagePart) and by_id.source == FileRef(id="file_1", origin="openai")
    assert isinstance(paper, DocumentPart) and paper.filename == "a"
    assert isinstance(paper_url, DocumentPart) and paper_url.source == Url(url="https://a/b.pdf")
    assert isinstance(paper_id, DocumentPart)
    assert lost(request) == {}


@pytest.mark.parametrize(
    ("output", "kinds", "as_text"),
    [
        ("2", [TextPart], True),
        ("", [], True),
        ([{"type": "input_text", "text": "2"}], [TextPart], False),
        (
            [{"type": "input_text", "text": "2"}, {"type": "input_image", "image_url": PNG}],
            [TextPart, ImagePart],
            False,
        ),
        ([{"type": "input_file", "file_data": PNG, "filename": "a.png"}], [DocumentPart], False),
    ],
)
def test_a_result_is_a_text_or_holds_texts_images_and_files(
    output: Any, kinds: list[Any], as_text: bool
) -> None:
    part = decode(USER, CALL, {**DONE, "output": output}).turns[2].parts[0]
    assert isinstance(part, ToolResultPart) and part.parts is not None
    assert [type(each) for each in part.parts] == kinds
    assert part.as_text is as_text


def test_a_result_that_names_no_call_answers_the_oldest_open_one_of_its_tool() -> None:
    other = {**CALL, "call_id": "c2", "name": "sub"}
    third = {**CALL, "call_id": "c3"}
    named = {"type": "function_call_output", "name": "sub", "output": "x"}
    unnamed = {"type": "function_call_output", "output": "y"}
    request = decode(USER, CALL, other, third, DONE, named, unnamed)
    ids = [part.call_id for part in request.turns[2].parts if isinstance(part, ToolResultPart)]
    assert ids == ["c1", "c2", "c3"]


def test_custom_calls_have_texts() -> None:
    call = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin"}
    done = {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"}
    _, asked, answered = decode(USER, call, done).turns
    part, result = asked.parts[0], answered.parts[0]
    assert isinstance(part, ToolCallPart) and isinstance(result, ToolResultPart)
    assert (part.kind, part.raw_args, part.args) == ("custom", "*** Begin", None)
    assert result.kind == "custom"


def test_tools_of_a_namespace_have_its_name_before_their_own_and_so_have_their_calls() -> None:
    space = {"type": "namespace", "name": "crm", "description": "D", "tools": [ADD]}
    call = {**CALL, "namespace": "crm"}
    choice = {"type": "function", "name": "add"}
    request = decode(USER, call, DONE, tools=[space, {**ADD, "name": "sub"}], tool_choice=choice)
    assert [tool.name for tool in request.tools] == ["crm__add", "sub"]
    namespace = request.tools[0].namespace
    assert namespace is not None and (namespace.name, namespace.description) == ("crm", "D")
    part = request.turns[1].parts[0]
    assert isinstance(part, ToolCallPart)
    assert (part.name, part.namespace) == ("crm__add", "crm")
    assert request.tool_choice is not None and request.tool_choice.name == "crm__add"


def test_items_offer_further_tools_and_are_no_turn() -> None:
    more = {"type": "additional_tools", "role": "developer", "tools": [ADD, {"type": "bad name"}]}
    request = decode(more, {"role": "developer", "content": "A"}, USER, more, USER)
    assert [(tool.name, tool.standing) for tool in request.tools][:1] == [("add", "inline")]
    assert [part.text for part in request.system] == ["A"]
    assert [turn.role for turn in request.turns] == ["user", "user"]
    held = [each for part in request.system for each in part.extras if each.name == "before"]
    assert [each.value for each in held] == [[more]]


def test_a_search_for_tools_by_the_client_is_a_function() -> None:
    tool = {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}}
    call = {
        "type": "tool_search_call",
        "call_id": "s1",
        "execution": "client",
        "arguments": {"q": "x"},
    }
    found = {
        "type": "tool_search_output",
        "call_id": "s1",
        "execution": "client",
        "tools": [{"type": "namespace", "name": "crm", "description": "", "tools": [ADD]}],
    }
    request = decode(USER, call, found, tools=[tool])
    assert [(each.name, each.kind) for each in request.tools] == [
        ("tool_search", "function"),
        ("crm__add", "function"),
    ]
    asked, answered = request.turns[1].parts[0], request.turns[2].parts[0]
    assert isinstance(asked, ToolCallPart) and asked.args == {"q": "x"}
    assert isinstance(answered, ToolResultPart)
    assert answered.parts == (TextPart(text='Tool "crm__add" is available.'),)
    assert lost(request) == {}


def test_a_search_for_tools_by_the_vendor_is_left_out() -> None:
    request = decode(tools=[{"type": "tool_search"}, {**ADD, "defer_loading": True}])
    search, add = request.tools
    assert search.kind == "server" and search.optional
    assert add.deferred


@pytest.mark.parametrize(
    ("tools", "choice", "optional"),
    [
        ([ADD], None, True),
        ([ADD], "required", True),
        ([], None, False),
        ([ADD], {"type": "web_search"}, False),
        ([ADD], {"type": "web_search_preview"}, False),
        ([], "none", True),
        ([ADD], {"type": "function", "name": "add"}, True),
        (
            [ADD],
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]},
            True,
        ),
    ],
)
def test_a_web_search_is_optional_where_it_is_one_tool_of_several(
    tools: list[JSON], choice: Any, optional: bool
) -> None:
    search = {
        "type": "web_search",
        "filters": {"allowed_domains": ["a.org"]},
        "user_location": {"type": "approximate", "city": "Rome"},
        "search_context_size": "low",
    }
    request = decode(tools=[*tools, search], tool_choice=choice)
    tool = request.tools[-1]
    assert tool.optional is optional
    assert tool.search == WebSearch(
        allowed_domains=("a.org",), location={"city": "Rome"}, context_size="low"
    )


def test_other_tools_that_the_provider_runs_are_not_optional() -> None:
    mcp = {"type": "mcp", "server_label": "x", "server_url": "https://x"}
    request = decode(tools=[ADD, mcp, {"type": "file_search", "vector_store_ids": ["v"]}])
    assert [tool.optional for tool in request.tools] == [False, False, False]


def test_a_grammar_stands_in_an_object_of_its_own() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
    request = decode(tools=[{"type": "custom", "name": "p", "format": grammar}])
    assert request.tools[0].grammar == {
        "type": "grammar",
        "grammar": {"syntax": "lark", "definition": "start: x"},
    }


def test_what_other_vendors_have_no_word_for_is_a_loss_where_it_says_something() -> None:
    free = {"allowed_callers": ["direct"], "async": False}
    bound = {"allowed_callers": ["programmatic"], "async": True, "output_schema": {}}
    request = decode(tools=[{**ADD, **free}, {**ADD, "name": "b", **bound}])
    assert lost(request) == dict.fromkeys(
        ("tools[].allowed_callers", "tools[].async", "tools[].output_schema"), "drop"
    )
    program = {"caller": {"type": "program", "caller_id": "p"}}
    assert lost(decode(USER, {**CALL, "caller": {"type": "direct"}}, DONE)) == {}
    assert lost(decode(USER, {**CALL, **program}, DONE)) == {"input[].caller": "drop"}


def reasoning(**fields: Any) -> ReasoningPart:
    item = {"type": "reasoning", "summary": [], **fields}
    part = decode(USER, item, CALL, DONE).turns[1].parts[0]
    assert isinstance(part, ReasoningPart)
    return part


def test_reasoning_keeps_what_its_backend_needs_to_know_it_again() -> None:
    summary = [{"type": "summary_text", "text": "ab"}, {"type": "summary_text", "text": "c"}]
    part = reasoning(id="rs_1", summary=summary, encrypted_content="gAAA")
    assert part.text == "ab\n\nc"
    assert part.signature is not None and part.signature.origin == "responses"
    assert json.loads(part.signature.value) == {"id": "rs_1", "enc": "gAAA", "n": [2, 1]}
    part = reasoning(content=[{"type": "reasoning_text", "text": "think"}])
    assert part.text == "think"
    assert part.signature is not None and json.loads(part.signature.value) == {"c": 1}


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ({"k": "at", "s": "sig"}, Signature(origin="signable", value="sig")),
        ({"k": "rc"}, Signature(origin="text", field="reasoning_content")),
        ({"k": "rd", "d": [{"a": 1}]}, Signature(origin="details", value='[{"a":1}]')),
    ],
)
def test_a_token_of_ours_becomes_the_reasoning_that_it_stands_for(
    token: JSON, expected: Signature
) -> None:
    summary = [{"type": "summary_text", "text": "hm"}]
    part = reasoning(summary=summary, encrypted_content=seal(token))
    assert (part.text, part.signature) == ("hm", expected)


def test_tokens_bring_back_redacted_and_hidden_reasoning() -> None:
    part = reasoning(encrypted_content=seal({"k": "ar", "d": "XYZ"}))
    assert (part.text, part.redacted, part.signature) == ("", "XYZ", None)
    assert reasoning(encrypted_content=seal({"k": "at", "s": "sig", "t": "hm"})).text == "hm"


@pytest.mark.parametrize(
    ("control", "expected", "losses"),
    [
        ({"effort": "high"}, Reasoning(effort="high"), []),
        (
            {"effort": "low", "summary": "auto"},
            Reasoning(effort="low", display="summarized"),
            [],
        ),
        ({"summary": "concise", "mode": "standard"}, Reasoning(display="summarized"), []),
        ({"context": "all_turns"}, Reasoning(replay_all=True), []),
        ({"context": "auto"}, None, []),
        ({"effort": "none", "mode": "pro"}, Reasoning(effort="none"), ["reasoning.mode"]),
        ({"context": "current_turn"}, None, ["reasoning.context"]),
        ({"effort": "heroic"}, None, ["reasoning.effort"]),
    ],
)
def test_reasoning_controls(control: JSON, expected: Reasoning | None, losses: list[str]) -> None:
    request = decode(reasoning=control)
    assert request.reasoning == expected
    assert list(lost(request)) == losses


def test_formats_are_flat() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    request = decode(text={"format": form, "verbosity": "low"})
    assert request.output == OutputFormat(
        kind="json_schema", name="n", schema={"type": "object"}, strict=True
    )
    assert request.verbosity == "low"
    assert decode(text={"format": {"type": "text"}}).output is None


def test_the_last_change_of_the_configuration_wins() -> None:
    def update(effort: str) -> JSON:
        return {"type": "configuration_update", "reasoning": {"effort": effort}}

    form = {"type": "configuration_update", "text": {"format": {"type": "text"}}}
    wanted = {"format": {"type": "json_object"}}
    request = decode(update("low"), USER, update("high"), USER, form, USER, text=wanted)
    assert request.later_effort == "high"
    assert request.output is None
    assert lost(request) == {}


STATE = {
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "prompt": {"id": "pmpt_1"},
    "background": True,
}


@pytest.mark.parametrize(("field", "value"), STATE.items())
def test_state_is_refused_with_what_to_do_instead(field: str, value: Any) -> None:
    request = decode(**{field: value})
    extra = next(each for each in request.extras if each.name == field)
    with pytest.raises(Refused) as caught:
        Losses("lenient", model="m").extras([extra])
    info = caught.value.info
    assert (info.param, info.code) == (field, "unsupported_parameter")
    assert extra.reason and info.message.endswith(extra.reason)


def test_state_needs_no_input() -> None:
    request = decode_request({"model": "m", "previous_response_id": "resp_1"})
    assert lost(request) == {"previous_response_id": "refuse"}


def test_a_trigger_of_compaction_is_refused_by_its_name() -> None:
    request = decode(USER, {"type": "compaction_trigger"})
    with pytest.raises(Refused) as caught:
        Losses("lenient").extras(request.extras)
    assert caught.value.info.param == "input[1].type"


def test_what_storage_and_speed_are_told_is_no_loss() -> None:
    request = decode(
        store=True,
        include=["reasoning.encrypted_content", "file_search_call.results"],
        stream_options={"include_obfuscation": False},
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        client_metadata={"a": "b"},
        background=False,
        truncation="disabled",
        metadata={"a": "b"},
    )
    assert lost(request) == {}
    assert (request.cache_key, request.cache_retention) == ("k", "24h")


def test_losses_have_the_client_s_names() -> None:
    request = decode(
        truncation="auto",
        max_tool_calls=3,
        context_management=[{"type": "compaction"}],
        top_logprobs=2,
        moderation={"model": "x"},
        include=["message.output_text.logprobs"],
        smile=1,
    )
    assert lost(request) == {
        "include": "refuse_soft",
        "top_logprobs": "refuse_soft",
        "truncation": "drop",
        "context_management": "drop",
        "max_tool_calls": "drop",
        "moderation": "refuse_soft",
        "smile": "drop",
    }


def test_an_answer_repeats_what_was_asked() -> None:
    asked = {"temperature": 0.5, "text": {"verbosity": "low"}, "tools": [ADD], "user": "u"}
    request = decode(**asked, metadata=None, store=True)
    assert request.echo == asked


def test_null_is_nothing() -> None:
    nothing = dict.fromkeys(("instructions", "reasoning", "text", "tools", "tool_choice"))
    assert decode(**nothing) == decode()


@pytest.mark.parametrize(
    ("items", "param", "code"),
    [
        ([{"role": "user"}], "input[0].content", "missing_required_parameter"),
        ([USER, {"role": "boss", "content": "x"}], "input[1].role", "invalid_value"),
        ([{"type": "dream", "id": "x"}], "input[0].type", "invalid_value"),
        ([USER, 3], "input[1]", "invalid_type"),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": 3}]}],
            "input[0].content[0].image_url",
            "invalid_type",
        ),
        (
            [{"role": "user", "content": [{"type": "input_image"}]}],
            "input[0].content[0].image_url",
            "missing_required_parameter",
        ),
        ([USER, CALL, {**DONE, "output": 3}], "input[2].output", "invalid_type"),
    ],
)
def test_a_mistake_in_the_last_item_names_its_place(
    items: list[Any], param: str, code: str
) -> None:
    assert refused(*items) == (param, code)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [3]}]}, "tools[0].tools[0]"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema", "schema": 3}}}, "text.format.schema"),
        ({"input": 3}, "input"),
        ({"input": None}, "input"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_mistake_in_a_field_names_it(fields: JSON, param: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_request({"model": "m", "input": "x", **fields})
    assert caught.value.info.param == param


ODD: list[Any] = [
    3,
    None,
    "Hello",
    [],
    {},
    {"type": 3},
    {"type": "dream_call", "id": "x"},
    {"type": "dream_call_output", "id": "x"},
    {"role": "boss", "content": "x"},
    {"role": "ai", "content": "x"},
    {"role": "user", "content": 3},
    {"role": "user", "content": [3, None, {"type": "input_image"}]},
    {"role": "assistant", "content": [{"type": "output_text"}]},
    {"role": "developer", "content": [{"type": "input_image", "image_url": PNG}]},
    {"type": "message", "content": "x"},
    {"type": "input_text", "text": "x"},
    {"type": "output_text", "text": "x"},
    {"type": "function_call", "name": "f"},
    {"type": "function_call", "call_id": 3, "arguments": 3},
    {"type": "function_call", "call_id": "c", "name": 3, "arguments": {"a": 1}},
    {"name": "f", "arguments": "{}", "call_id": "c"},
    {"call_id": "c", "output": "x"},
    {"type": "function_call_output", "call_id": 3, "output": {"a": 1}},
    {"type": "function_call_output", "output": [3, {"type": "input_image"}]},
    {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": 3},
    {"type": "reasoning"},
    {"type": "reasoning", "summary": "hm", "encrypted_content": 3, "id": 3},
    {"type": "reasoning", "summary": [3, {"text": 3}], "content": 3},
    {"type": "item_reference"},
    {"type": "item_reference", "id": 3},
    {"type": "shell_call"},
    {"type": "shell_call", "call_id": "c", "action": 3},
    {"type": "shell_call_output", "call_id": "c", "output": [3]},
    {"type": "computer_call_output", "call_id": "c", "output": 3},
    {"type": "local_shell_call_output", "output": 3},
    {"type": "apply_patch_call_output", "call_id": "c"},
    {"type": "tool_search_output", "execution": "client", "tools": 3},
    {"type": "additional_tools", "tools": 3},
    {"type": "additional_tools", "tools": [3, {"type": "function"}]},
    {"type": "configuration_update", "reasoning": 3},
    {"type": "configuration_update", "text": {"format": {"type": "dream"}}},
    {"type": "file_search_call", "results": 3},
    {"type": "code_interpreter_call", "outputs": [3]},
    {"type": "compaction"},
    {"role": "tool", "tool_call_id": "c", "content": "x"},
    {"role": "tool", "content": [{"type": "text", "text": "x"}]},
    {"role": "function", "name": "f", "content": "x"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
    {"role": "assistant", "content": "x", "tool_calls": [3, {"type": "custom", "id": "d"}]},
    {"role": "assistant", "content": "x", "reasoning_content": "hm"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]},
]


@pytest.mark.parametrize("item", ODD, ids=[json.dumps(item)[:60] for item in ODD])
def test_nothing_in_an_old_item_makes_a_request_fail(item: Any) -> None:
    for before in ([], [USER], [USER, CALL]):
        request = decode(*before, item, USER)
        assert texts(request)[-1] == ("user", "Hello")
        again = decode(*before, item, USER, {"role": "assistant", "content": "Hi"}, USER)
        assert again.turns[: len(request.turns)] == request.turns


def test_messages_of_chat_completions_are_read_for_what_they_are() -> None:
    called = {
        "role": "assistant",
        "content": "Let me.",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "p", "input": "x"}},
        ],
    }
    result = {"role": "tool", "tool_call_id": "c1", "content": "done"}
    request = decode(USER, called, result)
    assert [type(part) for part in request.turns[1].parts] == [
        ReasoningPart,
        TextPart,
        ToolCallPart,
        ToolCallPart,
    ]
    part = request.turns[2].parts[0]
    assert isinstance(part, ToolResultPart) and part.parts == (TextPart(text="done"),)


def test_an_id_of_an_earlier_item_says_that_something_is_missing() -> None:
    reference = {"type": "item_reference", "id": "msg_1"}
    request = decode(USER, {**reference, "id": "rs_1"}, reference, CALL, DONE)
    left_out, call = request.turns[1].parts
    assert isinstance(left_out, OpaquePart) and left_out.text is not None
    assert "left out" in left_out.text
    assert isinstance(call, ToolCallPart)
    with pytest.raises(Refused) as caught:
        Losses("lenient").extras(decode(USER, reference).extras)
    assert caught.value.info.param == "input[1].id"


def test_what_the_provider_ran_is_told_where_it_can_be_read() -> None:
    found = {"type": "file_search_call", "id": "x", "results": [{"filename": "a", "text": "b"}]}
    searched = {"type": "web_search_call", "id": "x", "action": {"type": "search"}}
    request = decode(USER, found, searched, {"role": "assistant", "content": "Hi"}, USER)
    first, second, said = request.turns[1].parts
    assert isinstance(first, OpaquePart) and first.text == "[file_search result] a\nb"
    assert isinstance(second, OpaquePart) and second.text == ""
    assert isinstance(said, TextPart)


def test_calls_of_the_vendor_s_own_tools_that_the_client_ran_are_calls() -> None:
    call = {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}}
    output = [{"stdout": "a", "stderr": "b", "outcome": {"type": "exit", "exit_code": 1}}]
    done = {"type": "shell_call_output", "call_id": "c", "output": output}
    request = decode(USER, call, done, USER)
    part, result = request.turns[1].parts[0], request.turns[2].parts[0]
    assert isinstance(part, ToolCallPart) and part.args == {"commands": ["ls"]}
    assert part.name == "shell"
    assert isinstance(result, ToolResultPart)
    assert result.parts == (TextPart(text="a\nb\n[exit code 1]"),)
    assert lost(request) == {"input[].type": "change"}


def test_a_choice_names_tools_of_all_kinds() -> None:
    space = {"type": "namespace", "name": "crm", "description": "D", "tools": [ADD]}
    servers = [{"type": "mcp", "server_label": label, "server_url": "https://x"} for label in "ab"]
    allowed = [
        {"type": "function", "name": "sub"},
        {"type": "namespace", "name": "crm"},
        {"type": "mcp", "server_label": "b"},
        {"type": "computer_use_preview"},
        {"type": "image_generation"},
    ]
    request = decode(
        tools=[space, {**ADD, "name": "sub"}, *servers, {"type": "computer"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": allowed},
    )
    assert request.tool_choice is not None
    assert request.tool_choice.mode == "required"
    assert request.tool_choice.allowed == ("sub", "crm__add", "b", "computer")
    assert [tool.optional for tool in request.tools if tool.kind == "server"] == [
        True,
        False,
        False,
    ]


def test_a_choice_of_a_tool_that_nobody_offers_is_left_out() -> None:
    request = decode(tools=[ADD], tool_choice={"type": "image_generation"})
    assert request.tool_choice is None
    assert lost(request) == {"tool_choice": "drop"}


@pytest.mark.parametrize(
    ("fields", "cached"),
    [
        ({}, False),
        ({"tools": [ADD]}, True),
        ({"input": [USER, {"role": "assistant", "content": "Hi"}, USER]}, True),
        ({"prompt_cache_key": "k"}, True),
        ({"tools": [ADD], "prompt_cache_options": {"mode": "explicit"}}, False),
        ({"prompt_cache_options": {"mode": "implicit"}}, True),
    ],
)
def test_a_prompt_that_comes_again_is_cached_where_that_must_be_asked_for(
    fields: JSON, cached: bool
) -> None:
    request = decode_request({"model": "m", "input": [USER], **fields})
    body = ADAPTERS["anthropic"].encode_request(request, profile("anthropic", "m"), Losses())
    assert ("cache_control" in body) is cached
