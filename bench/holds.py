"""``python -m bench.holds``: for how long one body keeps the broker from all others.

A broker in a process of its own measures each turn of its reactor, from the moment at which it
knows what is to be done until it is done, in CPU time and by the clock; the longest since the last
look is given at ``/longest``. This process is client and backend.
"""

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

MB = 1_000_000
PATHS = {"passed": "o", "translated": "a"}
BACK = "from openai"
"""The other translation, of streams: an Anthropic client of an OpenAI backend."""
SECONDS = 120

CONFIG = """
[limits]
%s
[[models]]
alias = "o"
type = "openai"
target = { url = "http://127.0.0.1:%d/v1", model = "real", api_key = "none" }
[[models]]
alias = "a"
type = "anthropic"
target = { url = "http://127.0.0.1:%d", model = "real", api_key = "none" }
"""


# The broker.


class Watched:
    """In the place of a reactor's poller: measures what is between two of its calls."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self._began: tuple[float, float] | None = None
        self.cpu = self.wall = 0.0

    def poll(self, *arguments: Any) -> Any:
        """What the poller returns; the time since its last return is noted."""
        if self._began is not None:
            self.cpu = max(self.cpu, time.thread_time() - self._began[0])
            self.wall = max(self.wall, time.perf_counter() - self._began[1])
        found = self._poller.poll(*arguments)
        self._began = time.thread_time(), time.perf_counter()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)


def serve(backend: int, limits: str) -> None:
    """Serve on a free port, which is printed, until stdin is closed."""
    from lmbroker.daemon.reactor import install

    install()
    from twisted.internet import reactor as running
    from twisted.internet.protocol import Protocol
    from twisted.internet.stdio import StandardIO
    from twisted.web.resource import Resource

    from lmbroker.backends.sending import Backends
    from lmbroker.broker.broker import Broker
    from lmbroker.config.config import parse
    from lmbroker.daemon.service import GC_THRESHOLDS, LARGEST_BLOCK
    from lmbroker.server.http import Site
    from lmbroker.server.routes import Front

    reactor: Any = running
    text = CONFIG % (limits, backend, backend)
    config = parse(text, name="bench", environ={}, read_file=lambda path: "")
    broker = Broker(config, Backends(reactor), (), reactor, time.time)
    watched = reactor._poller = Watched(reactor._poller)

    class Longest(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            seen = json.dumps({"cpu": watched.cpu, "wall": watched.wall}).encode()
            watched.cpu = watched.wall = 0.0
            return seen

    class Root(Resource):
        def getChild(self, path: bytes, request: Any) -> Any:
            if path == b"longest":
                return Longest()
            request.postpath.insert(0, request.prepath.pop())
            return front

    class Input(Protocol):
        def connectionLost(self, reason: Any = None) -> None:
            if reactor.running:
                reactor.stop()

    front = Front(broker).resource()
    port = reactor.listenTCP(
        0, Site(Root(), reactor, config.limits), interface="127.0.0.1", backlog=512
    )
    import gc

    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    bytes(LARGEST_BLOCK)  # as there
    StandardIO(Input())
    print(port.getHost().port, flush=True)
    reactor.run()
    broker.offload.close()


# Client and backend.


class Backend:
    """Answers each request with ``answer`` when it has all of it."""

    def __init__(self) -> None:
        self.answers: dict[bytes, bytes] = {}
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while True:
                request = receive(connection)
                if not request:
                    return
                path = request.split(b" ", 2)[1]
                try:
                    connection.sendall(self.answers[path])
                except OSError:
                    return


def receive(connection: socket.socket) -> bytes:
    """One message of HTTP with a length or in chunks, b"" at the end."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    parts, missing = [head + b"\r\n\r\n", rest], length - len(rest)
    while missing > 0:
        piece = connection.recv(1 << 20)
        if not piece:
            return b""
        parts.append(piece)
        missing -= len(piece)
    if b"transfer-encoding: chunked" in head.lower():
        while not parts[-1].endswith(b"0\r\n\r\n"):
            piece = connection.recv(1 << 20)
            if not piece:
                return b""
            parts.append(parts.pop()[-8:] + piece)
    return b"".join(parts)


CHAT, MESSAGES = b"/v1/chat/completions", b"/v1/messages"


def ask(port: int, body: bytes, path: bytes = CHAT) -> bytes:
    """The answer to one call."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as opened:
        return ask_on(opened, body, path)


def ask_on(connection: socket.socket, body: bytes, path: bytes = CHAT) -> bytes:
    """The answer to one call on an open connection."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % (path, len(body)) + body)
    return receive(connection)


