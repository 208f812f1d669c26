"""What an installation may be asked and what its backend answers: the types of that, how they
look as bytes, and the samples of ``tests/wire``, ``tests/transcripts`` and ``tests/repairs``.

Nothing in this folder knows LMBroker's modules: installations of any age are asked the same.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

from repairs import bodies

JSON = dict[str, Any]
TESTS = Path(__file__).parents[1]
DIALECTS = ("openai", "anthropic")
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
WAYS = {"a": "anthropic", "o": "openai"}
CLIENT_HEADERS = {
    "openai": {"Authorization": "Bearer client-key", "X-Stainless-Lang": "python"},
    "anthropic": {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "tools-2024-05-16,b",
        "X-Api-Key": "client-key",
    },
}
REMOVED = object()
UNKNOWN = object()
"""In the place of a value: the object has one more key, which nobody knows."""
WRONG = {
    "removed": REMOVED,
    "null": None,
    "7": 7,
    "-1": -1,
    "a million": 1_000_000,
    "a fraction": 1.5,
    "a text": "x",
    "an empty text": "",
    "an empty array": [],
    "an empty object": {},
    "true": True,
    "an array": ["x"],
    "an unknown key beside it": UNKNOWN,
}
"""What is put in the place of each value of a sample."""


@dataclass(frozen=True)
class Answer:
    """Raw bytes of a backend's answer, and what it does then: ``keep`` the connection, ``close``
    it, or ``wait`` for the broker to close it."""

    data: bytes
    then: str = "keep"


@dataclass(frozen=True)
class Sample:
    """A client's raw request, and the backend's answers to what comes of it. ``raw``: all that
    comes back is kept as it is, framing included. ``metrics``: the answer is a page of these."""

    name: str
    request: bytes
    answers: tuple[Answer, ...] = ()
    raw: bool = False
    metrics: bool = False


@dataclass(frozen=True)
class Setting:
    """A configuration, and what a broker with it is asked. In the configuration ``PORT`` stands
    for the broker's port and ``BACKEND`` for that of the scripted backend."""

    name: str
    config: str
    samples: Callable[[], Iterator[Sample]]
    one_process: bool = True


@dataclass(frozen=True)
class Command:
    """A run of a program of the installation, in a folder with ``files``."""

    name: str
    program: str
    arguments: tuple[str, ...]
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)


# Requests and answers as bytes.


