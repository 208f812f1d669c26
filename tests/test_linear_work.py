"""The law of the core: twice the input is at most two and a half times the work.

Every public function of floors 0 to 3 that sees what a client or a backend sent is driven here by
inputs that nobody honest would send (``adversaries``), and its work is counted (``work``). A new
function that no adversary reaches makes the last test fail.
"""

import ast
import functools
import gzip
import itertools
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import adversaries
import adversaries_responses
import adversaries_responses_requests
import msgspec
import pytest
import zstandard
from adversaries import ERRORS, TEXTS, schemas
from test_layers import PACKAGE, WITHOUT_TWISTED, dotted, of_layers
from work import Action, functions, growth, lines

from lmbroker import bounds, envelope, headers, json_text, sse
from lmbroker.broker.trace_context import handed_on, parsed_parent, parsed_request_id, parsed_state
from lmbroker.call import Backend, Call, Dialect, Mode, Record, Target
from lmbroker.capture import events as events_of
from lmbroker.capture.captured import captured
from lmbroker.capture.masking import credentials_in, masked_lines
from lmbroker.capture.replaying import replay
from lmbroker.capture.tape import Tape
from lmbroker.capture.wanted import Wanted
from lmbroker.errors import BrokerError, ErrorInfo, Refused
from lmbroker.limits import Limits
from lmbroker.redaction import redact, redact_error, redact_headers
from lmbroker.routing import conversations, suitability
from lmbroker.routing.keys import hash_of, own_key
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.secret import Secret
from lmbroker.server import content_coding, cors, request_paths
from lmbroker.testing import grammar
from lmbroker.testing.grammar_responses import responses_checker
from lmbroker.translation import rate_limit_headers
from lmbroker.translation.dialects.anthropic_messages import taken_out
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai.rate_limits import duration
from lmbroker.translation.losses import Losses, located
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.shared import media, names
from lmbroker.translation.shared import schemas as schema_rules
from lmbroker.translation.shared.attribution import without_attribution
from lmbroker.translation.shared.json_scan import ObjectScanner
from lmbroker.translation.shared.signature import unseal
from lmbroker.translation.unified.fold import fold, unfold
from lmbroker.workflows import (
    Workflow,
    conversion,
    estimate,
    listed_limits,
    model_list,
    second_dialect,
    workflow_for,
)
from lmbroker.workflows.beginnings import Beginnings
from lmbroker.workflows.contract import Transform

BOUND = 2.5
"""Twice the input: at most so many times the work."""
ONCE = 2.2
"""The same between two sizes so small that other work stands beside a square."""
SIZE = 24
"""Of the smallest input where lines are counted."""
SLACK = 160
"""Lines of a function that begins its work only above some size."""
FAR = 16
"""How much larger the other one is where time is compared: four times twice as large."""
NEAR_SIZE = 1000
NEAR_BOUND = BOUND**4
"""What the law allows for four times twice as large. Where more is seen, a larger input decides."""
FAR_SIZE = 2000
HALF_BOUND = 10
"""Of a fourth of it: between 4 and 16."""
FAR_BOUND = 100
"""Between 39, which the law allows for four times twice as large, and 256, which a square makes: on
a busy machine longer runs lose more to others than short ones, up to twice as much."""

SECRETS = tuple(
    Secret(text) for text in ("sk-aaaaaaaaaaaaaaaaaaaa", "none", "//////////", "a" * 40)
)
CHECKERS = {
    "openai": grammar.openai_checker,
    "anthropic": grammar.anthropic_checker,
    "responses": responses_checker,
}
DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "responses")

REQUESTS = {
    **adversaries.REQUESTS,
    "responses": adversaries_responses_requests.with_texts(TEXTS, schemas),
}
ANSWERS = {**adversaries.ANSWERS, "responses": adversaries_responses.ANSWERS}
STREAMS = {**adversaries.STREAMS, "responses": adversaries_responses.STREAMS}

REFUSALS = (
    "tools.0.a: not supported",
    "max_tokens must be between 1 and 4096",
    "Unsupported value: 'reasoning_effort'. Supported values are: 'low', 'medium'",
    "temperature must be between 0 and 1",
    "temperature: must be less than or equal to 1.0",
    "response_format of type json_schema is not supported",
    "The encrypted content a could not be verified.",
)

