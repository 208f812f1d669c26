"""The facts of the OpenAI Responses dialect that other layers need."""

import re
from collections.abc import Mapping
from typing import Any

from lmbroker.envelope import value_of
from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.base import Facts
from lmbroker.translation.dialects.openai import API
from lmbroker.translation.dialects.openai.models import MODELS
from lmbroker.translation.dialects.openai.rate_limits import RATE_LIMITS
from lmbroker.translation.dialects.openai_responses import taken_out
from lmbroker.translation.dialects.openai_responses.families import FAMILIES, UNKNOWN
from lmbroker.translation.dialects.openai_responses.headers import HEADERS
from lmbroker.translation.dialects.openai_responses.hosts import HOSTS
from lmbroker.translation.profiles.profile import ProfileTable

NOTHING_KEPT = ErrorInfo(
    kind="invalid_request",
    message="this broker keeps no responses and no conversations: send the full input with each "
    'request, with "store": false and "include": ["reasoning.encrypted_content"]',
    code="unsupported_operation",
)
"""The error of paths below a response's id, and of conversations (translation.md 8.5)."""

_OWN_ONLY = re.compile(
    rb'"type"\s*:\s*"(?:compaction|compaction_trigger|item_reference|program(?:_output)?'
    rb"|(?:file_search|code_interpreter|image_generation|computer|computer_use_preview|mcp"
    rb'|local_shell|shell|apply_patch)(?:_call)?|mcp_list_tools|mcp_approval_re(?:quest|sponse))"'
)
"""Items and tools without a counterpart in other dialects (translation.md 8.1)."""

_MEMORY = ("previous_response_id", "conversation", "prompt", "background")


def needs_memory(fields: Mapping[str, Any]) -> str:
    """Return the name of a field that refers to something stored at a backend, "" where none does.

    That may be a response, a conversation or a prompt that is kept there, or an answer that is
    fetched later.
    """
    for name in _MEMORY:
        if name in fields and value_of(fields, name) not in (None, False, ""):
            return name
    return ""


def counted(tokens: int) -> JSON:
    """Return the answer to a request that counts tokens (translation.md 7.3)."""
    return {"object": "response.input_tokens", "input_tokens": tokens}


FACTS = Facts(
    name="responses",
    api=API,
    second_key="responses",
    client_paths={
        "/v1/responses": "chat",
        "/v1/responses/input_tokens": "count_tokens",
        "/v1/responses/compact": "compact",
    },
    messages_field="input",
    own_paths=("/v1/responses", "/v1/conversations"),
    unserved={
        "/v1/responses/": NOTHING_KEPT,
        "/v1/conversations": NOTHING_KEPT,
    },
    paths={
        "chat": "/responses",
        "count_tokens": "/responses/input_tokens",
        "compact": "/responses/compact",
        "models": "/models",
    },
    headers=HEADERS,
    models=MODELS,
    rate_limits=RATE_LIMITS,
    profiles=ProfileTable(unknown=UNKNOWN, families=FAMILIES, hosts=HOSTS),
    own_only=_OWN_ONLY,
    needs_memory=needs_memory,
    counted=counted,
    cuts=taken_out,
)