def http_request(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: broker"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def post(dialect: str, body: Any, headers: Mapping[str, str] = {}, path: str = "") -> bytes:
    """A call of a client of ``dialect``; ``body`` is a value or the bytes themselves."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http_request(
        "POST", path or PATHS[dialect], data, CLIENT_HEADERS[dialect] | dict(headers)
    )


def whole(body: Any, status: int = 200, headers: Mapping[str, str] = {}) -> Answer:
    """An answer with a length; ``body`` is a value or the bytes themselves."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", "x-request-id": "backend-1", **headers}
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in given.items())]
    lines.append(f"content-length: {len(data)}")
    return Answer("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def streamed(stream: bytes, *, cut: bool = False, piece: int = 0) -> Answer:
    """An event stream in chunks of ``piece`` bytes, in one if 0; ``cut``: its last chunk is
    missing and the connection closes."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: backend-2\r\n"
    size = piece or max(1, len(stream))
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces)
    end = b"" if cut else b"0\r\n\r\n"
    return Answer(
        head + b"transfer-encoding: chunked\r\n\r\n" + chunks + end, "close" if cut else "keep"
    )


def question(dialect: str, alias: str, **more: Any) -> JSON:
    """A short request."""
    limit = {"max_tokens": 99} if dialect == "anthropic" else {}
    messages = [{"role": "user", "content": "What is in the folder?"}]
    return {"model": alias, **limit, "messages": messages, **more}


def streaming(dialect: str, alias: str) -> JSON:
    options = {"stream_options": {"include_usage": True}} if dialect == "openai" else {}
    return question(dialect, alias, stream=True, **options)


# Samples with one thing wrong.


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values inside ``value``."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inside:
        yield (*way, key)
        if isinstance(each, (dict, list)):
            yield from places(each, (*way, key))


def changed(value: Any, way: tuple[Any, ...], wrong: Any) -> Any:
    """A copy of ``value`` that is wrong at one place."""
    copy = deepcopy(value)
    holder = copy
    for key in way[:-1]:
        holder = holder[key]
    if wrong is REMOVED:
        del holder[way[-1]]
    elif wrong is UNKNOWN and isinstance(holder, dict):
        holder[f"unknown_{way[-1]}"] = 1
    else:
        holder[way[-1]] = "unknown" if wrong is UNKNOWN else wrong
    return copy


def mistakes(value: Any) -> Iterator[tuple[str, Any]]:
    """``value`` with each wrong thing at each place, and the name of the mistake."""
    for way in places(value):
        for name, wrong in WRONG.items():
            yield f"{'.'.join(map(str, way))} {name}", changed(value, way, wrong)


def events(stream: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in stream.split(b"\n\n") if event.strip()]


def stream_mistakes(stream: bytes) -> Iterator[tuple[str, bytes]]:
    """``stream`` with one wrong thing at each place of each event, without each event, with each
    event twice, and with something between events that is none."""
    pieces, wrongs = events(stream), cycle(WRONG.values())
    for at, event in enumerate(pieces):
        before, after = b"".join(pieces[:at]), b"".join(pieces[at + 1 :])
        yield f"without event {at}", before + after
        yield f"event {at} twice", before + event + event + after
        yield (
            f"text before event {at}",
            before + b": a comment\n\ndata: no JSON\n\n" + event + after,
        )
        head, found, data = event.partition(b"data: ")
        try:
            value = json.loads(data)
        except ValueError:
            continue
        for way in places(value):
            wrong = json.dumps(changed(value, way, next(wrongs))).encode()
            name = ".".join(map(str, way))
            yield f"event {at} {name}", before + head + found + wrong + b"\n\n" + after


# What there is of samples.


@cache
def streams() -> tuple[tuple[str, str, bytes], ...]:
    """(name, dialect, bytes) of all streams of ours, those that came out of a translation too."""
    found = [
        (f"{dialect}/{file.name}", dialect, file.read_bytes())
        for dialect in DIALECTS
        for file in sorted((TESTS / "wire" / dialect).glob("*.sse"))
    ]
    for file in sorted((TESTS / "transcripts").glob("*.sse")):
        _, (came, _, went), direction, _ = file.name.split(".")
        way = came if direction == "in" else went
        if way in WAYS:
            found.append((file.name, WAYS[way], file.read_bytes()))
    return tuple(found)


def _transcripts(kind: str) -> tuple[tuple[str, str, JSON], ...]:
    """(name, dialect, body) of the transcripts of a kind that are no streams."""
    found = []
    for file in sorted((TESTS / "transcripts").glob(f"{kind}.*.json")):
        _, way, direction, _ = file.name.split(".")
        came, _, went = way.partition("-to-")
        dialect = came if direction == "in" else went
        if dialect not in DIALECTS:
            continue
        found.append((file.name, dialect, json.loads(file.read_bytes())))
    return tuple(found)


@cache
def requests() -> tuple[tuple[str, str, JSON], ...]:
    """(name, dialect, body) of the requests of ours."""
    return (
        *_transcripts("request"),
        ("repairs/openai", "openai", bodies.openai()),
        ("repairs/anthropic", "anthropic", bodies.anthropic()),
    )


@cache
def answers() -> tuple[tuple[str, str, JSON], ...]:
    """(name, dialect, body) of the whole answers of ours."""
    return _transcripts("response")


def answer_of(dialect: str) -> Answer:
    """The whole answer that a backend gives where the request is what counts."""
    return next(whole(body) for _, spoken, body in answers() if spoken == dialect)


def stream_of(dialect: str) -> Answer:
    return streamed((TESTS / "wire" / dialect / "text.sse").read_bytes())


def fitting(dialect: str, body: Any) -> Answer:
    """The answer that a client asked for: streamed or not."""
    wants = isinstance(body, dict) and body.get("stream") is True
    return stream_of(dialect) if wants else answer_of(dialect)
