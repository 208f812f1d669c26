"""Conversations that go from backend to backend, with reasoning and tools: what one backend signed
or encrypted must come back to it unchanged, and must not make another one refuse."""

import json
from itertools import permutations

import anthropic
import openai
import pytest

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PLAN = '[[call weather {"city":"Rome"}]] [[call weather {"city":"Oslo"}]]&[[call weather {}]]'
ORDERS = pytest.mark.parametrize(
    "order", ["".join(order) for order in permutations("oar")] + ["arar", "rara", "oror", "rooa"]
)
TURNS = 8
"""Answers, of which each is asked of the next model in the order: two rounds of a plan with three
calls in two turns, and what goes on after them."""


def goes_on(ask, order):
    """Ask turn by turn; returns how many calls each answer had."""
    counts = []
    for number in range(TURNS):
        counts.append(ask(order[number % len(order)]))
    return counts


EXPECTED = [1, 2, 0] * (TURNS // 3) + [1, 2, 0][: TURNS % 3]


@pytest.mark.parametrize("streamed", [False, True])
@ORDERS
def test_responses(daemon, order, streamed):
    items = [{"role": "user", "content": PLAN}]
    more = {
        "tools": [{"type": "function", "name": "weather", "parameters": CITY}],
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="x", max_retries=0) as client:

        def ask(model):
            if streamed:
                with client.responses.stream(model=model, input=items, **more) as stream:
                    answer = stream.get_final_response()
            else:
                answer = client.responses.create(model=model, input=items, **more)
            calls = [item for item in answer.output if item.type == "function_call"]
            assert answer.output[0].type == "reasoning"
            items.extend(answer.output)
            items.extend(
                {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
                for call in calls
            )
            if not calls:
                assert "sunny" in answer.output_text
                items.append({"role": "user", "content": PLAN})
            return len(calls)

        assert goes_on(ask, order) == EXPECTED


@pytest.mark.parametrize("streamed", [False, True])
@ORDERS
def test_messages(daemon, order, streamed):
    messages = [{"role": "user", "content": PLAN}]
    more = {
        "tools": [{"name": "weather", "input_schema": CITY}],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "max_tokens": 4000,
    }
    with anthropic.Anthropic(base_url=daemon.url, api_key="x", max_retries=0) as client:

        def ask(model):
            if streamed:
                with client.messages.stream(model=model, messages=messages, **more) as stream:
                    answer = stream.get_final_message()
            else:
                answer = client.messages.create(model=model, messages=messages, **more)
            calls = [block for block in answer.content if block.type == "tool_use"]
            assert answer.content[0].type == "thinking"
            said = [block.to_dict() for block in answer.content]
            messages.append({"role": "assistant", "content": said})
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
                for call in calls
            ]
            if not calls:
                assert "sunny" in answer.content[-1].text
            messages.append({"role": "user", "content": results or PLAN})
            return len(calls)

        assert goes_on(ask, order) == EXPECTED


@pytest.mark.parametrize("streamed", [False, True])
@ORDERS
def test_chat(daemon, order, streamed):
    messages = [{"role": "user", "content": PLAN}]
    function = {"name": "weather", "parameters": CITY}
    more = {"tools": [{"type": "function", "function": function}], "reasoning_effort": "high"}
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="x", max_retries=0) as client:

        def ask(model):
            if streamed:
                with client.chat.completions.stream(
                    model=model, messages=messages, **more
                ) as stream:
                    answer = stream.get_final_completion()
            else:
                answer = client.chat.completions.create(model=model, messages=messages, **more)
            message = answer.choices[0].message
            assert message.reasoning_content
            calls = message.tool_calls or []
            messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
            messages.extend(
                {"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls
            )
            assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)
            if not calls:
                assert "sunny" in message.content
                messages.append({"role": "user", "content": PLAN})
            return len(calls)

        assert goes_on(ask, order) == EXPECTED
