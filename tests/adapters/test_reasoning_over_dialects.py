"""Whole tool loops between each client and each backend that speak different dialects: what the
backend said of its reasoning comes back to it as it said it, turn after turn, and what it got in
one turn is what the next one begins with."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from responses_streams import accumulated
from streams import REPLY, completion, message

from lmbroker.translation.dialects.anthropic_messages import decode_request as messages_in
from lmbroker.translation.dialects.anthropic_messages import encode_request as messages_out
from lmbroker.translation.dialects.anthropic_messages import response as messages
from lmbroker.translation.dialects.anthropic_messages.stream_encode import AnthropicEncoder
from lmbroker.translation.dialects.openai_chat import decode_request as chat_in
from lmbroker.translation.dialects.openai_chat import encode_request as chat_out
from lmbroker.translation.dialects.openai_chat import response as chat
from lmbroker.translation.dialects.openai_chat.stream_encode import OpenAIEncoder
from lmbroker.translation.dialects.openai_responses import decode_request as responses_in
from lmbroker.translation.dialects.openai_responses import encode_request as responses_out
from lmbroker.translation.dialects.openai_responses import response_decode, response_encode
from lmbroker.translation.dialects.openai_responses.families import UNKNOWN
from lmbroker.translation.dialects.openai_responses.stream_encode import ResponsesEncoder
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.unified.fold import unfold
from lmbroker.translation.unified.response import Response

JSON = dict[str, Any]

HELLO = "What is the weather?"
TURNS = 3

# What backends say: an answer that reasons and calls a tool, for turn ``n``.


def messages_answer(n: int, *blocks: JSON) -> JSON:
    call = {"type": "tool_use", "id": f"toolu_{n}", "name": "f", "input": {"turn": n}}
    return {"content": [*blocks, call], "stop_reason": "tool_use", "usage": {"input_tokens": 1}}


def chat_answer(n: int, **said: Any) -> JSON:
    function = {"name": "f", "arguments": json.dumps({"turn": n})}
    call = {"id": f"call_{n}", "type": "function", "function": function, **said.pop("call", {})}
    whole = {"role": "assistant", "content": None, "tool_calls": [call], **said}
    return {"choices": [{"index": 0, "message": whole, "finish_reason": "tool_calls"}]}


def responses_answer(n: int, *items: JSON) -> JSON:
    call = {
        "type": "function_call",
        "id": f"fc_{n}",
        "call_id": f"call_{n}",
        "name": "f",
        "arguments": json.dumps({"turn": n}),
    }
    return {"id": f"resp_{n}", "status": "completed", "output": [*items, call]}


def thinking(n: int, text: str = "Hm. ü 🙂") -> JSON:
    return {"type": "thinking", "thinking": text, "signature": f"EqQBCkYI{n}=="}


def item(n: int, *summary: str, content: str = "", **more: Any) -> JSON:
    summaries = [{"type": "summary_text", "text": text} for text in summary]
    whole = {"type": "reasoning", "id": f"rs_{n}", "summary": summaries}
    if content:
        whole["content"] = [{"type": "reasoning_text", "text": content}]
    return {**whole, **more}


DETAILS = [
    {"type": "reasoning.text", "text": "look", "format": "x", "index": 0, "signature": "S"},
    {"type": "reasoning.encrypted", "data": "b3A=", "format": "x", "index": 1, "id": None},
]
BLOCKS = [{"type": "thinking", "thinking": "look", "signature": "EqQB"}]
SIGNED = {"extra_content": {"google": {"thought_signature": "SIG=="}}}

SAID: dict[str, dict[str, Callable[[int], JSON]]] = {
    "messages": {
        "thinking": lambda n: messages_answer(n, thinking(n)),
        "omitted": lambda n: messages_answer(n, thinking(n, "")),
        "redacted": lambda n: messages_answer(n, {"type": "redacted_thinking", "data": f"b3A{n}"}),
        "interleaved": lambda n: messages_answer(
            n, thinking(n), {"type": "text", "text": "So."}, thinking(n + 10, "And?")
        ),
    },
    "chat": {
        "reasoning_content": lambda n: chat_answer(n, reasoning_content=f"look {n}"),
        "reasoning": lambda n: chat_answer(n, reasoning="look"),
        "details": lambda n: chat_answer(n, reasoning="look", reasoning_details=DETAILS),
        "blocks": lambda n: chat_answer(n, reasoning_content="look", thinking_blocks=BLOCKS),
        "signed call": lambda n: chat_answer(n, call=SIGNED),
    },
    "responses": {
        "summary": lambda n: responses_answer(n, item(n, "Hm. ü 🙂", encrypted_content=f"gA{n}")),
        "summaries": lambda n: responses_answer(n, item(n, "One.", "Two\n\nand.", "Three.")),
        "sealed": lambda n: responses_answer(n, item(n, encrypted_content="gAAAA")),
        "content": lambda n: responses_answer(n, item(n, content="Hm.")),
        "two items": lambda n: responses_answer(
            n, item(n, "One.", encrypted_content="a"), item(n + 10, "Two.", encrypted_content="b")
        ),
        "before a text": lambda n: responses_answer(
            n,
            item(n, "One.", encrypted_content="a"),
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "So."}],
            },
            item(n + 10, encrypted_content="b"),
        ),
    },
}


def owned(answer: JSON) -> Any:
    """What of a backend's answer must come back to it."""
    if "content" in answer:
        return answer["content"]
    if "output" in answer:
        return [each for each in answer["output"] if each["type"] == "reasoning"]
    whole = answer["choices"][0]["message"]
    kept = {k: v for k, v in whole.items() if k.startswith(("reasoning", "thinking"))}
    return kept, [call.get("extra_content") for call in whole["tool_calls"]]


