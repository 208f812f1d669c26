"""Every recording, served by a scripted backend to clients of each dialect, captured on its way and
replayed from what was kept: nothing differs, byte for byte."""

import json

import pytest
from beside import RECORDINGS
from capturing import EVERYTHING, Bench, Client, Response, cut

from lmbroker.capture.replaying import replay

KINDS = {
    "openai.chat": ("openai", "chat"),
    "anthropic.messages": ("anthropic", "chat"),
    "openai.responses": ("responses", "chat"),
    "openai.embeddings": ("openai", "embeddings"),
    "openai.completions": ("openai", "completions"),
    "anthropic.count_tokens": ("anthropic", "count_tokens"),
    "openai.responses.compact": ("responses", "compact"),
}
"""Endpoint -> dialect and operation."""
ASKS = {
    "openai": {"messages": [{"role": "user", "content": "hi"}]},
    "anthropic": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
    "responses": {"input": "hi"},
}
"""What clients of other dialects ask, for the same answers."""

CONFIG = """
[[models]]
alias = "m"
type = "{dialect}"
target = {{ url = "http://127.0.0.1:1/v1", model = "real", api_key = "env:KEY" }}
"""


def recordings(endpoint):
    for meta in sorted(RECORDINGS.glob("*/meta.json")):
        told = json.loads(meta.read_bytes())
        if told["endpoint"] == endpoint:
            yield meta.parent, told["status"]


def asked(folder):
    try:
        body = json.loads((folder / "request.json").read_bytes())
    except (OSError, ValueError):
        return None
    return {**body, "model": "m"} if isinstance(body, dict) else None


def served(folder, status):
    """The recorded answer as a response."""
    stream = folder / "response.sse"
    if stream.is_file():
        head = {"content-type": "text/event-stream"}
        return Response(status, cut(stream.read_bytes()), head)
    body = folder / "response.json"
    if not body.is_file():
        return None
    whole = len(folder.name) % 2 == 0
    data = body.read_bytes()
    head = {"content-type": "application/json"}
    return Response(status, [data] if whole else cut(data), head, at_once=whole)


def differing(dialect, client, operation, body, response):
    """What is not the same when the captured call is replayed."""
    bench = Bench(CONFIG.format(dialect=dialect), [response] * 9, EVERYTHING)
    bench.call(Client("/x", json.dumps(body).encode()), client, operation)
    (call,) = bench.calls
    (record,) = bench.records
    assert call.ended.outcome == record.end.outcome != "failed"
    assert call.attempts or operation == "embeddings" or call.refusal is not None
    return replay(call), call


@pytest.mark.recordings
@pytest.mark.parametrize("endpoint", KINDS)
def test_recorded_exchanges_replay_byte_for_byte(endpoint):
    dialect, operation = KINDS[endpoint]
    count = answers = 0
    for folder, status in recordings(endpoint):
        response, body = served(folder, status), asked(folder)
        if response is None or body is None:
            continue
        found, call = differing(dialect, dialect, operation, body, response)
        assert (folder.name, found) == (folder.name, [])
        count += 1
        answers += call.ended.outcome == "complete"
    if not count:
        pytest.skip(f"no recordings at {RECORDINGS}")
    assert answers


@pytest.mark.recordings
@pytest.mark.parametrize("client", ["openai", "anthropic", "responses"])
@pytest.mark.parametrize("endpoint", ["openai.chat", "anthropic.messages", "openai.responses"])
def test_recorded_answers_replay_byte_for_byte_in_other_dialects(endpoint, client):
    dialect, operation = KINDS[endpoint]
    if dialect == client:
        return
    count = 0
    for folder, status in recordings(endpoint):
        response = served(folder, status)
        if response is None:
            continue
        stream = (folder / "response.sse").is_file()
        body = {"model": "m", "stream": stream, **ASKS[client]}
        found, _ = differing(dialect, client, operation, body, response)
        assert (folder.name, found) == (folder.name, [])
        count += 1
    if not count:
        pytest.skip(f"no recordings at {RECORDINGS}")
