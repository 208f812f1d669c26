"""``lmbroker check``: reads a configuration and shows what it amounts to."""

import argparse
from collections.abc import Iterable, Iterator

from lmbroker.call import Backend
from lmbroker.commands.limit_rules import rule_lines, unpriced
from lmbroker.commands.output import report
from lmbroker.config.config import Config, ConfigError
from lmbroker.config.endpoints import ENDPOINTS, PRACTICE, operation_url, parse_endpoint
from lmbroker.config.file import find_config, load
from lmbroker.translation.dialects.catalog import ADAPTERS


def run(options: argparse.Namespace) -> int:
    """Print the warnings and what the configuration amounts to; returns the exit code.

    Raises ConfigError.
    """
    path = find_config(options.config)
    config = load(path)
    _check_plugins(path, config)
    for warning in config.warnings:
        report(f"warning: {warning}")
    for line in _aligned(_routes(config)):
        print(line)
    print()
    urls = list(_operations(config))
    for line in (*urls, "") if urls else ():
        print(line)
    for line in _connections_to_backends(config):
        print(line)
    for endpoint in config.server.listen:
        print(f"listens on {endpoint}")
    for endpoint in config.server.metrics_listen:
        print(f"shows metrics on {endpoint}")
    if config.server.control:
        print(f"is controlled by {config.server.control}")
    for line in _several_workers(config):
        print(line)
    for line in rule_lines(config):
        print(line)
    names = unpriced(config)
    if names:
        report(f"warning: a limit counts money, and no price is known for {names}")
    return 0


def _check_plugins(name: str, config: Config) -> None:
    """Have Twisted read the endpoints whose kinds are not its usual ones. Raises ConfigError."""
    if config.tracing is not None:
        from lmbroker.observers.spans import span_problems

        missing = span_problems(config)
        if missing:
            raise ConfigError(tuple(f"{name}: {problem}" for problem in missing))
    endpoints = (*config.server.listen, *config.server.metrics_listen)
    if all(parse_endpoint(each)[0].get("kind") in ENDPOINTS for each in endpoints):
        return
    # Only here, since the import takes a while.
    from lmbroker.daemon.listening import endpoint_problems

    problems = endpoint_problems(config)
    if problems:
        raise ConfigError(tuple(f"{name}: {problem}" for problem in problems))


def _operations(config: Config) -> Iterator[str]:
    """Return the full URL of each operation of each backend."""
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
        for operation, path in _paths(backend)
    ]
    return _aligned([("backend", "operation", "url"), *rows]) if rows else iter(())


def _paths(backend: Backend) -> Iterator[tuple[str, str]]:
    """Return the operations of a backend, those of its second dialect with the name of that."""
    yield from ADAPTERS[backend.dialect].facts.paths.items()
    if backend.also:
        for operation, path in ADAPTERS[backend.also].facts.paths.items():
            if operation != "models":
                yield f"{operation} ({backend.also})", path


def _connections_to_backends(config: Config) -> Iterator[str]:
    """Yield lines on the proxies on the way to backends, and the certificates shown there."""
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


def _several_workers(config: Config) -> Iterator[str]:
    """Return what several workers mean for the bounds that each of them keeps by itself."""
    count = config.server.workers
    if count == 1:
        return
    yield f"{count} workers: [limits] and max_in_flight are those of each, limits.rules of all"
    limited = {
        target.backend.name: target.backend.max_in_flight
        for alias in config.aliases.values()
        for target in alias.targets
        if target.backend.max_in_flight
    }
    for name, most in limited.items():
        yield f"backend {name} gets up to {count * most} calls at once"


def _routes(config: Config) -> Iterator[tuple[str, ...]]:
    """Return the routing table, its head first; nothing of a secret but where it comes from.

    Modes only where one differs.
    """
    modes = {alias.mode for alias in config.aliases.values()} != {"default"}
    yield ("alias", "type", "backend", "url", "model", "key", *(["mode"] if modes else []))
    for alias in config.aliases.values():
        mode = "" if alias.mode == "default" else alias.mode
        for target in alias.targets:
            backend = target.backend
            key = f"{backend.credential_ref} (set)" if backend.credential else "-"
            key = "the client's own" if backend.clients_key else key
            row = (alias.name, _type(backend), backend.name, backend.url, target.model, key)
            yield (*row, mode) if modes else row


def _type(backend: Backend) -> str:
    """Return the type of a backend, with the second one where it has that."""
    if not backend.also:
        return backend.dialect
    return f"{backend.dialect} + {backend.also} ({'auto' if backend.also_translated else 'native'})"


def _aligned(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
