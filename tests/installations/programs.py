"""Runs of the programs of an installation, which need no network."""

import json
import re
from collections.abc import Iterator
from typing import Any

from installations.samples import (
    DIALECTS,
    JSON,
    REMOVED,
    TESTS,
    UNKNOWN,
    WRONG,
    Command,
    answers,
    requests,
    streams,
)
from installations.settings import settings
from installations.tables import MODELS, main_tables, toml

HOSTS = {
    "openai": ("api.openai.com", "openrouter.ai/api", "api.groq.com/openai", "api.deepseek.com"),
    "anthropic": ("api.anthropic.com", "api.z.ai/api/anthropic"),
}
WRONG_TEXTS = {
    text[:20]: text
    for text in (
        "env:",
        "env:NOT_SET",
        "file:relative",
        "file:/no/such/file",
        "http://user:password@host/v1?a=b#c",
        "http://host/v1/chat/completions",
        "ftp://host",
        "https://host:99999",
        "a*b",
        "tcp:8080:interface",
        "systemd:domain=X:index=0",
        "sha256:0",
        "x" * 300,
        "a\tb",
        "ü ",
    )
}
"""What is wrong for most keys of a configuration, each in a way of its own."""


def commands() -> Iterator[Command]:
    """Runs of ``lmbroker`` and ``twistd lmbroker`` that need no network."""
    for name in ("", "check", "explain", "translate", "bench", "genkey"):
        yield Command(f"help: {name}", "lmbroker", (*([name] if name else []), "--help"))
    yield Command("no command", "lmbroker", ())
    yield Command("help of twistd", "twistd", ("lmbroker", "--help"))
    yield Command(
        "no configuration", "twistd", ("-n", "--pidfile=", "lmbroker", "--config", "no.toml")
    )
    yield from _checks()
    yield from _explanations()
    yield from _translations()


def _checks() -> Iterator[Command]:
    tables = {
        setting.name: setting.config.replace("PORT", "8080").replace("BACKEND", "9")
        for setting in settings()
    }
    tables |= {
        f"each key {name}": toml(_wrong_tables(wrong))
        for name, wrong in (WRONG | WRONG_TEXTS).items()
        if wrong not in (None, REMOVED, UNKNOWN)  # TOML knows no null
    }
    tables |= {"empty": "", "no TOML": "[server\nport = 1", "unknown": "[sever]\n[[model]]\nx = 1"}
    for name, text in tables.items():
        files = {"checked.toml": text.encode()}
        yield Command(
            f"check: {name}", "lmbroker", ("check", "--config", "checked.toml"), b"", files
        )


def _wrong_tables(wrong: Any) -> JSON:
    """A configuration in which each key that docs/configuration.md lists has the value ``wrong``;
    of arrays of tables there is a table for each key."""
    page = (TESTS.parent / "docs" / "configuration.md").read_text()
    tables: JSON = {"backends": [{"name": "base", "type": "openai", "url": "http://127.0.0.1:9"}]}
    for name in re.findall(r"^\| `([a-z_.\[\]]+)` \|", page, re.MULTILINE):
        section, *way = name.split(".")
        if not way:
            tables[section] = wrong
        elif section.endswith("[]"):
            number = len(tables.setdefault(section[:-2], []))
            tables[section[:-2]].append(_entry(section[:-2], number, way, wrong))
        else:
            tables.setdefault(section, {})[way[-1]] = wrong
    return tables


def _entry(section: str, number: int, way: list[str], wrong: Any) -> JSON:
    """A table of an array of tables that is right but for the value at ``way``."""
    entry: JSON = {
        "keys": {"name": f"key-{number}", "hash": "sha256:" + "0" * 64},
        "backends": {"name": f"b-{number}", "type": "openai", "url": "http://127.0.0.1:9"},
        "models": {"alias": f"m-{number}", "targets": [{"backend": "base"}]},
    }[section]
    if way == ["type"] or way[0] == "target":
        entry |= {"type": "openai", "target": {"url": "http://127.0.0.1:9"}}
        entry.pop("targets", None)
    holder: Any = entry
    for key in way[:-1]:
        holder = holder["targets"][0] if key == "targets[]" else holder.setdefault(key, {})
    holder[way[-1]] = wrong
    return entry


def _explanations() -> Iterator[Command]:
    """Where calls go, and what hosts get that a test cannot call."""
    models = [
        {
            "alias": f"{dialect}-{number}-*",
            "type": dialect,
            "target": {"url": f"https://{host}", "model": "*", "api_key": "env:OPENAI_KEY"},
        }
        for dialect, hosts in HOSTS.items()
        for number, host in enumerate(hosts)
    ]
    tables = main_tables()
    tables["models"] += models
    text = toml(tables).replace("PORT", "8080").replace("BACKEND", "9")
    files = {"explained.toml": text.encode()}
    for dialect, hosts in HOSTS.items():
        for number in range(len(hosts)):
            for name, client, body in requests()[:2]:
                alias = f"{dialect}-{number}-{MODELS[dialect][number]}"
                arguments = (
                    "explain",
                    "--config",
                    "explained.toml",
                    "--alias",
                    alias,
                    "--from",
                    client,
                )
                stdin = json.dumps(body).encode()
                yield Command(f"explain: {name} for {alias}", "lmbroker", arguments, stdin, files)
    for alias in ("two", "nothing", "failing-openai-x", "openai+omit", "own"):
        arguments = ("explain", "--config", "explained.toml", "--alias", alias, "--no-request")
        yield Command(f"explain: {alias}", "lmbroker", arguments, b"", files)


def _translations() -> Iterator[Command]:
    for name, dialect, body in requests():
        for to in DIALECTS:
            arguments = ("translate", "--from", dialect, "--to", to)
            yield Command(
                f"translate: {name} to {to}", "lmbroker", arguments, json.dumps(body).encode()
            )
    name, dialect, body = requests()[0]
    for mode in ("default", "strict", "lenient"):
        arguments = (
            "translate",
            "--from",
            dialect,
            "--to",
            "openai",
            "--mode",
            mode,
            "--model",
            "o3",
        )
        yield Command(
            f"translate: {name}, {mode}", "lmbroker", arguments, json.dumps(body).encode()
        )
    for name, dialect, body in answers():
        other = DIALECTS[dialect == "openai"]
        arguments = ("translate", "--from", dialect, "--to", other, "--response")
        yield Command(f"translate: {name}", "lmbroker", arguments, json.dumps(body).encode())
    for name, dialect, stream in streams():
        if ".out." not in name:
            other = DIALECTS[dialect == "openai"]
            arguments = ("translate", "--from", dialect, "--to", other, "--stream")
            yield Command(f"translate: {name}", "lmbroker", arguments, stream)
