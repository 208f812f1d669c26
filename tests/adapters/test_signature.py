"""Tokens that carry foreign reasoning through a signature field."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.shared.signature import from_wire, seal, to_wire, unseal
from lmbroker.translation.unified.parts import Signature


def test_the_token_of_plain_text_reasoning() -> None:
    assert seal({"k": "rc"}) == "lmb1.eyJrIjoicmMifQ"
    assert unseal("lmb1.eyJrIjoicmMifQ") == {"k": "rc"}


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.none()))
def test_what_is_sealed_can_be_read(kind: dict[str, object]) -> None:
    held = {**kind, "k": "rd"}
    token = seal(held)
    assert unseal(token) == held
    assert "=" not in token and token.isascii()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "EqQBCkYICxgCKkA=",
        "lmb1.",
        "lmb1.!!!!",
        "lmb1.e",
        "lmb1." + base64.urlsafe_b64encode(b"[1]").decode(),
        "lmb1." + base64.urlsafe_b64encode(b"{}").decode(),
        "lmb1." + base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        "lmb1.eyJrIjoicmMifQ\u00e4",
    ],
)
def test_what_is_no_token_is_none(value: str) -> None:
    assert unseal(value) is None


@pytest.mark.parametrize(
    "signature",
    [
        Signature(origin="signable", value="EqQB"),
        Signature(origin="text", field="reasoning_content"),
        Signature(origin="text", field="reasoning"),
        Signature(origin="details", value='[{"type":"reasoning.summary","summary":"\\u00e4"}]'),
        Signature(origin="responses", value='{"id":"rs_1","enc":"gAAA"}'),
        Signature(origin="responses", value='{"enc":"","n":[3,4],"c":1}'),
    ],
)
def test_signatures_survive_a_signature_field(signature: Signature) -> None:
    assert from_wire(to_wire(signature)) == signature


def test_a_broken_token_is_never_taken_for_a_signature_of_anthropic() -> None:
    assert from_wire("lmb1.broken!") == Signature(origin="text")
    assert from_wire(seal({"k": "at", "s": "EqQB"})) == Signature(origin="signable", value="EqQB")


def test_hidden_text_in_a_token_is_no_part_of_the_signature() -> None:
    kept = Signature(origin="responses", value='{"id":"rs_1"}')
    assert from_wire(seal({"k": "oi", "id": "rs_1", "t": "Hm."})) == kept
