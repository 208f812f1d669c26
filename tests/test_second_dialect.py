"""A backend that is also called in a second dialect of its API: by clients of that dialect, and,
where its configuration says so, with calls that the first dialect cannot carry."""

import json

import msgspec
import pytest
import pytest_twisted
from made_up_dialect import NAME, MadeUp
from rig import unary

from lmbroker.call import Backend, Call, Target, in_second_dialect, spoken_in
from lmbroker.commands.cli import main
from lmbroker.commands.explain import explain
from lmbroker.config.config import ConfigError, parse
from lmbroker.config.file import load
from lmbroker.errors import Refused
from lmbroker.observers.access_log import access_fields
from lmbroker.offload import LARGE
from lmbroker.routing.aliases import for_client
from lmbroker.translation.dialects.catalog import ADAPTERS, second_dialects
from lmbroker.translation.dialects.openai import API
from lmbroker.workflows import second_dialect

pytestmark = pytest.mark.sockets

CONFIG = """
[[models]]
alias = "m"
type = "openai"
target = { url = "http://127.0.0.1:PORT/v1", model = "real", api_key = "env:KEY", MODE }
"""
ANSWER = {"words": "yo", "why": "done", "spent": [3, 2]}
O_ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "real",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "yo"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
HI = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
A_TOOL = {"name": "f", "input_schema": {"type": "object"}}
PDF = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
SEEN = [
    HI,
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [PICTURE]}],
    },
]
REFUSAL = {
    "error": {
        "message": "Function tools with reasoning_effort are not supported for real in "
        "/v1/chat/completions. Please use /v1/responses instead.",
        "type": "invalid_request_error",
        "param": "reasoning_effort",
        "code": None,
    }
}
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}


class Second(MadeUp):
    """The made-up dialect as one of OpenAI's API."""

    facts = msgspec.structs.replace(MadeUp.facts, api=API, second_key="responses")


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The row in the catalog, in the place of the dialect that has the key."""
    for name, key in {name: key for key, name in second_dialects("openai").items()}.items():
        facts = msgspec.structs.replace(ADAPTERS[name].facts, second_key="")
        monkeypatch.setattr(type(ADAPTERS[name]), "facts", facts)
        assert key == "responses"
    monkeypatch.setitem(ADAPTERS, NAME, Second())


@pytest.fixture
def broker(open_rig):
    """The broker with its backend called in both dialects; ``mode``: for whom."""

    async def opened(mode, profile=""):
        config = CONFIG.replace("MODE", f'responses = "{mode}"' if mode else "max_in_flight = 3")
        return await open_rig(config=config + profile)

    return opened


def text(value):
    return json.dumps(value).encode()


def say(**more):
    return text({"model": "m", "say": [{"by": "me", "words": "hi"}], **more})


def chat(**more):
    return text({"model": "m", "messages": [HI], **more})


def message(**more):
    return text({"model": "m", "max_tokens": 9, "messages": [HI], **more})


def path_of(line, number=1):
    """The path of the ``number``-th request on a backend's connection."""
    return bytes(line.received).split(b"POST ")[number].split(b" ")[0].decode()


@pytest.mark.parametrize("mode", ["native", "auto"])
@pytest_twisted.ensureDeferred
async def test_clients_of_the_second_dialect_are_passed_through(broker, mode):
    rig = await broker(mode)
    body = b'{ "say" : [],"model":"m", "mood" : 1.50 }'
    client = await rig.post("/made-up/ask", body)
    backend = await rig.backend()
    assert path_of(backend) == "/v1/ask"
    assert backend.body == body.replace(b'"m"', b'"real"')
    assert "made-up-key: backend-key" in backend.head
    answer = b'{ "words": "yo", "why" :"done","spent":[3,2]}'
    backend.transport.write(unary(answer))
    await client.has(answer)
    assert f"x-lmbroker-dialect: {NAME}" in client.head
    (record,) = await rig.ended()
    fields = access_fields(record)
    assert (fields["dialects"], fields["workflow"]) == (f"{NAME}->{NAME}", "passthrough")
    assert fields["backend"] == record.attempts[0].target.backend.name


