"""Helper processes beside a whole daemon: they serve it, and none is left behind."""

import os
import signal
import time
from pathlib import Path

import openai
import pytest
from running import practice_config


def children(pid):
    """The helpers below a process, workers' included."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            if b"lmbroker.offload" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
            found += children(child)
    return found


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def ask(daemon):
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
        said = [{"role": "user", "content": "word " * 200_000}]
        answer = client.chat.completions.create(model="a", max_tokens=9, messages=said)
    assert answer.choices[0].message.content.startswith("word ")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_helper_is_left_behind(start_daemon, workers, end):
    daemon = start_daemon(practice_config(), arguments=("--workers", workers)).wait()
    ask(daemon)
    helpers = children(daemon.process.pid)
    assert len(helpers) == 1
    if end == "stop":
        assert daemon.stop() in (0, -signal.SIGTERM)
    else:
        daemon.process.kill()
        daemon.process.wait()
    deadline = time.monotonic() + 5
    while not all(map(gone, helpers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "Traceback" not in daemon.out.read_text()


def test_a_helper_that_was_killed_is_followed_by_another(start_daemon):
    daemon = start_daemon(practice_config()).wait()
    ask(daemon)
    (first,) = children(daemon.process.pid)
    os.kill(first, signal.SIGKILL)
    ask(daemon)
    (second,) = children(daemon.process.pid)
    assert second != first
    assert daemon.stop() in (0, -signal.SIGTERM)
