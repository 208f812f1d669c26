"""Refused requests that are repaired, over real sockets: what backend and client get."""

import json

import pytest
import pytest_twisted
from rig import CONFIG, PATHS, ask, unary

WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "real-o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "done"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()

EFFORT = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}


def refusal(message, status=b"400 Bad Request"):
    return unary(json.dumps({"error": {"message": message}}).encode(), status)


async def body_of(line, number):
    """The body of the ``number``-th request on a backend's connection."""
    await line.has(b"POST ", times=number)
    head, _, body = bytes(line.received).split(b"POST ")[number].partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    whole = len(line.received) - len(body) + length
    await line.until(lambda: len(line.received) >= whole)
    return json.loads(bytes(line.received).split(b"POST ")[number].partition(b"\r\n\r\n")[2])


@pytest_twisted.ensureDeferred
async def test_case_103_two_things_that_are_refused_one_after_the_other_are_both_repaired(
    open_rig,
):
    rig = await open_rig()
    client = await rig.post(PATHS["anthropic"], ask("o", temperature=0.5, **EFFORT))
    backend = await rig.backend()
    assert (await body_of(backend, 1))["reasoning_effort"] == "high"
    backend.transport.write(refusal("non-reasoning model does not support reasoning_effort"))
    assert "reasoning_effort" not in await body_of(backend, 2)
    backend.transport.write(refusal("`temperature` is not supported"))
    sent = await body_of(backend, 3)
    assert "temperature" not in sent
    assert "reasoning_effort" not in sent
    backend.transport.write(unary(WHOLE))
    await client.has(b"done")
    [record] = await rig.ended()
    assert record.learned == ("reasoning_effort", "temperature")
    # The next call begins where this one ended.
    await rig.post(PATHS["anthropic"], ask("o", temperature=0.5, **EFFORT))
    sent = await body_of(backend, 4)
    assert not {"temperature", "reasoning_effort"}.intersection(sent)


@pytest_twisted.ensureDeferred
async def test_case_103_the_third_refusal_goes_to_the_client_and_the_first_two_are_remembered(
    open_rig,
):
    rig = await open_rig()
    asked = ask("o", temperature=0.5, stop_sequences=["x"], **EFFORT)
    client = await rig.post(PATHS["anthropic"], asked)
    backend = await rig.backend()
    for number, name in enumerate(("reasoning_effort", "temperature", "stop"), 1):
        await body_of(backend, number)
        backend.transport.write(refusal(f"Unknown parameter: '{name}'."))
    await client.has(b"Unknown parameter: 'stop'.")
    assert " 400 " in client.head.split("\r\n")[0]
    # The client's own retry begins with what was learned, and has two repairs of its own.
    assert "x-should-retry: true" in client.head.lower()
    await rig.post(PATHS["anthropic"], asked)
    sent = await body_of(backend, 4)
    assert not {"temperature", "reasoning_effort"}.intersection(sent)
    assert sent["stop"] == ["x"]


@pytest_twisted.ensureDeferred
async def test_case_103_a_repair_that_does_not_help_ends_with_the_backends_words(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["anthropic"], ask("o", temperature=0.5))
    backend = await rig.backend()
    for number in (1, 2):
        await body_of(backend, number)
        backend.transport.write(refusal("temperature is not supported"))
    await client.has(b"temperature is not supported")
    assert "x-should-retry: true" not in client.head.lower()
    assert len((await rig.ended())[0].attempts) == 2
    # It was not that: nothing is remembered.
    await rig.post(PATHS["anthropic"], ask("o", temperature=0.5))
    assert (await body_of(backend, 3))["temperature"] == 0.5


@pytest_twisted.ensureDeferred
async def test_case_103_in_mode_strict_the_client_gets_the_backends_words(open_rig):
    rig = await open_rig()
    headers = ["x-lmbroker-mode: strict"]
    client = await rig.post(PATHS["anthropic"], ask("o", temperature=0.5), headers)
    backend = await rig.backend()
    await body_of(backend, 1)
    backend.transport.write(refusal("temperature is not supported"))
    await client.has(b"temperature is not supported")
    assert len((await rig.ended())[0].attempts) == 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "words",
    [
        "tools param requires --jinja flag",
        "Failed to parse tool call arguments as JSON: parse error",
        "Jinja Exception: something about this conversation",
        "'messages' is required",
    ],
)
async def test_a_status_500_about_the_request_is_the_calls_fault(open_rig, words):
    """The client is told so, and any number of them leaves the target as it was."""
    rig = await open_rig()
    backend = None
    for number in range(1, 8):
        client = await rig.post(PATHS["anthropic"], ask("o"))
        backend = backend or await rig.backend()
        await body_of(backend, number)
        backend.transport.write(refusal(words, b"500 Internal Server Error"))
        await client.has(words.encode())
        assert " 400 " in client.head.split("\r\n")[0]
    states = [each.state for each in rig.broker._failovers.health.snapshot(0.0)]
    assert set(states) == {"closed"}


@pytest_twisted.ensureDeferred
async def test_a_status_500_that_is_the_servers_own_fault_stays_one(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["anthropic"], ask("o"))
    backend = await rig.backend()
    await body_of(backend, 1)
    backend.transport.write(refusal("CUDA error: out of memory", b"500 Internal Server Error"))
    await client.has(b"out of memory")
    assert " 500 " in client.head.split("\r\n")[0]


