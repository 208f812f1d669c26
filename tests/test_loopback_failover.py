"""A backend dies under load and comes back: three practice backends and the broker as processes,
the official SDKs as clients."""

import re
import signal
import threading
import time
import urllib.request

import anthropic
import openai
import pytest
from running import Practice

TEXT = " ".join(["word"] * 60)
"""Twenty events, 20 ms apart: at any time some streams are under way."""

DEADLINE = 20.0
"""Seconds for what takes one or two where nothing else runs."""

CONFIG = """
log_level = "info"
[server]
host = "127.0.0.1"
port = PORT
[breaker]
open = 1
[[backends]]
name = "p0"
type = "openai"
url = "http://127.0.0.1:P0"
check_interval = 1
[[backends]]
name = "p1"
type = "openai"
url = "http://127.0.0.1:P1"
[[backends]]
name = "p2"
type = "anthropic"
url = "http://127.0.0.1:P2"
"""
ALIAS = """
[[models]]
alias = "NAME"
strategy = "least-busy"
sticky = false
retry_unsafe = UNSAFE
targets = [
  { backend = "p0", model = "slow-20" },
  { backend = "p1", model = "slow-20" },
  { backend = "p2", model = "slow-20" },
]
"""


@pytest.fixture
def practices():
    backends = [Practice() for _ in range(3)]
    yield backends
    for backend in backends:
        if backend.process.poll() is None:
            backend.kill()


class Load:
    """Clients that ask one thing after the other until they are told to stop. ``done`` counts
    whole answers by kind; ``broken`` has streams that ended with an error after they had begun,
    ``failed`` every other error that a client saw."""

    def __init__(self, url):
        self.done = {}
        self.broken = []
        self.failed = []
        self._over = threading.Event()
        self._sdks = {
            retries: (
                openai.OpenAI(base_url=f"{url}/v1", api_key="k", **retries_of(retries)),
                anthropic.Anthropic(base_url=url, api_key="k", **retries_of(retries)),
            )
            for retries in ("none", "default")
        }
        kinds = [
            *[(self.stream, sdk, "safe", "none") for sdk in (0, 1) for _ in range(5)],
            *[(self.whole, sdk, "safe", "none") for sdk in (0, 1)],
            *[(self.whole, sdk, "plain", "default") for sdk in (0, 1)],
        ]
        self._threads = [
            threading.Thread(target=self._ask, args=kind, name=str(kind[1:]), daemon=True)
            for kind in kinds
        ]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        self.failed += [f"{each.name} hangs" for each in self._threads if each.is_alive()]
        for sdks in self._sdks.values():
            for sdk in sdks:
                sdk.close()

    def _ask(self, kind, sdk, alias, retries):
        name = f"{kind.__name__} {alias} {('openai', 'anthropic')[sdk]}"
        while not self._over.is_set():
            try:
                if kind(sdk, self._sdks[retries][sdk], alias):
                    self.done[name] = self.done.get(name, 0) + 1
            except Exception as error:
                self.failed.append(f"{name}: {type(error).__name__}: {error}")

    def whole(self, sdk, client, alias):
        user = [{"role": "user", "content": TEXT}]
        if sdk == 0:
            answer = client.chat.completions.create(model=alias, messages=user)
            assert answer.choices[0].message.content == TEXT
        else:
            answer = client.messages.create(model=alias, messages=user, max_tokens=999)
            assert answer.content[0].text == TEXT
        return True

    def stream(self, sdk, client, alias):
        user = [{"role": "user", "content": TEXT}]
        text = ""
        begun = False
        try:
            if sdk == 0:
                events = client.chat.completions.create(model=alias, messages=user, stream=True)
                for event in events:
                    begun = True
                    text += event.choices[0].delta.content or ""
            else:
                events = client.messages.create(
                    model=alias, messages=user, max_tokens=999, stream=True
                )
                for event in events:
                    begun = True
                    if event.type == "content_block_delta":
                        text += event.delta.text
        except (openai.APIError, anthropic.APIError) as error:
            if not begun:
                raise
            assert TEXT.startswith(text)
            self.broken.append(str(error))
            return False
        assert text == TEXT
        return True