def longest(port: int) -> dict[str, float]:
    """The longest turn since the last look, in seconds."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(b"GET /longest HTTP/1.1\r\nHost: x\r\n\r\n")
        seen: dict[str, float] = json.loads(receive(connection).partition(b"\r\n\r\n")[2])
        return seen


def dumped(value: Any) -> bytes:
    """``value`` as JSON text."""
    return json.dumps(value, ensure_ascii=False).encode()


def whole(value: Any) -> bytes:
    """A whole HTTP response with this body."""
    body = value if isinstance(value, bytes) else dumped(value)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def openai(text: str, **more: Any) -> bytes:
    """The response of an OpenAI backend that says ``text``."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return whole(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "real"}
        | {"choices": [choice], "usage": usage}
        | more
    )


def anthropic(text: str, **more: Any) -> bytes:
    """The response of an Anthropic backend that says ``text``."""
    return whole(
        {"id": "m", "type": "message", "role": "assistant", "model": "real"}
        | {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
        | {"usage": {"input_tokens": 1, "output_tokens": 1}}
        | more
    )


def events(*sent: Any) -> bytes:
    """A stream of these events."""
    named = (f"event: {each['type']}\n" if "type" in each else "" for each in sent)
    body = b"".join(
        name.encode() + b"data: " + dumped(each) + b"\n\n"
        for name, each in zip(named, sent, strict=True)
    )
    return whole(body).replace(b"application/json", b"text/event-stream", 1)


def openai_events(delta: Any) -> bytes:
    """A stream of Chat Completions with one delta."""

    def chunk(delta: Any, reason: str | None = None) -> Any:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "real"} | {
            "choices": [choice]
        }

    return events(chunk({"role": "assistant"}), chunk(delta), chunk({}, "stop"))


def anthropic_events(block: Any, delta: Any) -> bytes:
    """A stream of Messages with one block of one delta."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "real", "content": []}
    return events(
        {"type": "message_start", "message": message | {"stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    )


def text_event(model: str, text: str) -> bytes:
    """A stream in which ``text`` is one event."""
    if model == "o":
        return openai_events({"content": text})
    return anthropic_events({"type": "text", "text": ""}, {"type": "text_delta", "text": text})


def arguments_event(model: str, text: str) -> bytes:
    """A stream in which the arguments of a call are one event."""
    function = {"name": "f", "arguments": text}
    if model == "o":
        return openai_events({"tool_calls": [{"index": 0, "id": "c", "function": function}]})
    block = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    return anthropic_events(block, {"type": "input_json_delta", "partial_json": text})


LINE = "Please look at the file, and say why it fails.\n"


def request(model: str, messages: Any = None, **more: Any) -> bytes:
    """The body of a request."""
    said = [{"role": "user", "content": "hi"}] if messages is None else messages
    return dumped({"model": model, "max_tokens": 9, "messages": said} | more)


def turns(size: int) -> list[Any]:
    """A long conversation, a kilobyte each."""
    roles = "user", "assistant"
    return [{"role": roles[at % 2], "content": LINE * 21} for at in range(size // 1030)]


def image(size: int) -> list[Any]:
    """A conversation of one image."""
    url = "data:image/png;base64," + "QUJD" * (size // 4)
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def escaped(model: str, size: int) -> bytes:
    """A request with an escaped key, its plain twin and many brackets."""
    brackets = b"[" + b"[]," * (size // 3) + b"[]]"
    return request(model)[:-1] + b', "a\\u0062": ' + brackets + b', "ab": 1}'


def keys(model: str, count: int) -> bytes:
    """A request with many keys at the top level."""
    many = b", ".join(b'"k%d": 1' % at for at in range(count))
    return request(model)[:-1] + b", " + many + b"}"


REQUESTS: dict[str, Callable[[str], bytes]] = {
    "5 MB, honest turns": lambda model: request(model, turns(5 * MB)),
    "5 MB, one image": lambda model: request(model, image(5 * MB)),
    "30 MB, honest turns": lambda model: request(model, turns(30 * MB)),
    "30 MB, one text": lambda model: request(
        model, [{"role": "user", "content": "é, " * (7 * MB)}]
    ),
    "30 MB, one image": lambda model: request(model, image(30 * MB)),
    "30 MB, tiny parts": lambda model: request(
        model, [{"role": "user", "content": [{"type": "text", "text": "a"}] * MB}]
    ),
    "30 MB, tiny turns": lambda model: request(model, [{"role": "user", "content": "a"}] * 850_000),
    "30 MB, brackets and an escaped key": lambda model: escaped(model, 30 * MB),
    "250 kB, tiny tools": lambda model: request(
        model, tools=[{"type": "function", "function": {"name": "a"}}] * 5000
    ),
    "2,000,000 keys": lambda model: keys(model, 2_000_000),
}
ANSWERS: dict[str, dict[str, Callable[[], bytes]]] = {
    "answer of 5 MB, one text": {
        "o": lambda: openai(LINE * (5 * MB // 48)),
        "a": lambda: anthropic(LINE * (5 * MB // 48)),
    },
    "answer of 60 MB, one text": {
        "o": lambda: openai("é, " * (15 * MB)),
        "a": lambda: anthropic("é, " * (15 * MB)),
    },
    "answer of 60 MB, tiny tokens": {
        "o": lambda: openai("a", x=[[]] * (14 * MB)),
        "a": lambda: anthropic("a", x=[[]] * (14 * MB)),
    },
}


STREAMS: dict[str, Callable[[str], bytes]] = {
    "event of 4 MB, one text": lambda model: text_event(model, "é, " * MB),
    "event of 4 MB, escapes": lambda model: text_event(model, '"\n' * MB),
    "event of 4 MB, one argument": lambda model: arguments_event(
        model, '{"a": "%s"}' % ("a" * 4 * MB)
    ),
    "event of 4 MB, tiny arguments": lambda model: arguments_event(
        model, '{"a": [%s""]}' % ('"",' * (4 * MB // 5))
    ),
}


@contextmanager
def broker(backend: Backend, limits: str) -> Iterator[int]:
    """A broker's port."""
    command = [sys.executable, "-m", "bench.holds", "--serve", str(backend.port), limits]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def measure(port: int, backend: Backend, only: str) -> None:
    """Print the longest turn of each case."""
    small = {"/v1/chat/completions": openai("hi"), "/v1/messages": anthropic("hi")}
    usual = {path.encode(): answer for path, answer in small.items()}
    cases: list[tuple[str, str, Callable[[], bytes], Callable[[], bytes] | None]] = []
    for path, model in PATHS.items():
        for name, made_for in REQUESTS.items():
            cases.append((name, path, partial(made_for, model), None))
        for name, made in ANSWERS.items():
            cases.append((name, path, partial(request, model), made[model]))
        for name, made_for in STREAMS.items():
            streamed = partial(request, model, stream=True)
            cases.append((name, path, streamed, partial(made_for, model)))
    for name, made_for in STREAMS.items():
        cases.append((name, BACK, partial(request, "o", stream=True), partial(made_for, "o")))
    print(f"{'':40}{'':12}{'ms of CPU':>10}{'ms':>8}{'whole, s':>10}  status")
    for name, path, make, answer in cases:
        if only not in f"{name} {path}":
            continue
        backend.answers = dict(usual)
        if answer is not None:
            backend.answers = dict.fromkeys(usual, answer())
        body = make()
        longest(port)
        began = time.monotonic()
        try:
            asked = MESSAGES if path == BACK else CHAT
            status = ask(port, body, asked)[9:12].decode() or "cut"
        except OSError as error:
            status = type(error).__name__
        took = time.monotonic() - began
        turn = longest(port)
        print(
            f"{name:40}{path:12}{turn['cpu'] * 1000:10.1f}{turn['wall'] * 1000:8.1f}"
            f"{took:10.2f}  {status}",
            flush=True,
        )