PROFILES: tuple[dict[str, Any], ...] = (
    {
        "structured_outputs": True,
        "reasoning_replay": "origin",
        "mid_system": True,
        "cache_breakpoints": True,
        "server_tools": True,
        "allowed_tools": True,
        "effort": ["low", "high"],
        "reasoning_control": "effort",
        "service_tier": True,
    },
    {
        "system_first_only": True,
        "omit": ["messages[].name", "tools[].function.strict", "stop"],
        "alternate_roles": True,
        "after_tool": "merge",
        "tool_result_images": False,
        "reasoning_replay": "reasoning_content",
        "structured_outputs": False,
        "omit_schema_keywords": ["enum", "pattern", "$ref"],
        "thinking_types": ["enabled"],
        "reasoning_control": "deepseek",
        "prefill": "vllm",
        "forced_tools": False,
        "forced_tools_fallback": "refuse",
        "vision": False,
        "pdf": False,
        "think_tags": True,
        "custom_tools": False,
        "files": False,
    },
)


def target(dialect: Dialect) -> Target:
    backend = Backend(
        name="b", url="https://example.com/v1", dialect=dialect, credential=SECRETS[0]
    )
    return Target(backend=backend, model="real")


def call_of(dialect: Dialect, body: bytes, **more: Any) -> Call:
    fields = envelope.read(body).fields
    return Call(
        id="r", operation="chat", dialect=dialect, asked="m", body=body, fields=fields, **more
    )


def text_of(value: Any) -> bytes:
    """JSON as any client may write it, half characters included."""
    return json.dumps(value).encode()


def quietly(action: Callable[..., object], *args: Any, **more: Any) -> Any:
    """What ``action`` returns; None where it refuses. Anything else that it raises is a fault."""
    try:
        return action(*args, **more)
    except (BrokerError, sse.SSEError, ValueError):
        return None


# The actions.


def ask(dialect: Dialect, make: Callable[[int], Any], n: int) -> Action:
    body = text_of(make(n))

    def action() -> None:
        call = quietly(call_of, dialect, body)
        if call is None:
            return
        quietly(estimate, call)
        needs = suitability.Needs(call)
        _ = needs.images, needs.pdfs, needs.server_tools, needs.own_only
        for other, overrides in itertools.product(DIALECTS, PROFILES):
            second_dialect.may_need(call, target(other), overrides)
            second_dialect.need(call, target(other), overrides)
        for turn, (other, overrides) in enumerate(itertools.product(DIALECTS, PROFILES)):
            mode: Mode = "lenient" if overrides is PROFILES[0] else "default"
            workflow = workflow_for(call, target(other), mode=mode, overrides=overrides)
            if quietly(workflow.outbound) is not None:
                # To repair is most of the work: each refusal meets each profile once.
                for message in REFUSALS[turn in (1, 2) :: 2]:
                    workflow.repair(ErrorInfo(kind="invalid_request", message=message, status=400))
                workflow.recall(workflow.asked())
            _ = workflow.dropped, workflow.changed
        adapter = ADAPTERS[dialect]
        request = quietly(adapter.decode_request, json_text.decode(body))
        if request is not None:
            losses = Losses("lenient")
            known = profile(dialect, "m", PROFILES[1])
            quietly(adapter.encode_request, request, known, losses)
            _ = losses.dropped, losses.paths, losses.changed

    return action


def workflows(backend: Dialect) -> Iterator[Workflow]:
    for client in DIALECTS:
        asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        if client == "openai":
            asked["tools"] = [{"type": "custom", "custom": {"name": "f"}}]
        elif client == "responses":
            search = {"type": "tool_search", "execution": "client"}
            tools = [{"type": "custom", "name": "f"}, search]
            asked = {"model": "m", "input": "hi", "tools": tools}
        text = text_of(asked)
        yield workflow_for(
            call_of(client, text, stream=True), target(backend), overrides=PROFILES[1]
        )


def answer(dialect: Dialect, make: Callable[[int], Any], n: int) -> Action:
    body = text_of(make(n))

    def action() -> None:
        for workflow in workflows(dialect):
            quietly(workflow.unary, body, now=1)
            quietly(workflow.unfold, body, now=1)
        response = quietly(ADAPTERS[dialect].decode_response, json_text.decode(body))
        if response is not None:
            fold(unfold(response))

    return action


