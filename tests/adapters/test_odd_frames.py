"""Events, chunks and blocks as relays and servers that only nearly speak a dialect write them."""

import json
from typing import Any

import msgspec
import pytest
from streams import JSON, REPLY, check, cuts, message, run, translated

from lmbroker.sse import Frame
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai.ending import decode_usage
from lmbroker.translation.dialects.openai_chat.response import decode_response
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.unified.parts import ReasoningPart, TextPart, ToolCallPart
from lmbroker.translation.unified.response import Stop
from lmbroker.translation.unified.stream import Error, Finish, PartDelta, PartStart, PartStop, Start


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> JSON:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish, **more}]}


END = chunk(finish="stop")


def data(event: Any) -> bytes:
    return b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n"


def heard(*events: Any) -> Any:
    """The message that an Anthropic client gets, the same however the stream is cut."""
    stream = b"".join(map(data, (*events, b"[DONE]")))
    found = []
    for chunks in cuts(stream):
        out = run(translated("openai", "anthropic"), chunks)
        check("anthropic", out)
        found.append(message(out))
    assert all(each.content == found[0].content for each in found[1:]) or found[0].content
    return found[0]


def text_of(answer: Any) -> str:
    return "".join(block.text for block in answer.content if block.type == "text")


def frames(dialect: str, *given: Frame) -> tuple[list[Any], Reading]:
    reading = Reading()
    decoder = ADAPTERS[dialect].decoder(reading)
    return [event for frame in given for event in decoder.feed(frame)] + decoder.close(), reading


@pytest.mark.parametrize(
    "events",
    [
        [b"data: " + json.dumps(chunk({"content": "xy"})).encode(), END],
        [b"\ndata: ".join(json.dumps(c).encode()
                          for c in (chunk({"content": "x"}), chunk({"content": "y"}), END))],
        [{"choices": [{"index": 0, "message": {"content": "xy"}, "finish_reason": "stop"}]}],
        [{"choices": [{"index": 0, "text": "xy", "finish_reason": "stop"}]}],
        [{"choices": [{"index": 1, "delta": {"content": "xy"}}]},
         {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}],
        [chunk({"content": {"type": "text", "text": "xy"}}), END],
        [b'{"choices":[{"index":0,"delta":{"content":"xy"},"logprobs":NaN}]}', END],
    ],
)  # fmt: skip
def test_a_text_is_heard_however_it_is_told(events: list[Any]) -> None:
    assert text_of(heard(*events)) == "xy"


def test_bytes_that_are_no_text_are_told_as_changed() -> None:
    broken = b'{"choices":[{"index":0,"delta":{"content":"a\xffb"}}]}'
    events, reading = frames("openai", Frame("", broken), Frame("", b"[DONE]"))
    assert not any(isinstance(event, Error) for event in events)
    assert reading.losses.changed == ("choices",) or "choices" in reading.losses.changed
    start = b'{"type":"message_start","message":{"id":"m","content":[]}}'
    text = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xff"}}'
    events, reading = frames("anthropic", Frame("", start), Frame("", text))
    assert reading.losses.changed == ("delta",)


@pytest.mark.parametrize("number", ["NaN", "1e400", "-Infinity"])
def test_a_number_in_arguments_is_never_guessed_at(number: str) -> None:
    call = '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":'
    events, _ = frames(
        "openai", Frame("", f'{call}"f","arguments":{{"n":{number}}}}}}}]}}}}]}}'.encode())
    )
    assert isinstance(events[-1], Error)


def test_signs_of_life_with_a_name_are_no_events() -> None:
    said = Frame("", json.dumps(chunk({"content": "x"})).encode())
    events, _ = frames("openai", said, Frame("ping", b"ping"), Frame("heartbeat", b"{"), said)
    assert [type(event).__name__ for event in events[:4]] == [
        "Start", "PartStart", "PartDelta", "PartDelta",
    ]  # fmt: skip


@pytest.mark.parametrize("field", ["thinking", "reasoning_text", "reasoning", "reasoning_content"])
def test_reasoning_is_heard_in_every_field_and_keeps_its_name(field: str) -> None:
    answer = heard(chunk({field: "Hm, "}), chunk({field: "yes."}), chunk({"content": "x"}), END)
    assert (answer.content[0].thinking, text_of(answer)) == ("Hm, yes.", "x")
    whole = decode_response({"choices": [{"message": {"content": "x", field: "Hm."},
                                          "finish_reason": "stop"}]})  # fmt: skip
    part = whole.parts[0]
    assert isinstance(part, ReasoningPart) and part.text == "Hm."
    assert part.signature is not None
    assert part.signature.field == ("" if field == "reasoning_content" else field)


def test_reasoning_in_a_content_list_is_heard() -> None:
    piece = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    answer = heard(chunk({"content": [piece]}), chunk({"content": "x"}), END)
    assert (answer.content[0].thinking, text_of(answer)) == ("Hm.", "x")


def calls(*deltas: Any) -> list[tuple[str, Any]]:
    told = [chunk({"tool_calls": delta}) for delta in deltas]
    answer = heard(*told, chunk(finish="tool_calls"))
    return [(block.name, block.input) for block in answer.content if block.type == "tool_use"]


