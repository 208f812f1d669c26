"""The options of the command, and what is made of them: help, manual page, completions."""

import argparse
import shlex
import subprocess

import pytest

from lmbroker.commands import completion, manual
from lmbroker.commands.completion import SHELLS, subcommands
from lmbroker.commands.parser import CONFIG_HELP, parser

WHOLE = parser()
COMMANDS = subcommands(WHOLE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    for action in COMMANDS[name]._actions:
        if action.option_strings:
            assert action.help, action.option_strings


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_is_one_that_the_parser_takes(name):
    shown = COMMANDS[name].format_help()
    assert COMMANDS[name].examples or name == "genkey"
    for wanted, command in COMMANDS[name].examples:
        assert f"  # {wanted}\n  {command}" in shown
        words = shlex.split(command.removeprefix('eval "$(').removesuffix(')"'))
        end = next((at for at, word in enumerate(words) if word in ("|", "&&", "<", ">")), None)
        assert words[0] == "lmbroker"
        assert WHOLE.parse_args(words[1:end]).run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_looks_for_the_configuration_in_the_same_places(name):
    for action in COMMANDS[name]._actions:
        if action.dest == "config" and name != "init":
            assert (action.default, action.help) == (None, CONFIG_HELP)


def shown_options():
    for name, command in COMMANDS.items():
        for action in command._actions:
            if not isinstance(action, argparse._HelpAction):
                yield from ((name, option) for option in action.option_strings)


def test_the_manual_page_names_every_command_and_option(capsys):
    assert manual.run(WHOLE) == 0
    page = capsys.readouterr().out
    for name in COMMANDS:
        assert f".SS lmbroker {name}\n" in page
    for _, option in shown_options():
        assert option.replace("-", "\\-") in page
    assert all(line[0] in ".\\" or line[0].isprintable() for line in page.splitlines() if line)
    for code in ("0", "1", "2", "78"):
        assert f".B {code}\n" in page


@pytest.mark.parametrize("shell", SHELLS)
def test_completions_name_every_command_and_option(shell, capsys):
    assert completion.run(argparse.Namespace(shell=shell), WHOLE) == 0
    text = capsys.readouterr().out
    for name, option in shown_options():
        assert name in text
        assert (f"-l {option[2:]} " if shell == "fish" else option) in text


@pytest.mark.process
@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["lmbroker", "ser"], {"serve"}),
        (["lmbroker", "serve", "--w"], {"--workers"}),
        (["lmbroker", "explain", "--from", ""], {"openai", "anthropic", "responses"}),
        (["lmbroker", "completion", ""], {"bash", "zsh", "fish", "--help"}),
        (["lmbroker", "check", "--config", "here."], {"here.toml"}),
    ],
)
def test_bash_completes(typed, found, tmp_path):
    (tmp_path / "here.toml").touch()
    script = "\n".join(
        (
            *SHELLS["bash"](WHOLE),
            f"COMP_WORDS=({' '.join(map(shlex.quote, typed))})",
            f"COMP_CWORD={len(typed) - 1}",
            "_lmbroker",
            'printf "%s\\n" "${COMPREPLY[@]}"',
        )
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == found, done.stderr