def stream(dialect: Dialect, make: Callable[[int], bytes], step: int, n: int) -> Action:
    body = make(n)
    chunks = [body[at : at + step] for at in range(0, len(body), step)]

    def run(transform: Transform) -> None:
        for chunk in chunks:
            transform.feed(chunk)
            transform.ping()
        transform.close()
        _ = transform.usage, transform.stop, transform.dropped, transform.changed

    def action() -> None:
        for workflow in workflows(dialect):
            run(workflow.transform(now=1))
            if step > 1:
                quietly(workflow.fold, body, now=1)
        tap = ADAPTERS[dialect].tap()
        tap.without_usage(body)
        tap.see(body)
        _ = tap.text_bytes
        tap.close()
        ADAPTERS[dialect].stream_error(ErrorInfo(kind="server", message="m"), "r", tap)

    return action


def refuse(make: Callable[[int], Any], n: int) -> Action:
    body = text_of(make(n))
    given = {"retry-after": "5", "x-request-id": "r"}

    def action() -> None:
        for dialect in DIALECTS:
            for workflow in workflows(dialect):
                for status in (400, 500):
                    refused = workflow.failure(status, given, body)
                    workflow.repair(refused.info)
                    redact_error(refused.info, SECRETS)
                    ADAPTERS[dialect].encode_error(refused.info, "r")
                    ADAPTERS[dialect].stream_error(refused.info, "r")
                    headers.from_error(refused.info)

    return action


def checked(dialect: Dialect, name: str, n: int) -> Action:
    """The checker of a dialect on what we make of another one's stream."""
    other = DIALECTS[dialect == "openai"]
    of_client = dict(zip(DIALECTS, workflows(other), strict=True))
    workflow = of_client[dialect]
    transform = workflow.transform(now=1)
    frames = sse.Reader().feed(transform.feed(STREAMS[other][name](n)) + transform.close())

    def action() -> None:
        check: Any = CHECKERS[dialect]()
        for frame in frames:
            check.feed(frame)
        check.close()

    return action


def bytewise(text: Callable[[int], str], n: int) -> Action:
    """What walks over a text."""
    said = text(n)
    raw = said.encode("utf-8", "surrogatepass")

    def action() -> None:
        redact(raw, SECRETS)
        redact_headers((("a", said),), SECRETS)
        scanner = ObjectScanner()
        for each in '{"a":"' + said:
            scanner.feed(each)
        ObjectScanner().feed('{"a":' + said)
        quietly(json_text.arguments, said)
        json_text.joined(said)
        names.wire_name(said)
        names.wire_id(said, r"^[A-Za-z0-9_-]{1,64}$")
        names.renamed([said])
        media.parse_data_url("data:" + said)
        media.text_of(said)
        unseal("lmb1." + said)
        sse.last_words(raw)
        list(sse.split(raw))
        bounds.is_dense(raw)
        bounds.without_texts(b'"' + raw)
        profile("openai", said)
        duration(said)
        sse.encode_event("e", raw)
        sse.encode_data(raw)
        headers.identity(
            ADAPTERS["openai"].facts.headers, "r", model=said, dropped=said, backend=said
        )

    return action


def events(end: bytes, step: int, n: int) -> Action:
    raw = (b": c" + end + b"data: x" + end + end) * n + end * n + b"data: y"
    chunks = [raw[at : at + step] for at in range(0, len(raw), step)]

    def action() -> None:
        reader, boundary, count = sse.Reader(), sse.Boundary(), bounds.EventCount()
        held = bytearray()
        for chunk in chunks:
            reader.feed(chunk)
            boundary.feed(chunk)
            _ = boundary.tail
            held += chunk
            count.see(held)
        _ = count.too_many, reader.pending
        reader.close()
        list(sse.split(raw))

    return action


def top_level(keys: Callable[[int], str], n: int) -> Action:
    body = (
        "{" + keys(n) + ',"model":"m","stream_options":null,"pad":"' + "p" * 5000 + '"}'
    ).encode()

    def action() -> None:
        head = quietly(envelope.read, body)
        if head is not None:
            quietly(envelope.with_model, body, "new", head.fields)
            quietly(envelope.repeats, body, head.fields, "a")
            head.value("a")
            quietly(envelope.with_usage, body)
            for limits in (Limits(), Limits(messages=1, tools=1, json_values=1)):
                quietly(bounds.check_body, body, head.fields, limits)
            quietly(RequestLimits(n=1, max_tokens=5).check, call_of("openai", body))

    return action


