"""``lmbroker init``: what it writes loads, and it never writes over anything."""

import os
import sys
import tomllib
from itertools import chain, combinations
from pathlib import Path

import pytest

from lmbroker.commands import init
from lmbroker.commands.cli import main
from lmbroker.commands.init import SHIPPED, Wishes, ask, configuration, shipped
from lmbroker.config.config import parse

ROOT = Path(__file__).resolve().parents[1]
KEYS = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-ant-2"}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_files_of_etc_come_along(name, capsys):
    assert shipped(name) == (ROOT / "etc" / name).read_text()
    assert main(["init", "--print", name]) == 0
    assert capsys.readouterr().out == shipped(name)


def each_choice():
    every = {"openai": True, "anthropic": True, "claude_code": True, "ollama": "http://gpu:11434"}
    for chosen in chain.from_iterable(combinations(every, count) for count in range(5)):
        if not {"anthropic", "claude_code"} <= set(chosen):
            yield {name: every[name] for name in chosen}


@pytest.mark.parametrize(
    "chosen", list(each_choice()), ids=lambda chosen: "+".join(chosen) or "none"
)
def test_what_is_written_is_a_configuration_without_a_warning(chosen):
    text = configuration(Wishes(**chosen), "config.toml")
    config = parse(text, name="c", environ=KEYS, read_file=lambda path: "-")
    assert config.warnings == () and not config.holds_a_key
    assert config.server.listen == ("tcp:8080:interface=127.0.0.1",)
    for name, model, host in (
        ("openai", "gpt-5.5", "api.openai.com"),
        ("anthropic", "claude-sonnet-4-6", "api.anthropic.com"),
        ("claude_code", "claude-sonnet-4-6", "api.anthropic.com"),
        ("ollama", "qwen3:8b", "gpu"),
    ):
        if name in chosen:
            assert config.alias(model).targets[0].backend.host == host
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) >= 2 and all(len(line) <= 100 for line in comments if chosen)


def test_it_writes_once_and_never_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["init", "--openai"]) == 0
    told = capsys.readouterr().out
    assert "Set OPENAI_API_KEY first" in told and told.endswith("lmbroker serve\n")
    written = Path("config.toml").read_text()
    assert tomllib.loads(written)["models"][0]["alias"] == "gpt-*"
    assert main(["init", "--ollama"]) == 1
    assert "it exists already" in capsys.readouterr().err
    assert Path("config.toml").read_text() == written


def test_a_link_that_leads_nowhere_is_in_the_way(tmp_path, capsys):
    link = tmp_path / "c.toml"
    link.symlink_to(tmp_path / "elsewhere")
    assert main(["init", "--config", str(link)]) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_is_made_and_one_that_cannot_be_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert main(["init", "--config", str(tmp_path / "a" / "b" / "c.toml")]) == 0
    (tmp_path / "file").touch()
    assert main(["init", "--config", str(tmp_path / "file" / "c.toml")]) == 1
    assert "cannot be written: " in capsys.readouterr().err


def test_printing_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--print", "--ollama"]) == 0
    assert f'url = "{init.OLLAMA}"' in capsys.readouterr().out
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("answers", "environ", "wishes"),
    [
        (["", "", "", ""], {}, Wishes()),
        (["", "", "", ""], KEYS, Wishes(openai=True, anthropic=True)),
        (["n", "yes", "y", ""], KEYS, Wishes(claude_code=True, ollama=init.OLLAMA)),
        (["n", "n", "n", "y", "http://gpu:1"], KEYS, Wishes(ollama="http://gpu:1")),
    ],
)
def test_questions_at_a_terminal(answers, environ, wishes):
    left = iter(answers)
    assert ask(lambda question: next(left), environ) == wishes
    assert next(left, None) is None
