"""What real clients sent, recorded by driving each one against a practice backend.

The files lie beside the project; ``LMBROKER_CAPTURES`` says where,
``../shared/clients/captured`` is the default. One file per case, one entry per request, in
order. Long texts stand there as ``<<filler:N>>`` (N characters), and a body that repeats that of
an earlier request of the case as ``{"_same_as": number of that request}``.
"""

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = Path(
    os.environ.get("LMBROKER_CAPTURES", ROOT.parent / "shared" / "clients" / "captured")
)

_FILLER = re.compile(r"<<filler:(\d+)>>")
_TEXT = "All work and no play makes Jack a dull boy. "


@cache
def captured(path: str) -> list[tuple[str, dict[str, Any]]]:
    """(``file#n``, body) of every request to ``path`` (as ``/v1/messages``) that had a body,
    fillers and repetitions expanded; ``n`` counts all requests of the file from 0. Do not
    change the bodies: later calls give the same ones. Empty where there are no captures."""
    found = []
    for file in sorted(CAPTURES.glob("*.json")):
        requests = json.loads(file.read_bytes())
        for number, request in enumerate(requests):
            if request["path"] == path and request["body"] is not None:
                found.append((f"{file.stem}#{number}", _expanded(_original(requests, number))))
    return found


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
