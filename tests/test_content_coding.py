"""Compressed request bodies: what is taken, and what is refused without much work."""

import gzip
import os
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.errors import Refused
from lmbroker.server.content_coding import FREE, MOST_MEMBERS, RATIO, codings, decoded

LIMIT = 8 * 1024 * 1024


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
    "zstd": zstandard.ZstdCompressor().compress,
}


def coding_of(packer):
    return packer.removeprefix("raw ")


@pytest.mark.parametrize(
    ("header", "applied"),
    [
        ("", ()),
        ("identity", ()),
        ("gzip", ("gzip",)),
        ("GZIP", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("deflate", ("deflate",)),
        (" zstd ", ("zstd",)),
        ("gzip, zstd", ("gzip", "zstd")),
        ("identity,gzip", ("gzip",)),
    ],
)
def test_codings_are_read_from_the_header(header, applied):
    assert codings(header) == applied


@pytest.mark.parametrize("header", ["br", "compress", "gzip, br", "gzip, gzip, gzip", "x" * 500])
def test_any_other_coding_is_refused_by_name(header):
    with pytest.raises(Refused) as refused:
        codings(header)
    info = refused.value.info
    assert info.code == "unsupported_content_encoding" and info.param == "content-encoding"
    assert "gzip, deflate, zstd" in info.message and len(info.message) < 300


@given(
    packer=st.sampled_from([*PACKERS]),
    data=st.binary(max_size=5000) | st.builds(lambda n: b"ab" * n, st.integers(0, 100_000)),
)
def test_what_was_compressed_comes_out_again(packer, data):
    packed = PACKERS[packer](data)
    assert decoded(packed, (coding_of(packer),), LIMIT) == data


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_members_that_follow_each_other_are_one_body(packer):
    pack = PACKERS[packer]
    assert decoded(pack(b"a" * 9) + pack(b"b"), (packer,), LIMIT) == b"a" * 9 + b"b"


def test_codings_on_top_of_each_other_are_undone_in_reverse():
    packed = PACKERS["zstd"](PACKERS["gzip"](b"text"))
    assert decoded(packed, ("gzip", "zstd"), LIMIT) == b"text"


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("damage", ["cut", "tail", "garbage", "empty"])
def test_a_damaged_body_is_a_clear_400(packer, damage):
    packed = PACKERS[packer](os.urandom(3000))
    packed = {
        "cut": packed[:-5],
        "tail": packed + b"\0more",
        "garbage": b"\xff" * 40,
        "empty": b"",
    }[damage]
    with pytest.raises(Refused) as refused:
        decoded(packed, (coding_of(packer),), LIMIT)
    assert refused.value.info.code == "invalid_content_encoding"


@pytest.mark.parametrize("packer", PACKERS)
def test_a_body_above_the_limit_is_refused_while_it_is_decoded(packer):
    data = os.urandom(1024) * (2 * LIMIT // 1024)
    packed = PACKERS[packer](data)
    with pytest.raises(Refused) as refused:
        decoded(packed, (coding_of(packer),), LIMIT)
    assert refused.value.info.kind == "too_large"


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_takes_no_more_memory_than_the_bound(packer):
    packed = PACKERS[packer](b"\0" * (96 * 1024 * 1024))
    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        decoded(packed, (coding_of(packer),), LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.info.kind == "too_large"
    assert peak < LIMIT + 20 * 1024 * 1024


def test_a_body_that_expands_beyond_the_ratio_is_refused_below_the_limit():
    data = b"\0" * (4 * FREE)
    packed = PACKERS["zstd"](data)
    assert len(packed) * RATIO < len(data) < LIMIT
    with pytest.raises(Refused) as refused:
        decoded(packed, ("zstd",), LIMIT)
    assert f"more than {RATIO} times" in refused.value.info.message


def test_small_bodies_may_expand_as_they_like():
    data = b" " * FREE
    assert decoded(PACKERS["zstd"](data), ("zstd",), LIMIT) == data


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_the_members_of_a_body_are_bounded(packer):
    packed = PACKERS[packer](b"") * (MOST_MEMBERS + 1)
    with pytest.raises(Refused) as refused:
        decoded(packed, (packer,), LIMIT)
    assert refused.value.info.code == "invalid_content_encoding"
