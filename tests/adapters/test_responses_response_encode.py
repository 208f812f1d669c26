"""Whole answers for Responses clients, judged by the SDK's types.

That they are what a stream of the same answer ends with is held by test_responses_stream_encode.
"""

from typing import Any

import msgspec
import pytest
from openai.types.responses import Response as SDKResponse
from streams import JSON, REPLY

from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.openai_responses import errors
from lmbroker.translation.dialects.openai_responses.errors import UNAVAILABLE
from lmbroker.translation.dialects.openai_responses.response_encode import encode_response
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    Part,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response, Stop
from lmbroker.usage import Usage

PARTS: tuple[Part, ...] = (
    ReasoningPart(text="Hm.", signature=Signature(origin="signable", value="c2ln")),
    TextPart(text="Hel"),
    TextPart(text="lo", citations=(Citation(kind="url", url="https://a", origin="anthropic"),)),
    ToolCallPart(id="t1", name="f", raw_args='{"a":1}', args={"a": 1}),
    ToolCallPart(id="t2", name="sh", args={"input": "ls"}),
    ToolCallPart(id="t3", name="sh", raw_args="ls", kind="custom"),
)


def body(*parts: Part, stop: Any = "end", usage: Usage | None = None, **changes: Any) -> JSON:
    """The answer, which is of the SDK's type."""
    whole = Response(
        id="msg_7",
        model="claude",
        parts=parts,
        stop=Stop(reason=stop),
        usage=usage,
        tier="standard",
    )
    reply = msgspec.structs.replace(REPLY, **changes)
    found = encode_response(whole, reply)
    SDKResponse.model_validate(found)
    return found


def test_an_answer_is_items() -> None:
    found = body(*PARTS, custom_tools=frozenset(["sh"]))
    assert [item["type"] for item in found["output"]] == [
        *("reasoning", "message", "function_call", "custom_tool_call", "custom_tool_call"),
    ]
    assert SDKResponse.model_validate(found).output_text == "Hello"
    assert [item["input"] for item in found["output"][3:]] == ["ls", "ls"]


def test_the_envelope_is_complete_and_true() -> None:
    found = body(TextPart(text="Hi"), usage=Usage(input=9, output=4), wants_tier=True)
    assert found["id"] == "resp_7"
    assert (found["object"], found["model"], found["status"]) == ("response", "alias", "completed")
    assert (found["store"], found["background"], found["previous_response_id"]) == (
        *(False, False, None),
    )
    assert found["service_tier"] == "default"
    assert found["usage"]["total_tokens"] == 13


def test_all_fields_of_the_sdks_type_are_known() -> None:
    """Each is told, or stands here with the reason."""
    only_natively = {
        *("access_programs", "image", "input_transformations", "moderation"),
        "prompt_cache_diagnostics",
    }
    kept_nowhere = {"conversation"}
    of_the_end = {"completed_at"}
    where_there_is_one = {"service_tier", "tool_usage", "prompt", "prompt_cache_options"}
    told = set(body()) - {"store"}
    assert told == set(SDKResponse.model_fields) - only_natively - kept_nowhere - of_the_end - (
        where_there_is_one
    )


def test_fields_that_are_told_only_where_there_are_any() -> None:
    echo = {"prompt": {"id": "p"}, "prompt_cache_options": {"mode": "explicit", "ttl": "30m"}}
    found = body(echo=echo)
    assert found["prompt"] == {"id": "p"}
    assert found["prompt_cache_options"] == {"mode": "explicit", "ttl": "30m"}


def test_the_answer_does_not_change_what_it_repeats() -> None:
    echo = {"tools": [{"type": "custom", "name": "x"}], "text": {"verbosity": "low"}}
    before = msgspec.json.encode(echo)
    body(*PARTS, echo=echo)
    assert msgspec.json.encode(echo) == before


def test_what_is_lost_is_reported() -> None:
    losses = AnswerLosses()
    lost = OpaquePart(origin="anthropic", type="mcp_tool_use", raw={"type": "mcp_tool_use"})
    page = Citation(kind="page", origin="anthropic", raw={})
    body(lost, TextPart(text="", citations=(page,)), losses=losses)
    assert losses.dropped == ("content[].mcp_tool_use", "content[].citations")


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (ErrorInfo(kind="context_length", message="m"), 400, "context_length_exceeded", "input"),
        (ErrorInfo(kind="rate_limit", message="m"), 429, "rate_limit_exceeded", None),
        (ErrorInfo(kind="overloaded", message="m"), 503, "service_unavailable", None),
        (ErrorInfo(kind="rate_limit", message="m", code="slow_down"), 429, UNAVAILABLE, None),
        (ErrorInfo(kind="unsupported", message="m", param="n"), 400, "unsupported_parameter", "n"),
    ],
)
def test_http_errors_are_those_of_openai(
    error: ErrorInfo, status: int, code: str, param: str | None
) -> None:
    found, told = errors.encode_error(error, "req_1")
    assert found == status
    assert set(told["error"]) == {"message", "type", "param", "code"}
    assert (told["error"]["code"], told["error"]["param"]) == (code, param)
