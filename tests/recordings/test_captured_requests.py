"""What Claude Code, the SDKs and others really send: passed through byte for byte, and translated
so that a conversation keeps its beginning from turn to turn, which prompt caches live on."""

import json
from itertools import pairwise
from typing import Any

import pytest
from captures import CAPTURES, captured

from lmbroker import envelope
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import Refused
from lmbroker.workflows import workflow_for

JSON = dict[str, Any]

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
OTHER = {"openai": "anthropic", "anthropic": "openai"}
MODELS = {"openai": ("some-model", "gpt-4o", "deepseek-chat"), "anthropic": ("claude-opus-4-8",)}
CASES = [
    pytest.param(dialect, body, id=case)
    for dialect, path in PATHS.items()
    for case, body in captured(path)
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


@pytest.mark.parametrize("layout", [None, 2])
@pytest.mark.parametrize(("dialect", "body"), CASES)
def test_passthrough_changes_the_models_name_and_nothing_else(
    dialect: str, body: JSON, layout: int | None
) -> None:
    sent = json.dumps(body, indent=layout, ensure_ascii=layout is None).encode()
    passed = workflow(dialect, dialect, "the-real-one", sent).outbound().body
    name = json.dumps(body["model"], ensure_ascii=layout is None).encode()
    assert passed == sent.replace(b'"model": ' + name, b'"model": "the-real-one"', 1)


def conversations(dialect: str) -> list[Any]:
    """Pairs of requests of one case in which the second goes on where the first ended."""
    requests: dict[str, list[JSON]] = {}
    for case, body in captured(PATHS[dialect]):
        requests.setdefault(case.rpartition("#")[0], []).append(body)
    return [
        pytest.param(first, second, id=f"{case}-{number}")
        for case, bodies in requests.items()
        for number, (first, second) in enumerate(pairwise(bodies))
        if len(second["messages"]) > len(first["messages"])
        and second["messages"][: len(first["messages"])] == first["messages"]
        and second.get("system") == first.get("system")
    ]


def translated(dialect: str, model: str, body: JSON) -> JSON:
    sent = workflow(dialect, OTHER[dialect], model, json.dumps(body).encode()).outbound().body
    return json.loads(sent)


def check_prefix(dialect: str, first: JSON, second: JSON) -> None:
    for model in MODELS[OTHER[dialect]]:
        try:
            short = translated(dialect, model, first)
        except Refused:
            continue
        long = translated(dialect, model, second)
        kept = long["messages"][: len(short["messages"])]
        assert json.dumps(kept) == json.dumps(short["messages"]), model
        assert long.get("system") == short.get("system")


@pytest.mark.parametrize(("first", "second"), conversations("openai"))
def test_case_43_an_openai_conversation_keeps_its_beginning(first: JSON, second: JSON) -> None:
    check_prefix("openai", first, second)


@pytest.mark.parametrize(("first", "second"), conversations("anthropic"))
def test_case_43_an_anthropic_conversation_keeps_its_beginning(first: JSON, second: JSON) -> None:
    check_prefix("anthropic", first, second)


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="no captures beside the project")
def test_there_are_conversations_of_both_dialects() -> None:
    assert len(conversations("openai")) > 10
    assert len(conversations("anthropic")) > 20
