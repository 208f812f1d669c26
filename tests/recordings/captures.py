"""What real clients sent and real backends answered, as it was recorded by us and by others.

Both lots lie beside the project. *Captures* were made by driving each client against a practice
backend; ``LMBROKER_CAPTURES`` says where they are, ``../shared/clients/captured`` is the default.
One file is one case: its requests in order. Long texts stand there as ``<<filler:N>>`` (N
characters), and a body that repeats that of an earlier request of the case as
``{"_same_as": number of that request}``. *Recordings* are one request per folder, its answer, or
both.

Do not change the bodies that these functions give: later calls give the same ones.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from beside import CAPTURES, RECORDINGS

ENDPOINTS = {
    "openai.chat": "openai",
    "anthropic.messages": "anthropic",
    "openai.responses": "responses",
}

_FILLER = re.compile(r"<<filler:(\d+)>>")
_TEXT = "All work and no play makes Jack a dull boy. "


@cache
def captured(path: str) -> list[tuple[str, dict[str, Any]]]:
    """(``file#n``, body) of every captured request to ``path`` (``/v1/messages``) that had a
    body, fillers and repetitions expanded; ``n`` counts all requests of the file from 0. Empty
    where there are no captures."""
    found = []
    for file in sorted(CAPTURES.glob("*.json")):
        requests = json.loads(file.read_bytes())
        for number, request in enumerate(requests):
            if request["path"] == path and request["body"] is not None:
                found.append((f"{file.stem}#{number}", _expanded(_original(requests, number))))
    return found


@cache
def recorded(endpoint: str) -> list[tuple[str, dict[str, Any]]]:
    """(folder, body) of every recorded request to ``endpoint`` (``anthropic.messages``). Empty
    where there are no recordings."""
    found = []
    for file in sorted(RECORDINGS.glob("*/request.json")):
        if json.loads((file.parent / "meta.json").read_bytes())["endpoint"] == endpoint:
            found.append((file.parent.name, json.loads(file.read_bytes())))
    return found


def named(bodies: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, tuple[dict[str, Any]]]]:
    """The cases (``batches``) of requests that were found."""
    return [(name, (body,)) for name, body in bodies]


def _original(requests: list[dict[str, Any]], number: int) -> dict[str, Any]:
    body: dict[str, Any] = requests[number]["body"]
    while "_same_as" in body:
        body = requests[body["_same_as"]]["body"]
    return body


def _expanded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    return _FILLER.sub(_filler, value) if isinstance(value, str) else value


def _filler(found: re.Match[str]) -> str:
    length = int(found[1])
    return (_TEXT * (length // len(_TEXT) + 1))[:length]


# Recorded answers.


@dataclass(frozen=True)
class Recording:
    """A recorded answer of a backend."""

    folder: Path
    dialect: str
    status: int

    @property
    def stream(self) -> bytes:
        return (self.folder / "response.sse").read_bytes()

    @property
    def body(self) -> bytes:
        return (self.folder / "response.json").read_bytes()


@cache
def answers(file: str, *, failed: bool = False) -> list[tuple[str, tuple[Recording]]]:
    """The cases (``batches``) of all recorded answers in a ``file`` of this name
    (``response.json``): those of calls that succeeded, or that ``failed``."""
    found: list[tuple[str, tuple[Recording]]] = []
    for path in sorted(RECORDINGS.glob(f"*/{file}")):
        folder = path.parent
        meta = json.loads((folder / "meta.json").read_bytes())
        dialect, status = ENDPOINTS.get(meta["endpoint"]), meta["status"]
        if dialect is not None and failed == (status != 200):
            found.append((folder.name, (Recording(folder, dialect, status),)))
    return found
