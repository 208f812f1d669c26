"""Errors from a backend of one dialect to a client of the other, judged by the client's own SDK;
and the broker's own errors in both shapes (translation.md section 5)."""

import json
from functools import cache
from typing import Any, NamedTuple

import anthropic
import httpx2
import msgspec
import openai
import pytest

from lmbroker import envelope, headers, json_text
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import BackendRefused, Broken, ErrorInfo, Refused
from lmbroker.routing import aliases
from lmbroker.secret import Secret
from lmbroker.translation.dialects.anthropic_messages import errors as anthropic_errors
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai import errors as openai_errors
from lmbroker.translation.losses import Losses
from lmbroker.translation.shared.fields import Fields, bad_value, missing
from lmbroker.workflows.conversion import backend_error
from lmbroker.workflows.passthrough import Passthrough
from lmbroker.workflows.translation import Translation

OURS = "req_lmbroker"
ASKED = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}'


class Told(NamedTuple):
    """What a client gets, and what its SDK makes of it."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    raised: Any

    @property
    def error(self) -> dict[str, Any]:
        return self.body["error"]


def told(client: str, info: ErrorInfo) -> Told:
    status, body = ADAPTERS[client].encode_error(info, OURS)
    head = dict(headers.from_error(info))
    head[ADAPTERS[client].facts.headers.request_id] = info.backend_request_id or OURS
    return Told(status, head, body, raised(client, status, head, json_text.encode(body)))


ASK: Any = [{"role": "user", "content": "hi"}]
ANSWER = [httpx2.Response(200)]
"""What the SDKs' transport answers."""


@cache
def sdk(client: str) -> Any:
    """The client's SDK over a transport without a network."""
    transport = httpx2.MockTransport(lambda request: ANSWER[0])
    if client == "openai":
        http = openai.DefaultHttpxClient(transport=transport)
        return openai.OpenAI(api_key="k", base_url="http://b/v1", max_retries=0, http_client=http)
    http = anthropic.DefaultHttpxClient(transport=transport)
    return anthropic.Anthropic(api_key="k", base_url="http://b", max_retries=0, http_client=http)


def raised(client: str, status: int, head: dict[str, str], body: bytes) -> Any:
    """The exception that the client's SDK raises for an answer."""
    ANSWER[0] = httpx2.Response(
        status, headers={"content-type": "application/json", **head}, content=body
    )
    if client == "openai":
        with pytest.raises(openai.APIStatusError) as failure:
            sdk(client).chat.completions.create(model="m", messages=ASK)
    else:
        with pytest.raises(anthropic.APIStatusError) as failure:
            sdk(client).messages.create(model="m", max_tokens=1, messages=ASK)
    return failure.value


def retried(error: Any) -> bool:
    """Whether the SDK that raised ``error`` would try again."""
    client = sdk("openai" if isinstance(error, openai.APIError) else "anthropic")
    return bool(client._should_retry(error.response))


