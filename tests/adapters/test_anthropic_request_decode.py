"""Messages request -> Unified Model: every key is accounted for, complaints have paths."""

import json
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.call import Mode
from lmbroker.errors import Refused
from lmbroker.translation.dialects.anthropic_messages import errors
from lmbroker.translation.dialects.anthropic_messages.decode_request import decode_request
from lmbroker.translation.dialects.anthropic_messages.encode_request import encode_request
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.signature import seal
from lmbroker.translation.unified.parts import (
    Base64,
    Cache,
    DocumentPart,
    Extra,
    FileRef,
    ImagePart,
    OpaquePart,
    PlainText,
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
    Tool,
    ToolChoice,
    WebSearch,
)

JSON = dict[str, Any]

HELLO = {"role": "user", "content": "Hello"}
MARK = {"type": "ephemeral", "ttl": "1h"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "default": None}}}


def body_of(*messages: JSON, **fields: Any) -> JSON:
    return {"model": "m", "max_tokens": 10, "messages": list(messages) or [HELLO], **fields}


def decode(*messages: JSON, **fields: Any) -> Request:
    return decode_request(body_of(*messages, **fields))


def native(body: JSON) -> JSON:
    """What a backend of this dialect would get."""
    return encode_request(decode_request(body), Profile(), Losses())


def refused(body: JSON) -> tuple[str | None, str | None, str]:
    with pytest.raises(Refused) as caught:
        decode_request(body)
    info = caught.value.info
    assert info.kind == "invalid_request"
    return info.param, info.code, info.message


def user(*blocks: JSON) -> JSON:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: JSON) -> JSON:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **more: Any) -> JSON:
    return {"type": "text", "text": words, **more}


def result(content: Any = None, **more: Any) -> JSON:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", **more}
    return block if content is None else {**block, "content": content}


def extras(request: Request) -> list[Extra]:
    """All of a request, wherever they stand."""
    found = [e for part in request.system for e in part.extras]
    for turn in request.turns:
        found += turn.extras
        for part in turn.parts:
            found += getattr(part, "extras", ())
            for held in (part.parts or ()) if isinstance(part, ToolResultPart) else ():
                found += getattr(held, "extras", ())
    found += [e for tool in request.tools for e in tool.extras]
    found += request.output.extras if request.output is not None else ()
    return [*found, *request.extras]


def classes(request: Request) -> dict[str, str]:
    return {e.path: e.loss for e in extras(request)}


def test_a_minimal_request() -> None:
    request = decode(user(text("Hello")))
    assert request.dialect == "anthropic" and request.max_tokens == 10
    assert request.turns[0].parts == (TextPart(text="Hello"),)
    assert extras(request) == []
    assert not request.stream and request.stream_usage
    assert request.reasoning is None and request.output is None and request.tier is None


