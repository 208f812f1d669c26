"""Credentials leave no trace in relayed texts."""

import pytest

from lmbroker.redaction import redact
from lmbroker.secret import Secret


def test_a_known_secret_is_masked_wherever_it_stands():
    text = b'{"error":"key hunter2hunter2 is wrong, hunter2hunter2!"}'
    assert redact(text, [Secret("hunter2hunter2"), None]) == b'{"error":"key *** is wrong, ***!"}'


@pytest.mark.parametrize(
    "key",
    [
        b"sk-proj-abcdefghijklmnop",
        b"sk-ant-api03-abcdefghijkl_mno-AA",
        b"gsk_abcdefghijklmnop",
        b"xai-abcdefghijklmnop",
        b"AIzaSyabcdefghijklmnopqrstuvw",
        b"sk-abcd********wxyz",
    ],
)
def test_the_shapes_of_keys_are_masked(key):
    assert redact(b"Incorrect API key provided: " + key + b". See") == (
        b"Incorrect API key provided: ***. See"
    )


def test_bearer_values_are_masked():
    assert redact(b"got Bearer abc.def-ghi_jkl") == b"got Bearer ***"


@pytest.mark.parametrize(
    "text", [b"the key-value store", b"task-force", b"risk-adjusted returns", b"sk-"]
)
def test_plain_words_stay(text):
    assert redact(text) == text
