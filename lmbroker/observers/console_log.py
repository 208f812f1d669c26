"""Log lines for people: one short line for each call, in colours where a terminal shows them."""

import os
import time
from calendar import timegm
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lmbroker.config.settings import LogFormat

Render = Callable[[Mapping[str, Any]], str]
"""Makes the text of a line from its fields."""

_COLOURS = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"

_OF_A_CALL = ("operation", "outcome")
"""Fields that only the line of a call has."""

_HEAD = ("time", "level", "logger", "message")


def render_for(wanted: LogFormat, descriptor: int | None) -> Render | None:
    """Return what makes the lines of a log that goes to ``descriptor``, None where they are JSON.

    ``auto``: for people where it is a terminal, else JSON. Colours are for terminals, unless the
    environment has NO_COLOR.
    """
    terminal = descriptor is not None and os.isatty(descriptor)
    if wanted == "json" or (wanted == "auto" and not terminal):
        return None
    coloured = terminal and not os.environ.get("NO_COLOR")

    def render(line: Mapping[str, Any]) -> str:
        return console_line(line, coloured=coloured)

    return render


def console_line(line: Mapping[str, Any], *, coloured: bool) -> str:
    """Return the text of a line, without its end."""
    level = str(line["level"])
    words = _words_of_a_call(line) if all(name in line for name in _OF_A_CALL) else _words(line)
    text = "  ".join(filter(None, words))
    if not text.isprintable():
        # Else a text of a client could move the cursor, or look like a line of ours.
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    clock = time.strftime("%H:%M:%S", time.localtime(_seconds(line.get("time"))))
    word = f"{level:<8}"
    if coloured:
        clock, word = f"{_DIM}{clock}{_PLAIN}", f"{_COLOURS.get(level, '')}{word}{_PLAIN}"
    return f"{clock} {word} {text}"


def _words(line: Mapping[str, Any]) -> Iterator[str]:
    yield str(line["message"])
    for name, value in line.items():
        if name not in _HEAD:
            yield f"{name}={value}"


def _words_of_a_call(line: Mapping[str, Any]) -> Iterator[str]:
    """Return what one wants to know of a call at a glance; the rest is in JSON lines."""
    asked = line.get("asked")
    alias = line.get("alias") or "-"
    yield f"{line['status']} {line['operation']} {f'{asked} -> {alias}' if asked else alias}"
    if line["outcome"] != "complete":
        code = line.get("code")
        yield f"{line['outcome']}{f' ({code})' if code else ''}"
    if line.get("backend"):
        yield f"{line['backend']}/{line.get('model', '')}"
    if line.get("workflow") == "translation":
        yield str(line.get("dialects"))
    if line.get("attempts", 1) > 1:
        yield f"{line['attempts']} attempts"
    if line.get("ms") is not None:
        first = line.get("ms_first_event")
        yield f"{_ms(line['ms'])}{f' (first {_ms(first)})' if first and line['stream'] else ''}"
    if line.get("tokens_in") is not None:
        about = "~" if line.get("tokens_estimated") else ""
        cached = line.get("tokens_cached")
        of_them = f" ({cached:,} cached)" if cached else ""
        yield f"{about}{line['tokens_in']:,}{of_them} -> {line.get('tokens_out') or 0:,} tokens"
    if line.get("cost") is not None:
        yield f"${line['cost']}"
    if line.get("caller", "anonymous") != "anonymous":
        yield str(line["caller"])
    for name in ("dropped", "changed", "learned"):
        if line.get(name):
            yield f"{name}: {line[name]}"
    yield str(line["request_id"])


def _ms(value: float) -> str:
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"


def _seconds(text: Any) -> float | None:
    """Return the unix seconds of a line's time; None, which is now, where it has none."""
    try:
        moment = time.strptime(str(text)[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    return float(timegm(moment))
