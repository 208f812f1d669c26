# ruff: noqa: E501 (a sentence of a server stands in one line)
"""What a refusal teaches: which words lead to which change of the profile, and which to none."""

import json

import msgspec
import pytest
from beside import FIELD
from bodies import anthropic, openai

from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.anthropic_messages.families import UNKNOWN as UNKNOWN_ANTHROPIC
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai.families import UNKNOWN as UNKNOWN_OPENAI
from lmbroker.translation.refusals.error_bodies import Said, limited
from lmbroker.translation.refusals.error_kinds import kind_of
from lmbroker.workflows.conversion import backend_error
from lmbroker.workflows.repairs import repair_of

CAPABLE = msgspec.structs.replace(
    UNKNOWN_OPENAI,
    reasoning_replay="reasoning_content",
    pdf=True,
    tool_result_images=True,
    effort=("none", "low", "medium", "high"),
)
CLAUDE = msgspec.structs.replace(UNKNOWN_ANTHROPIC, thinking_types=("enabled",), prefill="native")


def taught(message, body, profile=CAPABLE, *, status=400, code=None, param=None):
    """(lasting changes, changes for this call) that ``message`` leads to, None where to none."""
    message = limited(message)
    kind = kind_of(status, Said(message=message, code=code or ""))
    error = ErrorInfo(kind=kind, message=message, status=status, code=code, param=param)
    repair = repair_of(error, body, profile, lambda: 100)
    return None if repair is None else (dict(repair.overrides), dict(repair.once))


def omits(*names):
    return {"omit": names}


NAMED = [
    # Who validates by a schema of its own language.
    ('json: unknown field "reasoning_effort"', omits("reasoning_effort")),
    ("unknown field `seed`, expected one of `model`, `messages`, `top_p`", omits("seed")),
    ('Unrecognized field "top_k" (class a.b.Request), not marked as ignorable', omits("top_k")),
    (
        "Additional properties are not allowed ('stream_options' was unexpected)",
        {"stream_options": False},
    ),
    ("Request.__init__() got an unexpected keyword argument 'service_tier'", omits("service_tier")),
    ("#/verbosity: extraneous key [verbosity] is not permitted", omits("verbosity")),
    ("body.store: Extra inputs are not permitted", omits("store")),
    ("store: extra fields not permitted", omits("store")),
    (
        "1 validation error for Request\nstore\n  Extra inputs are not permitted [type=extra_forbidden]",
        omits("store"),
    ),
    (
        "[{'type': 'extra_forbidden', 'loc': ('body', 'store'), 'msg': 'Extra inputs are not permitted'}]",
        omits("store"),
    ),
    ('Invalid JSON payload received. Unknown name "seed": Cannot find field.', omits("seed")),
    ("property 'top_k' is unsupported, did you mean 'top_p'?", omits("top_k")),
    ("Extra inputs are not permitted, field: 'user'", omits("user")),
    # Who says it in a sentence.
    ("The parameter `seed` is not currently supported by this endpoint.", omits("seed")),
    ("Argument not supported on this model: presencePenalty", omits("presence_penalty")),
    ("Model a-1 does not support parameter reasoningEffort.", omits("reasoning_effort")),
    ("This one does not support parameters: ['verbosity'], for model=a", omits("verbosity")),
    ("Validation: Unsupported parameter(s): `seed`, `top_k`", omits("seed", "top_k")),
    ("Unrecognized request argument supplied: top_k", omits("top_k")),
    ("parallel_tool_calls is not available for this model.", omits("parallel_tool_calls")),
    ("`parallel_tool_calls` cannot be set", omits("parallel_tool_calls")),
    ("Field 'presence_penalty' is not allowed.", omits("presence_penalty")),
    ("frequency_penalty is no longer supported", omits("frequency_penalty")),
    # A model that reasons takes neither of the two.
    ("`top_p` is deprecated for this model.", omits("temperature", "top_p")),
    (
        "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
        omits("temperature", "top_p"),
    ),
    ("temperature: Extra inputs are not permitted", omits("temperature")),
    # Two that exclude each other.
    (
        "The temperature and top_p parameters cannot both be specified for this model.",
        omits("top_p"),
    ),
    # Deeper in the request.
    ("Unknown parameter: 'tools[0].function.strict'.", {"strict_tools": False}),
    ("messages.2.reasoning_content: Extra inputs are not permitted", {"reasoning_replay": "none"}),
    (
        "messages.2.assistant.reasoning_content: property 'messages.2.assistant.reasoning_content' is unsupported",
        {"reasoning_replay": "none"},
    ),
    ("Unsupported field in assistant message: reasoning_content", {"reasoning_replay": "none"}),
    (
        "response_format.json_schema.strict: Extra inputs are not permitted",
        omits("response_format.json_schema.strict"),
    ),
    # The limit's other name.
    (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        {"max_tokens_field": "max_completion_tokens"},
    ),
    # Several at once.
    (
        'Unknown name "top_k": Cannot find field.\nUnknown name "seed": Cannot find field.',
        omits("top_k", "seed"),
    ),
]

