"""A request behind a known beginning becomes what it becomes as a whole, byte for byte."""

import json
import random
from itertools import product
from types import SimpleNamespace
from typing import Any

import adversaries
import msgspec
import pytest

from lmbroker import envelope
from lmbroker.broker.target_attempt import TargetAttempt
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import Refused
from lmbroker.translation.losses import AnswerLosses
from lmbroker.workflows import continuation, translation, workflow_for
from lmbroker.workflows.beginnings import Beginnings

pytestmark = pytest.mark.pure
JSON = dict[str, Any]

PAIRS = [("anthropic", "openai"), ("openai", "anthropic")]
MODELS = (
    "served",
    "gpt-5.6",
    "claude-opus-4-6",
    "claude-haiku-4-5",
    "gemini-3-pro",
    "deepseek-chat",
)
OVERRIDES: tuple[JSON, ...] = (
    {},
    {"alternate_roles": True},
    {"system_first_only": True},
    {"after_tool": "merge"},
    {"reasoning_replay": "reasoning_content"},
    {"reasoning_replay": "none", "replay_required": True},
    {"vision": False, "pdf": False, "tool_result_images": False},
    {"content_lists": False, "system_role": "user"},
    {"mid_system": False, "prefill": "no"},
    {"cache_breakpoints": True, "cache_marks": "cache_control"},
    {"tool_id": "^[A-Za-z0-9]{9}$", "context": 100_000},
    {"omit": ("messages[].name", "temperature"), "tool_max": 1},
)
LOSSES = AnswerLosses()


@pytest.fixture(autouse=True)
def any_length_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "LEAST", 0)
    monkeypatch.setattr(continuation, "LEAST_MORE", 1)


class Player:
    """Sends requests with a memory and without one, and compares what becomes of them."""

    def __init__(self, client: str, backend: str, model: str, overrides: JSON, mode: Any) -> None:
        self.client, self.mode, self.overrides = client, mode, overrides
        place = Backend(name="b", url="http://127.0.0.1/v1", dialect=backend)
        self.target = Target(backend=place, model=model)
        self.beginnings = Beginnings(lambda: 1 << 20)
        self.used: list[str] = []
        self.beginnings.used = self.used.append

    def outcome(self, body: bytes, beginnings: Beginnings | None) -> Any:
        try:
            head = envelope.read(body)
            call = Call(
                id="r",
                operation="chat",
                dialect=self.client,
                asked=head.model,
                body=body,
                fields=head.fields,
                stream=head.stream,
            )
            workflow: Any = workflow_for(
                call, self.target, mode=self.mode, overrides=self.overrides
            )
            workflow.beginnings = beginnings
            outbound = workflow.outbound()
            asked = workflow.asked()
        except Refused as refused:
            return refused.info
        reply = msgspec.structs.replace(asked.reply, losses=LOSSES)
        return outbound, msgspec.structs.replace(asked, reply=reply)

    def send(self, request: JSON) -> None:
        body = json.dumps(request).encode()
        assert self.outcome(body, self.beginnings) == self.outcome(body, None)


def exchange(client: str, number: int, chance: random.Random) -> list[JSON]:
    """What an agent and its user say: words, calls with their results, thoughts."""
    id, name = f"call_{number}", chance.choice(("read", "write"))
    path = f"/src/{number}.py"
    words = chance.choice(("Look at it, Zoë.", 'a "quoted"\nline', "x" * 500))
    ask = {"role": "user", "content": words}
    said: JSON
    if client == "anthropic":
        use = {"type": "tool_use", "id": id, "name": name, "input": {"path": path, "n": 1.50}}
        thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
        result = {"type": "tool_result", "tool_use_id": id, "content": words}
        block = {"type": "text", "text": words}
        said = {"role": "assistant", "content": chance.choice(([use], [thought, block, use]))}
        answered = {"role": "user", "content": chance.choice(([result], [result, block]))}
    else:
        function = {"name": name, "arguments": json.dumps({"path": path})}
        call = {"id": id, "type": "function", "function": function}
        said = {"role": "assistant", "content": chance.choice((None, words)), "tool_calls": [call]}
        if chance.random() < 0.3:
            said["reasoning_content"] = "Hm."
        answered = {"role": "tool", "tool_call_id": id, "content": words}
    plain = [ask, {"role": "assistant", "content": words}]
    return plain if chance.random() < 0.4 else [ask, said, answered, plain[1]]


def odd_messages(client: str, chance: random.Random) -> list[JSON]:
    """A few messages that nobody means to send."""
    shapes = adversaries.REQUESTS[client]
    request = shapes[chance.choice(sorted(shapes))](2)
    messages = request.get("messages")
    return messages[:6] if isinstance(messages, list) else []


FIELDS: tuple[JSON, ...] = (
    {},
    {"temperature": 0.7, "stop": "x", "stop_sequences": ["x"]},
    {"stream": True, "max_tokens": 5},
    {"system": "Be brief.", "top_k": 4},
    {"thinking": {"type": "adaptive"}, "reasoning_effort": "high", "n": 1},
    {"response_format": {"type": "json_object"}, "output_config": {"effort": "low"}},
    {
        "tools": [
            {"name": "read", "input_schema": {"type": "object"}},
            {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}},
        ]
    },
)


