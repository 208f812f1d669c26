"""Reads a configuration from the disk and the environment; ``config`` says what it means."""

import os
from collections.abc import Mapping
from errno import ENOENT

import msgspec

from lmbroker.config.config import Config, ConfigError, parse

IN_THIS_FOLDER = ("./config.toml", "./etc/config.toml")
OF_THIS_MACHINE = "/etc/lmbroker/config.toml"


def places(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the paths at which a configuration is looked for where none is named.

    The first counts.
    """
    of_user = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(of_user):
        # The XDG specification ignores a relative path here.
        of_user = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return (*IN_THIS_FOLDER, os.path.join(of_user, "lmbroker", "config.toml"), OF_THIS_MACHINE)


def find_config(named: str | None) -> str:
    """Return the path of the configuration file: ``named``, or the first of ``places`` that exists.

    Raises ConfigError where nothing is named and none exists.
    """
    if named is not None:
        return named
    looked = places(os.environ)
    for path in looked:
        if os.path.exists(path):
            return path.removeprefix("./")
    raise ConfigError(
        (
            "There is no configuration file. LMBroker looked for:",
            *(f"  {path}" for path in looked),
            "Name one with --config FILE, or write one with: lmbroker init",
        )
    )


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """All that a configuration was read from but the environment, secrets included.

    ``name`` is the file's in problems, ``text`` what it holds, ``files`` the texts of the files
    that it names, ``listen`` the endpoints that were named in the place of its own.
    """

    name: str
    text: str
    files: dict[str, str]
    listen: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Source(name={self.name!r})"

    def config(self) -> Config:
        """Return the same configuration once more, whatever is on the disk by now."""

        def text_of(path: str) -> str:
            if path not in self.files:
                raise FileNotFoundError(ENOENT, "it was not there", path)
            return self.files[path]

        return parse(
            self.text,
            name=self.name,
            environ=os.environ,
            read_file=text_of,
            listen=self.listen,
        )


def load(path: str, *, shown: str | None = None) -> Config:
    """Return the checked configuration of a file.

    ``shown`` is the file's name in problems, by default ``path``. Raises ConfigError, also for a
    file that cannot be read.
    """
    return load_source(path, shown=shown)[0]


def load_source(
    path: str, *, shown: str | None = None, listen: tuple[str, ...] = ()
) -> tuple[Config, Source]:
    """Return the checked configuration of a file, and the texts of which it was read.

    ``listen`` are endpoints in the place of those in the file, none for its own.
    """
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
    config = parse(text, name=name, environ=os.environ, read_file=noted, listen=listen)
    if config.holds_a_key and mode & 0o077:
        # It does not say chmod 600: the file's owner and the broker's user may differ.
        warning = (
            f"{name}: other users may read this file, and a key stands in it: let the user read it "
            "that the broker runs as, and nobody else"
        )
        config = msgspec.structs.replace(config, warnings=(*config.warnings, warning))
    return config, Source(name=name, text=text, files=files, listen=listen)


def _read(path: str) -> str:
    """Return the text of a file, without the byte order mark that some editors put first."""
    with open(path, encoding="utf-8-sig") as file:
        return file.read()
