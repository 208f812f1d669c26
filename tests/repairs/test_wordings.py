# ruff: noqa: E501 (a sentence of a server stands in one line)
"""How refusals are worded: one rule of the wordings each, in sentences of many makes."""

import msgspec
import pytest
from bodies import anthropic, openai
from test_repairs import CAPABLE, CLAUDE, taught

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows.conversion import backend_error
from lmbroker.workflows.repairs import repair_of

PLAIN = [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]


def learned(message, **body):
    """All that ``message`` changes, for an hour or for this call."""
    lasting, once = taught(message, openai(**body)) or ({}, {})
    return {**lasting, **once}


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("'seed' is not a supported field. Supported: model, messages", ("seed",)),
        ("seed is not a valid parameter for this endpoint", ("seed",)),
        ("Argument not supported on this model: user", ("user",)),
        ("Unknown arguments supplied: seed, top_k and user", ("seed", "top_k", "user")),
        (
            'JSON parse error: Unrecognized field "user" (class A), not marked as ignorable',
            ("user",),
        ),
        ("No endpoints found that support the parameter 'seed'.", ("seed",)),
        ("temperature参数非法。请检查文档。", ("temperature",)),
        ("user 参数不合法", ("user",)),
        ("Error: seed param is not supported yet", ("seed",)),
        ("Property verbosity does not exist on the request", ("verbosity",)),
        ("不支持的参数 seed", ("seed",)),
    ],
)
def test_a_field_is_named_in_many_grammars(message, names):
    assert learned(message) == {"omit": names}


@pytest.mark.parametrize(
    "message",
    [
        "messages.1.reasoning_content: Extra inputs are not permitted",
        "1.assistant.reasoning_content\n  Extra inputs are not permitted [type=extra_forbidden]",
        "assistant.reasoning_content: Extra inputs are not permitted",
        "an assistant message must not contain reasoning_content",
    ],
)
def test_a_field_of_a_message_is_found_whatever_its_path_begins_with(message):
    assert learned(message) == {"reasoning_replay": "none"}


@pytest.mark.parametrize(
    ("message", "taken"),
    [
        ("invalid temperature: only 1 is allowed for this model", (1.0, 1.0)),
        ("invalid params, temperature must be in [0, 0.4]", (0.0, 0.4)),
        ("temperature must be 1 for this model's decoding", (1.0, 1.0)),
        ("`temperature` must be > 0.1 and < 0.4", (0.1, 0.4)),
        ("`temperature` must be greater than or equal to 0.95 or unset", (0.95, 2.0)),
    ],
)
def test_a_number_of_the_sampling_is_brought_to_what_is_taken(message, taken):
    assert learned(message) == {"ranges": (("temperature", *taken),)}


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("Requests with max_tokens > 4096 must have stream=true", 4096),
        (
            "it has a maxOutputTokens value of 32000 but the range is from 1 (inclusive) to 8193 (exclusive)",
            8192,
        ),
        ("max_new_tokens must be <= 8192", 8192),
        (
            "too many tokens: max tokens must be less than or equal to 4096, the maximum output length",
            4096,
        ),
        ("max_tokens 取值范围为 [1, 4095]", 4095),
        ("max_tokens 不能超过 8192", 8192),
        ("max_tokens超过最大值8192", 8192),
    ],
)
def test_a_limit_that_is_told_is_kept(message, most):
    assert learned(message) == {"max_output": most}


@pytest.mark.parametrize(
    ("message", "most"),
    [("'stop' : maximum number of items is 1", 1), ("stop: only supports 1 stop word", 1)],
)
def test_fewer_stop_words(message, most):
    assert learned(message) == {"stop_max": most}


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("Invalid reasoning effort: high. Supported: low, medium", {"effort": ("low", "medium")}),
        ("Thinking level HIGH is not supported for this model.", {"omit": ("reasoning_effort",)}),
        ('invalid think value: "high" (must be "medium" or "low")', {"effort": ("low", "medium")}),
    ],
)
def test_an_effort_is_known_by_its_value(message, changes):
    assert learned(message) == changes


