"""docs/scaling.md is true: its constants, and its configurations."""

import http.client
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from ports import free_port
from running import PRACTICE_CONFIG, Daemon

from lmbroker.call import Timeouts
from lmbroker.config.settings import MOST_WORKERS
from lmbroker.daemon.workers import parent, worker_handle
from lmbroker.limits import Limits

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "scaling.md").read_text()
SECONDS = 10


def block(language, word=""):
    """The code block of the page in a language that has a word."""
    found = re.findall(r"(?ms)^```(\w*)\n(.*?)^```", PAGE)
    [text] = [text for each, text in found if each == language and word in text]
    return text


def test_the_page_tells_the_constants():
    assert parent.LATE_SECONDS == worker_handle.STEADY_SECONDS == 10
    assert "`server.drain_timeout` and ten seconds" in PAGE
    assert "within ten seconds" in PAGE
    pauses = [worker_handle.FIRST_PAUSE * 2**count for count in range(3)]
    longest = worker_handle.LONGEST_PAUSE
    told = f"{pauses[0]:g}, {pauses[1]:g}, {pauses[2]:g} and\nso on up to {longest:g}"
    assert told in PAGE
    assert f"{Limits().bodies >> 20} MiB of bodies" in PAGE
    assert MOST_WORKERS >= 4


def test_the_proxies_wait_as_long_as_the_broker():
    nginx, haproxy = block("nginx"), block("", "defaults")
    for text, lines in (
        (
            nginx,
            (
                "proxy_buffering off;",
                "proxy_request_buffering off;",
                f"client_max_body_size {Limits().body >> 20}m;",
                f"proxy_read_timeout {Timeouts().total:g}s;",
                f"proxy_send_timeout {Limits().body_seconds:g}s;",
            ),
        ),
        (
            haproxy,
            (
                f"timeout client {Timeouts().total:g}s",
                f"timeout server {Timeouts().total:g}s",
                "balance leastconn",
                "retry-on conn-failure",
                f"http-request return status 413 if {{ req.body_size gt {Limits().body} }}",
            ),
        ),
    ):
        for line in lines:
            assert line in text
    for text in (nginx, haproxy):
        # As in operations.md: the API and nothing else.
        assert "/v1/" in text and "/api/hello" in text and "/metrics" not in text
    [idle] = re.findall(r"http-keep-alive (\d+)s", haproxy)
    assert int(idle) < Limits().idle_seconds


@pytest.fixture
def two(tmp_path):
    """Two brokers."""
    started = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        started.append(Daemon(tmp_path / name, PRACTICE_CONFIG))
    yield [each.wait() for each in started]
    for each in started:
        each.stop()


@pytest.mark.process
@pytest.mark.sockets
def test_nginx_with_the_configuration_of_the_page(tmp_path, two):
    """Where nginx is installed: it takes the configuration, and both brokers serve."""
    nginx = shutil.which("nginx")
    if nginx is None:
        return
    port = free_port()
    site = block("nginx").replace("listen 8443", f"listen 127.0.0.1:{port}")
    for address, broker in zip(("10.0.0.11:8080", "10.0.0.12:8080"), two, strict=True):
        assert site.count(address) == 1
        site = site.replace(address, f"127.0.0.1:{broker.port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid;\nevents {{}}\n"
        f"http {{ access_log off; {paths} {site} }}\n"
    )
    command = [nginx, "-e", str(tmp_path / "error.log"), "-c", str(config)]
    done = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    running = subprocess.Popen(command)
    try:
        for _ in range(8):
            assert call(port) == 200
    finally:
        running.terminate()
        running.wait()
    assert [len(broker.access_lines(4)) for broker in two] == [4, 4]


def call(port):
    deadline = time.monotonic() + SECONDS
    body = json.dumps({"model": "o", "messages": [{"role": "user", "content": "x"}]})
    while True:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            line.request("POST", "/v1/chat/completions", body)
            return line.getresponse().status
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        finally:
            line.close()
