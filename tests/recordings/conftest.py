"""Real providers' traffic, recorded by others, as a check on what we believe of the dialects.

It lies beside the project; ``LMBROKER_RECORDINGS`` says where, ``../shared/recordings`` is the
default. ``captures`` finds it.

The judges are the official SDKs: what theirs makes of the recorded answer and what the others
make of our translations must be the same.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Told:
    """What a client takes from an answer."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    stop: str | None = None
    usage: tuple[int, int] | None = None
    """Prompt and completion tokens."""


Judge = Callable[[list[Any]], Told]


@pytest.fixture(scope="session")
def judges() -> dict[str, Judge]:
    """Dialect -> what its SDK makes of a stream, given as the decoded data of its events;
    ``plain`` is for streams that the OpenAI SDK chokes on or garbles."""
    return {
        "openai": openai_stream,
        "anthropic": anthropic_stream,
        "responses": responses_stream,
        "plain": plain_stream,
    }


@pytest.fixture(scope="session")
def readers() -> dict[str, Callable[[Any], Told]]:
    """Dialect -> what its SDK makes of a whole answer."""
    return {
        "openai": openai_answer,
        "anthropic": anthropic_answer,
        "responses": responses_answer,
    }


def openai_stream(events: list[Any]) -> Told:
    from openai._models import construct_type
    from openai.lib.streaming.chat import ChatCompletionStreamState
    from openai.types.chat import ChatCompletionChunk

    state = ChatCompletionStreamState()
    for event in events:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state.handle_chunk(construct_type(type_=ChatCompletionChunk, value=event))
    return _openai_told(state.current_completion_snapshot)


def plain_stream(events: list[Any]) -> Told:
    """OpenAI chunks read by hand: texts joined, calls by index, the last usage."""
    told, calls = Told(), {}
    for event in events:
        usage = event.get("usage")
        if usage:
            told.usage = counted(usage)
        for choice in event.get("choices") or []:
            if choice["index"] != 0:
                continue
            delta = choice["delta"]
            content = delta.get("content") or ""
            if isinstance(content, list):
                for piece in content:
                    told.text += piece.get("text") or ""
                    told.reasoning += "".join(p["text"] for p in piece.get("thinking") or [])
            else:
                told.text += content
            told.reasoning += delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or []:
                known = calls.setdefault(call["index"], ["", "", call.get("type")])
                function = call.get("function") or call["custom"]
                known[0] = known[0] or function.get("name") or ""
                known[1] += function.get("arguments") or function.get("input") or ""
    told.calls = [
        (name, {"input": text} if kind == "custom" else text) for name, text, kind in calls.values()
    ]
    return told


def openai_answer(body: Any) -> Told:
    from openai._models import construct_type
    from openai.types.chat import ChatCompletion

    return _openai_told(construct_type(type_=ChatCompletion, value=body))


def _openai_told(completion: Any) -> Told:
    choice = completion.choices[0]
    message = choice.message
    told = Told(stop=choice.finish_reason)
    if message is None:  # Azure, when it filtered everything
        told.usage = counted(completion.usage.to_dict())
        return told
    extra = message.model_extra or {}
    reasoning = extra.get("reasoning_content") or extra.get("reasoning") or ""
    for entry in ([] if reasoning else extra.get("reasoning_details")) or []:
        reasoning += entry.get("text") or entry.get("summary") or ""
    content = message.content or ""
    if isinstance(content, list):  # Mistral
        for piece in content:
            if piece.get("type") == "thinking":
                reasoning += "".join(p.get("text", "") for p in piece["thinking"])
        content = "".join(piece.get("text") or "" for piece in content)
    told.text, told.reasoning = content, reasoning
    told.refusal = message.refusal or ""
    for call in message.tool_calls or []:
        if call.type == "custom":
            told.calls.append((call.custom.name, {"input": call.custom.input}))
        else:
            told.calls.append((call.function.name, call.function.arguments))
    if message.function_call is not None and message.function_call.name:
        told.calls.append((message.function_call.name, message.function_call.arguments))
    if completion.usage is not None:
        told.usage = counted(completion.usage.to_dict())
    return told


def counted(usage: dict[str, Any]) -> tuple[int, int]:
    """xAI leaves reasoning out of its completion tokens, and Gemini what it thinks, which the total
    gives away."""
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    hidden = reasoning and usage["total_tokens"] == prompt + completion + reasoning
    heard = (usage.get("prompt_tokens_details") or {}).get("audio_tokens")
    if not reasoning and not heard and (usage.get("total_tokens") or 0) > prompt + completion:
        completion = usage["total_tokens"] - prompt
    return prompt, completion + reasoning if hidden else completion


def anthropic_stream(events: list[Any]) -> Told:
    from anthropic.lib.streaming._messages import accumulate_event

    snapshot, buffers = None, {}
    for event in events:
        if event["type"] in KNOWN:
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return _anthropic_told(snapshot)


KNOWN = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
)


def anthropic_answer(body: Any) -> Told:
    from anthropic._models import construct_type
    from anthropic.types import Message

    return _anthropic_told(construct_type(type_=Message, value=body))


def _anthropic_told(message: Any) -> Told:
    told = Told(stop=message.stop_reason)
    reasoning = []
    for block in message.content:
        if block.type == "text":
            told.text += block.text
        elif block.type == "thinking":
            reasoning.append(block.thinking)
        elif block.type == "tool_use":
            told.calls.append((block.name, block.input))
    told.reasoning = "\n\n".join(filter(None, reasoning))
    usage = message.usage
    if usage is not None:
        prompt = (
            (usage.input_tokens or 0)
            + (usage.cache_creation_input_tokens or 0)
            + (usage.cache_read_input_tokens or 0)
        )
        told.usage = (prompt, usage.output_tokens)
    return told


def responses_stream(events: list[Any]) -> Told:
    """The items as they are in the end; of what no event told, as the whole answer has them."""
    from openai._models import construct_type
    from openai.types.responses import Response

    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    places = [event.get("output_index", 0) for event in events if event.get("item") in done]
    ends = [event["response"] for event in events if event["type"] in ENDS]
    body = ends[-1] if ends else {}
    if done:
        order = sorted(range(len(done)), key=lambda number: places[number])
        told = [done[number] for number in order]
        known = {item.get("id") for item in told}
        more = body.get("output") or []
        if len(more) > len(told):
            told += [item for item in more if item.get("id") not in known]
        body = {**body, "output": told}
    return _responses_told(construct_type(type_=Response, value=body))


ENDS = ("response.completed", "response.incomplete")


def responses_answer(body: Any) -> Told:
    from openai._models import construct_type
    from openai.types.responses import Response

    return _responses_told(construct_type(type_=Response, value=body))


def _responses_told(response: Any) -> Told:
    told = Told(stop=response.status)
    reasoning = []
    for item in response.output:
        if item.type == "message":
            for part in item.content:
                if part.type == "refusal":
                    told.refusal += part.refusal
                else:
                    told.text += part.text
        elif item.type == "reasoning":
            texts = item.summary or getattr(item, "content", None) or ()
            reasoning.append("\n\n".join(part.text for part in texts))
        elif item.type in ("function_call", "custom_tool_call"):
            namespace = getattr(item, "namespace", None)
            name = f"{namespace}__{item.name}" if namespace else item.name
            custom = item.type == "custom_tool_call"
            told.calls.append((name, {"input": item.input} if custom else item.arguments))
    told.reasoning = "\n\n".join(filter(None, reasoning))
    usage = response.usage
    if usage is not None:
        told.usage = (usage.input_tokens or 0, usage.output_tokens or 0)
    return told