def retries_of(retries):
    return {"max_retries": 0} if retries == "none" else {}


def attempts(daemon, backend, result, counter="attempts"):
    """So many attempts at a backend ended so."""
    shown = urllib.request.urlopen(f"{daemon.url}/metrics").read().decode()
    line = f'lmbroker_{counter}_total{{backend="{backend}",result="{result}"}} '
    found = re.search(re.escape(line) + r"(\S+)", shown)
    return float(found[1]) if found else 0.0


def told(daemon, piece):
    """So many lines of the log have this in their message."""
    return sum(piece in line["message"] for line in daemon.lines())


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_client_sees_a_backend_die_but_those_whose_stream_had_begun(start_daemon, practices):
    text = CONFIG + "".join(
        ALIAS.replace("NAME", name).replace("UNSAFE", unsafe)
        for name, unsafe in (("safe", "true"), ("plain", "false"))
    )
    for number, practice in enumerate(practices):
        text = text.replace(f":P{number}", f":{practice.port}")
    daemon = start_daemon(text).wait()
    load = Load(daemon.url)
    try:
        until(lambda: all(attempts(daemon, f"p{number}", "ok") >= 20 for number in range(3)))
        assert (load.failed, load.broken) == ([], [])
        practices[0].kill()
        until(lambda: told(daemon, "p0 model slow-20: open ("))
        until(lambda: told(daemon, "p0 fails its checks"))
        served = attempts(daemon, "p0", "ok")
        others = attempts(daemon, "p1", "ok") + attempts(daemon, "p2", "ok")
        until(lambda: attempts(daemon, "p1", "ok") + attempts(daemon, "p2", "ok") > others + 40)
        assert attempts(daemon, "p0", "ok") == served
        practices[0].start()
        until(lambda: attempts(daemon, "p0", "ok") > served + 20)
        until(lambda: told(daemon, "p0 answers its checks again"))
    finally:
        load.stop()
    assert load.failed == []
    assert len(load.done) == 6 and min(load.done.values()) > 3, load.done
    # What had reached its client cannot be taken back: such a stream says so, and only it does.
    assert load.broken, "no stream was under way: the test shows nothing"
    assert all("closed the stream" in each for each in load.broken), load.broken
    lines = [line for line in daemon.access_lines() if line.get("outcome") != "complete"]
    broken = [line for line in lines if line["outcome"] == "stream_error"]
    assert {(line["backend"], line["stream"]) for line in broken} == {("p0", True)}
    assert len(broken) == len(load.broken)
    # A call of an alias without ``retry_unsafe`` may fail here; its SDK asks again by itself.
    assert {line["alias"] for line in lines if line not in broken} <= {"plain"}
    assert attempts(daemon, "p0", "refused", "checks") > 0 < attempts(daemon, "p0", "ok", "checks")
    assert told(daemon, "p0 fails its checks") == told(daemon, "p0 answers its checks again") == 1
    assert daemon.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in daemon.out.read_text()


PRACTICE = """
log_level = "info"
[server]
host = "127.0.0.1"
port = PORT
[[backends]]
name = "b"
type = "openai"
url = "practice:"
[[models]]
alias = "m"
targets = [{ backend = "b" }]
"""


def test_checks_begin_and_end_with_a_reload(start_daemon):
    daemon = start_daemon(PRACTICE).wait()
    plain = daemon.config.read_text()

    def reload(text):
        before = told(daemon, "The configuration was reloaded")
        daemon.config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: told(daemon, "The configuration was reloaded") > before)

    def checks():
        return attempts(daemon, "b", "ok", "checks")

    assert checks() == 0
    reload(plain.replace('practice:"\n', 'practice:"\ncheck_interval = 1\n'))
    until(lambda: checks() >= 2)
    reload(plain)
    made = checks()
    time.sleep(1.2)
    assert checks() == made
    assert daemon.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in daemon.out.read_text()
