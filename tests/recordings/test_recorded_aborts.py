"""Streams that are broken off: what the broker says they took, beside what their backends counted.

Each recorded stream ends just before the event that counts, as for a client who leaves then.
Nobody but the backend sees hidden reasoning and what its own tools took: answers with such are not
looked at, nor those of which nothing came before the last event, nor several answers to one call.
"""

import json
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
from beside import RECORDINGS

from lmbroker import envelope
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import Refused
from lmbroker.sse import Reader, split
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.unified.fold import Folder
from lmbroker.translation.unified.parts import OpaquePart, ReasoningPart, TextPart, ToolCallPart
from lmbroker.usage import Usage
from lmbroker.workflows import workflow_for

DIALECTS = {
    "openai.chat": "openai",
    "anthropic.messages": "anthropic",
    "openai.responses": "responses",
}
ASKS: dict[str, dict[str, Any]] = {
    "openai": {"messages": [{"role": "user", "content": "x"}]},
    "anthropic": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9},
    "responses": {"input": "x"},
}
DENSEST = 2
"""No text has fewer characters a token than these."""
LEAST = 30
"""Tokens of an answer that is worth a comparison."""


def streams(dialect: str) -> Iterator[tuple[bytes, bytes, Usage]]:
    """Request, stream and count of each recorded answer that shows all that was counted."""
    for file in sorted(RECORDINGS.glob("*/response.sse")):
        meta = json.loads((file.parent / "meta.json").read_bytes())
        if DIALECTS.get(meta["endpoint"]) != dialect or meta["status"] != 200:
            continue
        data, request = file.read_bytes(), file.parent / "request.json"
        decoder, folder = ADAPTERS[dialect].decoder(), Folder()
        try:
            reader = Reader()
            for frame in (*reader.feed(data), *reader.close()):
                for event in decoder.feed(frame):
                    folder.feed(event)
            answer = folder.result()
        except Exception:
            continue  # a stream of an error, or one that its recorder has cut
        counted = answer.usage
        parts = answer.parts
        thought = any(isinstance(part, ReasoningPart) and part.text for part in parts)
        hidden = counted is not None and counted.reasoning and not thought
        calls = any(isinstance(part, ToolCallPart) for part in parts)
        shown = sum(len(part.text) for part in parts if isinstance(part, TextPart | ReasoningPart))
        if counted is not None and not calls and shown < DENSEST * counted.output:
            continue  # it has thought, and nobody says so
        server = b"server_tool_use" in data or b"executed_tools" in data or b"_search" in data
        opaque = any(isinstance(part, OpaquePart) for part in parts)
        several = b'"index":1,"delta"' in data
        if counted is None or counted.output < LEAST or hidden or server or opaque or several:
            continue
        if any(isinstance(part, ReasoningPart) for part in parts) and dialect != "openai":
            continue  # a summary of what was thought
        yield request.read_bytes() if request.exists() else b"", data, counted


def broken_off(client: str, dialect: str, request: bytes, data: bytes) -> Usage | None:
    """What is known of a call whose client leaves before the event that counts."""
    try:
        head = envelope.read(request)
    except Refused:
        return None
    body = request
    if client != dialect:
        body = json.dumps({"model": "m", "stream": True, **ASKS[client]}).encode()
    call = Call(id="r", operation="chat", dialect=client, asked=head.model, body=body, stream=True)
    backend = Backend(name="b", url="http://b", dialect=dialect)
    transform = workflow_for(call, Target(backend=backend, model=head.model)).transform(now=1)
    last = None
    for event in split(data.replace(b"\r\n", b"\n")):
        transform.feed(event)
        if transform.phase not in ("waiting", "open"):
            break
        last = transform.usage if transform.phase == "open" else None
    return last if last is not None and last.estimated and last.output else None


@pytest.mark.parametrize("client", ASKS)
@pytest.mark.parametrize("dialect", ASKS)
def test_a_stream_that_is_broken_off_costs_what_it_took(dialect: str, client: str) -> None:
    ratios, told, owed = [], 0, 0
    for request, data, counted in streams(dialect):
        known = broken_off(client, dialect, request, data)
        if known is not None:
            ratios.append(known.output / counted.output)
            told += known.output
            owed += counted.output
    if not ratios:
        pytest.skip("there are no recordings")
    assert abs(median(ratios) - 1) <= 0.15, (median(ratios), len(ratios))
    assert abs(told / owed - 1) <= 0.15, (told / owed, len(ratios))