@pytest.mark.parametrize("mode", ["native", "auto"])
@pytest_twisted.ensureDeferred
async def test_so_are_the_operations_that_only_the_second_dialect_has(broker, mode):
    rig = await broker(mode)
    for number, (path, at) in enumerate(
        [("/made-up/compact", "/v1/compact"), ("/made-up/count", "/v1/count")], 1
    ):
        client = await rig.post(path, say())
        backend = await rig.backend()
        await backend.has(b"POST ", times=number)
        assert path_of(backend, number) == at
        backend.transport.write(unary(b'{"done":  1}'))
        await client.has(b'{"done":  1}')


@pytest_twisted.ensureDeferred
async def test_without_the_setting_they_are_translated(broker):
    rig = await broker("")
    client = await rig.post("/made-up/ask", say())
    backend = await rig.backend()
    assert path_of(backend) == "/v1/chat/completions"
    backend.transport.write(unary(text(O_ANSWER)))
    await client.has(b'"why"')
    assert "x-lmbroker-dialect" not in client.head


NEEDS = {
    "a document by its URL": message(messages=[{"role": "user", "content": [PDF]}]),
    "an image in a tool's result": message(messages=SEEN, tools=[A_TOOL]),
    "tools and reasoning": message(tools=[A_TOOL], **THINKS),
}
NO_TOOLS = "[models.profile]\ntools_with_reasoning = false\n"


@pytest.mark.parametrize("body", NEEDS.values(), ids=NEEDS)
@pytest_twisted.ensureDeferred
async def test_a_call_that_the_first_dialect_cannot_carry_is_translated_to_the_second(broker, body):
    rig = await broker("auto", NO_TOOLS)
    client = await rig.post("/v1/messages", body)
    backend = await rig.backend()
    assert path_of(backend) == "/v1/ask"
    backend.transport.write(unary(text(ANSWER)))
    await client.has(b'"yo"')
    assert f"x-lmbroker-dialect: {NAME}" in client.head
    (record,) = await rig.ended()
    assert access_fields(record)["dialects"] == f"anthropic->{NAME}"


@pytest.mark.parametrize("body", NEEDS.values(), ids=NEEDS)
@pytest_twisted.ensureDeferred
async def test_natively_only_clients_of_the_second_dialect_reach_it(broker, body):
    rig = await broker("native", NO_TOOLS)
    await rig.post("/v1/messages", body)
    assert path_of(await rig.backend()) == "/v1/chat/completions"


CARRIED = {
    "a text": message(),
    "tools without reasoning": message(tools=[A_TOOL]),
    "tools and no reasoning": message(tools=[A_TOOL], thinking={"type": "disabled"}),
    "reasoning without tools": message(**THINKS),
    "an image of the user": message(messages=[{"role": "user", "content": [PICTURE]}]),
    "a word like a document": message(messages=[{"role": "user", "content": json.dumps(PDF)}]),
}


@pytest.mark.parametrize("body", CARRIED.values(), ids=CARRIED)
@pytest_twisted.ensureDeferred
async def test_whatever_the_first_dialect_carries_stays_there(broker, body):
    rig = await broker("auto", NO_TOOLS)
    await rig.post("/v1/messages", body)
    assert path_of(await rig.backend()) == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", message(tools=[A_TOOL], **THINKS)),
        ("/v1/chat/completions", chat(tools=[TOOL], reasoning_effort="low")),
        ("/v1/chat/completions", chat(tools=[TOOL])),
    ],
    ids=["translated", "passed through", "nothing said of reasoning"],
)
@pytest_twisted.ensureDeferred
async def test_a_refusal_sends_the_same_call_to_the_second_dialect_and_is_remembered(
    broker, path, body
):
    rig = await broker("auto")
    client = await rig.post(path, body)
    backend = await rig.backend()
    assert path_of(backend) == "/v1/chat/completions"
    backend.transport.write(unary(text(REFUSAL), b"400 Bad Request"))
    await backend.has(b"POST ", times=2)
    assert path_of(backend, 2) == "/v1/ask"
    backend.transport.write(unary(text(ANSWER)))
    await client.has(b'"yo"')
    (record,) = await rig.ended()
    assert [each.target.backend.dialect for each in record.attempts] == ["openai", NAME]
    if body != chat(tools=[TOOL]):
        client = await rig.post(path, body)
        await backend.has(b"POST ", times=3)
        assert path_of(backend, 3) == "/v1/ask"


