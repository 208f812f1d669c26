"""The fast paths of dialects give what the general way gives.

Each request, each answer and each stream below is read and written twice: as it is, and with all
fast paths saying that the input is of another form.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from types import FunctionType
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from strategies import responses, sequences
from streams import told

from lmbroker.errors import Broken, Refused
from lmbroker.sse import Reader
from lmbroker.translation import dialects
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.unified.response import Response
from lmbroker.translation.unified.stream import StreamEvent

pytestmark = pytest.mark.pure

REPLY = Reply(model="m", created=1, request_id="r", stop=("###", "END"))
"""The answer to a request; it has the stop strings that ``strategies`` use."""

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(dialects.__path__, f"{dialects.__name__}.")
]


def is_fast_path(value: Any) -> bool:
    """Whether ``value`` is a function that recognises a common form."""
    return (
        isinstance(value, FunctionType)
        and value.__module__.endswith(".fast_paths")
        and value.__name__.startswith(("plain_", "only_"))
    )


def nothing_of(function: FunctionType) -> Callable[..., Any]:
    """The same function as if every input were of another form."""
    other = "" if get_type_hints(function)["return"] is str else None
    return lambda *_: other


USES = [
    (module, name, nothing_of(value))
    for module in MODULES
    for name, value in vars(module).items()
    if is_fast_path(value) and not module.__name__.endswith(".fast_paths")
]
"""Where fast paths are used: (module, name, what stands for it)."""


def twice(work: Callable[[], Any]) -> tuple[Any, Any]:
    """What ``work`` gives with fast paths, and without any."""

    def outcome() -> Any:
        try:
            return work()
        except (Broken, Refused) as failure:
            return failure.info

    fast = outcome()
    with pytest.MonkeyPatch.context() as patch:
        for module, name, other in USES:
            patch.setattr(module, name, other)
        return fast, outcome()


TEXTS = ("hi", "", "half \ud83d", None, 7, [], ["hi"], {"text": "hi"})
PARTS = (
    {"text": "hi"},
    {"text": "", "annotations": []},
    {"text": "hi", "annotations": [{}]},
    {"text": "hi", "cache_control": {"type": "ephemeral"}},
    {"text": "hi", "new": 1},
    {"text": 7},
)
ROLES = ("user", "assistant", "system", "developer", "tool", "function", "other", None)


def contents() -> Iterator[Any]:
    """Contents that are one text and nothing else, and what is nearly that."""
    yield from TEXTS
    for kind in ("text", "input_text", "output_text", "refusal", "new", None):
        for part in PARTS:
            yield [{"type": kind, **part}]
            yield [{"type": kind, **part}, {"type": "text", "text": "more"}]


def messages() -> Iterator[list[Any]]:
    """Conversations of one, two and three messages with each role and each content in them."""
    usual = {"role": "user", "content": "What is it?"}
    for content in contents():
        for role in ROLES:
            odd = {"role": role, "content": content}
            yield [odd, usual]
            yield [usual, {**odd, "name": "n"}, usual]
    for role in ROLES:
        yield [{"role": role, "content": "hi"}]
        yield [{"role": role, "content": "hi", "type": "message"}, {"role": role}, usual]
    for odd in (None, "hi", [], {}, {"content": "hi"}, {"role": "user", "text": "hi"}):
        yield [odd, usual]


def bodies(dialect: str) -> Iterator[Any]:
    field = ADAPTERS[dialect].facts.messages_field
    for each in messages():
        yield {"model": "m", "max_tokens": 9, field: each}


def carried(body: Any, client: str) -> Any:
    """What is read of a request, and what becomes of it for a backend of each dialect."""
    request = ADAPTERS[client].decode_request(deepcopy(body))
    written = []
    for backend, adapter in ADAPTERS.items():
        losses = Losses()
        encoded = adapter.encode_request(request, profile(backend, "m", {}), losses)
        written.append((encoded, losses.dropped, losses.changed))
    return request, written


@pytest.mark.parametrize("client", ADAPTERS)
def test_requests_are_read_and_written_alike(client: str) -> None:
    for body in bodies(client):
        fast, general = twice(partial(carried, body, client))
        assert fast == general, body


def heard(stream: bytes, dialect: str) -> list[StreamEvent]:
    """The events of a backend's stream."""
    decoder = ADAPTERS[dialect].decoder()
    events = [event for frame in Reader().feed(stream) for event in decoder.feed(frame)]
    return [*events, *decoder.close()]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sequences(responses))
def test_streams_are_read_alike(events: list[StreamEvent]) -> None:
    for dialect in ADAPTERS:
        fast, general = twice(partial(heard, told(dialect, events, REPLY), dialect))
        assert fast == general


@settings(max_examples=60, deadline=None, derandomize=True)
@given(responses)
def test_answers_are_written_and_read_alike(response: Response) -> None:
    for adapter in ADAPTERS.values():
        fast, general = twice(partial(adapter.encode_response, response, REPLY))
        assert fast == general
        fast, general = twice(partial(adapter.decode_response, fast))
        assert fast == general


def test_there_are_fast_paths() -> None:
    """The functions above find what they look for."""
    names = {value for _, value, _ in USES}
    assert {"plain_turn", "plain_part", "plain_words", "plain_answer", "plain_text"} <= names
