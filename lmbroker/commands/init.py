"""``lmbroker init``: writes a configuration to begin with, or prints a file that comes along."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

import msgspec
import toml

from lmbroker.commands.importing.providers import CHAT, MESSAGES, PROVIDERS
from lmbroker.commands.output import report
from lmbroker.config.endpoints import parse_url

FILE = "config.toml"
"""Where the configuration is written if nobody says otherwise."""

OLLAMA = "http://localhost:11434"
"""Where Ollama listens by itself."""

SHIPPED = ("config.toml", "lmbroker.service", "lmbroker.socket")
"""Files that come with LMBroker."""

CONFIGURATION = "configuration"
"""What ``--print`` prints that no file holds: what would be written."""

HEAD = """# LMBroker's configuration. Check it with: lmbroker check --config {file}
# All keys: docs/configuration.md
"""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """Which providers a configuration is to have; ``ollama`` is a URL, "" for none."""

    openai: bool = False
    anthropic: bool = False
    claude_code: bool = False
    ollama: str = ""


def run(options: argparse.Namespace) -> int:
    """Write or print what was asked for; returns the exit code, 1 where a file was in the way."""
    if options.printed in SHIPPED:
        print(shipped(options.printed), end="")
        return 0
    wishes = Wishes(
        openai=options.openai,
        anthropic=options.anthropic,
        claude_code=options.claude_code,
        ollama=options.ollama or "",
    )
    writes = options.printed is None
    if writes and os.path.lexists(options.config):
        return _in_the_way(options.config)
    if writes and wishes == Wishes() and sys.stdin.isatty():
        wishes = ask(input, os.environ)
    if wishes.anthropic and wishes.claude_code:
        options.usage_error(
            "--anthropic and --claude-code both serve claude-*: with the broker's key, or with "
            "that of each client; choose one"
        )
    problem = parse_url(wishes.ollama)[1] if wishes.ollama else ""
    if problem:
        options.usage_error(f"--ollama: {problem}")
    text = configuration(wishes, options.config)
    if not writes:
        print(text, end="")
        return 0
    try:
        os.makedirs(os.path.dirname(os.path.abspath(options.config)), exist_ok=True)
        # "x": nothing that was made in the meantime is written over.
        with open(options.config, "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        report(f"{options.config}: cannot be written: {error.strerror}")
        return 1
    for line in _next_steps(wishes, options.config, os.environ):
        print(line)
    return 0


def shipped(name: str) -> str:
    """Return the text of a file that comes with LMBroker; ``name`` is one of ``SHIPPED``."""
    return files("lmbroker").joinpath("etc", name).read_text(encoding="utf-8")


def ask(answer: Callable[[str], str], environ: Mapping[str, str]) -> Wishes:
    """Return what somebody at a terminal wishes.

    ``answer`` shows a question and returns the answer.
    """

    def yes(question: str, default: bool) -> bool:
        said = answer(f"{question} [{'Y/n' if default else 'y/N'}] ").strip().lower()
        return said.startswith("y") if said else default

    openai = yes("OpenAI's models, with the key in OPENAI_API_KEY?", "OPENAI_API_KEY" in environ)
    claude_code = yes("Claude Code, with the key or login that it sends itself?", False)
    anthropic = not claude_code and yes(
        "Anthropic's models, with the key in ANTHROPIC_API_KEY?", "ANTHROPIC_API_KEY" in environ
    )
    ollama = ""
    if yes("Models of an Ollama server?", False):
        ollama = answer(f"Its URL: [{OLLAMA}] ").strip() or OLLAMA
    return Wishes(openai=openai, anthropic=anthropic, claude_code=claude_code, ollama=ollama)


def configuration(wishes: Wishes, file: str) -> str:
    """Return the text of a configuration with what is wished for.

    It is the one that comes along, with the practice backend, where nothing is.
    """
    if wishes == Wishes():
        return shipped("config.toml")
    sections = [HEAD.format(file=file) + "\n" + toml.dumps({"log_level": "info"})]
    sections += (_comment(words) + _dumped(tables) for words, tables in _sections(wishes))
    return "\n".join(sections)


def _dumped(tables: dict[str, Any]) -> str:
    """Return the tables as TOML, with a blank line before each ``[[models]]`` but the first."""
    return toml.dumps(tables).replace("\n[[", "\n\n[[")


def _sections(wishes: Wishes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each part of the configuration: the comment above it, and its tables."""
    yield (
        'This machine only. Other machines reach host = "0.0.0.0", which asks for [[keys]]: '
        "lmbroker genkey makes one.",
        {"server": {"host": "127.0.0.1", "port": 8080}},
    )
    if wishes.openai:
        openai = PROVIDERS[CHAT]
        target = {"url": openai.url, "model": "*", "api_key": f"env:{openai.key}", **openai.more}
        yield (
            "OpenAI's models by their own names: a * at the end of an alias stands for the rest "
            "of any name, and in model for the name that the client asked for. The key comes from "
            "the environment.",
            {
                "models": [
                    {"alias": alias, "type": CHAT, "target": target}
                    for alias in ("gpt-*", "text-embedding-*")
                ]
            },
        )
    if wishes.anthropic:
        yield (
            "Anthropic's models by their own names, with the key from the environment.",
            {"models": [_claude("env:ANTHROPIC_API_KEY")]},
        )
    if wishes.claude_code:
        yield (
            "Anthropic's models for Claude Code: each call goes on with the key or login that "
            "its client has sent.",
            {"models": [_claude("client")]},
        )
    if wishes.ollama:
        yield (
            "All other names are models of Ollama, whichever are pulled there. Anthropic's format "
            "is translated: Claude Code works with these models, too.",
            {
                "models": [
                    {
                        "alias": "*",
                        "type": CHAT,
                        "target": {"url": wishes.ollama, "model": "*"},
                    }
                ]
            },
        )


def _claude(key: str) -> dict[str, Any]:
    return {
        "alias": "claude-*",
        "type": MESSAGES,
        "target": {"url": PROVIDERS[MESSAGES].url, "model": "*", "api_key": key},
    }


def _comment(words: str) -> str:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) > 96:
            lines.append("")
        lines[-1] += f" {word}"
    return "".join(f"#{line}\n" for line in lines)


def _next_steps(wishes: Wishes, file: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what to do with a configuration that was written to ``file``."""
    yield f"{file} is written."
    for wished, name in (
        (wishes.openai, "OPENAI_API_KEY"),
        (wishes.anthropic, "ANTHROPIC_API_KEY"),
    ):
        if wished and not environ.get(name):
            yield f"Set {name} first: export {name}=..."
    yield "Start the broker: lmbroker serve" + ("" if file == FILE else f" --config {file}")


def _in_the_way(path: str) -> int:
    report(f"{path}: it exists already, so nothing was written")
    return 1
