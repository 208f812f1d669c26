"""Tasks for the OpenAI Agents SDK, run in the environment that it is installed in.

``agents_task.py URL MODEL`` speaks Responses to ``URL`` and prints one line of JSON per task: its
name, whether it ended as it must, and what is to be told.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from agents import (
    Agent,
    CustomTool,
    ModelSettings,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel

SETTINGS = ModelSettings(
    reasoning=Reasoning(effort="high", summary="auto"),
    response_include=["reasoning.encrypted_content"],
    store=False,
    parallel_tool_calls=True,
)


class Verdict(BaseModel):
    city: str
    sunny: bool


@function_tool
def weather(city: str) -> str:
    """Say the weather of a city."""
    return f"sunny in {city}"


@function_tool
def distance(here: str, there: str) -> str:
    """Say how far it is from one city to another."""
    return f"{len(here) + len(there)} miles"


def call(tool: str, **arguments: Any) -> str:
    """A step of the plan that the practice backend carries out."""
    return f"[[call {tool} {json.dumps(arguments)}]]"


PLAN = "&".join(
    (
        call("weather", city="Rome"),
        call("weather", city="Oslo") + call("distance", here="Rome", there="Oslo"),
    )
)


def kinds(result: Any) -> list[str]:
    """The types of all items that the model gave."""
    return [item.type for response in result.raw_responses for item in response.output]


async def tools(model: Any) -> tuple[bool, str]:
    """Three calls in two turns, two of them at once."""
    agent = Agent(name="a", model=model, tools=[weather, distance], model_settings=SETTINGS)
    result = await Runner.run(agent, PLAN)
    found = kinds(result)
    good = found.count("function_call") == 3 and found.count("reasoning") == 3
    return good and "8 miles" in result.final_output, f"{found}"


async def streamed(model: Any) -> tuple[bool, str]:
    """The same, streamed, and then another turn on top of it."""
    agent = Agent(name="a", model=model, tools=[weather, distance], model_settings=SETTINGS)
    result = Runner.run_streamed(agent, PLAN)
    events = [event.type async for event in result.stream_events()]
    again = Runner.run_streamed(agent, [*result.to_input_list(), {"role": "user", "content": PLAN}])
    events += [event.type async for event in again.stream_events()]
    good = "8 miles" in result.final_output and "8 miles" in again.final_output
    return good and kinds(again).count("reasoning") == 3, f"{len(events)} events"


async def handoff(model: Any) -> tuple[bool, str]:
    """One agent hands over to another, which calls a tool."""
    other = Agent(name="other", model=model, tools=[weather], model_settings=SETTINGS)
    agent = Agent(name="first", model=model, handoffs=[other], model_settings=SETTINGS)
    plan = call("transfer_to_other") + call("weather", city="Oslo")
    result = await Runner.run(agent, plan)
    good = result.last_agent.name == "other" and "sunny in Oslo" in result.final_output
    return good, f"{kinds(result)}"


async def output(model: Any) -> tuple[bool, str]:
    """Structured output after a tool."""
    agent = Agent(
        name="a", model=model, tools=[weather], output_type=Verdict, model_settings=SETTINGS
    )
    result = await Runner.run(agent, call("weather", city="Rome"))
    return isinstance(result.final_output, Verdict), repr(result.final_output)


async def custom(model: Any) -> tuple[bool, str]:
    """A tool that takes free text."""
    got = []

    async def keep(_: Any, text: str) -> str:
        got.append(text)
        return f"{len(text)} characters"

    tool = CustomTool(name="note", description="Keeps a note.", on_invoke_tool=keep)
    agent = Agent(name="a", model=model, tools=[tool], model_settings=SETTINGS)
    result = await Runner.run(agent, '[[call note "one\\ntwo \\"three\\""]]')
    return got == ['one\ntwo "three"'] and "15 characters" in result.final_output, f"{got}"


TASKS: tuple[Callable[[Any], Awaitable[tuple[bool, str]]], ...] = (
    tools,
    streamed,
    handoff,
    output,
    custom,
)


async def main(url: str, name: str) -> None:
    """Run all tasks, one after the other."""
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    model = OpenAIResponsesModel(model=name, openai_client=client)
    for task in TASKS:
        try:
            good, told = await task(model)
        except Exception as error:
            good, told = False, f"{type(error).__name__}: {error}"
        print(json.dumps({"task": task.__name__, "good": good, "told": told}), flush=True)
    await client.close()


asyncio.run(main(*sys.argv[1:]))
