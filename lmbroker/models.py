"""``GET /v1/models``: one body that both official SDKs read (translation.md 7.1)."""

import time
from collections.abc import Mapping
from typing import Any

from lmbroker.call import Alias
from lmbroker.errors import Refused
from lmbroker.profiles import profile

MAX_LIMIT = 1000


def entry(alias: Alias, created: int) -> dict[str, Any]:
    """One model, in both dialects at once. ``created`` is in unix seconds; the limits, in
    tokens, are those that the profile of the alias's first target knows."""
    target = alias.targets[0]
    known = profile(target.backend.dialect, target.model, alias.profile)
    return {
        "id": alias.name,
        "object": "model",
        "created": created,
        "owned_by": "lmbroker",
        "type": "model",
        "display_name": alias.name,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created)),
        "lifecycle": "active",
        "max_input_tokens": known.context,
        "max_tokens": known.max_output,
        "capabilities": None,
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
    }


def page(aliases: Mapping[str, Alias], created: int, query: Mapping[str, str]) -> dict[str, Any]:
    """The list of models, in the order of ``aliases``; ``query`` may hold ``limit`` (1..1000),
    ``after_id`` and ``before_id``.

    Raises Refused for a limit that is none.
    """
    chosen = list(aliases)
    if query.get("after_id") in chosen:
        chosen = chosen[chosen.index(query["after_id"]) + 1 :]
    if query.get("before_id") in chosen:
        chosen = chosen[: chosen.index(query["before_id"])]
    limit = len(chosen)
    if "limit" in query:
        text = query["limit"]
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:5]) <= MAX_LIMIT:
            raise Refused(
                "invalid_request",
                f"'limit' must be an integer from 1 to {MAX_LIMIT}",
                param="limit",
                code="invalid_value",
            )
        limit = int(text[:5])
    shown = chosen[:limit]
    return {
        "object": "list",
        "data": [entry(aliases[name], created) for name in shown],
        "has_more": len(chosen) > len(shown),
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }
