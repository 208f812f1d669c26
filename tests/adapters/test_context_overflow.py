"""Context overflow in the words of those who tell of it."""

import time

import pytest

from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.anthropic_messages import errors as anthropic_errors
from lmbroker.translation.refusals import error_bodies, error_kinds
from lmbroker.translation.refusals.context_overflow import (
    Overflow,
    counts_separately,
    is_overflow,
    numbers,
)

# message, prompt, requested output (None: the prompt alone is too long), limit
WORDINGS = [
    # vLLM, which stops counting one token above the limit
    (
        "This model's maximum context length is 4096 tokens. However, your prompt contains at "
        "least 4097 input tokens, which exceeds this limit even without any output tokens.",
        4097,
        None,
        4096,
    ),
    # llama-cpp-python, text-generation-inference, SambaNova
    ("Requested tokens (5000) exceed context window of 2048", 5000, None, 2048),
    ("`inputs` must have less than 1024 tokens. Given: 1032", 1032, None, 1024),
    (
        "The maximum context length of a-70b is 4096 tokens. However, answering your request "
        "will take 5000 tokens.",
        5000,
        None,
        4096,
    ),
    # Anthropic
    ("prompt is too long: 210000 tokens > 200000 maximum", 210000, None, 200000),
    (
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, "
        "decrease input length or `max_tokens` and try again",
        190000,
        20000,
        200000,
    ),
    # OpenAI
    (
        "This model's maximum context length is 4097 tokens. However, your messages resulted in "
        "5000 tokens. Please reduce the length of the messages.",
        5000,
        None,
        4097,
    ),
    (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in "
        "9000 tokens (8800 in the messages, 200 in the functions).",
        9000,
        None,
        8192,
    ),
    (
        "This model's maximum context length is 4097 tokens. However, you requested 4927 tokens "
        "(3927 in the messages, 1000 in the completion). Please reduce the length.",
        3927,
        1000,
        4097,
    ),
    (
        "This model's maximum context length is 8191 tokens, however you requested 10346 tokens "
        "(10341 in your prompt; 5 for the completion).",
        10341,
        None,
        8191,
    ),
    (
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in "
        "300123 tokens. Please reduce the length of the messages.",
        300123,
        None,
        272000,
    ),
    # OpenRouter
    (
        "This endpoint's maximum context length is 163840 tokens. However, you requested about "
        "172900 tokens (4429 of text input, 4631 of tool input, 163840 in the output).",
        9060,
        163840,
        163840,
    ),
    # vLLM
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context "
        "length is 2048 tokens and your request has 100 input tokens (4096 > 2048 - 100).",
        100,
        4096,
        2048,
    ),
    (
        "This model's maximum context length is 2048 tokens. However, your request has 3000 input "
        "tokens. Please reduce the length of the input messages.",
        3000,
        None,
        2048,
    ),
    (
        "You passed 1990 input tokens and requested 100 output tokens. However, the model's "
        "context length is only 2048 tokens, resulting in a maximum input length of 1948 tokens.",
        1990,
        100,
        2048,
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 100 output "
        "tokens and your prompt contains at least 4000 input tokens, for a total of at least "
        "4100 tokens.",
        4000,
        100,
        4096,
    ),
    (
        "The decoder prompt (length 3000) is longer than the maximum model length of 2048. Make "
        "sure that `max_model_len` is no smaller than the number of text tokens.",
        3000,
        None,
        2048,
    ),
    (
        "Input length (265330) exceeds model's maximum context length (262144).",
        265330,
        None,
        262144,
    ),
    # SGLang
    (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You "
        "requested a total of 5000 tokens: 4000 tokens from the input messages and 1000 tokens "
        "for the completion.",
        4000,
        1000,
        4096,
    ),
    (
        "Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens).",
        5000,
        None,
        4096,
    ),
    # llama.cpp
    (
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        5000,
        None,
        4096,
    ),
    # Gemini
    (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        1200000,
        None,
        1048576,
    ),
    # Mistral, xAI, Together, Moonshot, Cerebras, Cohere, Fireworks, LM Studio, GitHub Copilot
    (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum "
        "context length",
        40000,
        None,
        32768,
    ),
    (
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        537812,
        None,
        131072,
    ),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 8000 "
        "`inputs` tokens and 512 `max_new_tokens`",
        8000,
        512,
        8193,
    ),
    (
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        5000,
        None,
        4096,
    ),
    (
        "Invalid request: Your request exceeded model token limit: 262144 (requested: 310000)",
        310000,
        None,
        262144,
    ),
    (
        "Please reduce the length of the messages or completion. Current length is 9000 while "
        "limit is 8192",
        9000,
        None,
        8192,
    ),
    (
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.",
        4292,
        None,
        4081,
    ),
    (
        "The prompt is too long: 140000, model maximum context length: 131071",
        140000,
        None,
        131071,
    ),
    (
        "Trying to keep the first 15857 tokens when context the overflows. However, the model is "
        "loaded with context length of only 4096 tokens, which is not enough.",
        15857,
        None,
        4096,
    ),
    ("prompt token count of 130431 exceeds the limit of 128000", 130431, None, 128000),
    ("Prompt has 5,000 tokens, but the configured context size is 4,096 tokens", 5000, None, 4096),
]