def test_null_is_absent() -> None:
    fields = ("temperature", "tools", "tool_choice", "stop_sequences", "stream", "thinking")
    fields += ("output_config", "metadata", "service_tier", "speed", "thread", "container")
    assert decode(**dict.fromkeys(fields), made_up=None) == decode()


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": [HELLO], "max_tokens": 1}, "model", "missing_required_parameter"),
        ({"model": 5, "messages": [HELLO], "max_tokens": 1}, "model", "invalid_type"),
        ({"model": "m", "messages": [HELLO]}, "max_tokens", "missing_required_parameter"),
        (body_of(max_tokens=-1), "max_tokens", "invalid_value"),
        (body_of(max_tokens=1.5), "max_tokens", "invalid_type"),
        (body_of(max_tokens=True), "max_tokens", "invalid_type"),
        ({"model": "m", "max_tokens": 1}, "messages", "missing_required_parameter"),
        ({"model": "m", "max_tokens": 1, "messages": []}, "messages", "invalid_value"),
        ({"model": "m", "max_tokens": 1, "messages": "x"}, "messages", "invalid_type"),
        ({"model": "m", "max_tokens": 1, "messages": ["x"]}, "messages[0]", "invalid_type"),
        (body_of({"content": "x"}), "messages[0].role", "missing_required_parameter"),
        (body_of(HELLO, {"role": "tool", "content": ""}), "messages[1].role", "invalid_value"),
        (body_of({"role": "user"}), "messages[0].content", "missing_required_parameter"),
        (body_of({"role": "system"}), "messages[0].content", "missing_required_parameter"),
        (body_of({"role": "user", "content": 7}), "messages[0].content", "invalid_type"),
        (body_of(user({"text": "x"})), "messages[0].content[0].type", "missing_required_parameter"),
        (body_of(user({"type": "text"})), "messages[0].content[0].text",
         "missing_required_parameter"),
        (body_of(user(text("x", citations=["c"]))), "messages[0].content[0].citations[0]",
         "invalid_type"),
        (body_of(user({"type": "image"})), "messages[0].content[0].source",
         "missing_required_parameter"),
        (body_of(user({"type": "image", "source": {"type": "base64", "data": "x"}})),
         "messages[0].content[0].source.media_type", "missing_required_parameter"),
        (body_of(user({"type": "image", "source": {"type": "file"}})),
         "messages[0].content[0].source.file_id", "missing_required_parameter"),
        (body_of(user({"type": "document", "source": {"type": "content"}})),
         "messages[0].content[0].source.content", "missing_required_parameter"),
        (body_of(user({"type": "document",
                       "source": {"type": "content", "content": [{"type": "document"}]}})),
         "messages[0].content[0].source.content[0].type", "invalid_value"),
        (body_of(assistant({"type": "tool_use", "name": "f", "input": {}})),
         "messages[0].content[0].id", "missing_required_parameter"),
        (body_of(assistant({"type": "tool_use", "id": "a", "name": "f", "input": [1]})),
         "messages[0].content[0].input", "invalid_type"),
        (body_of(assistant({"type": "thinking", "signature": "Eq"})),
         "messages[0].content[0].thinking", "missing_required_parameter"),
        (body_of(assistant({"type": "redacted_thinking"})), "messages[0].content[0].data",
         "missing_required_parameter"),
        (body_of(user({"type": "tool_result", "content": "x"})),
         "messages[0].content[0].tool_use_id", "missing_required_parameter"),
        (body_of(user(result([result()]))), "messages[0].content[0].content[0].type",
         "invalid_value"),
        (body_of(user(result("x", is_error="yes"))), "messages[0].content[0].is_error",
         "invalid_type"),
        (body_of(assistant(result())), "messages[0].content[0].type", "invalid_value"),
        (body_of(user({"type": "tool_use", "id": "a", "name": "f", "input": {}})),
         "messages[0].content[0].type", "invalid_value"),
        (body_of({"role": "system", "content": [{"type": "image"}]}),
         "messages[0].content[0].type", "invalid_value"),
        (body_of(system=[{"type": "image"}]), "system[0].type", "invalid_value"),
        (body_of(system=[{"type": "tool_addition"}]), "system[0].type", "invalid_value"),
        (body_of(system={}), "system", "invalid_type"),
        (body_of(tools=[{"input_schema": {}}]), "tools[0].name", "missing_required_parameter"),
        (body_of(tools=[{"name": "f"}]), "tools[0].input_schema", "missing_required_parameter"),
        (body_of(tools=[{"name": "f", "input_schema": {}, "strict": 1}]), "tools[0].strict",
         "invalid_type"),
        (body_of(tool_choice="x"), "tool_choice", "invalid_type"),
        (body_of(tool_choice={"type": "tool"}), "tool_choice.name", "missing_required_parameter"),
        (body_of(thinking={}), "thinking.type", "missing_required_parameter"),
        (body_of(thinking={"type": "enabled"}), "thinking.budget_tokens",
         "missing_required_parameter"),
        (body_of(thinking={"type": "enabled", "budget_tokens": 0}), "thinking.budget_tokens",
         "invalid_value"),
        (body_of(output_config={"effort": 3}), "output_config.effort", "invalid_type"),
        (body_of(output_config={"format": {"type": "json_schema"}}), "output_config.format.schema",
         "missing_required_parameter"),
        (body_of(output_format={}), "output_format.type", "missing_required_parameter"),
        (body_of(stop_sequences="x"), "stop_sequences", "invalid_type"),
        (body_of(stop_sequences=["a", 1]), "stop_sequences[1]", "invalid_type"),
        (body_of(temperature=1.2), "temperature", "invalid_value"),
        (body_of(temperature="hot"), "temperature", "invalid_type"),
        (body_of(top_p=-0.1), "top_p", "invalid_value"),
        (body_of(top_k=-1), "top_k", "invalid_value"),
        (body_of(metadata={"user_id": 7}), "metadata.user_id", "invalid_type"),
        (body_of(stream="yes"), "stream", "invalid_type"),
        (body_of(cache_control=True), "cache_control", "invalid_type"),
        (body_of(user(text("x", cache_control=True))), "messages[0].content[0].cache_control",
         "invalid_type"),
        (body_of(thread={}), "thread.type", "missing_required_parameter"),
    ],
)  # fmt: skip
def test_complaints_name_the_place(body: JSON, param: str, code: str) -> None:
    assert refused(body)[:2] == (param, code)


def test_case_39_no_limit_is_a_mistake_and_none_at_all_is_carried() -> None:
    body = body_of()
    del body["max_tokens"]
    assert refused(body)[:2] == ("max_tokens", "missing_required_parameter")
    assert decode(max_tokens=0).max_tokens == 0


def test_complaints_tell_the_type_and_never_the_value() -> None:
    param, _, message = refused(body_of({"role": "user", "content": 424242}))
    assert param == "messages[0].content"
    assert "an integer" in message and "424242" not in message