def embed(make: Callable[[int], Any], reply: Callable[[int], Any], n: int) -> Action:
    body = text_of({"model": "m", **make(n)})
    answered = text_of(reply(n))

    def action() -> None:
        call = msgspec.structs.replace(call_of("openai", body), operation="embeddings")
        workflow = quietly(workflow_for, call, target("openai"))
        if workflow is not None and quietly(workflow.outbound) is not None:
            workflow.repair(ErrorInfo(kind="invalid_request", message=REFUSALS[1], status=400))
            workflow.recall(workflow.asked())
            quietly(workflow.unary, answered, now=1)
            quietly(workflow.unfold, answered, now=1)
            quietly(workflow.fold, answered, now=1)

    return action


def signed(n: int) -> Action:
    line = "x-anthropic-billing-header: a\nb"
    blocks = [{"type": "text", "text": line}, {"type": "text", "text": "\\"}] * n
    messages = [{"role": "system", "content": line}] * n
    body = text_of({"model": "m", "system": blocks, "messages": messages})

    def action() -> None:
        taken_out.without_attribution_line(body)
        without_attribution(line + "\n" * n)

    return action


def captured_call(stream: bool, n: int) -> Action:
    """A call that is kept, masked, read again and replayed; full of what is masked."""
    word = "key-" + "k" * 20 + "1"
    said = [{"role": "user", "content": f"{word} {SECRETS[0].reveal()} \\u0061"}] * n
    body = text_of({"model": "m", "messages": said, "stream": stream})
    pieces = [b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % word.encode()] * n
    given = {f"x-{each}-key": word for each in range(n)} | {"authorization": f"Bearer {word}"}
    told = {"content-type": "text/event-stream" if stream else "application/json", **given}
    asked = Wanted(alias="m")
    now = itertools.count().__next__

    def action() -> None:
        tape = Tape(lambda: float(now()), lambda size: True)
        note = tape.note
        note(
            events_of.Began,
            format=events_of.FORMAT,
            version="1",
            time="",
            id="r",
            operation="chat",
            dialect="openai",
            asked="m",
            alias="m",
            caller="c",
            stream=stream,
            headers=given,
            query="a=b&api_key=k&" * n,
            data=body,
        )
        for status in (500, 200):
            note(
                events_of.Tried,
                backend="b",
                url="http://b/v1",
                model="real",
                dialect="openai",
                workflow="passthrough",
                asked="m",
            )
            note(events_of.Sent, method="POST", url="http://b/v1/x?a=b", headers=given, data=body)
            note(events_of.Answered, status=status, headers=told, now=1, longest=1 << 20)
            for piece in pieces:
                note(events_of.Chunk, data=piece[:9])
                note(events_of.Chunk, data=piece[9:])
            note(events_of.BodyEnded, whole=True)
            note(events_of.Closed)
        note(events_of.Head, status=200, headers=tuple(given.items()))
        for piece in pieces:
            note(events_of.Out, data=piece)
        words = (*credentials_in(given), SECRETS[0].reveal())
        found = captured(masked_lines(events_of.packed(tape.events), words))
        _ = found.attempts[0].body
        replay(found)
        ended = Record(id="r", operation="chat", dialect="openai", opened_at=0.0)
        _ = asked.may_be(call_of("openai", body), "m"), asked.is_wanted(ended), asked.by_end

    return action


def complete(n: int) -> Action:
    body = text_of({"model": "m", "prompt": ["a"] * n, "n": 2})
    answered = text_of({"choices": [{"index": each, "text": "t"} for each in range(n)]})

    def action() -> None:
        call = msgspec.structs.replace(call_of("openai", body), operation="completions")
        workflow = workflow_for(call, target("openai"))
        workflow.outbound()
        quietly(workflow.unary, answered, now=1)
        quietly(workflow.fold, answered, now=1)
        quietly(workflow.unfold, answered, now=1)
        workflow.transform(now=1).feed(answered)

    return action


