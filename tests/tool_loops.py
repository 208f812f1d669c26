"""Clients and backends of the three dialects in a tool loop: what the core has for each, how a
client goes on with an answer, and what a request says again of a backend's answers."""

from collections.abc import Callable
from typing import Any

import msgspec
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
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.unified.fold import unfold
from lmbroker.translation.unified.response import Response

JSON = dict[str, Any]

HELLO = "What is the weather?"


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
        lambda stream: message(stream).model_dump(exclude_unset=True, warnings=False),
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
        lambda stream: completion(stream).model_dump(exclude_unset=True, warnings=False),
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
        lambda stream: accumulated(stream).model_dump(exclude_unset=True, warnings=False),
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


def heard(client: Side, response: Response, *, streamed: bool) -> JSON:
    """The answer as a client has it in its hands."""
    reply = msgspec.structs.replace(REPLY, stream_usage=False)
    if not streamed:
        whole: JSON = client.encode_response(response, reply)
        return whole
    encoder = client.encoder(reply)
    stream = b"".join(encoder.feed(event) for event in unfold(response))
    return client.accumulated(stream)  # type: ignore[no-any-return]


def without_ids(said: Any) -> Any:
    """A reasoning item goes back with its id where a call follows it, and nothing else."""
    if isinstance(said, list):
        return [
            {k: v for k, v in each.items() if not (k == "id" and each["type"] == "reasoning")}
            for each in said
        ]
    return said
