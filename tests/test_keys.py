"""Who may call."""

import pytest

from lmbroker.call import Caller
from lmbroker.errors import Refused
from lmbroker.routing.keys import HASH, Key, caller_of, digest_of, hash_of, may_use

ALICE = Key(name="alice", digest=digest_of("lmb-alice"))
BOB = Key(name="bob", digest=digest_of("lmb-bob"), models=("claude-*", "fast"))
KEYS = (ALICE, BOB)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer lmb-bob"},
        {"authorization": "bearer  lmb-bob "},
        {"x-api-key": "lmb-bob"},
        {"api-key": "lmb-bob"},
        {"x-api-key": "lmb-bob", "authorization": "Bearer lmb-bob"},
        {"x-api-key": "lmb-bob", "authorization": "Bearer something-else"},
    ],
)
def test_case_88_a_key_is_taken_from_every_header_that_clients_use(headers):
    caller = caller_of(KEYS, headers)
    assert caller == Caller(name="bob", models=("claude-*", "fast"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "lmb-bob"},
        {"authorization": "Basic lmb-bob"},
        {"authorization": "Bearer"},
        {"x-api-key": "LMB-BOB"},
        {"x-api-key": "lmb-bob "},
        {"authorization": "Bearer sch\u00f6n\udc80"},
        {"authorization": f"Bearer {BOB.digest.hex()}"},
    ],
)
def test_every_other_credential_gets_the_same_refusal(headers):
    with pytest.raises(Refused) as refusal:
        caller_of(KEYS, headers)
    info = refusal.value.info
    assert (info.kind, info.code) == ("auth", "invalid_api_key")
    assert info.message == "the API key is missing or not valid"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"authorization": "Bearer lmb-bob"}, True),
        ({"x-api-key": "lmb-bob"}, True),
        ({"api-key": "lmb-bob"}, True),
        ({"x-api-key": "", "authorization": "Bearer lmb-bob"}, True),
        ({"x-api-key": "lmb-bob", "authorization": "Bearer lmb-bob"}, False),
    ],
)
def test_one_header_must_not_name_two_keys(headers, refused):
    """The first in the order in which they are looked at counts."""
    first = next(iter(headers))
    assert caller_of(KEYS, headers).name == "bob"
    if refused:
        with pytest.raises(Refused):
            caller_of(KEYS, headers, {first})
    else:
        assert caller_of(KEYS, headers, {"authorization"}).name == "bob"


def test_without_keys_everybody_is_anonymous():
    assert caller_of((), {"authorization": "Bearer whatever"}) == Caller()


@pytest.mark.parametrize(
    ("alias", "allowed"),
    [("claude-opus", True), ("fast", True), ("faster", False), ("Claude-opus", False)],
)
def test_a_key_may_be_for_some_models_only(alias, allowed):
    assert may_use(Caller(name="bob", models=BOB.models), alias) is allowed
    assert may_use(Caller(name="alice"), alias) is True


@pytest.mark.parametrize(
    ("alias", "asked", "allowed"),
    [
        ("fast", "x", True),
        ("f*", "fast", True),
        ("*", "fast", True),
        ("f*", "faster", False),
        ("claude-*", "x", True),
        # The name has led to an alias that is not for it: by ``default``.
        ("big", "fast", False),
        ("big", "claude-nothing", False),
        ("big-*", "claude-nothing", False),
        ("big*", "claude-*", False),
        ("big", "claude-*", False),
    ],
)
def test_a_name_that_was_asked_for_counts_only_where_the_alias_is_a_pattern(alias, asked, allowed):
    assert may_use(Caller(name="bob", models=BOB.models), alias, asked) is allowed


def test_a_hash_is_written_as_the_configuration_reads_it():
    assert HASH.fullmatch(hash_of("lmb-bob"))[1] == BOB.digest.hex()


def test_a_key_shows_its_name_only():
    assert repr(BOB) == "Key('bob')"
