"""The example of docs/embedding.md, run as it stands there."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from lmbroker.testing import PracticeBackend

pytestmark = [pytest.mark.process, pytest.mark.sockets]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "embedding.md"


@pytest.fixture
def practice():
    backend = PracticeBackend(reactor)
    backend.start()
    yield backend
    pytest_twisted.blockon(backend.stop())


def ask(port):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/llm/v1", api_key="none") as client:
        answer = client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "Hello"}]
        )
    return answer.choices[0].message.content


@pytest_twisted.ensureDeferred
async def test_the_example_serves_below_a_path_of_another_site(practice, tmp_path, port):
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in program.splitlines() if line]) <= 15
    config = tmp_path / "config.toml"
    config.write_text(
        '[[models]]\nalias = "echo"\ntype = "anthropic"\n'
        f'target = {{ url = "{practice.url}", model = "echo" }}\n'
    )
    program = program.replace("etc/config.toml", str(config)).replace("8090", str(port))
    running = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                assert running.poll() is None and time.monotonic() < deadline
        assert await deferToThread(ask, port) == "Hello"
    finally:
        running.kill()
        running.wait()
