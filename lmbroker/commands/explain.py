"""``lmbroker explain``: where a call would go and what the backend would get. Calls nobody."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lmbroker import envelope, headers
from lmbroker.call import Backend, Call, Operation, Target, in_second_dialect, spoken_in
from lmbroker.commands.captured_files import read_file
from lmbroker.commands.limit_rules import limits_of
from lmbroker.config.config import Config
from lmbroker.config.endpoints import operation_url
from lmbroker.config.file import find_config, load
from lmbroker.errors import Refused
from lmbroker.routing import aliases, suitability
from lmbroker.routing.aliases import Route
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.lookup import Source, explained
from lmbroker.workflows import estimate, second_dialect, workflow_for

_SOURCES = {"target": "configured at the target"}

LEARNED = (
    "what backends refuse, a running broker learns for an hour, but for what is configured here: "
    "see `learned` in its access log, and the metric lmbroker_learned_total{backend,parameter}"
)

_WHY = {
    "ordered": "in this order; the next one is for when those before it are not free",
    "weighted": "drawn by weight",
    "least-busy": "the one with the fewest calls under way for its weight first",
    "fastest": "of two drawn by chance, the one where a call would wait less",
}


def run(options: argparse.Namespace) -> int:
    """Print the explanation, with a request from stdin where there is one; returns the exit code.

    Raises ConfigError, Refused or Unreadable.
    """
    body: bytes | None = None
    alias, client = options.alias, options.client
    if options.captured is not None:
        began = read_file(options.captured).began
        body, client, alias = began.data, began.dialect, alias or began.asked
    elif not (options.no_request or sys.stdin.isatty()):
        body = sys.stdin.buffer.read()
    if alias is None:
        options.usage_error("--alias or --captured is needed")
    config = load(find_config(options.config))
    for line in explain(config, alias, client, body or None, options.caller):
        print(line)
    return 0


def explain(
    config: Config, name: str, dialect: Any, body: bytes | None, caller: str = ""
) -> Iterator[str]:
    """Return the lines that say where a call goes, for people.

    ``name`` is what a client asks for; ``body`` its request, None for no request at all;
    ``caller`` the name of its key, "" for any. Raises Refused for what the broker would refuse
    itself.
    """
    route = config.alias(name)
    if route is None:
        raise aliases.unknown_model(name)
    route = aliases.for_client(route, dialect)
    operation: Operation = "chat"
    yield f"{name!r} leads to the alias {route.name!r}"
    yield f"targets, {_WHY[route.strategy]}:"
    for at, target in enumerate(route.targets):
        yield f"  {at + 1}. {_target(route, at, aliases.named(target, name), dialect)}"
    if route.sticky:
        yield f"calls stay together by {', '.join(route.sticky)}"
    elif route.sticky is None and (len(route.targets) > 1 or route.keys):
        yield "the turns of a conversation stay together"
    yield LEARNED
    rules = route.retries
    yield f"at most {rules.attempts} attempts, none begun after {rules.seconds:g} s"
    if route.request_limits is not None:
        limits = msgspec.structs.asdict(route.request_limits).items()
        yield "at most " + ", ".join(f"{name} {cap}" for name, cap in limits if cap is not None)
    yield from limits_of(config, caller, route.name, name)
    for at, target in enumerate(route.targets):
        yield f"profile at {at + 1}.:"
        yield from (f"  {line}" for line in _profile(route, aliases.named(target, name)))
    if body is not None:
        yield from _passed_over(route, name, dialect, body)
        yield ""
        yield from _sent(route, name, dialect, operation, body)


def _passed_over(route: Route, name: str, dialect: Any, body: bytes) -> Iterator[str]:
    """Return which targets are tried last for this request, and why."""
    if len(route.targets) == 1:
        return
    call = Call(id="offline", operation="chat", dialect=dialect, asked=name, body=body)
    needs = suitability.Needs(call, estimate(call))
    for at, target in enumerate(route.targets):
        lack = suitability.lacking(needs, aliases.named(target, name), route.overrides(target))
        if lack:
            yield f"{at + 1}. is tried last for this request: {lack}"


def _target(route: Route, at: int, target: Target, dialect: str) -> str:
    backend = target.backend
    way = "passed through" if backend.dialect == dialect else "translated"
    if backend.also_translated and not in_second_dialect(backend):
        way += f" (as {backend.also} where {backend.dialect} cannot carry the call)"
    weight = f", weight {route.weight(at):g}" if route.weights else ""
    keys = [each.credential_ref for each in route.keyed(backend) if each.credential_ref]
    keys_shown = f", keys {', '.join(keys)}" if keys else ", no key"
    return (
        f"{backend.name} ({backend.dialect}, {backend.url}) model {target.model}: "
        f"{way}{weight}{keys_shown}"
    )


def _profile(route: Route, target: Target) -> Iterator[str]:
    """Return the profile in force, and where each value comes from.

    What calls have taught a running broker is not known here.
    """
    backend = target.backend
    layers: tuple[tuple[Source, Mapping[str, Any]], ...] = (
        ("configured", route.profile),
        ("target", target.profile),
    )
    for field, value, source in explained(backend.dialect, target.model, backend.host, layers):
        yield f"{field} = {_value(value)} ({_SOURCES.get(source, source)})"


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _sent(
    route: Route, name: str, dialect: Any, operation: Operation, body: bytes
) -> Iterator[str]:
    head = envelope.read(body)
    target = aliases.named(route.targets[0], name)
    call = Call(
        id="offline",
        operation=operation,
        dialect=dialect,
        asked=head.model,
        body=body,
        fields=head.fields,
        stream=head.stream,
    )
    aliases.check_memory(route, call)
    if route.request_limits is not None:
        route.request_limits.check(call)
    overrides = route.overrides(target)
    if second_dialect.may_go(call, target):
        why = second_dialect.need(call, target, overrides)
        if why:
            target = spoken_in(target, target.backend.also)
            overrides = route.overrides(target)
            yield f"the first target is called as {target.backend.dialect}: {why}"
    workflow = workflow_for(call, target, mode=route.mode, overrides=overrides)
    try:
        outbound = workflow.outbound()
    except Refused as refusal:
        yield f"the first target would not be called: {refusal.info.message}"
        return
    yield f"the first target would get ({workflow.name}):"
    for path in workflow.dropped:
        yield f"  dropped: {path}"
    for path in workflow.changed:
        yield f"  changed: {path}"
    backend = target.backend
    url = operation_url(backend.url, outbound.path, backend.query, exact=backend.exact_root)
    yield f"POST {url}"
    for header, value in (*outbound.headers, *target.backend.headers, *_credential(target.backend)):
        yield f"{header}: {value}"
    yield ""
    yield outbound.body.decode("utf-8", "replace")


def _credential(backend: Backend) -> Iterator[tuple[str, str]]:
    """Return the headers that carry the credential, which itself does not show."""
    facts = ADAPTERS[backend.dialect].facts
    for name, value in headers.credential_headers(backend, facts.headers):
        before = "Bearer " if value.startswith("Bearer ") else ""
        yield name, f"{before}{backend.credential}"