@pytest.mark.parametrize(
    ("field", "value", "loss"),
    [
        ("container", "container_1", "refuse"),
        ("container", {"id": "c", "skills": []}, "refuse"),
        ("mcp_servers", [], "none"),
        ("mcp_servers", [{"type": "url", "name": "x", "url": "https://x"}], "refuse"),
        ("compaction", {"type": "summarize"}, "refuse"),
        ("billing_policy", {"type": "billing_policy", "bill_to": "self"}, "none"),
        ("billing_policy", {"type": "billing_policy"}, "none"),
        ("billing_policy", {"type": "billing_policy", "bill_to": "user_profile"}, "refuse"),
        ("inference_geo", "eu", "refuse_soft"),
        ("context_management", {"edits": [{"type": "clear_thinking_20251015"}]}, "drop"),
        ("safeguards", [{"type": "dangerous_tool_use"}], "drop"),
        ("fallbacks", "default", "drop"),
        ("fallback_credit_token", "t", "none"),
        ("diagnostics", {"previous_message_id": "msg_1"}, "none"),
        ("anthropic_version", "bedrock-2023-05-31", "none"),
        ("betas", ["context-1m"], "none"),
        ("service_tier", "priority", "drop"),
        ("speed", "standard", "none"),
        ("speed", "ludicrous", "drop"),
        ("tool_choice", {"type": "sometimes"}, "drop"),
        ("stop_sequences", [], "none"),
        ("tools", [], "none"),
        ("stream", False, "none"),
        ("system", "", "none"),
        ("system", [], "none"),
        ("metadata", {}, "none"),
        ("output_config", {}, "none"),
        ("made_up", {"a": 1}, "drop"),
    ],
)
def test_the_class_of_a_field_depends_on_what_it_says(field: str, value: Any, loss: str) -> None:
    body = body_of(user(text("x")), **{field: value})
    (found,) = extras(decode_request(body))
    assert (found.name, found.loss, found.value, found.path) == (field, loss, value, field)
    assert native(body) == body


