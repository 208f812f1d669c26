"""Reads the content of a message or a delta, in all forms that backends use.

See translation.md 4.4.
"""

from typing import Any, Literal

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.function_calls import text_of
from lmbroker.translation.dialects.openai_chat import reasoning_details
from lmbroker.translation.dialects.openai_chat.reasoning_details import TEXT_FIELDS
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.shared.signature import compact
from lmbroker.translation.unified.parts import Signature

_HEARD = frozenset(
    (
        "content",
        "refusal",
        "tool_calls",
        "function_call",
        "reasoning_content",
        "reasoning",
        "reasoning_text",
        "thinking",
        "reasoning_details",
        "thinking_blocks",
        "extra_content",
    )
)
"""Fields of a message or a delta that are translated where they can be."""
_NO_MEANING = frozenset(
    ("role", "name", "id", "index", "type", "obfuscation", "prefix", "token_ids", "tool_call_id")
)
_KNOWN = _HEARD | _NO_MEANING


def report_untranslated(said: JSON, where: str, losses: AnswerLosses) -> None:
    """Report the fields of a ``message`` or ``delta`` that are not translated, as losses."""
    if _KNOWN.issuperset(said):
        return
    for key, value in said.items():
        if key not in _KNOWN and value not in (None, "", [], {}, False):
            losses.drop(f"choices[].{where}.{key}")


def whole_message(choice: JSON) -> Any:
    """Return the content of a streamed choice that has no delta.

    It is a message (older gateways), or the text of a plain completion.
    """
    message, text = choice.get("message"), choice.get("text")
    if message is None and text and isinstance(text, str):
        return {"content": text}
    return message


def usage_in(chunk: JSON, choice: JSON | None = None) -> Any:
    """Return the usage object of a chunk, None where it has none.

    Groq and Moonshot put it elsewhere, Moonshot into its ``choice``.
    """
    usage = chunk.get("usage")
    if not usage and choice is not None and "usage" in choice:
        usage = choice["usage"]
    if not usage and "x_groq" in chunk:
        extra = chunk["x_groq"]
        usage = extra.get("usage") if isinstance(extra, dict) else None
    return usage


def thought(said: JSON) -> list[str]:
    """Return the pieces of reasoning text in a message or a delta.

    They come from one of ``TEXT_FIELDS``, else from what is readable of ``reasoning_details`` or
    ``thinking_blocks``, else from the reasoning pieces of a content list (Mistral, Databricks).
    """
    for key in TEXT_FIELDS:
        text = said.get(key)
        if text and isinstance(text, dict):
            text = _held_text(text)
        if text and isinstance(text, str):
            return [text]
    entries = reasoning_details.entries_of(said)
    if entries:
        text = reasoning_details.text_of(entries)
        return [text] if text else []
    blocks = reasoning_details.blocks_of(said)
    if blocks:
        texts = [block.get("thinking") for block in blocks]
        return [text for text in texts if text and isinstance(text, str)]
    content = said.get("content")
    if not isinstance(content, list):
        return []
    return [
        text
        for piece in content
        if isinstance(piece, dict) and piece.get("type") in ("thinking", "reasoning")
        for text in _texts(piece.get("thinking") or piece.get("summary"))
    ]


def _held_text(held: JSON) -> Any:
    """Return the text of reasoning that is an object, or of the object inside that.

    Gateways in front of Bedrock send such objects.
    """
    inner = held.get("reasoningText")
    if not isinstance(inner, dict):
        inner = held.get("reasoning_text")
    said: JSON = inner if isinstance(inner, dict) else held
    return said.get("text") or said.get("content")


def spoken(said: JSON) -> list[str]:
    """Return the pieces of the answer's text: ``content`` as a string or as a list of pieces."""
    return _texts(said.get("content"))


def called(call: JSON) -> tuple[JSON, Literal["function", "custom"]]:
    """Return the function or custom tool of a call, and which of the two it is.

    A custom tool counts only if it has a name, since Snowflake sends both objects. Some servers
    send name and arguments without an object around them.
    """
    custom, function = call.get("custom"), call.get("function")
    if function is None and custom is None and ("name" in call or "arguments" in call):
        return call, "function"
    if isinstance(custom, dict) and (custom.get("name") or not isinstance(function, dict)):
        return custom, "custom"
    return function if isinstance(function, dict) else {}, "function"


def signed_content(said: JSON) -> bool:
    """Return whether a message or a delta holds a signature of its text, as Gemini sends."""
    extra = said.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return isinstance(google, dict) and bool(google.get("thought_signature"))


def extra_signature(extra: JSON, call: tuple[str, int] | None = None) -> Signature:
    """Return ``extra_content`` as a signature that can bring it back.

    It belongs to a message, or to the ``call`` with this id and number in its turn.
    """
    held = {"m": extra} if call is None else {"c": [[*call, extra]]}
    return Signature(origin="extra", value=compact(held))


def arguments_text(function: JSON) -> str:
    """Return the arguments of a call, or the input of a custom one.

    An object is written as JSON.
    """
    value = function.get("arguments")
    return text_of(function.get("input") if value is None else value)


_SPOKEN = ("text", "output_text", "summary_text", None)
"""Types of pieces that are text."""


def calls_of(said: JSON) -> list[Any]:
    """Return the tool calls of a message or a delta.

    A single call may come without a list around it.
    """
    calls = said.get("tool_calls")
    return calls if isinstance(calls, list) else [calls] if isinstance(calls, dict) else []


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content] if content else []
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return []
    texts = []
    for piece in content:
        text = piece.get("text") if isinstance(piece, dict) else piece
        kind = piece.get("type") if isinstance(piece, dict) else "text"
        if text and isinstance(text, str) and kind in _SPOKEN:
            texts.append(text)
    return texts
