"""Corrects common mistakes in the paths of base URLs, and explains other wrong paths.

A client joins a base URL and an operation. OpenAI's clients expect a base URL with ``/v1``,
Anthropic's expect one without it, so the version is repeated or missing where the two are mixed up.
A path that can mean one thing only is served; the error for every other path names the likely
cause.
"""

import re
from typing import Literal

from lmbroker.errors import ErrorInfo
from lmbroker.redaction import shown
from lmbroker.translation.dialects.catalog import ADAPTERS

Cause = Literal["version_twice", "version_missing", "operation_twice", "unknown"]
"""Why a path is unknown, for logs and metric labels."""

_BASE = "/v1"

OPERATIONS = sorted(
    {
        path.removeprefix(_BASE)
        for facts in (adapter.facts for adapter in ADAPTERS.values())
        for path in (*facts.client_paths, *facts.own_paths, facts.models.client_path)
        if path.startswith(_BASE + "/")
    }
)
"""The operations that live below ``/v1``, whether or not the broker serves them."""

_CHATS = tuple(
    path.removeprefix(_BASE)
    for adapter in ADAPTERS.values()
    for path, operation in adapter.facts.client_paths.items()
    if operation == "chat"
)

_HEAD = re.compile(r"/*(?:v1(?:/+|$))*")
_ENDS = tuple(sorted(OPERATIONS, key=len, reverse=True))


def meant(path: str) -> str | None:
    """Return the only path below ``/v1`` that ``path`` can mean.

    It is None where it is correct or unknown.

    The version may be missing or repeated, and slashes may be repeated: ``/chat/completions``,
    ``/v1/v1/messages`` and ``//v1/models`` are all served.
    """
    head = _HEAD.match(path)
    rest = "/" + re.sub("/+", "/", path[head.end() if head else 0 :]).rstrip("/")
    found = f"/v1{rest}"
    if rest in OPERATIONS or rest.startswith("/models/") or unserved(found) is not None:
        return None if found == path else found
    return None


def unserved(path: str) -> ErrorInfo | None:
    """Return why the broker does not serve ``path`` on purpose, and what to do instead.

    It is None for every other path.
    """
    for adapter in ADAPTERS.values():
        for beginning, error in adapter.facts.unserved.items():
            if path.startswith(beginning):
                return error
    return None


def cause(path: str) -> Cause:
    """Return why ``path``, which is not served, is probably wrong."""
    text = re.sub("/+", "/", path).rstrip("/")
    if sum(text.count(operation) for operation in _CHATS) > 1:
        return "operation_twice"
    if text.endswith(_ENDS):
        return "version_twice" if text.count("/v1") > 1 else "version_missing"
    return "unknown"


def problem(path: str) -> str:
    """Return the message for a client whose ``path`` is not served.

    It quotes a bounded part of that.
    """
    text = f"the path {shown(path)!r} does not exist"
    why = cause(path)
    if why == "operation_twice":
        return f"{text}: the base URL must not hold the operation; end it before {_operation(path)}"
    if why != "unknown":
        return (
            f"{text}: the base URL is probably wrong. It is this broker's address followed by /v1 "
            "for clients of OpenAI's format, and without /v1 for clients of Anthropic's"
        )
    return text


def _operation(path: str) -> str:
    """Return the first operation in ``path``, "" where there is none."""
    places = [(path.find(operation), operation) for operation in _ENDS if operation in path]
    return min(places, key=lambda pair: pair[0])[1] if places else ""
