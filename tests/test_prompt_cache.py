"""What prompt caches live on: over a long conversation with tools a backend of each dialect finds
as much of the prompt in its cache as where the client asks one of its own dialect directly."""

import json

import anthropic
import openai
import pytest
from running import Daemon, Practice

pytestmark = [pytest.mark.process, pytest.mark.sockets]

TURNS = 20
LIKE_NATIVE = 0.01
"""By so much counts may differ."""

TOOLS = [
    {
        "name": name,
        "description": f"{name} looks into a part of the project and says what it finds. " * 5,
        "parameters": {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Where to look, from the top."},
                "lines": {"type": "integer", "description": "How many lines are wanted at most."},
            },
            "required": ["path"],
        },
    }
    for name in ("read_file", "find_text", "run_tests")
]
INSTRUCTIONS = "You are a careful engineer. Say what you do and why, then do it. " * 40
DIALECTS = ("openai", "anthropic", "responses")


def task(number):
    """What the user asks for: three calls in two turns."""
    step = {"path": f"src/part_{number}.py", "lines": 40}
    plan = [f"[[call {tool['name']} {json.dumps(step)}]]" for tool in TOOLS]
    return {
        "role": "user",
        "content": f"Look at part {number}: {plan[0]} {plan[1]}&{plan[2]}",
    }


def result(name, number):
    return f"{name} found {number} things in it. " * 12


class Chat:
    """A client of Chat Completions. ``ask`` gives the tokens of the prompt, those of them that the
    cache had, and the names and ids of the calls; ``told`` adds their results."""

    def __init__(self, server, model, reasoning):
        self.client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        self.turns = [{"role": "system", "content": INSTRUCTIONS}]
        self.ask_for = {
            "model": model,
            "tools": [{"type": "function", "function": tool} for tool in TOOLS],
            "reasoning_effort": "high" if reasoning else "none",
            "prompt_cache_key": "me",
        }

    def ask(self, streamed):
        ask = {**self.ask_for, "messages": self.turns}
        if streamed:
            options = {"include_usage": True}
            with self.client.chat.completions.stream(**ask, stream_options=options) as stream:
                answer = stream.get_final_completion()
        else:
            answer = self.client.chat.completions.create(**ask)
        message = answer.choices[0].message
        self.turns.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        calls = [(call.function.name, call.id) for call in message.tool_calls or ()]
        usage = answer.usage
        return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, calls

    def told(self, results):
        self.turns += [
            {"role": "tool", "tool_call_id": id, "content": text} for id, text in results
        ]


class Messages:
    """A client of Messages."""

    def __init__(self, server, model, reasoning):
        self.client = anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0)
        self.turns = []
        self.ask_for = {
            "model": model,
            "system": INSTRUCTIONS,
            "tools": [
                {
                    "name": tool["name"],
                    "description": tool["description"],
                    "input_schema": tool["parameters"],
                }
                for tool in TOOLS
            ],
            "max_tokens": 4000,
            "cache_control": {"type": "ephemeral"},
        }
        if reasoning:
            self.ask_for["thinking"] = {"type": "enabled", "budget_tokens": 2000}

    def ask(self, streamed):
        ask = {**self.ask_for, "messages": self.turns}
        if streamed:
            with self.client.messages.stream(**ask) as stream:
                answer = stream.get_final_message()
        else:
            answer = self.client.messages.create(**ask)
        said = [block.to_dict() for block in answer.content]
        self.turns.append({"role": "assistant", "content": said})
        calls = [(block.name, block.id) for block in answer.content if block.type == "tool_use"]
        usage = answer.usage
        cached = usage.cache_read_input_tokens
        return usage.input_tokens + usage.cache_creation_input_tokens + cached, cached, calls

    def told(self, results):
        self.turns.append(
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": id, "content": text}
                    for id, text in results
                ],
            }
        )


class Responses:
    """A client of Responses."""

    def __init__(self, server, model, reasoning):
        self.client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        self.turns = []
        self.ask_for = {
            "model": model,
            "instructions": INSTRUCTIONS,
            "tools": [{"type": "function", **tool, "strict": False} for tool in TOOLS],
            "store": False,
        }
        if reasoning:
            self.ask_for["reasoning"] = {"effort": "high", "summary": "auto"}
            self.ask_for["include"] = ["reasoning.encrypted_content"]

    def ask(self, streamed):
        ask = {**self.ask_for, "input": self.turns}
        if streamed:
            with self.client.responses.stream(**ask) as stream:
                answer = stream.get_final_response()
        else:
            answer = self.client.responses.create(**ask)
        self.turns += answer.output
        calls = [
            (item.name, item.call_id) for item in answer.output if item.type == "function_call"
        ]
        usage = answer.usage
        return usage.input_tokens, usage.input_tokens_details.cached_tokens, calls

    def told(self, results):
        self.turns += [
            {"type": "function_call_output", "call_id": id, "output": text} for id, text in results
        ]


CLIENTS = {"openai": Chat, "anthropic": Messages, "responses": Responses}
WAYS = [
    (client, backend, streamed, reasoning)
    for client in CLIENTS
    for backend in DIALECTS
    for streamed, reasoning in ((False, True), (True, True), (True, False))
    if client == "responses" or reasoning
]


def model(client, backend, streamed, reasoning):
    """A name of its own for each way: each model has a cache of its own."""
    return f"cache-{client}-{backend}-{streamed}-{reasoning}".lower()


def conversation(server, name, client, streamed, reasoning):
    """For each turn, the tokens of the prompt and those of them that the cache had."""
    counts, calls = [], []
    talk = CLIENTS[client](server, name, reasoning)
    with talk.client:
        while len(counts) < TURNS:
            if not calls:
                talk.turns.append(task(len(counts)))
            prompt, cached, calls = talk.ask(streamed)
            counts.append((prompt, cached))
            if calls:
                talk.told([(id, result(name, len(counts))) for name, id in calls])
    return counts


@pytest.fixture(scope="module")
def practice():
    backend = Practice(pace=0)
    yield backend
    backend.kill()


@pytest.fixture(scope="module")
def broker(practice, tmp_path_factory):
    config = 'log_level = "info"\n[server]\nhost = "127.0.0.1"\nport = PORT\n' + "".join(
        f'[[models]]\nalias = "{model(*way)}"\ntype = "{way[1]}"\n'
        f'target = {{ url = "{practice.url}/v1", model = "{model(*way)}" }}\n'
        for way in WAYS
    )
    daemon = Daemon(tmp_path_factory.mktemp("cache"), config).wait()
    yield daemon
    daemon.stop()


@pytest.mark.parametrize(("client", "backend", "streamed", "reasoning"), WAYS)
def test_the_cache_has_as_much_as_natively(practice, broker, client, backend, streamed, reasoning):
    way = (client, backend, streamed, reasoning)
    native = conversation(practice, f"{model(*way)}-native", client, streamed, reasoning)
    counts = conversation(broker, model(*way), client, streamed, reasoning)
    cached, whole = sum(had for _, had in native), sum(prompt for prompt, _ in native)
    assert cached > 0.85 * whole
    for found, known in zip(counts, native, strict=True):
        assert found == pytest.approx(known, rel=LIKE_NATIVE)
