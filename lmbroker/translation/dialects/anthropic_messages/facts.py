"""What the broker must know of the Anthropic Messages dialect besides its wire format."""

from lmbroker.translation.dialects.anthropic_messages.families import FAMILIES, UNKNOWN
from lmbroker.translation.dialects.anthropic_messages.headers import HEADERS
from lmbroker.translation.dialects.anthropic_messages.models import MODELS
from lmbroker.translation.dialects.anthropic_messages.rate_limits import RATE_LIMITS
from lmbroker.translation.dialects.base import Facts
from lmbroker.translation.profiles.profile import ProfileTable

FACTS = Facts(
    name="anthropic",
    paths={
        "chat": "/messages",
        "count_tokens": "/messages/count_tokens",
        "models": "/models",
    },
    headers=HEADERS,
    models=MODELS,
    rate_limits=RATE_LIMITS,
    profiles=ProfileTable(unknown=UNKNOWN, families=FAMILIES, whole_versions=True),
)