@pytest_twisted.ensureDeferred
async def test_what_the_second_dialect_refuses_is_not_remembered_of_the_first(broker):
    rig = await broker("auto")
    body = chat(tools=[TOOL], reasoning_effort="low")
    client = await rig.post("/v1/chat/completions", body)
    backend = await rig.backend()
    backend.transport.write(unary(text(REFUSAL), b"400 Bad Request"))
    await backend.has(b"POST ", times=2)
    oops = {"oops": {"what": "not_found", "words": "no such path"}}
    backend.transport.write(unary(text(oops), b"404 Not Found"))
    await client.has(b"no such path")
    client = await rig.post("/v1/chat/completions", body)
    await backend.has(b"POST ", times=3)
    assert path_of(backend, 3) == "/v1/chat/completions"


@pytest_twisted.ensureDeferred
async def test_other_refusals_of_what_is_passed_through_are_the_clients(broker):
    rig = await broker("auto")
    client = await rig.post("/v1/chat/completions", chat(logit_bias={"1": 2}))
    backend = await rig.backend()
    refusal = {"error": {"message": "Unsupported parameter: 'logit_bias'", "param": "logit_bias"}}
    backend.transport.write(unary(text(refusal), b"400 Bad Request"))
    await client.has(b"Unsupported parameter")
    assert bytes(backend.received).count(b"POST ") == 1


# What decides.

TARGET = Target(
    backend=Backend(name="b", url="http://b/v1", dialect="openai", also=NAME, also_translated=True),
    model="real",
)


def call(body, dialect="anthropic", **more):
    fields = {"operation": "chat", **more}
    return Call(id="1", dialect=dialect, asked="m", body=body, **fields)


def test_only_chats_of_backends_that_are_configured_so_may_go_there():
    other = msgspec.structs.replace(TARGET.backend, dialect=NAME)
    native = msgspec.structs.replace(TARGET.backend, also_translated=False)
    assert second_dialect.may_go(call(message()), TARGET)
    for backend in (other, native):
        target = msgspec.structs.replace(TARGET, backend=backend)
        assert not second_dialect.may_go(call(message()), target)
    assert not second_dialect.may_go(call(message(), operation="count_tokens"), TARGET)


def test_a_request_that_nobody_can_read_needs_nothing():
    for body in (b"[", b'{"messages":3}', text({"model": "m", "messages": "x", "tools": [3]})):
        assert second_dialect.need(call(body), TARGET, {}) == ""


@pytest.mark.parametrize("body", NEEDS.values(), ids=NEEDS)
def test_the_quick_look_errs_on_one_side_only(body):
    overrides = {"tools_with_reasoning": False}
    assert second_dialect.need(call(body), TARGET, overrides)
    assert second_dialect.may_need(call(body), TARGET, overrides)


def test_each_key_of_a_backend_is_called_in_the_clients_dialect():
    config = CONFIG.replace('api_key = "env:KEY"', 'api_keys = ["env:ONE", "env:TWO"]')
    config = config.replace("MODE", 'responses = "native"').replace("PORT", "1")
    aliases = parse(config, name="t.toml", environ={"ONE": "1", "TWO": "2"}, read_file=None).aliases
    route = for_client(aliases["m"], NAME)
    assert in_second_dialect(route.targets[0].backend)
    assert [each.dialect for each in route.keyed(route.targets[0].backend)] == [NAME, NAME]
    assert for_client(aliases["m"], "anthropic") is aliases["m"]