def listed(n: int) -> Action:
    body = text_of({"data": [{"id": f"m{each}"} for each in range(n)], "has_more": True})
    given = {f"x-ratelimit-{each}": "1h2m3s" for each in range(n)}
    named = {**given, "connection": ",".join(given), "anthropic-beta": "b"}

    def action() -> None:
        for dialect in DIALECTS:
            quietly(model_list.decode, body, dialect)
            listed_limits.ListedLimits().learn("backend", body)
            for other in DIALECTS:
                sides = (ADAPTERS[name].facts.rate_limits for name in (dialect, other))
                rate_limit_headers.for_client(given, *sides, expose_limits=True, now=1.0)
            call = Call(
                id="r", operation="chat", dialect=dialect, asked="m", body=b"{}", headers=named
            )
            facts = ADAPTERS[dialect].facts.headers
            headers.to_backend(call, facts, native=True, stream=True)
            headers.for_another_backend(call)
            trace = parsed_parent(f"cc-{'a' * 32}-{'b' * 16}-01-{'-' * n}")
            state = parsed_state(",".join(given) + "a" * n + ",a=1" * n)
            assert trace is not None and not state
            handed_on(trace, trace.span_id, parsed_request_id("r" * n))
            headers.from_backend(named)
            headers.backend_request_id(named, facts)
            hash_of("k" * n)
            cors.allowed(("https://a",), {"origin": "https://" + "a" * n, **given})
            cors.preflight(("*",), {"origin": "https://" + "a" * n, **given})

    return action