NAMED += [
    (
        "Failed to deserialize the JSON body into the target type: tool_choice: data did not match any variant",
        {"forced_tools": False},
    ),
    (
        "This model doesn't support the toolConfig.toolChoice.required field. Remove it and try again",
        {"forced_tools": False},
    ),
    ("当前模型不支持参数 `top_k`", omits("top_k")),
    ("Invalid 'user': string too long. Expected a string with maximum length 64.", omits("user")),
    (
        "Tool call id was a but must be a-z, A-Z, 0-9, with a length of 9.",
        {"tool_id": "^[A-Za-z0-9]{9}$"},
    ),
    (
        "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length 45 instead.",
        {"tool_id": "^[A-Za-z0-9_-]{1,40}$"},
    ),
]

EFFORT = [
    (
        "Unsupported value: 'reasoning_effort' does not support 'high' with this model. Supported values are: 'low', and 'medium'.",
        {"effort": ("low", "medium")},
    ),
    (
        'invalid reasoning value: "high" (must be "medium", "low", or "none")',
        {"effort": ("none", "low", "medium")},
    ),
    (
        "Reasoning effort 'high' is not supported by this route. Supported values: 'medium'. (param: reasoning_effort)",
        {"effort": ("medium",)},
    ),
    (
        "{'type': 'literal_error', 'loc': ('body', 'reasoning_effort'), 'msg': \"Input should be 'low' or 'medium'\", 'input': 'high'}",
        {"effort": ("low", "medium")},
    ),
    (
        "Unsupported reasoning_effort: high. Choose from 'low', 'medium'",
        {"effort": ("low", "medium")},
    ),
    # Off is no answer to somebody who wants much.
    ("`reasoning_effort` must be one of `none` or `default`", omits("reasoning_effort")),
    ('think value "high" is not supported for this model', omits("reasoning_effort")),
    ("non-reasoning model does not support reasoning_effort", omits("reasoning_effort")),
    ('"my-coder:8b" does not support thinking', {"reasoning_control": "none", "effort": ()}),
    ("Reasoning is not supported for this model", {"reasoning_control": "none", "effort": ()}),
]

