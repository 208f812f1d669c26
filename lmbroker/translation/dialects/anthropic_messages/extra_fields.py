"""The fields of a Messages request for which the Unified Model has none.

See translation.md 2.2 to 2.8. ``LOSSES`` is the whole list: kind of object -> key -> what becomes
of it where it cannot be carried. Every other key of the API has a place in the model and is read by
the decoder of its object. Blocks that only Anthropic understands and tools that the provider runs
are kept whole, so their keys are not listed. A key that is neither read nor listed is unknown:
class ``drop``.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from lmbroker.translation.shared.fields import Fields
from lmbroker.translation.unified.parts import Cache, Extra, LossClass
from lmbroker.translation.unified.request import Effort

ORIGIN = "anthropic"
EFFORTS = get_args(Effort)


def _servers(value: Any) -> LossClass:
    return "refuse" if value else "none"


def _billing(value: Any) -> LossClass:
    payer = value.get("bill_to") if isinstance(value, dict) else value
    return "none" if payer in (None, "self") else "refuse"


def _clear_at(value: Any) -> LossClass:
    return "none" if value == "never" else "drop"


def _config(value: Any) -> LossClass:
    """Return the class of a configuration that an instruction sets from there on.

    An effort is obeyed, so it is no loss.
    """
    if not isinstance(value, dict):
        return "drop"
    known = value.keys() <= {"effort"} and value.get("effort") in (None, *EFFORTS)
    return "none" if known else "drop"


def _caller(value: Any) -> LossClass:
    kind = value.get("type") if isinstance(value, dict) else value
    return "none" if kind == "direct" else "drop"


def _callers(value: Any) -> LossClass:
    return "none" if isinstance(value, list) and "direct" in value else "drop"


LOSSES: Mapping[str, Mapping[str, LossClass | Callable[[Any], LossClass]]] = {
    "body": {
        "billing_policy": _billing,
        "compaction": "refuse",
        "container": "refuse",
        "context_management": "drop",
        "diagnostics": "none",
        "fallback_credit_token": "none",
        "fallbacks": "drop",
        "inference_geo": "refuse_soft",
        "mcp_servers": _servers,
        "safeguards": "drop",
        # These are headers elsewhere, which are never carried over: the first two stand in the body
        # where a cloud sells the model, the others where a client passes its SDK's arguments on.
        "anthropic_beta": "none",
        "anthropic_version": "none",
        "betas": "none",
        "user_profile_id": "none",
        "workspace_id": "none",
    },
    "thinking": {"block_binding": "none"},
    "output_config": {"task_budget": "drop"},
    "message": {"clear_at": _clear_at, "output_config": _config},
    "image": {"transformations": "none"},
    "tool_use": {"caller": _caller, "toolset_name": "drop"},
    "tool_result": {"toolset_name": "drop"},
    "tool": {
        "allowed_callers": _callers,
        "eager_input_streaming": "none",
        "input_examples": "drop",
    },
}
"""The class of a key, or a function that derives it from the value (which is of any type)."""


def take_extras(fields: Fields, kind: str, prefix: str = "") -> list[Extra]:
    """Take the listed keys of an object of this kind out of ``fields`` and return them as extras.

    ``prefix`` is that of ``Fields.extra``.
    """
    found: list[Extra] = []
    if not fields.left:
        return found
    for name, loss in LOSSES[kind].items():
        value = fields.any(name)
        if value is not None:
            said = loss(value) if callable(loss) else loss
            found.append(fields.extra(name, value, said, prefix))
    return found


def take_cache(fields: Fields) -> Cache | None:
    """Return the cache mark of a block or a tool. Raises Refused."""
    mark = fields.mapping("cache_control")
    return None if mark is None else cache_of(mark)


def cache_of(mark: dict[str, Any]) -> Cache:
    """Return the cache mark in a ``cache_control`` object; ``raw`` is what to write back."""
    ttl = mark.get("ttl")
    return Cache(ttl=ttl if ttl in ("5m", "1h") else None, raw={"cache_control": mark})
