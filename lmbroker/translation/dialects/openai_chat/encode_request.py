"""Unified Model -> chat completion request (translation.md 2.2 to 2.8, 4.6).

A request that came in this dialect is written as it came. For any other one the profile says what
the model can do, and ``losses`` gets a report of everything that it cannot.
"""

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_controls import encode_rest
from lmbroker.translation.dialects.openai.encode_tools import offered
from lmbroker.translation.dialects.openai.reasoning_control import encode_control
from lmbroker.translation.dialects.openai_chat.encode_controls import (
    encode_limit,
    encode_output,
    encode_sampling,
    encode_wishes,
)
from lmbroker.translation.dialects.openai_chat.encode_messages import (
    add_instruction,
    encode_messages,
    end_conversation,
)
from lmbroker.translation.dialects.openai_chat.encode_native import encode_native
from lmbroker.translation.dialects.openai_chat.encode_parts import ORIGIN, Parts
from lmbroker.translation.dialects.openai_chat.encode_tools import encode_tool, encode_tool_choice
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.namespaces import introduced
from lmbroker.translation.unified.request import Request


def encode_request(request: Request, profile: Profile, losses: Losses) -> JSON:
    """Return the body of a ``POST /v1/chat/completions`` request.

    The request's model is written as it is. Raises Refused for what cannot be carried and must not
    be dropped.
    """
    if request.dialect == ORIGIN:
        return encode_native(request)
    parts = Parts(request, profile, losses)
    extended = _extensions(parts) if request.extras else {}
    tools = offered(parts) if request.tools else []
    written = [encode_tool(parts, tool) for tool in introduced(tools)] if tools else []
    chosen, choice = encode_tool_choice(parts, tools)
    limit = encode_limit(parts)
    control = encode_control(parts, tools=bool(tools))
    sampling = encode_sampling(parts, control.on)
    rest = encode_rest(parts)
    output, line = encode_output(parts) if request.output is not None else (None, "")
    messages = encode_messages(parts)
    continued = end_conversation(parts, messages)
    for each in (choice.instruction, line):
        if each:
            add_instruction(parts, messages, each)
    if parts.marked:
        parts.limit_marks(message["content"] for message in messages)

    body: JSON = {"model": request.model, "messages": messages}
    if tools:
        body["tools"] = written
    body.update(chosen)
    body.update(limit)
    body.update(control.wire)
    if output is not None:
        body["response_format"] = output
    body.update(sampling)
    body.update(rest)
    body.update(encode_wishes(parts))
    body.update(continued)
    if request.stream:
        body["stream"] = True
        if profile.stream_options:
            body["stream_options"] = {"include_usage": True}
    body.update(extended)
    return body


def _extensions(parts: Parts) -> JSON:
    """Return the fields for which the Unified Model has no field and which the backend takes.

    All others are reported as losses.
    """
    profile = parts.profile
    taken: JSON = {}
    for extra in parts.request.extras:
        if extra.name in profile.ext:
            taken[extra.name] = extra.value
        elif extra.loss == "none":
            continue
        elif extra.name != "inference_geo" or extra.value not in profile.inference_geo:
            parts.lost((extra,))
    return taken
