"""Reads a configuration from the disk and the environment; ``config`` says what it means."""

import os

import msgspec

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
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError((f"{name}: cannot be read: {reason}",)) from None
    config = parse(text, name=name, environ=os.environ, read_file=_read)
    if _holds_a_key(config) and os.stat(path).st_mode & 0o077:
        warning = f"{name}: other users may read this file, and a key stands in it: chmod 600"
        config = msgspec.structs.replace(config, warnings=(*config.warnings, warning))
    return config


def _holds_a_key(config: Config) -> bool:
    return any(
        target.backend.credential_ref == "literal"
        for alias in config.aliases.values()
        for target in alias.targets
    )


def _read(path: str) -> str:
    """The text of a file, without the byte order mark that some editors put first."""
    with open(path, encoding="utf-8-sig") as file:
        return file.read()
