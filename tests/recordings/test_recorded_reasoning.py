"""Each recorded answer that reasons and calls tools, through each client of another dialect: the
backend gets its reasoning back, bit for bit, and its calls under the ids that it gave them."""

import json
from pathlib import Path
from typing import Any

import pytest
from captures import RECORDINGS
from streams import message
from tool_loops import PROFILES, SIDES, heard

from lmbroker import json_text
from lmbroker.sse import Reader
from lmbroker.translation.dialects.anthropic_messages.stream_decode import AnthropicDecoder
from lmbroker.translation.dialects.openai_responses.stream_decode import ResponsesDecoder
from lmbroker.translation.losses import Losses
from lmbroker.translation.unified.fold import fold
from lmbroker.translation.unified.parts import joined_name
from lmbroker.translation.unified.response import Response

JSON = dict[str, Any]
ENDPOINTS = {"openai.responses": "responses", "anthropic.messages": "messages"}
DECODERS: dict[str, Any] = {"responses": ResponsesDecoder, "messages": AnthropicDecoder}


def streamed(folder: Path) -> bool:
    return (folder / "response.sse").is_file()


def answer_of(backend: str, folder: Path) -> JSON:
    """The answer as the backend means it: of a streamed one, what its events put together."""
    if not streamed(folder):
        whole: JSON = json.loads((folder / "response.json").read_bytes())
        return whole
    stream = (folder / "response.sse").read_bytes()
    if backend == "messages":
        return message(stream).model_dump(exclude_unset=True, warnings=False)
    events = [json.loads(frame.data or b"{}") for frame in Reader().feed(stream)]
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    return {"output": items}


def decoded(backend: str, folder: Path) -> Response:
    if not streamed(folder):
        body = json_text.decode((folder / "response.json").read_bytes())
        response: Response = SIDES[backend].decode_response(body)
        return response
    decoder, reader = DECODERS[backend](), Reader()
    frames = [*reader.feed((folder / "response.sse").read_bytes()), *reader.close()]
    events = [event for frame in frames for event in decoder.feed(frame)]
    return fold([*events, *decoder.close()])


def owed(backend: str, answer: JSON) -> tuple[list[JSON], list[tuple[str, str, Any]]]:
    """The reasoning, and id, name and arguments of the calls, as the next request has them."""
    if backend == "messages":
        blocks = answer.get("content") or []
        thoughts = [each for each in blocks if each["type"] in ("thinking", "redacted_thinking")]
        uses = [each for each in blocks if each["type"] == "tool_use"]
        return thoughts, [(each["id"], each["name"], each["input"]) for each in uses]
    output = answer.get("output") or []
    thoughts = [bare(each) for each in output if each["type"] == "reasoning"]
    calls = [
        (each["call_id"], joined_name(each.get("namespace"), each["name"]), given(each))
        for each in output
        if each["type"] in ("function_call", "custom_tool_call")
    ]
    return [each for each in thoughts if len(each) > 1], calls


def given(call: JSON) -> Any:
    return json.loads(call["arguments"] or "{}") if "arguments" in call else call["input"]


def bare(item: JSON) -> JSON:
    """What a reasoning item says: it goes back without its id where no call follows it."""
    return {"type": "reasoning"} | {
        key: item[key] for key in ("summary", "content", "encrypted_content") if item.get(key)
    }


def sent(backend: str, body: JSON) -> tuple[list[JSON], list[tuple[str, str, Any]]]:
    """The same of a request."""
    if backend == "messages":
        turns = [each for each in body["messages"] if each["role"] == "assistant"]
        return owed(backend, turns[0])
    return owed(backend, {"output": body["input"]})


def loops() -> list[Any]:
    found = []
    for meta in sorted(RECORDINGS.glob("*/meta.json")):
        told = json.loads(meta.read_bytes())
        backend = ENDPOINTS.get(told["endpoint"])
        if backend is None or told["status"] != 200 or told["provenance"] == "edited":
            continue
        thoughts, calls = owed(backend, answer_of(backend, meta.parent))
        if thoughts and calls:
            found += [
                pytest.param(client, backend, meta.parent, id=f"{client}-{meta.parent.name}")
                for client in SIDES
                if client != backend
            ]
    return found


LOOPS = loops() or [pytest.param("", "", None, marks=pytest.mark.skip(reason="no recordings"))]


@pytest.mark.parametrize(("client", "backend", "folder"), LOOPS)
def test_a_recorded_tool_loop_gets_its_reasoning_back(
    client: str, backend: str, folder: Path
) -> None:
    front, back = SIDES[client], SIDES[backend]
    body = front.begin()
    answer = heard(front, decoded(backend, folder), streamed=streamed(folder))
    front.go_on(body, json.loads(json.dumps(answer)))
    asked = front.decode_request(body)
    request = back.encode_request(asked, PROFILES[backend], Losses())
    thoughts, calls = owed(backend, answer_of(backend, folder))
    again, called = sent(backend, request)
    assert again == thoughts
    assert [(id, name, args) for id, name, args in called] == calls
