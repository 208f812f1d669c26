"""The site beside h11, an independent and careful HTTP/1.1 parser: what h11 refuses we refuse.
And its two engines beside each other: they take the same for the same.

Each vector is one way in which two parsers may see two different requests. Where we refuse what
h11 takes, the reason stands here.
"""

import re
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from site_in_memory import Listener, chunked, post

ENGINES = ("lean", "stock")
HEAD = b"Host: a\r\n"


def get(*lines, first=b"GET / HTTP/1.1"):
    return first + b"\r\n" + HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def framed(*lines, body=b"hello"):
    """A POST whose framing headers are all given."""
    first = b"POST / HTTP/1.1\r\n" + HEAD
    return first + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


CL5 = b"Content-Length: 5"
TE = b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"

VECTORS = {
    # Plain ones, so that a site which refuses everything does not pass.
    "get": get(),
    "post": post(b"hello"),
    "chunked": chunked(b"hello"),
    "chunked, other case": framed(b"transfer-encoding: CHUNKED", body=CHUNKS),
    "chunk extension": framed(TE, body=b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    "chunk size with zeros": framed(TE, body=b"0005\r\nhello\r\n0\r\n\r\n"),
    "trailer": framed(TE, body=b"5\r\nhello\r\n0\r\nx-a: 1\r\n\r\n"),
    "http 1.0": b"GET / HTTP/1.0\r\n\r\n",
    "empty value": get(b"X:"),
    "tab in value": get(b"X: a\tb"),
    "latin-1 in value": get(b"X: caf\xe9"),
    # Which length.
    "cl and te": framed(CL5, TE, body=CHUNKS),
    "te and cl": framed(TE, CL5, body=CHUNKS),
    "two cl, same": framed(CL5, CL5),
    "two cl, different": framed(CL5, b"Content-Length: 6"),
    "cl list, same": framed(b"Content-Length: 5, 5"),
    "cl list, different": framed(b"Content-Length: 5, 6"),
    "cl plus": framed(b"Content-Length: +5"),
    "cl minus": framed(b"Content-Length: -5"),
    "cl hex": framed(b"Content-Length: 0x5"),
    "cl underscore": framed(b"Content-Length: 0_5"),
    "cl fraction": framed(b"Content-Length: 5.0"),
    "cl empty": framed(b"Content-Length:"),
    "cl inner space": framed(b"Content-Length: 0 5"),
    "cl other digits": framed("Content-Length: \u0665".encode()),
    "cl of 21 digits": framed(b"Content-Length: 000000000000000000005"),
    "cl of 19 digits": framed(b"Content-Length: 0000000000000000005"),
    "cl vertical tab": framed(b"Content-Length: \x0b5"),
    "cl name with space": framed(b"Content-Length : 5"),
    "cl name with underscore": framed(b"Content_Length: 5", body=b""),
    # Which coding.
    "te identity": framed(b"Transfer-Encoding: identity", CL5),
    "te identity alone": framed(b"Transfer-Encoding: identity", body=b""),
    "te chunked, identity": framed(b"Transfer-Encoding: chunked, identity", body=CHUNKS),
    "te gzip, chunked": framed(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "te twice": framed(TE, TE, body=CHUNKS),
    "te chunked then identity": framed(TE, b"Transfer-Encoding: identity", body=CHUNKS),
    "te identity then chunked": framed(b"Transfer-Encoding: identity", TE, body=CHUNKS),
    "te xchunked": framed(b"Transfer-Encoding: xchunked", body=CHUNKS),
    "te quoted": framed(b'Transfer-Encoding: "chunked"', body=CHUNKS),
    "te with parameter": framed(b"Transfer-Encoding: chunked;a=b", body=CHUNKS),
    "te empty": framed(b"Transfer-Encoding:", body=b""),
    "te empty and cl": framed(b"Transfer-Encoding:", CL5),
    "te vertical tab": framed(b"Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "te nul": framed(b"Transfer-Encoding: chunked\0", body=CHUNKS),
    "te trailing comma": framed(b"Transfer-Encoding: chunked,", body=CHUNKS),
    "te name with space": framed(b"Transfer-Encoding : chunked", body=CHUNKS),
    "te name with tab": framed(b"Transfer-Encoding\t: chunked", body=CHUNKS),
    "te folded": framed(b"Transfer-Encoding:\r\n chunked", body=CHUNKS),
    "te behind a folded line": framed(b"X: 1\r\n Transfer-Encoding: chunked", CL5),
    "te in 1.0": chunked(b"hello").replace(b"HTTP/1.1", b"HTTP/1.0"),
    # Where a line ends.
    "lf ends request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "lf ends header": b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    "lf ends head": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "lf everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "lf hides te": framed(b"X: 1\nTransfer-Encoding: chunked", CL5),
    "cr hides te": framed(b"X: 1\rTransfer-Encoding: chunked", CL5),
    "cr in request line": get(first=b"GET /\r HTTP/1.1"),
    "nul in value": get(b"X: a\0b"),
    "nul in name": get(b"X\0: a"),
    "delete in value": get(b"X: a\x7fb"),
    "escape in value": get(b"X: a\x1bb"),
    "header folded": get(b"X: a\r\n b"),
    "first header folded": b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
    "header without colon": get(b"X"),
    "header without name": get(b": 1"),
    "header name latin-1": get(b"X\xe9: 1"),
    "header name with brackets": get(b"X(1): 1"),
    # Which request.
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": get(b"Host: a"),
    "two different hosts": get(b"Host: b"),
    "two hosts in 1.0": get(b"Host: a", first=b"GET / HTTP/1.0"),
    "version 0.9": b"GET /\r\n\r\n",
    "version 1.2": get(first=b"GET / HTTP/1.2"),
    "version 2.0": get(first=b"GET / HTTP/2.0"),
    "version lower case": get(first=b"GET / http/1.1"),
    "version of two digits": get(first=b"GET / HTTP/1.10"),
    "version with zero": get(first=b"GET / HTTP/01.1"),
    "two spaces": get(first=b"GET  / HTTP/1.1"),
    "tab for space": get(first=b"GET\t/ HTTP/1.1"),
    "space in target": get(first=b"GET /a b HTTP/1.1"),
    "space at the end": get(first=b"GET / HTTP/1.1 "),
    "space at the start": get(first=b" GET / HTTP/1.1"),
    "target not ascii": get(first=b"GET /\xa0 HTTP/1.1"),
    "target with delete": get(first=b"GET /\x7f HTTP/1.1"),
    "method with brackets": get(first=b"G(T / HTTP/1.1"),
    "method empty": get(first=b" / HTTP/1.1"),
    "garbage": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    # Where a chunk ends.
    "chunk size hex prefix": framed(TE, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size plus": framed(TE, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size minus": framed(TE, body=b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size underscore": framed(TE, body=b"0_5\r\nhello\r\n0\r\n\r\n"),
    "chunk size empty": framed(TE, body=b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size space before": framed(TE, body=b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk size space behind": framed(TE, body=b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk size space before extension": framed(TE, body=b"5 ;a=b\r\nhello\r\n0\r\n\r\n"),
    "chunk size of 21 digits": framed(TE, body=b"000000000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk size enormous": framed(TE, body=b"fffffffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "chunk size ended by lf": framed(TE, body=b"5\nhello\r\n0\r\n\r\n"),
    "chunk ended by lf": framed(TE, body=b"5\r\nhello\n0\r\n\r\n"),
    "chunk longer than its size": framed(TE, body=b"5\r\nhello!\r\n0\r\n\r\n"),
    "chunk extension with lf": framed(TE, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk extension with nul": framed(TE, body=b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    "last chunk ended by lf": framed(TE, body=b"5\r\nhello\r\n0\n\n"),
    "trailer without colon": framed(TE, body=b"0\r\nx\r\n\r\n"),
    "trailer with space before colon": framed(TE, body=b"0\r\nx : 1\r\n\r\n"),
    "trailer folded": framed(TE, body=b"0\r\nx: 1\r\n 2\r\n\r\n"),
    "trailer with nul": framed(TE, body=b"0\r\nx: \0\r\n\r\n"),
    "trailer with lf": framed(TE, body=b"0\r\nx: 1\ny: 2\r\n\r\n"),
    "trailer cl": framed(TE, body=b"0\r\ncontent-length: 7\r\n\r\n"),
    "trailer te": framed(TE, body=b"0\r\ntransfer-encoding: chunked\r\n\r\n"),
}

ONE_LENGTH = (
    "which length holds is for each parser to say (RFC 9112 6.3 asks us to refuse or to choose)"
)
ONE_END = "a parser MAY take a bare LF as the end of a line (RFC 9112 2.2), so two may disagree"
NO_FOLDING = "a server may refuse obsolete folding or mend it (RFC 9112 5.2), so two may disagree"
NO_CODING = "HTTP/1.0 knows no codings: another parser reads the body to the end of the connection"
NO_VERSION = "there is no such version of HTTP, and HTTP/2 is framed otherwise"
NO_CONTROL = (
    "field values hold no control characters (RFC 9110 5.5); some parsers end strings at them"
)
NO_SPACE = "whitespace behind a chunk's size is not in the grammar (RFC 9112 7.1.1)"

STRICTER = {
    "cl and te": ONE_LENGTH,
    "te and cl": ONE_LENGTH,
    "two cl, same": ONE_LENGTH,
    "cl list, same": ONE_LENGTH,
    "cl of 19 digits": "no body has a length of 19 digits, and zeros in front have no purpose",
    "te folded": NO_FOLDING,
    "te behind a folded line": NO_FOLDING,
    "header folded": NO_FOLDING,
    "trailer folded": NO_FOLDING,
    "te in 1.0": NO_CODING,
    "lf ends request line": ONE_END,
    "lf ends header": ONE_END,
    "lf ends head": ONE_END,
    "lf everywhere": ONE_END,
    "trailer with lf": ONE_END,
    "trailer cl": "it must not be there (RFC 9110 6.5.1); some parsers merge trailers into headers",
    "trailer te": "it must not be there (RFC 9110 6.5.1); some parsers merge trailers into headers",
    "version 1.2": NO_VERSION,
    "version 2.0": NO_VERSION,
    "delete in value": NO_CONTROL,
    "escape in value": NO_CONTROL,
    "chunk extension with nul": NO_CONTROL,
    "chunk size space behind": NO_SPACE,
}
"""What h11 takes and we refuse, and why we may."""

LAXER = b"\r\n"
"""What we take and h11 refuses: an empty line before a request. Servers SHOULD skip one (RFC 9112
2.2), since old clients send one behind a body; it begins no request in any parser."""


def h11_takes(data):
    """Whether h11 sees a whole request."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    try:
        parser.receive_data(data)
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return False
            if isinstance(event, h11.EndOfMessage):
                return True
    except h11.RemoteProtocolError:
        return False


def outcome(data, engine, *, bytewise=False):
    """Whether the site takes it as a request; if it answers otherwise, that must be a refusal."""
    listener = Listener(engine=engine)
    pieces = [data[at : at + 1] for at in range(len(data))] if bytewise else [data]
    client = listener.connect().send(*pieces)
    if not client.answers:
        return False
    status = client.answers[0].status
    if status in (200, 404, 405):  # the two are about a target which is no path
        return True
    assert status in (400, 413, 431) and client.wire.half_closed and not listener.served()
    return False


def test_the_corpus_is_large():
    assert len(VECTORS) > 80


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", VECTORS)
def test_what_h11_refuses_we_refuse(name, engine):
    ours, theirs = outcome(VECTORS[name], engine), h11_takes(VECTORS[name])
    assert ours == outcome(VECTORS[name], engine, bytewise=True)
    assert ours == (theirs and name not in STRICTER)


def test_where_we_are_stricter_h11_is_not():
    assert [name for name in STRICTER if not h11_takes(VECTORS[name])] == []


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
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 2), PIECES), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(VECTORS)), EDITS)
def test_what_h11_refuses_we_refuse_however_it_is_damaged(name, edits):
    data = VECTORS[name]
    for place, removed, piece in edits:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + removed :]
    taken = {outcome(data, engine) for engine in ENGINES}
    if taken != {False}:
        assert taken == {True} and h11_takes(data.removeprefix(LAXER))


PLAIN = (
    post(b"hello", b"/wait?a=1&a=2&b=", b"Connection: keep-alive", b"X-A: 1 \t", b"x-a:2"),
    get(b"Cookie: a=1; b=2", first=b"GET /%7euser//x?%20 HTTP/1.1"),
    get(first=b"HEAD /health HTTP/1.1"),
    get(b"Connection: close"),
    get(b"Connection: TE, Keep-Alive", b"Upgrade: websocket"),
    framed(b"Expect: 100-continue", CL5),
    post(b"hello" + get(), b"/wait", length=5),
    get() + get(first=b"GET /wait HTTP/1.1") + b"GET",
    get(b"X: " + b"x" * 2000),
    get(*[b"X: 1"] * 30),
    framed(b"Content-Length: 2000", body=b"x" * 2000),
)


def history(data, cuts, engine):
    """All that both sides see of a connection on which ``data`` comes in pieces."""
    listener = Listener(engine=engine, body=1500, header_bytes=1500, line=1000, header_count=25)
    client = listener.connect()
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    client.send(*(data[start:end] for start, end in pairwise(places)))
    answers = [
        (
            answer.status,
            {name: value for name, value in answer.headers.items() if name not in PASSING},
            re.sub(rb"req_\w+", b"", answer.body),
        )
        for answer in client.answers
    ]
    requests = [
        (
            request.method,
            request.uri,
            request.path,
            request.clientproto,
            request.args,
            request.prepath,
            request.postpath,
            request.received_cookies,
            dict(request.requestHeaders.getAllRawHeaders()),
            getattr(request, "content", None) and request.content.getvalue(),
        )
        for request in listener.resource.requests
    ]
    wire, channel = client.wire, client.channel
    ends = (wire.half_closed, wire.disconnecting, wire.aborted, channel.phase)
    return answers, requests, ends, listener.site.body_bytes, listener.site.refused


PASSING = ("date", "request-id", "x-request-id", "x-lmbroker-request-id")


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from((*PLAIN, *VECTORS.values())),
    st.lists(st.sampled_from((b"", b"\r\n", *PLAIN)), max_size=2),
    EDITS | st.just([]),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_both_engines_take_the_same_for_the_same(first, more, edits, cuts):
    data = first + b"".join(more)
    for place, removed, piece in edits:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + removed :]
    assert history(data, cuts, "lean") == history(data, cuts, "stock")
