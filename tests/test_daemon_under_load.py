"""The daemon reloads and stops with hundreds of streams under way."""

import asyncio
import json
import re
import signal
import time
from collections import Counter

import pytest
from running import Practice

STREAMS = 200
SLOW = "slow-350"
"""Fourteen events take almost five seconds, with the words below."""
WORDS = " ".join(["word \N{FOX FACE} \u2028"] * 18)
DRAIN = 2
"""Seconds that the daemon lets answers end."""
REST = 4
"""Seconds that it may take beyond."""

CONFIG = """
log_level = "LEVEL"
[server]
listen = [LISTEN]
drain_timeout = DRAIN
[[backends]]
name = "old-o"
type = "openai"
url = "http://127.0.0.1:OLD/v1"
[[backends]]
name = "old-a"
type = "anthropic"
url = "http://127.0.0.1:OLD"
[[backends]]
name = "new-o"
type = "openai"
url = "http://127.0.0.1:NEW/v1"
[[backends]]
name = "new-a"
type = "anthropic"
url = "http://127.0.0.1:NEW"
[[models]]
alias = "o"
targets = [{ backend = "TARGET-o", model = "MODEL" }]
[[models]]
alias = "a"
targets = [{ backend = "TARGET-a", model = "MODEL" }]
[[models]]
alias = "quick"
targets = [{ backend = "old-o", model = "slow-50" }]
[[models]]
alias = "endless"
targets = [{ backend = "old-a", model = "slow-1000" }]
[[models]]
alias = "hang"
timeouts = { commit = 0.2, ping = 0.2 }
targets = [{ backend = "old-o", model = "hang" }]
[[models]]
alias = "ROUND"
targets = [{ backend = "old-o", model = "echo" }]
"""
POST = {"openai": "POST /v1/chat/completions", "anthropic": "POST /v1/messages"}
KINDS = [("openai", "o"), ("openai", "a"), ("anthropic", "o"), ("anthropic", "a")]
ENDS = {"openai": b"data: [DONE]\n\n", "anthropic": b'data: {"type":"message_stop"}\n\n'}


@pytest.fixture
def practices():
    """Two backends: the old and the new one."""
    both = [Practice(), Practice()]
    yield both
    for each in both:
        each.kill()


class Setup:
    """A daemon, and its configuration to be changed."""

    def __init__(self, start_daemon, practices, more_port):
        old, new = (str(each.port) for each in practices)
        self._text = CONFIG.replace("OLD", old).replace("NEW", new).replace("DRAIN", str(DRAIN))
        self._more = f'"tcp:{more_port}:interface=127.0.0.1"'
        self.daemon = start_daemon(self.text()).wait()
        self.port = self.daemon.port

    def text(self, name="start", *, level="info", target="old", model=SLOW, more=False):
        listen = '"tcp:PORT:interface=127.0.0.1"' + (f", {self._more}" if more else "")
        return (
            self._text.replace("LEVEL", level)
            .replace("LISTEN", listen)
            .replace("TARGET", target)
            .replace("MODEL", model)
            .replace("ROUND", name)
        )

    async def reload(self, name, **changes):
        """Change the configuration, and wait until it holds."""
        text = self.text(name, **changes).replace("PORT", str(self.port))
        self.daemon.config.write_text(text)
        self.daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 5
        while name.encode() not in (await whole(self.port, "GET /v1/models"))[1]:
            assert time.monotonic() < deadline, self.daemon.out.read_text()
            await asyncio.sleep(0.02)


@pytest.fixture
def setup(start_daemon, practices, port):
    return Setup(start_daemon, practices, port)


def asking(model, *, stream=True):
    messages = [{"role": "user", "content": WORDS}]
    return json.dumps(
        {"model": model, "stream": stream, "max_tokens": 1000, "messages": messages}
    ).encode()


async def asked(port, line, body):
    """A connection of its own with a request on it: where to read and to write."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    return reader, writer


class Stream:
    """One answer under way: its head, then its body as it comes."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer
        self.head = b""
        self.body = b""

    @classmethod
    async def ask(cls, port, line, body):
        return cls(*await asked(port, line, body))

    async def begun(self):
        """Until its first event, or sign of life, is here."""
        self.head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        assert self.head.startswith(b"http/1.1 200")
        await self._chunk()
        return self

    async def rest(self):
        """The body, to its proper end."""
        while await self._chunk():
            pass
        self._writer.close()
        return self.body

    async def _chunk(self):
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        chunk = await self._reader.readexactly(size + 2)
        self.body += chunk[:-2]
        return size


