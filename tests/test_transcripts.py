"""The worked transcripts of the translation specification, byte for byte (section 4.7).

``a2o`` is an Anthropic backend and a Chat client, ``o2a`` the reverse; ``a2r`` and ``o2r`` are
those of a Responses client, ``r2o`` and ``r2a`` those of a Responses backend.
"""

import json
import random
from pathlib import Path

import msgspec
import pytest
from openai.types.responses import Response
from responses_streams import judge
from streams import completion, message

from lmbroker.sse import Reader
from lmbroker.testing.grammar import anthropic_checker, openai_checker
from lmbroker.testing.grammar_responses import responses_checker
from lmbroker.translation.dialects.anthropic_messages import response as anthropic_response
from lmbroker.translation.dialects.anthropic_messages.stream_decode import AnthropicDecoder
from lmbroker.translation.dialects.anthropic_messages.stream_encode import AnthropicEncoder
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai_chat import response as openai_response
from lmbroker.translation.dialects.openai_chat.stream_decode import OpenAIDecoder
from lmbroker.translation.dialects.openai_chat.stream_encode import OpenAIEncoder
from lmbroker.translation.dialects.openai_responses.response_encode import encode_response
from lmbroker.translation.dialects.openai_responses.stream_decode import ResponsesDecoder
from lmbroker.translation.dialects.openai_responses.stream_encode import ResponsesEncoder
from lmbroker.translation.losses import Losses, listed
from lmbroker.translation.profiles.lookup import profile
from lmbroker.workflows.transforms import TranslatedStream

TRANSCRIPTS = Path(__file__).parent / "transcripts"
TO_OPENAI = Reply(model="claude", created=1795000000, stream_usage=True, request_id="req_lmb_0001")
TO_ANTHROPIC = Reply(model="fast", request_id="req_lmb_0001")
TO_RESPONSES = Reply(
    model="codex",
    created=1795000000,
    request_id="req_lmb_0001",
    custom_tools=frozenset(["apply_patch"]),
    namespaces={"mcp__docs__search": "mcp__docs", "mcp__docs__list": "mcp__docs"},
    echo={
        "instructions": "Be brief.",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
    },
)
BACKENDS = {"a": AnthropicDecoder, "o": OpenAIDecoder, "r": ResponsesDecoder}
CLIENTS = {
    "a": (AnthropicEncoder, TO_ANTHROPIC),
    "o": (OpenAIEncoder, TO_OPENAI),
    "r": (ResponsesEncoder, TO_RESPONSES),
}
CHECKERS = {
    "a": anthropic_checker,
    "o": lambda: openai_checker(True),
    "r": responses_checker,
}
WAYS = ("a2o", "o2a", "a2r", "o2r", "r2o", "r2a")
JUDGES = {"a": message, "o": completion, "r": judge}
"""What the SDKs make of a stream."""
BROKEN = ("error", "cut")

pytestmark = pytest.mark.pure


def names(way: str) -> list[str]:
    return sorted(path.name.split(".")[0] for path in TRANSCRIPTS.glob(f"*.{way}.in.sse"))


