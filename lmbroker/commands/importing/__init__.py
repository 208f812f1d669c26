"""``lmbroker import``: makes a configuration of another program's.

Each key that could not be carried is named on stderr.
"""

import argparse
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from lmbroker.commands.importing import claude_code_router, litellm
from lmbroker.commands.importing.draft import Draft
from lmbroker.commands.output import report
from lmbroker.config.config import ConfigError

_STRING_OR_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_COMMA_AT_THE_END = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)


def run(options: argparse.Namespace) -> int:
    """Print or write the configuration; returns the exit code, 1 where a file was in the way.

    Raises ConfigError for a file that cannot be read.
    """
    load, read = PROGRAMS[options.program]
    try:
        with open(options.file, encoding="utf-8-sig") as file:
            given = load(file.read())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise ConfigError((f"{options.file}: cannot be read: {why}",)) from None
    draft = read(given)
    text = draft.text()
    if options.output is None:
        print(text, end="")
    else:
        try:
            # A key may stand in it, and nothing is ever written over.
            descriptor = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            report(f"{options.output}: cannot be written: {error.strerror}")
            return 1
    for line in draft.left:
        report(f"not carried: {line}")
    if not draft.aliases():
        report(f"{options.file}: it has no model that LMBroker could serve")
        return 1
    return 0


def from_yaml(text: str) -> Any:
    """Return what a YAML text holds. Raises ConfigError, or ValueError for no YAML."""
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            ("PyYAML reads these files and is not installed: pip install 'lmbroker[import]'",)
        ) from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place is not None else ""
        raise ValueError(f"it is not valid YAML{line}") from None


def from_json(text: str) -> Any:
    """Return what a JSON text holds, with comments and commas at the end. Raises ValueError."""
    plain = _STRING_OR_COMMENT.sub(lambda found: found[1] or " ", text)
    plain = _COMMA_AT_THE_END.sub(lambda found: found[1] or "", plain)
    try:
        return json.loads(plain)
    except RecursionError:
        raise ValueError("it is not valid JSON") from None
    except ValueError as error:
        raise ValueError(f"it is not valid JSON: {error}") from None


PROGRAMS: Mapping[str, tuple[Callable[[str], Any], Callable[[Any], Draft]]] = {
    "litellm": (from_yaml, litellm.read),
    "ccr": (from_json, claude_code_router.read),
}
"""The programs whose configurations are read: how, and what is made of them."""
