"""Limits of models by the lists of their backends: windows, output, token counting.

See translation.md 0.3, "discovered". The list is read where the broker has it anyway; no backend is
asked for it. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lmbroker import envelope
from lmbroker.call import Target

MODELS = 2000
"""The maximum of models of one list that are read."""

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
"""The names of the window's size at vLLM and SGLang, LM Studio, OpenRouter and Together, Groq,
Mistral and Cerebras, GitHub, llama.cpp and Anthropic."""

_OUTPUT = ("max_completion_tokens", "max_output_tokens", "max_output", "max_tokens")

_INSIDE = ("top_provider", "limits", "meta", "metadata", "capabilities")
"""Objects inside an entry that may hold some of these fields."""

_COUNTING = frozenset({b'"vllm"', b'"llamacpp"'})
"""Servers that have ``/v1/messages/count_tokens``, by their ``owned_by``."""


_Entry = msgspec.defstruct(
    "_Entry",
    [
        ("id", str, ""),
        *(
            (name, msgspec.Raw, msgspec.Raw())
            for name in (*_CONTEXT, *_OUTPUT, *_INSIDE, "owned_by")
        ),
    ],
)
"""One model, or an object within it. Fields that are not listed here are skipped, whatever they
hold."""


class _Page(msgspec.Struct):
    data: list[_Entry]  # type: ignore[valid-type]


_ENTRY = msgspec.json.Decoder(_Entry)
_LIST = msgspec.json.Decoder(_Page | list[_Entry])  # type: ignore[valid-type]
_DIGITS = 18
"""The maximum of digits in a number of tokens."""


class ListedLimits:
    """The limits of the models of each backend, by its last list."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, dict[str, Any]]] = {}

    def learn(self, backend: str, body: bytes, *, more: bool = False) -> None:
        """Take over a backend's list, or with ``more`` a further page of it."""
        found = dict(limits(body))
        if more:
            found = {**self._known.get(backend, {}), **found}
        if found or backend in self._known:
            self._known[backend] = dict(list(found.items())[:MODELS])

    def overrides(self, target: Target) -> Mapping[str, Any]:
        """Return the changes of the profile of ``target``."""
        known = self._known.get(target.backend.name)
        return {} if known is None else known.get(target.model, {})


def limits(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the models in a list that say something of themselves, each with its profile changes.

    A body that is no list has none.
    """
    try:
        value = _LIST.decode(body)
    except envelope.JSON_ERRORS:
        return
    for entry in (value if isinstance(value, list) else value.data)[:MODELS]:
        found = _of(entry)
        if found and entry.id:
            yield entry.id, found


def _of(entry: Any) -> dict[str, Any]:
    places = [entry]
    for name in _INSIDE:
        inner = _inner(getattr(entry, name))
        if inner is not None:
            places.append(inner)
            deeper = _inner(inner.limits)
            if deeper is not None:
                places.append(deeper)
    found: dict[str, Any] = {}
    context, output = _first(places, _CONTEXT), _first(places, _OUTPUT)
    if context is not None:
        found["context"] = context
    if output is not None and (context is None or output < context):
        found["max_output"] = output
    if bytes(entry.owned_by) in _COUNTING:
        found["counts_tokens"] = True
    return found


def _inner(value: msgspec.Raw) -> Any:
    """Return the object in ``value``, None where that is something else."""
    try:
        return _ENTRY.decode(value)
    except envelope.JSON_ERRORS:
        return None


def _first(places: list[Any], names: tuple[str, ...]) -> int | None:
    """Return the first of ``names`` that is a number of tokens somewhere.

    It is the smallest where several objects have it.
    """
    for name in names:
        said = [bytes(getattr(place, name)) for place in places]
        found = [int(each) for each in said if each.isdigit() and len(each) <= _DIGITS]
        if any(found):
            return min(filter(None, found))
    return None
