"""What the lean client takes for a response, beside h11: the same body, the same end, or less."""

import re
from itertools import pairwise

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from lmbroker.backends.client.connection import Connection
from lmbroker.backends.client.pool import Pool
from lmbroker.backends.client.response import Response

KEY = (b"http", b"x", 80, "b", "")


def framed(*headers, body=b"", first=b"HTTP/1.1 200 OK"):
    """A response with these header lines."""
    return b"\r\n".join([first, *headers, b"", body])


CL5 = b"Content-Length: 5"
TE = b"Transfer-Encoding: chunked"
CHUNKS = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
CLOSE = b"Connection: close"


def with_length(*headers, **more):
    return framed(CL5, *headers, body=b"hello", **more)


def chunked(body=CHUNKS, *headers, **more):
    return framed(TE, *headers, body=body, **more)


VECTORS = {
    # Good.
    "length": with_length(b"Content-Type: application/json"),
    "no bytes": framed(b"Content-Length: 0"),
    "chunks": chunked(),
    "no chunks": chunked(b"0\r\n\r\n"),
    "chunk sizes with zeros and letters": chunked(b"00A\r\n0123456789\r\n000\r\n\r\n"),
    "chunk extensions": chunked(b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n'),
    "trailers": chunked(b"1\r\na\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
    "no length": framed(b"Content-Type: text/plain", body=b"until the end"),
    "no length, nothing": framed(),
    "close": with_length(CLOSE),
    "close with chunks": chunked(CHUNKS, CLOSE),
    "close in capitals": with_length(b"CONNECTION: CLOSE"),
    "close in a list": with_length(b"Connection: x, Close"),
    "1.0": with_length(first=b"HTTP/1.0 200 OK"),
    "1.0 kept": with_length(b"Connection: keep-alive", first=b"HTTP/1.0 200 OK"),
    "1.0 no length": framed(body=b"until the end", first=b"HTTP/1.0 200 OK"),
    "1.0 with chunks": chunked(first=b"HTTP/1.0 200 OK"),
    "204": framed(first=b"HTTP/1.1 204 No Content"),
    "304": framed(b"Content-Length: 9", first=b"HTTP/1.1 304 Not Modified"),
    "204 with length": framed(b"Content-Length: 5", first=b"HTTP/1.1 204 No Content"),
    "no reason": with_length(first=b"HTTP/1.1 200 "),
    "no reason, no space": with_length(first=b"HTTP/1.1 200"),
    "a long reason": with_length(first=b"HTTP/1.1 200 " + b"o" * 500),
    "a reason in latin-1": with_length(first=b"HTTP/1.1 404 Pas trouv\xe9"),
    "500": with_length(first=b"HTTP/1.1 500 Oops"),
    "600": with_length(first=b"HTTP/1.1 600 Odd"),
    "999": with_length(first=b"HTTP/1.1 999 Odd"),
    "100 first": framed(first=b"HTTP/1.1 100 Continue") + with_length(),
    "hints first": framed(b"Link: </x>", first=b"HTTP/1.1 103 Early Hints") + chunked(),
    "many 1xx": framed(first=b"HTTP/1.1 102 Processing") * 30 + with_length(),
    "empty value": with_length(b"X-Empty:"),
    "blanks around a value": with_length(b"X-A: \t 1 \t "),
    "length with blanks": framed(b"Content-Length:   5  ", body=b"hello"),
    "latin-1 in a value": with_length(b"X-A: \xe9\xff"),
    "many headers": with_length(*[b"X-A: 1"] * 100),
    "upgrade that is none": with_length(b"Upgrade: h2c", b"Connection: Upgrade"),
    # Cut.
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "head without its end": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
    "length cut": framed(CL5, body=b"hel"),
    "length, nothing": framed(CL5),
    "chunk cut": chunked(b"5\r\nhel"),
    "chunks without end": chunked(b"3\r\nabc\r\n"),
    "chunks without end, 1": chunked(b"3\r\nabc\r\n0"),
    "chunks without end, 2": chunked(b"3\r\nabc\r\n0\r\n"),
    "chunks without end, 3": chunked(b"3\r\nabc\r\n0\r\n\r"),
    "trailers cut": chunked(b"3\r\nabc\r\n0\r\nX: y\r\n"),
    "only 100": framed(first=b"HTTP/1.1 100 Continue"),
    # More than there should be.
    "surplus": with_length() + b"!",
    "surplus behind chunks": chunked() + b"0\r\n\r\n",
    "surplus behind 204": framed(first=b"HTTP/1.1 204 No Content") + b"x",
    "another response": with_length() + with_length(),
    "another response behind chunks": chunked() + with_length(),
    "surplus behind close": with_length(CLOSE) + b"HTTP/1.1 200 OK\r\n\r\n",
    "an empty line behind": with_length() + b"\r\n",
    "an empty line before": b"\r\n" + with_length(),
    "an empty line behind 100": framed(first=b"HTTP/1.1 100 Continue") + b"\r\n" + with_length(),
    "a cr behind 100": framed(first=b"HTTP/1.1 100 Continue") + b"\r" + with_length(),
    "an lf behind 100": framed(first=b"HTTP/1.1 100 Continue") + b"\n" + with_length(),
    "a cr between many 1xx": framed(first=b"HTTP/1.1 102 Processing") * 9
    + b"\r"
    + framed(first=b"HTTP/1.1 102 Processing")
    + with_length(),
    # No HTTP.
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "rtsp": with_length(first=b"RTSP/1.0 200 OK"),
    "rtsp behind 100": framed(first=b"HTTP/1.1 100 Continue")
    + with_length(first=b"RTSP/1.0 200 OK"),
    "ice": with_length(first=b"ICE/1.0 200 OK"),
    "icy": with_length(first=b"ICY 200 OK"),
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a page": b"<html></html>",
    # The status line.
    "lower case": with_length(first=b"http/1.1 200 OK"),
    "blank before": with_length(first=b" HTTP/1.1 200 OK"),
    "two blanks": with_length(first=b"HTTP/1.1  200 OK"),
    "tab": with_length(first=b"HTTP/1.1\t200 OK"),
    "0.9": with_length(first=b"HTTP/0.9 200 OK"),
    "1.2": with_length(first=b"HTTP/1.2 200 OK"),
    "2.0": with_length(first=b"HTTP/2.0 200 OK"),
    "2": with_length(first=b"HTTP/2 200 OK"),
    "11.1": with_length(first=b"HTTP/11.1 200 OK"),
    "status of 2 digits": with_length(first=b"HTTP/1.1 20 OK"),
    "status of 4 digits": with_length(first=b"HTTP/1.1 2000 OK"),
    "status 0": with_length(first=b"HTTP/1.1 0 OK"),
    "status 000": with_length(first=b"HTTP/1.1 000 OK"),
    "status 099": with_length(first=b"HTTP/1.1 099 OK"),
    "status negative": with_length(first=b"HTTP/1.1 -20 OK"),
    "status signed": with_length(first=b"HTTP/1.1 +20 OK"),
    "status with letters": with_length(first=b"HTTP/1.1 2x0 OK"),
    "101": framed(first=b"HTTP/1.1 101 Switching") + with_length(),
    "101 with upgrade": framed(
        b"Upgrade: x", b"Connection: Upgrade", first=b"HTTP/1.1 101 Switching", body=b"noise"
    ),
    "control in reason": with_length(first=b"HTTP/1.1 200 O\x01K"),
    "nul in reason": with_length(first=b"HTTP/1.1 200 O\0K"),
    # Headers.
    "no colon": with_length(b"what is this"),
    "no name": with_length(b": x"),
    "blank before colon": with_length(b"X-A : 1"),
    "length, blank before colon": framed(b"Content-Length : 5", body=b"hello"),
    "blank in name": with_length(b"X A: 1"),
    "blank before name": framed(b" X-A: 1", CL5, body=b"hello"),
    "control in name": with_length(b"X\x01A: 1"),
    "latin-1 in name": with_length(b"X\xe9: 1"),
    "bracket in name": with_length(b"X[]: 1"),
    "folded": with_length(b"X-A: 1", b" 2"),
    "folded by a tab": with_length(b"X-A: 1", b"\t2"),
    "length folded": framed(b"Content-Length:", b" 5", body=b"hello"),
    "coding folded": framed(b"Transfer-Encoding:", b" chunked", body=CHUNKS),
    "nul in value": with_length(b"X-A: a\0b"),
    "control in value": with_length(b"X-A: a\x01b"),
    "escape in value": with_length(b"X-A: a\x1bb"),
    "delete in value": with_length(b"X-A: a\x7fb"),
    "cr in value": with_length(b"X-A: a\rb"),
    "lf in value": with_length(b"X-A: a\nb"),
    "lf ends status line": b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello",
    "lf ends header": b"HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\nhello",
    "lf ends head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello",
    "lf everywhere": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "cr ends header": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\r\nhello",
    "cr cr lf": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\r\nhello",
    "too many headers": with_length(*[b"X-A: 1"] * 600),
    "no end of headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 300_000,
    # Lengths.
    "length signed": framed(b"Content-Length: +5", body=b"hello"),
    "length negative": framed(b"Content-Length: -5", body=b"hello"),
    "length with a dot": framed(b"Content-Length: 5.0", body=b"hello"),
    "length in hexadecimal": framed(b"Content-Length: 0x5", body=b"hello"),
    "length with a line": framed(b"Content-Length: 0_5", body=b"hello"),
    "length with zeros": framed(b"Content-Length: 0005", body=b"hello"),
    "length empty": framed(b"Content-Length:", body=b"hello"),
    "length a word": framed(b"Content-Length: five", body=b"hello"),
    "length with a blank within": framed(b"Content-Length: 5 5", body=b"hello"),
    "length in other digits": framed("Content-Length: ٥".encode(), body=b"hello"),
    "length of 19 digits": framed(b"Content-Length: 9999999999999999999", body=b"hello"),
    "length of 30 digits": framed(b"Content-Length: " + b"9" * 30, body=b"hello"),
    "two lengths, same": framed(CL5, CL5, body=b"hello"),
    "two lengths": framed(CL5, b"Content-Length: 3", body=b"hello"),
    "list of lengths, same": framed(b"Content-Length: 5, 5", body=b"hello"),
    "list of lengths": framed(b"Content-Length: 5, 3", body=b"hello"),
    # Codings.
    "length and coding": framed(CL5, TE, body=CHUNKS),
    "coding and length": framed(TE, CL5, body=CHUNKS),
    "coding in capitals": framed(b"TRANSFER-ENCODING: CHUNKED", body=CHUNKS),
    "coding twice": framed(TE, TE, body=CHUNKS),
    "coding in a list twice": framed(b"Transfer-Encoding: chunked, chunked", body=CHUNKS),
    "gzip, chunked": framed(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "gzip and chunked": framed(b"Transfer-Encoding: gzip", TE, body=CHUNKS),
    "chunked, gzip": framed(b"Transfer-Encoding: chunked, gzip", body=CHUNKS),
    "gzip": framed(b"Transfer-Encoding: gzip", body=b"hello"),
    "identity": framed(b"Transfer-Encoding: identity", body=b"hello"),
    "identity and length": framed(b"Transfer-Encoding: identity", CL5, body=b"hello"),
    "an unknown coding": framed(b"Transfer-Encoding: xchunked", body=CHUNKS),
    "another unknown coding": framed(b"Transfer-Encoding: chunkedx", body=CHUNKS),
    "coding with a parameter": framed(b"Transfer-Encoding: chunked;q=1", body=CHUNKS),
    "coding in quotes": framed(b'Transfer-Encoding: "chunked"', body=CHUNKS),
    "coding empty": framed(b"Transfer-Encoding:", body=CHUNKS),
    "coding with a comma": framed(b"Transfer-Encoding: chunked,", body=CHUNKS),
    "coding behind a comma": framed(b"Transfer-Encoding: ,chunked", body=CHUNKS),
    "coding with vertical tab": framed(b"Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "coding of 204": chunked(first=b"HTTP/1.1 204 No Content"),
    "coding of 100": chunked(first=b"HTTP/1.1 100 Continue") + with_length(),
    # Chunks.
    "chunk size signed": chunked(b"+3\r\nabc\r\n0\r\n\r\n"),
    "chunk size negative": chunked(b"-3\r\nabc\r\n0\r\n\r\n"),
    "chunk size 0x": chunked(b"0x3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with a line": chunked(b"0_3\r\nabc\r\n0\r\n\r\n"),
    "chunk size empty": chunked(b"\r\nabc\r\n0\r\n\r\n"),
    "chunk size no number": chunked(b"g\r\nabc\r\n0\r\n\r\n"),
    "chunk size with a blank before": chunked(b" 3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with a blank behind": chunked(b"3 \r\nabc\r\n0\r\n\r\n"),
    "chunk size of 16 digits": chunked(b"0000000000000003\r\nabc\r\n0\r\n\r\n"),
    "chunk size of 20 digits": chunked(b"00000000000000000003\r\nabc\r\n0\r\n\r\n"),
    "chunk size of 30 digits": chunked(b"0" * 29 + b"3\r\nabc\r\n0\r\n\r\n"),
    "chunk size too large": chunked(b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    "chunk size ends with lf": chunked(b"3\nabc\r\n0\r\n\r\n"),
    "chunk size ends with cr": chunked(b"3\rabc\r\n0\r\n\r\n"),
    "chunk too short": chunked(b"2\r\nabc\r\n0\r\n\r\n"),
    "chunk too long": chunked(b"4\r\nabc\r\n0\r\n\r\n"),
    "chunk ends with lf": chunked(b"3\r\nabc\n0\r\n\r\n"),
    "chunk ends with cr": chunked(b"3\r\nabc\r0\r\n\r\n"),
    "chunk without its end": chunked(b"3\r\nabc0\r\n\r\n"),
    "last chunk ends with lf": chunked(b"3\r\nabc\r\n0\n\n"),
    "extension with control": chunked(b"3;a=\x01\r\nabc\r\n0\r\n\r\n"),
    "extension with lf": chunked(b"3;a\nabc\r\n0\r\n\r\n"),
    "extension without name": chunked(b"3;\r\nabc\r\n0\r\n\r\n"),
    "extension after a blank": chunked(b"3 ;a\r\nabc\r\n0\r\n\r\n"),
    "extension without end": chunked(b"3;a=" + b"b" * 300_000),
    "trailer with a blank in its name": chunked(b"0\r\nX Y: 1\r\n\r\n"),
    "trailer without colon": chunked(b"0\r\nxy\r\n\r\n"),
    "trailer with length": chunked(b"1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "trailer with coding": chunked(b"1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "trailer with an unknown coding": chunked(b"0\r\nTransfer-Encoding: gzip\r\n\r\n"),
    "trailer without end": chunked(b"1\r\na\r\n0\r\nX: " + b"y" * 300_000),
}


class Taker(Protocol):
    def __init__(self):
        self.body = b""
        self.end = None

    def dataReceived(self, data):
        self.body += data

    def connectionLost(self, reason):
        assert self.end is None
        self.end = reason


def ours(data, *cuts):
    """What becomes of it here: the status, the body, how that ended, and whether the connection
    is kept. None where it is no response."""
    clock = Clock()
    pool = Pool(clock)
    connection = Connection(pool, KEY)
    wire = StringTransport()
    wire.abortConnection = wire.loseConnection
    connection.makeConnection(wire)
    taker, got = Taker(), []
    sent = connection.send(b"POST / HTTP/1.1\r\n\r\n", True, Response())
    sent.addCallbacks(got.append, got.append)
    sent.addCallback(lambda _: got[0].deliverBody(taker) if hasattr(got[0], "code") else None)
    places = [0, *cuts, len(data)]
    for start, end in pairwise(places):
        if data[start:end] and not wire.disconnecting:
            connection.dataReceived(data[start:end])
    kept = pool.take(KEY) is connection
    if not kept:
        connection.connectionLost(Failure(ConnectionDone()))
    [response] = got
    if isinstance(response, Failure):
        assert not kept and taker.end is None
        return None
    if taker.end.check(ResponseDone):
        end = "whole"
    else:
        end = "until close" if taker.end.check(PotentialDataLoss) else "broken"
    return response.code, taker.body, end, kept


def theirs(data):
    """The same, from h11."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=256 * 1024)
    parser.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    status, body, end, kept = None, b"", "broken", False
    try:
        for piece, kind in ((data, "whole"), (b"", "until close")):
            if end != "broken":
                break
            parser.receive_data(piece)
            while (event := parser.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    end = kind
                    kept = parser.their_state is h11.DONE and parser.trailing_data == (b"", False)
                    break
                elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    break
    except h11.RemoteProtocolError:
        end, kept = "broken", False
    return None if status is None else (status, body, end, kept)


NO_FOLDING = "obsolete folding may be refused (RFC 9112 5.2), so two parsers may disagree"
NO_CONTROL = (
    "field values hold no control characters (RFC 9110 5.5); some parsers end strings at them"
)
ONE_END = "a parser MAY take a bare LF as the end of a line (RFC 9112 2.2), so two may disagree"
ONE_LENGTH = "which length holds is for each parser to say (RFC 9112 6.3 lets us refuse)"
NO_VERSION = "no backend speaks it over a connection that we have opened"
NOT_THERE = "it is not in the grammar (RFC 9112 7.1)"

STRICTER = {
    "0.9": NO_VERSION,
    "1.2": NO_VERSION,
    "2.0": NO_VERSION,
    "folded": NO_FOLDING,
    "folded by a tab": NO_FOLDING,
    "length folded": NO_FOLDING,
    "coding folded": NO_FOLDING,
    "control in value": NO_CONTROL,
    "escape in value": NO_CONTROL,
    "delete in value": NO_CONTROL,
    "lf ends status line": ONE_END,
    "lf ends header": ONE_END,
    "lf ends head": ONE_END,
    "lf everywhere": ONE_END,
    "too many headers": "their count is bounded, and not only their bytes",
    "two lengths, same": ONE_LENGTH,
    "list of lengths, same": ONE_LENGTH,
    "length and coding": ONE_LENGTH,
    "coding and length": ONE_LENGTH,
    "chunk size with a blank behind": NOT_THERE,
    "extension with control": NOT_THERE,
    "extension without name": NOT_THERE,
    "trailer with length": "it must not be there (RFC 9110 6.5.1)",
}
"""What h11 takes whole and we refuse or call broken, and why we may."""

LAXER = {
    "1.0 kept": "h11 keeps no connection to HTTP/1.0; one that says keep-alive may be kept",
    "chunk size of 30 digits": "zeros in front change no number",
    "trailer with an unknown coding": "trailers are thrown away unread",
}
"""What we take and h11 refuses, or does not keep, and why that cannot hurt."""

SHORT = [name for name in VECTORS if len(VECTORS[name]) < 2000]


def agree(mine, its):
    """Whether we say what h11 says."""
    if mine is None or its is None:
        return mine is its
    return mine == its or (mine[2] == its[2] == "broken" and mine[0] == its[0])


def test_the_corpus_is_large():
    assert len(VECTORS) > 140


@pytest.mark.parametrize("name", VECTORS)
def test_we_say_what_h11_says(name):
    mine, its = ours(VECTORS[name]), theirs(VECTORS[name])
    if name in STRICTER:
        assert mine is None or mine[2] == "broken"
        assert its is not None and its[2] == "whole"
    elif name in LAXER:
        assert mine[2] == "whole" and (its is None or its[3] is False)
    else:
        assert agree(mine, its)


@pytest.mark.parametrize("name", SHORT)
def test_it_is_the_same_byte_by_byte(name):
    data = VECTORS[name]
    mine, whole = ours(data, *range(1, len(data))), ours(data)
    if name == "an empty line behind":
        # On its own it is seen.
        assert mine == (*whole[:3], False)
    else:
        assert mine == whole


PIECES = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b";",
        b",",
        b"0",
        b"5",
        b"x",
        b"\x0b",
        b"\xa0",
    ]
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 2), PIECES), max_size=3)
CUTS = st.lists(st.floats(0, 1), max_size=4)

DAMAGED = [
    name
    for name in SHORT
    if name not in LAXER and name not in ("chunk size of 20 digits", "trailer with coding")
]
"""But for what one more digit or letter makes laxer."""

REASON = re.compile(rb"(HTTP/1\.[01] [0-9]{3}) [^\r\n]*(?=\r\n)")


def tidied(data):
    """Without that in which we are laxer."""
    return REASON.sub(rb"\1", data)


def kept_by_h11(data):
    """Whether h11 keeps the connection, but for what is left of empty lines behind."""
    while theirs(data)[3] is False:
        if not data.endswith((b"\r", b"\n")):
            return False
        data = data[:-1]
    return True


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(DAMAGED), EDITS, CUTS)
@example("many 1xx", [(0.79224, 0, b"\r")], [])
@example("many 1xx", [(0.79224, 0, b"\r")], [0.79224])
def test_what_h11_refuses_we_refuse_however_it_is_damaged_and_cut(name, edits, cuts):
    data = VECTORS[name]
    for place, removed, piece in edits:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + removed :]
    mine = ours(data, *sorted(int(cut * len(data)) for cut in cuts))
    whole = ours(data)
    assert mine == whole or mine[:3] == whole[:3]
    if mine is not None and mine[2] != "broken":
        its = theirs(tidied(data))
        # A damaged length makes what was behind a part of the body.
        assert (mine[0], tidied(mine[1]), mine[2]) == (its[0], tidied(its[1]), its[2])
        assert not mine[3] or kept_by_h11(tidied(data)) or b"HTTP/1.0" in data


def _framed(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


INSIDE = (
    b"a",
    b"data: 1\n\n",
    b"\r\n",
    b"1\r\na\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"5\r\n",
    b"2",
)


@given(
    events=st.lists(st.lists(st.sampled_from(INSIDE), max_size=4).map(b"".join), max_size=6),
    end=st.sampled_from([b"0\r\n\r\n", b"", b"1\r\na", b"01\r\na\r\n0\r\n\r\n", b"x\r\n"]),
    picked=st.data(),
)
def test_a_chunk_that_is_read_alone_is_one_only_where_a_chunk_is_due(events, end, picked):
    """Reads that end where a chunk does, or where the content of one looks as if it did."""
    data = chunked(b"".join(_framed(event) for event in events if event) + end)
    marks = [found.end() for found in re.finditer(rb"\r\n", data)]
    marks += [found.start() for found in re.finditer(rb"[0-9a-f]+\r\n", data)]
    head = data.index(b"\r\n\r\n") + 4
    cuts = picked.draw(st.sets(st.sampled_from([at for at in marks if at >= head] or [head])))
    assert ours(data, *sorted(cuts)) == theirs(data)
