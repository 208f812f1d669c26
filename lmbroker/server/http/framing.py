"""Refuses HTTP/1.1 framing that some other parser would accept.

Where two parsers disagree, a proxy in front of the broker might see other requests than the broker
does (request smuggling). RFC 9112 allows leniency in most of these cases, which no client of an LLM
needs. Each function that returns a problem returns its text for the client, or None; no part of the
request is quoted in it.
"""

import re

CONTENT_LENGTH_DIGITS = 18
CHUNK_SIZE_DIGITS = 16

CONTROLS = bytes((*range(9), *range(10, 32), 127))
"""All control characters but the tab. A bare CR or LF is one of them: only CR LF ends a line."""

INITIALS = b" \tcCtT"
"""``header_problem`` finds no problem in a line with another first byte and no CONTROLS."""

_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*")


def request_line_problem(line: bytes) -> str | None:
    """Return the problem of a request line that Twisted would accept (RFC 9112 3)."""
    if line.translate(None, CONTROLS) != line:
        return "the request line holds a control character"
    if not line.isascii():
        return "the request line holds a byte that is not ASCII"
    return None


def header_problem(line: bytes, request_line: bytes) -> str | None:
    """Return the problem of a raw header line, which is not empty (RFC 9112 2.2, 5.2 and 6)."""
    if line[0] in b" \t":
        return "a header is folded over several lines"
    if line.translate(None, CONTROLS) != line:
        return "a header holds a control character"
    name, _, value = line.partition(b":")
    name, value = name.lower(), value.strip(b" \t")
    if name == b"transfer-encoding":
        if value.lower() != b"chunked":
            return "transfer-encoding must be chunked and nothing else"
        if not request_line.endswith(b"HTTP/1.1"):
            return "HTTP/1.0 knows no transfer-encoding"
    elif name == b"content-length" and len(value) > CONTENT_LENGTH_DIGITS:
        return f"content-length has more than {CONTENT_LENGTH_DIGITS} digits"
    return None


def hosts_problem(hosts: int, request_line: bytes) -> str | None:
    """Return the problem of a number of Host headers (RFC 9112 3.2).

    Their values are never used.
    """
    if hosts > 1 or (hosts == 0 and request_line.endswith(b"HTTP/1.1")):
        return "there must be exactly one host header"
    return None


def plain_length(value: str | None) -> int:
    """Return the length of a body by its Content-Length, -1 where that is unusual.

    Twisted's parser reads it then.
    """
    if value is None:
        return 0
    plain = value.isascii() and value.isdigit() and len(value) <= CONTENT_LENGTH_DIGITS
    return int(value) if plain else -1


def chunk_size_is_long(line: bytes | bytearray) -> bool:
    """Return whether the chunk's size at the beginning of ``line`` is too long (RFC 9112 7.1).

    ``line`` is whole, or at least one byte longer than a size may be.
    """
    size = line[: CHUNK_SIZE_DIGITS + 1].partition(b"\r")[0].partition(b";")[0]
    return len(size) > CHUNK_SIZE_DIGITS


def trailer_problem(line: bytes) -> str | None:
    """Return the problem of a field after the last chunk, None where it is well formed.

    Such fields are discarded (RFC 9110 6.5.1).
    """
    if not _FIELD.fullmatch(line):
        return "a trailer field is malformed"
    if line.partition(b":")[0].lower() in (b"transfer-encoding", b"content-length"):
        return "a trailer field speaks of the body's length"
    return None