async def whole(port, line, body=b""):
    """Head and body of an answer after which the connection closes."""
    reader, writer = await asked(port, line, body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return head.lower(), rest


def timeless(body):
    """Without the one thing in an answer that depends on when it was asked for."""
    return re.sub(rb'"created":\d+', b'"created":0', body)


def in_flight(metrics):
    return float(re.search(rb"^lmbroker_in_flight (\S+)", metrics, re.MULTILINE)[1])


def test_reloads_break_none_of_two_hundred_streams(setup, practices, port):
    """The alias moves to other backends, the log level and the listeners change."""

    async def begin(where, kinds):
        asked = [Stream.ask(where, POST[dialect], asking(alias)) for dialect, alias in kinds]
        return [await each.begun() for each in await asyncio.gather(*asked)]

    async def metrics():
        return (await whole(setup.port, "GET /metrics"))[1]

    async def run():
        kinds = KINDS * (STREAMS // len(KINDS))
        direct = [
            await Stream.ask(practices[0].port, POST[dialect], asking(SLOW)) for dialect in POST
        ]
        streams = await begin(setup.port, kinds[20:])
        await setup.reload("round-1", level="warning", more=True)
        streams += await begin(port, kinds[:20])
        await setup.reload("round-2", target="new", more=True)
        await setup.reload("round-3", target="new", model="echo", level="debug")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await setup.reload("round-4", target="new")
        late = await begin(setup.port, KINDS)
        assert in_flight(await metrics()) == STREAMS + len(KINDS), "none was over by then"
        expected = {}
        for kind, each in zip(KINDS, late, strict=True):
            assert b"x-lmbroker-backend: new-" in each.head
            expected[kind] = timeless(await each.rest())
        for dialect, each in zip(POST, direct, strict=True):
            await each.begun()
            assert timeless(await each.rest()) == expected[dialect, dialect[0]], "the same bytes"
        for kind, each in zip(kinds[20:] + kinds[:20], streams, strict=True):
            assert b"x-lmbroker-backend: old-" in each.head
            assert timeless(await each.rest()) == expected[kind]
            assert each.body.endswith(ENDS[kind[0]])
        assert in_flight(await metrics()) == 0

    asyncio.run(run())
    assert setup.daemon.stop() == -signal.SIGTERM
    assert "Traceback" not in setup.daemon.out.read_text()


def test_a_stop_under_load_ends_in_time(setup):
    """What ends before the deadline is whole, the rest is told why it is not; nothing hangs."""

    async def begin(alias):
        asked = [Stream.ask(setup.port, POST[dialect], asking(alias)) for dialect in [*POST] * 25]
        return [await each.begun() for each in await asyncio.gather(*asked)]

    async def run():
        waiting = await begin("hang")
        quick = await begin("quick")
        endless = await begin("endless")
        calls = [whole(setup.port, POST[each], asking("hang", stream=False)) for each in POST]
        unary = asyncio.gather(*calls)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        setup.daemon.process.send_signal(signal.SIGTERM)
        for dialect, each in zip([*POST] * 25, quick, strict=True):
            assert (await each.rest()).endswith(ENDS[dialect])
        assert time.monotonic() - began < DRAIN, "they need not have been in a hurry"
        for streams in (endless, waiting):
            for dialect, each in zip([*POST] * 25, streams, strict=True):
                body = await each.rest()
                last = body.rstrip().rpartition(b"\n\n")[2]
                assert b"the broker is shutting down" in last
                assert last.startswith(b"data: {" if dialect == "openai" else b"event: error\n")
                assert ENDS[dialect] not in body
        assert time.monotonic() - began > DRAIN
        for dialect, (head, body) in zip(POST, await unary, strict=True):
            assert head.startswith(b"http/1.1 503" if dialect == "openai" else b"http/1.1 529")
            assert b"\r\nretry-after: 1" in head
            assert b"the broker is shutting down" in body
        return began

    began = asyncio.run(run())
    assert setup.daemon.process.wait(10) == -signal.SIGTERM
    assert time.monotonic() - began < DRAIN + REST
    lines = setup.daemon.access_lines(152)
    outcomes = Counter((line["alias"], line["outcome"]) for line in lines)
    assert outcomes == {
        ("quick", "complete"): 50,
        ("endless", "stream_error"): 50,
        ("hang", "stream_error"): 50,
        ("hang", "refused"): 2,
    }
    assert "Traceback" not in setup.daemon.out.read_text()