@pytest.mark.parametrize(
    "message",
    [
        "Budget 0 is invalid. This model only works in thinking mode.",
        "Reasoning is mandatory for this endpoint and cannot be disabled.",
        "thinking cannot be disabled for this model",
    ],
)
def test_a_model_that_always_reasons_is_not_told_to_stop(message):
    assert learned(message, reasoning_effort="none") == {"thinking_default": "always"}


def test_a_chat_template_that_is_not_taken_takes_no_switches():
    found = learned(
        "chat_template is not supported for this tokenizer",
        chat_template_kwargs={"enable_thinking": False},
    )
    assert found == {"omit": ("chat_template_kwargs",)}


NAMED_TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("message", "choice"),
    [
        ('`tool_choice` must either be a named tool, "auto", or "none".', "required"),
        ("Currently only named tools are supported.", "required"),
        ("The model doesn't support the toolConfig.toolChoice.any field. Remove it.", "required"),
        ("The model doesn't support the toolConfig.toolChoice.tool field.", NAMED_TOOL),
        ("tool_choice only supports none and auto", "required"),
        ("tool_choice参数仅支持auto和none", "required"),
        ("required is not a valid tool_choice", "required"),
        ("Forcing a tool call is not supported by this model", "required"),
        ("tool_choice 仅支持 auto", "required"),
        ("function calling mode ANY is not supported for this model", "required"),
        ("No endpoints found that support the provided 'tool_choice' value.", "required"),
        ("Invalid tool_choice type: 'object'. Supported string values: none, auto", NAMED_TOOL),
        ("type must be string, but is object: tool_choice", NAMED_TOOL),
        ("invalid params, invalid tool_choice: any", "required"),
    ],
)
def test_a_forced_tool_is_refused_in_many_grammars(message, choice):
    assert learned(message, tool_choice=choice) == {"forced_tools": False}


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (
            "`response_format` does not support streaming",
            {"structured_outputs": False, "json_object": False},
        ),
        ("type: Input should be 'text'", {"structured_outputs": False}),
        ("the model does not support output format.", {"structured_outputs": False}),
        ("guided_json is not supported", {"structured_outputs": False}),
        (
            "response_format json_schema is enabled only for later api versions",
            {"structured_outputs": False},
        ),
    ],
)
def test_a_format_is_refused_in_many_grammars(message, changes):
    assert learned(message) == changes


def test_a_weaker_format_that_is_refused_too_is_another_repair():
    message = "response_format is not supported"
    first = taught(message, openai())
    second = taught(message, openai(response_format={"type": "json_object"}))
    assert first == ({"structured_outputs": False}, {})
    known = msgspec.structs.replace(CAPABLE, structured_outputs=False)
    body = openai(response_format={"type": "json_object"})
    assert second is not None
    assert taught(message, body, known) == ({"json_object": False}, {})


def test_a_grammar_that_nothing_is_said_of_loses_the_limits_and_then_the_schema():
    message = "Failed to initialize samplers: failed to parse grammar"
    kept = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert set(learned(message)["omit_schema_keywords"]) >= {"pattern", "format", "$ref"}
    tools = [{"type": "function", "function": {"name": "f", "parameters": kept}}]
    assert learned(message, tools=tools) == {"structured_outputs": False}


@pytest.mark.parametrize(
    "message",
    [
        "Tools with strict=True are not supported by this model",
        "'pattern' lookahead is not supported in strict mode",
        "Schema is too complex for compilation.",
        "The compiled grammar is too large.",
        "function.strict: unknown field",
        "Too many strict tools (40).",
    ],
)
def test_strict_tools_are_refused_in_many_grammars(message):
    assert learned(message)["strict_tools"] is False


@pytest.mark.parametrize(
    "message",
    [
        "system messages must come before all other messages",
        "system messages must precede the conversation",
        "message[4]: role system not allowed here",
        "system message is only allowed at index 0",
        "chat content has invalid message role: system",
        'messages.4: role "system" is not supported',
        "messages 中 system 角色只能出现在首位",
        "messages 中的 system 角色必须位于列表的最开始",
    ],
)
def test_later_instructions_are_refused_in_many_grammars(message):
    assert learned(message) == {"system_first_only": True}


