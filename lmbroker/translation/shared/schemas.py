"""JSON-schema rules of the two vendors (translation.md 2.5 and 2.6).

Anthropic's structured outputs and strict tools take a subset of JSON Schema: every object is
closed, and keywords that its grammars cannot hold are refused. What a schema says beyond that
is moved into the ``description`` next to it, where the model still reads it. OpenAI's strict
mode takes a schema only if every property is required and every object is closed.

Nothing here changes the schemas that it is given.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from lmbroker import json_text
from lmbroker.json_text import JSON

MAX_DEPTH = 100
"""The maximum depth of a schema; a deeper one counts as not expressible, since the walk is
recursive."""

MERGED_TIMES = 4
"""How many times as long as the alternatives the object may be into which they are merged."""

MAX_OPTIONAL = 24
"""The maximum of optional parameters in a strict schema at Anthropic (vendor documentation)."""

MAX_UNIONS = 16
"""The maximum of union-typed parameters in a strict schema at Anthropic (vendor documentation)."""

_FORMATS = frozenset(
    {
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "uri",
        "ipv4",
        "ipv6",
        "uuid",
    }
)
_KEPT = frozenset({"description", "title", "default", "required"})
_ASIDE = frozenset({"description", "title", "default"})
_SAYS_SOMETHING = frozenset(
    {"type", "properties", "anyOf", "oneOf", "allOf", "enum", "const", "$ref"}
)
_HARMLESS = frozenset(
    {"$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"}
)
_BEYOND_REGULAR = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9]|\\k<")
_DEFINITION = re.compile(r"#/(?:\$defs|definitions)/[^/]+")
_COMBINERS = ("anyOf", "oneOf", "allOf")
_SORTED = msgspec.json.Encoder(enc_hook=json_text.unknown, order="deterministic")
_NOT_STRICT = frozenset(
    {
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "unevaluatedProperties",
    }
)


class Subset(msgspec.Struct, frozen=True, kw_only=True):
    """A schema in Anthropic's subset of JSON Schema.

    ``moved``: a part of it was kept only as description. ``problem`` says why the schema cannot be
    expressed at all; ``schema`` is None then. ``optional`` and ``unions`` count the parameters that
    Anthropic limits over all schemas of a request.
    """

    schema: JSON | None = None
    moved: bool = False
    optional: int = 0
    unions: int = 0
    problem: str = ""


class _InexpressibleError(Exception):
    pass


def object_schema(schema: JSON | None) -> tuple[JSON, bool]:
    """Return ``schema`` as the object schema that Anthropic asks of every tool.

    The second value says whether that took an approximation: alternatives at the top merged into
    one object, or another type replaced.
    """
    if not schema:
        return {"type": "object", "properties": {}}, False
    if any(isinstance(schema.get(key), list) for key in _COMBINERS):
        return _merged(schema), True
    kind = schema.get("type")
    if kind == "object":
        return schema, False
    if kind is None:
        return {"type": "object", **{k: v for k, v in schema.items() if k != "type"}}, False
    return {**schema, "type": "object"}, True


def _merged(schema: JSON) -> JSON:
    """Return the alternatives at the top as one open object: all properties, none required."""
    out = {k: v for k, v in schema.items() if k not in (*_COMBINERS, "required", "type", "$ref")}
    found = _Alternatives(schema)
    out.pop("additionalProperties", None)
    merged: JSON = {"type": "object", **out, "properties": found.properties()}
    if found.definitions:
        merged["$defs"] = found.definitions
    return merged


class _Alternatives:
    """The properties of all alternatives of ``root``, by name, in the order of the schema.

    Each schema is looked at once, however often it is referred to. References may still bring
    one property in again and again, inside others: once the properties make up far more text than
    the schema itself, further ones are left out. The object is open, so they may still be given.
    """

    def __init__(self, root: JSON) -> None:
        self.definitions: JSON = {}
        self._root = root
        self._options: dict[str, list[Any]] = {}
        self._known: dict[str, set[bytes]] = {}
        self._room = MERGED_TIMES * len(_sorted_text(root))
        self._collect()

    def properties(self) -> JSON:
        """Return the schema of each property by its name.

        Several that differ become alternatives.
        """
        return {
            name: options[0] if len(options) == 1 else {"anyOf": options}
            for name, options in self._options.items()
        }

    def _collect(self) -> None:
        seen: set[int] = set()
        own: set[int] = set()
        ahead = [self._root]
        while ahead:
            schema = ahead[-1]
            if id(schema) not in seen:
                seen.add(id(schema))
                target = local(schema.get("$ref"), self._root)
                if target is not None and id(target) not in seen:
                    ahead.append(target)
                    continue
            ahead.pop()
            if id(schema) in own:
                continue
            own.add(id(schema))
            self._take(schema)
            branches = [
                branch
                for key in _COMBINERS
                if isinstance(schema.get(key), list)
                for branch in schema[key]
                if isinstance(branch, dict) and id(branch) not in seen
            ]
            ahead += reversed(branches)

    def _take(self, schema: JSON) -> None:
        definitions = schema.get("$defs")
        if isinstance(definitions, dict) and self._room > 0:
            self._room -= len(_sorted_text(definitions))
            self.definitions.update(definitions)
        found = schema.get("properties")
        for name, value in (found if isinstance(found, dict) else {}).items():
            if self._room <= 0:
                return
            text = _sorted_text(value)
            self._room -= len(text)
            known = self._known.setdefault(name, set())
            options = self._options.setdefault(name, [])
            if text in known:
                continue
            if len(options) == 1:
                # A property that consists of alternatives only gets one more of them.
                options[:] = _alternatives(options[0])
                known.update(map(_sorted_text, options))
                if text in known:
                    continue
            known.add(text)
            options.append(value)


def _alternatives(value: Any) -> list[Any]:
    if isinstance(value, dict) and value.keys() == {"anyOf"} and isinstance(value["anyOf"], list):
        return value["anyOf"]
    return [value]


def _sorted_text(value: Any) -> bytes:
    """Return JSON text that is the same for equal values."""
    try:
        return _SORTED.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True).encode()


def local(ref: Any, root: JSON) -> JSON | None:
    """Return what a reference inside the same document points to, None for any other reference."""
    if not isinstance(ref, str) or not ref.startswith("#/"):
        return None
    at: Any = root
    for step in ref[2:].split("/"):
        at = at.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(at, dict) else None
    return at if isinstance(at, dict) else None


def anthropic_subset(schema: JSON) -> Subset:
    """Return ``schema`` in the subset that Anthropic's structured outputs and strict tools take."""
    walk = _Walk(schema)
    try:
        narrowed = walk.node(schema, 0)
        walk.check_references()
    except _InexpressibleError as reason:
        return Subset(problem=str(reason))
    except RecursionError:
        return Subset(problem="it nests too deeply")
    if walk.optional > MAX_OPTIONAL:
        return Subset(problem=f"more than {MAX_OPTIONAL} optional parameters")
    if walk.unions > MAX_UNIONS:
        return Subset(problem=f"more than {MAX_UNIONS} parameters with a union type")
    return Subset(schema=narrowed, moved=walk.moved, optional=walk.optional, unions=walk.unions)


