"""``lmbroker completion``: what lets bash, zsh and fish complete the command, by its parsers."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_FILES = ("FILE",)
"""The names of values that are files."""


def run(options: argparse.Namespace, whole: argparse.ArgumentParser) -> int:
    """Print the completions for a shell; returns the exit code."""
    print("\n".join(SHELLS[options.shell](whole)))
    return 0


def subcommands(whole: argparse.ArgumentParser) -> Mapping[str, Any]:
    """Return the parsers of the subcommands by their names, in the order of the help."""
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def summaries(whole: argparse.ArgumentParser) -> Mapping[str, str]:
    """Return the line of the help for each subcommand."""
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            return {each.dest: each.help or "" for each in action._choices_actions}
    return {}


def _bash(whole: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the completions of bash; zsh reads the same."""
    yield "_lmbroker() {"
    yield "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield "  local command=${COMP_WORDS[1]}"
    yield "  if [ $COMP_CWORD -eq 1 ]; then"
    words = " ".join((*subcommands(whole), *_options(whole)))
    yield f'    COMPREPLY=($(compgen -W "{words}" -- "$word")); return'
    yield "  fi"
    yield '  case "$command $before" in'
    for name, parser in subcommands(whole).items():
        for action in parser._actions:
            choices, takes_file = _values(action)
            if not (action.option_strings and (choices or takes_file)):
                continue
            pattern = "|".join(f'"{name} {option}"' for option in action.option_strings)
            found = f'-W "{" ".join(choices)}"' if choices else "-f"
            yield f'    {pattern}) COMPREPLY=($(compgen {found} -- "$word")); return;;'
    yield "  esac"
    yield '  case "$command" in'
    for name, parser in subcommands(whole).items():
        words = " ".join((*_positional(parser), *_options(parser)))
        yield f'    {name}) COMPREPLY=($(compgen -W "{words}" -- "$word"));;'
    yield "  esac"
    yield "}"
    yield "complete -F _lmbroker lmbroker"


def _zsh(whole: argparse.ArgumentParser) -> Iterator[str]:
    yield "autoload -U +X bashcompinit && bashcompinit"
    yield from _bash(whole)


def _fish(whole: argparse.ArgumentParser) -> Iterator[str]:
    first = "complete -c lmbroker -n __fish_use_subcommand"
    for name, summary in summaries(whole).items():
        yield f"{first} -f -a {name} -d {_quoted(summary)}"
    for name, parser in subcommands(whole).items():
        after = f"complete -c lmbroker -n '__fish_seen_subcommand_from {name}'"
        for action in parser._actions:
            choices, takes_file = _values(action)
            if not action.option_strings:
                yield f"{after} -f -a {_quoted(' '.join(choices))}"
                continue
            longs = [each.removeprefix("--") for each in action.option_strings if each[:2] == "--"]
            for long in longs:
                value = f" -x -a {_quoted(' '.join(choices))}" if choices else ""
                value = " -r -F" if takes_file and not choices else value or _bare(action)
                yield f"{after} -l {long}{value} -d {_quoted(action.help or '')}"


def _bare(action: argparse.Action) -> str:
    """Return the words by which fish knows whether an option without choices takes a value."""
    return " -f" if action.nargs == 0 else " -x"


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))


def _positional(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if not action.option_strings:
            yield from _values(action)[0]


def _values(action: argparse.Action) -> tuple[tuple[str, ...], bool]:
    """Return the words that may stand as the value of an option, and whether a file may."""
    words = tuple(str(each) for each in action.choices or () if each)
    return words, action.metavar in _FILES


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: Mapping[str, Callable[[argparse.ArgumentParser], Iterator[str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
"""The shells, each with what writes its completions."""
