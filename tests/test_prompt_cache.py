"""What prompt caches live on: over a long conversation with tools a backend of each dialect finds
as much of the prompt in its cache as where the client asks it directly."""

import json

import openai
import pytest
from running import Daemon, Practice

pytestmark = [pytest.mark.process, pytest.mark.sockets]

TURNS = 20
LIKE_NATIVE = 0.01
"""By so much the share may differ."""

TOOLS = [
    {
        "type": "function",
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
        "strict": False,
    }
    for name in ("read_file", "find_text", "run_tests")
]
INSTRUCTIONS = "You are a careful engineer. Say what you do and why, then do it. " * 40
DIALECTS = ("openai", "anthropic", "responses")
WAYS = [(False, False), (False, True), (True, False), (True, True)]
"""Streamed or not, with reasoning or without."""


@pytest.fixture(scope="module")
def practice():
    backend = Practice(pace=0)
    yield backend
    backend.kill()


@pytest.fixture(scope="module")
def broker(practice, tmp_path_factory):
    """A broker with an alias for each dialect and way: each model has a cache of its own."""
    config = 'log_level = "info"\n[server]\nhost = "127.0.0.1"\nport = PORT\n' + "".join(
        f'[[models]]\nalias = "{model(dialect, *way)}"\ntype = "{dialect}"\n'
        f'target = {{ url = "{practice.url}/v1", model = "{model(dialect, *way)}" }}\n'
        for dialect in DIALECTS
        for way in WAYS
    )
    daemon = Daemon(tmp_path_factory.mktemp("cache"), config).wait()
    yield daemon
    daemon.stop()


def model(name, streamed, reasoning):
    return f"cache-{name}-{'streamed' if streamed else 'whole'}-{'thinking' if reasoning else ''}"


def conversation(server, name, streamed, reasoning):
    """Counts of a conversation: for each turn, the tokens of the prompt and those in the cache."""
    more = {"instructions": INSTRUCTIONS, "tools": TOOLS, "store": False, "prompt_cache_key": "me"}
    if reasoning:
        more |= {
            "reasoning": {"effort": "high", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        }
    items, calls, counts = [], [], []
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
        while len(counts) < TURNS:
            if not calls:
                step = {"path": f"src/part_{len(counts)}.py", "lines": 40}
                plan = [f"[[call {tool['name']} {json.dumps(step)}]]" for tool in TOOLS]
                text = f"Look at part {len(counts)}: {plan[0]} {plan[1]}&{plan[2]}"
                items.append({"role": "user", "content": text})
            ask = {"model": model(name, streamed, reasoning), "input": items, **more}
            if streamed:
                with client.responses.stream(**ask) as stream:
                    answer = stream.get_final_response()
            else:
                answer = client.responses.create(**ask)
            usage = answer.usage
            counts.append((usage.input_tokens, usage.input_tokens_details.cached_tokens))
            calls = [item for item in answer.output if item.type == "function_call"]
            items += [
                *answer.output,
                *(
                    {
                        "type": "function_call_output",
                        "call_id": call.call_id,
                        "output": f"{call.name} found {len(counts)} things in it. " * 12,
                    }
                    for call in calls
                ),
            ]
    return counts


def share(counts):
    """Of all prompts, the part that the cache had."""
    return sum(cached for _, cached in counts) / sum(prompt for prompt, _ in counts)


@pytest.mark.parametrize(("streamed", "reasoning"), WAYS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_case_103_the_cache_has_as_much_as_natively(practice, broker, dialect, streamed, reasoning):
    native = conversation(practice, f"native-for-{dialect}", streamed, reasoning)
    counts = conversation(broker, dialect, streamed, reasoning)
    assert share(native) > 0.85
    assert share(counts) == pytest.approx(share(native), rel=LIKE_NATIVE)
    for (prompt, cached), (native_prompt, native_cached) in zip(counts, native, strict=True):
        assert prompt == pytest.approx(native_prompt, rel=LIKE_NATIVE)
        assert cached == pytest.approx(native_cached, rel=LIKE_NATIVE)
