"""What backends say of their models in their own lists: windows, output limits, and whether they
count tokens (translation.md 0.3, "discovered"). Pure.

The list is read where the broker has it anyway; nobody is asked for it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lmbroker import envelope
from lmbroker.call import Target

MODELS = 2000
"""Models of one list that are looked at."""

_CONTEXT = (
    "max_model_len",
    "loaded_context_length",
    "context_length",
    "context_window",
    "max_context_length",
    "max_context_window_tokens",
    "n_ctx",
    "max_input_tokens",
)
"""What vLLM and SGLang, LM Studio, OpenRouter and Together, Groq, Mistral and Cerebras, GitHub,
llama.cpp and Anthropic call the window."""

_OUTPUT = ("max_completion_tokens", "max_output_tokens", "max_output", "max_tokens")

_INSIDE = ("top_provider", "limits", "meta", "metadata", "capabilities")
"""Objects of an entry in which some of it stands."""

_COUNTING = frozenset({"vllm", "llamacpp"})
"""Who serves ``/v1/messages/count_tokens``, as ``owned_by`` says."""


class ListedLimits:
    """What is known of the models of each backend: the last list counts."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, dict[str, Any]]] = {}

    def learn(self, backend: str, body: bytes, *, more: bool = False) -> None:
        """A backend's list came, or with ``more`` a further page of it."""
        found = dict(limits(body))
        if more:
            found = {**self._known.get(backend, {}), **found}
        if found or backend in self._known:
            self._known[backend] = dict(list(found.items())[:MODELS])

    def overrides(self, target: Target) -> Mapping[str, Any]:
        """What the profile of ``target`` should be changed by."""
        known = self._known.get(target.backend.name)
        return {} if known is None else known.get(target.model, {})


def limits(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models in a list that say something of themselves, each with changes of its profile; a
    body that is no list has none."""
    try:
        value = msgspec.json.decode(body)
    except envelope.JSON_ERRORS:
        return
    entries = value.get("data") if isinstance(value, dict) else value
    for entry in entries[:MODELS] if isinstance(entries, list) else ():
        name = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(name, str):
            found = _of(entry)
            if found:
                yield name, found


def _of(entry: dict[str, Any]) -> dict[str, Any]:
    places = [entry]
    for name in _INSIDE:
        inner = entry.get(name)
        if isinstance(inner, dict):
            places.append(inner)
            deeper = inner.get("limits")
            if isinstance(deeper, dict):
                places.append(deeper)
    found: dict[str, Any] = {}
    context, output = _first(places, _CONTEXT), _first(places, _OUTPUT)
    if context is not None:
        found["context"] = context
    if output is not None and (context is None or output < context):
        found["max_output"] = output
    if entry.get("owned_by") in _COUNTING:
        found["counts_tokens"] = True
    return found


def _first(places: list[dict[str, Any]], names: tuple[str, ...]) -> int | None:
    """The first of ``names`` that is a number of tokens somewhere; the smallest where several
    objects have it."""
    for name in names:
        found: list[int] = [
            place[name]
            for place in places
            if isinstance(place.get(name), int)
            and not isinstance(place[name], bool)
            and place[name] > 0
        ]
        if found:
            return min(found)
    return None
