"""Which headers cross the broker."""

import msgspec
import pytest

from lmbroker import headers
from lmbroker.call import Call
from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.catalog import ADAPTERS

FACTS = {name: adapter.facts.headers for name, adapter in ADAPTERS.items()}
BETA = "context-1m-2025-08-07"
SENT = {
    "host": "broker",
    "authorization": "Bearer client-key",
    "x-api-key": "client-key",
    "api-key": "client-key",
    "cookie": "a=b",
    "connection": "keep-alive, x-secret-hop",
    "x-secret-hop": "1",
    "accept-encoding": "gzip",
    "content-length": "12",
    "transfer-encoding": "chunked",
    "user-agent": "claude-cli/2.1",
    "x-stainless-lang": "js",
    "x-forwarded-for": "10.0.0.1",
    "x-app": "cli",
    "anthropic-version": "2026-10-21",
    "anthropic-beta": "one,two",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-workspace-id": "w",
    "anthropic-user-profile-id": "u",
    "openai-organization": "o",
    "openai-project": "p",
    "openai-beta": "b",
    "x-client-request-id": "c",
    "idempotency-key": "i",
    "x-claude-code-session-id": "s",
}


def call(dialect):
    return Call(id="req_1", operation="chat", dialect=dialect, asked="m", body=b"{}", headers=SENT)


def test_native_anthropic_keeps_its_own_headers_only():
    sent = dict(headers.to_backend(call("anthropic"), FACTS["anthropic"], native=True, stream=True))
    assert sent == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "user-agent": headers.USER_AGENT,
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "one,two",
        "anthropic-dangerous-direct-browser-access": "true",
        "idempotency-key": "i",
    }


def test_native_openai_keeps_its_own_headers_only():
    sent = dict(headers.to_backend(call("openai"), FACTS["openai"], native=True, stream=False))
    assert sent == {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": headers.USER_AGENT,
        "openai-beta": "b",
        "x-client-request-id": "c",
        "idempotency-key": "i",
    }