def kept_together(n: int) -> Action:
    before = [{"role": "system", "content": "a"}] * n
    messages = [*before, {"role": "user", "content": [{"type": "odd"}]}]
    body = {
        "model": "m",
        "system": "a" * n,
        "messages": messages,
        "metadata": {"user_id": ["a"] * n},
    }
    given = {"x-other": "a", "authorization": "Bearer " + "k" * n}
    call = Call(id="r", operation="chat", dialect="openai", asked="m", body=text_of(body))
    named = Call(
        id="r",
        operation="chat",
        dialect="openai",
        asked="m",
        body=b"{}",
        headers={"session-id": "a" * n},
    )
    no = Refused("invalid_request", "no")
    named_fields = envelope.read(call.body).fields

    def action() -> None:
        remembered = conversations.ConversationTargets(most=n // 2)
        for each in range(n):
            found = conversations.hashed("m", f"{each}")
            remembered.target_of(found)
            remembered.remember(found, "m", "ab"[each % 2])
        remembered.full("m", ("a", "b"), (1.0, 1.0))
        conversations.hashed("m", conversations.conversation_of(call))
        conversations.hashed("m", conversations.conversation_of(named))
        envelope.is_slow(call.body)
        for dialect in DIALECTS:
            facts = ADAPTERS[dialect].facts
            if facts.cuts is not None:
                facts.cuts.may_concern(call.body, True)
            if facts.needs_memory is not None:
                facts.needs_memory(named_fields)
        own_key((), given)
        located(no, ("messages[].content[].type", "odd"), body)
        for text in (b"rate limit " * n, b"busy " * min(n, 800), text_of(["busy"] * n)):
            quietly(conversion.refused, text)

    return action


def goes_on(dialect: Dialect, n: int) -> Action:
    """An agent's requests, each of which begins with the one before."""
    said: list[Any] = []
    for number in range(n):
        function = {"name": f"f{number}", "arguments": "{}"}
        use = {"type": "tool_use", "id": f"i{number}", "name": f"f{number}", "input": {}}
        result = {"type": "tool_result", "tool_use_id": f"i{number}", "content": "a" * 800}
        call = {"id": f"i{number}", "type": "function", "function": function}
        said += [
            {"role": "user", "content": "a" * 800},
            {"role": "assistant", "content": [use]}
            if dialect == "anthropic"
            else {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "user", "content": [result]}
            if dialect == "anthropic"
            else {"role": "tool", "tool_call_id": f"i{number}", "content": "a" * 800},
            {"role": "assistant", "content": "a"},
        ]
    asked = {"model": "m", "max_tokens": 9}
    bodies = [
        text_of({**asked, "messages": said[: len(said) * share // 4 or 1]})
        for share in (3, 3, 3, 4)
    ]
    other: Dialect = "openai" if dialect == "anthropic" else "anthropic"

    def action() -> None:
        beginnings = Beginnings(lambda: 1 << 30)
        for body in bodies:
            for model in ("real", "other"):
                place = msgspec.structs.replace(target(other), model=model)
                workflow: Any = workflow_for(call_of(dialect, body), place)
                workflow.beginnings = beginnings
                workflow.unknown_part()
                workflow.outbound()
        for turn in (beginnings.age, beginnings.age, beginnings.age):
            turn()

    return action


def compressed(name: str, n: int) -> Action:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}[name]
    whole, many = pack(b"a" * 1000 * n), pack(b"a") * n

    def action() -> None:
        quietly(content_coding.codings, "identity," * n)
        for body in (whole, many):
            quietly(content_coding.decoded, body, (name,), 1 << 25)
        for path in ("/v1" * n + "/" * n + "%2f" * n, "/v1/messages" * n):
            request_paths.meant(path)
            request_paths.problem(path)

    return action


def narrowed(name: str, n: int) -> Action:
    schema = schemas(n)[name]

    def action() -> None:
        schema_rules.object_schema(schema)
        schema_rules.anthropic_subset(schema)
        schema_rules.meets_openai_strict({**schema, "type": "object"})

    return action


Make = Callable[[int], Action]


def cases() -> dict[str, Make]:
    found: dict[str, Make] = {}
    for dialect in DIALECTS:
        for name, make in REQUESTS[dialect].items():
            found[f"{dialect} request: {name}"] = functools.partial(ask, dialect, make)
        for name, make in ANSWERS[dialect].items():
            found[f"{dialect} answer: {name}"] = functools.partial(answer, dialect, make)
        for name, make in STREAMS[dialect].items():
            found[f"{dialect} stream: {name}"] = functools.partial(stream, dialect, make, 4096)
            found[f"{dialect} bytes: {name}"] = functools.partial(stream, dialect, make, 1)
    for name, make in ERRORS.items():
        found[f"error: {name}"] = functools.partial(refuse, make)
    for name, make in TEXTS.items():
        found[f"text: {name}"] = functools.partial(bytewise, make)
    for name in schemas(1):
        found[f"schema: {name}"] = functools.partial(narrowed, name)
    for end in (b"\n", b"\r", b"\r\n"):
        found[f"lines: {end!r}"] = functools.partial(events, end, 1)
        found[f"whole lines: {end!r}"] = functools.partial(events, end, 1 << 30)
    tops: dict[str, Callable[[int], str]] = {
        "many": lambda n: ",".join(f'"k{each}":1' for each in range(n)),
        "repeated": lambda n: ",".join(['"a":[{"model":1}]'] * n),
        "escaped": lambda n: '"\\u0061":[' + "[]," * n + "0]",
        "twice": lambda n: '"a":1,"a":[' + '{"stream_options":null},' * n + "0]",
    }
    for name, keys in tops.items():
        found[f"top level: {name}"] = functools.partial(top_level, keys)
    vector = {"embedding": [0.5, 0.5], "index": 0}
    found["embeddings: tokens"] = functools.partial(
        embed, lambda n: {"input": [1] * n}, lambda n: {"data": [{"embedding": [0.5] * n}]}
    )
    found["embeddings: lists"] = functools.partial(
        embed, lambda n: {"input": [[1]] * n}, lambda n: {"data": [vector] * n}
    )
    found["embeddings: texts"] = functools.partial(
        embed,
        lambda n: {"input": ["a"] * n, "encoding_format": "base64"},
        lambda n: {"data": [{**vector, "index": each} for each in reversed(range(n))], "usage": {}},
    )
    found["lists and headers"] = listed
    found["attribution lines"] = signed
    found["completions"] = complete
    found["captured stream"] = functools.partial(captured_call, True)
    found["captured answer"] = functools.partial(captured_call, False)
    found["conversations and keys"] = kept_together
    for dialect in ("openai", "anthropic"):
        found[f"{dialect}: a conversation that goes on"] = functools.partial(goes_on, dialect)
    for dialect in DIALECTS:
        for name in ("texts", "arguments"):
            found[f"{dialect} grammar: {name}"] = functools.partial(checked, dialect, name)
    for name in ("gzip", "deflate", "zstd"):
        found[f"compressed: {name}"] = functools.partial(compressed, name)
    return found


CASES = cases()


def case(name: str, times: int = 1) -> Action:
    """A case of the usual size, or so many times as large."""
    size = SIZE // 4 if " bytes: " in name else SIZE
    return CASES[name](size * times)


def counted(name: str, times: int = 1) -> dict[CodeType, int]:
    """The work of a case, or of one so many times as large."""
    return lines(case(name, times))


@pytest.mark.parametrize("name", CASES)
def test_twice_the_input_is_twice_the_work(name):
    """Of each function, twice in a row: a bound that is met at one size is no law."""
    middle, large = (counted(name, times) for times in (2, 4))
    more = {
        code: (middle[code], work)
        for code, work in large.items()
        if code in middle and work > BOUND * middle[code] + SLACK
    }
    small = counted(name) if more else {}
    assert {
        f"{code.co_filename.rpartition('lmbroker/')[2]}: {code.co_name}": (before, *work)
        for code, work in more.items()
        if work[0] > ONCE * (before := small.get(code, 0))
    } == {}


@pytest.mark.parametrize("name", [name for name in CASES if " bytes: " not in name])
def test_what_single_lines_do_grows_no_faster(name):
    """Searches, copies and regular expressions, which are one line each. A square is one in the
    upper half, too; what begins its work only above some size is none."""
    make = CASES[name]
    near = growth(make(NEAR_SIZE // FAR), make(NEAR_SIZE), NEAR_BOUND, tries=2, least=0.0005)
    if near < NEAR_BOUND:
        return
    large = make(FAR_SIZE)
    if growth(make(FAR_SIZE // FAR), large, FAR_BOUND) >= FAR_BOUND:
        assert growth(make(FAR_SIZE // 4), large, HALF_BOUND) < HALF_BOUND


def test_the_meters_see_a_square():
    def looped(n: int) -> Action:
        def action() -> None:
            losses = Losses()
            for each in range(n):
                for _ in range(each):
                    losses.drop("a")

        return action

    small, large = (sum(lines(looped(n)).values()) for n in (20, 40))
    assert large > BOUND * small

    def searched(n: int) -> Action:
        held = list(range(n))
        return lambda: [each in held for each in range(n)]

    assert growth(searched(12_000 // FAR), searched(12_000), FAR_BOUND, tries=1) > FAR_BOUND
    few, many = searched(6_000 // FAR), searched(6_000)
    assert growth(few, many, NEAR_BOUND, tries=2, least=0.0005) > NEAR_BOUND
    assert growth(lambda: "a" * 100, lambda: "a" * 1600, FAR_BOUND, tries=1) < FAR_BOUND


# Which functions are reached.

CORE = [
    *(path for path in of_layers(WITHOUT_TWISTED) if dotted(path) != "lmbroker.config.file"),
    *(PACKAGE / "server" / f"{name}.py" for name in ("cors", "request_paths", "content_coding")),
    PACKAGE / "testing" / "grammar.py",
]
"""The files of the pure core, those among them that stand with what they are made for."""

CONFIGURED = frozenset(
    {
        "config.backends",
        "config.changes",
        "config.client_certificate",
        "config.config",
        "config.endpoints",
        "config.fields",
        "config.limit_rules",
        "config.limit_store",
        "config.models",
        "config.prices",
        "config.table",
        "config.tracing",
        "errors",
        "limits",
        "routing.aliases",
        "routing.balancing",
        "routing.breaker",
        "routing.failover",
        "routing.limit_ledger",
        "routing.limit_rules",
        "routing.limit_windows",
        "routing.retries",
        "routing.target_health",
        "secret",
        "workflows.learned_rejections",
        "workflows.token_ratios",
    }
)
"""Modules that see the configuration, times and counts, and nothing of what anybody sent but
names of models, which have at most 256 characters."""

SMALL = frozenset(
    {
        "call.attempted",
        "call.closed",
        "call.opened",
        "call.in_dialect",
        "call.in_second_dialect",
        "call.shown",
        "call.spoken_in",
        "constraints.without",
        "envelope.can_be_asked_for",
        "envelope.nests_too_deeply",
        "headers.about_bytes",
        "headers.cost",
        "headers.bearer",
        "headers.credential_headers",
        "headers.failed_at",
        "headers.first_values",
        "headers.to_list",
        "json_text.unknown",
        "call.sampled",
        "routing.keys.caller_of",
        "routing.keys.digest_of",
        "routing.keys.may_use",
        "routing.suitability.lacking",
        "routing.suitability.may_be_too_long",
        "translation.dialects.anthropic_messages.ending.tier_of",
        "translation.dialects.anthropic_messages.facts.counted",
        "translation.dialects.anthropic_messages.headers.credential",
        "translation.dialects.openai_responses.facts.counted",
        "translation.profiles.lookup.explained",
        "translation.dialects.anthropic_messages.searches.is_ours",
        "translation.dialects.anthropic_messages.models.entry",
        "translation.dialects.anthropic_messages.models.page",
        "translation.dialects.catalog.client_paths",
        "translation.dialects.catalog.second_dialects",
        "translation.dialects.openai.encode_controls.encode_tier",
        "translation.dialects.openai_chat.encode_parts.sound",
        "translation.dialects.openai.ending.encode_tier",
        "translation.dialects.openai.headers.credential",
        "translation.dialects.openai.models.entry",
        "translation.dialects.openai.models.page",
        "translation.dialects.openai.rate_limits.duration_text",
        "translation.refusals.context_overflow.counts_separately",
        "translation.refusals.wordings.any_of",
        "translation.shared.call_ids.with_unique_ids",
        "translation.shared.instructions.must_call",
        "translation.shared.reasoning.budget_of",
        "translation.shared.reasoning.clip",
        "translation.shared.reasoning.effort_of",
        "translation.shared.reasoning.fit_budget",
        "translation.shared.think_tags.separated",
        "translation.shared.waiting_part.beside",
        "translation.shared.waiting_part.complete",
        "translation.shared.waiting_part.signature",
        "translation.shared.waiting_part.skeleton",
        "translation.unified.counting.claude_image",
        "translation.unified.parts.joined_name",
        "translation.unified.parts.own_name",
        "workflows.beginnings.size",
        "workflows.beginnings.vain",
        "workflows.conversion.estimated",
        "workflows.conversion.of_an_answer",
        "workflows.embeddings.opaque",
        "workflows.listed_limits.overrides",
        "workflows.model_list.entry",
        "workflows.model_list.list_paths",
        "workflows.model_list.offered",
        "workflows.model_list.page",
        "workflows.model_list.patterns",
        "workflows.model_list.request",
        "workflows.passthrough.opaque",
        "workflows.transforms.text_bytes",
        "workflows.transforms.tool_calls",
        "workflows.translation.estimated",
        "workflows.translation.opaque",
        "usage.cost_of",
        "usage.dollars",
    }
)
"""Functions that see nothing of a size that somebody else chooses."""


def public_functions() -> Iterator[tuple[str, Path, ast.FunctionDef]]:
    """Each public function and method of the core: by module and name, its file, its text."""
    for path in CORE:
        here = dotted(path).removeprefix("lmbroker.")
        if here in CONFIGURED or path.name in ("base.py", "contract.py"):
            continue
        for node in ast.parse(path.read_text()).body:
            held = node.body if isinstance(node, ast.ClassDef) else [node]
            for each in held:
                if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
                    yield f"{here}.{each.name}", path, each


def forget() -> None:
    """What functions of the core remember: other tests may have asked them before."""
    for name, module in list(sys.modules.items()):
        if name.startswith("lmbroker."):
            for each in vars(module).values():
                if hasattr(each, "cache_clear"):
                    each.cache_clear()


def test_each_listed_function_exists():
    assert set(SMALL) - {name for name, _, _ in public_functions()} == set()


def test_each_public_function_has_an_adversary():
    forget()
    reached = set()
    for name in CASES:
        for code in functions(case(name)):
            reached.add((code.co_filename, code.co_name))
    missing = [
        f"{dotted(path)}: {function.name}"
        for name, path, function in public_functions()
        if (str(path), function.name) not in reached and name not in SMALL
    ]
    assert missing == []


def test_the_core_takes_nothing_from_the_front_of_a_list():
    """``pop(0)`` moves all that stand behind: a deque does not."""
    found = []
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                first = node.args[0] if node.args else None
                if node.func.attr == "pop" and isinstance(first, ast.Constant) and first.value == 0:
                    found.append(f"{dotted(path)}:{node.lineno}")
    assert found == []