def crossed(
    backend: str, status: int, body: Any, head: dict[str, str] | None = None, *, client: str = ""
) -> Told:
    """A backend's error, told to a client of the other dialect."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    other = client or ("anthropic" if backend == "openai" else "openai")
    return told(other, backend_error(ADAPTERS[backend], status, head or {}, raw))


def o_body(
    type: str, code: str | None = None, message: str = "Words.", param: str | None = None
) -> Any:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def a_body(type: str, message: str = "Words.", **more: Any) -> Any:
    error = {"type": type, "message": message, **more}
    return {"type": "error", "error": error, "request_id": "req_011"}


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if line and not line.startswith("#")]


# Case 82: every row of 5.2, from an OpenAI backend to an Anthropic client ...

TO_ANTHROPIC = rows("""
# status type code -> status type class retried
400 invalid_request_error - 400 invalid_request_error BadRequestError no
405 invalid_request_error - 400 invalid_request_error BadRequestError no
415 invalid_request_error - 400 invalid_request_error BadRequestError no
422 invalid_request_error - 400 invalid_request_error BadRequestError no
400 x content_filter 400 invalid_request_error BadRequestError no
400 x context_length_exceeded 400 invalid_request_error BadRequestError no
500 exceed_context_size_error - 400 invalid_request_error BadRequestError no
413 invalid_request_error - 413 request_too_large RequestTooLargeError no
402 unknown - 402 billing_error APIStatusError no
429 insufficient_quota insufficient_quota 402 billing_error APIStatusError no
429 x credit_balance_exhausted 402 billing_error APIStatusError no
429 billing_not_active - 402 billing_error APIStatusError no
429 x billing_hard_limit_reached 402 billing_error APIStatusError no
404 invalid_request_error model_not_found 404 not_found_error NotFoundError no
409 invalid_request_error - 409 conflict_error ConflictError yes
429 tokens rate_limit_exceeded 429 rate_limit_error RateLimitError yes
503 server_error slow_down 429 rate_limit_error RateLimitError yes
408 server_error - 504 timeout_error InternalServerError yes
504 server_error - 504 timeout_error InternalServerError yes
524 server_error - 504 timeout_error InternalServerError yes
503 server_error - 529 overloaded_error InternalServerError yes
529 server_error - 529 overloaded_error InternalServerError yes
500 x server_is_overloaded 529 overloaded_error InternalServerError yes
500 insufficient_system_resource - 529 overloaded_error InternalServerError yes
500 server_error - 500 api_error InternalServerError yes
501 server_error - 400 invalid_request_error BadRequestError no
502 server_error - 500 api_error InternalServerError yes
520 server_error - 500 api_error InternalServerError yes
599 server_error - 500 api_error InternalServerError yes
# about the broker's own key
401 invalid_request_error invalid_api_key 502 api_error InternalServerError yes
403 permission_error - 502 api_error InternalServerError yes
""")


@pytest.mark.parametrize(
    ("status", "theirs", "code", "our_status", "type", "cls", "again"), TO_ANTHROPIC
)
def test_case_82_openai_backend_anthropic_client(
    status, theirs, code, our_status, type, cls, again
):
    body = o_body(theirs, None if code == "-" else code)
    error = crossed("openai", int(status), body)
    assert error.status == int(our_status)
    assert error.body["type"] == "error"
    assert error.error["type"] == error.raised.type == type
    assert isinstance(error.raised, getattr(anthropic, cls))
    assert retried(error.raised) is (again == "yes")
    assert error.body["request_id"] == error.raised.request_id == OURS
    if our_status == "502":
        assert error.error["message"] == "backend authentication failed"
    else:
        assert error.error["message"].removeprefix("prompt is too long: ") == "Words."


# ... and from an Anthropic backend to an OpenAI client.

TO_OPENAI = rows("""
# status type -> status type code class retried
400 invalid_request_error 400 invalid_request_error - BadRequestError no
413 request_too_large 413 invalid_request_error request_too_large APIStatusError no
402 billing_error 429 insufficient_quota insufficient_quota RateLimitError no
404 not_found_error 404 invalid_request_error not_found NotFoundError no
409 conflict_error 409 invalid_request_error conflict ConflictError yes
429 rate_limit_error 429 rate_limit_error rate_limit_exceeded RateLimitError yes
504 timeout_error 504 server_error timeout InternalServerError yes
529 overloaded_error 503 service_unavailable_error server_is_overloaded InternalServerError yes
500 api_error 500 server_error - InternalServerError yes
# about the broker's own key
401 authentication_error 502 server_error backend_auth InternalServerError yes
403 permission_error 502 server_error backend_auth InternalServerError yes
""")


@pytest.mark.parametrize(
    ("status", "theirs", "our_status", "type", "code", "cls", "again"), TO_OPENAI
)
def test_case_82_anthropic_backend_openai_client(
    status, theirs, our_status, type, code, cls, again
):
    error = crossed("anthropic", int(status), a_body(theirs))
    assert error.status == int(our_status)
    message = "backend authentication failed" if our_status == "502" else "Words."
    code = None if code == "-" else code
    assert error.body == {"error": {"message": message, "type": type, "param": None, "code": code}}
    assert isinstance(error.raised, getattr(openai, cls))
    assert (error.raised.type, error.raised.code, error.raised.param) == (type, code, None)
    assert error.raised.request_id == "req_011"
    assert retried(error.raised) is (again == "yes")


def test_case_82_a_model_that_the_backend_does_not_know_has_its_own_code():
    error = crossed("anthropic", 404, a_body("not_found_error", "model: claude-x"))
    assert error.error["code"] == "model_not_found"


def test_a_code_of_our_own_is_not_replaced_by_a_guess_from_the_words():
    info = ErrorInfo(kind="not_found", message="no model lives here", code="unknown_url")
    assert told("openai", info).error["code"] == "unknown_url"


KINDS = [kind for kind in anthropic_errors.KINDS if kind != "cancelled"]


@pytest.mark.parametrize("kind", KINDS)
def test_case_82_every_kind_has_a_wire_form_in_both_dialects(kind):
    info = ErrorInfo(kind=kind, message="Words.")
    a, o = told("anthropic", info), told("openai", info)
    assert {**anthropic_errors.KINDS}.keys() == {**openai_errors.KINDS}.keys()
    assert a.raised.type == a.error["type"]
    assert list(o.error) == ["message", "type", "param", "code"]
    assert o.raised.code == o.error["code"]
    assert (a.raised.status_code, o.raised.status_code) == (a.status, o.status)


@pytest.mark.parametrize(("kind", "status"), [("auth", 401), ("permission", 403)])
def test_case_82_the_rows_of_a_key_of_the_clients_own(kind, status):
    """The broker's own refusals of a client's key; a backend's 401 never gets here."""
    info = ErrorInfo(kind=kind, message="no")
    a, o = told("anthropic", info), told("openai", info)
    assert a.status == o.status == status
    assert a.error["type"] == {401: "authentication_error", 403: "permission_error"}[status]
    assert o.error["type"] == {401: "invalid_request_error", 403: "permission_error"}[status]
    assert o.error["code"] == {401: "invalid_api_key", 403: None}[status]
    for error in (a, o):
        assert error.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
        assert not retried(error.raised)


