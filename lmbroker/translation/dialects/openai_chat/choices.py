"""Several choices in the answer to a request that asked for one.

Some backends (GitHub Copilot's Claude) split a message: its text stands in the first choice, its
calls in the second.
"""

from collections.abc import Sequence
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_chat.content import calls_of, spoken
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.shared import stop_words

_INDICES = (int, str, type(None))


def one_choice(choices: Any, losses: AnswerLosses) -> JSON:
    """Return the choices as one.

    It is the choice of index 0, or the first one, with the fields that it lacks from the others.
    The text of a further choice is another answer, which is dropped and reported.
    """
    if type(choices) is list and len(choices) == 1 and type(choices[0]) is dict:
        return choices[0]
    found = [choice for choice in choices if isinstance(choice, dict)] if _many(choices) else []
    if not found:
        return first_choice(choices)
    first = next((choice for choice in found if not choice.get("index")), found[0])
    message: JSON = dict(message_of(first))
    calls: list[Any] = list(calls_of(message))
    said = bool(spoken(message))
    taken = [first]
    for choice in found:
        more = message_of(choice)
        if choice is first:
            continue
        if said and spoken(more):
            losses.drop("choices[]")
            continue
        taken.append(choice)
        said = said or bool(spoken(more))
        calls += calls_of(more)
        for key, value in more.items():
            if value and not message.get(key):
                message[key] = value
    if calls:
        message["tool_calls"] = calls
    words = [choice.get("finish_reason") for choice in taken]
    cut = [word for word in words if stop_words.meaning(word) not in ("end", "tool_calls")]
    finish = next(iter(cut or words))
    return {**first, "message": message, "finish_reason": finish}


def first_choice(choices: Any) -> JSON:
    """Return the choice of index 0, else the first one, else an empty object."""
    found = [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
    at_0 = [choice for choice in found if not choice.get("index")]
    return next(iter(at_0 or found), {})


def message_of(choice: JSON) -> JSON:
    """Return the message of a choice, empty where it has none."""
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _many(choices: Any) -> bool:
    return isinstance(choices, list) and len(choices) > 1


def choice_at(choices: Any, main: Any) -> JSON | None:
    """Return the choice of index ``main`` in a chunk, None where there is none."""
    if type(choices) is list:
        for choice in choices:
            if type(choice) is dict and (choice.get("index") or 0) == main:
                return choice
    return None


def other_choices(choices: Any, first: JSON | None) -> Sequence[JSON]:
    """Return the choices of a chunk besides ``first``; their index may be any JSON value."""
    if type(choices) is not list:
        return ()
    return [
        choice
        for choice in choices
        if type(choice) is dict and choice is not first and type(choice.get("index")) in _INDICES
    ]
