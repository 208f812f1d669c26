"""Reads a configuration from the disk and the environment; ``config`` says what it means."""

import os
from errno import ENOENT

import msgspec

from lmbroker.config.config import Config, ConfigError, parse


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """All that a configuration was read from but the environment, secrets included.

    ``name`` is the file's in problems, ``text`` what it holds, ``files`` the texts of the files
    that it names.
    """

    name: str
    text: str
    files: dict[str, str]

    def __repr__(self) -> str:
        return f"Source(name={self.name!r})"

    def config(self) -> Config:
        """Return the same configuration once more, whatever is on the disk by now."""

        def text_of(path: str) -> str:
            if path not in self.files:
                raise FileNotFoundError(ENOENT, "it was not there", path)
            return self.files[path]

        return parse(self.text, name=self.name, environ=os.environ, read_file=text_of)


def load(path: str, *, shown: str | None = None) -> Config:
    """Return the checked configuration of a file.

    ``shown`` is the file's name in problems, by default ``path``. Raises ConfigError, also for a
    file that cannot be read.
    """
    return load_source(path, shown=shown)[0]


def load_source(path: str, *, shown: str | None = None) -> tuple[Config, Source]:
    """As ``load``, with what others need to read the very same."""
    name = shown or path
    files: dict[str, str] = {}

    def noted(file: str) -> str:
        files[file] = _read(file)
        return files[file]

    try:
        text = _read(path)
        mode = os.stat(path).st_mode
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError((f"{name}: cannot be read: {reason}",)) from None
    config = parse(text, name=name, environ=os.environ, read_file=noted)
    if config.holds_a_key and mode & 0o077:
        warning = f"{name}: other users may read this file, and a key stands in it: chmod 600"
        config = msgspec.structs.replace(config, warnings=(*config.warnings, warning))
    return config, Source(name=name, text=text, files=files)


def _read(path: str) -> str:
    """Return the text of a file, without the byte order mark that some editors put first."""
    with open(path, encoding="utf-8-sig") as file:
        return file.read()
