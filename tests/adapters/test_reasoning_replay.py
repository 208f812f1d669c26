"""What an OpenAI-compatible backend said comes back to it the way it came, through a client of the
other dialect: reasoning in its field, ids of calls as they were, Gemini's signatures at their
calls."""

import json
import re
from typing import Any

import msgspec
import pytest
from streams import REPLY, run, translated

from lmbroker.sse import Reader
from lmbroker.translation.dialects.anthropic_messages import decode_request, response
from lmbroker.translation.dialects.anthropic_messages.encode_request import (
    encode_request as encode_blocks,
)
from lmbroker.translation.dialects.openai_chat.decode_request import decode_request as decode_chat
from lmbroker.translation.dialects.openai_chat.encode_reasoning import FILLER
from lmbroker.translation.dialects.openai_chat.encode_request import encode_request
from lmbroker.translation.dialects.openai_chat.response import decode_response
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.shared.names import LONGEST_ID, carried_id, wire_id
from lmbroker.translation.shared.signature import to_wire
from lmbroker.translation.unified.parts import Signature

JSON = dict[str, Any]

HELLO = {"role": "user", "content": "Hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def content_of(message: JSON, *, streamed: bool, pattern: str | None = None) -> list[JSON]:
    """What an Anthropic client gets for a backend's message."""
    reply = msgspec.structs.replace(REPLY, tool_id=pattern or profile("openai", "any").tool_id)
    if not streamed:
        decoded = decode_response({"choices": [{"message": message}]})
        blocks: list[JSON] = response.encode_response(decoded, reply)["content"]
        return blocks
    deltas = [{"choices": [{"index": 0, "delta": delta}]} for delta in fragments(message)]
    deltas.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    stream = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in deltas)
    return told(run(translated("openai", "anthropic", reply), [stream + b"data: [DONE]\n\n"]))


def fragments(message: JSON) -> list[JSON]:
    """The message cut as backends cut it: reasoning, text, calls; entries last."""
    out: list[JSON] = []
    for key in ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks"):
        if key in message:
            value = message[key]
            if isinstance(value, str):
                out += [{key: value[:2]}, {key: value[2:]}]
            else:
                out.append({key: value})
    content = message.get("content")
    if content:
        more = {"extra_content": message["extra_content"]} if "extra_content" in message else {}
        out.append({"content": content, **more})
    for number, call in enumerate(message.get("tool_calls") or ()):
        out.append({"tool_calls": [{"index": number, **call}]})
    return out


def told(stream: bytes) -> list[JSON]:
    """The blocks that a client puts together from the events."""
    blocks: list[JSON] = []
    for frame in Reader().feed(stream):
        event = json.loads(frame.data or b"{}")
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[-1]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                block["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            elif delta["type"] == "input_json_delta":
                block["partial"] = block.get("partial", "") + delta["partial_json"]
    for block in blocks:
        if "partial" in block:
            block["input"] = json.loads(block.pop("partial"))
    return blocks


def sent_back(
    content: list[JSON], *, model: str = "any", **overrides: Any
) -> tuple[JSON, list[JSON], tuple[str, ...]]:
    """The model's message as the backend gets it in the next turn, what follows it, the losses."""
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "x"}
        for block in content
        if block["type"] == "tool_use"
    ]
    messages = [HELLO, {"role": "assistant", "content": content}]
    messages.append({"role": "user", "content": results} if results else HELLO)
    asked = decode_request.decode_request({"model": model, "max_tokens": 9, "messages": messages})
    losses = Losses()
    out = encode_request(asked, profile("openai", model, overrides), losses)
    return out["messages"][1], out["messages"][2:], losses.paths