@pytest.mark.parametrize(
    ("fields", "path", "loss"),
    [
        ({"thinking": {"type": "sideways", "x": 1}}, "thinking.type", "drop"),
        ({"thinking": {"type": "adaptive", "display": "updates"}}, "thinking.display", "drop"),
        ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.display", "drop"),
        ({"thinking": {"type": "adaptive", "block_binding": {}}}, "thinking.block_binding", "none"),
        ({"thinking": {"type": "disabled", "budget_tokens": 9}}, "thinking.budget_tokens", "drop"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort", "drop"),
        ({"output_config": {"format": {"type": "regex"}}}, "output_config.format", "refuse_soft"),
        ({"output_config": {"task_budget": {"type": "tokens", "total": 9}}},
         "output_config.task_budget", "drop"),
        ({"output_config": {"mood": 1}}, "output_config.mood", "drop"),
        ({"output_format": {"type": "regex"}}, "output_format", "refuse_soft"),
        ({"metadata": {"user_id": "u", "team": "t"}}, "metadata.team", "drop"),
        ({"tool_choice": {"type": "auto", "mood": 1}}, "tool_choice.mood", "drop"),
        ({"service_tier": "auto", "speed": "fast"}, "speed", "drop"),
    ],
)  # fmt: skip
def test_the_class_of_a_nested_field(fields: JSON, path: str, loss: str) -> None:
    body = body_of(user(text("x")), **fields)
    assert classes(decode_request(body)) == {path: loss}
    assert native(body) == body


@pytest.mark.parametrize(
    ("block", "path", "loss"),
    [
        ({"type": "image", "source": {"type": "url", "url": "u"},
          "transformations": {"oversized_image": "error"}}, "transformations", "none"),
        (result("x", toolset_name="browser"), "toolset_name", "drop"),
        (text("x", citations=[]), "citations", "none"),
        ({"type": "document", "source": {"type": "url", "url": "u"},
          "citations": {"enabled": False}}, "citations", "none"),
        ({"type": "document", "source": {"type": "url", "url": "u"},
          "citations": {"enabled": True, "mood": 1}}, "citations.mood", "drop"),
        ({"type": "document", "source": {"type": "content", "content": "c"}}, "source.content",
         "none"),
        ({"type": "image", "source": {"type": "url", "url": "u", "mood": 1}}, "source.mood",
         "drop"),
        ({"type": "image", "source": {"type": "hologram", "x": 1}}, "source.type", "drop"),
        ({"type": "document", "source": {"type": "hologram", "x": 1}}, "source.type", "drop"),
    ],
)  # fmt: skip
def test_the_class_of_a_key_of_a_users_block(block: JSON, path: str, loss: str) -> None:
    body = body_of(user(block))
    assert classes(decode_request(body)) == {f"messages[].content[].{path}": loss}
    assert native(body) == body


@pytest.mark.parametrize(
    ("key", "value", "loss"),
    [
        ("caller", {"type": "direct"}, "none"),
        ("caller", {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}, "drop"),
        ("toolset_name", "browser", "drop"),
        ("mood", 1, "drop"),
    ],
)
def test_the_class_of_a_key_of_a_call(key: str, value: Any, loss: str) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": None}, key: value}
    body = body_of(HELLO, assistant(call))
    assert classes(decode_request(body))[f"messages[].content[].{key}"] == loss
    assert native(body) == body


@pytest.mark.parametrize(
    ("key", "value", "loss"),
    [
        ("clear_at", "never", "none"),
        ("clear_at", "next_user_message", "drop"),
        ("output_config", {}, "none"),
        ("output_config", {"effort": "low"}, "none"),
        ("output_config", {"effort": "huge"}, "drop"),
        ("id", "msg_1", "drop"),
    ],
)
def test_the_class_of_a_key_of_a_message(key: str, value: Any, loss: str) -> None:
    body = body_of(HELLO, {"role": "system", "content": [text("Now.")], key: value})
    assert classes(decode_request(body))[f"messages[].{key}"] == loss
    assert native(body) == body


@pytest.mark.parametrize(
    ("key", "value", "loss"),
    [
        ("type", "custom", "none"),
        ("defer_loading", False, "none"),
        ("eager_input_streaming", True, "none"),
        ("allowed_callers", ["direct", "code_execution_20260120"], "none"),
        ("allowed_callers", ["code_execution_20260120"], "drop"),
        ("allowed_callers", 7, "drop"),
        ("input_examples", [{"a": "x"}], "drop"),
        ("mood", 1, "drop"),
    ],
)
def test_the_class_of_a_key_of_a_tool(key: str, value: Any, loss: str) -> None:
    body = body_of(user(text("x")), tools=[{"name": "f", "input_schema": SCHEMA, key: value}])
    request = decode_request(body)
    assert classes(request) == {f"tools[].{key}": loss}
    assert request.tools[0].kind == "function" and not request.tools[0].deferred
    assert native(body) == body


def test_unknown_keys_are_kept_at_every_level() -> None:
    body = body_of(
        {"role": "user", "content": [text("t", mood=1)], "mood": 2},
        assistant(
            {"type": "tool_use", "id": "a", "name": "f", "input": {}, "mood": 3},
            {"type": "thinking", "thinking": "t", "signature": "Eq", "mood": 4},
            {"type": "redacted_thinking", "data": "d", "mood": 5},
        ),
        user(
            result([text("r", mood=6)], mood=7),
            {"type": "document", "source": {"type": "url", "url": "u", "mood": 8}, "mood": 9},
        ),
        system=[text("s", mood=10)],
        tools=[{"name": "f", "input_schema": {}, "mood": 11}],
        output_config={"format": {"type": "json_schema", "schema": {}, "mood": 12}, "mood": 13},
        thinking={"type": "adaptive", "mood": 14},
        mood=15,
    )
    request = decode_request(body)
    found = {e.value: e.path for e in extras(request) if e.name.endswith("mood")}
    assert found == {
        1: "messages[].content[].mood",
        2: "messages[].mood",
        3: "messages[].content[].mood",
        4: "messages[].content[].mood",
        5: "messages[].content[].mood",
        6: "messages[].content[].content[].mood",
        7: "messages[].content[].mood",
        8: "messages[].content[].source.mood",
        9: "messages[].content[].mood",
        10: "system[].mood",
        11: "tools[].mood",
        12: "output_config.format.mood",
        13: "output_config.mood",
        14: "thinking.mood",
        15: "mood",
    }
    assert {e.loss for e in extras(request)} == {"drop"}
    assert native(body) == body


def test_instructions_as_a_string_and_as_blocks() -> None:
    plain = decode(system="Be brief.")
    assert plain.system == (TextPart(text="Be brief."),)
    assert decode(system="").system == ()
    billing = "x-anthropic-billing-header: cc_version=2.1;"
    blocks = [text(billing), text("Be brief.", cache_control={"type": "ephemeral"})]
    request = decode(system=blocks)
    assert [part.text for part in request.system] == [billing, "Be brief."]
    assert request.system[1].cache == Cache(raw={"cache_control": {"type": "ephemeral"}})


def test_later_instructions_are_turns() -> None:
    change = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}}
    request = decode(
        HELLO,
        {"role": "system", "content": "Now."},
        {"role": "system", "content": [change]},
        {"role": "system", "output_config": {"effort": "low"}},
    )
    assert [turn.role for turn in request.turns] == ["user", "system", "system", "system"]
    assert request.turns[1].parts == (TextPart(text="Now."),)
    assert request.turns[2].parts == (
        OpaquePart(origin="anthropic", type="tool_addition", raw=change),
    )
    assert request.turns[3].parts == ()


def test_a_users_parts_keep_their_order() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    request = decode(user(text("a"), result("done"), image, text("b")), HELLO)
    assert request.turns[0].parts == (
        TextPart(text="a"),
        ToolResultPart(call_id="toolu_1", parts=(TextPart(text="done"),), as_text=True),
        ImagePart(source=Url(url="https://x/y.png")),
        TextPart(text="b"),
    )
    assert len(request.turns) == 2


