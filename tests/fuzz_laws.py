"""What holds for every input, whoever made it: the laws that ``fuzz.py`` tries to break."""

import re
from collections.abc import Callable, Iterable
from random import Random
from typing import Any
from zlib import crc32

import msgspec

from lmbroker import envelope, json_text
from lmbroker.call import Backend, Call, Target
from lmbroker.config.config import ConfigError, parse
from lmbroker.errors import BackendRefused, Broken, ErrorInfo, Refused
from lmbroker.redaction import MASK
from lmbroker.sse import EVENT_LIMIT, Boundary, Frame, Reader, SSEError, last_words, split
from lmbroker.testing.grammar import Checker, anthropic_checker, openai_checker
from lmbroker.testing.grammar_responses import responses_checker
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows import conversion, estimate, workflow_for
from lmbroker.workflows.transforms import PassedStream, TranslatedStream

DIALECTS: tuple[Any, ...] = tuple(ADAPTERS)
MODELS = (
    *("claude-opus-5-5", "claude-sonnet-4-5", "claude-3-haiku", "gpt-5", "gpt-4o", "o3"),
    *("deepseek-reasoner", "mistral-large", "qwen3", "anybody", 'n"\\ü'),
)
STATUSES = (0, 200, 302, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503, 529, 599)
LATE = ErrorInfo(kind="timeout", message="the backend fell silent in its answer")


def chance_of(data: bytes) -> Random:
    """What is left open beside the input (cuts, models, statuses) follows from it, so that an
    input is a plain stream or body."""
    return Random(crc32(data))


