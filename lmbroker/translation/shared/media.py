"""Media types of files and images: by magic bytes, labels and data URLs (translation.md 2.8)."""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from lmbroker.translation.unified.parts import Base64

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
"""Types of images that both vendors take."""

_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?P<params>(?:;[^;,]*)*),", re.IGNORECASE)
_TEXT_TYPES = frozenset(
    f"application/{name}"
    for name in ("json", "xml", "yaml", "x-yaml", "javascript", "x-ndjson", "toml", "sql")
)
_TEXT_ENDINGS = (".txt", ".md", ".csv", ".json", ".xml", ".yaml", ".yml", ".html", ".log")
_HEAD = 64
"""Base64 characters that are enough to see the magic bytes."""


def image_type(data: str) -> str | None:
    """Return the media type of an image by its first bytes, None for an unknown one.

    ``data`` is base64.
    """
    head = _head(data)
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def is_pdf(data: str, media_type: str = "", filename: str | None = None) -> bool:
    """Return whether base64 ``data`` is a PDF, by its label, its file name or its first bytes."""
    return (
        media_type == "application/pdf"
        or (filename or "").lower().endswith(".pdf")
        or _head(data).startswith(b"%PDF")
    )


def is_text(media_type: str, filename: str | None = None) -> bool:
    """Return whether a file of this media type or name is plain text."""
    if media_type in ("", "application/octet-stream"):
        return (filename or "").lower().endswith(_TEXT_ENDINGS)
    return media_type.startswith("text/") or media_type in _TEXT_TYPES


def text_of(data: str) -> str | None:
    """Return the text in base64 ``data``, None where it is not base64 of UTF-8."""
    try:
        return base64.b64decode(data, validate=True).decode("utf-8-sig")
    except (binascii.Error, ValueError):
        return None


def parse_data_url(url: str) -> Base64 | None:
    """Return the content of a ``data:`` URL (RFC 2397), None for any other URL.

    Percent-encoded data becomes base64; base64 data is not checked.
    """
    found = _DATA_URL.match(url)
    if found is None:
        return None
    data = url[found.end() :]
    params = found["params"].lower().split(";")
    if "base64" not in params:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return Base64(media_type=found["type"].strip().lower() or "text/plain", data=data)


def data_url(source: Base64) -> str:
    """Return ``source`` as a ``data:`` URL."""
    return f"data:{source.media_type};base64,{source.data}"


def _head(data: str) -> bytes:
    text = data[:_HEAD].strip()
    try:
        return base64.b64decode(text[: len(text) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""
