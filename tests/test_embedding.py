"""The programs of docs/embedding.md and docs/practice.md, run as they stand there."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest

from lmbroker import testing

ROOT = Path(__file__).resolve().parents[1]


def programs(page):
    """The Python programs of a page, in their order."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


CONFIG = '[[models]]\nalias = "echo"\ntype = "anthropic"\n' + (
    'target = { url = "practice:", model = "echo" }\n'
)


@pytest.mark.process
@pytest.mark.sockets
def test_the_program_serves_below_a_path_of_another_site(tmp_path, port):
    program = programs("embedding.md")[0]
    assert len([line for line in program.splitlines() if line]) <= 15
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    program = program.replace("etc/config.toml", str(config)).replace("8090", str(port))
    running = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                assert running.poll() is None and time.monotonic() < deadline
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/llm/v1", api_key="none") as client:
            answer = client.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "Hello"}]
            )
        assert answer.choices[0].message.content == "Hello"
        running.terminate()
        assert running.wait(30) == 0, "it closes and ends"
        assert running.stderr.read() == b""
    finally:
        running.kill()
        running.wait()
        running.stderr.close()


def runs(folder, *command):
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.process
def test_the_tests_of_the_page_pass_with_trial_and_leave_nothing(tmp_path):
    (tmp_path / "test_with_trial.py").write_text(programs("embedding.md")[2])
    assert "PASSED (successes=1)" in runs(tmp_path, "-m", "twisted.trial", "test_with_trial")


@pytest.mark.process
def test_the_tests_of_the_page_pass_with_pytest(tmp_path):
    (tmp_path / "test_with_pytest.py").write_text(programs("embedding.md")[3])
    assert "1 passed" in runs(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.mark.process
def test_the_tests_of_the_page_on_practice_pass(tmp_path):
    conftest, with_fixture, in_memory = programs("practice.md")
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_fixture.py").write_text(with_fixture)
    (tmp_path / "test_memory.py").write_text(in_memory)
    assert "2 passed" in runs(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_the_page_on_practice_names_every_fault():
    told = re.findall(r"^``(\S+?)``(?:, ``(\S+?)``)? ", testing.__doc__.split("model  ")[1], re.M)
    names = {name for pair in told for name in pair if name}
    names = {name for name in names if not name.startswith("/")}
    assert {"fail-STATUS", "slow-MS", "long-N"} <= names
    page = (ROOT / "docs" / "practice.md").read_text().split("## Faults")[1]
    rows = {
        word
        for row in re.findall(r"^\| (.+?) \|", page, re.M)
        for word in re.findall("`(.+?)`", row)
    }
    assert names <= rows