DETAILS = [
    {"type": "reasoning.text", "text": "look", "format": "x", "index": 0, "signature": "S"},
    {"type": "reasoning.encrypted", "data": "b3A=", "format": "x", "index": 1, "id": None},
]
BLOCKS = [
    {"type": "thinking", "thinking": "look", "signature": "EqQB"},
    {"type": "redacted_thinking", "data": "x"},
]
CAME = [
    {"reasoning_content": "look first"},
    {"reasoning": "look first"},
    {"reasoning": "look", "reasoning_details": DETAILS},
    {"reasoning_details": DETAILS},
    {"reasoning_content": "look", "reasoning_details": DETAILS},
    {"reasoning_content": "look", "thinking_blocks": BLOCKS},
    {"reasoning_content": {"text": "look", "signature": "EqQB"}},
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("said", [{"content": None, "tool_calls": [CALL]}, {"content": "Well."}])
@pytest.mark.parametrize("came", CAME)
def test_reasoning_goes_back_in_the_field_it_came_in(
    came: JSON, said: JSON, streamed: bool
) -> None:
    content = content_of({**said, **came}, streamed=streamed)
    message, _, lost = sent_back(content)
    assert {k: v for k, v in message.items() if k.startswith(("reasoning", "thinking"))} == came
    assert lost == ()


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_that_stood_in_the_content_goes_back_there(streamed: bool) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "look"}]}
    words = {"type": "text", "text": "Well."}
    content = content_of({"content": [thinking, words]}, streamed=streamed)
    assert sent_back(content)[0]["content"] == [thinking, words]
    content = content_of({"content": [thinking], "tool_calls": [CALL]}, streamed=streamed)
    assert sent_back(content)[0]["content"] == [thinking]


@pytest.mark.parametrize("came", CAME)
def test_what_is_left_out_is_reported(came: JSON) -> None:
    content = content_of({"content": "Well.", **came}, streamed=False)
    message, _, lost = sent_back(content, reasoning_replay="none")
    assert message == {"role": "assistant", "content": "Well."}
    assert lost == ("messages[].content[].thinking",)
    message, _, lost = sent_back(content, reasoning_replay="reasoning_content")
    assert message == {"role": "assistant", "content": "Well."}
    assert lost == ("messages[].content[].thinking",)


def test_an_explicit_field_wins() -> None:
    content = content_of(
        {"content": None, "tool_calls": [CALL], "reasoning": "look"}, streamed=False
    )
    message, _, lost = sent_back(content, reasoning_replay="reasoning_content")
    assert (message["reasoning_content"], "reasoning" in message, lost) == ("look", False, ())


SIGNED = {**CALL, "extra_content": {"google": {"thought_signature": "SIG=="}}}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ["any", "gemini-3-pro-preview"])
def test_a_thought_signature_goes_back_to_its_call(model: str, streamed: bool) -> None:
    other = {**CALL, "id": "c2"}
    content = content_of({"content": None, "tool_calls": [SIGNED, other]}, streamed=streamed)
    message, _, lost = sent_back(content, model=model)
    assert message["tool_calls"] == [SIGNED, other]
    assert lost == ()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_thought_signature_of_a_text_goes_back_with_it(streamed: bool) -> None:
    extra = {"google": {"thought_signature": "SIG=="}}
    content = content_of({"content": "Well.", "extra_content": extra}, streamed=streamed)
    message, _, lost = sent_back(content)
    assert message == {"role": "assistant", "content": "Well.", "extra_content": extra}
    assert lost == ()


def test_a_signature_that_comes_late_or_without_an_id_finds_its_call() -> None:
    late = {"index": 0, "extra_content": SIGNED["extra_content"]}
    no_id = {key: value for key, value in CALL.items() if key != "id"}
    for pieces in ([{"index": 0, **CALL}, late], [{"index": 0, **no_id}, late]):
        deltas = [{"choices": [{"delta": {"tool_calls": [piece]}}]} for piece in pieces]
        stream = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in deltas)
        end = b"data: [DONE]\n\n"
        content = told(run(translated("openai", "anthropic", REPLY), [stream, end]))
        message, _, lost = sent_back(content)
        assert message["tool_calls"][0]["extra_content"] == SIGNED["extra_content"]
        assert lost == ()