def test_param_and_code_of_the_backend_survive_within_the_openai_dialect():
    info = backend_error(
        ADAPTERS["openai"],
        400,
        {},
        json.dumps(o_body("invalid_request_error", "unsupported_value", param="n")).encode(),
    )
    assert (info.param, info.code) == ("n", "unsupported_value")
    assert told("openai", info).error["code"] == "unsupported_value"


# Case 83: context overflow. The wordings are tested in test_context_overflow; here, the whole way.


def test_case_83_overflow_of_an_openai_backend_reads_like_anthropics():
    message = (
        "This model's maximum context length is 128000 tokens. However, your messages resulted "
        "in 130001 tokens. Please reduce the length of the messages."
    )
    body = o_body("invalid_request_error", "context_length_exceeded", message, "messages")
    error = crossed("openai", 400, body)
    assert error.status == 400
    assert error.error == {
        "type": "invalid_request_error",
        "message": "prompt is too long: 130001 tokens > 128000 maximum",
    }
    assert isinstance(error.raised, anthropic.BadRequestError)


def test_case_83_overflow_by_input_and_output_together():
    message = (
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
        "(3000 in the messages, 100 in the functions, and 1900 in the completion)."
    )
    error = crossed("openai", 400, o_body("invalid_request_error", None, message))
    assert error.error["message"] == (
        "input length and `max_tokens` exceed context limit: 3100 + 1900 > 4096, "
        "decrease input length or `max_tokens` and try again"
    )


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, "
        "decrease input length or `max_tokens` and try again",
    ],
)
def test_case_83_overflow_of_an_anthropic_backend_has_openais_code(message):
    error = crossed("anthropic", 400, a_body("invalid_request_error", message))
    assert error.status == 400
    assert error.error == {
        "message": message,
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    assert isinstance(error.raised, openai.BadRequestError)
    assert error.raised.code == "context_length_exceeded"


def test_case_83_overflow_without_numbers_keeps_its_words():
    message = "Your input exceeds the context window of this model."
    body = o_body("invalid_request_error", "context_length_exceeded", message)
    assert crossed("openai", 400, body).error["message"] == f"prompt is too long: {message}"


# Case 84: no money left.


@pytest.mark.parametrize(
    ("type", "code"), [("insufficient_quota", "insufficient_quota"), ("insufficient_quota", None)]
)
def test_case_84_quota_of_an_openai_backend_is_402(type, code):
    error = crossed("openai", 429, o_body(type, code, "You exceeded your current quota."))
    assert (error.status, error.error["type"]) == (402, "billing_error")
    assert not retried(error.raised)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, a_body("billing_error", "No credit.")),
        (
            429,
            a_body(
                "rate_limit_error",
                "No credit.",
                details={"error_code": "workspace_spend_limit_reached"},
            ),
        ),
        (400, a_body("invalid_request_error", "Your credit balance is too low to go on.")),
    ],
)
def test_case_84_no_credit_at_an_anthropic_backend_is_quota(status, body):
    error = crossed("anthropic", status, body)
    assert error.status == 429
    assert error.error["type"] == error.error["code"] == "insufficient_quota"
    assert error.headers["x-should-retry"] == "false"
    assert isinstance(error.raised, openai.RateLimitError)
    assert not retried(error.raised)