def test_calls_are_put_together_however_they_are_told() -> None:
    args = '{"a":1}'
    begin = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    pieces = [
        [{"index": n + 1, "function": {"arguments": p}}] for n, p in enumerate(('{"a":', "1}"))
    ]
    assert calls([begin], *pieces) == [("f", {"a": 1})], "a number for each fragment"
    flat = {"index": 0, "id": "c", "name": "f", "arguments": args}
    assert calls([flat]) == [("f", {"a": 1})], "nothing around name and arguments"
    assert calls(flat) == [("f", {"a": 1})], "no list"
    nameless = [{"index": 0, "function": {"name": n, "arguments": ""}} for n in ("f", "g")]
    assert calls(nameless) == [("f", {}), ("g", {})], "told apart by nothing but their names"
    whole = decode_response({"choices": [{"message": {"tool_calls": flat},
                                          "finish_reason": "tool_calls"}]})  # fmt: skip
    assert [part.name for part in whole.parts if isinstance(part, ToolCallPart)] == ["f"]


def test_usage_is_read_where_and_as_it_is_told() -> None:
    counts = {"input_tokens": 7, "output_tokens": 5}
    usage = decode_usage({**counts, "cache_read_input_tokens": 3})
    assert usage is not None
    assert (usage.input, usage.cache_read, usage.output) == (7, 3, 5)
    told = {"prompt_tokens": 7, "completion_tokens": 5}
    answer = heard(chunk({"content": "x"}), chunk(finish="stop", usage=told))
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 5)


START = {"type": "message_start", "message": {"id": "m", "content": []}}
STOP = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
    {"type": "message_stop"},
]


def told_by_blocks(*events: JSON) -> tuple[str, str, list[str]]:
    """Text, reasoning and arguments that an OpenAI client gets."""
    stream = b"".join(map(data, (START, *events, *STOP)))
    out = run(translated("anthropic", "openai"), [stream])
    text, reasoning, args = "", "", [""]
    for line in out.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                delta = choice["delta"]
                text += delta.get("content") or ""
                reasoning += delta.get("reasoning_content") or ""
                for call in delta.get("tool_calls", ()):
                    args[-1] += call["function"].get("arguments", "")
    return text, reasoning, args


def delta(kind: str, text: str) -> JSON:
    key = {"text_delta": "text", "thinking_delta": "thinking"}.get(kind, "partial_json")
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: text}}


def opened(**block: Any) -> JSON:
    return {"type": "content_block_start", "index": 0, "content_block": block}


def test_text_and_reasoning_are_heard_in_blocks_of_the_other_kind_or_in_none() -> None:
    mixed = (delta("thinking_delta", "Hm."), delta("text_delta", "x"))
    assert told_by_blocks(opened(type="thinking", thinking=""), *mixed)[:2] == ("x", "Hm.")
    assert told_by_blocks(*mixed)[:2] == ("x", "Hm.")
    assert told_by_blocks(opened(type="text", text=""), *reversed(mixed))[:2] == ("x", "Hm.")


@pytest.mark.parametrize(
    ("pieces", "meant"),
    [(["{}", '{"a":1}'], '{"a":1}'), (["{", "}", " ", '{"a":1}'], '{"a":1}'), (["{}"], "{}"),
     (["{", '"a":1}'], '{"a":1}'), ([], "{}")],
)  # fmt: skip
def test_an_empty_object_before_the_arguments_is_left_out(pieces: list[str], meant: str) -> None:
    call = opened(type="tool_use", id="c", name="f", input={})
    deltas = [delta("input_json_delta", piece) for piece in pieces]
    assert told_by_blocks(call, *deltas)[2] == [meant]
    stop = {"type": "content_block_stop", "index": 0}
    assert told_by_blocks(call, *deltas, stop)[2] == [meant]


def spoken(client: str, *pieces: str) -> tuple[str, tuple[str, ...]]:
    """What a client hears of a text that came in ``pieces``, and what is told as changed."""
    reply = msgspec.structs.replace(REPLY, losses=AnswerLosses())
    encoder = ADAPTERS[client].encoder(reply)
    events: list[Any] = [Start("", ""), PartStart(0, TextPart(text=""))]
    events += [PartDelta(0, "text", piece) for piece in pieces]
    out = b"".join(map(encoder.feed, [*events, PartStop(0), Finish(Stop(reason="end"))]))
    return out.decode(), reply.losses.changed


@pytest.mark.parametrize(
    "pieces", [["a\ud83d b"], ["a\ud83d", " b"], ["a", "\ude00b"], ["a\ud83d"]]
)
def test_half_a_character_that_stays_alone_in_a_stream_is_told(pieces: list[str]) -> None:
    assert spoken("anthropic", *pieces)[1] == ("choices[].delta.content",)
    assert spoken("openai", *pieces)[1] == ("content[].text",)


@pytest.mark.parametrize("client", ["anthropic", "openai"])
def test_a_character_in_two_halves_is_no_loss(client: str) -> None:
    assert spoken(client, "a\ud83d", "\ude00b", "c", "\ud83d", "\ude00")[1] == ()