LIMITS = [
    ("max_tokens for `a` must be less than or equal to 8000", {"max_output": 8000}, {}),
    (
        "`max_completion_tokens` must be less than or equal to `8192`, the maximum for this model",
        {"max_output": 8192},
        {},
    ),
    (
        "integer above maximum value of `max_tokens`, expected a value <= 12288, but got 32000",
        {"max_output": 12288},
        {},
    ),
    ("the valid range of max_tokens is [1, 8192]", {"max_output": 8192}, {}),
    ("max_output_tokens must be within the range of 1 to 8192", {"max_output": 8192}, {}),
    (
        "max_tokens: 32000 > 4096, which is the maximum allowed number of output tokens",
        {"max_output": 4096},
        {},
    ),
    ("Requested max_tokens (32000) exceeds the maximum of 8,192", {"max_output": 8192}, {}),
    (
        "This model supports at most 16384 completion tokens, whereas you provided 32000.",
        {"max_output": 16384},
        {},
    ),
    ("The maximum tokens you requested exceeds the model limit of 4096.", {"max_output": 4096}, {}),
    (
        "max_tokens=32000 cannot be greater than max_model_len=4096. (parameter=max_tokens, value=32000)",
        {"context": 4096},
        {"max_output": 3907},
    ),
    # A prompt that fits, beside too large a limit.
    (
        "This model's maximum context length is 4096 tokens. However, you requested 32025 tokens (25 in the messages, 32000 in the completion).",
        {"context": 4096},
        {"max_output": 4071},
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 32025 tokens.",
        {"context": 4096},
        {"max_output": 4071},
    ),
    (
        "'max_tokens' is too large: 32000. This model's maximum context length is 40960 tokens and your request has 10000 input tokens (32000 > 40960 - 10000).",
        {"context": 40960},
        {"max_output": 30960},
    ),
    (
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 25 `inputs` tokens and 32000 `max_new_tokens`",
        {"context": 4096},
        {"max_output": 4071},
    ),
    # Numbers of the sampling, within what the format allows.
    ("temperature must be in the range (0, 0.4]", {"ranges": (("temperature", 0.004, 0.4),)}, {}),
    ("top_p should be between 0 and 0.5", {"ranges": (("top_p", 0.0, 0.5),)}, {}),
    ("stop: at most 1 sequences are allowed", {"stop_max": 1}, {}),
    ("Invalid 'stop': an array of maximum length 1 was expected", {"stop_max": 1}, {}),
]

FORCED = [
    ("tool_choice 'required' is not supported", {"forced_tools": False}),
    ("Invalid tool_choice: required", {"forced_tools": False}),
    ("tool_choice must be 'auto' or 'none' for this model", {"forced_tools": False}),
    ('Only "auto" is supported for tool_choice', {"forced_tools": False}),
    (
        "The tool_choice parameter does not support being set to required or object in thinking mode",
        {"forced_tools_with_reasoning": False},
    ),
    (
        "tool_choice specified is incompatible with thinking enabled",
        {"forced_tools_with_reasoning": False},
    ),
]

SCHEMAS = [
    ("Model does not support JSON mode", {"structured_outputs": False, "json_object": False}, {}),
    (
        "Invalid value at 'tools[0].function_declarations[8].parameters.properties[0].value.enum[0]' (TYPE_STRING), 0",
        {"omit_schema_keywords": ("enum",)},
        {},
    ),
    ("response_format is not supported", {"structured_outputs": False}, {}),
    ("This response_format type is unavailable now", {"structured_outputs": False}, {}),
    ("This model does not support structured outputs", {"structured_outputs": False}, {}),
    (
        "response_format.type must be one of 'text' or 'json_object'",
        {"structured_outputs": False},
        {},
    ),
    (
        "json mode cannot be combined with tool calling",
        {},
        {"structured_outputs": False, "json_object": False},
    ),
    (
        "Invalid schema for function 'f': '^x' is not a 'regex'.",
        {"omit_schema_keywords": ("pattern",)},
        {},
    ),
    (
        "Regex uses unsupported feature for structured outputs: look-around",
        {"omit_schema_keywords": ("pattern",)},
        {},
    ),
    (
        "Invalid schema for function 'f': 'uri' is not a valid format.",
        {"omit_schema_keywords": ("format",)},
        {},
    ),
    ("tools.0.function.parameters: $ref is not supported", {"omit_schema_keywords": ("$ref",)}, {}),
    (
        "Unknown name \"const\" at 'tools[0].function_declarations[5].parameters.properties[8].value': Cannot find field.",
        {"omit_schema_keywords": ("const",)},
        {},
    ),
    (
        'Invalid JSON schema: unsupported keyword "pattern"',
        {"omit_schema_keywords": ("pattern",)},
        {},
    ),
    (
        "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be supplied and to be false.",
        {"strict_tools": False, "omit_schema_keywords": ("additionalProperties",)},
        {},
    ),
    # Nobody can tell what is meant: all that a schema can do without goes, for this call.
    (
        "Invalid schema for function 'f': it is beyond us.",
        {},
        {
            "omit_schema_keywords": (
                "$ref",
                "$schema",
                "additionalProperties",
                "const",
                "format",
                "pattern",
            )
        },
    ),
]

