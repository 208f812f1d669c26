"""What bytes are, told by the bytes."""

import base64

import pytest

from lmbroker.translation.shared.media import (
    data_url,
    image_type,
    is_pdf,
    is_text,
    parse_data_url,
    text_of,
)
from lmbroker.translation.unified.parts import Base64


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(90), "image/jpeg"),
        (b"GIF89a" + bytes(5), "image/gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", None),
        (b"BM" + bytes(20), None),
        (b"", None),
    ],
)
def test_images_by_their_magic_bytes(data: bytes, expected: str | None) -> None:
    assert image_type(b64(data)) == expected


def test_what_is_not_base64_is_no_image() -> None:
    assert image_type("\u00e4\u00f6\u00fc!") is None


def test_pdf_by_label_name_or_bytes() -> None:
    assert is_pdf("", "application/pdf")
    assert is_pdf("", filename="A.PDF")
    assert is_pdf(b64(b"%PDF-1.7"))
    assert not is_pdf(b64(b"PK\x03\x04"), "application/zip", "a.zip")


def test_texts() -> None:
    assert is_text("text/csv") and is_text("application/json")
    assert is_text("application/octet-stream", "a.md") and is_text("", "a.txt")
    assert not is_text("application/zip", "a.txt") and not is_text("")
    assert text_of(b64("gr\u00fcn".encode())) == "gr\u00fcn"
    assert text_of(b64(b"\xff\xfe")) is None and text_of("%%%") is None


def test_data_urls() -> None:
    assert parse_data_url("data:image/png;base64,QUJD") == Base64(
        media_type="image/png", data="QUJD"
    )
    assert parse_data_url("data:IMAGE/PNG;name=a.png;base64,QUJD") == Base64(
        media_type="image/png", data="QUJD"
    )
    assert parse_data_url("data:,a%20b") == Base64(media_type="text/plain", data=b64(b"a b"))
    assert parse_data_url("https://example.com/") is None
    assert parse_data_url("data:image/png;base64") is None


def test_a_plain_data_url_comes_back() -> None:
    url = "data:image/png;base64,QUJD"
    source = parse_data_url(url)
    assert source is not None and data_url(source) == url
