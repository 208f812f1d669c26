"""The cost of the pure core, without a network: ``python -m bench.translate_events``.

Streams: CPU microseconds per event from the backend's bytes to the client's, by how the bytes
come. Requests: CPU microseconds for a coding agent's request of 50 kB, step by step. Each figure
is the best of many, with the garbage collector off; ``known`` is the whole translation of a
request whose beginning was translated before.
"""

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args

import msgspec

from bench.samples import Kind, Samples
from lmbroker import envelope
from lmbroker.call import Backend, Call, Dialect, Target
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.workflows import workflow_for
from lmbroker.workflows.beginnings import Beginnings
from lmbroker.workflows.contract import Transform, Workflow

EVENTS = 100
REQUEST_BYTES = (50_000, 200_000)
BEST_OF = 200
CUTS = ("event", "100 B", "4 kB", "whole")
PAIRS: tuple[tuple[Dialect, Dialect], ...] = (
    ("anthropic", "openai"),
    ("openai", "anthropic"),
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("responses", "openai"),
    ("responses", "anthropic"),
    ("openai", "responses"),
    ("anthropic", "responses"),
    ("responses", "responses"),
)
"""Client's dialect, backend's dialect."""

T = TypeVar("T")


def main() -> None:
    """Print both tables."""
    print(f"streams of {EVENTS} deltas, CPU µs per delta, by what one chunk holds")
    print(f"{'backend -> client':26}{'deltas':12}" + "".join(f"{cut:>9}" for cut in CUTS))
    for client, backend in PAIRS:
        for kind in get_args(Kind):
            events = _events(backend, kind)
            figures = [
                _stream_us(_workflow(client, backend, _small(client)), _cut(events, cut))
                for cut in CUTS
            ]
            row = "".join(f"{figure:9.2f}" for figure in figures)
            print(f"{f'{backend} -> {client}':26}{kind:12}{row}")
    print()
    print_requests()


def _events(dialect: Dialect, kind: Kind) -> list[bytes]:
    samples = Samples()
    streams = {
        "openai": samples.openai_stream,
        "anthropic": samples.anthropic_stream,
        "responses": samples.responses_stream,
    }
    return streams[dialect](kind, EVENTS)


def _cut(events: Sequence[bytes], cut: str) -> list[bytes]:
    """The same bytes in other pieces."""
    if cut == "event":
        return list(events)
    whole = b"".join(events)
    size = {"100 B": 100, "4 kB": 4096, "whole": len(whole)}[cut]
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _small(client: Dialect) -> bytes:
    """A request that the stream may answer."""
    message = {"role": "user", "content": "Go on."}
    if client == "responses":
        return msgspec.json.encode({"model": "bench", "stream": True, "input": [message]})
    request = {"model": "bench", "max_tokens": 100, "stream": True, "messages": [message]}
    if client == "openai":
        request["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(request)


def _workflow(client: Dialect, backend: Dialect, body: bytes) -> Workflow:
    call = Call(
        id="req_1",
        operation="chat",
        dialect=client,
        asked="bench",
        body=body,
        fields=envelope.read(body).fields,
        stream=True,
    )
    place = Backend(name="bench", url="http://127.0.0.1/v1", dialect=backend)
    return workflow_for(call, Target(backend=place, model="served"))


def _stream_us(workflow: Workflow, chunks: Sequence[bytes]) -> float:
    def feed(transform: Transform) -> None:
        for chunk in chunks:
            transform.feed(chunk)
        transform.close()

    transform = workflow.transform(now=0)
    feed(transform)
    assert transform.phase == "complete", transform.error
    return _best_us(lambda: feed(workflow.transform(now=0))) / EVENTS


def print_requests() -> None:
    """A coding agent's request, to a backend of the other dialect and back."""
    print("requests, CPU µs; a coding agent's, from the Anthropic client there and back")
    print(f"{'client -> backend':26}{'bytes in':>9}{'out':>8}{'read':>8}{'splice':>8}", end="")
    print(f"{'parse':>8}{'decode':>8}{'encode':>8}{'all':>8}{'known':>8}")
    for size in REQUEST_BYTES:
        body = msgspec.json.encode(Samples().agent_request(size))
        there = _workflow("anthropic", "openai", body).outbound().body
        print(_request_row("anthropic", "openai", body))
        print(_request_row("openai", "anthropic", there))


def _request_row(client: Dialect, backend: Dialect, body: bytes) -> str:
    """``read`` and ``splice`` are what passthrough does with a request; the others are steps of
    the translation, and ``all`` is the whole of it, JSON to JSON."""
    front, back = ADAPTERS[client], ADAPTERS[backend]
    known = profile(backend, "served", None)
    request = front.decode_request(envelope.decode(body))
    figures = (
        _best_us(lambda: envelope.read(body)),
        _best_us(lambda: envelope.with_model(body, "served")),
        _best_us(lambda: envelope.decode(body)),
        _best_us_of(lambda: envelope.decode(body), front.decode_request),
        _best_us(lambda: back.encode_request(request, known, Losses())),
        _best_us(lambda: _workflow(client, backend, body).outbound()),
        _best_us(_known(client, backend, body)),
    )
    out = len(_workflow(client, backend, body).outbound().body)
    row = "".join(f"{figure:8.0f}" for figure in figures)
    return f"{f'{client} -> {backend}':26}{len(body):9}{out:8}{row}"


def _known(client: Dialect, backend: Dialect, body: bytes) -> Callable[[], object]:
    """Translates ``body``, the beginning of which is remembered where it is long enough."""
    beginnings = Beginnings(lambda: 1 << 26)

    def translate() -> object:
        workflow: Any = _workflow(client, backend, body)
        workflow.beginnings = beginnings
        return workflow.outbound()

    translate(), translate()
    return translate


def _best_us(work: Callable[[], object]) -> float:
    return _best_us_of(lambda: None, lambda _: work())


def _best_us_of(prepare: Callable[[], T], work: Callable[[T], object]) -> float:
    """The least CPU time of ``work``, on what ``prepare`` gives each time, which is not timed."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(BEST_OF):
            ready = prepare()
            began = time.thread_time_ns()
            work(ready)
            best = min(best, time.thread_time_ns() - began)
            gc.collect(0)
    finally:
        gc.enable()
    return best / 1000


if __name__ == "__main__":
    main()