def test_case_84_a_spend_limit_that_passes_by_itself_is_a_rate_limit():
    body = a_body("rate_limit_error", details={"error_code": "spend_limit_reached"})
    error = crossed("anthropic", 429, body, {"retry-after": "60"})
    assert error.error["code"] == "rate_limit_exceeded"
    assert error.headers["retry-after"] == "60"
    assert retried(error.raised)


# Case 85: bodies that are no error of the dialect.


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (502, b"<html><body><h1>502</h1></body></html>", "server", "HTTP 502 Bad Gateway"),
        (502, b"", "server", "HTTP 502 Bad Gateway"),
        (429, b"<!DOCTYPE html><p>slow", "rate_limit", "HTTP 429 Too Many Requests"),
        (404, b'{"detail":"Not Found"}', "not_found", "Not Found"),
        (
            422,
            b'{"detail":[{"type":"missing","loc":["body","messages",0,"role"],'
            b'"msg":"Field required","input":"private"}]}',
            "invalid_request",
            "body.messages.0.role: Field required",
        ),
        (400, b'[{"error":{"code":400,"message":"No."}}]', "invalid_request", "No."),
        (400, b'{"error":"no such thing"}', "invalid_request", "no such thing"),
        (400, b'{"object":"error","message":"No.","code":400}', "invalid_request", "No."),
        (503, b"upstream connect error", "overloaded", "upstream connect error"),
        (429, b'"slow down"', "rate_limit", "slow down"),
        (500, b"null", "server", "HTTP 500 Internal Server Error"),
        (599, b"", "server", "HTTP 599"),
        (400, b"\xff\xfe", "invalid_request", "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_case_85_any_body_makes_a_sensible_error(backend, status, body, kind, message):
    info = backend_error(ADAPTERS[backend], status, {}, body)
    assert (info.kind, info.message) == (kind, message)
    for client in ADAPTERS:
        assert told(client, info).error["message"] == message


def test_the_message_is_cut_at_4_kib_between_characters():
    error = crossed("openai", 400, o_body("x", None, "\N{EURO SIGN}" * 3000))
    assert error.error["message"] == "\N{EURO SIGN}" * (4096 // 3)
    overflow = crossed("openai", 400, o_body("x", "context_length_exceeded", "y" * 9000))
    assert len(overflow.error["message"]) == 4096
    assert overflow.error["message"].startswith("prompt is too long: yyy")


# Case 86: the broker's own errors, in both shapes.


def refusal(act: Any, *arguments: Any) -> ErrorInfo:
    with pytest.raises(Refused) as refused:
        act(*arguments)
    return refused.value.info


def unknown_model() -> ErrorInfo:
    return aliases.unknown_model("x").info


def not_carried() -> ErrorInfo:
    return refusal(Losses(model="x", dialect="anthropic").refuse, "n", "the value 2")


def ours(kind: Any, message: str = "Words.", **more: Any) -> Any:
    return lambda: Refused(kind, message, **more).info


def wrong_type() -> ErrorInfo:
    return refusal(Fields({"messages": "secret"}, "", "openai").items, "messages")


OWN: list[Any] = [
    # error, kind, status for Anthropic and for OpenAI clients, code, param
    (lambda: refusal(envelope.read, b"no"), "invalid_request", 400, 400, "invalid_json", None),
    (lambda: refusal(envelope.read, b"[]"), "invalid_request", 400, 400, "invalid_json", None),
    (lambda: refusal(envelope.read, b"{}"), "invalid_request", 400, 400, "missing_model", "model"),
    (lambda: missing("m").info, "invalid_request", 400, 400, "missing_required_parameter", "m"),
    (wrong_type, "invalid_request", 400, 400, "invalid_type", "messages"),
    (lambda: bad_value("n", "no").info, "invalid_request", 400, 400, "invalid_value", "n"),
    (unknown_model, "not_found", 404, 404, "model_not_found", "model"),
    (not_carried, "unsupported", 400, 400, "unsupported_parameter", "n"),
    (ours("auth"), "auth", 401, 401, "invalid_api_key", None),
    (ours("rate_limit", retry_after="7"), "rate_limit", 429, 429, "rate_limit_exceeded", None),
    (ours("billing"), "billing", 402, 429, "insufficient_quota", None),
    (ours("too_large"), "too_large", 413, 413, "request_too_large", None),
    (ours("not_found", code="unknown_url"), "not_found", 404, 404, "unknown_url", None),
    (ours("unreachable"), "unreachable", 502, 502, "upstream_unreachable", None),
    (ours("timeout", code="upstream_timeout"), "timeout", 504, 504, "upstream_timeout", None),
    (ours("bad_upstream"), "bad_upstream", 502, 502, "bad_upstream_response", None),
    (ours("overloaded", retry_after="5"), "overloaded", 529, 503, "server_is_overloaded", None),
]


@pytest.mark.parametrize(("make", "kind", "a_status", "o_status", "code", "param"), OWN)
def test_case_86_own_errors_in_both_shapes(make, kind, a_status, o_status, code, param):
    info = make()
    assert info.kind == kind
    a, o = told("anthropic", info), told("openai", info)
    assert (a.status, o.status) == (a_status, o_status)
    assert (o.error["code"], o.error["param"]) == (code, param)
    for error in (a, o):
        assert error.error["message"] == info.message
        assert error.headers.get("retry-after") == info.retry_after
        assert error.raised.request_id == OURS
        assert "secret" not in json.dumps(error.body)
    assert a.body["request_id"] == OURS
    assert ("www-authenticate" in a.headers) == (kind == "auth")
    assert a.headers.get("www-authenticate", "Bearer") == "Bearer"


def test_case_86_an_unknown_model_is_named_and_says_no_more():
    info = unknown_model()
    assert info.message == "model 'x' does not exist or is not available to this key"


def test_case_86_a_field_that_cannot_be_carried_names_model_and_dialect():
    assert not_carried().message == (
        "'n' cannot be served by the backend of model 'x' (anthropic): the value 2"
    )


def test_case_86_details_reach_anthropic_clients():
    info = Refused(
        "unsupported", "no threads", details={"error_code": "thread_unsupported_request"}
    ).info
    error = told("anthropic", info)
    assert error.raised.error_code == "thread_unsupported_request"


# Case 87: the backend does not take the broker's key.

KEY = "verysecret/verysecret"
REJECTIONS: list[Any] = [
    ("openai", 401, o_body("invalid_request_error", "invalid_api_key", f"Wrong key {KEY}.")),
    ("openai", 403, o_body("permission_error", None, f"Not with {KEY}.")),
    ("anthropic", 401, a_body("authentication_error", f"Wrong key {KEY}.")),
    ("anthropic", 403, a_body("permission_error", f"Not with {KEY}.")),
    ("openai", 401, f"<html>{KEY}</html>".encode()),
    ("openai", 401, o_body("insufficient_quota", "insufficient_quota", f"None for {KEY}.", KEY)),
    ("anthropic", 403, a_body("permission_error", "No.", details={"hint": "very private"})),
    # xAI and Gemini
    ("openai", 400, {"code": "invalid-argument", "error": f"Incorrect API key provided: {KEY}."}),
    ("openai", 400, [{"error": {"code": 400, "message": f"API key not valid: {KEY}"}}]),
]


def workflow(client: str, backend: str) -> Any:
    target = Target(
        backend=Backend(name="b", url="http://b", dialect=backend, credential=Secret(KEY)),
        model="m",
    )
    call = Call(id=OURS, operation="chat", dialect=client, asked="m", body=ASKED)
    if client == backend:
        return Passthrough(call, target, ADAPTERS[client])
    return Translation(
        call, target, ADAPTERS[client], ADAPTERS[backend], mode="default", overrides=None
    )


@pytest.mark.parametrize(("backend", "status", "body"), REJECTIONS)
@pytest.mark.parametrize("client", ADAPTERS)
def test_case_87_a_rejected_broker_key_is_our_fault_not_the_clients(client, backend, status, body):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    failure = workflow(client, backend).failure(status, {"x-should-retry": "false"}, raw)
    assert failure.native is None
    error = told(client, failure.info)
    assert error.status == 502
    assert error.error["message"] == "backend authentication failed"
    assert error.error.get("param") is None
    assert error.headers["x-should-retry"] == "false"
    for text in (json.dumps(error.body), repr(failure), str(failure), repr(failure.info)):
        assert "very" not in text


@pytest.mark.parametrize("client", ADAPTERS)
@pytest.mark.parametrize("backend", ADAPTERS)
def test_case_87_the_key_is_masked_in_every_other_error(client, backend):
    words = f"header x-api-key: {KEY} and sk-abcdefghijkl"
    message = json.dumps({"upstream": {"error": words}}).replace("/", "\\/")
    raw = json.dumps(a_body("invalid_request_error", message)).encode()
    failure = workflow(client, backend).failure(400, {}, raw)
    shown = failure.native[1] if failure.native else json.dumps(told(client, failure.info).body)
    inner = json.loads(json.loads(shown)["error"]["message"])
    assert inner == {"upstream": {"error": "header x-api-key: *** and ***"}}
    assert (failure.native is not None) == (client == backend)


@pytest.mark.parametrize(
    "event",
    [
        o_body("invalid_request_error", "invalid_api_key", f"Wrong key {KEY}."),
        a_body("authentication_error", f"Wrong key {KEY}."),
        a_body("permission_error", f"Wrong key {KEY}."),
        {"error": {"message": f"No auth {KEY}", "code": 401}},
    ],
)
@pytest.mark.parametrize("backend", ADAPTERS)
def test_case_87_a_rejection_with_status_200_is_told_the_same_way(backend, event):
    with pytest.raises(Broken) as broken:
        ADAPTERS[backend].decode_response(event)
    assert broken.value.info.message == "backend authentication failed"
    for client in ADAPTERS:
        assert told(client, broken.value.info).status == 502


# What the headers say goes through in every case.

RETRY = {"retry-after": "7", "retry-after-ms": "7000", "x-should-retry": "true"}


@pytest.mark.parametrize(
    "status", [307, 400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 529]
)
@pytest.mark.parametrize("client", ADAPTERS)
@pytest.mark.parametrize("backend", ADAPTERS)
def test_case_92_retry_headers_are_relayed_in_every_case(backend, client, status):
    failure = workflow(client, backend).failure(status, RETRY, b'{"error":{"message":"No."}}')
    assert isinstance(failure, BackendRefused)
    sent = dict(headers.from_error(failure.info, native=failure.native is not None))
    assert sent == RETRY
    assert retried(raised(client, 400, sent, b"{}"))


def test_a_native_error_gets_no_header_of_ours():
    failure = workflow("openai", "openai").failure(
        429, {}, json.dumps(o_body("insufficient_quota", "insufficient_quota")).encode()
    )
    assert failure.native is not None
    assert headers.from_error(failure.info, native=True) == ()
    assert headers.from_error(failure.info) == (("x-should-retry", "false"),)


@pytest.mark.parametrize(
    ("status", "code"), [(302, "redirect"), (101, "bad_status"), (600, "bad_status")]
)
def test_a_status_that_is_no_answer_is_a_bad_gateway(status, code):
    info = backend_error(ADAPTERS["openai"], status, {}, b'{"error":{"message":"private"}}')
    assert (info.kind, info.code) == ("bad_upstream", code)
    assert info.message == f"the backend answered with status {status}"
    assert told("openai", info).status == told("anthropic", info).status == 502


# Request ids.


def test_the_backends_request_id_is_the_same_in_header_and_body():
    head = {"x-request-id": "req_theirs"}
    error = crossed("openai", 400, o_body("invalid_request_error"), head)
    assert error.body["request_id"] == error.raised.request_id == "req_theirs"
    error = crossed("anthropic", 400, a_body("invalid_request_error"), {"request-id": "req_r"})
    assert error.raised.request_id == "req_r"


# Inside a stream: the same types and codes, without a status (5.3).


@pytest.mark.parametrize(
    ("event", "type", "code"),
    [
        (a_body("overloaded_error"), "service_unavailable_error", "server_is_overloaded"),
        (a_body("rate_limit_error"), "rate_limit_error", "rate_limit_exceeded"),
        (a_body("api_error"), "server_error", None),
        (a_body("timeout_error"), "server_error", "timeout"),
        (a_body("billing_error"), "insufficient_quota", "insufficient_quota"),
        (a_body("authentication_error"), "server_error", "backend_auth"),
        (
            a_body("invalid_request_error", "prompt is too long: 2 tokens > 1 maximum"),
            "invalid_request_error",
            "context_length_exceeded",
        ),
    ],
)
def test_an_error_event_becomes_an_error_chunk(event, type, code):
    data = in_stream("anthropic", f"event: error\ndata: {json.dumps(event)}\n\n".encode(), "openai")
    chunk = json.loads(data.removeprefix(b"data: "))
    assert (chunk["error"]["type"], chunk["error"]["code"]) == (type, code)
    assert b"[DONE]" not in data


@pytest.mark.parametrize(
    ("error", "type"),
    [
        (o_body("server_error"), "api_error"),
        (o_body("service_unavailable_error", "server_is_overloaded"), "overloaded_error"),
        (o_body("rate_limit_error", "rate_limit_exceeded"), "rate_limit_error"),
        (o_body("invalid_request_error", "context_length_exceeded"), "invalid_request_error"),
        (o_body("invalid_request_error", "model_not_found"), "not_found_error"),
        ({"error": {"code": 502, "message": "Words."}, "choices": []}, "api_error"),
        ({"error": {"code": 429, "message": "Words."}}, "rate_limit_error"),
        ({"error": "Words."}, "api_error"),
    ],
)
def test_an_error_chunk_becomes_an_error_event(error, type):
    data = in_stream("openai", f"data: {json.dumps(error)}\n\n".encode(), "anthropic")
    assert data.startswith(b"event: error\ndata: ")
    event = json.loads(data.partition(b"data: ")[2])
    assert event["type"] == "error"
    assert event["error"]["type"] == type
    assert event["error"]["message"].endswith("Words.")
    assert event["request_id"] == OURS


FIRST = {
    "openai": b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n',
    "anthropic": b'event: message_start\ndata: {"type":"message_start","message":{"id":"m1",'
    b'"type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,'
    b'"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
}


def in_stream(backend: str, data: bytes, client: str) -> bytes:
    """An error told inside an open stream, as the client gets it."""
    transform = workflow(client, backend).transform(now=0)
    assert transform.feed(FIRST[backend])
    out: bytes = transform.feed(data)
    assert transform.phase == "failed"
    return out


# Passthrough: a context overflow in the words that the clients of the dialect act on.


def passed(dialect, status, body, **more):
    """(status, body) that a client gets where both ends speak ``dialect``."""
    flow = workflow(dialect, dialect)
    flow._target = msgspec.structs.replace(
        flow._target, backend=msgspec.structs.replace(flow._target.backend, **more)
    )
    native = flow.failure(status, {}, json.dumps(body).encode()).native
    assert native is not None
    return native[0], json.loads(native[1])


LLAMA = {
    "error": {
        "code": 400,
        "message": "request (9020 tokens) exceeds the available context size (2048 tokens)",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 9020,
        "n_ctx": 2048,
    }
}


def test_case_84_an_overflow_is_told_in_known_words_on_passthrough_too():
    status, body = passed("anthropic", 500, {"type": "error", **LLAMA})
    assert status == 400
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"] == "prompt is too long: 9020 tokens > 2048 maximum"
    assert body["error"]["n_ctx"] == 2048
    status, body = passed("anthropic", 400, LLAMA)
    assert body["type"] == "error"
    assert body["error"]["message"] == "prompt is too long: 9020 tokens > 2048 maximum"
    status, body = passed("openai", 400, LLAMA)
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    assert body["error"]["message"] == LLAMA["error"]["message"]
    status, body = passed("openai", 422, {"detail": "Prompt is too long"})
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")


def test_case_84_an_overflow_in_known_words_goes_through_untouched():
    known = a_body("invalid_request_error", "prompt is too long: 2 tokens > 1 maximum")
    raw = json.dumps(known, indent=3).encode()
    assert workflow("anthropic", "anthropic").failure(400, {}, raw).native == (400, raw)
    known = o_body("invalid_request_error", "context_length_exceeded", "too long", "messages")
    raw = json.dumps(known, indent=3).encode()
    assert workflow("openai", "openai").failure(400, {}, raw).native == (400, raw)


@pytest.mark.parametrize("dialect", ADAPTERS)
def test_case_84_other_errors_go_through_untouched(dialect):
    for status, message in ((500, "image input is not supported"), (400, "max_tokens: 9 > 8")):
        raw = json.dumps({"error": {"message": message}}, indent=2).encode()
        assert workflow(dialect, dialect).failure(status, {}, raw).native == (status, raw)


@pytest.mark.parametrize("dialect", ADAPTERS)
def test_case_84_as_is_leaves_overflows_alone_too(dialect):
    assert passed(dialect, 400, LLAMA, passthrough_errors="as-is") == (400, LLAMA)


def test_a_reason_of_anthropics_becomes_the_code_where_there_is_no_better():
    details = {"error_code": "credential_limit"}
    info = ErrorInfo(kind="invalid_request", message="x", status=400, details=details)
    assert openai_errors.encode_error(info, "r")[1]["error"]["code"] == "credential_limit"
    info = msgspec.structs.replace(info, kind="context_length")
    assert openai_errors.encode_error(info, "r")[1]["error"]["code"] == "context_length_exceeded"
    info = msgspec.structs.replace(info, kind="invalid_request", code="own")
    assert openai_errors.encode_error(info, "r")[1]["error"]["code"] == "own"