SHAPES = [
    ("this model is missing data required for image input", {"vision": False}),
    ("invalid message format", {"vision": False, "pdf": False}),
    ("Unknown part type: file", {"pdf": False}),
    ("Content type 'file' is not supported by this model", {"pdf": False}),
    (
        "messages[6]: data did not match any variant of untagged enum Content",
        {"vision": False, "pdf": False},
    ),
    (
        "Conversation blocks and tool result blocks cannot be provided in the same turn.",
        {"after_tool": "merge", "system_first_only": True},
    ),
    (
        "a-reasoner does not support successive user or assistant messages",
        {"alternate_roles": True, "system_first_only": True},
    ),
    (
        "user or tool message(s) should alternate with assistant message(s).",
        {"alternate_roles": True, "system_first_only": True},
    ),
    ("invalid message content type: map[string]interface {}", {"vision": False, "pdf": False}),
    ("该模型不支持图片输入", {"vision": False}),
    ("System message must be at the beginning.", {"system_first_only": True}),
    (
        "system messages are only allowed at the start of the conversation",
        {"system_first_only": True},
    ),
    ("Unexpected role 'system' after role 'user'", {"system_first_only": True}),
    ("System role not supported", {"system_role": "user", "system_first_only": True}),
    (
        "Only user and assistant roles are supported!",
        {"system_role": "user", "system_first_only": True},
    ),
    (
        "Conversation roles must alternate user/assistant/user/assistant/...",
        {"alternate_roles": True, "system_first_only": True},
    ),
    (
        "A conversation must alternate between user and assistant roles.",
        {"alternate_roles": True, "system_first_only": True},
    ),
    (
        "Unexpected role 'user' after role 'tool'",
        {"after_tool": "merge", "system_first_only": True},
    ),
    (
        "a user message cannot follow a tool message",
        {"after_tool": "merge", "system_first_only": True},
    ),
    ("image input is not supported - hint: you may need the mmproj", {"vision": False}),
    ("tiny is not a multimodal model", {"vision": False}),
    ("This model does not support image inputs", {"vision": False}),
    ("Invalid content type. image_url is only supported by certain models.", {"vision": False}),
    (
        "messages[1]: unknown variant `image_url`, expected `text` at line 1 column 50",
        {"vision": False},
    ),
    ("No endpoints found that support image input", {"vision": False}),
    ("Unsupported chat content part type: 'file'.", {"pdf": False}),
    ("unsupported content[].type", {"vision": False, "pdf": False}),
    (
        "'messages.1' : one of these must be satisfied[('messages.1.content' : value must be a string)]",
        {"content_lists": False, "vision": False, "pdf": False},
    ),
    (
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
        {"replay_required": True},
    ),
]


@pytest.mark.parametrize(("message", "overrides"), NAMED + EFFORT + FORCED + SHAPES)
def test_case_103_a_refusal_becomes_a_change_of_the_profile(message, overrides):
    lasting, once = taught(message, openai()) or ({}, {})
    sort = {
        key: tuple(sorted(value)) if isinstance(value, tuple) else value
        for key, value in lasting.items()
    }
    assert (sort, once) == (
        {
            key: tuple(sorted(value)) if isinstance(value, tuple) else value
            for key, value in overrides.items()
        },
        {},
    )


@pytest.mark.parametrize(("message", "lasting", "once"), LIMITS + SCHEMAS)
def test_case_103_limits_and_schemas_are_fitted_to_what_the_words_name(message, lasting, once):
    assert taught(message, openai()) == (lasting, once)


@pytest.mark.parametrize(
    ("message", "overrides"),
    [
        ("system.0.cache_control: Extra inputs are not permitted", {"cache_breakpoints": False}),
        (
            "messages.0.content.0.text.cache_control: Extra inputs are not permitted",
            {"cache_breakpoints": False},
        ),
        ("tools.0.custom.strict: Extra inputs are not permitted", {"strict_tools": False}),
        ("output_config.format: Extra inputs are not permitted", {"structured_outputs": False}),
        ("output_config.effort: Extra inputs are not permitted", {"effort": ()}),
        (
            'output_config.effort "high" is not supported by model a; supported values: [medium]',
            {"effort": ("medium",)},
        ),
        (
            '"thinking.type.enabled" is not supported for this model. Use adaptive thinking.',
            {"thinking_types": ("adaptive",)},
        ),
        ("thinking.adaptive.display: Input should be 'a', 'b'", omits("thinking.display")),
        (
            "Thinking may not be enabled when tool_choice forces tool use.",
            {"forced_tools_with_reasoning": False},
        ),
        (
            "tool_choice.any.disable_parallel_tool_use: Extra inputs are not permitted",
            omits("tool_choice.disable_parallel_tool_use"),
        ),
        ("`temperature` may only be set to 1 when thinking is enabled", omits("temperature")),
        ("metadata: Extra inputs are not permitted", omits("metadata")),
    ],
)
def test_case_103_the_same_holds_for_a_messages_request(message, overrides):
    assert taught(message, anthropic(), CLAUDE) == (overrides, {})


@pytest.mark.parametrize(
    ("message", "body", "overrides"),
    [
        (
            "property 'enable_thinking' is unsupported",
            {"enable_thinking": True},
            omits("enable_thinking"),
        ),
        (
            "chat_template_kwargs is not supported",
            {"chat_template_kwargs": {"enable_thinking": False}},
            omits("chat_template_kwargs"),
        ),
        (
            "cannot specify both 'thinking' and 'reasoning_effort'",
            {"thinking": {"type": "enabled"}},
            omits("reasoning_effort"),
        ),
        (
            "thinking options type cannot be disabled when reasoning_effort is set",
            {"thinking": {"type": "disabled"}},
            omits("reasoning_effort"),
        ),
    ],
)
def test_case_103_thinking_goes_into_another_field_or_out(message, body, overrides):
    assert taught(message, openai(**body)) == (overrides, {})


def test_thinking_that_must_be_off_for_this_call_is_turned_off():
    message = "parameter.enable_thinking must be set to false for non-streaming calls"
    assert taught(message, openai()) == ({}, {"never_think": True})


def test_a_role_that_the_server_does_not_know_is_named_system():
    profile = msgspec.structs.replace(CAPABLE, system_role="developer")
    body = openai(
        messages=[{"role": "developer", "content": "s"}, {"role": "user", "content": "x"}]
    )
    message = "Unsupported value: 'messages[0].role' does not support 'developer' with this model."
    assert taught(message, body, profile) == ({"system_role": "system"}, {})


def test_images_of_tool_results_go_alone_where_only_they_are_refused():
    image = {"type": "image_url", "image_url": {"url": "u"}}
    body = openai(messages=[{"role": "tool", "tool_call_id": "c", "content": [image]}])
    message = "image content is not supported in tool messages"
    assert taught(message, body) == ({"tool_result_images": False}, {})


@pytest.mark.parametrize(
    "message",
    [
        "Invalid `signature` in `thinking` block",
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        "The thinking block is bound to a different conversation.",
    ],
)
def test_case_103_a_refused_signature_concerns_one_call_only(message):
    assert taught(message, anthropic(), CLAUDE) == ({}, {"replay_signed": False})


