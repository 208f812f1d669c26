"""Fuzzing: what anybody may send us breaks none of the laws below, and raises only what is ours.

``make fuzz`` runs it for a minute in all, ``make fuzz SECONDS=3600`` for longer. With atheris the
inputs are led by the coverage of lmbroker/; without it they are changed at random. Inputs that
break a law are kept in build/fuzz/NAME/findings, those that reach new code beside them, for the
next run. ``python tests/fuzz.py --replay FILE --only NAME`` runs one input and shows where it fails.
"""

import argparse
import json
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

from mutation import Mutator, vocabulary

ROOT = Path(__file__).parents[1]
STATE = ROOT / "build" / "fuzz"
LONGEST = 32 * 1024
"""Bytes of an input."""
HANGS = 20
"""Seconds after which one input hangs."""
STARTS = 5
"""Seconds that a target may take to start, beside its share."""

ATHERIS = find_spec("atheris") is not None
GUIDED = ATHERIS and "--worker" in sys.argv
if GUIDED:
    import atheris

    instrumented: Any = atheris.instrument_imports(include=["lmbroker"])
    instrumented.__enter__()

import msgspec  # noqa: E402

from lmbroker import envelope  # noqa: E402
from lmbroker.adapters.base import Reply  # noqa: E402
from lmbroker.adapters.catalog import ADAPTERS  # noqa: E402
from lmbroker.call import Backend, Call, Target  # noqa: E402
from lmbroker.config import ConfigError, parse  # noqa: E402
from lmbroker.errors import BackendRefused, Broken, ErrorInfo, Refused  # noqa: E402
from lmbroker.grammar import anthropic_checker, openai_checker  # noqa: E402
from lmbroker.sse import Boundary, Frame, Reader, SSEError, last_words, split  # noqa: E402
from lmbroker.unified import json_text  # noqa: E402
from lmbroker.workflows import conversion, estimate, meet  # noqa: E402
from lmbroker.workflows.transforms import PassedStream, TranslatedStream  # noqa: E402

if GUIDED:
    instrumented.__exit__(None, None, None)

JSON = dict[str, Any]
DIALECTS: tuple[Any, ...] = ("openai", "anthropic")
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
    for limit in (LONGEST, chance.choice((0, 1, 7, 30, 200))):
        whole = frames([data], limit)
        assert all(len(frame.data or b"") <= limit for frame in whole[0] + whole[2])
        for chunks in cuts(data, chance):
            assert frames(chunks, limit) == whole
            bounded(chunks, limit)
        bounded([data], limit)


def bounded(chunks: list[bytes], limit: int) -> None:
    boundary, reader, given = Boundary(limit), Reader(), []
    for chunk in chunks:
        try:
            whole = boundary.feed(chunk)
        except SSEError:
            assert len(boundary.tail) > limit
            continue
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
    """A request is refused, or told to a backend of either dialect; one of the same dialect sees
    another model and nothing else."""
    chance = chance_of(data)
    for dialect in DIALECTS:
        try:
            head = envelope.read(data)
        except Refused as refused:
            refusal(dialect, refused)
            continue
        model = chance.choice(MODELS)
        for fields in (None, head.fields):
            call = Call(
                id="req_1",
                operation="chat",
                dialect=dialect,
                alias=head.model,
                body=data,
                fields=fields,
                stream=head.stream,
            )
            attempt(call, lambda call=call: passes(call, model))
        attempt(call, lambda call=call: estimate(call))
        attempt(call, lambda call=call: translates(call, model, chance))


def attempt(call: Call, act: Callable[[], object]) -> None:
    try:
        act()
    except Refused as refused:
        refusal(call.dialect, refused)


def refusal(dialect: str, refused: Refused) -> None:
    """It can be told."""
    status, body = ADAPTERS[dialect].encode_error(refused.info, "req_1")
    assert 400 <= status < 600
    json_text.encode(body)


def target(dialect: Any, model: str) -> Target:
    return Target(backend=Backend(name="b", url="http://b", dialect=dialect), model=model)


