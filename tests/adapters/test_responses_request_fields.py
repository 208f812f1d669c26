"""Every key of every type that the installed SDK can send in a Responses request is known.

No list of keys stands here: bodies are made from the SDK's own types, one key and one value at a
time, and the decoder is asked which keys, types of items and types of tools it did not know.
"""

from typing import Any

import pytest
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_compact_params import ResponseCompactParams
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.responses_client_event_param import ResponseCreate
from openai.types.responses.tool_param import ToolParam
from sdk_types import Samples, Unknown

from lmbroker.translation.dialects.openai_responses.decode_request import decode_request
from lmbroker.translation.unified.parts import OpaquePart
from lmbroker.translation.unified.request import Request

SAMPLES = Samples(
    needed={
        "ResponseInputImageParam": {"image_url"},
        "ResponseInputImageContentParam": {"image_url"},
        "ResponseInputFileParam": {"file_data"},
        "ResponseInputFileContentParam": {"file_data"},
        "ResponseComputerToolCallOutputScreenshotParam": {"image_url"},
        "ResponseCreate": {"model", "input"},
        "ResponseCreateParamsBase": {"model", "input"},
        "ResponseCreateParamsNonStreaming": {"model", "input"},
        "ResponseCreateParamsStreaming": {"model", "input"},
        "InputTokenCountParams": {"model", "input"},
        "ResponseCompactParams": {"model", "input"},
    },
    values={
        ("ToolChoiceAllowedParam", "tools"): [[{"type": "function", "name": "f"}]],
        ("CompoundFilter", "filters"): [[]],
    },
)
USER = {"role": "user", "content": "Hello"}


def opaque_parts(request: Request) -> list[OpaquePart]:
    parts = [part for turn in request.turns for part in turn.parts]
    return [part for part in parts if isinstance(part, OpaquePart)]


@pytest.mark.parametrize(
    ("request_type", "least"),
    [
        (ResponseCreateParamsNonStreaming, 200),
        (ResponseCreateParamsStreaming, 200),
        (ResponseCreate, 200),
        (InputTokenCountParams, 150),
        (ResponseCompactParams, 50),
    ],
)
def test_every_key_of_the_sdks_requests_is_known(
    request_type: Any, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Unknown(monkeypatch)
    bodies = SAMPLES.of(request_type)
    assert len(bodies) > least
    for body in bodies:
        body = {key: value for key, value in body.items() if key != "type"}
        decode_request({**body, "model": "m"})
        assert unknown == [], body


def test_every_type_and_key_of_the_sdks_items_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Unknown(monkeypatch)
    items = SAMPLES.of(ResponseInputItemParam)
    assert len(items) > 300
    for item in items:
        request = decode_request({"model": "m", "input": [item, USER]})
        assert unknown == [], item
        for part in opaque_parts(request):
            assert part.text is not None and part.type != "item", item


def test_every_type_and_key_of_the_sdks_tools_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Unknown(monkeypatch)
    tools = SAMPLES.of(ToolParam)
    assert len(tools) > 80
    for tool in tools:
        request = decode_request({"model": "m", "input": "x", "tools": [tool]})
        assert unknown == [], tool
        assert request.tools, tool


def test_a_key_of_tomorrow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Unknown(monkeypatch)
    item = {**USER, "wink": 1}
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": None, "nod": 1}
    decode_request({"model": "m", "input": [item], "tools": [tool], "smile": 1})
    assert unknown == ["input[0].wink", "tools[0].nod", "smile"]


def test_a_type_of_tomorrow_is_found() -> None:
    request = decode_request({"model": "m", "input": [{"type": "dream_call", "id": "x"}, USER]})
    assert [part.text for part in opaque_parts(request)] == [None]
