"""The fault matrix as the official SDKs see it: which exception each fault raises."""

import anthropic
import openai
import pytest
import pytest_twisted
from broken_backends import both, fin, length, page, write
from chaos import CHAOS, ENDS
from rig import EVENTS, chunk, sse_head
from twisted.internet.threads import deferToThread

BOTH_ENDS = pytest.mark.parametrize(("dialect", "alias"), ENDS)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])

RIG = CHAOS


def ask_openai(port, alias, stream):
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0
    ) as client:
        answer = client.chat.completions.create(
            model=alias, messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        return [*answer] if stream else answer


def ask_anthropic(port, alias, stream):
    with anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{port}", api_key="k", max_retries=0
    ) as client:
        answer = client.messages.create(
            model=alias, messages=[{"role": "user", "content": "hi"}], max_tokens=9, stream=stream
        )
        return [*answer] if stream else answer


def ask_responses(port, alias, stream):
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0
    ) as client:
        answer = client.responses.create(model=alias, input="hi", stream=stream)
        return [*answer] if stream else answer


SDKS = {
    "openai": (ask_openai, openai),
    "anthropic": (ask_anthropic, anthropic),
    "responses": (ask_responses, openai),
}

RAISED = {
    "closed": (fin, "InternalServerError"),
    "silence": (write(), "InternalServerError"),
    "garbage": (write(b"garbage\r\n\r\n"), "InternalServerError"),
    "redirect": (write(page(b"302 Found", b"location: /x\r\n")), "InternalServerError"),
    "our key is refused": (write(page(b"401 Unauthorized")), "InternalServerError"),
    "a page": (write(page(b"200 OK")), "InternalServerError"),
    "busy": (write(page(b"429 Busy", b"retry-after: 1\r\n")), "RateLimitError"),
    "overloaded": (write(page(b"503 Busy")), "InternalServerError"),
    "too large": (write(page(b"413 Large")), "APIStatusError"),
    "no such thing": (write(page(b"404 Nothing")), "NotFoundError"),
    "cut": (both(length(b'{"id":', 9), fin), "InternalServerError"),
    "nothing but headers": (write(sse_head(), then=fin), "InternalServerError"),
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize("fault", RAISED)
async def test_the_sdks_raise_what_they_should(rig, dialect, alias, stream, fault):
    script, name = RAISED[fault]
    call, sdk = SDKS[dialect]
    asking = deferToThread(call, rig.port, alias, stream)
    script(await rig.backend())
    with pytest.raises(getattr(sdk, name)) as raised:
        await asking
    assert raised.value.request_id


BREAKS = {
    "closed": fin,
    "ended": write(b"0\r\n\r\n"),
    "silence": write(),
    "a bad chunk": write(b"zz\r\n"),
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("fault", BREAKS)
async def test_the_sdks_notice_a_stream_that_breaks(rig, dialect, alias, fault):
    call, sdk = SDKS[dialect]
    asking = deferToThread(call, rig.port, alias, True)
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(EVENTS[alias][0]))
    BREAKS[fault](backend)
    with pytest.raises(sdk.APIError):
        await asking