@pytest.mark.parametrize("is_error", [None, False, True])
def test_results_as_they_came(is_error: bool | None) -> None:
    more = {} if is_error is None else {"is_error": is_error}
    reference = {"type": "tool_reference", "tool_name": "f"}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "Q"}}
    blocks = [text("screen"), image, reference]
    held = (result("x", **more), result("", **more), result(**more), result(blocks, **more))
    plain, empty, nothing, rich = decode(user(*held, result([]))).turns[0].parts[:4]
    common: JSON = {"call_id": "toolu_1", "is_error": is_error}
    assert plain == ToolResultPart(parts=(TextPart(text="x"),), as_text=True, **common)
    assert empty == ToolResultPart(parts=(TextPart(text=""),), as_text=True, **common)
    assert nothing == ToolResultPart(parts=None, **common)
    assert rich == ToolResultPart(
        parts=(
            TextPart(text="screen"),
            ImagePart(source=Base64(media_type="image/png", data="Q")),
            OpaquePart(origin="anthropic", type="tool_reference", raw=reference),
        ),
        **common,
    )
    body = body_of(user(*held, result([])))
    assert native(body) == body


def test_calls_hold_their_arguments_as_they_came() -> None:
    args = {"b": 1, "a": [None, {"c": 1.5}]}
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": args, "cache_control": MARK}
    (part,) = decode(assistant(call)).turns[0].parts
    assert part == ToolCallPart(
        id="toolu_1", name="f", args=args, cache=Cache(ttl="1h", raw={"cache_control": MARK})
    )
    assert isinstance(part, ToolCallPart) and list(part.args or {}) == ["b", "a"]


def thought(**block: Any) -> ReasoningPart:
    (part,) = decode(assistant({"type": "thinking", **block})).turns[0].parts
    assert isinstance(part, ReasoningPart)
    return part


def test_reasoning_and_who_signed_it() -> None:
    signed = thought(thinking="t", signature="EqQB")
    assert signed == ReasoningPart(text="t", signature=Signature(origin="signable", value="EqQB"))
    assert thought(thinking="", signature="EqQB").signature == signed.signature
    nobody = Signature(origin="text")
    assert thought(thinking="t").signature == nobody
    assert thought(thinking="t", signature="").signature == nobody
    token = seal({"k": "rc"})
    ours = thought(thinking="t", signature=token).signature
    assert ours == Signature(origin="text", field="reasoning_content")
    details = thought(thinking="t", signature=seal({"k": "rd", "d": [{"type": "x"}]}))
    assert details.signature == Signature(origin="details", value='[{"type":"x"}]')
    (redacted,) = decode(assistant({"type": "redacted_thinking", "data": "Zm9v"})).turns[0].parts
    assert redacted == ReasoningPart(redacted="Zm9v")


def test_text_that_was_hidden_in_a_token_comes_to_light() -> None:
    token = seal({"k": "rc", "t": "quiet"})
    assert thought(thinking="", signature=token).text == "quiet"
    assert thought(thinking="loud", signature=token).text == "loud"
    assert thought(thinking="", signature=seal({"k": "rc", "t": 7})).text == ""


def test_case_98_only_what_anthropic_signed_goes_back_to_it() -> None:
    blocks = [
        {"type": "thinking", "thinking": "t", "signature": seal({"k": "rc"})},
        {"type": "thinking", "thinking": "t"},
        {"type": "thinking", "thinking": "t", "signature": "EqQB"},
        text("x"),
    ]
    assert native(body_of(HELLO, assistant(*blocks)))["messages"][1]["content"] == blocks[2:]


OPAQUE = [
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "mcp_tool_listing",
    "search_result",
    "container_upload",
    "compaction",
    "fallback",
    "tool_addition",
    "tool_removal",
    "of_tomorrow",
]


@pytest.mark.parametrize("kind", OPAQUE)
def test_what_only_anthropic_understands_is_kept_whole(kind: str) -> None:
    block = {"type": kind, "content": None, "cache_control": MARK, "x": [1]}
    for message in (user(block), assistant(block)):
        (part,) = decode(message).turns[0].parts
        assert isinstance(part, OpaquePart)
        assert (part.origin, part.type, part.raw) == ("anthropic", kind, block)
        assert part.cache == Cache(ttl="1h", raw={"cache_control": MARK})
        body = body_of(message)
        assert native(body) == body


def test_case_40_images_and_documents() -> None:
    def source(**fields: Any) -> JSON:
        return {"type": "document", "source": fields}

    pdf = source(type="base64", media_type="application/pdf", data="JVBERi0=")
    shot = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    cited = {"title": "T", "context": "C", "citations": {"enabled": True}, "cache_control": MARK}
    blocks = [
        {**pdf, **cited},
        source(type="text", media_type="text/plain", data="words"),
        source(type="url", url="https://x/y.pdf"),
        source(type="file", file_id="file_2"),
        source(type="content", content=[text("a"), shot]),
        source(type="content", content="plain"),
        shot,
    ]
    parts = decode(user(*blocks)).turns[0].parts
    assert parts[:5] == (
        DocumentPart(
            source=Base64(media_type="application/pdf", data="JVBERi0="),
            title="T",
            context="C",
            citations_on=True,
            cache=Cache(ttl="1h", raw={"cache_control": MARK}),
        ),
        DocumentPart(source=PlainText(text="words")),
        DocumentPart(source=Url(url="https://x/y.pdf")),
        DocumentPart(source=FileRef(id="file_2", origin="anthropic")),
        DocumentPart(
            source=(
                TextPart(text="a"),
                ImagePart(source=FileRef(id="file_1", origin="anthropic")),
            )
        ),
    )
    plain = parts[5]
    assert isinstance(plain, DocumentPart) and plain.source == (TextPart(text="plain"),)
    body = body_of(user(*blocks))
    assert native(body) == body


