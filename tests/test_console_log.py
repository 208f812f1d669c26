"""Log lines for people."""

import io
import os
import pty
import re

import pytest
from twisted.logger import Logger

from lmbroker.observers.access_log import AccessLine
from lmbroker.observers.console_log import console_line, render_for
from lmbroker.observers.json_log import JSONLog

CALL = {
    "time": "2026-11-29T11:00:01.123Z",
    "level": "info",
    "logger": "lmbroker.accesslog.AccessLog",
    "message": "chat fast complete 200",
    "request_id": "req_1",
    "operation": "chat",
    "alias": "fast",
    "caller": "ann",
    "backend": "b",
    "model": "m",
    "dialects": "openai->anthropic",
    "workflow": "translation",
    "stream": True,
    "status": 200,
    "outcome": "complete",
    "attempts": 1,
    "ms_first_event": 212.4,
    "ms": 1812.0,
    "tokens_in": 12000,
    "tokens_cached": 11000,
    "tokens_out": 300,
    "cost": "0.0123",
    "dropped": "temperature",
}


def line(**more):
    return console_line({**CALL, **more}, coloured=False)


def test_a_call_is_one_line_that_says_what_one_asks_first():
    clock, _, rest = line().partition(" ")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock)
    assert rest == (
        "info     200 chat fast  b/m  openai->anthropic  1.8 s (first 212 ms)  "
        "12,000 (11,000 cached) -> 300 tokens  $0.0123  ann  dropped: temperature  req_1"
    )


def test_a_call_that_failed_says_why():
    text = line(outcome="backend_error", code="timeout_idle", status=504, level="warning")
    assert "warning  504 chat fast  backend_error (timeout_idle)" in text


def test_what_is_not_known_is_not_told():
    few = {name: CALL[name] for name in ("time", "level", "message", "request_id")}
    few |= {"operation": "chat", "outcome": "refused", "status": 401, "logger": "-"}
    assert console_line(few, coloured=False).endswith("401 chat -  refused  req_1")


def test_other_lines_have_their_words_and_fields():
    fields = {"level": "warning", "logger": "x", "message": "hm", "client": "::1"}
    text = console_line({"time": CALL["time"], **fields}, coloured=False)
    assert text.endswith("warning  hm  client=::1")


@pytest.mark.parametrize("evil", ["\x1b[2Jgone", "a\nINFO b", "\u202eabc", "\x07"])
def test_nobody_moves_the_cursor_or_writes_a_line_of_ours(evil):
    for text in (line(asked=evil), console_line({**CALL, "message": evil}, coloured=False)):
        assert text.isprintable()
    assert console_line({"level": "info", "message": evil}, coloured=False).isprintable()


def test_colours_are_for_terminals(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    reader, terminal = pty.openpty()
    try:
        assert "\x1b[" in render_for("auto", terminal)(CALL)
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[" not in render_for("auto", terminal)(CALL)
    finally:
        os.close(reader)
        os.close(terminal)


def test_who_is_no_terminal_gets_json_unless_it_is_asked_otherwise(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        assert render_for("auto", file.fileno()) is None
        assert render_for("json", file.fileno()) is None
        assert "\x1b[" not in render_for("console", file.fileno())(CALL)
    assert render_for("auto", None) is None


def test_all_lines_of_the_log_are_rendered():
    out = io.StringIO()
    render = render_for("console", None)
    log = JSONLog(out, "info", 3, render)
    Logger(namespace="x", observer=log).info("hello {name}", name="you")
    log.write_lines(
        [
            AccessLine(
                level="info",
                logger="-",
                message="-",
                request_id="req_1",
                operation="chat",
                caller="anonymous",
                stream=False,
                status=200,
                outcome="complete",
                attempts=1,
                bytes_in=1,
                bytes_out=1,
            )
        ]
    )
    first, second = out.getvalue().splitlines()
    assert first.endswith("info     hello you  worker=3")
    assert second.endswith("200 chat -  req_1")