@pytest.mark.parametrize("dialect", ["anthropic", NAME])
def test_backends_of_another_api_are_not_called_so(dialect):
    config = CONFIG.replace("openai", dialect).replace("MODE", 'responses = "native"')
    with pytest.raises(ConfigError, match=r"responses: backends of type .* are not called so"):
        parse(config.replace("PORT", "1"), name="t.toml", environ={"KEY": "k"}, read_file=None)


@pytest.mark.parametrize("type", ["", 'type = "klingon"'])
def test_a_backend_without_a_known_type_is_told_so(type):
    config = CONFIG.replace("MODE", 'responses = "native"').replace("PORT", "1")
    config = config.replace('type = "openai"', type, 1)
    with pytest.raises(ConfigError, match="type"):
        parse(config, name="t.toml", environ={"KEY": "k"}, read_file=None)


def test_check_and_explain_show_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KEY", "k")
    file = tmp_path / "c.toml"
    file.write_text(CONFIG.replace("PORT", "1").replace("MODE", 'responses = "auto"'))
    assert main(["check", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert f"openai + {NAME} (auto)" in shown
    assert f"compact ({NAME})" in shown and "http://127.0.0.1:1/v1/compact" in shown
    body = NEEDS["a document by its URL"].decode()
    lines = "\n".join(explain(load(str(file)), "m", "anthropic", body.encode()))
    assert f"translated (as {NAME} where openai cannot carry the call)" in lines
    assert f"the first target is called as {NAME}: it holds a document by its URL" in lines
    assert "POST http://127.0.0.1:1/v1/ask" in lines


@pytest_twisted.ensureDeferred
async def test_a_large_call_is_looked_at_as_a_helper_does(broker):
    # A process of its own would not know the made-up dialect.
    rig = await broker("auto", "[limits]\nhelpers = 0\n")
    content = [{"type": "text", "text": "a" * LARGE}, PDF]
    client = await rig.post(
        "/v1/messages", message(messages=[{"role": "user", "content": content}])
    )
    backend = await rig.backend()
    assert path_of(backend) == "/v1/ask"
    backend.transport.write(unary(text(ANSWER)))
    await client.has(b'"yo"')


def test_what_is_configured_of_the_first_dialect_says_nothing_of_the_second():
    profile = NO_TOOLS + "tool_result_images = false\ncontext = 9\n"
    config = CONFIG.replace("MODE", 'responses = "auto"').replace("PORT", "1") + profile
    aliases = parse(config, name="t.toml", environ={"KEY": "k"}, read_file=None).aliases
    first = aliases["m"].targets[0]
    assert aliases["m"].overrides(first).keys() >= {"tools_with_reasoning", "context"}
    assert aliases["m"].overrides(spoken_in(first, NAME)) == {"context": 9}


@pytest_twisted.ensureDeferred
async def test_what_the_second_dialect_cannot_say_goes_to_the_first_after_all(broker, monkeypatch):
    def refuse(self, request, profile, losses):
        raise Refused("invalid_request", "not in this mood")

    monkeypatch.setattr(Second, "encode_request", refuse)
    rig = await broker("auto")
    client = await rig.post("/v1/messages", NEEDS["a document by its URL"])
    backend = await rig.backend()
    assert path_of(backend) == "/v1/chat/completions"
    backend.transport.write(unary(text(O_ANSWER)))
    await client.has(b'"yo"')
    assert "x-lmbroker-dialect" not in client.head


def test_a_type_that_is_misspelt_is_one_mistake():
    text = (
        '[[backends]]\nname = "b"\ntype = "openi"\nurl = "https://b.test/v1"\nresponses = "auto"\n'
    )
    with pytest.raises(ConfigError) as caught:
        parse(text, name="c.toml", environ={}, read_file=lambda path: "")
    assert len([each for each in caught.value.problems if "backends[0].type" in each]) == 1
