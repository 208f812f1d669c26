"""A backend is killed (kill -9), and what the official SDKs see of it: practice backend and broker
as processes of their own, four calls at once, each on its way through the broker."""

import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore

import anthropic
import openai
import pytest
from running import Daemon, Practice

CONFIG = """
[server]
host = "127.0.0.1"
port = PORT
"""
MODEL = """
[[models]]
alias = "DIALECT-NAME"
type = "DIALECT"
timeouts = { commit = COMMIT, ping = 0.1 }
target = { url = "http://127.0.0.1:BACKEND", model = "NAME" }
"""
DIALECTS = ("openai", "anthropic", "responses")
ENDS = [(client, backend) for client in DIALECTS for backend in DIALECTS]
WORDS = " ".join(["word"] * 60)
SECONDS = 10


class Calls:
    """An SDK's calls to the broker."""

    def __init__(self, client, url):
        self._client = client
        if client != "anthropic":
            self._sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
            of_responses = client == "responses"
            create = self._sdk.responses if of_responses else self._sdk.chat.completions
            self._create = create.create
        else:
            self._sdk = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
            self._create = self._sdk.messages.create
        self.errors = anthropic if client == "anthropic" else openai

    def ask(self, model, stream=False):
        messages = [{"role": "user", "content": WORDS}]
        if self._client == "responses":
            return self._create(model=model, input=messages, max_output_tokens=1000, stream=stream)
        return self._create(model=model, messages=messages, max_tokens=1000, stream=stream)

    def close(self):
        self._sdk.close()


@pytest.fixture(scope="module")
def backend():
    running = Practice()
    yield running
    running.kill()


@pytest.fixture
def practice(backend):
    """The backend, running."""
    if backend.process.poll() is not None:
        backend.start()
    return backend


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, backend):
    config = CONFIG
    for name, commit in [("slow-100", 5), ("hang", 5), ("stall", 5), ("echo", 5), ("signs", 0.1)]:
        for dialect in DIALECTS:
            model = MODEL.replace('model = "NAME"', 'model = "hang"') if name == "signs" else MODEL
            config += (
                model.replace("DIALECT", dialect)
                .replace("NAME", name)
                .replace("COMMIT", str(commit))
                .replace("BACKEND", str(backend.port))
            )
    running = Daemon(tmp_path_factory.mktemp("daemon"), config).wait()
    yield running
    assert running.stop() < 0
    assert "Traceback" not in running.out.read_text()


@pytest.fixture(scope="module")
def clients(daemon):
    each = {client: Calls(client, daemon.url) for client in DIALECTS}
    yield each
    for calls in each.values():
        calls.close()


def in_flight(daemon):
    with urllib.request.urlopen(f"{daemon.url}/metrics") as metrics:
        return float(re.search(r"(?m)^lmbroker_in_flight (\S+)", metrics.read().decode())[1])


NO_ANSWER = "closed the connection|refused the connection"
"""On a connection that was used before, a call is tried once more over a fresh one."""

PHASES = {
    "before the headers": ("hang", False, 0, 502, NO_ANSWER),
    "before the headers of a stream": ("hang", True, 0, 502, NO_ANSWER),
    "after signs of life": ("signs", True, 0, 200, NO_ANSWER),
    "in an answer": ("stall", False, 0, 502, "closed the connection in its answer"),
    "in a stream": ("slow-100", True, 2, 200, "closed the stream before completing"),
}
"""Model, streamed, events before, HTTP status, words of the error."""


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_backend(daemon, practice, clients, phase):
    model, stream, events, status, words = PHASES[phase]
    ready = Semaphore(0)

    def call(client, backend):
        """How many events came, and with what the call ended."""
        count = 0
        try:
            answer = clients[client].ask(f"{backend}-{model}", stream)
            if model == "signs":
                ready.release()
            for _ in answer if stream else ():
                count += 1
                if count == events:
                    ready.release()
        except Exception as raised:
            return count, raised
        return count, None

    with ThreadPoolExecutor(len(ENDS)) as pool:
        calls = [pool.submit(call, *end) for end in ENDS]
        if events or model == "signs":
            for _ in ENDS:
                assert ready.acquire(timeout=SECONDS)
        else:
            deadline = time.monotonic() + SECONDS
            while in_flight(daemon) < len(ENDS):
                assert time.monotonic() < deadline
            time.sleep(0.3)
        assert not any(each.done() for each in calls)
        practice.kill()
        results = [each.result(SECONDS) for each in calls]
    for (client, _), (count, raised) in zip(ENDS, results, strict=True):
        errors = clients[client].errors
        assert count >= events
        assert isinstance(raised, errors.APIError) and re.search(words, str(raised)), repr(raised)
        if status == 502:
            assert isinstance(raised, errors.InternalServerError)
            assert raised.status_code == 502 and raised.request_id
        else:
            assert not isinstance(raised, errors.APIConnectionError), "told in band, not cut"

    for client, backend in ENDS:
        with pytest.raises(clients[client].errors.InternalServerError, match="refused") as dead:
            clients[client].ask(f"{backend}-echo", stream)
        assert dead.value.status_code == 502

    practice.start()
    for client, backend in ENDS:
        answer = clients[client].ask(f"{backend}-echo", stream)
        assert "word" in "".join(map(str, answer)) if stream else str(answer)
    assert in_flight(daemon) == 0
