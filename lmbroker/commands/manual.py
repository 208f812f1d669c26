"""``lmbroker manual``: the manual page of the command, as ``man`` reads it, by its parsers."""

import argparse
from collections.abc import Iterator

from lmbroker import __version__
from lmbroker.commands.completion import subcommands

FILES = (
    ("./config.toml, ./etc/config.toml", "The configuration of the current folder."),
    ("$XDG_CONFIG_HOME/lmbroker/config.toml", "That of the user (~/.config where it is not set)."),
    ("/etc/lmbroker/config.toml", "That of the machine."),
)
"""Where configurations are looked for, in this order."""

EXIT_CODES = (
    ("0", "Done."),
    ("1", "A mistake in what was given, or an endpoint that cannot be listened on."),
    ("2", "A mistake in the options."),
    ("78", "serve: a mistake in the configuration."),
)


def run(whole: argparse.ArgumentParser) -> int:
    """Print the page; returns the exit code."""
    print("\n".join(page(whole)))
    return 0


def page(whole: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines of the manual page."""
    yield f'.TH LMBROKER 1 "" "lmbroker {__version__}"'
    yield ".SH NAME"
    yield "lmbroker \\- a broker between programs and their LLM providers"
    yield ".SH SYNOPSIS"
    yield ".B lmbroker"
    yield "COMMAND [OPTION...]"
    yield ".SH DESCRIPTION"
    yield _text(
        "LMBroker stands between clients and LLM backends. It passes calls on where both ends "
        "speak the same format, and translates where they do not."
    )
    yield ".SH COMMANDS"
    for name, parser in subcommands(whole).items():
        yield f".SS lmbroker {name}"
        yield _text(parser.description or "")
        for action in parser._actions:
            if not isinstance(action, argparse._HelpAction):
                yield ".TP"
                yield f".B {_text(_option(action))}"
                yield _text(" ".join((action.help or "One of the above.").split()))
        examples: tuple[tuple[str, str], ...] = parser.examples
        for wanted, command in examples:
            yield ".PP"
            yield f"{_text(wanted[:1].upper() + wanted[1:])}:"
            yield ".PP"
            yield ".nf"
            yield f"    {_text(command)}"
            yield ".fi"
    for heading, rows in (("FILES", FILES), ("EXIT STATUS", EXIT_CODES)):
        yield f".SH {heading}"
        for term, meaning in rows:
            yield ".TP"
            yield f".B {_text(term)}"
            yield _text(meaning)
    yield ".SH SEE ALSO"
    yield ".BR twistd (1)"


def _option(action: argparse.Action) -> str:
    """Return how an option is written."""
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    value = action.metavar or "|".join(map(str, filter(None, action.choices or ())))
    if not names:
        return str(value)
    return f"{names} [{value}]" if action.nargs == "?" else f"{names} {value}"


def _text(text: str) -> str:
    """Return ``text`` so that roff shows it as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
