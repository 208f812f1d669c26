"""Chooses the way of a call to a target: passed through, or translated.

It is passed through where client and backend speak the same dialect.
"""

from collections.abc import Mapping
from typing import Any

from lmbroker import envelope
from lmbroker.call import Call, Mode, Target
from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.unified.counting import estimate_input
from lmbroker.workflows.completions import Completions
from lmbroker.workflows.contract import Workflow
from lmbroker.workflows.embeddings import Embeddings
from lmbroker.workflows.passthrough import Passthrough
from lmbroker.workflows.translation import Translation

__all__ = ["estimate", "workflow_for"]

_UNTRANSLATED = ("embeddings", "completions", "compact")
"""Operations for which a backend must speak the client's own dialect."""


def estimate(call: Call) -> int:
    """Return the input tokens of a request, estimated.

    Raises Refused for a malformed one; never for what a backend could not take (translation.md
    7.3).
    """
    body = envelope.decode(call.body)
    body.setdefault("max_tokens", 1)
    return estimate_input(ADAPTERS[call.dialect].decode_request(body), call.asked)


def workflow_for(
    call: Call,
    target: Target,
    *,
    mode: Mode = "default",
    overrides: Mapping[str, Any] | None = None,
) -> Workflow:
    """Return the workflow of ``call`` at ``target``; ``overrides`` are the configured profile.

    Raises Refused where the backend's dialect has no such operation.
    """
    if call.operation in _UNTRANSLATED and target.backend.dialect != call.dialect:
        raise _lacking(call)
    client = ADAPTERS[call.dialect]
    backend = ADAPTERS[target.backend.dialect]
    if call.operation == "embeddings":
        host = target.backend.host
        known = profile(target.backend.dialect, target.model, overrides, host=host)
        return Embeddings(call, target, client, known, mode)
    if call.operation in ("count_tokens", "compact"):
        # Those who do this take the client's own request, whatever else they speak.
        return Passthrough(call, target, client)
    if call.operation == "completions":
        return Completions(call, target, client)
    if client is backend:
        return Passthrough(call, target, client, overrides=overrides)
    return Translation(call, target, client, backend, mode=mode, overrides=overrides)


def _lacking(call: Call) -> Refused:
    """Return the error for an operation that the backend's dialect lacks (translation.md 5.4)."""
    if call.operation == "compact":
        return Refused(
            "unsupported",
            f"no backend of model {call.asked!r} offers the operation {call.operation!r}: it is "
            f"passed on to backends of type {call.dialect!r} only. Shorten the conversation at "
            "the client instead",
            param="model",
            code="unsupported_operation",
        )
    return Refused(
        "not_found",
        f"model {call.asked!r} has no {call.operation}",
        param="model",
        code="model_not_found",
    )
