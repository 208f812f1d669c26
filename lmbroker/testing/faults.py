"""Delivers answers as they should be, or with the fault that the model's name asks for.

The package's docstring lists the faults.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

from lmbroker.json_text import JSON
from lmbroker.testing.ask import Ask
from lmbroker.testing.script import Said

RETRY_LATER = (429, 503, 529)
SLOW_MS = 100
ASKED_FOR = "the practice backend fails, as asked"
HTML = b"<!doctype html><html><body><h1>practice</h1></body></html>"


class Speaker(Protocol):
    """Writes the answers to one request in the form of its dialect."""

    request_id_header: str
    overflow: tuple[str, JSON]
    """The message by which the dialect says that a prompt is too long, and the other fields of its
    error."""

    def whole(self, ask: Ask, said: Said, /) -> JSON:
        """Return the answer as one JSON body."""

    def events(self, ask: Ask, said: Said, /) -> Iterator[bytes]:
        """Yield the events of a streamed answer, as bytes."""

    def error(self, status: int, message: str, /) -> JSON:
        """Return the body of an error with an HTTP status."""

    def error_event(self, message: str, /) -> bytes:
        """Return an error that stands inside a stream."""

    def garbage(self) -> bytes:
        """Return an event that is cut off in its JSON."""

    def models(self, names: tuple[str, ...], /) -> JSON:
        """Return the list of models."""

    def model(self, name: str, /) -> JSON:
        """Return the entry of one model."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A response to be played."""

    parts: Iterable[bytes]
    """The parts of the body, each of which is written by itself."""
    status: int = 200
    type: str = "application/json"
    length: int | None = None
    """The value of ``content-length``; None for a chunked body."""
    retry_after: bool = False
    end: str = "finish"
    """``finish``, ``cut``, ``reset``, or ``silence``: the body neither ends nor goes on."""
    wait: float | None = None
    """Seconds between two parts, and before a body of one part; None: the server's own pace."""
    paced: bool = True
    """Whether the parts come at a pace for people; without, each has a turn of the reactor."""


def unary(model: str, speaker: Speaker, value: JSON) -> Scene:
    """Return ``value`` as one JSON body, with the fault that ``model`` names."""
    failing = re.fullmatch(r"fail-([45]\d\d)", model)
    if failing:
        return failure(speaker, int(failing[1]), ASKED_FOR)
    if model == "overflow":
        message, details = speaker.overflow
        return failure(speaker, 400, message, details)
    if model == "hang":
        return Scene(parts=(), end="silence")
    if model == "html":
        return Scene(parts=(HTML,), type="text/html", length=len(HTML))
    if model in ("error-first", "error-mid"):
        value = speaker.error(529, ASKED_FOR)
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    half = body[: len(body) // 2]
    if model in ("garbage", "cut-clean"):
        return Scene(parts=(half,), length=len(half))
    if model in ("cut", "reset", "stall"):
        end = "silence" if model == "stall" else model
        return Scene(parts=(half,), length=len(body), end=end)
    return Scene(parts=(body,), length=len(body), wait=_slowness(model))


def streamed(model: str, speaker: Speaker, events: Iterator[bytes]) -> Scene:
    """Return ``events`` as an event stream, with the fault that ``model`` names."""
    if model in ("html", "hang", "overflow") or model.startswith("fail-"):
        return unary(model, speaker, {})
    end = "finish"
    if model in ("cut", "cut-clean", "reset", "stall"):
        end = {"cut-clean": "finish", "stall": "silence"}.get(model, model)
        events = islice(events, 2)
    elif model == "error-first":
        events = iter((speaker.error_event(ASKED_FOR),))
    elif model == "error-mid":
        events = chain(islice(events, 2), _error(speaker))
    elif model == "garbage":
        events = chain(islice(events, 2), (speaker.garbage(),), islice(events, 1, None))
    return Scene(
        parts=events,
        type="text/event-stream; charset=utf-8",
        end=end,
        wait=_slowness(model),
        paced=not model.startswith("long-"),
    )


def failure(speaker: Speaker, status: int, message: str, details: JSON | None = None) -> Scene:
    """Return an error in the dialect's form; ``details`` are fields of it."""
    value = speaker.error(status, message)
    value["error"].update(details or {})
    body = json.dumps(value, separators=(",", ":")).encode()
    return Scene(parts=(body,), status=status, length=len(body), retry_after=status in RETRY_LATER)


def _error(speaker: Speaker) -> Iterator[bytes]:
    """Return the error event, written when its turn comes: some count their events."""
    yield speaker.error_event(ASKED_FOR)


def _slowness(model: str) -> float | None:
    slow = re.fullmatch(r"slow(?:-(\d+))?", model)
    return int(slow[1] or SLOW_MS) / 1000 if slow else None