def cut(data: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [data]
    if how == "random":
        chance = random.Random(data)
        places = sorted(chance.sample(range(1, len(data)), 40))
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    size = int(how)
    return [data[at : at + size] for at in range(0, len(data), size)]


def translate(data: bytes, way: str, how: str) -> bytes:
    backend, client = way.split("2")
    encoder, reply = CLIENTS[client]
    adapter = ADAPTERS["openai"]  # for pings, which are comments where an answer has begun
    if client == "a":
        adapter = ADAPTERS["anthropic"]
    transform = TranslatedStream(BACKENDS[backend](), encoder(reply), adapter, lambda: 0)
    out = [transform.feed(chunk) for chunk in cut(data, how)]
    return b"".join([*out, transform.close()])


def check(way: str, stream: bytes) -> None:
    checker = CHECKERS[way[-1]]()
    for frame in Reader().feed(stream):
        checker.feed(frame)
    checker.close()


def transcripts(*chosen: str) -> pytest.MarkDecorator:
    """One test per direction in which there is the transcript, and per way to cut it."""
    ways = [(way, name) for way in WAYS for name in chosen if name in names(way)]
    assert ways
    cuts = ("whole", "1", "7", "random")
    return pytest.mark.parametrize(
        ("way", "name", "how"), [(*each, how) for each in ways for how in cuts]
    )


def exact(way: str, name: str, how: str) -> None:
    backend = (TRANSCRIPTS / f"{name}.{way}.in.sse").read_bytes()
    client = (TRANSCRIPTS / f"{name}.{way}.out.sse").read_bytes()
    assert translate(backend, way, how).decode() == client.decode()
    check(way, client)
    if name not in BROKEN or way[-1] == "r":
        JUDGES[way[-1]](client)


@transcripts("refusal")
def test_case_48_transcript_refusal(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("text")
def test_case_52_transcript_text(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("tool")
def test_case_53_transcript_tool(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("thinking")
def test_case_54_transcript_thinking(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("parallel")
def test_case_55_transcript_parallel(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("error")
def test_case_56_transcript_error(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("noargs")
def test_case_57_transcript_noargs(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("redacted", "interleaved")
def test_case_58_transcripts_redacted_and_interleaved(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("quirks")
def test_case_59_transcript_quirks(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("cut")
def test_case_60_transcript_cut(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("custom", "namespace")
def test_transcripts_of_tools_that_only_responses_has(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("websearch")
def test_transcript_of_a_web_search(way: str, name: str, how: str) -> None:
    exact(way, name, how)


@transcripts("length")
def test_transcript_length(way: str, name: str, how: str) -> None:
    exact(way, name, how)


def test_each_transcript_has_its_test() -> None:
    both = {"text", "tool", "thinking", "parallel", "error", "cut"}
    assert set(names("a2o")) == both | {"redacted", "interleaved", "refusal"}
    assert set(names("o2a")) == both | {"noargs", "quirks"}
    more = both | {"refusal", "custom", "namespace"}
    assert set(names("a2r")) == more | {"redacted", "interleaved", "websearch"}
    assert set(names("o2r")) == more | {"noargs", "length"}
    for way in ("r2o", "r2a"):
        assert set(names(way)) == more | {"noargs", "length", "websearch"}


def load(name: str) -> dict[str, object]:
    value = json.loads((TRANSCRIPTS / name).read_bytes())
    assert isinstance(value, dict)
    return value


def test_case_44_whole_anthropic_answer_for_an_openai_client() -> None:
    answer = anthropic_response.decode_response(load("response.anthropic-to-openai.in.json"))
    told = openai_response.encode_response(answer, TO_OPENAI)
    expected = load("response.anthropic-to-openai.out.json")
    assert json.dumps(told) == json.dumps(expected)


def test_case_45_whole_openai_answer_for_an_anthropic_client() -> None:
    answer = openai_response.decode_response(load("response.openai-to-anthropic.in.json"))
    told = anthropic_response.encode_response(answer, TO_ANTHROPIC)
    expected = load("response.openai-to-anthropic.out.json")
    assert json.dumps(told) == json.dumps(expected)


@pytest.mark.parametrize("backend", ["anthropic", "openai"])
def test_whole_answers_for_a_responses_client(backend: str) -> None:
    answer = ADAPTERS[backend].decode_response(load(f"response.{backend}-to-responses.in.json"))
    told = encode_response(answer, TO_RESPONSES)
    assert told == load(f"response.{backend}-to-responses.out.json")
    Response.model_validate(told)


def request_pair(client: str, backend: str, model: str) -> str:
    """The header that goes with a worked pair of requests, once its body is as it should be."""
    asked = ADAPTERS[client].decode_request(load(f"request.{client}-to-{backend}.in.json"))
    request, losses = msgspec.structs.replace(asked, model=model), Losses()
    told = ADAPTERS[backend].encode_request(request, profile(backend, model), losses)
    assert told == load(f"request.{client}-to-{backend}.out.json")
    return listed(losses.paths)


def test_request_of_an_anthropic_client_for_responses() -> None:
    assert request_pair("anthropic", "responses", "gpt-5.6") == (
        "output_config.effort,temperature,stop_sequences,output_config.format.schema,"
        "messages[].content[].is_error,messages[].content[].thinking"
    )


def test_request_of_a_chat_client_for_responses() -> None:
    assert request_pair("openai", "responses", "gpt-5.4") == ("store,seed,stop,messages[].name")


def test_request_of_a_responses_client_for_anthropic() -> None:
    assert request_pair("responses", "anthropic", "claude-opus-5") == (
        "tools[].format,tools[].type,text.verbosity"
    )


def test_request_of_a_responses_client_for_a_server_at_home() -> None:
    assert request_pair("responses", "openai", "local-coder") == (
        "tools[].type,input[].encrypted_content,input[].output,text.verbosity"
    )


def test_request_of_an_openai_client_for_anthropic() -> None:
    assert request_pair("openai", "anthropic", "claude-opus-5") == "temperature,stop"


def test_request_of_an_anthropic_client_for_a_server_at_home() -> None:
    assert request_pair("anthropic", "openai", "local-coder") == (
        "output_config.effort,messages[].content[].thinking,"
        "messages[].content[].is_error,messages[].content[].content"
    )