@pytest.mark.parametrize(("message", "prompt", "output", "limit"), WORDINGS)
def test_case_83_the_numbers_are_told_in_anthropics_form(message, prompt, output, limit):
    assert is_overflow(message)
    assert numbers(message) == Overflow(prompt=prompt, output=output, limit=limit)
    text = anthropic_errors.message(ErrorInfo(kind="context_length", message=message))
    if output is None:
        assert text == f"prompt is too long: {prompt} tokens > {limit} maximum"
    else:
        assert text == (
            f"input length and `max_tokens` exceed context limit: {prompt} + {output} > {limit}, "
            "decrease input length or `max_tokens` and try again"
        )


@pytest.mark.parametrize(
    "message",
    [
        "length of prompt_tokens (5000) must be less than max_seq_len (4096).",
        "the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model",
        "input tokens 5000 exceeds the model context length limit 4096",
        "The input length exceeds the maximum: 5000 > 4096",
        "the length of messages should be less than 4096 tokens, current 5000",
        "the estimated number of tokens (5000) exceeded this model context window limit (4,096)",
        "Prompt length 5000 is greater than max_seq_len 4096",
        "Input too long: 5000 tokens over max context 4096",
        "The prompt of 5000 tokens exceeds the max session length 4096",
        "prompt tokens 5000 exceed the model maximum context 4096",
    ],
)
def test_case_83_two_numbers_are_prompt_and_limit_in_whatever_sentence(message):
    assert is_overflow(message)
    assert numbers(message) == Overflow(prompt=5000, limit=4096)


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long for the context window (request 20261129, error 400)",
        "prompt is too long: 5000 tokens, context window 4096, limit 3000",
        "prompt is too long: 100 of 99 words",
    ],
)
def test_numbers_of_another_kind_are_no_counts(message):
    assert numbers(message) is None


@pytest.mark.parametrize(
    "message",
    [
        "Your input exceeds the context window of this model. Please adjust your input.",
        "the request exceeds the available context size, try increasing it",
        "Input is too long for requested model.",
        "The input token count exceeds the maximum number of tokens allowed 1048576.",
        "prompt too long; exceeded max context length by 1119046 tokens",
        "tokens to keep from the initial prompt is greater than the context length",
        "invalid params, context window exceeds limit",
        "Range of input length should be [1, 30720]",
        "Please reduce the length of the messages or completion.",
        "Context size has been exceeded.",
    ],
)
def test_case_83_words_without_numbers_are_put_behind_anthropics(message):
    assert is_overflow(message)
    assert numbers(message) is None
    info = ErrorInfo(kind="context_length", message=message)
    assert anthropic_errors.message(info) == f"prompt is too long: {message}"


def test_case_83_words_in_anthropics_form_stay():
    info = ErrorInfo(kind="context_length", message="prompt is too long: see the log")
    assert anthropic_errors.message(info) == "prompt is too long: see the log"


@pytest.mark.parametrize(
    "message",
    [
        "too many tokens: max tokens must be less than or equal to 4096, the maximum output length",
        "max_new_tokens must be <= 8192",
        "max_tokens (32000) exceeds the maximum of 8192 output tokens",
        "max_tokens is too large: 200000. This model supports at most 128000 completion tokens.",
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
        "messages.3: text content blocks must be non-empty",
        "Rate limit reached for tokens per minute: Limit 6000, Requested 7000",
    ],
)
def test_other_errors_are_no_overflow(message):
    assert not is_overflow(message)
    assert numbers(message) is None


@pytest.mark.parametrize("status", [0, 400, 413, 422, 500])
def test_case_83_the_wording_counts_where_an_overflow_may_come_from(status):
    said = error_bodies.Said(message="maximum context length is 1 tokens")
    assert error_kinds.kind_of(status, said) == "context_length"


@pytest.mark.parametrize("status", [404, 429, 503])
def test_the_wording_does_not_count_beside_a_status_that_says_otherwise(status):
    said = error_bodies.Said(message="too many tokens per minute")
    assert error_kinds.kind_of(status, said) != "context_length"


@pytest.mark.parametrize(
    "piece",
    [
        "maximum context length is 1 tokens requested 2 tokens (",
        "maximum context length is 1 contains ",
        "1 + ",
        "too large: 1 ",
        "1",
        "must be <= 1 given: 1 ",
    ],
)
def test_a_hostile_text_is_searched_in_no_time(piece):
    """The patterns look ahead; the text that they see is bounded by its reader."""
    text = error_bodies.limited(piece * 4096)
    began = time.perf_counter()
    is_overflow(text)
    numbers(text)
    counts_separately(text)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    "message",
    [
        "Prompt exceeds max length",
        "Request body too large for gpt-4o model. Max size: 8000 tokens.",
        "Input is too long for requested model.",
        "Total tokens of image and text exceed max message tokens",
        "Input tokens exceed model limit",
        "The conversation exceeds the maximum allowed length",
    ],
)
def test_an_overflow_without_numbers_is_one_all_the_same(message):
    assert is_overflow(message)
    assert numbers(message) is None


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens exceeds the maximum of 10",
        "the response exceeds the limit",
        "image exceeds 5 MB maximum",
        "Requested token rate exceeded",
    ],
)
def test_other_limits_are_no_overflow(message):
    assert not is_overflow(message)


@pytest.mark.parametrize("code", ["1261", "too_many_prompt_tokens", "tokens_limit_reached"])
def test_an_overflow_is_known_by_its_code(code):
    said = error_bodies.read_value({"error": {"code": code, "message": "No."}})
    assert error_kinds.kind_of(400, said) == "context_length"