@pytest.mark.parametrize(
    "message",
    ["Conversation roles must be user/assistant; got system", "invalid message role: system"],
)
def test_where_no_instruction_is_taken_they_are_a_users(message):
    found = learned(message, messages=PLAIN)
    assert found == {"system_role": "user", "system_first_only": True}


@pytest.mark.parametrize(
    "message",
    [
        "user and assistant roles should be alternating.",
        "Two consecutive messages have the same role",
        "messages must alternate roles",
        "the role of a message with even index must be user or tool, odd index must be assistant",
    ],
)
def test_turns_are_demanded_in_many_grammars(message):
    assert learned(message) == {"alternate_roles": True, "system_first_only": True}


def test_a_prefill_that_is_not_taken_is_known_by_the_last_role():
    body = openai(messages=[*PLAIN, {"role": "assistant", "content": "Sure"}])
    message = "Expected last role to be one of: [user, tool] but got assistant"
    assert taught(message, body) == ({"prefill": "no"}, {})


TEXT_ONLY = {"content_lists": False, "vision": False, "pdf": False}


@pytest.mark.parametrize(
    "message",
    [
        "Invalid 'content' type. Expected one of: ['str'], got list.",
        "Type mismatch of '/messages/0/content', 'array' not in 'string'",
        "body.messages.0.content: str type expected",
        "body.messages.0.content: Input should be a valid string",
        "messages[0].content: invalid type: sequence, expected a string",
        "content must be string, got array",
        "expected string for content, received array",
        "messages.0.content: Expected string, received array",
    ],
)
def test_where_content_must_be_a_text_it_becomes_one(message):
    assert learned(message) == TEXT_ONLY


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("messages.0.user.content.1.type: Input should be 'text'", {"vision": False, "pdf": False}),
        (
            "messages.0.content.2.type: Input should be 'text', 'image' or 'tool_use'",
            {"pdf": False},
        ),
        (
            "Input tag 'file' found using 'type' does not match any of the expected tags: 'text', 'image_url'",
            {"pdf": False},
        ),
        (
            "'content' objects must have a 'type' field that is either 'text' or 'image_url'.",
            {"pdf": False},
        ),
        ("type has to be either 'image_url' or 'text'", {"pdf": False}),
        (
            "'messages.0.content.2.type' : value is not one of the allowed values ['text','image_url']",
            {"pdf": False},
        ),
        (
            "Invalid content part type: 'file'. Must be one of text, image_url, video_url",
            {"pdf": False},
        ),
    ],
)
def test_types_of_parts_that_are_listed_stay(message, changes):
    assert learned(message) == changes


@pytest.mark.parametrize(
    "message",
    [
        'model "m" not supported for vision',
        "Multimodal input is not enabled.",
        "Multimodal inputs are not supported",
        "Model has no vision capability",
        "The model cannot read images",
        "vision is disabled",
        "The model is not a VLM (Vision Language Model).",
        "Model m does not support content type 'image_url'.",
        "no multimodal projector loaded",
        "Vision is not available: load a multimodal projector",
        "Image input modality is not enabled for m",
        "messages[0].content[1].type 类型错误: 不支持 image_url",
    ],
)
def test_images_are_refused_in_many_grammars(message):
    assert learned(message) == {"vision": False}


@pytest.mark.parametrize(
    "message",
    ["Unsupported MIME type: application/pdf", "messages[2].content[0].type: 'file' 类型不支持"],
)
def test_documents_are_refused_in_many_grammars(message):
    assert learned(message) == {"pdf": False}


