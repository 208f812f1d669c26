"""The broker before the practice backend, once for each dialect: what clients of Responses talk to.

The practice backend carries out the plan that stands in the task (``[[call NAME ARGUMENTS]]``),
with reasoning, plays a prompt cache, and refuses what OpenAI refuses; so a client runs its own
tools, and what comes of them must be carried right.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from running import Daemon, Practice


class Backend(NamedTuple):
    """A dialect of the practice backend, and how tables call it."""

    name: str
    dialect: str


BACKENDS = (
    Backend("responses", "responses"),
    Backend("chat", "openai"),
    Backend("messages", "anthropic"),
)
DIRECT = "direct"
"""The practice backend itself, without the broker: what the others are compared with."""


class Servers(NamedTuple):
    """Base URLs, up to ``/v1``."""

    broker: str
    practice: str

    def url(self, backend: str) -> str:
        """Where a client finds ``backend``."""
        return self.practice if backend == DIRECT else self.broker


def _config(practice: str, models: Iterable[str]) -> str:
    text = 'log_level = "info"\n[server]\nhost = "127.0.0.1"\nport = PORT\n'
    for backend in BACKENDS:
        for model in models:
            alias = f"{model}-{backend.name}"
            # Each has a cache of its own; other names must be those that the backend knows.
            served = alias if "cache" in model else model
            text += (
                f'[[models]]\nalias = "{alias}"\ntype = "{backend.dialect}"\n'
                f'target = {{ url = "{practice}", model = "{served}" }}\n'
            )
    return text


@contextmanager
def serving(folder: Path, models: Iterable[str]) -> Iterator[Servers]:
    """Both servers, for as long as the block runs. Clients ask for one of ``models``; at the
    broker with ``-NAME`` of a backend added."""
    practice = Practice(pace=0)
    try:
        daemon = Daemon(folder, _config(f"{practice.url}/v1", models)).wait()
        try:
            yield Servers(broker=f"{daemon.url}/v1", practice=f"{practice.url}/v1")
        finally:
            daemon.stop()
            _check_log(daemon)
    finally:
        practice.kill()


def _check_log(daemon: Daemon) -> None:
    for line in daemon.out.read_text().splitlines():
        if "Traceback" in line:
            raise AssertionError(line)
