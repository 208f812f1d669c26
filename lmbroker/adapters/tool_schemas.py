"""Schemas of tools and answers, made such that servers take them (translation.md 2.5, 2.6).

Servers check schemas more strictly than JSON Schema does: OpenAI wants ``properties`` of each
object and ``items`` of each array, and a keyword that is ``null`` is an error nearly everywhere.
What is added or taken out here does not change what a schema allows. Only where a server has
refused a keyword, that keyword is taken out, and that is a loss.

A keyword is one only at a keyword's place: a property may be called ``pattern``. Nothing here
changes the schemas that it is given.
"""

from collections.abc import Collection
from typing import Any

from lmbroker.adapters.schemas import MAX_DEPTH, object_schema

JSON = dict[str, Any]

_ONE = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords whose value is a schema."""

_SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Keywords whose value is a list of schemas."""

_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
"""Keywords whose value has a schema for each name."""

_BOOLEAN = frozenset({"additionalProperties", "unevaluatedItems", "unevaluatedProperties"})
"""Keywords that may be true or false everywhere, also where other schemas may not."""

_NULLABLE = frozenset({"const", "default", "example", "examples"})
"""Keywords to which null is a value like any other."""

_SHAPES: dict[str, type | tuple[type, ...]] = {"required": list, "enum": list}


def completed_tool(
    schema: JSON | None, omit: Collection[str] = (), *, filled: bool = True
) -> tuple[JSON, bool]:
    """The schema of a tool's arguments: an object, complete, without the keywords ``omit``; and
    whether that took an approximation. ``filled``: with properties and items everywhere."""
    whole, merged = object_schema(schema)
    out, removed = completed(whole, omit, filled=filled)
    if not isinstance(out.get("properties"), dict):
        out["properties"] = {}
    return out, merged or removed


def completed(
    schema: JSON, omit: Collection[str] = (), *, filled: bool = True
) -> tuple[JSON, bool]:
    """``schema``, complete, without the keywords ``omit``, and whether it had one of these. What
    nests deeper than ``MAX_DEPTH`` stays as it is."""
    walk = _Walk(frozenset(omit), filled)
    return walk.node(schema, 0), walk.removed


class _Walk:
    """One pass over one schema, each part of it once; remembers whether something was taken out."""

    def __init__(self, omit: frozenset[str], filled: bool) -> None:
        self.removed = False
        self._omit = omit
        self._filled = filled

    def node(self, schema: JSON, depth: int) -> JSON:
        if depth > MAX_DEPTH:
            return schema
        out: JSON = {}
        for key, value in schema.items():
            if key in self._omit:
                self.removed = True
            elif value is None and key not in _NULLABLE:
                continue
            elif key in _ONE:
                out[key] = self._one(key, value, depth)
            elif key in _SEVERAL:
                if isinstance(value, list) and value:
                    out[key] = [self._schema(each, depth) for each in value]
            elif key in _NAMED:
                if isinstance(value, dict):
                    out[key] = {name: self._schema(each, depth) for name, each in value.items()}
            elif isinstance(value, _SHAPES.get(key, object)):
                out[key] = value
        if self._filled:
            _fill(out)
        return out

    def _one(self, key: str, value: Any, depth: int) -> Any:
        if key in _BOOLEAN and isinstance(value, bool):
            return value
        if key == "items" and isinstance(value, list):  # a tuple, as older drafts have it
            return [self._schema(each, depth) for each in value]
        return self._schema(value, depth)

    def _schema(self, value: Any, depth: int) -> JSON | bool:
        """A schema inside another: true and false are spelled out for those who know objects only,
        and what is none allows anything."""
        if isinstance(value, dict):
            return self.node(value, depth + 1)
        if isinstance(value, bool) and not self._filled:
            return value
        return {"not": {}} if value is False else {}


def _fill(schema: JSON) -> None:
    """The type that a schema's other keywords speak of, and what the type calls for."""
    kind = schema.get("type")
    if kind is None and "$ref" not in schema:
        if "properties" in schema:
            kind = schema["type"] = "object"
        elif "items" in schema or "prefixItems" in schema:
            kind = schema["type"] = "array"
    kinds = kind if isinstance(kind, list) else [kind]
    if "object" in kinds:
        schema.setdefault("properties", {})
    if "array" in kinds:
        schema.setdefault("items", {})
