"""What a refusal teaches, and for how long."""

import msgspec
import pytest

from lmbroker.call import Backend, Target
from lmbroker.errors import ErrorInfo
from lmbroker.lessons import MODELS, SECONDS, Lesson, Lessons, lesson_of
from lmbroker.profiles import UNKNOWN_ANTHROPIC, UNKNOWN_OPENAI, Profile

BODY = {
    "model": "m",
    "messages": [],
    "temperature": 0.3,
    "thinking": {"type": "adaptive"},
    "parallel_tool_calls": False,
    "min_p": 0.1,
}
TARGET = Target(backend=Backend(name="b", url="http://b", dialect="openai"), model="m")


def refusal(message, *, status=400, code=None, param=None):
    return ErrorInfo(kind="invalid_request", message=message, status=status, code=code, param=param)


@pytest.mark.parametrize(
    ("message", "parameter", "overrides"),
    [
        ("temperature: Extra inputs are not permitted", "temperature", {"omit": ("temperature",)}),
        (
            "tools.0.custom.strict: Extra inputs are not permitted",
            "tools",
            {"strict_tools": False},
        ),
        (
            "messages.0.content.1.cache_control: Extra inputs are not permitted",
            "messages",
            {"cache_breakpoints": False},
        ),
        (
            "output_config.format: Extra inputs are not permitted",
            "output_config",
            {"structured_outputs": False},
        ),
        ("output_config.effort: Extra inputs are not permitted", "output_config", {"effort": ()}),
        (
            '"thinking.type.enabled" is not supported for this model. Use adaptive thinking.',
            "thinking",
            {"thinking_types": ("adaptive",)},
        ),
        (
            "adaptive thinking is not supported on this model",
            "thinking",
            {"thinking_types": ("enabled",)},
        ),
        ("This model does not support assistant message prefill.", "prefill", {"prefill": "no"}),
        (
            "Unsupported parameter: 'temperature' is not supported with this model.",
            "temperature",
            {"omit": ("temperature",)},
        ),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            {"max_tokens_field": "max_completion_tokens"},
        ),
        (
            "Unsupported value: 'reasoning_effort' does not support 'xhigh' with this model. "
            "Supported values are: 'low', 'medium', and 'high'.",
            "reasoning_effort",
            {"effort": ("low", "medium", "high")},
        ),
        (
            "Function tools with reasoning_effort are not supported for gpt-5.4 in "
            "/v1/chat/completions. Please use /v1/responses instead.",
            "reasoning_effort",
            {"tools_with_reasoning": False},
        ),
        ("property 'min_p' is unsupported", "min_p", {"omit": ("min_p",)}),
        ("Unrecognized request argument supplied: min_p", "min_p", {"omit": ("min_p",)}),
        (
            "stream_options: Extra inputs are not permitted",
            "stream_options",
            {"stream_options": False},
        ),
    ],
)
def test_case_103_a_refused_parameter_becomes_a_change_of_the_profile(
    message, parameter, overrides
):
    profile = msgspec.structs.replace(UNKNOWN_ANTHROPIC, prefill="native")
    if "enabled" in message:
        profile = msgspec.structs.replace(profile, thinking_types=("enabled",))
    if "xhigh" in message:
        profile = msgspec.structs.replace(profile, effort=("low", "medium", "high", "xhigh"))
    lesson = lesson_of(refusal(message), BODY, profile)
    assert lesson == Lesson(parameter=parameter, overrides=overrides)


def test_the_code_and_param_of_an_error_name_the_parameter_too():
    error = refusal("No.", code="unsupported_parameter", param="parallel_tool_calls")
    lesson = lesson_of(error, BODY, UNKNOWN_OPENAI)
    assert lesson is not None
    assert lesson.overrides == {"omit": ("parallel_tool_calls",)}


@pytest.mark.parametrize(
    "message",
    [
        "Invalid `signature` in `thinking` block",
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        "The thinking block is bound to a different conversation.",
    ],
)
def test_case_103_a_refused_signature_is_a_lesson_for_one_call_only(message):
    lesson = lesson_of(refusal(message), BODY, UNKNOWN_ANTHROPIC)
    assert lesson == Lesson(
        parameter="signature", overrides={"replay_signed": False}, lasting=False
    )
    lessons = Lessons()
    lessons.learn(TARGET, lesson, 0)
    assert lessons.overrides(TARGET, 1) == {}


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("messages: roles must alternate", {}),
        ("model: Extra inputs are not permitted", {}),
        ("messages: Extra inputs are not permitted", {}),
        ("Unsupported parameter: 'logit_bias'", {}),
        ("temperature: Extra inputs are not permitted", {"status": 500}),
        ("temperature: Extra inputs are not permitted", {"status": 429}),
    ],
)
def test_case_103_other_refusals_teach_nothing(message, more):
    assert lesson_of(refusal(message, **more), BODY, UNKNOWN_OPENAI) is None


def test_what_is_known_already_teaches_nothing():
    known = Profile(omit=("temperature",), tools_with_reasoning=False)
    body = {"model": "m", "messages": []}
    assert lesson_of(refusal("temperature: Extra inputs are not permitted"), body, known) is None
    text = "Function tools with reasoning_effort are not supported"
    assert lesson_of(refusal(text), body, known) is None


def test_a_lesson_holds_for_an_hour_and_for_its_target():
    lessons = Lessons()
    other = msgspec.structs.replace(TARGET, model="n")
    lessons.learn(TARGET, Lesson(parameter="a", overrides={"omit": ("a",)}), 100)
    lessons.learn(TARGET, Lesson(parameter="b", overrides={"omit": ("b",)}), 200)
    assert lessons.overrides(TARGET, 200) == {"omit": ("a", "b")}
    assert lessons.overrides(other, 200) == {}
    assert lessons.overrides(TARGET, 100 + SECONDS) == {"omit": ("b",)}
    assert lessons.overrides(TARGET, 200 + SECONDS) == {}


def test_names_that_clients_make_up_do_not_pile_up():
    lessons = Lessons()
    targets = [msgspec.structs.replace(TARGET, model=f"m{n}") for n in range(MODELS + 1)]
    for target in targets:
        lessons.learn(target, Lesson(parameter="a", overrides={"omit": ("a",)}), 0)
    assert lessons.overrides(targets[0], 1) == {}
    assert lessons.overrides(targets[1], 1) == lessons.overrides(targets[-1], 1) != {}