def test_citations_on_text() -> None:
    cited = {
        "type": "web_search_result_location",
        "url": "https://x",
        "title": "X",
        "cited_text": "x",
        "encrypted_index": "E",
    }
    body = body_of(assistant(text("x", citations=[cited, {"type": "of_tomorrow"}])))
    (part,) = decode_request(body).turns[0].parts
    assert isinstance(part, TextPart)
    assert [(c.kind, c.url) for c in part.citations] == [("url", "https://x"), ("other", None)]
    assert native(body) == body


def test_tools_of_the_client() -> None:
    tool = {
        "name": "f",
        "description": "d",
        "input_schema": SCHEMA,
        "strict": True,
        "defer_loading": True,
        "cache_control": {"type": "ephemeral"},
    }
    assert decode(tools=[tool]).tools == (
        Tool(
            kind="function",
            name="f",
            description="d",
            schema=SCHEMA,
            strict=True,
            deferred=True,
            cache=Cache(raw={"cache_control": {"type": "ephemeral"}}),
        ),
    )


def test_tools_of_the_vendor_are_kept_whole() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "allowed_domains": None}
    toolset = {"type": "mcp_toolset", "mcp_server_name": "x", "cache_control": MARK}
    request = decode(user(text("x")), tools=[search, toolset])
    assert request.tools == (
        Tool(kind="server", name="web_search", raw=search, search=WebSearch()),
        Tool(
            kind="server",
            name="mcp_toolset",
            raw=toolset,
            cache=Cache(ttl="1h", raw={"cache_control": MARK}),
        ),
    )
    assert extras(request) == []


@pytest.mark.parametrize(
    ("choice", "mode", "name", "parallel"),
    [
        ({"type": "auto"}, "auto", None, None),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", None, False),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, "named", "f", True),
        ({"type": "none"}, "none", None, None),
    ],
)
def test_tool_choices(choice: JSON, mode: Any, name: str | None, parallel: bool | None) -> None:
    body = body_of(user(text("x")), tool_choice=choice)
    request = decode_request(body)
    assert request.tool_choice == ToolChoice(mode=mode, name=name, raw=choice)
    assert request.parallel_tools is parallel
    assert native(body) == body


@pytest.mark.parametrize(
    ("fields", "expected", "reasoning", "effort"),
    [
        ({"thinking": {"type": "disabled"}}, Reasoning(mode="off"), "thinking", "thinking"),
        ({"thinking": {"type": "between_tools"}}, Reasoning(mode="between_tools"),
         "thinking", "thinking"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}},
         Reasoning(mode="adaptive", display="omitted"), "thinking", "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "summarized"}},
         Reasoning(mode="budget", budget=1024, display="summarized"), "thinking", "thinking"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
         Reasoning(mode="adaptive", effort="xhigh"), "thinking", "output_config.effort"),
        ({"output_config": {"effort": "max"}}, Reasoning(effort="max"),
         "output_config.effort", "output_config.effort"),
    ],
)  # fmt: skip
def test_case_34_reasoning_controls(
    fields: JSON, expected: Reasoning, reasoning: str, effort: str
) -> None:
    request = decode(**fields)
    assert request.reasoning == expected
    assert (request.path("reasoning"), request.path("effort")) == (reasoning, effort)


def test_output_formats() -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    expected = OutputFormat(kind="json_schema", schema=SCHEMA)
    new = decode(output_config={"format": form})
    assert new.output == expected and new.path("output_schema") == "output_config.format.schema"
    old = decode(output_format=form)
    assert old.output == expected and old.path("output_schema") == "output_format.schema"
    assert old.path("output") == "output_format"
    both = decode(output_config={"format": form}, output_format={**form, "schema": {}})
    assert both.output == expected and both.path("output") == "output_config.format"
    assert classes(both)["output_format"] == "drop"


def test_who_asks() -> None:
    request = decode(metadata={"user_id": '{"device_id":"0"}'})
    assert request.user_id == '{"device_id":"0"}'
    assert request.path("user_id") == "metadata.user_id"


@pytest.mark.parametrize(
    ("fields", "tier", "path"),
    [
        ({"service_tier": "auto"}, "auto", "service_tier"),
        ({"service_tier": "standard_only"}, "standard", "service_tier"),
        ({"speed": "fast"}, "fast", "speed"),
        ({"speed": "standard"}, None, "service_tier"),
        ({"service_tier": "standard_only", "speed": "fast"}, "standard", "service_tier"),
    ],
)
def test_tiers(fields: JSON, tier: str | None, path: str) -> None:
    request = decode(**fields)
    assert (request.tier, request.path("tier")) == (tier, path)


