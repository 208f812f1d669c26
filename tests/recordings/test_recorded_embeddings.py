"""Every recorded embeddings exchange and every captured request: nothing but the model changes on
the way out, nothing at all on the way back where the answer is what was asked for."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import openai.types
import pytest
from captures import RECORDINGS, captured

from lmbroker import json_text
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import Broken, Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows import workflow_for
from lmbroker.workflows.conversion import backend_error

JSON = dict[str, Any]


def exchanges() -> list[tuple[int, Path]]:
    """Status and folder."""
    found = []
    for path in sorted(RECORDINGS.glob("*.embeddings.*/meta.json")):
        meta = json.loads(path.read_bytes())
        if meta["endpoint"] == "openai.embeddings":
            found.append((meta["status"], path.parent))
    return found


EXCHANGES = exchanges()
ANSWERED = [folder for status, folder in EXCHANGES if status == 200]
FAILED = [(status, folder) for status, folder in EXCHANGES if status != 200]

EMPTY_INPUT = "openai.embeddings.json.openai-embeddings-post-dcf2f142.d93341.00"
"""OpenAI's oldest model takes an empty text; its documentation and the others do not."""
INT8 = "perplexity."
"""base64 of int8, which nobody asked for and which is no form of OpenAI's."""
CUT = "openai.embeddings.json.openai-embedding.6d14a1.00"
"""Only the answer was kept, to two inputs."""
COUNTED_IN_PART = "voyage."
"""Voyage tells the total only."""


def requested(folder: Path) -> bytes:
    if folder.name == CUT:
        return b'{"model":"text-embedding-3-small","input":["a","b"]}'
    return (folder / "request.json").read_bytes()


def workflow(body: bytes) -> Any:
    alias = json.loads(body)["model"]
    target = Target(backend=Backend(name="b", url="http://b", dialect="openai"), model="real")
    call = Call(id="r", operation="embeddings", dialect="openai", asked=alias, body=body)
    return workflow_for(call, target)


def vectors(answer: JSON) -> list[list[float]]:
    """As the client reads them."""
    found = []
    for entry in answer["data"]:
        vector = entry["embedding"]
        if isinstance(vector, str):
            data = base64.b64decode(vector)
            vector = list(struct.unpack(f"<{len(data) // 4}f", data))
        found.append(vector)
    return found


def accepted(answer: JSON, coded: bool) -> None:
    """By the SDK's own types, strictly: all that they require is there and of its type. For them
    a vector is of floats; base64 is decoded before."""
    if coded:
        data = [
            {**entry, "embedding": vector}
            for entry, vector in zip(answer["data"], vectors(answer), strict=True)
        ]
        answer = {**answer, "data": data}
    parsed = openai.types.CreateEmbeddingResponse.model_validate(answer)
    assert [entry.embedding for entry in parsed.data] == vectors(answer)
    assert [entry.index for entry in parsed.data] == list(range(len(parsed.data)))


@pytest.mark.skipif(not EXCHANGES, reason=f"no recordings at {RECORDINGS}")
def test_there_is_something_to_check() -> None:
    assert len(ANSWERED) > 20
    assert FAILED


@pytest.mark.parametrize("folder", ANSWERED, ids=lambda folder: folder.name)
def test_case_95_recorded_embeddings_pass(folder: Path) -> None:
    sent = requested(folder)
    asked = json.loads(sent)
    if folder.name == EMPTY_INPUT:
        with pytest.raises(Refused) as refused:
            workflow(sent).outbound()
        assert refused.value.info.param == "input"
        return
    met = workflow(sent)
    assert met.outbound().body == with_model(sent, asked["model"])
    body = (folder / "response.json").read_bytes()
    if folder.name.startswith(INT8):
        with pytest.raises(Broken):
            met.unary(body, now=0)
        return
    told = met.unary(body, now=0)
    answer, theirs = json_text.decode(told.body), json_text.decode(body)
    if folder.name.startswith(COUNTED_IN_PART):
        total = theirs["usage"]["total_tokens"]
        assert answer["usage"] == {**theirs["usage"], "prompt_tokens": total}
        assert vectors(answer) == vectors(theirs)
    else:
        assert told.body is body
    coded = asked.get("encoding_format") == "base64"
    assert all(isinstance(entry["embedding"], str) is coded for entry in answer["data"])
    accepted(answer, coded)
    assert told.usage.input == theirs["usage"]["total_tokens"]
    assert not told.usage.estimated


@pytest.mark.parametrize("folder", ANSWERED, ids=lambda folder: folder.name)
def test_case_95_recorded_answers_to_a_request_for_the_other_form(folder: Path) -> None:
    """What if the backend had not cared for ``encoding_format``."""
    if folder.name == EMPTY_INPUT or folder.name.startswith(INT8):
        return
    asked = json.loads(requested(folder))
    coded = asked.get("encoding_format") != "base64"
    asked["encoding_format"] = "base64" if coded else "float"
    body = (folder / "response.json").read_bytes()
    answer = json_text.decode(workflow(json.dumps(asked).encode()).unary(body, now=0).body)
    accepted(answer, coded)
    theirs = vectors(json_text.decode(body))
    for ours, given in zip(vectors(answer), theirs, strict=True):
        assert ours == [struct.unpack("<f", struct.pack("<f", number))[0] for number in given]


@pytest.mark.parametrize(("status", "folder"), FAILED, ids=lambda value: getattr(value, "name", ""))
def test_recorded_embeddings_errors_keep_their_words(status: int, folder: Path) -> None:
    body = (folder / "response.json").read_bytes()
    told = json_text.decode(body)
    info = backend_error(ADAPTERS["openai"], status, {}, body)
    assert info.message == (told["error"]["message"] if "error" in told else told["detail"])
    assert info.kind == {400: "invalid_request", 404: "not_found"}[status]
    failure = workflow(b'{"model":"m","input":"x"}').failure(status, {}, body)
    assert failure.native == (status, body)


CAPTURED = captured("/v1/embeddings")


@pytest.mark.parametrize(("case", "body"), CAPTURED, ids=[case for case, _ in CAPTURED])
def test_captured_embeddings_requests_pass(case: str, body: JSON) -> None:
    sent = json.dumps(body).encode()
    met = workflow(sent)
    assert met.outbound().body == with_model(sent, body["model"])
    count = 1 if isinstance(body["input"], str) else len(body["input"])
    coded = body["encoding_format"] == "base64"
    size = body.get("dimensions", 3)
    data = [
        {"object": "embedding", "index": place, "embedding": [0.5] * size} for place in range(count)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    backend = {"object": "list", "data": data, "model": "real", "usage": usage}
    answer = json.loads(met.unary(json.dumps(backend).encode(), now=0).body)
    accepted(answer, coded)
    assert vectors(answer) == [[0.5] * size] * count


def with_model(body: bytes, model: str) -> bytes:
    """``body`` with the one mention of its model replaced."""
    name = json.dumps(model).encode()
    assert body.count(name) == 1
    return body.replace(name, b'"real"')
