"""How a backend may frame its answer, and how not, whole and in pieces.

``tests/client/test_client_h11.py`` holds the parser beside h11, byte by byte; here it is seen what
the broker's client gets, and whether the connection is used again.
"""

import pytest
import pytest_twisted
from chaos import CHAOS, WHOLE, answered, next_request, the_next_call_is_served, told
from rig import PATHS, ask
from twisted.internet import reactor
from twisted.internet.task import deferLater

RIG = CHAOS

BODY = WHOLE["o"]
SIZE = len(BODY)
HALF = SIZE // 2
OK = b"HTTP/1.1 200 OK"
TYPE = b"Content-Type: application/json"
LENGTH = b"Content-Length: %d" % SIZE
CODED = b"Transfer-Encoding: chunked"
CLOSE = b"Connection: close"


def chunk(data, size=None):
    return b"%b\r\n%b\r\n" % (b"%x" % len(data) if size is None else size, data)


CHUNKS = chunk(BODY[:HALF]) + chunk(BODY[HALF:])
END = b"0\r\n\r\n"


def framed(*lines, body=BODY, first=OK):
    return b"\r\n".join([first, TYPE, *lines, b"", body])


def coded(body, *lines, first=OK):
    return framed(CODED, *lines, body=body, first=first)


KEPT = {
    "length": framed(LENGTH),
    "length with zeros": framed(b"Content-Length: 000%d" % SIZE),
    "length in blanks": framed(b"Content-Length: \t %d  " % SIZE),
    "names in capitals": framed(LENGTH.upper()),
    "chunks": coded(CHUNKS + END),
    "one chunk": coded(chunk(BODY) + END),
    "a byte per chunk": coded(b"".join(chunk(BODY[at : at + 1]) for at in range(SIZE)) + END),
    "sizes with zeros": coded(chunk(BODY, b"000%X" % SIZE) + b"000\r\n\r\n"),
    "extensions": coded(chunk(BODY, b'%x;a=b;c="d"' % SIZE) + b"0;e\r\n\r\n"),
    "trailers": coded(CHUNKS + b"0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
    "coding in capitals": framed(b"TRANSFER-ENCODING: CHUNKED", body=CHUNKS + END),
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + framed(LENGTH),
    "103 first": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + coded(CHUNKS + END),
    "many 102": b"HTTP/1.1 102 Processing\r\n\r\n" * 30 + framed(LENGTH),
    "no reason": framed(LENGTH, first=b"HTTP/1.1 200 "),
    "a long reason": framed(LENGTH, first=b"HTTP/1.1 200 " + b"o" * 500),
    "control in a reason, which nobody sees": framed(LENGTH, first=b"HTTP/1.1 200 O\x01K"),
    "empty value": framed(LENGTH, b"X-Empty:"),
    "latin-1 in a value": framed(LENGTH, b"X-A: \xe9\xff"),
    "a hundred headers": framed(LENGTH, *[b"X-A: 1"] * 100),
    "upgrade that is none": framed(LENGTH, b"Upgrade: h2c", b"Connection: Upgrade"),
}
"""Served, and the connection carries the next call."""

ONCE = {
    "close": framed(LENGTH, CLOSE),
    "close with chunks": coded(CHUNKS + END, CLOSE),
    "close in capitals": framed(LENGTH, b"CONNECTION: CLOSE"),
    "close in a list": framed(LENGTH, b"Connection: x, Close"),
    "1.0": framed(LENGTH, first=b"HTTP/1.0 200 OK"),
    "a byte behind": framed(LENGTH) + b"!",
    "an empty line behind": framed(LENGTH) + b"\r\n",
    "an empty line behind chunks": coded(CHUNKS + END) + b"\r\n",
    "a chunk behind": coded(CHUNKS + END) + END,
    "another answer behind": framed(LENGTH) + framed(LENGTH),
    "another answer behind chunks": coded(CHUNKS + END) + framed(LENGTH),
    "an interim answer behind": framed(LENGTH) + b"HTTP/1.1 100 Continue\r\n\r\n",
    "half a head behind": framed(LENGTH) + b"HTTP/1.1 200 OK\r\nContent-Le",
}
"""Served, and the next call goes over another connection."""

UNTIL_CLOSE = {
    "no length": framed(),
    "1.0, no length": framed(first=b"HTTP/1.0 200 OK"),
}
"""Served when the backend closes, and not before."""

REFUSED = {
    # Of what the status line says.
    "101": framed(LENGTH, first=b"HTTP/1.1 101 Switching Protocols"),
    "101 with upgrade": framed(
        b"Upgrade: x", b"Connection: Upgrade", first=b"HTTP/1.1 101 Switching Protocols"
    ),
    "0.9": framed(LENGTH, first=b"HTTP/0.9 200 OK"),
    "1.2": framed(LENGTH, first=b"HTTP/1.2 200 OK"),
    "2.0": framed(LENGTH, first=b"HTTP/2.0 200 OK"),
    "lower case": framed(LENGTH, first=b"http/1.1 200 OK"),
    "another protocol": framed(LENGTH, first=b"RTSP/1.0 200 OK"),
    "icy": framed(LENGTH, first=b"ICY 200 OK"),
    "status of two digits": framed(LENGTH, first=b"HTTP/1.1 20 OK"),
    "status of four digits": framed(LENGTH, first=b"HTTP/1.1 2000 OK"),
    "status 0": framed(LENGTH, first=b"HTTP/1.1 0 OK"),
    "status 099": framed(LENGTH, first=b"HTTP/1.1 099 OK"),
    "status negative": framed(LENGTH, first=b"HTTP/1.1 -20 OK"),
    "status signed": framed(LENGTH, first=b"HTTP/1.1 +20 OK"),
    "status with letters": framed(LENGTH, first=b"HTTP/1.1 2x0 OK"),
    "tab": framed(LENGTH, first=b"HTTP/1.1\t200 OK"),
    "nul in reason": framed(LENGTH, first=b"HTTP/1.1 200 O\0K"),
    # Of headers.
    "no colon": framed(LENGTH, b"what is this"),
    "no name": framed(LENGTH, b": x"),
    "blank before colon": framed(LENGTH, b"X-A : 1"),
    "blank before the length's colon": framed(b"Content-Length : %d" % SIZE),
    "blank in name": framed(LENGTH, b"X A: 1"),
    "control in name": framed(LENGTH, b"X\x01A: 1"),
    "latin-1 in name": framed(LENGTH, b"X\xe9: 1"),
    "nul in name": framed(LENGTH, b"X\0A: 1"),
    "nul in value": framed(LENGTH, b"X-A: a\0b"),
    "control in value": framed(LENGTH, b"X-A: a\x01b"),
    "delete in value": framed(LENGTH, b"X-A: a\x7fb"),
    "bare cr behind 100": b"HTTP/1.1 100 Continue\r\n\r\n\r" + framed(LENGTH),
    "bare lf behind 100": b"HTTP/1.1 100 Continue\r\n\r\n\n" + framed(LENGTH),
    "an empty line behind 102": b"HTTP/1.1 102 Processing\r\n\r\n\r\n" + framed(LENGTH),
    "bare cr in value": framed(LENGTH, b"X-A: a\rb"),
    "bare cr, and a header behind it": framed(LENGTH, b"X-A: a\rX-B: b"),
    "bare lf in value": framed(LENGTH, b"X-A: a\nb"),
    "bare lf ends the status line": framed(LENGTH).replace(b"\r\n", b"\n", 1),
    "bare lf ends every line": framed(LENGTH).replace(b"\r\n", b"\n"),
    "bare cr ends a header": framed(LENGTH).replace(b"json\r\n", b"json\r"),
    "folded": framed(LENGTH, b"X-A: 1", b" 2"),
    "length folded": framed(b"Content-Length:", b" %d" % SIZE),
    "coding folded": framed(b"Transfer-Encoding:", b" chunked", body=CHUNKS + END),
    "too many headers": framed(LENGTH, *[b"X-A: 1"] * 600),
    # Of lengths.
    "length signed": framed(b"Content-Length: +%d" % SIZE),
    "length negative": framed(b"Content-Length: -%d" % SIZE),
    "length with a dot": framed(b"Content-Length: %d.0" % SIZE),
    "length in hexadecimal": framed(b"Content-Length: 0x%x" % SIZE),
    "length with a line": framed(b"Content-Length: 0_%d" % SIZE),
    "length empty": framed(b"Content-Length:"),
    "length a word": framed(b"Content-Length: many"),
    "length with a blank within": framed(b"Content-Length: %d %d" % (SIZE, SIZE)),
    "length in other digits": framed("Content-Length: ٥".encode()),
    "length twice, the same": framed(LENGTH, LENGTH),
    "length twice": framed(LENGTH, b"Content-Length: 3"),
    "list of lengths, the same": framed(b"Content-Length: %d, %d" % (SIZE, SIZE)),
    "list of lengths": framed(b"Content-Length: %d, 3" % SIZE),
    "length that overflows 64 bits": framed(b"Content-Length: %d" % (2**64 + SIZE)),
    "length that overflows 32 bits": framed(b"Content-Length: %d" % (2**32 + SIZE)),
    "length of 30 digits": framed(b"Content-Length: " + b"9" * 30),
    "length cut": framed(b"Content-Length: %d" % (SIZE + 1)),
    "length and coding": framed(LENGTH, CODED, body=CHUNKS + END),
    "coding and length": framed(CODED, LENGTH, body=CHUNKS + END),
    # Of codings.
    "coding twice": framed(CODED, CODED, body=CHUNKS + END),
    "coding in a list twice": framed(b"Transfer-Encoding: chunked, chunked", body=CHUNKS + END),
    "identity and coding": framed(b"Transfer-Encoding: identity", CODED, body=CHUNKS + END),
    "coding and identity": framed(CODED, b"Transfer-Encoding: identity", body=CHUNKS + END),
    "identity": framed(LENGTH, b"Transfer-Encoding: identity"),
    "gzip and chunked": framed(b"Transfer-Encoding: gzip, chunked", body=CHUNKS + END),
    "an unknown coding": framed(b"Transfer-Encoding: xchunked", body=CHUNKS + END),
    "coding with a parameter": framed(b"Transfer-Encoding: chunked;q=1", body=CHUNKS + END),
    "coding in quotes": framed(b'Transfer-Encoding: "chunked"', body=CHUNKS + END),
    "coding empty": framed(b"Transfer-Encoding:", body=CHUNKS + END),
    "coding with vertical tab": framed(b"Transfer-Encoding: \x0bchunked", body=CHUNKS + END),
    # Of chunks.
    "chunk size signed": coded(chunk(BODY, b"+%x" % SIZE) + END),
    "chunk size negative": coded(chunk(BODY, b"-%x" % SIZE) + END),
    "chunk size 0x": coded(chunk(BODY, b"0x%x" % SIZE) + END),
    "chunk size with a line": coded(chunk(BODY, b"0_%x" % SIZE) + END),
    "chunk size empty": coded(chunk(BODY, b"") + END),
    "chunk size no number": coded(chunk(BODY, b"g") + END),
    "chunk size too large": coded(chunk(BODY, b"f" * 17) + END),
    "chunk size that overflows": coded(chunk(BODY, b"%x" % (2**64 + SIZE)) + END),
    "chunk size ends with lf": coded(b"%x\n%b\r\n" % (SIZE, BODY) + END),
    "chunk too short": coded(chunk(BODY, b"%x" % (SIZE - 1)) + END),
    "chunk too long": coded(chunk(BODY, b"%x" % (SIZE + 1)) + END),
    "chunk without its end": coded(b"%x\r\n%b" % (SIZE, BODY) + END),
    "chunk ends with lf": coded(b"%x\r\n%b\n" % (SIZE, BODY) + END),
    "no last chunk": coded(CHUNKS),
    "the last line is missing": coded(CHUNKS + b"0\r\n"),
    "trailer without colon": coded(CHUNKS + b"0\r\nxy\r\n\r\n"),
    # Of what is no HTTP.
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "only 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a page": b"<html></html>",
    "only the body": BODY,
}
"""No answer: 502, and nothing of it reaches a client."""

PIECES = pytest.mark.parametrize("pieces", [1, 5])


def test_the_table_is_large():
    assert len({**KEPT, **ONCE, **UNTIL_CLOSE, **REFUSED}) > 120


async def said(rig, data, pieces):
    """A call, and the backend that has said ``data`` to it, in so many pieces."""
    client = await rig.post(PATHS["openai"], ask("o"))
    backend = await next_request(rig)
    size = -(-len(data) // pieces) or 1
    for at in range(0, len(data), size):
        backend.transport.write(data[at : at + size])
        if pieces > 1:
            await deferLater(reactor, 0.003)
    return client, backend


@pytest_twisted.ensureDeferred
@PIECES
@pytest.mark.parametrize("name", [*KEPT, *ONCE])
async def test_what_is_served(rig, name, pieces):
    client, backend = await said(rig, {**KEPT, **ONCE}[name], pieces)
    await answered(client)
    assert client.head.startswith("http/1.1 200")
    assert client.body == BODY
    await rig.ended()
    if name in ONCE:
        # What comes in another piece may come after the end of the call.
        await deferLater(reactor, 0.005)
    await the_next_call_is_served(rig, "openai", "o", on=backend if name in KEPT else None)


@pytest_twisted.ensureDeferred
@PIECES
@pytest.mark.parametrize("name", UNTIL_CLOSE)
async def test_what_is_served_once_it_is_over(rig, name, pieces):
    client, backend = await said(rig, UNTIL_CLOSE[name], pieces)
    await deferLater(reactor, 0.02)
    assert not client.received
    backend.transport.loseConnection()
    await answered(client)
    assert client.head.startswith("http/1.1 200")
    assert client.body == BODY
    await rig.ended()
    await the_next_call_is_served(rig, "openai", "o")


@pytest_twisted.ensureDeferred
@PIECES
@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused(rig, name, pieces):
    client, backend = await said(rig, REFUSED[name], pieces)
    await deferLater(reactor, 0.005)
    backend.transport.loseConnection()
    await answered(client)
    assert told(client, "openai")[0] == 502
    assert "hé".encode() not in client.received
    await rig.ended()
    await the_next_call_is_served(rig, "openai", "o")