def passes(call: Call, model: str) -> None:
    before = raw(call.body)
    where = target(call.dialect, model)
    after = meet(call, where).outbound().body
    assert raw(after) == {**before, "model": msgspec.json.encode(model)}
    assert len(after) - len(call.body) == len(raw(after)["model"]) - len(before["model"])
    if msgspec.json.encode(call.alias) == before["model"]:
        assert envelope.with_model(after, call.alias) == call.body
    workflow = meet(call, where, overrides={"ask_usage": True})
    asking = raw(workflow.outbound().body)
    options = json.loads(asking.pop("stream_options", b"null"))
    if call.stream and call.dialect == "openai" and before.get("stream_options") == b"{}":
        assert options == {"include_usage": True}
    left = {key: value for key, value in before.items() if key != "stream_options"}
    assert asking == {**left, "model": msgspec.json.encode(model)}
    workflow.transform(now=0)


def raw(body: bytes) -> dict[str, bytes]:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return {key: bytes(value) for key, value in fields.items()}


def translates(call: Call, model: str, chance: Random) -> None:
    other = "anthropic" if call.dialect == "openai" else "openai"
    mode: Any = chance.choice(("default", "strict", "lenient"))
    workflow = meet(call, target(other, model), mode=mode)
    outbound = workflow.outbound()
    told = json_text.decode(outbound.body)
    assert told["model"] == model
    assert mode != "strict" or not workflow.dropped
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
        assert b"".join(chunks).startswith(fed)
        over(transform)
    else:
        ended_once(client, transform, out, reply)
    return out, transform.phase, repr(transform.error), repr(transform.usage), transform.stop


def stopped(backend: str, client: str, reply: Reply, chunks: list[bytes], chance: Random) -> None:
    """A stream that is committed early, gets signs of life, and is broken off by us."""
    transform = transform_of(backend, client, reply)
    out = transform.commit() if chance.random() < 0.5 else b""
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
    assert late + transform.ping() + transform.commit() == b""
    assert (transform.phase, transform.error) == (phase, error)


def ended_once(
    client: str, transform: TranslatedStream | PassedStream, out: bytes, reply: Reply
) -> None:
    over(transform)
    if out or transform.phase == "complete":
        assert legal(client, out, reply.stream_usage) == transform.phase


def legal(client: str, out: bytes, usage: bool | None) -> str:
    """Raises GrammarError for what a client may not get; how the stream ends."""
    checker = openai_checker(usage) if client == "openai" else anthropic_checker()
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
    """A whole answer is broken, or told to a client of either dialect as a body and a stream."""
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
        call = Call(id="req_1", operation="chat", dialect=client, alias="a", body=body)
        for backend in DIALECTS:
            workflow = meet(call, target(backend, chance.choice(MODELS)))
            workflow.outbound()
            failure = workflow.failure(status, headers, data)
            workflow.lesson(failure.info)
            tells(failure.info)
            tells(ADAPTERS[backend].decode_error(status, headers, data))


def tells(info: ErrorInfo) -> None:
    """``info`` reaches a client of either dialect, as an answer and inside a stream."""
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
        assert mistakes.complaints
        for complaint in mistakes.complaints:
            assert len(complaint.splitlines()) == 1 and complaint.startswith("fuzz.toml")
            assert "sk-secret" not in complaint


def no_file(path: str) -> str:
    raise OSError(2, "No such file")


# The runs.

TARGETS: dict[str, tuple[Callable[[bytes], None], int]] = {
    "sse": (sse, 1),
    "request": (request, 3),
    "stream": (stream, 3),
    "answer": (answer, 1),
    "error": (error, 1),
    "config": (config, 1),
}
"""Name -> what holds for every input, and its share of the time."""