def test_a_translated_call_brings_no_vendor_header():
    to_openai = headers.to_backend(call("anthropic"), FACTS["openai"], native=False, stream=False)
    assert {name for name, _ in to_openai} == {"content-type", "accept", "user-agent"}
    to_anthropic = dict(
        headers.to_backend(call("openai"), FACTS["anthropic"], native=False, stream=False)
    )
    assert to_anthropic["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in to_anthropic


KEYS = [
    {"authorization": "Bearer client-key"},
    {"x-api-key": "client-key"},
    {"authorization": "Bearer client-key", "x-api-key": "client-key"},
    {"api-key": "client-key"},
    {"cookie": "key=client-key"},
    {"proxy-authorization": "client-key"},
    {"x-goog-api-key": "client-key"},
]


@pytest.mark.parametrize("sent", KEYS)
@pytest.mark.parametrize("client", list(FACTS))
@pytest.mark.parametrize("backend", list(FACTS))
def test_case_88_no_credential_of_a_client_reaches_a_backend(client, backend, sent):
    asked = Call(id="r", operation="chat", dialect=client, asked="m", body=b"{}", headers=sent)
    out = headers.to_backend(asked, FACTS[backend], native=client == backend, stream=False)
    assert "client-key" not in repr(out)
    assert not {name for name, _ in out} & set(sent)


@pytest.mark.parametrize(
    ("client", "given", "version"),
    [
        ("anthropic", {"anthropic-version": "2026-10-21"}, "2026-10-21"),
        ("anthropic", {}, "2023-06-01"),
        ("openai", {}, "2023-06-01"),
        ("openai", {"anthropic-version": "2026-10-21"}, "2023-06-01"),
    ],
)
def test_case_89_the_version_that_an_anthropic_backend_gets(client, given, version):
    asked = Call(id="r", operation="chat", dialect=client, asked="m", body=b"{}", headers=given)
    sent = headers.to_backend(asked, FACTS["anthropic"], native=client == "anthropic", stream=False)
    assert [value for name, value in sent if name == "anthropic-version"] == [version]


def test_case_89_betas_pass_verbatim_natively_and_stay_away_from_a_translated_call():
    betas = "claude-code-20250219, unheard-of-2026-01-01,,one"
    given = {"anthropic-beta": betas}
    for client in FACTS:
        asked = Call(id="r", operation="chat", dialect=client, asked="m", body=b"{}", headers=given)
        native = client == "anthropic"
        sent = dict(headers.to_backend(asked, FACTS["anthropic"], native=native, stream=True))
        assert sent.get("anthropic-beta") == (betas if native else None)
    asked = Call(
        id="r", operation="chat", dialect="anthropic", asked="m", body=b"{}", headers=given
    )
    assert "anthropic-beta" not in dict(
        headers.to_backend(asked, FACTS["openai"], native=False, stream=True)
    )


HOP_BY_HOP = [
    "host",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "content-length",
    "content-encoding",
    "accept-encoding",
]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_case_90_headers_of_the_hop_end_here(dialect):
    given = dict.fromkeys(HOP_BY_HOP, "x")
    asked = Call(id="r", operation="chat", dialect=dialect, asked="m", body=b"{}", headers=given)
    sent = {
        name for name, _ in headers.to_backend(asked, FACTS[dialect], native=True, stream=False)
    }
    assert not sent & set(HOP_BY_HOP)


@pytest.mark.parametrize(
    ("dialect", "name"), [("anthropic", "anthropic-beta"), ("openai", "openai-beta")]
)
def test_case_90_what_connection_names_ends_here(dialect, name):
    given = {name: "x", "connection": f"close, {name.title()} "}
    asked = Call(id="r", operation="chat", dialect=dialect, asked="m", body=b"{}", headers=given)
    assert name not in dict(headers.to_backend(asked, FACTS[dialect], native=True, stream=False))


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("said", ["", "keep-alive", "close", "x-none, keep-alive"])
def test_a_connection_that_names_no_header_ends_none(dialect, said):
    asked, plain = (
        Call(id="r", operation="chat", dialect=dialect, asked="m", body=b"{}", headers=given)
        for given in (SENT | {"connection": said}, {**SENT, "connection": "x-secret-hop"})
    )
    ways = [
        headers.to_backend(each, FACTS[dialect], native=True, stream=False)
        for each in (asked, plain)
    ]
    assert ways[0] == ways[1]


def test_the_user_agent_names_the_broker_alone():
    for native in (True, False):
        sent = dict(
            headers.to_backend(call("openai"), FACTS["openai"], native=native, stream=False)
        )
        assert sent["user-agent"].startswith("LMBroker/")


def test_a_missing_version_is_filled_in():
    plain = Call(id="r", operation="chat", dialect="anthropic", asked="m", body=b"{}")
    sent = dict(headers.to_backend(plain, FACTS["anthropic"], native=True, stream=False))
    assert sent["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "x-should-retry"])
def test_case_92_the_words_on_trying_again_pass(name):
    assert headers.from_backend({name: "1", "server": "x"}) == ((name, "1"),)


def test_case_92_an_error_relays_what_the_backend_said_on_trying_again():
    info = ErrorInfo(
        kind="rate_limit",
        message="",
        retry_after="Mon, 23 Nov 2026 10:00:00 GMT",
        retry_after_ms="250",
        should_retry="true",
    )
    assert headers.from_error(info) == (
        ("retry-after", "Mon, 23 Nov 2026 10:00:00 GMT"),
        ("retry-after-ms", "250"),
        ("x-should-retry", "true"),
    )


def test_who_has_no_key_is_told_how_to_show_one():
    info = ErrorInfo(kind="auth", message="no key")
    assert headers.from_error(info) == (("www-authenticate", "Bearer"),)
    assert headers.from_error(ErrorInfo(kind="permission", message="no")) == ()


def test_an_account_without_money_is_not_asked_again():
    info = ErrorInfo(kind="billing", message="")
    assert headers.from_error(info) == (("x-should-retry", "false"),)
    assert headers.from_error(info, native=True) == ()
    told = ErrorInfo(kind="billing", message="", should_retry="true")
    assert headers.from_error(told) == (("x-should-retry", "true"),)


def test_only_retry_headers_of_a_backend_pass():
    assert headers.from_backend(
        {
            "retry-after": "3",
            "x-should-retry": "false",
            "server": "x",
            "set-cookie": "a=b",
            "openai-organization": "org",
            "anthropic-ratelimit-requests-remaining": "9",
            "cf-ray": "1",
        }
    ) == (("retry-after", "3"), ("x-should-retry", "false"))


def test_the_request_id_has_the_clients_name():
    assert dict(headers.identity(FACTS["anthropic"], "req_1"))["request-id"] == "req_1"
    named = dict(headers.identity(FACTS["openai"], "req_1", backend_id="theirs", attempts=2))
    assert named["x-request-id"] == "theirs"
    assert named["x-lmbroker-request-id"] == "req_1"
    assert named["x-lmbroker-attempts"] == "2"
    assert "x-lmbroker-dropped" not in named


def test_names_that_others_chose_cannot_break_a_header():
    """A model's name and the names of unknown fields are anybody's, of any length."""
    told = dict(
        headers.identity(
            FACTS["openai"],
            "req_1",
            model="mod\N{LATIN SMALL LETTER E WITH ACUTE}l\r\nx-evil: 1",
            dropped="a\x00b," + "c" * 100_000,
        )
    )
    assert told["x-lmbroker-model"] == "mod?l??x-evil: 1"
    assert told["x-lmbroker-dropped"].startswith("a?b,ccc")
    assert len(told["x-lmbroker-dropped"]) == headers.HEADER_TEXT


def test_the_long_context_is_asked_of_claude_only() -> None:
    asked = msgspec.structs.replace(call("anthropic"), long_context=True, headers={})
    beta = ("anthropic-beta", BETA)
    for model, expected in (
        ("claude-sonnet-4-6", True),
        ("us.anthropic.claude-x", True),
        ("kimi", False),
    ):
        for native in (True, False):
            sent = headers.to_backend(
                asked, FACTS["anthropic"], native=native, stream=False, model=model
            )
            assert (beta in sent) is expected
    assert beta not in headers.to_backend(
        asked, FACTS["openai"], native=False, stream=False, model="claude"
    )
    told = msgspec.structs.replace(asked, headers={"anthropic-beta": "a,b"})
    sent = dict(
        headers.to_backend(told, FACTS["anthropic"], native=True, stream=False, model="claude-x")
    )
    assert sent["anthropic-beta"] == f"a,b,{BETA}"