def test_automatic_caching() -> None:
    assert decode(cache_control=MARK).cache == CachePolicy(mode="auto", ttl="1h", raw=MARK)


def test_sampling_and_stops() -> None:
    request = decode(temperature=0, top_p=1, top_k=5, stop_sequences=["a", " "], stream=True)
    assert (request.sampling.temperature, request.sampling.top_p) == (0, 1)
    assert request.sampling.top_k == 5 and request.stop == ("a", " ") and request.stream


def test_losses_are_told_in_the_clients_words() -> None:
    request = decode()
    told = [request.path(field) for field in ("effort", "reasoning_part", "is_error")]
    told.append(request.path("tool_result"))
    assert ",".join(told) == (
        "output_config.effort,messages[].content[].thinking,"
        "messages[].content[].is_error,messages[].content[].content"
    )
    assert request.path("stop") == "stop_sequences"
    assert request.path("parallel_tools") == "tool_choice.disable_parallel_tool_use"
    assert request.path("tool") == "tools[].input_schema"
    assert request.path("max_tokens") == "max_tokens"


@pytest.mark.parametrize(
    ("kind", "mode"), [("continue", "default"), ("continue", "lenient"), ("create", "strict")]
)
def test_a_thread_that_is_refused_says_how_to_go_on(kind: str, mode: Mode) -> None:
    more = {"previous_message_id": "msg_1"} if kind == "continue" else {}
    request = decode(thread={"type": kind, **more})
    with pytest.raises(Refused) as caught:
        Losses(mode).extras(request.extras)
    assert caught.value.info.param == "thread"
    status, told = errors.encode_error(caught.value.info, "req_1")
    assert status == 400
    assert told["error"]["details"] == {"error_code": "thread_unsupported_request"}


def test_a_request_that_starts_a_thread_is_whole_and_one_that_goes_on_may_be_empty() -> None:
    losses = Losses()
    losses.extras(decode(thread={"type": "create"}).extras)
    assert losses.paths == ("thread",)
    body = {"model": "m", "max_tokens": 1, "messages": []}
    going_on = {**body, "thread": {"type": "continue", "previous_message_id": "msg_1"}}
    assert decode_request(going_on).turns == ()
    assert refused({**body, "thread": {"type": "create"}})[:2] == ("messages", "invalid_value")


def test_a_tool_runner_whose_thread_is_refused_sends_everything_again() -> None:
    seen: list[JSON] = []
    call = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1, "b": 2}}

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        seen.append(body)
        try:
            Losses().extras(decode_request(body).extras)
        except Refused as error:
            status, told = errors.encode_error(error.info, "req_1")
            return httpx2.Response(status, json=told)
        done = len(body["messages"]) == 3
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [text("3")] if done else [call],
            "stop_reason": "end_turn" if done else "tool_use",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        return httpx2.Response(200, json=message)

    @anthropic.beta_tool
    def add(a: int, b: int) -> str:
        """Add."""
        return str(a + b)

    transport = httpx2.MockTransport(answer)
    with anthropic.Anthropic(
        api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0
    ) as client:
        runner = client.beta.messages.tool_runner(
            model="m", max_tokens=10, tools=[add], messages=[{"role": "user", "content": "1+2"}]
        )
        assert runner.until_done().content[0].text == "3"
    threads = [(body.get("thread") or {}).get("type") for body in seen]
    assert threads == ["create", "continue", None]
    assert [len(body["messages"]) for body in seen] == [1, 1, 3]


def test_a_refusal_says_no_more_than_there_is_to_say() -> None:
    with pytest.raises(Refused) as caught:
        Losses().extras(decode(container="c").extras)
    assert caught.value.info.details is None


RICH: JSON = {
    "model": "m",
    "max_tokens": 32000,
    "stream": True,
    "system": [text("x-anthropic-billing-header: a=b;"), text("Rules.", cache_control=MARK)],
    "messages": [
        {"role": "user", "content": "Run the tests."},
        assistant(
            {"type": "thinking", "thinking": "", "signature": "EqQB"},
            {"type": "redacted_thinking", "data": "Zm9v"},
            text("Running.", citations=[{"type": "char_location", "cited_text": "x"}]),
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"n": None, "a": 1.0}},
            {"type": "tool_use", "id": "toolu_2", "name": "shot", "input": {}},
        ),
        user(
            text("before"),
            result("exit 1", is_error=True, cache_control=MARK),
            result([text("screen"), {"type": "tool_reference", "tool_name": "later"}]),
            {"type": "search_result", "source": "s", "title": "t", "content": [text("c")]},
            {"type": "document", "title": "", "source": {"type": "content", "content": []}},
        ),
        {"role": "system", "content": [text("Now.", cache_control={"type": "ephemeral"})]},
        {"role": "assistant", "content": "I will "},
    ],
    "tools": [
        {"type": "custom", "name": "bash", "description": "", "input_schema": SCHEMA},
        {"name": "later", "input_schema": {}, "strict": False, "defer_loading": True},
        {"type": "computer_toolset_20260801", "configs": {"zoom": None}},
    ],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2048, "display": "summarized"},
    "output_config": {
        "effort": "xhigh",
        "format": {"type": "json_schema", "schema": SCHEMA},
        "task_budget": {"type": "tokens", "total": 20000},
    },
    "stop_sequences": ["</done>"],
    "metadata": {"user_id": "user_1", "team": "t"},
    "temperature": 1,
    "top_p": 0.97,
    "top_k": 40,
    "service_tier": "standard_only",
    "cache_control": {"type": "ephemeral"},
    "context_management": {"edits": []},
    "mcp_servers": [{"type": "url", "name": "x", "url": "https://x", "tool_configuration": None}],
    "thread": {"type": "create"},
    "of_tomorrow": {"x": [None]},
}  # fmt: skip


