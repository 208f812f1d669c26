"""A short plain response is read without llhttp, and exactly as llhttp reads it."""

import pytest

from lmbroker.backends.client.response import Response
from lmbroker.backends.client.response_parser import ResponseParser
from lmbroker.backends.header_lines import FIELDS

PLAIN = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:b\r\nX-Empty:\r\n\r\nhi",
    b"HTTP/1.1 429 Too Many\t\xe9\r\ncontent-length:2\r\nRetry-After: \t 7 \t\r\n\r\nhi",
    b"HTTP/1.1 500 \r\nX-B: \xfc: x:y\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
)
OTHERS = (
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 304 None\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n folded\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    b"HTTP/1.1 101 Other\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
)


def read(pieces):
    """What a parser makes of these reads: head, body, whether it is whole and whether it failed."""
    parser = ResponseParser()
    parser.expect(Response())
    body = b""
    for piece in pieces:
        if parser.error is None:
            body += parser.feed(piece)
    response = parser.response
    head = None
    if response is not None:
        values = sorted((k.lower(), v) for k, v in response.headers.getAllRawHeaders())
        head = response.code, response.version, dict(response.fields), values, response.length
    fed = parser._llhttp.get_status_code() if hasattr(parser._llhttp, "get_status_code") else None
    return fed, (head, body, parser.whole, parser.whole and parser.keeps, parser.error is not None)


def one_by_one(data):
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("data", [*PLAIN, *OTHERS])
def test_one_read_gives_what_many_reads_give(data):
    assert read([data])[1] == read(one_by_one(data))[1]


@pytest.mark.parametrize("data", PLAIN)
def test_only_a_plain_response_is_read_without_llhttp(data):
    assert not read([data])[0]
    assert read(one_by_one(data))[0]
    assert read([data])[1][2]


@pytest.mark.parametrize("data", OTHERS)
def test_every_other_response_is_left_to_llhttp(data):
    assert read([data])[0] != 0 or read([data])[1][4]


def test_the_parser_reads_any_kind_of_response_after_any_other():
    parser = ResponseParser()
    for data in (PLAIN[0], OTHERS[3], PLAIN[1], OTHERS[6], PLAIN[0]):
        parser.expect(Response())
        body = parser.feed(data)
        assert (body, parser.whole, parser.error) == (b"hi", True, None)


def test_field_values_have_no_blanks_around_them():
    assert FIELDS.findall("\r\nA:1\r\nB: \t x y \t\r\nC:\r\nD:  ") == [
        ("A", "1"),
        ("B", "x y"),
        ("C", ""),
        ("D", ""),
    ]
