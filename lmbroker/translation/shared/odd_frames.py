"""Stream events whose data is not the JSON that it should be (translation.md 4.4).

Relays and servers write them in a few known forms, which are read for what they mean. Events with
valid JSON never come here.
"""

import json
import math
import re
from typing import Any, NoReturn

from lmbroker import json_text
from lmbroker.sse import Frame
from lmbroker.translation.losses import AnswerLosses

_FIELDS = re.compile(rb"(?:data:\s*+)++")
_PLACES = ("choices", "delta", "content_block", "message", "item", "part", "response", "text")
"""Keys of an event that hold a piece of an answer."""
_KEEP_ALIVES = ("ping", "keepalive", "keep-alive", "heartbeat")
"""Names of events that are keep-alive pings, whatever their data."""


def meant(frame: Frame, losses: AnswerLosses) -> list[Frame] | None:
    """Return the events that ``frame`` stands for, None where its form is not known.

    Four forms are read: several events in one, a line of data each (a relay that ends events with
    one line end); data with the name of its field repeated in front; bytes that are no UTF-8, which
    become U+FFFD; and numbers that JSON does not know, which become null. The last two are reported
    as changes. Arguments of calls are never repaired: what an agent runs is not guessed.
    """
    data = frame.data or b""
    if frame.event in _KEEP_ALIVES:
        return []
    lines = [_bare(line) for line in data.split(b"\n") if line.strip()]
    if len(lines) > 1 and all(line == b"[DONE]" or _is_json(line) for line in lines):
        return [Frame(frame.event, line) for line in lines]
    mended = _mended(_bare(data), losses)
    return None if mended is None or mended == data else [Frame(frame.event, mended)]


def _bare(data: bytes) -> bytes:
    data = data.strip()
    found = _FIELDS.match(data)
    return data[found.end() :] if found else data


def _is_json(data: bytes) -> bool:
    try:
        json_text.decode(data)
    except ValueError:
        return False
    return True


def _mended(data: bytes, losses: AnswerLosses) -> bytes | None:
    """Return ``data`` as JSON or as the end of a stream; None where it can be read as neither."""
    if data == b"[DONE]" or _is_json(data):
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    runs = '"arguments"' in text or '"input"' in text
    try:
        value = json.loads(text, parse_constant=_refused if runs else _nothing, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    place = _place(value) if isinstance(value, dict) else ""
    if not place:
        return None
    losses.change(place)
    return json_text.encode(value)


def _nothing(name: str) -> None:
    return None


def _refused(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = json_text.number(text)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


def _place(event: dict[str, Any]) -> str:
    """Return the path of the part of an event that holds an answer, "" where none does."""
    return next((key for key in _PLACES if key in event), "")
