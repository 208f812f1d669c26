"""The ``lmbroker`` command: looks at a configuration, translates what it is given. Nothing here
listens or connects but ``lmbroker bench``; the daemon is ``twistd lmbroker``."""

import argparse
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from lmbroker import __version__, envelope
from lmbroker.call import Alias, Backend, Call, Target, paths_of
from lmbroker.commands.explain import explain
from lmbroker.config.backends import DIALECTS
from lmbroker.config.config import Config, ConfigError
from lmbroker.config.endpoints import PRACTICE, operation_url
from lmbroker.config.file import load
from lmbroker.config.models import MODES
from lmbroker.errors import BrokerError, ErrorInfo, Refused
from lmbroker.routing.keys import hash_of
from lmbroker.workflows import meet
from lmbroker.workflows.contract import Workflow

CHUNK = 64 * 1024
"""Most bytes of a stream that are read at once."""

KEY_PREFIX = "lmb-"
KEY_BYTES = 32

_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]+)"')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 for success, 1 for a mistake in what was given."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        for problem in error.problems:
            _tell(problem)
    except BrokerError as error:
        _tell_error(error.info, "refused" if isinstance(error, Refused) else "error")
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads it has seen enough (``| head``). Python would flush stdout once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lmbroker",
        description="Check a configuration, measure what the broker adds to a model's latency, or "
        "translate a request or an answer, offline.",
        epilog="The broker itself is a daemon: twistd lmbroker --help",
    )
    parser.add_argument("--version", action="version", version=f"lmbroker {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = commands.add_parser("check", help="tell every mistake of a configuration file")
    check.add_argument("--config", metavar="FILE", default="etc/config.toml")
    check.set_defaults(run=_check)

    explaining = commands.add_parser(
        "explain",
        help="tell where a call would go",
        description="Tell which targets a model name leads to and, for a request on stdin, what "
        "the first of them would get. Calls nobody.",
    )
    explaining.add_argument("--config", metavar="FILE", default="etc/config.toml")
    explaining.add_argument("--alias", metavar="NAME", required=True)
    explaining.add_argument("--from", dest="client", choices=DIALECTS, default="openai")
    explaining.add_argument(
        "--no-request", action="store_true", help="do not read a request from stdin"
    )
    explaining.set_defaults(run=_explain)

    bench = commands.add_parser(
        "bench",
        help="measure what the broker adds to a model's latency",
        description="Ask a model directly and through a broker in this process, in turns, and tell "
        "how much longer the one takes than the other. Tells first how many calls and tokens that "
        "takes.",
    )
    bench.add_argument("--config", metavar="FILE", default="etc/config.toml")
    bench.add_argument("--alias", metavar="NAME", required=True)
    bench.add_argument("--from", dest="client", choices=DIALECTS, help="default: as the backend")
    bench.add_argument("--calls", type=int, default=20, metavar="N", help="each way; default: 20")
    bench.add_argument(
        "--rate", type=float, default=1.0, metavar="R", help="calls a second; default: 1"
    )
    bench.add_argument("--stream", action=argparse.BooleanOptionalAction, default=True)
    bench.set_defaults(run=_bench, usage_error=bench.error)

    genkey = commands.add_parser("genkey", help="make a key for a client, and its hash")
    genkey.set_defaults(run=_genkey)

    translate = commands.add_parser(
        "translate",
        help="translate what stands on stdin",
        description="Translate a request, a whole answer or a streamed one from stdin to stdout; "
        "what could not be carried over is told on stderr.",
    )
    translate.add_argument("--from", dest="source", choices=DIALECTS, required=True)
    translate.add_argument("--to", dest="goal", choices=DIALECTS, required=True)
    what = translate.add_mutually_exclusive_group()
    for name, meaning in (
        ("request", "a client's request for a backend (default)"),
        ("response", "a backend's whole answer for a client"),
        ("stream", "a backend's event stream for a client"),
    ):
        what.add_argument(f"--{name}", dest="what", action="store_const", const=name, help=meaning)
    translate.add_argument("--model", metavar="NAME", help="the model's name in what comes out")
    translate.add_argument("--config", metavar="FILE", help="with --alias: a configuration")
    translate.add_argument("--alias", metavar="NAME", help="the alias whose model to translate for")
    translate.add_argument("--mode", choices=MODES, help="what may be lost")
    translate.set_defaults(run=_translate, what="request", usage_error=translate.error)
    return parser


# lmbroker explain


def _explain(options: argparse.Namespace) -> int:
    body = None if sys.stdin.isatty() or options.no_request else sys.stdin.buffer.read()
    for line in explain(load(options.config), options.alias, options.client, body or None):
        print(line)
    return 0


# lmbroker bench


def _bench(options: argparse.Namespace) -> int:
    config = load(options.config)
    if config.server.engine == "lean":
        from lmbroker.daemon.reactor import install

        install()
    # Here, since the other commands need no Twisted.
    from twisted.internet import reactor

    from lmbroker.commands import bench

    if not 1 <= options.calls <= bench.MOST_CALLS:
        options.usage_error(f"--calls must be from 1 to {bench.MOST_CALLS}")
    if not 0 < options.rate <= bench.MOST_RATE:
        options.usage_error(f"--rate must be above 0, and at most {bench.MOST_RATE:g}")
    plan = bench.Plan(
        alias=options.alias,
        calls=options.calls,
        rate=options.rate,
        stream=options.stream,
        client=options.client,
    )
    return bench.run(reactor, config, plan, lambda line: print(line, flush=True))


# lmbroker genkey


def _genkey(options: argparse.Namespace) -> int:
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    print(f"key:  {key}")
    print(f"hash: {hash_of(key)}")
    return 0


# lmbroker check


def _check(options: argparse.Namespace) -> int:
    config = load(options.config)
    for warning in config.warnings:
        _tell(f"warning: {warning}")
    for line in _aligned(_routes(config)):
        print(line)
    print()
    urls = list(_operations(config))
    for line in (*urls, "") if urls else ():
        print(line)
    for line in _ways_out(config):
        print(line)
    for endpoint in config.server.listen:
        print(f"listens on {endpoint}")
    for endpoint in config.server.metrics_listen:
        print(f"shows metrics on {endpoint}")
    for line in _several(config):
        print(line)
    return 0


def _operations(config: Config) -> Iterator[str]:
    """The full URL of each operation of each backend."""
    backends = {
        target.backend.name: target.backend
        for alias in config.aliases.values()
        for target in alias.targets
        if target.backend.url != PRACTICE
    }
    rows = [
        (
            backend.name,
            operation,
            operation_url(backend.url, path, backend.query, exact=backend.exact_root),
        )
        for backend in backends.values()
        for operation, path in paths_of(backend.dialect)
    ]
    return _aligned([("backend", "operation", "url"), *rows]) if rows else iter(())


def _ways_out(config: Config) -> Iterator[str]:
    """What is on the way to backends, and what is shown there."""
    backends = {
        target.backend.name: target.backend
        for alias in config.aliases.values()
        for target in alias.targets
    }
    for backend in backends.values():
        if backend.proxy is not None:
            password = " (password set)" if backend.proxy.password is not None else ""
            yield f"backend {backend.name} is reached through {backend.proxy.shown}{password}"
        if backend.client_cert:
            yield f"backend {backend.name} is shown a client certificate"


def _several(config: Config) -> Iterator[str]:
    """What several workers mean for the bounds that each of them keeps by itself."""
    count = config.server.workers
    if count == 1:
        return
    yield f"{count} workers: limits and max_in_flight are those of each"
    limited = {
        target.backend.name: target.backend.max_in_flight
        for alias in config.aliases.values()
        for target in alias.targets
        if target.backend.max_in_flight
    }
    for name, most in limited.items():
        yield f"backend {name} gets up to {count * most} calls at once"


def _routes(config: Config) -> Iterator[tuple[str, ...]]:
    """The routing table, its head first; nothing of a secret but where it comes from. Modes
    only where one differs."""
    modes = {alias.mode for alias in config.aliases.values()} != {"default"}
    yield ("alias", "type", "backend", "url", "model", "key", *(["mode"] if modes else []))
    for alias in config.aliases.values():
        mode = "" if alias.mode == "default" else alias.mode
        for target in alias.targets:
            backend = target.backend
            key = f"{backend.credential_ref} (set)" if backend.credential else "-"
            key = "the client's own" if backend.clients_key else key
            row = (alias.name, backend.dialect, backend.name, backend.url, target.model, key)
            yield (*row, mode) if modes else row


def _aligned(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


# lmbroker translate


def _translate(options: argparse.Namespace) -> int:
    if options.source == options.goal:
        _tell(f"{options.goal} to {options.goal} is passed through: only 'model' is rewritten")
        return 0
    client, backend = options.source, options.goal
    if options.what != "request":
        client, backend = backend, client
    alias = _alias(options, backend)
    if options.what == "request":
        return _request(options, sys.stdin.buffer.read(), client, alias)
    stdin: Any = sys.stdin.buffer
    return _answer(options, iter(lambda: stdin.read1(CHUNK), b""), client, alias)


def _alias(options: argparse.Namespace, dialect: Any) -> Alias:
    """The alias that was named; one of which nothing is known where none was."""
    if (options.alias is None) != (options.config is None):
        options.usage_error("--config and --alias need each other")
    if options.alias is None:
        backend = Backend(name=dialect, url="http://localhost/v1", dialect=dialect)
        return Alias(name="", targets=(Target(backend=backend, model=""),))
    alias = load(options.config).alias(options.alias)
    if alias is None:
        raise ConfigError((f"{options.config}: no model has the alias {options.alias!r}",))
    spoken = [target.backend.dialect for target in alias.targets]
    if dialect in spoken:
        chosen = alias.targets[spoken.index(dialect)]
        alias = msgspec.structs.replace(alias, targets=(chosen,), weights=())
    else:
        raise ConfigError(
            (f"{options.config}: the backend of {alias.name!r} speaks {spoken[0]}, not {dialect}",)
        )
    return alias


def _request(options: argparse.Namespace, body: bytes, client: Any, alias: Alias) -> int:
    head = envelope.read(body)
    call = _call(client, head.model, body, stream=head.stream)
    workflow = _workflow(options, call, alias)
    translated = workflow.outbound().body
    for path in workflow.dropped:
        _tell(f"dropped: {path}")
    for path in workflow.changed:
        _tell(f"changed: {path}")
    _write(translated + b"\n")
    return 0


def _answer(options: argparse.Namespace, chunks: Iterator[bytes], client: Any, alias: Alias) -> int:
    """An answer belongs to a request; here to one that asks for nothing but the usage."""
    first = next(chunks, b"")
    found = _MODEL.search(first)
    told = found[1].decode(errors="replace") if found else "model"
    name = options.model or alias.name or told
    stream = options.what == "stream"
    asked = {"model": name, "messages": [{"role": "user", "content": "-"}], "stream": stream}
    if client == "anthropic":
        asked["max_tokens"] = 1
    elif stream:
        asked["stream_options"] = {"include_usage": True}
    call = _call(client, name, msgspec.json.encode(asked), stream=stream)
    workflow = _workflow(options, call, alias)
    error = None
    if stream:
        transform = workflow.transform(now=0)
        for chunk in chain((first,), chunks):
            _write(transform.feed(chunk))
        _write(transform.close())
        usage, error = transform.usage, transform.error
        lost: Any = transform
    else:
        whole = workflow.unary(first + b"".join(chunks), now=0)
        _write(whole.body + b"\n")
        usage = whole.usage
        lost = whole
    for path in lost.dropped:
        _tell(f"dropped: {path}")
    for path in lost.changed:
        _tell(f"changed: {path}")
    if usage is not None and usage.estimated and error is None:
        _tell("estimated: usage")
    if error is not None:
        _tell_error(error, "error")
    return 1 if error is not None else 0


def _call(client: Any, name: str, body: bytes, *, stream: bool) -> Call:
    return Call(
        id="offline", operation="chat", dialect=client, asked=name, body=body, stream=stream
    )


def _workflow(options: argparse.Namespace, call: Call, alias: Alias) -> Workflow:
    """The workflow that the broker would choose for ``call``."""
    target = alias.targets[0]
    model = options.model or target.model or call.asked
    target = msgspec.structs.replace(target, model=model)
    return meet(call, target, mode=options.mode or alias.mode, overrides=alias.overrides(target))


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _tell_error(error: ErrorInfo, word: str) -> None:
    _tell(f"{word}: {' '.join(error.message.split())}")
