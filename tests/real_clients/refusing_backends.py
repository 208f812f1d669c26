"""Twelve scripted backends that each refuse some of what Claude Code sends, in a server's words.

A backend is a name, a model name, and a function from a request's body to a refusal (status, body)
or None. The words are those of real servers; the model behind them is the same script for all
(``scripted_model``).
"""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

JSON = dict[str, Any]
Refusal = tuple[int, JSON]


class Backend(NamedTuple):
    """``refuse`` gives the refusal of a request, None where the server takes it. ``reasoning`` is
    the field in which the server's model shows its reasoning, "" where it shows none."""

    name: str
    model: str
    refuse: Callable[[JSON], Refusal | None]
    reasoning: str = ""


def openai_error(message: str, status: int = 400, **more: Any) -> Refusal:
    """An error in OpenAI's own shape."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return status, {"error": {**error, **more}}


def parts(body: JSON, kind: str) -> Iterator[JSON]:
    """The content parts of type ``kind`` in all messages."""
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, list):
            yield from (part for part in content if part.get("type") == kind)


def late_system(body: JSON) -> bool:
    """Whether an instruction stands behind the first message."""
    return any(message["role"] in ("system", "developer") for message in body["messages"][1:])


def schemas(body: JSON) -> Iterator[tuple[int, str, JSON]]:
    """Index, name and parameters of each tool."""
    for at, tool in enumerate(body.get("tools", [])):
        yield at, tool["function"]["name"], tool["function"].get("parameters") or {}


def openai(body: JSON) -> Refusal | None:
    for at, name, schema in schemas(body):
        if schema.get("type") == "object" and "properties" not in schema:
            return openai_error(
                f"Invalid schema for function '{name}': In context=(), object schema missing "
                "properties.",
                param=f"tools[{at}].function.parameters",
                code="invalid_function_parameters",
            )
        if '"pattern"' in json.dumps(schema):
            return openai_error(
                f"Invalid schema for function '{name}': In context=('properties', 'path'), "
                "'^\\\\p{L}+$' is not a 'regex'.",
                param=f"tools[{at}].function.parameters",
                code="invalid_function_parameters",
            )
    if "max_tokens" in body:
        return openai_error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if body.get("max_completion_tokens", 0) > 16384:
        return openai_error(
            f"max_tokens is too large: {body['max_completion_tokens']}. This model supports at "
            "most 16384 completion tokens, whereas you provided "
            f"{body['max_completion_tokens']}.",
            param="max_tokens",
            code="invalid_value",
        )
    return None


def vllm(body: JSON) -> Refusal | None:
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 0
    if limit > 20_000:
        return 400, {
            "error": {
                "message": f"'max_tokens' or 'max_completion_tokens' is too large: {limit}. This "
                "model's maximum context length is 65536 tokens and your request has 45536 input "
                f"tokens ({limit} > 65536 - 45536). (parameter=max_tokens, value={limit})",
                "type": "BadRequestError",
                "param": "max_tokens",
                "code": 400,
            }
        }
    if any(parts(body, "file")):
        return 400, {
            "error": {
                "message": "Unknown part type: file",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            }
        }
    return None


def llama_cpp(body: JSON) -> Refusal | None:
    if any(parts(body, "image_url")):
        return 500, {
            "error": {
                "code": 500,
                "message": "image input is not supported - hint: if this is unexpected, you may "
                "need to provide the mmproj",
                "type": "server_error",
            }
        }
    if any(parts(body, "file")):
        return 400, {
            "error": {
                "code": 400,
                "message": "unsupported content[].type",
                "type": "invalid_request_error",
            }
        }
    if late_system(body):
        return 500, {
            "error": {
                "code": 500,
                "message": "\n------------\nWhile executing CallExpression at line 84, column 32 "
                "in source:\n...first %}{{ raise_exception('System message must be at the "
                "beginning.') }}...\nError: Jinja Exception: System message must be at the "
                "beginning.",
                "type": "server_error",
            }
        }
    return None


def ollama(body: JSON) -> Refusal | None:
    model = body["model"]
    if body.get("reasoning_effort") not in (None, "none"):
        return openai_error(f'"{model}" does not support thinking')
    if any(parts(body, "image_url")):
        return 500, {
            "error": {
                "message": "this model is missing data required for image input",
                "type": "api_error",
                "param": None,
                "code": None,
            }
        }
    if any(parts(body, "file")):
        return openai_error("invalid message format")
    return None


def deepseek(body: JSON) -> Refusal | None:
    for at, message in enumerate(body["messages"]):
        if not isinstance(message.get("content"), list):
            continue
        for part in message["content"]:
            if part["type"] != "text":
                return openai_error(
                    "Failed to deserialize the JSON body into the target type: "
                    f"messages[{at}]: unknown variant `{part['type']}`, expected `text` at line 1 "
                    "column 48211",
                    code="invalid_request_error",
                )
    for message in body["messages"]:
        if message.get("tool_calls") and not message.get("reasoning_content"):
            return openai_error(
                "The `reasoning_content` in the thinking mode must be passed back to the API.",
                code="invalid_request_error",
            )
    if body.get("response_format", {}).get("type") == "json_schema":
        return openai_error("This response_format type is unavailable now")
    return None


def kimi(body: JSON) -> Refusal | None:
    for at, message in enumerate(body["messages"]):
        if message.get("tool_calls") and not message.get("reasoning_content"):
            return openai_error(
                "thinking is enabled but reasoning_content is missing in assistant tool call "
                f"message at index {at}"
            )
        said = message.get("content") or message.get("tool_calls")
        if message["role"] == "assistant" and not said:
            return openai_error(f"message at position {at} with role 'assistant' must not be empty")
    if body.get("tool_choice") == "required" or isinstance(body.get("tool_choice"), dict):
        return openai_error("tool_choice 'specified' is incompatible with thinking enabled")
    if any(parts(body, "file")):
        return openai_error("unsupported content part type: file")
    return None


def mistral(body: JSON) -> Refusal | None:
    for name in ("stream_options", "reasoning_effort", "user", "metadata"):
        if name in body:
            return 422, {
                "object": "error",
                "message": {
                    "detail": [
                        {
                            "type": "extra_forbidden",
                            "loc": ["body", name],
                            "msg": "Extra inputs are not permitted",
                            "input": body[name],
                        }
                    ]
                },
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
    roles = [message["role"] for message in body["messages"]]
    for before, after in pairwise(roles):
        if before == "tool" and after in ("user", "system"):
            return 400, {
                "object": "error",
                "message": f"Unexpected role '{after}' after role 'tool'",
                "type": "invalid_request_message_order",
                "param": None,
                "code": "3230",
            }
    return None


def groq(body: JSON) -> Refusal | None:
    if "reasoning_effort" in body:
        return openai_error("property 'reasoning_effort' is unsupported")
    for at, message in enumerate(body["messages"]):
        for name in ("reasoning_content", "reasoning"):
            if name in message:
                return openai_error(
                    f"'messages.{at}' : for 'role:assistant' the following must be satisfied"
                    f"[('messages.{at}' : property '{name}' is unsupported)]"
                )
        content = message.get("content")
        listed = isinstance(content, list) and any(part["type"] != "text" for part in content)
        if message["role"] != "user" and listed:
            return openai_error(
                f"'messages.{at}' : for 'role:{message['role']}' the following must be "
                f"satisfied[('messages.{at}.content' : value must be a string)]"
            )
    if any(parts(body, "image_url")) or any(parts(body, "file")):
        return openai_error("messages content must be a string: this model takes text only")
    return None


def nvidia(body: JSON) -> Refusal | None:
    unknown = [n for n in ("reasoning_effort", "user", "chat_template_kwargs") if n in body]
    if unknown:
        return 422, {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", name],
                    "msg": "Extra inputs are not permitted",
                    "input": body[name],
                }
                for name in unknown
            ]
        }
    if late_system(body):
        return 400, {
            "detail": "Conversation roles must alternate user/assistant/user/assistant/..."
        }
    return None


def cerebras(body: JSON) -> Refusal | None:
    for name in ("stream_options", "reasoning_effort"):
        if name in body:
            return 400, {
                "message": f"body.{name}: property '{name}' is unsupported",
                "type": "invalid_request_error",
                "param": name,
                "code": "wrong_api_format",
            }
    for kind in ("image_url", "file"):
        if any(parts(body, kind)):
            return 400, {
                "message": f"Content type '{kind}' is not supported by this model",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "wrong_api_format",
            }
    return None


def gemini(body: JSON) -> Refusal | None:
    unknown = [n for n in ("user", "safety_identifier", "service_tier") if n in body]
    if unknown:
        lines = "".join(
            f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.\n'
            for name in unknown
        )
        return 400, {"error": {"code": 400, "message": lines.strip(), "status": "INVALID_ARGUMENT"}}
    if any('"additionalProperties"' in json.dumps(schema) for _, _, schema in schemas(body)):
        return 400, {
            "error": {
                "code": 400,
                "message": "Invalid JSON payload received. Unknown name "
                "\"additionalProperties\" at 'tools[0].function_declarations[0].parameters': "
                "Cannot find field.",
                "status": "INVALID_ARGUMENT",
            }
        }
    if any(parts(body, "file")):
        return 400, {
            "error": {
                "code": 400,
                "message": "Invalid content part type: file",
                "status": "INVALID_ARGUMENT",
            }
        }
    return None


def xai(body: JSON) -> Refusal | None:
    if "reasoning_effort" in body:
        return 400, {
            "code": "Client specified an invalid argument",
            "error": "Argument not supported on this model: reasoningEffort",
        }
    if "stop" in body:
        return 400, {
            "code": "Client specified an invalid argument",
            "error": "Argument not supported on this model: stop",
        }
    if any(parts(body, "image_url")):
        return 400, {
            "code": "Client specified an invalid argument",
            "error": "Image inputs are not supported by this model.",
        }
    if any(parts(body, "file")):
        return 422, {
            "code": "The request body is malformed",
            "error": "Failed to deserialize the JSON body into the target type: messages[6]: "
            "data did not match any variant of untagged enum Content",
        }
    return None


BACKENDS = (
    Backend("openai", "gpt-4.1", openai),
    Backend("vllm", "Qwen/Qwen3-32B", vllm, "reasoning_content"),
    Backend("llama-cpp", "qwen3.5-coder", llama_cpp, "reasoning_content"),
    Backend("ollama", "devstral:24b", ollama),
    Backend("deepseek", "deepseek-reasoner", deepseek, "reasoning_content"),
    Backend("kimi", "kimi-k2-thinking", kimi, "reasoning_content"),
    Backend("mistral", "mistral-large-latest", mistral),
    Backend("groq", "llama-3.3-70b-versatile", groq),
    Backend("nvidia", "nvidia/nemotron-super", nvidia, "reasoning"),
    Backend("cerebras", "zai-glm-4.7", cerebras, "reasoning"),
    Backend("gemini", "gemini-3-pro", gemini),
    Backend("xai", "grok-4-fast", xai, "reasoning_content"),
)
