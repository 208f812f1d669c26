"""JSON-schema rules of both vendors."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.shared.schemas import anthropic_subset, meets_openai_strict, object_schema

JSON = dict[str, Any]
TEXT = {"type": "string"}


def closed(**properties: Any) -> JSON:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def test_an_object_schema_stays_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "$defs": {}}
    assert object_schema(schema) == (schema, False)


@pytest.mark.parametrize("schema", [None, {}])
def test_no_schema_is_an_empty_object(schema: JSON | None) -> None:
    assert object_schema(schema) == ({"type": "object", "properties": {}}, False)


def test_another_type_at_the_top_is_an_approximation() -> None:
    assert object_schema({"type": ["object", "null"], "properties": {"a": TEXT}}) == (
        {"type": "object", "properties": {"a": TEXT}},
        True,
    )


def test_alternatives_are_merged_without_required() -> None:
    schema = {
        "description": "d",
        "oneOf": [
            {"$ref": "#/$defs/A"},
            {"type": "object", "properties": {"x": {"type": "integer"}, "y": TEXT}},
        ],
        "$defs": {"A": {"type": "object", "properties": {"x": TEXT}, "required": ["x"]}},
        "required": ["x"],
    }
    merged, approximated = object_schema(schema)
    assert approximated
    assert merged["properties"] == {"x": {"anyOf": [TEXT, {"type": "integer"}]}, "y": TEXT}
    assert merged["description"] == "d" and merged["$defs"] == schema["$defs"]
    assert "required" not in merged and "oneOf" not in merged


def test_objects_are_closed_everywhere() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "object", "properties": {"b": TEXT}}},
            "c": {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
        },
    }
    found = anthropic_subset(schema)
    assert found.schema is not None and not found.moved
    assert json.dumps(found.schema).count('"additionalProperties": false') == 3


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("minimum", 1),
        ("exclusiveMaximum", 5),
        ("multipleOf", 2),
        ("minLength", 1),
        ("maxLength", 9),
        ("minItems", 2),
        ("maxItems", 3),
        ("uniqueItems", True),
        ("format", "postal-code"),
        ("pattern", "(?=x)y"),
        ("pattern", r"(a)\1"),
    ],
)
def test_what_the_subset_lacks_is_moved_into_the_description(keyword: str, value: Any) -> None:
    found = anthropic_subset(closed(a={"type": "string", "description": "said", keyword: value}))
    assert found.moved and found.schema is not None
    (inner,) = found.schema["properties"].values()
    assert keyword not in inner
    assert inner["description"].startswith("said\n\n{" + keyword + ": ")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("format", "date-time"), ("pattern", "^[a-z]+$"), ("minItems", 1), ("enum", [1, "a", None])],
)
def test_what_the_subset_has_stays(keyword: str, value: Any) -> None:
    schema = closed(a={"type": "string", keyword: value})
    found = anthropic_subset(schema)
    assert (found.schema, found.moved) == (schema, False)


def test_references_into_the_definitions_stay() -> None:
    schema = {**closed(a={"$ref": "#/$defs/A"}, b={"$ref": "#/$defs/A"}), "$defs": {"A": closed()}}
    assert anthropic_subset(schema).schema == schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (closed(a={"$ref": "#"}), "recursive"),
        ({**closed(a={"$ref": "#/$defs/A"}), "$defs": {"A": closed(b={"$ref": "#/$defs/A"})}},
         "recursive"),
        ({**closed(a={"$ref": "#/$defs/A"}),
          "$defs": {"A": closed(b={"$ref": "#/$defs/B"}), "B": closed(a={"$ref": "#/$defs/A"})}},
         "recursive"),
        (closed(a={"$ref": "https://example.com/schema"}), "outside"),
        (closed(a={"$ref": "#/$defs/missing"}), "outside"),
        (closed(a={"enum": [{"b": 1}]}), "enum"),
        (closed(a={"type": "object", "additionalProperties": TEXT}), "free keys"),
        ({"type": "object", "properties": {f"p{n}": TEXT for n in range(25)}}, "optional"),
        (closed(**{f"p{n}": {"type": ["string", "null"]} for n in range(17)}), "union"),
        (closed(a=True), "not an object"),
        (closed(a={"description": "whatever"}), "anything"),
        ({}, "anything"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed(schema: JSON, reason: str) -> None:
    found = anthropic_subset(schema)
    assert found.schema is None and reason in found.problem


def test_a_deep_schema_is_no_crash() -> None:
    schema: JSON = TEXT
    for _ in range(400):
        schema = {"type": "array", "items": schema}
    assert "deeply" in anthropic_subset(schema).problem
    assert not meets_openai_strict(closed(a=schema))


def test_the_schema_that_was_given_is_not_changed() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}
    before = json.dumps(schema)
    anthropic_subset(schema)
    object_schema({"anyOf": [schema]})
    assert json.dumps(schema) == before


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (closed(), True),
        (closed(a=closed(b=TEXT), c={"type": "array", "items": closed()}), True),
        ({**closed(a={"$ref": "#/$defs/A"}), "$defs": {"A": closed(b=TEXT)}}, True),
        (None, False),
        ({"type": "object", "properties": {}}, False),
        ({**closed(a=TEXT), "required": []}, False),
        (closed(a={"type": "object", "properties": {}}), False),
        (closed(a={"anyOf": [TEXT, {"type": "object"}]}), False),
        (closed(a={"allOf": [TEXT]}), False),
        ({"anyOf": [closed()], **closed()}, False),
        ({"type": "string"}, False),
    ],
)
def test_openais_strict_rule(schema: JSON | None, expected: bool) -> None:
    assert meets_openai_strict(schema) is expected


_keyword = st.sampled_from(
    [
        "$defs",
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "description",
        "enum",
        "format",
        "items",
        "minItems",
        "not",
        "pattern",
        "properties",
        "required",
        "type",
    ]
)
_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "string", "#/$defs/a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keyword, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_keyword, _value, max_size=5))
def test_any_object_is_judged_without_a_crash(schema: JSON) -> None:
    found = anthropic_subset(schema)
    assert (found.schema is None) == bool(found.problem)
    assert object_schema(schema)[0]["type"] == "object"
    assert meets_openai_strict(schema) in (True, False)


def doubling(levels):
    """Each level is referred to twice by the one above it."""
    definitions = {
        f"n{level}": {"anyOf": [{"$ref": f"#/$defs/n{level + 1}"}] * 2} for level in range(levels)
    }
    leaf = {"type": "object", "properties": {"op": {"type": "string"}}}
    return {"anyOf": [{"$ref": "#/$defs/n0"}], "$defs": {**definitions, f"n{levels}": leaf}}


def test_alternatives_that_contain_themselves_are_merged_once():
    node = {"type": "object", "properties": {"op": {"type": "string"}}}
    recursive = {"anyOf": [node, {"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}
    schema = {"anyOf": [{"$ref": "#/$defs/n"}], "$defs": {"n": recursive}}
    merged, changed = object_schema(schema)
    assert changed
    assert merged == {
        "type": "object",
        "properties": {"op": {"type": "string"}},
        "$defs": {"n": recursive},
    }
    assert object_schema(doubling(60))[0]["properties"] == node["properties"]


def test_references_into_the_inside_of_properties_do_not_multiply_them():
    inner = {"type": "object", "properties": {"big": {"enum": list(range(2000))}}}
    path, references = "#/properties/a", []
    for level in range(60):
        inner = {"type": "object", "properties": {"a": inner, f"l{level}": {"type": "null"}}}
        references.append({"$ref": path})
        path += "/properties/a"
    schema = {**inner, "anyOf": references}
    size = len(json.dumps(schema))
    assert len(json.dumps(object_schema(schema)[0])) < 6 * size


def test_a_long_chain_of_definitions_is_not_recursive_and_a_circle_is():
    def chain(last):
        definitions = {
            f"n{each}": {"type": "array", "items": {"$ref": f"#/$defs/n{each + 1}"}}
            for each in range(500)
        }
        return {"$ref": "#/$defs/n0", "$defs": {**definitions, "n500": last}}

    assert anthropic_subset(chain({"type": "string"})).problem == ""
    circle = chain({"type": "array", "items": {"$ref": "#/$defs/n250"}})
    assert anthropic_subset(circle).problem == "it is recursive"
