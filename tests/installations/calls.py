"""Calls of clients of each dialect to backends of each: right ones, ones with one thing wrong, and
recorded traffic, where it is there."""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from typing import Any

from beside import CAPTURES, FIELD, RECORDINGS
from installations.samples import (
    DIALECTS,
    PATHS,
    Answer,
    Sample,
    answers,
    events,
    fitting,
    mistakes,
    post,
    question,
    requests,
    streamed,
    streaming,
    streams,
    whole,
)


def request_samples(aliases: Mapping[str, list[str]]) -> Iterator[Sample]:
    """Each request, streamed and not, in each mode, to each alias; ``aliases`` by the dialect of
    their backends."""
    for name, client, body in requests():
        for backend, names in aliases.items():
            for number, alias in enumerate(names):
                for stream in (True, False):
                    asked = {**body, "model": alias, "stream": stream}
                    if client == "openai" and not stream:
                        asked.pop("stream_options", None)
                    for mode in ("default", "strict", "lenient")[: 1 if number > 1 else 3]:
                        request = post(client, asked, {"x-lmbroker-mode": mode})
                        yield Sample(
                            f"{name} for {alias}, stream {stream}, {mode}",
                            request,
                            (fitting(backend, asked),),
                        )


def mistaken_requests() -> Iterator[Sample]:
    for name, client, body in requests():
        for backend in DIALECTS:
            asked = {**body, "model": backend}
            for mistake, wrong in mistakes(asked):
                yield Sample(
                    f"{name} for {backend}: {mistake}",
                    post(client, wrong),
                    (fitting(backend, wrong),),
                )


