"""What the broker must know of the OpenAI Chat Completions dialect besides its wire format."""

from lmbroker.translation.dialects.base import Facts
from lmbroker.translation.dialects.openai_chat.families import FAMILIES, UNKNOWN
from lmbroker.translation.dialects.openai_chat.headers import HEADERS
from lmbroker.translation.dialects.openai_chat.hosts import HOSTS
from lmbroker.translation.dialects.openai_chat.models import MODELS
from lmbroker.translation.dialects.openai_chat.rate_limits import RATE_LIMITS
from lmbroker.translation.profiles.profile import ProfileTable

FACTS = Facts(
    name="openai",
    paths={
        "chat": "/chat/completions",
        "completions": "/completions",
        "embeddings": "/embeddings",
        "models": "/models",
    },
    headers=HEADERS,
    models=MODELS,
    rate_limits=RATE_LIMITS,
    profiles=ProfileTable(unknown=UNKNOWN, families=FAMILIES, hosts=HOSTS),
)
