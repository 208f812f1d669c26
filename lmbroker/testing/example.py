"""A small value that fits a JSON schema: arguments for a tool, an instance for a format.

Covers what tools and structured outputs use (JSON Schema 2020-12, its validation vocabulary):
types, ``enum``, ``const``, ``$ref`` within the schema, ``allOf``, ``anyOf``, ``oneOf``, bounds,
lengths, common formats. ``pattern`` is not looked at.
"""

import math
from typing import Any

from lmbroker.json_text import JSON

DEEP = 4
"""The depth from which on a recursive schema is left as early as it allows."""

DEEPEST = 12
"""The depth from which on references are not followed: a schema that never ends has no value."""

FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def example(schema: Any) -> Any:
    """Return a value that fits ``schema``, always the same one.

    Objects have their required properties only, so a schema that requires nothing gives ``{}``.
    """
    return _value(schema, schema, 0)


def _value(given: Any, root: Any, depth: int) -> Any:
    schema = _flat(given, root, depth)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = _kind(schema, depth)
    if kind == "object":
        properties = schema.get("properties") or {}
        return {
            name: _value(properties.get(name, {"type": "string"}), root, depth + 1)
            for name in schema.get("required") or ()
        }
    if kind == "array":
        return _array(schema, root, depth)
    if kind in ("integer", "number"):
        return _number(schema, kind)
    if kind == "string":
        text = FORMATS.get(schema.get("format", ""), "example")
        return text[: schema.get("maxLength")].ljust(schema.get("minLength") or 0, "x")
    return True if kind == "boolean" else None


def _flat(schema: Any, root: Any, depth: int) -> JSON:
    """Return ``schema`` with references followed, parts merged and the first choice taken."""
    if not isinstance(schema, dict):
        return {}
    rest = {
        key: value
        for key, value in schema.items()
        if key not in ("$ref", "allOf", "anyOf", "oneOf")
    }
    parts = list(schema.get("allOf") or ())
    if isinstance(schema.get("$ref"), str) and depth < DEEPEST:
        parts.append(_referred(schema["$ref"], root))
    for union in ("anyOf", "oneOf"):
        choices = schema.get(union)
        if choices:
            ends = [choice for choice in choices if choice == {"type": "null"}]
            parts.append(ends[0] if ends and depth >= DEEP else choices[0])
    for part in parts:
        rest = _merged(rest, _flat(part, root, depth + 1))
    return rest


def _merged(one: JSON, other: JSON) -> JSON:
    merged = {**one, **other}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _referred(pointer: str, root: Any) -> Any:
    """Return the part of ``root`` at a JSON pointer in a fragment (RFC 6901, section 6)."""
    place = root
    for step in pointer.removeprefix("#").split("/")[1:]:
        place = place.get(step.replace("~1", "/").replace("~0", "~"), {})
    return place


def _kind(schema: JSON, depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind is None:
        if "items" in schema or "prefixItems" in schema:
            return "array"
        if depth == 0 or "properties" in schema or "required" in schema:
            return "object"
        return "string"
    return str(kind)


def _array(schema: JSON, root: Any, depth: int) -> list[Any]:
    first = [_value(item, root, depth + 1) for item in schema.get("prefixItems") or ()]
    least: int = schema.get("minItems") or 0
    wanted = least if depth >= DEEP else max(least, 1)
    wanted = min(wanted, int(schema.get("maxItems", wanted)))
    items = schema.get("items") or {"type": "string"}
    return first + [_value(items, root, depth + 1) for _ in range(wanted - len(first))]


def _number(schema: JSON, kind: str) -> int | float:
    step = 1 if kind == "integer" else 0.5
    value: int | float = 7 if kind == "integer" else 1.5
    if "maximum" in schema:
        value = min(value, schema["maximum"])
    if "exclusiveMaximum" in schema:
        value = min(value, schema["exclusiveMaximum"] - step)
    if "minimum" in schema:
        value = max(value, schema["minimum"])
    if "exclusiveMinimum" in schema:
        value = max(value, schema["exclusiveMinimum"] + step)
    if schema.get("multipleOf"):
        value = math.ceil(value / schema["multipleOf"]) * schema["multipleOf"]
    return int(value) if kind == "integer" else value
