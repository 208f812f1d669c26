"""The facts of the Anthropic Messages dialect that other layers need."""

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.anthropic_messages import taken_out
from lmbroker.translation.dialects.anthropic_messages.families import FAMILIES, UNKNOWN
from lmbroker.translation.dialects.anthropic_messages.headers import HEADERS
from lmbroker.translation.dialects.anthropic_messages.models import MODELS
from lmbroker.translation.dialects.anthropic_messages.rate_limits import RATE_LIMITS
from lmbroker.translation.dialects.base import Facts
from lmbroker.translation.profiles.profile import ProfileTable

LONGEST_UNARY = 21_333
"""Output tokens above which Anthropic may take longer than the ten minutes that it allows an answer
without a stream (translation.md 4.3)."""


def must_stream(body: JSON) -> bool:
    """Return whether the answer may take so long that Anthropic demands a stream."""
    return bool(body["max_tokens"] > LONGEST_UNARY)


def counted(tokens: int) -> JSON:
    """Return the answer to a request that counts tokens (translation.md 7.3)."""
    return {"input_tokens": tokens}


FACTS = Facts(
    name="anthropic",
    client_paths={
        "/v1/messages": "chat",
        "/v1/messages/count_tokens": "count_tokens",
    },
    own_paths=("/v1/messages", "/api/"),
    own_headers=("anthropic-version",),
    paths={
        "chat": "/messages",
        "count_tokens": "/messages/count_tokens",
        "models": "/models",
    },
    headers=HEADERS,
    models=MODELS,
    rate_limits=RATE_LIMITS,
    spent_kind="rate_limit",
    profiles=ProfileTable(unknown=UNKNOWN, families=FAMILIES, whole_versions=True),
    must_stream=must_stream,
    counted=counted,
    cuts=taken_out,
)
