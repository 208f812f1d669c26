"""Pairs calls and results as Anthropic demands (translation.md 2.3).

Each call is answered once, in the user's message after it, and nothing else is a result. A client
that shortened its conversation, or whose user broke in, has results without calls and calls without
results; no later turn may fail for that.
"""

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.anthropic_messages.encode_blocks import Blocks
from lmbroker.translation.shared.left_out import NO_CALL, NO_RESULT


def pair(blocks: Blocks, messages: list[JSON]) -> list[JSON]:
    """Return ``messages`` in which each call has a result, and other results are texts.

    Calls at the end are left open: the client's next message answers them.
    """
    out: list[JSON] = []
    open_calls: dict[str, int] = {}
    for message in messages:
        if message["role"] == "user":
            _answers(blocks, message, open_calls)
        elif open_calls:
            out.append({"role": "user", "content": _unanswered(blocks, open_calls)})
        open_calls = {}
        out.append(message)
        if message["role"] == "assistant":
            for block in message["content"]:
                if block["type"] == "tool_use":
                    open_calls[block["id"]] = open_calls.get(block["id"], 0) + 1
    return out


def _answers(blocks: Blocks, message: JSON, open_calls: dict[str, int]) -> None:
    """Keep the results for ``open_calls`` in a user's message, and add those that are missing."""
    kept: list[JSON] = []
    for block in message["content"]:
        if block["type"] != "tool_result":
            kept.append(block)
        elif open_calls.get(block["tool_use_id"]):
            kept.append(block)
            open_calls[block["tool_use_id"]] -= 1
        else:
            blocks.change("messages[]")
            kept += _as_text(block)
    message["content"] = _unanswered(blocks, open_calls) + kept


def _unanswered(blocks: Blocks, open_calls: dict[str, int]) -> list[JSON]:
    missing = [id for id, count in open_calls.items() for _ in range(count)]
    if missing:
        blocks.change("messages[]")
    return [{"type": "tool_result", "tool_use_id": id, "content": NO_RESULT} for id in missing]


def _as_text(result: JSON) -> list[JSON]:
    content = result.get("content") or []
    said = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    written = [{"type": "text", "text": NO_CALL}, *said]
    if "cache_control" in result:
        written[-1] = {**written[-1], "cache_control": result["cache_control"]}
    return written