@pytest_twisted.ensureDeferred
async def test_case_103_an_error_as_the_first_event_of_a_stream_is_repaired_too(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["anthropic"], ask("o", temperature=0.5, stream=True))
    backend = await rig.backend()
    await body_of(backend, 1)
    event = b'data: {"error": {"message": "Unknown parameter: \'temperature\'."}}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
    backend.transport.write(head % len(event) + event)
    again = await rig.backend(2)
    assert "temperature" not in await body_of(again, 1)
    again.transport.write(unary(WHOLE))
    await client.has(b"done")


@pytest_twisted.ensureDeferred
async def test_a_limit_that_nobody_asked_for_is_not_placed_where_the_format_needs_none(
    open_rig,
):
    rig = await open_rig()
    body = json.dumps({"model": "o", "messages": [{"role": "user", "content": "x"}]}).encode()
    await rig.post(PATHS["openai"], body)
    backend = await rig.backend()
    assert not {"max_tokens", "max_completion_tokens"} & (await body_of(backend, 1)).keys()


@pytest_twisted.ensureDeferred
async def test_a_limit_that_the_format_needs_learns_the_window(open_rig):
    rig = await open_rig(config=CONFIG.replace("real-a", "some-model"))
    body = json.dumps({"model": "a", "messages": [{"role": "user", "content": "x"}]}).encode()
    client = await rig.post(PATHS["openai"], body)
    backend = await rig.backend()
    asked = (await body_of(backend, 1))["max_tokens"]
    backend.transport.write(
        refusal(
            f"max_completion_tokens={asked} cannot be greater than max_model_len=4096. Please "
            f"request fewer output tokens. (parameter=max_completion_tokens, value={asked})"
        )
    )
    assert 256 <= (await body_of(backend, 2))["max_tokens"] < 4096
    answer = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "some-model",
        "content": [{"type": "text", "text": "done"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    backend.transport.write(unary(json.dumps(answer).encode()))
    await client.has(b"done")
    assert "x-lmbroker-dropped" not in client.head
    # What was learned holds for the next call, and for one that asks for too much itself.
    await rig.post(PATHS["openai"], body)
    assert (await body_of(backend, 3))["max_tokens"] <= 2048


@pytest_twisted.ensureDeferred
async def test_a_limit_of_the_client_above_the_models_is_clamped_and_told(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["anthropic"], ask("o", max_tokens=32000))
    backend = await rig.backend()
    await body_of(backend, 1)
    backend.transport.write(refusal("max_tokens must be less than or equal to 8192"))
    assert (await body_of(backend, 2))["max_tokens"] == 8192
    backend.transport.write(unary(WHOLE))
    await client.has(b"done")
    assert "x-lmbroker-changed: max_tokens" in client.head


@pytest_twisted.ensureDeferred
async def test_a_prompt_that_is_too_long_is_never_repaired(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["anthropic"], ask("o", max_tokens=32000))
    backend = await rig.backend()
    await body_of(backend, 1)
    backend.transport.write(
        refusal(
            "This model's maximum context length is 4096 tokens. However, your prompt contains at "
            "least 4097 input tokens, which exceeds this limit even without any output tokens."
        )
    )
    await client.has(b"prompt is too long: 4097 tokens > 4096 maximum")
    assert len((await rig.ended())[0].attempts) == 1


@pytest_twisted.ensureDeferred
async def test_a_window_that_was_learned_leaves_the_next_prompt_its_room(open_rig):
    rig = await open_rig()
    text = "word " * 2000
    asked = ask("o", max_tokens=3500, messages=[{"role": "user", "content": text}])
    client = await rig.post(PATHS["anthropic"], asked)
    backend = await rig.backend()
    assert (await body_of(backend, 1))["max_tokens"] == 3500
    backend.transport.write(
        refusal(
            "This model's maximum context length is 6000 tokens. However, you requested 7000 "
            "tokens (3500 in the messages, 3500 in the completion)."
        )
    )
    assert (await body_of(backend, 2))["max_tokens"] == 2500
    backend.transport.write(unary(WHOLE))
    await client.has(b"done")
    client = await rig.post(PATHS["anthropic"], asked)
    assert 1000 < (await body_of(backend, 3))["max_tokens"] < 3500
    backend.transport.write(unary(WHOLE))
    await client.has(b"done")
    assert "x-lmbroker-changed: max_tokens" in client.head
    # A short prompt has all the room that it asks for.
    await rig.post(PATHS["anthropic"], ask("o", max_tokens=3500))
    assert (await body_of(backend, 4))["max_tokens"] == 3500


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (b"501 Not Implemented", "this server does not support embeddings"),
        (b"500 Internal Server Error", "this model does not support embeddings"),
    ],
)
async def test_a_model_without_embeddings_chats_on(open_rig, status, words):
    """And the client is told not to try again."""
    rig = await open_rig()
    backend = None
    for number in range(1, 8):
        client = await rig.post("/v1/embeddings", b'{"model":"o","input":"x"}')
        backend = backend or await rig.backend()
        await body_of(backend, number)
        backend.transport.write(refusal(words, status))
        await client.has(words.encode())
        assert status.lower() in client.head.encode().lower()
        assert "x-should-retry: false" in client.head.lower()
    client = await rig.post(PATHS["anthropic"], ask("o"))
    await body_of(backend, 8)
    backend.transport.write(unary(WHOLE))
    await client.has(b"done")


@pytest_twisted.ensureDeferred
async def test_an_error_with_status_200_counts_as_one(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["openai"], ask("o"))
    backend = await rig.backend()
    backend.transport.write(unary(b'{"error":{"code":503,"message":"The model is overloaded"}}'))
    await client.has(b"The model is overloaded")
    assert " 503 " in client.head.split("\r\n")[0]
    [record] = await rig.ended()
    assert (record.end.outcome, record.end.code) == ("backend_error", "overloaded")
