"""Reads a configuration from the disk and the environment; ``config`` says what it means."""

import os

from lmbroker.config import Config, ConfigError, parse


def load(path: str, *, shown: str | None = None) -> Config:
    """The checked configuration of a file.

    ``shown`` is the file's name in complaints, by default ``path``. Raises ConfigError, also for
    a file that cannot be read.
    """
    name = shown or path
    try:
        text = _read(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError((f"{name}: cannot be read: {reason}",)) from None
    return parse(text, name=name, environ=os.environ, read_file=_read)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