class _Walk:
    """One pass over one schema, which counts what is limited and notes what was moved."""

    def __init__(self, root: JSON) -> None:
        self.root = root
        self.moved = False
        self.optional = 0
        self.unions = 0
        self.owner = "#"
        self.references: dict[str, list[str]] = {}

    def node(self, schema: Any, depth: int) -> JSON:
        if depth > MAX_DEPTH:
            raise _InexpressibleError("it nests too deeply")
        if not isinstance(schema, dict):
            raise _InexpressibleError("a schema in it is not an object")
        if _SAYS_SOMETHING.isdisjoint(schema):
            raise _InexpressibleError("a schema in it allows anything")
        out: JSON = {} if "type" in schema or "properties" not in schema else {"type": "object"}
        moved: JSON = {}
        for key, value in schema.items():
            self._keyword(key, value, out, moved, depth)
        if "$ref" in out:
            rest = {k: v for k, v in out.items() if k not in ("$ref", "$defs", "definitions")}
            self.moved = self.moved or bool(moved) or any(k not in _ASIDE for k in rest)
            return {k: v for k, v in out.items() if k not in rest}
        if _is_object(schema):
            self._close(schema, out)
        if moved:
            self.moved = True
            notes = "{" + ", ".join(f"{k}: {_text(v)}" for k, v in moved.items()) + "}"
            said = out.get("description")
            out["description"] = f"{said}\n\n{notes}" if isinstance(said, str) and said else notes
        return out

    def _keyword(self, key: str, value: Any, out: JSON, moved: JSON, depth: int) -> None:
        if key in ("properties", "$defs", "definitions"):
            if not isinstance(value, dict):
                raise _InexpressibleError(f"{key} is not an object")
            owner = self.owner
            out[key] = {}
            for name, each in value.items():
                if depth == 0 and key != "properties":
                    self.owner = f"#/{key}/{name}"
                out[key][name] = self.node(each, depth + 1)
                self.owner = owner
        elif key in ("anyOf", "oneOf", "allOf"):
            if not isinstance(value, list):
                raise _InexpressibleError(f"{key} is not a list")
            branches = [self.node(each, depth + 1) for each in value]
            if key != "allOf":
                self.unions += 1
            out["allOf" if key == "allOf" else "anyOf"] = branches
        elif key == "items":
            out[key] = self.node(value, depth + 1)
        elif key == "enum":
            if not isinstance(value, list) or any(isinstance(v, dict | list) for v in value):
                raise _InexpressibleError("an enum holds objects or lists")
            out[key] = value
        elif key == "const":
            if isinstance(value, dict | list):
                raise _InexpressibleError("a const is an object or a list")
            out[key] = value
        elif key == "$ref":
            if value == "#":
                raise _InexpressibleError("it is recursive")
            if (
                not isinstance(value, str)
                or _DEFINITION.fullmatch(value) is None
                or local(value, self.root) is None
            ):
                raise _InexpressibleError("it refers to something outside of its definitions")
            self.references.setdefault(self.owner, []).append(value)
            out[key] = value
        elif key == "type":
            if isinstance(value, list) and len(value) > 1:
                self.unions += 1
            out[key] = value
        elif key in _KEPT or _kept(key, value):
            out[key] = value
        elif key == "additionalProperties" or key in _HARMLESS:
            pass
        else:
            moved[key] = value

    def _close(self, schema: JSON, out: JSON) -> None:
        """Close an object.

        One with free keys only cannot be closed: nothing could stand in it any more.
        """
        properties = out.get("properties") or {}
        free = schema.get("additionalProperties")
        if free is None and "properties" not in schema:
            free = True
        if free not in (None, False):
            if not properties:
                raise _InexpressibleError("an object has free keys")
            self.moved = True
        names = _names(schema.get("required"))
        self.optional += sum(name not in names for name in properties)
        out["additionalProperties"] = False

    def check_references(self) -> None:
        """Raise _InexpressibleError for a schema that contains itself.

        It is one walk, which looks at each reference once.
        """
        done: set[str] = set()
        for start in list(self.references):
            path: dict[str, Iterator[str]] = {}
            if start not in done:
                path[start] = iter(self.references[start])
            while path:
                owner, targets = path.popitem()
                target = next(targets, None)
                if target is None:
                    done.add(owner)
                    continue
                path[owner] = targets
                if target in path:
                    raise _InexpressibleError("it is recursive")
                if target not in done:
                    path[target] = iter(self.references.get(target, ()))


