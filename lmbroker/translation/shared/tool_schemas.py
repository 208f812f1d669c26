"""JSON Schemas of tools and answers in a form that servers accept (translation.md 2.5, 2.6).

Servers check schemas more strictly than JSON Schema does: OpenAI wants ``properties`` of each
object and ``items`` of each array, both vendors want the newest draft (2020-12), and a keyword that
is ``null`` is an error nearly everywhere. The additions, removals and
replacements of older keywords here do not change what a schema allows. Where they do, and where a
keyword is removed because a server has refused it, a loss is reported.

Names count as keywords only where a schema has keywords: a property may be called ``pattern``. The
schemas that are passed in are never changed.
"""

from collections.abc import Collection
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.shared.schemas import MAX_DEPTH, local, object_schema

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
"""Keywords that may be true or false even where other schemas may not."""

_NULLABLE = frozenset({"const", "default", "example", "examples"})
"""Keywords that may be null."""

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})

_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
"""Keywords that were true or false beside another one in older drafts."""

_LOOKED_AT = _ONE | _SEVERAL | _NAMED | _EXCLUSIVE.keys() | {"enum", "required"}
"""Keywords whose values may have to change."""

_NOT_AT_THE_TOP = ("enum", "not")
"""Keywords that OpenAI refuses at the top of a schema, beside those that ``object_schema``
merges."""

_HOPS = 10
"""The maximum of references that are followed from the top of a schema."""


def completed_tool(
    schema: JSON | None, omit: Collection[str] = (), *, filled: bool = True
) -> tuple[JSON, bool]:
    """Return the schema of a tool's arguments as a complete object, without the keywords ``omit``.

    The second value says whether that took an approximation. ``filled``: every object gets
    properties and every array gets items.
    """
    whole, merged = object_schema(_looked_up(schema))
    if filled and any(key in whole for key in _NOT_AT_THE_TOP):
        whole = {key: value for key, value in whole.items() if key not in _NOT_AT_THE_TOP}
        merged = True
    out, changed = completed(whole, omit, filled=filled)
    out["type"] = "object"
    if not isinstance(out.get("properties"), dict):
        out["properties"] = {}
    return out, merged or changed


def _looked_up(schema: JSON | None) -> JSON | None:
    """Return ``schema`` with the schema that its reference at the top points to in its place."""
    found = schema
    for _ in range(_HOPS):
        target = local(found.get("$ref"), schema) if found and schema else None
        if found is None or target is None:
            break
        found = {**target, **{key: value for key, value in found.items() if key != "$ref"}}
    return found


def completed(
    schema: JSON, omit: Collection[str] = (), *, filled: bool = True
) -> tuple[JSON, bool]:
    """Return ``schema``, completed, without the keywords ``omit``.

    The second value says whether it now allows something else than before. Parts that nest deeper
    than ``MAX_DEPTH`` stay as they are.
    """
    walk = _Walk(frozenset(omit), filled)
    return walk.node(schema, 0), walk.changed


class _Walk:
    """One pass over one schema, each part of it once.

    ``changed``: the schema now allows something else than before.
    """

    def __init__(self, omit: frozenset[str], filled: bool) -> None:
        self.changed = False
        self._omit = omit
        self._filled = filled

    def node(self, schema: JSON, depth: int) -> JSON:
        if depth > MAX_DEPTH or (not self._omit and _plain(schema)):
            return schema
        out: JSON = {}
        for key, value in schema.items():
            if key in self._omit:
                self.changed = True
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
            elif key == "type":
                self._type(value, out)
            elif key == "required":
                if isinstance(value, list):
                    out[key] = list(dict.fromkeys(name for name in value if isinstance(name, str)))
            elif key != "enum" or (isinstance(value, list) and value):
                out[key] = value
            else:
                self.changed = True
        _in_newer_words(out)
        if self._filled:
            _fill(out)
        return out

    def _type(self, value: Any, out: JSON) -> None:
        """Write the names of types that exist; an unknown one is left out."""
        names = value if isinstance(value, list) else [value]
        lower = [name.lower() for name in names if isinstance(name, str)]
        known = [name for name in lower if name in _TYPES]
        self.changed |= len(known) < len(names)
        if known:
            out["type"] = known if isinstance(value, list) else known[0]

    def _one(self, key: str, value: Any, depth: int) -> Any:
        if key in _BOOLEAN and isinstance(value, bool):
            return value
        if key == "items" and isinstance(value, list):
            return [self._schema(each, depth) for each in value]
        return self._schema(value, depth)

    def _schema(self, value: Any, depth: int) -> JSON | bool:
        """Return a schema that stands inside another one.

        True and false become objects, for servers that take only those; a value that is no schema
        becomes one that allows anything.
        """
        if isinstance(value, dict):
            return self.node(value, depth + 1)
        if isinstance(value, bool) and not self._filled:
            return value
        return {"not": {}} if value is False else {}


def _in_newer_words(schema: JSON) -> None:
    """Replace the keywords of older drafts for tuples and exclusive limits."""
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if "additionalItems" in schema:
            schema["items"] = schema.pop("additionalItems")
        if not schema["prefixItems"]:
            del schema["prefixItems"]
    for exclusive, limit in _EXCLUSIVE.items():
        if isinstance(schema.get(exclusive), bool):
            holds = schema.pop(exclusive)
            if holds and limit in schema:
                schema[exclusive] = schema.pop(limit)


def _plain(schema: JSON) -> bool:
    """Return whether no keyword of ``schema`` may have to change.

    That is so in most schemas of single values.
    """
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _TYPES or kind in ("object", "array"):
        return False
    return _LOOKED_AT.isdisjoint(schema) and None not in schema.values()


def _fill(schema: JSON) -> None:
    """Add the type that the other keywords of a schema imply, and what that type demands."""
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
