"""Schemas of tools and answers, completed for servers that check more than JSON Schema does."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.shared.schemas import MAX_DEPTH
from lmbroker.translation.shared.tool_schemas import completed, completed_tool

JSON = dict[str, Any]

TEXT: JSON = {"type": "string"}
EMPTY: JSON = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "object"},
        {"type": None, "required": None},
        {"properties": None},
        {"type": "object", "properties": []},
    ],
)
def test_a_tool_without_arguments_is_an_object_without_properties(schema: JSON | None) -> None:
    assert completed_tool(schema) == (EMPTY, False)
    assert completed_tool(schema, filled=False) == (EMPTY, False)


@pytest.mark.parametrize(
    ("inner", "whole"),
    [
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"type": ["array", "null"]}, {"type": ["array", "null"], "items": {}}),
        ({"type": "array", "items": None}, {"type": "array", "items": {}}),
        ({"type": "array", "items": True}, {"type": "array", "items": {}}),
        ({"type": "object"}, EMPTY),
        (
            {"type": "object", "additionalProperties": True},
            {"type": "object", "additionalProperties": True, "properties": {}},
        ),
        ({"properties": {"a": TEXT}}, {"type": "object", "properties": {"a": TEXT}}),
        ({"items": TEXT}, {"type": "array", "items": TEXT}),
        (True, {}),
        (False, {"not": {}}),
        (None, {}),
        ({"enum": None, "description": None, "type": "string"}, TEXT),
        ({"type": "string", "default": None}, {"type": "string", "default": None}),
        ({"const": None}, {"const": None}),
        ({"type": "object", "required": None}, EMPTY),
        ({"anyOf": [TEXT, {"type": "array"}]}, {"anyOf": [TEXT, {"type": "array", "items": {}}]}),
        ({"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}),
        ({"type": "STRING"}, TEXT),
        ({"type": "object", "required": True}, EMPTY),
        ({"type": "object", "required": ["a", "a"]}, {**EMPTY, "required": ["a"]}),
        (
            {"type": "array", "items": [TEXT, TEXT], "additionalItems": False},
            {"type": "array", "prefixItems": [TEXT, TEXT], "items": {"not": {}}},
        ),
        ({"type": "array", "items": [TEXT]}, {"type": "array", "prefixItems": [TEXT], "items": {}}),
        (
            {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            {"type": "number", "exclusiveMinimum": 1},
        ),
        (
            {"type": "number", "maximum": 1, "exclusiveMaximum": False},
            {"type": "number", "maximum": 1},
        ),
    ],
)
def test_what_is_missing_is_filled_in_wherever_a_schema_stands(inner: Any, whole: JSON) -> None:
    def places(schema: Any) -> JSON:
        return {
            "type": "object",
            "properties": {"p": schema, "q": {"type": "array", "items": schema}},
            "$defs": {"d": schema},
        }

    assert completed_tool(places(inner)) == (places(whole), False)


@pytest.mark.parametrize(
    ("inner", "whole"),
    [
        ({"type": "any"}, {}),
        ({"type": ["string", "datetime"]}, {"type": ["string"]}),
        ({"type": "string", "enum": []}, TEXT),
    ],
)
def test_what_no_schema_can_say_is_left_out_and_told(inner: JSON, whole: JSON) -> None:
    found, changed = completed_tool({"type": "object", "properties": {"a": inner}})
    assert (found["properties"]["a"], changed) == (whole, True)


def test_a_reference_at_the_top_is_looked_up() -> None:
    held = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
    schema = {"$ref": "#/definitions/Tool", "definitions": {"Tool": held}}
    found, changed = completed_tool(schema)
    assert found == {**held, "definitions": {"Tool": held}} and not changed
    itself = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}
    assert completed_tool(itself)[0]["type"] == "object"


def test_what_openai_refuses_at_the_top_is_left_out() -> None:
    schema = {"type": "object", "properties": {"a": TEXT}, "not": {"required": ["b"]}}
    assert completed_tool(schema) == ({"type": "object", "properties": {"a": TEXT}}, True)
    assert completed_tool(schema, filled=False) == (schema, False)


def test_alternatives_at_the_top_become_one_object() -> None:
    schema = {"anyOf": [{"properties": {"a": TEXT}}, {"properties": {"b": {"type": "array"}}}]}
    found, changed = completed_tool(schema)
    assert changed and found["type"] == "object" and "anyOf" not in found
    assert found["properties"] == {"a": TEXT, "b": {"type": "array", "items": {}}}


def test_keywords_are_taken_out_only_where_they_are_keywords() -> None:
    schema = {
        "type": "object",
        "properties": {
            "pattern": {"type": "string", "pattern": r"^\p{L}+$"},
            "files": {"type": "object", "propertyNames": {"pattern": "x"}, "properties": {}},
        },
        "required": ["pattern"],
        "default": {"pattern": "kept"},
        "patternProperties": {"pattern": {"pattern": "x", "type": "string"}},
    }
    found, changed = completed_tool(schema, ("pattern",))
    assert changed
    assert found == {
        "type": "object",
        "properties": {
            "pattern": TEXT,
            "files": {"type": "object", "propertyNames": {}, "properties": {}},
        },
        "required": ["pattern"],
        "default": {"pattern": "kept"},
        "patternProperties": {"pattern": TEXT},
    }
    assert completed_tool(schema, ("format",))[1] is False


def test_a_schema_for_anthropic_is_only_repaired() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array"}, "b": True}, "required": None}
    found, changed = completed_tool(schema, filled=False)
    assert found == {"type": "object", "properties": {"a": {"type": "array"}, "b": True}}
    assert not changed


def test_a_schema_that_nests_too_deeply_stays_as_it_is_down_there() -> None:
    deep: JSON = {"type": "array"}
    for _ in range(5 * MAX_DEPTH):
        deep = {"type": "array", "items": deep}
    found, _ = completed({"type": "object", "properties": {"a": deep}})
    assert found["properties"]["a"]["items"]["items"]["type"] == "array"


_leaf: st.SearchStrategy[Any] = st.sampled_from(
    [TEXT, {"type": "array"}, {"type": "object"}, True, False, None, {}, {"pattern": "x"}]
)
_schemas = st.recursive(
    _leaf,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", ["object", "null"], None]),
            "properties": st.dictionaries(st.sampled_from(["a", "pattern", "items"]), inner)
            | st.none(),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "not": inner,
            "additionalProperties": inner,
            "required": st.none() | st.just(["a"]),
            "pattern": st.just("x"),
        },
    ),
    max_leaves=12,
)


def complete(schema: Any) -> None:
    """What strict servers check, at each place of a schema."""
    assert isinstance(schema, dict)
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    assert "object" not in kinds or isinstance(schema.get("properties"), dict)
    assert "array" not in kinds or isinstance(schema.get("items"), dict)
    assert "pattern" not in schema and None not in (
        schema.get("required", 1),
        schema.get("type", 1),
    )
    for value in schema.get("properties", {}).values():
        complete(value)
    for value in schema.get("anyOf", ()):
        complete(value)
    for key in ("items", "not", "additionalProperties"):
        if key in schema and not (key == "additionalProperties" and isinstance(schema[key], bool)):
            complete(schema[key])


@given(_schemas.filter(lambda schema: isinstance(schema, dict)))
def test_every_schema_comes_out_complete_and_again_the_same(schema: JSON) -> None:
    before = copy.deepcopy(schema)
    found, _ = completed_tool(schema, ("pattern",))
    complete(found)
    assert found["type"] == "object"
    assert completed_tool(found, ("pattern",)) == (found, False)
    assert schema == before
