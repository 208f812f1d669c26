"""Sentences that stand in for what a model does not take as a parameter (translation.md 2.5, 2.6).

Both dialects add them to the instructions of a request: a tool choice that the model refuses, an
output format that the backend cannot enforce.
"""

from typing import Any

from lmbroker.json_text import encode

JSON_LINE = "Answer with one valid JSON object and nothing else."
"""The instruction to answer with a JSON object, whatever its fields."""

_SCHEMA_LINE = (
    "Answer with one valid JSON value that conforms to this JSON schema, and nothing else:"
)


def follow_schema(schema: Any) -> str:
    """Return the instruction to answer with JSON that conforms to ``schema``, which it quotes."""
    return f"{_SCHEMA_LINE}\n{encode(schema).decode()}"


def must_call(name: str | None) -> str:
    """Return the instruction to call the tool ``name``; where that is None, any of the tools."""
    if name is None:
        return "You must call at least one of the available tools in your next answer."
    return f"You must call the tool {name} in your next answer."