def test_ids_of_nine_characters():
    message = "Invalid tool_call_id: call_1. Must be exactly 9 alphanumeric characters"
    assert learned(message) == {"tool_id": "^[A-Za-z0-9]{9}$"}


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("tools[0].function.parameters.properties.a.format 参数非法", "format"),
        ("Invalid tool input_schema: unsupported keyword 'const'", "const"),
        (
            "The inputSchema of tools.0 has unsupported fields: [additionalProperties]. Remove them.",
            "additionalProperties",
        ),
        (
            "key '$schema' is not allowed in parameters of function f; see the tool schema",
            "$schema",
        ),
    ],
)
def test_keywords_of_schemas_are_refused_in_many_grammars(message, word):
    assert learned(message) == {"omit_schema_keywords": (word,)}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            422,
            '{"error": {"message": "invalid input error", "details": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}}',
        ),
        (
            400,
            '{"error": "Received error from a", "external_model_message": {"error": {"message": "seed: Extra inputs are not permitted"}}}',
        ),
        (
            400,
            '{"status": 400, "error": "Bad Request", "message": "body must NOT have additional properties: seed"}',
        ),
        (
            400,
            '{"error": {"name": "ZodError", "issues": [{"path": [], "message": "Unrecognized key(s) in object: \'seed\'"}]}}',
        ),
        (
            400,
            '{"error": {"message": "Provider returned error", "metadata": {"raw": "{\\"error\\": {\\"message\\": \\"Unknown parameter: \'seed\'\\"}}"}}}',
        ),
        (500, '{"error": "create() got an unexpected keyword argument \'seed\'"}'),
    ],
)
def test_the_words_are_found_in_every_shape(status, body):
    info = backend_error(ADAPTERS["openai"], status, {}, body.encode())
    repair = repair_of(info, openai(), CAPABLE, lambda: 100)
    assert repair is not None
    assert dict(repair.overrides) == {"omit": ("seed",)}


def test_the_sum_of_prompt_and_limit_is_told_apart_by_mistral():
    message = "Prompt contains 3500 tokens and 32000 max_tokens, too large for model with 32768 maximum context length"
    assert taught(message, openai()) == ({"context": 32768}, {"max_output": 29268})


def test_a_prompt_that_is_told_apart_is_no_sum():
    message = "maximum context length is 131072 tokens. However, you requested 0 output tokens and your prompt contains at least 131073 input tokens, for a total of at least 131073 tokens."
    assert taught(message, openai()) is None


@pytest.mark.parametrize(
    "message",
    [
        # What is wrong with this one image, name or call, and not with all of them.
        "You uploaded an unsupported image. Please make sure your image has one of the following formats: ['png', 'jpeg'].",
        "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        "Failed to load image: cannot identify image file",
        "Image size is 9437184 bytes, which is larger than the maximum allowed image size of 5242880 bytes",
        'Invalid value for "tool_choice": no function named "g" was specified in the "tools" parameter.',
        "Tool choice 'g' not found in 'tools' parameter.",
        "A maximum of 100 PDF pages may be provided.",
        "The PDF specified is password protected.",
        # Accounts and places.
        "User location is not supported for the API use.",
        "The requested model is not supported.",
        "This model is only supported in v1/responses and not in v1/chat/completions.",
        "Access denied: user is not allowed to use the tools of this project",
        "No endpoints found matching your data policy",
        # The client's own history.
        "tool call result does not follow tool call",
        "invalid params, tool result's tool id(call_1) not found",
        "Please ensure that function response turn comes immediately after a function call turn.",
        # Faults of the server.
        "'NoneType' object has no attribute 'max_tokens'",
        "CUDA out of memory",
    ],
)
def test_what_no_repair_mends_is_passed_on(message):
    assert taught(message, openai()) is None


def test_stop_words_and_forced_tools_of_a_messages_request():
    found = taught("stop_sequences is not supported", anthropic(), CLAUDE)
    assert found == ({"stop": False}, {})


@pytest.mark.parametrize(
    "message",
    [
        "reasoning_content is required for assistant messages with tool calls",
        "missing field `reasoning_content`",
    ],
)
def test_reasoning_that_is_demanded_back(message):
    assert learned(message) == {"replay_required": True}


def test_a_window_beside_the_limit_that_was_asked_for_is_kept():
    message = "This model's context window is 16384 tokens, but you asked for max_tokens=32000"
    assert learned(message) == {"context": 16384, "max_output": 16195}


@pytest.mark.parametrize(
    "message",
    [
        "No tool named temperature is known",
        "tools: at least one tool must be provided",
        "Duplicate tool name 'f' is not allowed",
        "unsupported country, region, or territory",
        "prompt injection is not allowed",
        "image is corrupt or truncated",
        "too many images: maximum 100 allowed",
        "stream disconnected: not supported by peer",
        "invalid user token",
    ],
)
def test_words_that_only_sound_like_a_refusal_are_passed_on(message):
    assert taught(message, openai()) is None
