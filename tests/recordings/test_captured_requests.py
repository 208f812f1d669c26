"""What Claude Code, the SDKs and others really send: passed through byte for byte, and translated
so that a conversation keeps its beginning from turn to turn, which prompt caches live on."""

import json
from itertools import pairwise
from typing import Any

import pytest
from batches import in_batches
from captures import CAPTURES, captured

from lmbroker import envelope
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import Refused
from lmbroker.workflows import workflow_for

JSON = dict[str, Any]

PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
}
MESSAGES = {"openai": "messages", "anthropic": "messages", "responses": "input"}
INSTRUCTIONS = {"openai": "system", "anthropic": "system", "responses": "instructions"}
MODELS = {
    "openai": ("some-model", "gpt-4o", "deepseek-chat"),
    "anthropic": ("claude-opus-4-8",),
    "responses": ("some-model", "gpt-5.4"),
}
CASES = [
    (case, (dialect, body)) for dialect, path in PATHS.items() for case, body in captured(path)
]


def workflow(dialect: str, to: str, model: str, body: bytes) -> Any:
    backend = Backend(name="b", url="http://b", dialect=to)  # type: ignore[arg-type]
    head = envelope.read(body)
    call = Call(
        id="req",
        operation="chat",
        dialect=dialect,  # type: ignore[arg-type]
        asked=head.model,
        body=body,
        stream=head.stream,
    )
    return workflow_for(call, Target(backend=backend, model=model))


@in_batches(CASES)
def test_passthrough_changes_the_models_name_and_nothing_else(dialect: str, body: JSON) -> None:
    for layout in (None, 2):
        sent = json.dumps(body, indent=layout, ensure_ascii=layout is None).encode()
        passed = workflow(dialect, dialect, "the-real-one", sent).outbound().body
        name = json.dumps(body["model"], ensure_ascii=layout is None).encode()
        assert passed == sent.replace(b'"model": ' + name, b'"model": "the-real-one"', 1)


def conversations(dialect: str) -> list[tuple[str, JSON, JSON]]:
    """Pairs of requests of one case in which the second goes on where the first ended."""
    requests: dict[str, list[JSON]] = {}
    for case, body in captured(PATHS[dialect]):
        requests.setdefault(case.rpartition("#")[0], []).append(body)
    return [
        (f"{case}-{number}", first, second)
        for case, bodies in requests.items()
        for number, (first, second) in enumerate(pairwise(bodies))
        if _begins(said(dialect, first), said(dialect, second))
        and second.get(INSTRUCTIONS[dialect]) == first.get(INSTRUCTIONS[dialect])
    ]


def said(dialect: str, body: JSON) -> list[Any]:
    """The messages or items of a request."""
    found = body[MESSAGES[dialect]]
    return found if isinstance(found, list) else [found]


def _begins(first: list[Any], second: list[Any]) -> bool:
    return len(second) > len(first) and second[: len(first)] == first


def translated(dialect: str, backend: str, model: str, body: JSON) -> JSON:
    sent = workflow(dialect, backend, model, json.dumps(body).encode()).outbound().body
    return json.loads(sent)


PAIRS = [
    (f"{dialect}-{backend}-{case}", (dialect, backend, first, second))
    for dialect in PATHS
    for backend in PATHS
    if backend != dialect
    for case, first, second in conversations(dialect)
]


@in_batches(PAIRS)
def test_case_43_a_conversation_keeps_its_beginning(
    dialect: str, backend: str, first: JSON, second: JSON
) -> None:
    for model in MODELS[backend]:
        try:
            short = translated(dialect, backend, model, first)
        except Refused:
            continue
        long = translated(dialect, backend, model, second)
        before = said(backend, short)
        kept = said(backend, long)[: len(before)]
        assert json.dumps(kept) == json.dumps(before), model
        assert long.get(INSTRUCTIONS[backend]) == short.get(INSTRUCTIONS[backend])


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="no captures beside the project")
def test_there_are_conversations_of_each_dialect() -> None:
    assert len(conversations("openai")) > 10
    assert len(conversations("anthropic")) > 20
    assert len(conversations("responses")) > 10
