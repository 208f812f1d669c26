"""Unified Model -> Responses request (translation.md 2.2 to 2.8, 4.6, 8.1).

A request that came in this dialect is written as it came. For any other one the profile says what
the model can do, and ``losses`` gets a report of everything that it cannot. The backend stores
nothing of a conversation: each request is whole, and brings the reasoning that the model encrypted.
"""

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_controls import encode_limit, encode_rest
from lmbroker.translation.dialects.openai.encode_tools import offered
from lmbroker.translation.dialects.openai.reasoning_control import encode_control
from lmbroker.translation.dialects.openai_responses.encode_controls import (
    encode_cache,
    encode_reasoning,
    encode_sampling,
    encode_text,
)
from lmbroker.translation.dialects.openai_responses.encode_items import Conversation
from lmbroker.translation.dialects.openai_responses.encode_native import encode_native
from lmbroker.translation.dialects.openai_responses.encode_parts import Parts
from lmbroker.translation.dialects.openai_responses.encode_tools import (
    WEB_SEARCH,
    encode_tool,
    encode_tool_choice,
    web_search,
)
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.call_ids import with_unique_ids
from lmbroker.translation.shared.web_searches import OPTIONS, asked_by
from lmbroker.translation.unified.request import Request

ORIGIN = "responses"

ENCRYPTED = "reasoning.encrypted_content"
"""Asks for the encrypted reasoning in the answer, so that it can be sent back."""
SOURCES = "web_search_call.action.sources"
"""Asks for the pages that a web search has found, which clients of other dialects get as well."""


def encode_request(request: Request, profile: Profile, losses: Losses) -> JSON:
    """Return the body of a ``POST /v1/responses`` request with the request's model as it is.

    Raises Refused for what cannot be carried and must not be dropped.
    """
    if request.dialect == ORIGIN:
        return encode_native(request)
    request = msgspec.structs.replace(request, turns=with_unique_ids(request.turns))
    parts = Parts(request, profile, losses)
    tools = offered(parts) if request.tools else []
    written = [encode_tool(parts, tool) for tool in tools]
    extended = _extensions(parts, written) if request.extras else {}
    chosen, choice = encode_tool_choice(parts, tools)
    limit = encode_limit(parts)
    # Tools and reasoning that cannot be combined in Chat Completions can be combined here.
    control = encode_control(parts, tools=False)
    sampling = encode_sampling(parts, control.on)
    rest = encode_rest(parts)
    text, line = encode_text(parts)
    conversation = Conversation(parts)
    conversation.end()
    if choice.instruction:
        conversation.add(choice.instruction)
    if line:
        conversation.add(line, among_items="format" in text.get("text", {}))
    if parts.marked:
        parts.limit_marks(conversation.contents())

    body: JSON = {"model": request.model}
    if conversation.instructions:
        body["instructions"] = conversation.instructions
    body["input"] = conversation.items
    if written:
        body["tools"] = written
    body.update(chosen)
    if limit is not None:
        body["max_output_tokens"] = limit
    body.update(encode_reasoning(parts, control))
    body.update(text)
    body.update(sampling)
    body.update(rest)
    body.update(encode_cache(parts))
    searches = any(tool["type"] == WEB_SEARCH for tool in written)
    body["include"] = [ENCRYPTED, SOURCES] if searches else [ENCRYPTED]
    body["store"] = False
    if request.stream:
        body["stream"] = True
    body.update(extended)
    return body


def _extensions(parts: Parts, tools: list[JSON]) -> JSON:
    """Return the fields for which the Unified Model has no field and which the backend takes.

    ``metadata`` is the same in all of OpenAI's dialects, a web search becomes one of ``tools``,
    some backends take other fields. All else is reported as a loss.
    """
    profile = parts.profile
    taken: JSON = {}
    for extra in parts.request.extras:
        if extra.name in profile.ext or extra.name == "metadata":
            taken[extra.name] = extra.value
        elif extra.name == OPTIONS and profile.server_tools:
            tools.append(web_search(parts, asked_by(extra.value)))
        elif extra.name != "inference_geo" or extra.value not in profile.inference_geo:
            parts.lost((extra,))
    return taken