def test_a_rich_request_comes_back_as_it_was() -> None:
    losses = Losses("strict")
    assert encode_request(decode_request(RICH), Profile(), losses) == RICH


_names = st.text(st.characters(exclude_characters=".", codec="utf-8"), max_size=5)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(st.sampled_from(sorted(RICH)), unique=True),
    st.dictionaries(_names.map("x_".__add__), _json.filter(bool), max_size=2),
    st.lists(st.integers(0, 10), max_size=6),
)
def test_any_part_of_it_comes_back_as_it_was(left: list[str], more: JSON, cuts: list[int]) -> None:
    body = {k: v for k, v in RICH.items() if k not in left or k in ("model", "max_tokens")}
    messages = [m for n, m in enumerate(RICH["messages"]) if n not in cuts] or [HELLO]
    body = {**body, "messages": messages, **more}
    assert native(body) == body


_fields = st.sampled_from([*sorted(RICH), "container", "output_format", "speed", "billing_policy"])
_kinds = ("text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result")
_keys = ("text", "source", "content", "thinking", "signature", "data", "id", "name", "input")
_keys += ("tool_use_id", "is_error", "citations", "cache_control", "caller", "title", "x")
_source = st.fixed_dictionaries(
    {"type": st.sampled_from(["base64", "url", "file", "text", "content", "x"])},
    optional=dict.fromkeys(("media_type", "data", "url", "file_id", "content"), _json),
)
_block = st.fixed_dictionaries(
    {"type": st.sampled_from([*_kinds, "search_result"])},
    optional={**dict.fromkeys(_keys, _json), "source": _source},
)
_message = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"])},
    optional={
        "content": _json | st.lists(_block, max_size=3),
        "clear_at": _json,
        "output_config": _json,
    },
)


@given(st.dictionaries(_fields, _json), st.lists(_message, max_size=3))
def test_whatever_comes_is_decoded_or_refused(fields: JSON, messages: list[JSON]) -> None:
    body = {"model": "m", "max_tokens": 1, "messages": messages, **fields}
    try:
        decode_request(body)
    except Refused as refusal:
        assert refusal.info.kind == "invalid_request" and refusal.info.param


_controls = st.fixed_dictionaries(
    {},
    optional={
        "stop_sequences": st.lists(st.text(max_size=3), max_size=2) | st.just([1]),
        "stream": st.booleans() | st.just("yes"),
        "temperature": st.sampled_from([0, 0.5, 1, 1.5, True]),
        "top_p": st.sampled_from([0.5, 1, -1, None]),
        "top_k": st.sampled_from([0, 40, -1, 0.5]),
    },
)
_blocks = st.lists(
    st.builds(text, st.text(max_size=3)) | st.just({"type": "text", "text": 1}), max_size=2
)
_contents = st.text(max_size=3) | _blocks
_roles = st.sampled_from(["user", "assistant", "system", "tool"])
_said = st.fixed_dictionaries({"role": _roles, "content": _contents})


def _at_length(content: str | list[JSON]) -> str | list[JSON]:
    """The same with a key in each block that counts as absent."""
    return (
        content if isinstance(content, str) else [{**block, "citations": None} for block in content]
    )


def _outcome(body: JSON) -> Request | tuple[str, str | None]:
    """What a body is read as; how odd content came is another matter."""
    try:
        request = decode_request(body)
        turns = tuple(
            msgspec.structs.replace(turn, extras=tuple(e for e in turn.extras if e.loss == "none"))
            for turn in request.turns
        )
        return msgspec.structs.replace(request, turns=turns)
    except Refused as refusal:
        return refusal.info.message, refusal.info.param


@given(_controls, st.none() | _contents, st.lists(_said, min_size=1, max_size=3))
def test_plain_requests_are_read_as_others_are(
    controls: JSON, system: str | list[JSON] | None, messages: list[JSON]
) -> None:
    plain = body_of(*messages, system=system, **controls)
    longer = [{**m, "content": _at_length(m["content"]), "x": None} for m in messages]
    instructions = None if system is None else _at_length(system)
    other = _outcome(body_of(*longer, system=instructions, **controls, x=1))
    if isinstance(other, Request):
        *known, unknown = other.extras
        assert unknown.name == "x"
        other = msgspec.structs.replace(other, extras=tuple(known))
    assert _outcome(plain) == other
