"""The facts of the OpenAI Chat Completions dialect that other layers need."""

from lmbroker.envelope import with_usage
from lmbroker.translation.dialects.base import Facts
from lmbroker.translation.dialects.openai import API
from lmbroker.translation.dialects.openai.families import FAMILIES, UNKNOWN
from lmbroker.translation.dialects.openai.headers import HEADERS
from lmbroker.translation.dialects.openai.hosts import HOSTS
from lmbroker.translation.dialects.openai.models import MODELS
from lmbroker.translation.dialects.openai.rate_limits import RATE_LIMITS
from lmbroker.translation.dialects.openai_chat import embeddings
from lmbroker.translation.profiles.profile import ProfileTable

FACTS = Facts(
    name="openai",
    api=API,
    client_paths={
        "/v1/chat/completions": "chat",
        "/v1/completions": "completions",
        "/v1/embeddings": "embeddings",
    },
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
    with_usage=with_usage,
    embeddings=embeddings,
)