def stream_samples(
    each: Callable[[bytes], Iterator[tuple[str, bytes]]] | None = None,
) -> Iterator[Sample]:
    """Each stream for clients of each dialect: as it is, cut in pieces, cut off after each event,
    and in the place of a whole answer; or, with ``each``, what that makes of it."""
    for name, backend, stream in streams():
        for client in DIALECTS:
            asked = post(client, streaming(client, backend))
            named = f"{name} for a client of {client}"
            if each is not None:
                if ".out." not in name:
                    for mistake, wrong in each(stream):
                        yield Sample(f"{named}: {mistake}", asked, (streamed(wrong),))
                continue
            yield Sample(named, asked, (streamed(stream),))
            yield Sample(f"{named}, in pieces", asked, (streamed(stream, piece=7),))
            yield Sample(f"{named}, CRLF", asked, (streamed(stream.replace(b"\n", b"\r\n")),))
            without = question(client, backend, stream=True)
            yield Sample(
                f"{named}, usage not asked for", post(client, without), (streamed(stream),)
            )
            unary = post(client, question(client, backend))
            yield Sample(f"{named}, not asked for", unary, (streamed(stream),))
            yield Sample(f"{named}, as JSON", asked, (whole(stream),))
            pieces = events(stream)
            for end in range(len(pieces)):
                some = b"".join(pieces[:end])
                yield Sample(f"{named}, {end} events", asked, (streamed(some),))
                yield Sample(f"{named}, cut after {end}", asked, (streamed(some, cut=True),))
                broken = some + pieces[end][: len(pieces[end]) // 2]
                yield Sample(f"{named}, cut inside {end}", asked, (streamed(broken, cut=True),))


def answer_samples() -> Iterator[Sample]:
    """Each whole answer for clients of each dialect, whether they asked for it or for a stream, and
    with one thing wrong."""
    for name, backend, body in answers():
        for client in DIALECTS:
            asked = post(client, question(client, backend))
            named = f"{name} for a client of {client}"
            yield Sample(named, asked, (whole(body),))
            yield Sample(
                f"{named}, stream", post(client, streaming(client, backend)), (whole(body),)
            )
            packed = whole(
                gzip.compress(json.dumps(body).encode()), 200, {"content-encoding": "gzip"}
            )
            yield Sample(f"{named}, packed", asked, (packed,))
            plain = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
            closed = Answer(plain + json.dumps(body).encode(), "close")
            yield Sample(f"{named}, until the end", asked, (closed,))
            short = Answer(whole(body).data[:-9], "close")
            yield Sample(f"{named}, too short", asked, (short,))
            for mistake, wrong in mistakes(body):
                yield Sample(f"{named}: {mistake}", asked, (whole(wrong),))


def recorded_samples() -> Iterator[Sample]:
    """Real traffic: each request to backends of both dialects, each answer for clients of both.
    Nothing where there are no recordings."""
    endpoints = {"openai.chat": "openai", "anthropic.messages": "anthropic"}
    for meta in sorted(RECORDINGS.glob("*/meta.json")):
        told = json.loads(meta.read_bytes())
        dialect, folder = endpoints.get(told["endpoint"]), meta.parent
        if dialect is None:
            continue
        stream = folder / "response.sse"
        file = stream if stream.exists() else folder / "response.json"
        answer = None
        if file.exists():
            data = file.read_bytes()
            answer = streamed(data) if file is stream else whole(data, told["status"] or 200)
            for client in DIALECTS:
                ask = streaming if file is stream else question
                alias = f"failing-{dialect}-{folder.name}"
                yield Sample(
                    f"{folder.name} for a client of {client}",
                    post(client, ask(client, alias)),
                    (answer,),
                )
        if (folder / "request.json").exists():
            body = json.loads((folder / "request.json").read_bytes())
            yield from _asked(folder.name, dialect, body, answer)


def _asked(name: str, client: str, body: Any, answer: Answer | None = None) -> Iterator[Sample]:
    for backend in DIALECTS:
        asked = {**body, "model": f"failing-{backend}-{name}"[:250]}
        given = answer if answer and backend == client else fitting(backend, asked)
        yield Sample(f"request of {name} for {backend}", post(client, asked), (given,))


def captured_samples() -> Iterator[Sample]:
    """What real clients sent."""
    known = {path: dialect for dialect, path in PATHS.items()}
    for file in sorted(CAPTURES.glob("*.json")):
        for number, request in enumerate(json.loads(file.read_bytes())):
            dialect, body = known.get(request["path"]), request["body"]
            if dialect and isinstance(body, dict) and "_same_as" not in body:
                yield from _asked(f"{file.stem}-{number}", dialect, body)


# Errors of backends.


def _error_bodies() -> Iterator[Any]:
    said = {
        "message": "No such thing: sk-abcdefghijklmnop.",
        "type": "t",
        "param": "p",
        "code": "c",
    }
    yield {"error": said}
    yield {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Busy."},
        "request_id": "r",
    }
    yield {"error": "No."}
    yield {"error": "No.", "code": "c"}
    yield {"detail": "No."}
    yield {"detail": [{"loc": ["body", "n"], "msg": "bad", "input": 7}, {"msg": "worse"}]}
    yield {"message": "No.", "type": "t", "code": 400}
    yield [{"error": {"code": 429, "message": "No.", "status": "RESOURCE_EXHAUSTED"}}]
    yield {
        "error": {"message": "Quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
    }
    yield {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":"No."}'}}}
    yield {"success": False, "errors": [{"code": 7009, "message": "No."}]}
    yield {
        "error": {
            "message": "prompt is too long: 12345 tokens > 10000 maximum",
            "type": "invalid_request_error",
        }
    }
    yield {
        "error": {
            "message": "This model's maximum context length is 8192 tokens. However, your messages "
            "resulted in 9001 tokens.",
            "code": "context_length_exceeded",
        }
    }
    for words in (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "Unrecognized request argument supplied: user",
        "temperature: must be 1 with thinking",
        "max_tokens is too large: 99. This model supports at most 50 completion tokens",
        "image input is not supported",
        "messages.1: roles must alternate",
    ):
        yield {"error": {"message": words, "type": "invalid_request_error"}}
    yield b"<html><body>Bad Gateway</body></html>"
    yield b"upstream connect error"
    yield b""
    yield None
    yield {}


STATUSES = (201, 204, 302, 400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 429, 451)
LATER_STATUSES = (500, 501, 502, 503, 504, 520, 529)
WAITS = ({}, {"retry-after": "7"}, {"retry-after-ms": "70", "x-should-retry": "false"})


def error_samples() -> Iterator[Sample]:
    """Each error of a backend with each status, for clients of both dialects. Each has a model's
    name of its own: what is learned of one model is not known of the next."""
    number = 0
    waits = cycle(WAITS)
    for backend in DIALECTS:
        for client in DIALECTS:
            for status in (*STATUSES, *LATER_STATUSES):
                for body in _error_bodies():
                    number += 1
                    alias = f"failing-{backend}-{number}"
                    ask = streaming if number % 3 == 0 else question
                    asked = {**ask(client, alias), "temperature": 0.5, "top_p": 0.9}
                    answer = whole(b"" if status == 204 else body, status, next(waits))
                    well = fitting(backend, asked)
                    named = f"{status}, body {number} of {backend} for {client}"
                    yield Sample(
                        named, post(client, asked), (answer, answer if number % 2 else well)
                    )
                    if status == 400:
                        yield Sample(f"{named}, once more", post(client, asked), (well,))


def refusal_samples() -> Iterator[Sample]:
    """What real servers refused. Nothing where the file is not there."""
    file = FIELD / "refusals.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    for number, line in enumerate(lines):
        refused = json.loads(line)
        body = str(refused["body"]).encode()
        for backend in DIALECTS:
            for name, client, request in requests()[-2:]:
                asked = {**request, "model": f"failing-{backend}-refused-{number}-{client}"}
                answer = whole(body, refused["status"])
                well = fitting(backend, asked)
                named = f"refusal {number} of {backend} to {name}"
                yield Sample(named, post(client, asked), (answer, answer, well))
                yield Sample(f"{named}, once more", post(client, asked), (well,))