def meets_openai_strict(schema: JSON | None) -> bool:
    """Return whether OpenAI's strict mode takes ``schema``.

    It takes an object at the top, every object closed and all of its properties required, and none
    of the keywords that it refuses.
    """
    if not schema or schema.get("type") != "object" or "anyOf" in schema:
        return False
    return _strict(schema, 0)


def _strict(schema: Any, depth: int) -> bool:
    if depth > MAX_DEPTH or not isinstance(schema, dict) or not _NOT_STRICT.isdisjoint(schema):
        return False
    if _is_object(schema):
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        if schema.get("additionalProperties") is not False:
            return False
        if not isinstance(properties, dict) or not isinstance(required, list):
            return False
        names = _names(required)
        if any(name not in names for name in properties):
            return False
    for key in ("properties", "$defs", "definitions"):
        held = schema.get(key)
        if held is not None and not isinstance(held, dict):
            return False
        if held and not all(_strict(each, depth + 1) for each in held.values()):
            return False
    options = schema.get("anyOf", [])
    if not isinstance(options, list) or not all(_strict(each, depth + 1) for each in options):
        return False
    return "items" not in schema or _strict(schema["items"], depth + 1)


def _names(required: Any) -> set[str]:
    """Return the names in the value of ``required``."""
    return (
        {name for name in required if isinstance(name, str)}
        if isinstance(required, list)
        else set()
    )


def _is_object(schema: JSON) -> bool:
    kind = schema.get("type")
    return (
        kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind)
    )


def _kept(key: str, value: Any) -> bool:
    """Return whether Anthropic takes the keyword ``key`` with this value."""
    if key == "minItems":
        return value in (0, 1)
    if not isinstance(value, str):
        return False
    return (key == "format" and value in _FORMATS) or (
        key == "pattern" and not _BEYOND_REGULAR.search(value)
    )


def _text(value: Any) -> str:
    return json_text.encode(value).decode()