# The three dialects on either side.


class Side(msgspec.Struct):
    """One dialect: what the core has for it, and what a client or a backend of it does."""

    decode_response: Any
    encode_response: Any
    encoder: Any
    accumulated: Any
    """A stream -> the whole answer that the SDK makes of it."""
    decode_request: Any
    encode_request: Any
    begin: Callable[[], JSON]
    go_on: Callable[[JSON, JSON], None]
    """Adds an answer, and the results of its calls, to a request."""
    said: Callable[[JSON, int], Any]
    """What a request holds of the backend's answer number n."""


def chat_goes_on(body: JSON, answer: JSON) -> None:
    whole = answer["choices"][0]["message"]
    body["messages"].append(whole)
    for call in whole["tool_calls"]:
        body["messages"].append({"role": "tool", "tool_call_id": call["id"], "content": "x"})


def messages_go_on(body: JSON, answer: JSON) -> None:
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "x"}
        for block in answer["content"]
        if block["type"] == "tool_use"
    ]
    body["messages"] += [
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": results},
    ]


def responses_go_on(body: JSON, answer: JSON) -> None:
    body["input"] += answer["output"]
    for call in answer["output"]:
        if call["type"] == "function_call":
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "x"}
            body["input"].append(output)


def chat_said(body: JSON, n: int) -> Any:
    whole = [each for each in body["messages"] if each["role"] == "assistant"][n]
    kept = {k: v for k, v in whole.items() if k.startswith(("reasoning", "thinking"))}
    return kept, [call.get("extra_content") for call in whole["tool_calls"]]


def messages_said(body: JSON, n: int) -> Any:
    return [each["content"] for each in body["messages"] if each["role"] == "assistant"][n]


def responses_said(body: JSON, n: int) -> Any:
    """The reasoning up to the call; an item before a message may leave its id out."""
    ends = [at for at, each in enumerate(body["input"]) if each["type"] == "function_call"]
    begin = ends[n - 1] if n else 0
    return [each for each in body["input"][begin : ends[n]] if each["type"] == "reasoning"]


SIDES = {
    "messages": Side(
        messages.decode_response,
        messages.encode_response,
        AnthropicEncoder,
        lambda stream: message(stream).model_dump(exclude_unset=True),
        messages_in.decode_request,
        messages_out.encode_request,
        lambda: {
            "model": "claude-opus-5",
            "max_tokens": 9000,
            "messages": [{"role": "user", "content": HELLO}],
        },
        messages_go_on,
        messages_said,
    ),
    "chat": Side(
        chat.decode_response,
        chat.encode_response,
        OpenAIEncoder,
        lambda stream: completion(stream).model_dump(exclude_unset=True),
        chat_in.decode_request,
        chat_out.encode_request,
        lambda: {"model": "any", "messages": [{"role": "user", "content": HELLO}]},
        chat_goes_on,
        chat_said,
    ),
    "responses": Side(
        response_decode.decode_response,
        response_encode.encode_response,
        ResponsesEncoder,
        lambda stream: accumulated(stream).model_dump(exclude_unset=True),
        responses_in.decode_request,
        responses_out.encode_request,
        lambda: {"model": "any", "input": [{"role": "user", "content": HELLO}]},
        responses_go_on,
        responses_said,
    ),
}
PROFILES = {
    "messages": profile("anthropic", "claude-opus-5"),
    "chat": profile("openai", "any"),
    "responses": UNKNOWN,
}

LOOPS = [
    pytest.param(client, backend, name, id=f"{client}-{backend}-{name}")
    for backend, said in SAID.items()
    for name in said
    for client in SIDES
    if client != backend
]


def heard(client: Side, response: Response, *, streamed: bool) -> JSON:
    """The answer as a client has it in its hands."""
    reply = msgspec.structs.replace(REPLY, stream_usage=False)
    if not streamed:
        whole: JSON = client.encode_response(response, reply)
        return whole
    encoder = client.encoder(reply)
    stream = b"".join(encoder.feed(event) for event in unfold(response))
    return client.accumulated(stream)  # type: ignore[no-any-return]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("client", "backend", "name"), LOOPS)
def test_reasoning_comes_back_as_it_was_said(
    client: str, backend: str, name: str, streamed: bool
) -> None:
    front, back = SIDES[client], SIDES[backend]
    body = front.begin()
    before: JSON | None = None
    for n in range(TURNS):
        answer = SAID[backend][name](n)
        told = heard(front, back.decode_response(answer), streamed=streamed)
        front.go_on(body, json.loads(json.dumps(told)))
        losses = Losses()
        asked = front.decode_request(json.loads(json.dumps(body)))
        sent = back.encode_request(asked, PROFILES[backend], losses)
        assert losses.paths == ()
        for each in range(n + 1):
            wanted = owned(SAID[backend][name](each))
            assert without_ids(back.said(sent, each)) == without_ids(wanted)
        key = "input" if backend == "responses" else "messages"
        if before is not None:
            assert sent[key][: len(before[key])] == before[key]
        before = sent


def without_ids(said: Any) -> Any:
    """A reasoning item goes back with its id where a call follows it, and nothing else."""
    if isinstance(said, list):
        return [
            {k: v for k, v in each.items() if not (k == "id" and each["type"] == "reasoning")}
            for each in said
        ]
    return said
