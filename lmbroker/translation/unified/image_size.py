"""Width and height of an image from its first bytes: PNG, GIF, JPEG, WebP."""

import re
import struct

LOOKED_AT = 256 * 1024
"""The bytes of an image that are enough to find its size behind any metadata."""

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of a frame header, which holds the size (ITU T.81, B.2.2)."""
_BETWEEN = re.compile(rb"(?:\xff(?=\xff)|\xff[\x01\xd0-\xd8])*")
"""Fill bytes and markers without a segment."""
_SEGMENTS = 2000
"""The maximum of segments before a JPEG's frame header: metadata in many pieces make hundreds."""
_WEBP = re.compile(rb"RIFF....WEBP(VP8 |VP8L|VP8X)", re.DOTALL)


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) of an image in pixels, None where ``data`` does not show it."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data.startswith(b"\xff\xd8"):
            width, height = _jpeg(data)
        else:
            width, height = _webp(data)
    except (struct.error, IndexError, ValueError):
        return None
    return (width, height) if width and height else None


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(_SEGMENTS):
        between = _BETWEEN.match(data, at)
        at = at if between is None else between.end()
        if data[at] != 0xFF:
            raise ValueError("not at a marker")
        if data[at + 1] in _SOF:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise ValueError("no frame header")


def _webp(data: bytes) -> tuple[int, int]:
    found = _WEBP.match(data)
    kind = found[1] if found else b""
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no image that we know")
