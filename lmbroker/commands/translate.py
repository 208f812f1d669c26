"""``lmbroker translate``: translates a request or an answer, offline."""

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from lmbroker import envelope, json_text
from lmbroker.call import Backend, Call, Target, spoken_in
from lmbroker.capture.events import Chunk
from lmbroker.capture.replaying import target_of
from lmbroker.commands.captured_files import attempt_of, read_file
from lmbroker.commands.output import report, report_error, write
from lmbroker.config.config import ConfigError
from lmbroker.config.file import find_config, load
from lmbroker.routing.aliases import Route
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses
from lmbroker.translation.unified.parts import TextPart
from lmbroker.translation.unified.request import Request, Turn
from lmbroker.workflows import workflow_for
from lmbroker.workflows.contract import Workflow

CHUNK = 64 * 1024
"""The maximum of bytes of a stream that are read at once."""

_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]+)"')
"""The model's name in the first piece of an answer."""


def run(options: argparse.Namespace) -> int:
    """Translate what stands on stdin; returns the exit code.

    Raises ConfigError, Unreadable, or a BrokerError for what cannot be translated.
    """
    stdin: Any = sys.stdin.buffer
    chunks: Iterator[bytes] = iter(lambda: stdin.read1(CHUNK), b"")
    if options.captured is not None:
        chunks = _take_captured(options)
    elif options.source is None or options.goal is None:
        options.usage_error("--from and --to are needed, or --captured")
    if options.source == options.goal:
        report(f"{options.goal} to {options.goal} is passed through: only 'model' is rewritten")
        return 0
    client, backend = options.source, options.goal
    if options.what != "request":
        client, backend = backend, client
    alias = _alias(options, backend)
    if options.what == "request":
        return _request(options, b"".join(chunks), client, alias)
    return _answer(options, chunks, client, alias)


def _take_captured(options: argparse.Namespace) -> Iterator[bytes]:
    """Return what a captured call holds, with the options that follow from it.

    Raises Unreadable.
    """
    name = options.captured
    call = read_file(name)
    attempt = attempt_of(call, options.attempt, name)
    options.model = options.model or attempt.tried.model
    options.mode = options.mode or attempt.tried.mode
    options.route = Route(
        name="", targets=(target_of(attempt),), profile=dict(attempt.tried.overrides)
    )
    client, backend = call.began.dialect, attempt.tried.dialect
    if options.what == "request":
        options.source, options.goal = client, options.goal or backend
        return iter((call.began.data,))
    # What comes out is for the client, which asked for the model by another name.
    options.source, options.goal, options.model = backend, options.goal or client, call.began.asked
    return iter([step.data for step in attempt.steps if isinstance(step, Chunk)])


def _alias(options: argparse.Namespace, dialect: Any) -> Route:
    """Return the alias that was named; one of which nothing is known where none was."""
    if options.config is not None and options.alias is None:
        options.usage_error("--config needs --alias")
    if options.alias is None and options.route is not None:
        route: Route = options.route
        if route.targets[0].backend.dialect == dialect:
            return route
    if options.alias is None:
        backend = Backend(name=dialect, url="http://localhost/v1", dialect=dialect)
        return Route(name="", targets=(Target(backend=backend, model=""),))
    path = find_config(options.config)
    alias = load(path).alias(options.alias)
    if alias is None:
        raise ConfigError((f"{path}: no model has the alias {options.alias!r}",))
    for target in alias.targets:
        if dialect in (target.backend.dialect, target.backend.also):
            chosen = spoken_in(target, dialect)
            return msgspec.structs.replace(alias, targets=(chosen,), weights=())
    spoken = alias.targets[0].backend.dialect
    raise ConfigError((f"{path}: the backend of {alias.name!r} speaks {spoken}, not {dialect}",))


def _request(options: argparse.Namespace, body: bytes, client: Any, alias: Route) -> int:
    head = envelope.read(body)
    call = _call(client, head.model, body, stream=head.stream)
    workflow = _workflow(options, call, alias)
    translated = workflow.outbound().body
    for path in workflow.dropped:
        report(f"dropped: {path}")
    for path in workflow.changed:
        report(f"changed: {path}")
    write(translated + b"\n")
    return 0


def _answer(options: argparse.Namespace, chunks: Iterator[bytes], client: Any, alias: Route) -> int:
    """Translate an answer, and return the exit code.

    An answer belongs to a request: here to one that asks for nothing but the usage.
    """
    first = next(chunks, b"")
    found = _MODEL.search(first)
    asked = found[1].decode(errors="replace") if found else "model"
    name = options.model or alias.name or asked
    stream = options.what == "stream"
    asked = Request(
        dialect=client,
        model=name,
        turns=(Turn(role="user", parts=(TextPart(text="-"),)),),
        max_tokens=1,
        stream=stream,
        stream_usage=stream,
    )
    adapter = ADAPTERS[client]
    body = adapter.encode_request(asked, adapter.facts.profiles.unknown, Losses())
    call = _call(client, name, json_text.encode(body), stream=stream)
    workflow = _workflow(options, call, alias)
    error = None
    if stream:
        transform = workflow.transform(now=0)
        for chunk in chain((first,), chunks):
            write(transform.feed(chunk))
        write(transform.close())
        usage, error = transform.usage, transform.error
        lost: Any = transform
    else:
        whole = workflow.unary(first + b"".join(chunks), now=0)
        write(whole.body + b"\n")
        usage = whole.usage
        lost = whole
    for path in lost.dropped:
        report(f"dropped: {path}")
    for path in lost.changed:
        report(f"changed: {path}")
    if usage is not None and usage.estimated and error is None:
        report("estimated: usage")
    if error is not None:
        report_error(error, "error")
    return 1 if error is not None else 0


def _call(client: Any, name: str, body: bytes, *, stream: bool) -> Call:
    return Call(
        id="offline", operation="chat", dialect=client, asked=name, body=body, stream=stream
    )


def _workflow(options: argparse.Namespace, call: Call, alias: Route) -> Workflow:
    """Return the workflow that the broker would choose for ``call``."""
    target = alias.targets[0]
    model = options.model or target.model or call.asked
    target = msgspec.structs.replace(target, model=model)
    return workflow_for(
        call, target, mode=options.mode or alias.mode, overrides=alias.overrides(target)
    )
