"""Which headers cross the broker."""

from lmbroker import headers
from lmbroker.call import Call

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
    return Call(id="req_1", operation="chat", dialect=dialect, alias="m", body=b"{}", headers=SENT)


def test_native_anthropic_keeps_its_own_headers_only():
    sent = dict(headers.to_backend(call("anthropic"), "anthropic", native=True, stream=True))
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
    sent = dict(headers.to_backend(call("openai"), "openai", native=True, stream=False))
    assert sent == {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": headers.USER_AGENT,
        "openai-beta": "b",
        "x-client-request-id": "c",
        "idempotency-key": "i",
    }


def test_a_translated_call_brings_no_vendor_header():
    to_openai = headers.to_backend(call("anthropic"), "openai", native=False, stream=False)
    assert {name for name, _ in to_openai} == {"content-type", "accept", "user-agent"}
    to_anthropic = dict(headers.to_backend(call("openai"), "anthropic", native=False, stream=False))
    assert to_anthropic["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in to_anthropic


def test_a_missing_version_is_filled_in():
    plain = Call(id="r", operation="chat", dialect="anthropic", alias="m", body=b"{}")
    sent = dict(headers.to_backend(plain, "anthropic", native=True, stream=False))
    assert sent["anthropic-version"] == "2023-06-01"


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
    assert dict(headers.identity("anthropic", "req_1"))["request-id"] == "req_1"
    named = dict(headers.identity("openai", "req_1", backend_id="theirs", attempts=2))
    assert named["x-request-id"] == "theirs"
    assert named["x-lmbroker-request-id"] == "req_1"
    assert named["x-lmbroker-attempts"] == "2"
    assert "x-lmbroker-dropped" not in named