def beside(port: int, backend: Backend, seconds: float) -> None:
    """Print how long small calls take alone, and beside a stream of large ones."""
    backend.answers = {b"/v1/chat/completions": openai("hi"), b"/v1/messages": anthropic("hi")}
    print(f"{'small calls':40}{'':12}{'p50, ms':>10}{'p99':>8}{'most':>10}  large calls")
    alternatives: dict[str, bytes | None] = {"alone": None}
    for path, model in PATHS.items():
        alternatives[f"beside 5 MB turns, {path}"] = request(model, turns(5 * MB))
    for name, body in alternatives.items():
        stop, large = threading.Event(), [0]

        def repeat(body: bytes = body or b"", stop: Any = stop, large: Any = large) -> None:
            with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
                while not stop.is_set():
                    ask_on(connection, body)
                    large[0] += 1

        thread = threading.Thread(target=repeat)
        if body:
            thread.start()
            time.sleep(1)
        times = []
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                began = time.perf_counter()
                ask_on(connection, request("o"))
                times.append(time.perf_counter() - began)
                time.sleep(0.002)
        stop.set()
        if body:
            thread.join()
        times.sort()
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        print(
            f"{name:40}{'':12}{p50 * 1000:10.1f}{p99 * 1000:8.1f}{times[-1] * 1000:10.1f}"
            f"  {large[0]}",
            flush=True,
        )


def main() -> None:
    """Serve, or measure all."""
    options = argparse.ArgumentParser(prog="python -m bench.holds", description=__doc__)
    options.add_argument("--serve", nargs=2, metavar=("PORT", "LIMITS"), help=argparse.SUPPRESS)
    options.add_argument("--limits", default="", help='such as "helpers = 0"')
    options.add_argument("--only", default="", help="cases whose name has this")
    options.add_argument("--seconds", type=float, default=5.0, help="of small calls, 0 for none")
    given = options.parse_args()
    if given.serve:
        serve(int(given.serve[0]), given.serve[1])
        return
    backend = Backend()
    with broker(backend, given.limits) as port:
        measure(port, backend, given.only)
        if given.seconds:
            beside(port, backend, given.seconds)


if __name__ == "__main__":
    main()
