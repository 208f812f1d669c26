# ruff: noqa: E501 (a sentence of a server stands in one line)
"""What refusals of backends that speak Responses teach: the words are those of real servers."""

import json

import msgspec
import pytest
from bodies import responses

from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.anthropic_messages.decode_request import decode_request
from lmbroker.translation.dialects.openai_responses.encode_request import encode_request
from lmbroker.translation.dialects.openai_responses.families import UNKNOWN
from lmbroker.translation.losses import Losses
from lmbroker.translation.refusals.error_bodies import Said, limited
from lmbroker.translation.refusals.error_kinds import kind_of
from lmbroker.translation.shared.signature import seal
from lmbroker.workflows.fitting import fit
from lmbroker.workflows.repairs import repair_of

MARKED = msgspec.structs.replace(UNKNOWN, system_role="developer", cache_breakpoints=True)


def taught(message, body=None, *, status=400, code=None, param=None, profile=MARKED):
    """(lasting changes, changes for this call) that ``message`` leads to, None where to none."""
    message = limited(message)
    kind = kind_of(status, Said(message=message, code=code or ""))
    error = ErrorInfo(kind=kind, message=message, status=status, code=code, param=param)
    repair = repair_of(error, body or responses(), profile, lambda: 100)
    return None if repair is None else (dict(repair.overrides), dict(repair.once))


def omits(*names):
    return {"omit": names}


LASTING = [
    # OpenAI, Azure
    ("Unsupported parameter: 'temperature' is not supported with this model.", omits("temperature", "top_p")),
    ("Unsupported parameter: 'reasoning.effort' is not supported with this model.", omits("reasoning", "include")),
    ("Unsupported parameter: 'reasoning.summary' is not supported with this model.", omits("reasoning.summary")),
    ("Unsupported parameter: 'text.verbosity' is not supported with this model.", omits("text.verbosity")),
    ("Unsupported parameter: 'prompt_cache_retention' is not supported with this model.", omits("prompt_cache_retention")),
    ("Unsupported parameter: max_output_tokens", omits("max_output_tokens")),
    ("Unknown parameter: 'metadata'.", omits("metadata")),
    ("Unknown parameter: 'input[5].content[0].annotations'.", omits("input[].content[].annotations")),
    ("Encrypted content is not supported with this model.", omits("include")),
    (
        "Your organization must be verified to generate reasoning summaries. Please go to: https://platform.openai.com/settings/organization/general and click on Verify Organization. If you just verified, it can take up to 15 minutes for access to propagate.",
        omits("reasoning.summary"),
    ),
    (
        "Item with id 'rs_02d3' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input.",
        omits("input[].id"),
    ),
    (
        "Item 'rs_68c4' of type 'reasoning' was provided without its required following item.",
        omits("input[].id"),
    ),
    (
        "Item 'fc_68c4' of type 'function_call' was provided without its required 'reasoning' item: 'rs_68c4'.",
        omits("input[].id"),
    ),
    ("Duplicate item found with id rs_68c4. Remove duplicate items from your input and try again.", omits("input[].id")),
    (
        "Unsupported value: 'reasoning.effort' does not support 'high' with this model. Supported values are: 'low', and 'medium'.",
        {"effort": ("low", "medium")},
    ),
    ("Invalid value: 'developer'. Supported values are: 'system', 'user', and 'assistant'.", {"system_role": "system"}),
    (
        "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be supplied and to be false.",
        {"strict_tools": False, "omit_schema_keywords": ("additionalProperties",)},
    ),
    (
        "Invalid schema for response_format 'o': In context=(), 'additionalProperties' is required to be supplied and to be false.",
        {"structured_outputs": False, "strict_tools": False},
    ),
    ("Unsupported parameter: 'text.format' is not supported with this model.", {"structured_outputs": False}),
    ("The file type you uploaded is not supported. Please try again with a pdf", {"files": False}),
    ("Unsupported parameter: 'instructions' is not supported with this model.", {"instructions": "message"}),
    # xAI
    ("Model grok-build does not support parameter reasoningEffort.", omits("reasoning.effort")),
    ("Argument not supported on this model: presencePenalty", None),
    # llama.cpp
    ("'type' of tool must be 'function'", {"custom_tools": False}),
    ("Output of tool call should be 'Input text'", {"tool_result_images": False}),
    ("'input_file' is not supported by llamacpp at this moment", {"pdf": False}),
    ("item['content'] is not an array", {"replay_signed": False}),
    # Groq, LM Studio, vLLM, Ollama and their like
    ("unknown input item type: \"reasoning\"", {"reasoning_replay": "none"}),
    ("Unsupported tool type: custom", {"custom_tools": False}),
    (
        '[\n {\n "received": "custom",\n "code": "invalid_literal",\n "expected": "function",\n "path": [\n 4,\n "type"\n ],\n "message": "Invalid literal value, expected \\"function\\""\n }\n]',
        {"custom_tools": False},
    ),
    ("`include` is not supported", omits("include")),
    ("`store` is not supported", omits("store")),
    ("tools[0].strict: Extra inputs are not permitted", {"strict_tools": False, **omits("tools[].strict")}),
    ("max_tokens must be less than or equal to 8192", {"max_output": 8192}),
    ("System message must be at the beginning.", {"system_first_only": True}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "overrides"), LASTING)
