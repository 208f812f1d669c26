"""Decodes compressed request bodies, with bounds on their size and on their expansion.

RFC 9110 8.4: ``content-encoding`` lists codings in the order in which they were applied. The
broker takes gzip, deflate (RFC 9110 8.4.1.2: in the zlib format) and zstd (RFC 8878); ``identity``
means no coding. Bodies are decoded in steps, so that a decompression bomb costs no more than the
bound.
"""

import zlib
from collections.abc import Iterator

import zstandard

from lmbroker.errors import Refused

CODINGS = ("gzip", "deflate", "zstd")
"""The codings that a body may have."""

MOST_CODINGS = 2
"""The maximum of codings that are applied to one body."""

RATIO = 200
"""How many times its length a body may expand to, above ``FREE`` bytes. Conversations reach 10 to
20; only repetitions of the same text come near a thousand."""

FREE = 1024 * 1024
"""The bytes that every body may expand to, whatever its ratio."""

MOST_MEMBERS = 1000
"""The maximum of gzip members, or zstd frames, of a body: each of them costs some work."""

_ZLIB_STEP = 64 * 1024
_OUT_STEP = 256 * 1024
_ZSTD_STEP = 512
"""The bytes that are decoded at once. A block of zstd expands to 128 KiB from as little as 4 bytes,
and the decoder returns all of its input's output at once: a step yields 16 MiB at most."""
_ALIASES = {"x-gzip": "gzip"}


def codings(header: str) -> tuple[str, ...]:
    """Return the codings in a ``content-encoding`` header, in the order of their application.

    Raises Refused (415) for one that the broker does not know.
    """
    found: list[str] = []
    for text in header.split(","):
        name = text.strip().lower()
        name = _ALIASES.get(name, name)
        if name in ("", "identity"):
            continue
        if name not in CODINGS or len(found) == MOST_CODINGS:
            raise Refused(
                "invalid_request",
                f"the content-encoding {name[:40]!r} is not supported here; send the body as it "
                f"is, or compressed with one of {', '.join(CODINGS)}",
                param="content-encoding",
                code="unsupported_content_encoding",
            )
        found.append(name)
    return tuple(found)


def decoded(body: bytes, applied: tuple[str, ...], limit: int) -> bytes:
    """Return ``body`` without the codings that were ``applied`` to it.

    Raises Refused for a body that is not of its coding, that expands to more than ``limit`` bytes,
    or that expands by more than ``RATIO``.
    """
    for name in reversed(applied):
        body = _decoded(body, name, limit)
    return body


def _decoded(body: bytes, name: str, limit: int) -> bytes:
    most = min(limit, max(FREE, RATIO * len(body)))
    out: list[bytes] = []
    size = 0
    try:
        for piece in _zstd(body) if name == "zstd" else _zlib(body, name):
            size += len(piece)
            if size > most:
                raise _too_large(limit) if size > limit else _expands(name)
            out.append(piece)
    except (zlib.error, zstandard.ZstdError, EOFError):
        raise Refused(
            "invalid_request",
            f"the request body is not valid {name}",
            param="content-encoding",
            code="invalid_content_encoding",
        ) from None
    return b"".join(out)


def _zlib(body: bytes, name: str) -> Iterator[bytes]:
    """Return the decoded pieces of a deflate or gzip body.

    Gzip may have many members (RFC 1952 2.2).
    """
    if name == "gzip":
        window = 16 + zlib.MAX_WBITS
    else:
        # Some clients send the raw format, without zlib's header (RFC 9110 8.4.1.2, note).
        raw = len(body) < 2 or body[0] & 0x0F != 8 or (body[0] << 8 | body[1]) % 31
        window = -zlib.MAX_WBITS if raw else zlib.MAX_WBITS
    at = 0
    for _ in range(MOST_MEMBERS if name == "gzip" else 1):
        decoder = zlib.decompressobj(window)
        while not decoder.eof:
            given = decoder.unconsumed_tail
            if not given:
                given = body[at : at + _ZLIB_STEP]
                at += len(given)
                if not given:
                    raise EOFError
            yield decoder.decompress(given, _OUT_STEP)
        at -= len(decoder.unused_data)
        if at == len(body):
            return
    raise EOFError


def _zstd(body: bytes) -> Iterator[bytes]:
    """Return the decoded pieces of a zstd body, which may have several frames (RFC 8878 3.1).

    The window is bounded by 8 MiB, as RFC 8878 3.1.1.1.2 recommends.
    """
    context = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
    at = 0
    for _ in range(MOST_MEMBERS):
        frame = context.decompressobj()
        while not frame.eof:
            given = body[at : at + _ZSTD_STEP]
            at += len(given)
            if not given:
                raise EOFError
            yield frame.decompress(given)
        at -= len(frame.unused_data)
        if at == len(body):
            return
    raise EOFError


def _too_large(limit: int) -> Refused:
    return Refused(
        "too_large",
        f"the request body is larger than {limit} bytes when decoded",
        code="request_too_large",
    )


def _expands(name: str) -> Refused:
    return Refused(
        "too_large",
        f"the request body expands more than {RATIO} times when its {name} is decoded",
        code="request_too_large",
    )