def test_the_code_and_param_of_an_error_name_the_parameter_too():
    body = openai()
    found = taught("No.", body, code="unsupported_parameter", param="parallel_tool_calls")
    assert found == (omits("parallel_tool_calls"), {})
    assert taught("No.", body, param="parallel_tool_calls") is None


NOT_REPAIRED = [
    ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', {}),
    ("only one of max_tokens or max_completion_tokens may be set", {}),
    ("max_tokens must be at least 1, got 0", {}),
    ("The engine is currently overloaded", {"status": 503}),
    # Accounts, keys, quotas, filters, models.
    ("You exceeded your current quota; temperature is not supported", {}),
    ("The request was blocked by our content management policy: 'seed' is not supported", {}),
    ("Unsupported parameter: 'seed'", {"code": "content_filter"}),
    ("Unsupported parameter: 'seed'", {"status": 429}),
    ("Unsupported parameter: 'seed'", {"status": 402}),
    ("Your account does not have access to reasoning_effort", {}),
    ("Model m is not supported. Supported models are ['temperature', 'seed'].", {}),
    ("The model `m` does not exist or you do not have access to it.", {"status": 404}),
    ('No endpoints found that support tool use. Try disabling "question".', {"status": 404}),
    ("Tool choice is required, but model did not call a tool", {"code": "tool_use_failed"}),
    # A prompt that is too long by itself, and one that leaves no room worth a try.
    ("prompt is too long: 210000 tokens > 200000 maximum", {}),
    (
        "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens.",
        {},
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 36000 tokens (4000 in the messages, 32000 in the completion).",
        {},
    ),
    # What the client wrote, and what no change of ours mends.
    ("Unsupported parameter: 'logit_bias'", {}),
    ("messages: text content blocks must be non-empty", {}),
    ("messages: Extra inputs are not permitted", {}),
    ("model: Extra inputs are not permitted", {}),
    ("messages.0.timestamp: Extra inputs are not permitted", {}),
    (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.",
        {},
    ),
    ("tool_use ids were found without tool_result blocks immediately after", {}),
    ("temperature must be in [0, 2], got 3.0. (parameter=temperature, value=3.0)", {}),
    ("top_k must be 0 (disable), or at least 1, got -5.", {}),
    ("seed: Input should be a valid integer, unable to parse string as an integer", {}),
    (
        "{'type': 'dict_type', 'loc': 'body.logit_bias', 'msg': 'Input should be a valid dictionary'}",
        {},
    ),
    ("Invalid tool_choice: perhaps", {}),
    (
        'Invalid value for `tool_choice`: perhaps! Only "none", "auto" or "required" are supported.',
        {},
    ),
    (
        "{'loc': 'body.reasoning_effort', 'msg': \"Input should be 'low', 'medium' or 'high'\", 'input': 'bogus'}",
        {},
    ),
    (
        "{'loc': 'body.response_format.type', 'msg': \"Input should be 'json_object' or 'json_schema'\", 'input': 'yaml'}",
        {},
    ),
    ("JSON schema error at #: unrecognized type objekt", {}),
    ("Could not process image", {}),
    ("image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes", {}),
    (
        "Error while downloading https://a.example/temperature/seed.png",
        {"code": "invalid_image_url"},
    ),
    # Tools are what an agent is for.
    ("m does not support tools", {}),
    ("tools is not supported", {}),
    ("tools param requires --jinja flag", {"status": 500}),
    # Words that only sound like it.
    ("The weather report mentions the temperature, which the tool does not support.", {}),
    ("Stop: the user is not known here", {}),
    ("Internal server error", {"status": 500}),
    ("reasoning took too long", {"status": 504}),
]


@pytest.mark.parametrize(("message", "more"), NOT_REPAIRED)
def test_case_103_other_refusals_are_not_repaired(message, more):
    assert taught(message, openai(), **more) is None


def test_images_are_not_to_blame_where_there_are_none():
    body = openai(messages=[{"role": "user", "content": "x"}])
    assert taught("image input is not supported", body, status=500) is None


