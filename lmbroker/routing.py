"""Where a call may go, in which order, and whether another try is worth it. Pure."""

from lmbroker.call import Alias, Record, Target
from lmbroker.errors import AttemptFailed, Refused


def order(alias: Alias | None, name: str) -> tuple[Target, ...]:
    """The targets of an alias, best first. Raises Refused for an alias nobody configured."""
    if alias is None:
        raise unknown_model(name)
    return alias.targets


def unknown_model(name: str) -> Refused:
    """The answer to a model name that leads nowhere."""
    return Refused(
        "not_found",
        f"model {name!r} does not exist or is not available to this key",
        param="model",
        code="model_not_found",
    )


def worth_another(record: Record, failed: AttemptFailed) -> bool:
    """Whether the next target may be tried after ``failed``.

    Never for a client who left; otherwise only where nothing was sent, so that no call is
    ever made twice (reliability.md A5).
    """
    return not record.client_left and not failed.sent