def test_gemini_3_gets_the_documented_filler_for_calls_of_others() -> None:
    use = {"type": "tool_use", "name": "f", "input": {}}
    content: list[JSON] = [{**use, "id": "toolu_1"}, {**use, "id": "toolu_2"}]
    message, _, lost = sent_back(content, model="gemini-3-pro-preview")
    assert [call.get("extra_content") for call in message["tool_calls"]] == [FILLER, None]
    assert lost == ()
    message, _, _ = sent_back(content, model="gemini-2.5-flash")
    assert "extra_content" not in message["tool_calls"][0]


ODD = ["functions.Read:0", "call_" + "x" * 90, "a b", "é", "lmb1_x", "c\n", "call|fc_1", "\ud83d"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ["any", "gpt-4o", "mistral-large"])
@pytest.mark.parametrize("id", ["c1", "abcDEF123", *ODD])
def test_ids_of_the_backends_own_calls_come_back(id: str, model: str, streamed: bool) -> None:
    pattern = profile("openai", model).tool_id
    message = {"content": None, "tool_calls": [{**CALL, "id": id}]}
    content = content_of(message, streamed=streamed, pattern=pattern)
    back, (answer, *_), _ = sent_back(content, model=model)
    assert back["tool_calls"][0]["id"] == answer["tool_call_id"] == id


@pytest.mark.parametrize("id", ODD)
def test_an_id_as_a_client_knows_it_is_one_that_anthropic_takes(id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", carried_id(id, ""))


def test_an_id_of_another_kind_of_backend_is_made_to_fit() -> None:
    kimi, mistral = profile("openai", "kimi").tool_id, profile("openai", "mistral-large").tool_id
    carried = carried_id("functions.Read:0", kimi)
    assert wire_id(carried, kimi) == "functions.Read:0"
    assert wire_id(carried, mistral) == wire_id("functions.Read:0", mistral) != "functions.Read:0"
    assert len(wire_id(carried, mistral)) == 9


def test_what_is_carried_is_bounded() -> None:
    assert len(carried_id("x" * (LONGEST_ID + 1), r"^[A-Za-z0-9_-]{1,64}$")) < 40
    for odd in ("lmb1_", "lmb1_!", "lmb1_AAAA", "lmb1_" + "A" * 5):
        assert wire_id(odd, r"^[A-Za-z0-9_-]{1,64}$")


UNSIGNED = {"index": 0, "type": "reasoning.text", "format": "anthropic-claude-v1", "text": "Hm."}


@pytest.mark.parametrize(
    ("model", "field", "goes_back"),
    [
        ("deepseek-chat", {"reasoning_content": "Hm."}, True),
        ("kimi-k2-thinking", {"reasoning_content": "Hm."}, True),
        ("MiniMax-M2", {"reasoning_details": [UNSIGNED]}, True),
        ("house-model", {"reasoning_details": [UNSIGNED]}, True),
        ("house-model", {"reasoning_content": "Hm."}, False),
        ("claude-sonnet-4-6", {"reasoning_details": [UNSIGNED]}, False),
        ("claude-next", {"reasoning_content": "Hm."}, False),
    ],
)
def test_unsigned_reasoning_goes_back_to_servers_that_sign_nothing(
    model: str, field: JSON, goes_back: bool
) -> None:
    messages = [
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL], **field},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]
    losses = Losses()
    request = decode_chat({"model": "m", "messages": messages})
    out = encode_blocks(request, profile("anthropic", model), losses)
    first = out["messages"][1]["content"][0]
    assert (first == {"type": "thinking", "thinking": "Hm."}) == goes_back
    assert losses.dropped == (() if goes_back else (f"messages[].{next(iter(field))}",))


def test_reasoning_that_came_in_pieces_goes_back_as_one_text() -> None:
    token = to_wire(Signature(origin="text"))
    thoughts = [{"type": "thinking", "thinking": text, "signature": token} for text in ("a", "b")]
    said = {"role": "assistant", "content": [*thoughts, {"type": "text", "text": "x"}]}
    body = {"model": "m", "max_tokens": 9, "messages": [HELLO, said, HELLO]}
    out = encode_request(decode_request.decode_request(body), profile("openai", "m"), Losses())
    assert out["messages"][1]["reasoning_content"] == "ab"