def test_what_is_known_already_teaches_nothing():
    known = msgspec.structs.replace(CAPABLE, omit=("seed",), max_output=8000)
    body = openai(seed=None, max_tokens=8000)
    assert taught("seed: Extra inputs are not permitted", body, known) is None
    assert taught("max_tokens must be at most 8000", body, known) is None


def test_what_is_left_out_already_stays_out():
    known = msgspec.structs.replace(CAPABLE, omit=("user",))
    lasting, _ = taught("seed: Extra inputs are not permitted", openai(), known) or ({}, {})
    assert lasting == omits("user", "seed")


def test_an_error_without_end_is_read_in_bounded_time():
    for text in ("a" * 5_000_000, "unsupported " * 400_000, "tools[0]." * 500_000, "'" * 1_000_000):
        taught(text, openai())


# What real servers said, where the file is there.

REFUSALS = FIELD / "refusals.jsonl"

REPAIRED = frozenset(
    {
        "unknown_parameter",
        "unsupported_parameter",
        "schema_keyword",
        "use_adaptive_thinking",
        "fixed_value_with_thinking",
        "allowed_values",
        "no_cache_mark_here",
        "no_cache_marks",
        "reasoning_must_be_replayed",
        "no_forced_tools_with_thinking",
        "conflicting_parameters",
        "only_when_streaming",
        "image",
        "image-url-remote",
        "tool-result-image",
        "max_tokens-huge",
        "schema-unsupported-keyword",
        "verbosity",
        "part-unknown",
        "file-part",
        "document",
        "schema_needs_properties",
        "audio",
        "response_format-unknown",
    }
)
"""Meanings, or kinds of requests, of refusals that may be repaired, where the request has what they
blame; no other one may."""

NOT_OURS = frozenset({"extra_body", "guardrails", "headers", "messages[].timestamp", "prompt"})
"""What is blamed in some of them and what we never send."""


def _refusals():
    if not REFUSALS.exists():
        return []
    return [json.loads(line) for line in REFUSALS.read_text().splitlines()]


def _body_of(refusal):
    """A request of ours: with something attached where the refused one had that."""
    if _dialect(refusal) == "anthropic":
        return anthropic()
    attached = ("image", "file", "document", "audio", "part")
    told = f"{refusal.get('kind')} {refusal.get('meaning')}"
    if any(word in told for word in attached):
        return openai()
    plain = [{"role": "system", "content": "s"}, *openai()["messages"][2:]]
    return openai(messages=plain)


def _dialect(refusal):
    told = refusal.get("dialect")
    anthropics = ("anthropic", "messages", "bedrock")
    return told or ("anthropic" if any(w in refusal["server"] for w in anthropics) else "openai")


@pytest.mark.recordings
@pytest.mark.skipif(not REFUSALS.exists(), reason=f"no real refusals at {REFUSALS}")
def test_case_103_what_real_servers_refuse_is_repaired_where_it_may_be():
    wrong = []
    for place, refusal in enumerate(_refusals()):
        dialect = _dialect(refusal)
        info = backend_error(ADAPTERS[dialect], refusal["status"], {}, refusal["body"].encode())
        profile = CLAUDE if dialect == "anthropic" else CAPABLE
        repair = repair_of(info, _body_of(refusal), profile, lambda: 100)
        may = (refusal.get("meaning") or refusal.get("kind")) in REPAIRED
        if repair is not None and not may:
            wrong.append((place, info.message[:100], repair))
        blamed = refusal.get("blames")
        if repair is None and refusal.get("meaning") == "unsupported_parameter":
            wrong.append((place, info.message[:100], "not repaired"))
        known = isinstance(blamed, str) and blamed in openai() and dialect == "openai"
        if repair is None and refusal.get("meaning") == "unknown_parameter" and known:
            wrong.append((place, info.message[:100], "not repaired"))
        assert info.message and not info.message.startswith("HTTP ")
    assert wrong == []