def seeds_of(name: str) -> list[bytes]:
    tests = ROOT / "tests"
    patterns = {
        "sse": ("wire/*/*.sse", "transcripts/*.sse"),
        "request": ("transcripts/request.*.json",),
        "stream": ("wire/*/*.sse", "transcripts/*.sse"),
        "answer": ("transcripts/response.*.json",),
        "error": ("wire/*/error*.sse", "transcripts/error.*.sse"),
        "config": ("../etc/*.toml",),
    }[name]
    found = [path.read_bytes() for pattern in patterns for path in sorted(tests.glob(pattern))]
    if name == "error":
        # The errors of streams are those of bodies.
        lines = [line for seed in found for line in seed.split(b"\n") if b'"error"' in line]
        found = [line.removeprefix(b"data:").strip() for line in lines]
    if name == "config":
        page = (ROOT / "docs" / "configuration.md").read_text()
        found += [text.encode() for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    return found


class Findings:
    """Runs inputs; keeps the first one for each place where a law breaks."""

    def __init__(self, name: str) -> None:
        self._act = TARGETS[name][0]
        self._folder = STATE / name / "findings"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._places: set[str] = set()

    def run(self, data: bytes) -> None:
        try:
            self._act(data)
        except Exception as failed:
            steps = traceback.extract_tb(failed.__traceback__)
            place = " < ".join(f"{Path(s.filename).name}:{s.lineno}" for s in steps[:-4:-1])
            what = f"{type(failed).__name__} at {place}"
            if what not in self._places:
                self._places.add(what)
                path = self._folder / sha256(data).hexdigest()[:12]
                path.write_bytes(data)
                print(f"FOUND {what}: {str(failed)[:200]!r} {path.relative_to(ROOT)}", flush=True)


def work(name: str, seconds: int) -> None:
    """One target, in a process of its own: atheris does not return."""
    seeds = seeds_of(name)
    mutator = Mutator(seeds, vocabulary(ROOT / "lmbroker"))
    findings = Findings(name)
    for data in seeds:
        findings.run(data)
    if GUIDED:
        guided(name, seeds, mutator, findings, seconds)
    else:
        unguided(seeds, mutator, findings, seconds)


def guided(
    name: str, seeds: list[bytes], mutator: Mutator, findings: Findings, seconds: int
) -> None:
    corpus, given = STATE / name / "corpus", STATE / name / "seeds"
    for folder in (corpus, given):
        folder.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (given / sha256(data).hexdigest()[:12]).write_bytes(data)

    def change(data: bytes, longest: int, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < 0.15:
            return bytes(atheris.Mutate(data, longest))
        return mutator.change(data, chance)[:longest]

    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={HANGS}"]
    files = [f"-artifact_prefix={STATE / name / 'findings'}/", str(corpus), str(given)]
    flags = ["-print_final_stats=1", "-rss_limit_mb=2048", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *limits, *flags, *files], findings.run, custom_mutator=change)
    atheris.Fuzz()


def unguided(seeds: list[bytes], mutator: Mutator, findings: Findings, seconds: int) -> None:
    chance, until, runs = Random(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        findings.run(mutator.change(chance.choice(seeds), chance)[:LONGEST])
        runs += 1
    print(f"stat::number_of_executed_units: {runs}")


def fuzz(names: list[str], seconds: int) -> int:
    """All targets, one after the other; the exit code."""
    if not ATHERIS:
        print("atheris is not installed: inputs are changed at random, not led by coverage")
    shares = sum(TARGETS[name][1] for name in names)
    failed = False
    for name in names:
        share = max(1, seconds * TARGETS[name][1] // shares - STARTS * ATHERIS)
        worker = [sys.executable, __file__, "--worker", "--only", name, "--seconds", str(share)]
        try:
            done = subprocess.run(
                worker,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                timeout=share + HANGS + 60,
            )
            output, code = done.stdout, done.returncode
        except subprocess.TimeoutExpired as late:
            output, code = late.stdout or b"", 1
        lines = output.decode(errors="replace").splitlines()
        found = [line for line in lines if line.startswith("FOUND")]
        runs = [line.split()[-1] for line in lines if "number_of_executed_units" in line]
        print(f"{name}: {runs[0] if runs else 'no'} runs, {len(found)} findings", flush=True)
        for line in found or (lines[-20:] if code else []):
            print(f"  {line}")
        failed = failed or bool(found) or code != 0
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the pure half of LMBroker.")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--only", choices=TARGETS, action="append", help="a target")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only or list(TARGETS)
    if options.replay:
        for name in names:
            TARGETS[name][0](options.replay.read_bytes())
        return 0
    if options.worker:
        work(names[0], options.seconds)
        return 0
    return fuzz(names, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