def cut(data: bytes, chance: Random) -> list[bytes]:
    places = sorted(chance.randint(0, len(data)) for _ in range(chance.choice((1, 5, 40))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def cuts(data: bytes, chance: Random) -> Iterable[list[bytes]]:
    yield cut(data, chance)
    if chance.random() < 0.1:
        yield [data[at : at + 1] for at in range(len(data))]


# Server-sent events.


def frames(chunks: Iterable[bytes], limit: int) -> tuple[list[Frame], bool, list[Frame]]:
    """The frames of whole events, whether an event was too long, the last words."""
    reader, found = Reader(limit), []
    too_long = False
    try:
        for chunk in chunks:
            found += reader.feed(chunk)
        reader.feed(b"")
    except SSEError:
        too_long = True
    return found, too_long, reader.close()


def sse(data: bytes) -> None:
    """Frames do not depend on cuts, none is above the limit; a boundary cuts after whole events
    and loses no byte."""
    chance = chance_of(data)
    for limit in (EVENT_LIMIT, chance.choice((0, 1, 7, 30, 200))):
        whole = frames([data], limit)
        assert all(len(frame.data or b"") <= limit for frame in whole[0] + whole[2])
        for chunks in cuts(data, chance):
            assert frames(chunks, limit) == whole
            bounded(chunks, limit)
        bounded([data], limit)


def bounded(chunks: list[bytes], limit: int) -> None:
    """Nothing is lost or changed before an event that is too long."""
    boundary, reader, given = Boundary(limit), Reader(), []
    for chunk in chunks:
        try:
            whole = boundary.feed(chunk)
        except SSEError:
            return  # the stream has failed, and nobody asks for more
        if whole:
            given.append(whole)
            assert b"".join(split(whole)) == whole
            reader.feed(whole)
            assert not reader.pending
    assert b"".join([*given, boundary.tail]) == b"".join(chunks)
    words = last_words(boundary.tail)
    assert words in (b"", boundary.tail) or words[-2:] == b"\n\n"


# Requests.


def request(data: bytes) -> None:
    """A request is refused, or told to a backend of any dialect; one of the same dialect sees
    another model and nothing else."""
    chance = chance_of(data)
    for dialect in DIALECTS:
        try:
            head = envelope.read(data)
        except Refused as refused:
            refusal(dialect, refused)
            continue
        model = chance.choice(MODELS)
        call = Call(
            id="req_1",
            operation="chat",
            dialect=dialect,
            asked=head.model,
            body=data,
            fields=chance.choice((None, head.fields)),
            stream=head.stream,
        )
        for act in (passes, counts, translates):
            try:
                act(call, model, chance)
            except Refused as refused:
                refusal(dialect, refused)


def refusal(dialect: str, refused: Refused) -> None:
    """It can be told."""
    status, body = ADAPTERS[dialect].encode_error(refused.info, "req_1")
    assert 400 <= status < 600
    json_text.encode(body)


def target(dialect: Any, model: str) -> Target:
    return Target(backend=Backend(name="b", url="http://b", dialect=dialect), model=model)


def counts(call: Call, model: str, chance: Random) -> None:
    assert estimate(call) >= 0


def passes(call: Call, model: str, chance: Random) -> None:
    try:
        before = raw(call.body)
    except msgspec.DecodeError:  # Half a character: what reads bodies here knows none.
        return
    where = target(call.dialect, model)
    workflow = workflow_for(call, where)
    after = workflow.outbound().body
    if workflow.dropped:  # what only the broker itself could have signed
        return
    assert raw(after) == {**before, "model": msgspec.json.encode(model)}
    assert len(after) - len(call.body) == len(raw(after)["model"]) - len(before["model"])
    if msgspec.json.encode(call.asked) == before["model"]:
        assert envelope.with_model(after, call.asked) == call.body
    workflow = workflow_for(call, where, overrides={"ask_usage": True})
    asking = raw(workflow.outbound().body)
    options = asking.pop("stream_options", b"")
    if call.stream and call.dialect == "openai" and before.get("stream_options") == b"{}":
        assert options == b'{"include_usage":true}'
    left = {key: value for key, value in before.items() if key != "stream_options"}
    assert asking == {**left, "model": msgspec.json.encode(model)}
    workflow.transform(now=0)


def raw(body: bytes) -> dict[str, bytes]:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return {key: bytes(value) for key, value in fields.items()}


def translates(call: Call, model: str, chance: Random) -> None:
    other = chance.choice([each for each in DIALECTS if each != call.dialect])
    mode: Any = chance.choice(("default", "strict", "lenient"))
    workflow = workflow_for(call, target(other, model), mode=mode)
    outbound = workflow.outbound()
    told = json_text.decode(outbound.body)
    assert told["model"] == model
    assert mode != "strict" or not (workflow.dropped or workflow.changed)
    workflow.transform(now=0)


# Streams.


def stream(data: bytes) -> None:
    """A stream has one end, whatever the backend sent and wherever it is cut; what a client gets
    is legal; what is passed on are the backend's own bytes."""
    chance = chance_of(data)
    reply = reply_of(chance)
    ways = list(cuts(data, chance))
    for backend in DIALECTS:
        for client in DIALECTS:
            found = {ended(backend, client, reply, chunks) for chunks in ([data], *ways)}
            assert len(found) == 1, "depends on cuts"
            stopped(backend, client, reply, ways[0], chance)
        folded(backend, data, reply)


def reply_of(chance: Random) -> Reply:
    return Reply(
        model="alias",
        created=1795000000,
        request_id="req_1",
        stream_usage=chance.random() < 0.5,
        legacy_functions=chance.random() < 0.2,
        wants_tier=chance.random() < 0.5,
        hide_reasoning=chance.random() < 0.2,
        custom_tools=chance.choice((frozenset(), frozenset({"weather", "get_weather"}))),
        stop=chance.choice(((), ("END", "\n\n"))),
        namespaces=chance.choice(({}, {"get_weather": "get"})),
        echo=chance.choice(({}, {"tools": [{"type": "tool_search", "execution": "client"}]})),
    )


def transform_of(backend: str, client: str, reply: Reply) -> TranslatedStream | PassedStream:
    adapter = ADAPTERS[client]
    if backend == client:
        return PassedStream(adapter.tap(), adapter, "req_1")
    return TranslatedStream(ADAPTERS[backend].decoder(), adapter.encoder(reply), adapter, lambda: 7)


def ended(backend: str, client: str, reply: Reply, chunks: list[bytes]) -> tuple[Any, ...]:
    """What came of a stream that went to its end."""
    transform = transform_of(backend, client, reply)
    fed = b"".join([transform.feed(chunk) for chunk in chunks])
    out = fed + transform.close()
    if backend == client:
        # In an error event, what looks like a key is masked; behind one that no client would
        # notice stands ours.
        kept = fed.partition(MASK)[0]
        ends = (b"event: error\n", b"event: response.failed\n", b'data: {"error"')
        before = [kept[:at] for at in map(kept.rfind, ends) if at > 0]
        assert b"".join(chunks).startswith((kept, *before))
        over(transform)
    else:
        ended_once(client, transform, out, reply)
    usage = transform.usage
    if backend == client and usage is not None and usage.estimated:
        # By the bytes that were looked at, and how many these are depends on the cuts.
        usage = None
    if backend == client:
        # An event that cannot be read has no number, after which ours would go on.
        out = _NUMBERS.sub(b"", out)
    return out, transform.phase, repr(transform.error), repr(usage), transform.stop


_NUMBERS = re.compile(rb'"sequence_number":[0-9]+')


def stopped(backend: str, client: str, reply: Reply, chunks: list[bytes], chance: Random) -> None:
    """A stream that gets signs of life, and is broken off by us."""
    transform = transform_of(backend, client, reply)
    out = b""
    for chunk in chunks[: chance.randint(0, len(chunks))]:
        out += transform.feed(chunk) + transform.ping()
    out += transform.fail(LATE)
    if backend == client:
        over(transform)
    else:
        ended_once(client, transform, out, reply)


def over(transform: TranslatedStream | PassedStream) -> None:
    """It has its end, gives nothing more, and stays as it is."""
    phase, error = transform.phase, transform.error
    assert phase in ("complete", "failed")
    assert (error is None) == (phase == "complete")
    late = transform.feed(b"data: {}\n\n") + transform.fail(LATE) + transform.close()
    assert late + transform.ping() == b""
    assert (transform.phase, transform.error) == (phase, error)


def ended_once(
    client: str, transform: TranslatedStream | PassedStream, out: bytes, reply: Reply
) -> None:
    over(transform)
    if out or transform.phase == "complete":
        assert legal(client, out, reply.stream_usage) == transform.phase


def legal(client: str, out: bytes, usage: bool | None) -> str:
    """Raises GrammarError for what a client may not get; how the stream ends."""
    checkers: dict[str, Callable[[], Checker[Frame]]] = {
        "openai": lambda: openai_checker(usage),
        "anthropic": anthropic_checker,
        "responses": responses_checker,
    }
    checker = checkers[client]()
    for frame in Reader().feed(out):
        checker.feed(frame)
    checker.close()
    return checker.state


def folded(backend: str, data: bytes, reply: Reply) -> None:
    """The same stream as the answer to a call that was not streamed."""
    for client in DIALECTS:
        try:
            conversion.fold(ADAPTERS[client], ADAPTERS[backend], data, reply)
        except (Broken, BackendRefused) as failed:
            tells(failed.info)


# Whole answers and errors.


def answer(data: bytes) -> None:
    """A whole answer is broken, or told to a client of any dialect as a body and a stream."""
    reply = reply_of(chance_of(data))
    for backend in DIALECTS:
        adapter = ADAPTERS[backend]
        try:
            adapter.gist(conversion.object_of(data))
            response = conversion.response_of(adapter, data)
        except (Broken, BackendRefused) as failed:
            tells(failed.info)
            continue
        response = conversion.estimated(response, lambda: 7)
        for client in DIALECTS:
            json_text.decode(conversion.encode_unary(ADAPTERS[client], response, reply).body)
            out = conversion.encode_stream(ADAPTERS[client], response, reply).body
            # A backend's own blocks go to its own dialect as they are, legal or not.
            assert client == backend or legal(client, out, reply.stream_usage) == "complete"


def error(data: bytes) -> None:
    """Whatever a backend says of an error can be told."""
    chance = chance_of(data)
    status = chance.choice(STATUSES)
    headers = {"retry-after": "1", "request-id": "r"} if chance.random() < 0.5 else {}
    for client in DIALECTS:
        body = b'{"model":"a","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'
        if client == "responses":
            body = b'{"model":"a","input":"Hi"}'
        call = Call(id="req_1", operation="chat", dialect=client, asked="a", body=body)
        for backend in DIALECTS:
            workflow = workflow_for(call, target(backend, chance.choice(MODELS)))
            workflow.outbound()
            failure = workflow.failure(status, headers, data)
            workflow.repair(failure.info)
            tells(failure.info)
            tells(ADAPTERS[backend].decode_error(status, headers, data))


def tells(info: ErrorInfo) -> None:
    """``info`` reaches a client of any dialect, as an answer and inside a stream."""
    for client in DIALECTS:
        status, body = ADAPTERS[client].encode_error(info, "req_1")
        assert 400 <= status < 600
        json_text.encode(body)
        assert legal(client, ADAPTERS[client].stream_error(info, "req_1"), None) == "failed"


# Configuration.


def config(data: bytes) -> None:
    """A configuration is read, or each mistake in it is one line."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        parse(text, name="fuzz.toml", environ={"KEY": "sk-secret"}, read_file=no_file)
    except ConfigError as mistakes:
        assert mistakes.problems
        for problem in mistakes.problems:
            assert len(problem.splitlines()) == 1 and problem.startswith("fuzz.toml")
            assert "sk-secret" not in problem


def no_file(path: str) -> str:
    raise OSError(2, "No such file")


TARGETS: dict[str, tuple[Callable[[bytes], None], int]] = {
    "sse": (sse, 1),
    "request": (request, 3),
    "stream": (stream, 3),
    "answer": (answer, 1),
    "error": (error, 1),
    "config": (config, 1),
}
"""Name -> what holds for every input, and its share of the time."""