def test_a_refusal_becomes_a_change_of_the_profile(message, overrides):
    assert taught(message) == (None if overrides is None else (overrides, {}))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("The encrypted content gAAA...c90= could not be verified.", "invalid_encrypted_content"),
        (
            "The encrypted content for item rs_0a18 could not be verified. Reason: Encrypted content could not be decrypted or parsed.",
            "invalid_encrypted_content",
        ),
        ("reasoning `encrypted_content` was not issued to this caller", None),
        ("Could not decrypt the provided encrypted_content.", None),
    ],
)
def test_reasoning_that_cannot_be_read_is_left_out_of_this_call(message, code):
    assert taught(message, code=code) == ({}, {"replay_signed": False})


@pytest.mark.parametrize(
    "message",
    [
        "Item with id 'rs_02d3' not found. Items are not persisted when `store` is set to false.",
        "Item 'rs_68c4' of type 'reasoning' was provided without its required following item.",
    ],
)
def test_reasoning_is_left_out_where_ids_are_not_what_is_wrong(message):
    for item in (
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "r"}]},
    ):
        body = responses(input=[item, *responses()["input"][2:]])
        assert taught(message, body) == ({}, {"reasoning_replay": "none"})


@pytest.mark.parametrize("status", [400, 404])
def test_an_item_that_is_not_there_is_no_model_that_is_not_there(status):
    message = "Item with id 'rs_02d3' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input."
    assert taught(message, status=status) == (omits("input[].id"), {})


def test_instructions_that_a_backend_demands_go_into_their_field():
    profile = msgspec.structs.replace(MARKED, instructions="message")
    body = responses(instructions=None)
    assert taught("Instructions are required", body, profile=profile) == (
        {"instructions": "field"},
        {},
    )
    assert taught("Instructions are required") is None


def test_a_limit_below_the_least_one_is_raised():
    message = "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 5 instead."
    lasting, once = taught(message, responses(max_output_tokens=5), param="max_output_tokens")
    assert once == {}
    ((field, least, _),) = lasting["ranges"]
    assert (field, least) == ("max_output_tokens", 16)
    body = responses(max_output_tokens=5)
    request = decode_request(
        {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    )
    losses = Losses()
    fit(body, request, msgspec.structs.replace(MARKED, **lasting), losses)
    assert body["max_output_tokens"] == 16
    assert isinstance(body["max_output_tokens"], int)
    assert losses.changed == ("max_tokens",)


def test_a_choice_among_tools_that_is_not_taken_offers_only_these():
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}
    message = "Invalid value for tool_choice: 'allowed_tools' is not supported."
    assert taught(message, responses(tool_choice=choice)) == ({"allowed_tools": False}, {})


@pytest.mark.parametrize(
    "message",
    [
        "No tool output found for function call call_1.",
        "No tool call found for function call output with call_id call_1.",
        "Missing required parameter: 'input[2].name'.",
        "Invalid 'input[0].content[1].image_url'. Expected a valid URL, but got a value with an invalid format.",
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        "Invalid type for 'input[0].content': expected one of a string or array of objects, but got an object instead.",
        "The requested model 'this-model-does-not-exist' does not exist.",
    ],
)
def test_other_refusals_are_not_repaired(message):
    assert taught(message) is None


def sent(profile):
    token = seal({"k": "oi", "id": "rs_1", "enc": "gAAA"})
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    said = [
        {"type": "thinking", "thinking": "hm", "signature": token},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
    ]
    answered = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "image", "source": image}],
    }
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": said},
            {"role": "user", "content": [answered]},
        ],
        "thinking": {"type": "adaptive"},
    }  # fmt: skip
    request, losses = decode_request(body), Losses()
    out = encode_request(request, profile, losses)
    fit(out, request, profile, losses)
    return out, losses


@pytest.mark.parametrize(
    ("change", "gone", "reported"),
    [
        ({"omit": ("input[].id",)}, '"id":', ()),
        ({"omit": ("include",)}, "include", ()),
        ({"omit": ("reasoning.summary",)}, '"summary": "auto"', ("thinking",)),
        ({"replay_signed": False}, "gAAA", ("messages[].content[].thinking",)),
        ({"reasoning_replay": "none"}, "gAAA", ("messages[].content[].thinking",)),
    ],
)
def test_what_was_learned_changes_the_request(change, gone, reported):
    assert gone in json.dumps(sent(MARKED)[0])
    out, losses = sent(msgspec.structs.replace(MARKED, **change))
    assert gone not in json.dumps(out)
    assert losses.dropped == reported
