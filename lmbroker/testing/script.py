"""The practice backend's answers, whatever the dialect of the request."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from lmbroker.testing.ask import Ask, Offered
from lmbroker.testing.example import example

WORDS_PER_EVENT = 3
CUSTOM_INPUT = 'two lines,\nand a "quoted" word'
"""What a tool that takes free text is called with."""
REFUSAL = "The practice backend will not help with that."


_STEP = re.compile(r"\[\[call ((?:(?!\]\]).)*)\]\](&?)", re.DOTALL)
"""A step of a plan in the user's text; ``&`` after it means that the next one is taken with it."""


_SEARCH = re.compile(r"\[\[search ([^\]]+)\]\]")
"""Asks for a search of the web, by the provider."""

PAGE = ("https://example.com/found", "What was found")
"""The one page that searches find: its address and its title."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer. Contents stay out of its repr."""

    thinking: str = field(default="", repr=False)
    pieces: tuple[str, ...] = field(default=(), repr=False)
    """The text, cut as it is streamed."""
    refusal: str = field(default="", repr=False)
    """What is said instead of a text where nothing else will be said."""
    calls: tuple[tuple[Offered, Any], ...] = field(default=(), repr=False)
    """The tools called, each with its arguments, or with its text where it is a custom one."""
    query: str = field(default="", repr=False)
    """What was searched for in the web before the text was said, which cites the page found."""
    compacts: bool = False
    """The answer is what the conversation is compacted to, and nothing else."""
    stop: str = "end"
    """``end``, ``max_tokens``, ``stop_sequence``, ``tool_calls`` or ``refusal``."""
    sequence: str | None = field(default=None, repr=False)
    """The stop sequence that was met."""
    prompt: int = 0
    cached: int = 0
    """Of ``prompt``."""
    written: int = 0
    """Of ``prompt``: what the played prompt cache keeps from now on."""
    output: int = 0
    reasoning: int = 0
    """Of ``output``."""

    @property
    def text(self) -> str:
        """The whole text of the answer."""
        return "".join(self.pieces)


def answer(ask: Ask) -> Said:
    """Return the answer to ``ask``: always the same one."""
    thinking = f"The user said {len(ask.text.split())} words; an answer is due."
    if not ask.reasoning:
        thinking = ""
    calls = _calls(ask)
    stop, sequence = "end", None
    pieces: tuple[str, ...] = ()
    long = re.fullmatch(r"long-(\d{1,7})", ask.model)
    refusal = ""
    search = _SEARCH.search(ask.plan) if ask.searches else None
    if ask.model == "refuse":
        refusal, stop, calls = REFUSAL, "refusal", ()
        spoken = len(refusal.split())
    elif calls:
        stop = "tool_calls"
        spoken = sum(len(json.dumps(given).split()) + 1 for _, given in calls)
    elif long:
        pieces = ("word ",) * int(long[1])
        spoken = len(pieces)
    else:
        text, stop, sequence = _shortened(ask, _reply(ask))
        pieces = chunks(text)
        spoken = len(text.split())
    reasoning = len(thinking.split())
    cached = ask.prompt // 2 if "cached" in ask.text else 0
    if ask.cached is not None:
        cached = ask.cached
    return Said(
        thinking=thinking,
        pieces=pieces,
        refusal=refusal,
        query=search[1] if search and pieces else "",
        calls=calls,
        stop=stop,
        sequence=sequence,
        prompt=ask.prompt,
        cached=cached,
        written=ask.written,
        output=max(1, spoken + reasoning),
        reasoning=reasoning,
    )


def _reply(ask: Ask) -> str:
    if ask.model == "empty":
        return ""
    if ask.schema is not None:
        return json.dumps(example(ask.schema) if ask.schema else {"answer": ask.text})
    if ask.results:
        return "The tool said: " + "; ".join(ask.results)
    return ask.text


def _calls(ask: Ask) -> tuple[tuple[Offered, Any], ...]:
    plan = _plan(ask.plan)
    if plan:
        return _planned(ask, plan)
    chosen = list(ask.tools)
    if ask.choice == "none" or ask.results or ask.model == "empty":
        chosen = []
    if ask.choice.startswith("named:"):
        chosen = [tool for tool in chosen if tool.name == ask.choice.removeprefix("named:")]
    count = 2 if "parallel" in ask.text and ask.parallel else 1
    return tuple(
        (tool, CUSTOM_INPUT if tool.custom else example(tool.schema)) for tool in chosen[:count]
    )


def _plan(text: str) -> list[list[tuple[str, str]]]:
    """Return the calls that the user's text asks for, turn by turn: names and JSON arguments."""
    turns: list[list[tuple[str, str]]] = []
    with_the_one_before = ""
    for step, joined in _STEP.findall(text):
        name, _, given = step.partition(" ")
        if not with_the_one_before:
            turns.append([])
        turns[-1].append((name, given))
        with_the_one_before = joined
    return turns


def _planned(ask: Ask, plan: list[list[tuple[str, str]]]) -> tuple[tuple[Offered, Any], ...]:
    """Return the calls of the turn that is due; none where the plan is done.

    A tool that was given a namespace is found by its own name, too.
    """
    done = ask.done
    for turn in plan:
        if done <= 0:
            found = [
                (tool, _fitting(tool, json.loads(given or "{}")))
                for name, given in turn
                for tool in ask.tools
                if tool.name == name or tool.name.endswith(f"__{name}")
            ]
            return tuple(found)
        done -= len(turn)
    return ()


def _fitting(tool: Offered, given: Any) -> Any:
    """Return the arguments for a tool.

    A custom tool that was made a function takes its text in ``input``.
    """
    return {"input": given} if isinstance(given, str) and not tool.custom else given


def _shortened(ask: Ask, text: str) -> tuple[str, str, str | None]:
    """Return the text up to the first stop sequence or word limit, and why it stops.

    The last value is the stop sequence, None for none.
    """
    why, sequence = "end", None
    found = [(text.index(stop), stop) for stop in ask.stop if stop and stop in text]
    if found:
        place, sequence = min(found)
        text, why = text[:place], "stop_sequence"
    words = _words(text)
    if ask.max_words is not None and len(words) > ask.max_words:
        return "".join(words[: ask.max_words]), "max_tokens", None
    return text, why, sequence


def chunks(text: str) -> tuple[str, ...]:
    """Return ``text`` in pieces of a few words each; joined they are the text."""
    words = _words(text)
    return tuple(
        "".join(words[start : start + WORDS_PER_EVENT])
        for start in range(0, len(words), WORDS_PER_EVENT)
    )


def fragments(text: str) -> tuple[str, ...]:
    """Return ``text`` in three pieces that end anywhere: so are arguments streamed."""
    third = len(text) // 3 + 1
    return tuple(text[start : start + third] for start in range(0, len(text), third))


def _words(text: str) -> list[str]:
    """Return the words with the space before them; space at the end goes with the last one."""
    return re.findall(r"\s*\S+(?:\s+$)?|\s+", text)
