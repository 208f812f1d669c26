"""The examples of HAProxy and Caddy, run where these are installed.

nginx has its tests beside those of the pages: ``test_operations`` and ``test_scaling``.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from ports import free_port
from running import PRACTICE_CONFIG

from lmbroker.limits import Limits

DOCS = Path(__file__).resolve().parents[1] / "docs"
SECONDS = 30
CONFIG = PRACTICE_CONFIG.replace(
    'alias = "o"\ntype = "openai"\ntarget = { url = "practice:", model = "echo" }',
    'alias = "o"\ntype = "openai"\ntarget = { url = "practice:", model = "slow-50" }',
)

pytestmark = [pytest.mark.process, pytest.mark.sockets]


def block(page, word):
    """The code block of a page that has a word."""
    found = re.findall(r"(?ms)^```\w*\n(.*?)^```", (DOCS / page).read_text())
    [text] = [text for text in found if word in text]
    return text


def haproxy(folder, port, broker):
    """Its command, over the example."""
    text = block("scaling.md", "defaults\n").replace("bind :8443", f"bind 127.0.0.1:{port}")
    for address in ("10.0.0.11:8080", "10.0.0.12:8080"):
        assert text.count(address) == 1
        text = text.replace(address, f"127.0.0.1:{broker}")
    path = folder / "haproxy.cfg"
    path.write_text(text)
    return ["haproxy", "-q", "-db", "-f", str(path)]


def caddy(folder, port, broker):
    """Its command, over the example without TLS."""
    text = block("operations.md", "reverse_proxy")
    for old, new in (
        ("llm.example.com {", f"http://127.0.0.1:{port} {{"),
        ("127.0.0.1:8080", f"127.0.0.1:{broker}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "Caddyfile"
    path.write_text("{\n\tadmin off\n}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)]


def ask(port, body, method="POST", path="/v1/chat/completions"):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    line.request(method, path, body)
    return line, line.getresponse()


def sent(port, size):
    """The status of a call with a body of ``size`` bytes, for a model that nobody has."""
    head = b'{"model": "nobody", "messages": [], "x": "'
    body = head + b"x" * (size - len(head) - 2) + b'"}'
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    line.putrequest("POST", "/v1/chat/completions")
    line.putheader("Content-Length", str(size))
    line.endheaders()
    with contextlib.suppress(OSError):
        # Whoever refuses it need not read it all.
        line.send(body)
    status = line.getresponse().status
    line.close()
    return status


def status(port, path):
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            line, response = ask(port, None, "GET", path)
            if response.status != 503 or time.monotonic() > deadline:
                line.close()
                return response.status
        except OSError:
            assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("proxy", [haproxy, caddy])
def test_the_example_passes_streams_on_and_takes_what_the_broker_takes(
    tmp_path, start_daemon, proxy
):
    if shutil.which(proxy.__name__) is None:
        return
    daemon, port = start_daemon(CONFIG).wait(), free_port()
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    with (tmp_path / "proxy").open("wb") as out:
        running = subprocess.Popen(
            proxy(tmp_path, port, daemon.port), stdout=out, stderr=out, env=environ
        )
    try:
        assert status(port, "/v1/models") == 200
        assert [status(port, path) for path in ("/api/hello", "/metrics", "/health")] == [
            200, 404, 404,
        ]  # fmt: skip

        words = {"role": "user", "content": " ".join(["word"] * 90)}
        stream = json.dumps({"model": "o", "stream": True, "messages": [words]})
        line, response = ask(port, stream)
        lines = [(time.monotonic(), text) for text in iter(response.readline, b"")]
        assert lines[-1][0] - lines[0][0] > 0.3, "event by event, 50 ms apart"
        assert b"data: [DONE]\n" in [text for _, text in lines]
        line.close()

        line, response = ask(port, stream)
        response.readline()
        response.close()
        line.close()
        outcomes = [each["outcome"] for each in daemon.access_lines(2)]
        assert outcomes == ["complete", "client_left"]

        most = Limits().body
        assert [sent(port, size) for size in (most, most + 1)] == [404, 413]
    finally:
        running.terminate()
        running.wait()