def played(client: str, backend: str, seed: int) -> list[str]:
    """A conversation that grows, in which now and then something odd is said or changed."""
    chance = random.Random(f"{client} {backend} {seed}")
    mode = chance.choice(("default", "default", "lenient", "strict"))
    overrides = OVERRIDES[seed % len(OVERRIDES)] if seed % 2 else {}
    player = Player(client, backend, chance.choice(MODELS), overrides, mode)
    oddity = chance.choice((0.0, 0.05, 0.3))
    messages: list[JSON] = []
    if client == "openai" and chance.random() < 0.7:
        messages.append({"role": chance.choice(("system", "developer")), "content": "Be brief."})
    fields = chance.choice(FIELDS)
    for number in range(14):
        if chance.random() < oddity:
            messages += odd_messages(client, chance)
        messages += exchange(client, number if chance.random() > oddity / 3 else 0, chance)
        if chance.random() < oddity / 2:
            del messages[chance.randrange(len(messages))]
        if chance.random() < 0.15:
            fields = chance.choice(FIELDS)
        until = len(messages) - chance.choice((0, 0, 1, 2))
        sent: list[Any] = messages[:until]
        if sent and isinstance(sent[-1], dict) and chance.random() < 0.3:
            block = {"type": "text", "text": "hm", "cache_control": {"type": "ephemeral"}}
            sent[-1] = {**sent[-1], "content": [block]}
        player.send({"model": "m", "max_tokens": 100, **fields, "messages": sent})
    return player.used


@pytest.mark.parametrize(("client", "backend"), PAIRS)
def test_a_known_beginning_changes_nothing_whatever_is_said(client: str, backend: str) -> None:
    used = [how for seed in range(60) for how in played(client, backend, seed)]
    assert used.count("found") > 150 and used.count("learned") > 60


@pytest.mark.parametrize(("client", "backend"), PAIRS)
def test_nor_where_anything_odd_follows_it_or_stands_in_it(client: str, backend: str) -> None:
    chance = random.Random(0)
    agent = [each for n in range(6) for each in exchange(client, n, chance)]
    later = [each for n in range(6, 9) for each in exchange(client, n, chance)]
    for (_, shape), behind in product(sorted(adversaries.REQUESTS[client].items()), (True, False)):
        messages = shape(2).get("messages")
        if not isinstance(messages, list):
            continue
        player = Player(client, backend, "served", {}, "default")
        start = agent if behind else [*messages, *agent]
        for _ in range(2):
            player.send({"model": "m", "max_tokens": 9, "messages": start})
        more = [*start, *messages, *later] if behind else [*start, *later]
        player.send({"model": "m", "max_tokens": 9, "messages": more})
        player.send({**shape(2), "messages": more})


def test_the_known_part_of_a_request_is_not_read_again() -> None:
    player = Player("anthropic", "openai", "served", {}, "default")
    chance = random.Random(1)
    messages = [each for n in range(30) for each in exchange("anthropic", n, chance)]
    for _ in range(3):
        player.send({"model": "m", "max_tokens": 9, "messages": messages})
    assert player.used == ["unknown", "unknown", "learned", "found"]
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode()
    head = envelope.read(body)
    call = Call(
        id="r", operation="chat", dialect="anthropic", asked="m", body=body, fields=head.fields
    )
    workflow = workflow_for(call, player.target)
    assert isinstance(workflow, translation.Translation)
    workflow.beginnings = player.beginnings
    assert len(workflow.unknown_part()) < len(body) // 4


def test_a_long_conversation_whose_beginning_is_known_needs_no_helper() -> None:
    chance = random.Random(2)
    messages = [each for n in range(900) for each in exchange("anthropic", n, chance)]
    place = Backend(name="b", url="http://127.0.0.1/v1", dialect="openai")
    beginnings = Beginnings(lambda: 1 << 22)

    def large(count: int) -> bool:
        body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages[:count]}).encode()
        fields = envelope.read(body).fields
        call = Call(
            id="r", operation="chat", dialect="anthropic", asked="m", body=body, fields=fields
        )
        route: Any = SimpleNamespace(mode="default")
        repairs: Any = SimpleNamespace(overrides={})
        record: Any = None
        attempt = TargetAttempt(call, record, route, Target(backend=place, model="m"), repairs)
        attempt.prepare(1.0, beginnings)
        found = attempt.is_large
        if not found:
            attempt.workflow.outbound()
        return found

    assert large(len(messages))
    asked = [large(count) for count in (600, 600, 1200, 1800, 2400)]
    assert not any(asked)
    assert not large(len(messages))


def test_of_a_request_that_takes_long_to_translate_no_beginning_is_made() -> None:
    player = Player("anthropic", "openai", "served", {}, "default")
    parts = [{"type": "text", "text": "a"}] * 400
    turns = [{"role": role, "content": parts} for role in ("user", "assistant") * 4]
    for _ in range(3):
        player.send({"model": "m", "max_tokens": 9, "messages": turns})
    assert player.used == ["unknown"] * 3
