"""Repairs for tools' schemas: keywords that are not taken are left out; the tools stay."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lmbroker.translation.refusals.wordings import (
    REGEX_WORDS,
    SCHEMA_KEYWORDS,
    SCHEMA_REFUSED,
    SCHEMA_WORDS,
)
from lmbroker.workflows.repairs.case import Case, Found, answer_format
from lmbroker.workflows.repairs.shapes import weaker_format

_GRAMMAR = re.compile(
    r"(?:failed to|error|cannot|unable to) (?:parse|parsing|compile|build|initiali[sz]e)"
    r"[\w ]{0,20} (?:grammar|samplers|json schema)",
    re.IGNORECASE,
)
"""Words that say that the grammar of all tools is too large, without naming a keyword: limits in
schemas make it large."""

_ENGINE = re.compile(r"\bgrammar\b|unimplemented keys|\bjson schema conversion\b", re.IGNORECASE)
"""Words of an engine that compiles schemas to a grammar, the answer's among them."""

_ENGINE_FORMATS = ("response_format", "text.format")
"""Formats of an answer that such an engine compiles."""

_SAY_NOTHING = frozenset({"title", "default", "example", "examples"})
"""Keywords that no grammar takes into account."""

_BAD_SCHEMA = re.compile(r"invalid (?:json )?schema for (?:function|tool)", re.IGNORECASE)
_PLAIN_WORDS = frozenset(
    {"not", "default", "format", "title", "if", "then", "else", "contains", "example", "examples"}
)
"""Keywords that are ordinary words in any sentence."""

_FORMAT = re.compile(
    r"valid format|(?:unknown|unsupported) format|\.format\b|\bformat ['\"`(]"
    r"|\bformat (?:is|value|keyword)|\bkeyword\b[^.\n]{0,30}\bformat\b",
    re.IGNORECASE,
)
_AT = re.compile(r"invalid value at '([\w.]+(?:\[\d+\][\w.]*)*?)(?:\[\d+\])?'", re.IGNORECASE)
_NAMED = SCHEMA_KEYWORDS | {"enum"}
"""Keywords that are taken out where a path leads to them."""

_QUOTED = re.compile(r"[\"'`]([$\w]+)[\"'`]")


def schemas(case: Case) -> Iterator[Found]:
    """Yield the repairs that take keywords out of the tools' schemas.

    These are the keywords that the words name, else all that a schema can do without.
    """
    text = case.text
    if not SCHEMA_WORDS.search(text) or not SCHEMA_REFUSED.search(text):
        return
    if re.search(
        r"response_format|output_config|text\.format|\bfunction\.name\b"
        r"|tools[.\[]\d+\]?[\w.]*\.name\b",
        text,
    ):
        return
    present = _keywords(case.body)
    named = {word for path in _AT.findall(text) if (word := path.rpartition(".")[2]) in _NAMED}
    if named:
        words = tuple(sorted(named))
        yield f"keywords {','.join(words)}", "tools[].parameters", _without(words), {}
        return
    found = {word for word in _QUOTED.findall(text) if word in present}
    found |= {word for word in re.findall(r"\$[a-z]+", text) if word in present}
    found |= {word for word in re.findall(r"\b[a-z]+[A-Z]\w+", text) if word in present}
    if REGEX_WORDS.search(text):
        found |= {"pattern", "patternProperties"} & present
        found |= {"propertyNames"} & present
    if not found:
        found = {word for word in present if re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", text)}
        found -= _PLAIN_WORDS
        if "format" in present and _FORMAT.search(text):
            found.add("format")
    if found & {"$ref", "$defs"}:
        found |= {"$ref"} & present
    if found:
        words = tuple(sorted(found))
        yield f"keywords {','.join(words)}", "tools[].parameters", _without(words), {}
    elif _GRAMMAR.search(text) and present - _SAY_NOTHING:
        words = tuple(sorted(present - _SAY_NOTHING))
        yield "keywords", "tools[].parameters", _without(words), {}
    elif _BAD_SCHEMA.search(text) and present and not re.search(r"missing|\btype\b", text):
        words = tuple(sorted(present))
        yield "keywords", "tools[].parameters", {}, _without(words)
    elif _ENGINE.search(text):
        field, form = answer_format(case.body)
        if form.get("type") == "json_schema" and field in _ENGINE_FORMATS:
            yield weaker_format(case, field)


def _without(words: tuple[str, ...]) -> dict[str, Any]:
    return {"omit_schema_keywords": words}


def _keywords(body: Mapping[str, Any]) -> set[str]:
    """Return the keywords in the tools' schemas that may be left out."""
    found: set[str] = set()
    waiting: list[Any] = []
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            held = tool.get("function")
            waiting.append(held.get("parameters") if isinstance(held, dict) else None)
            waiting += (tool.get("parameters"), tool.get("input_schema"))
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, dict):
            found.update(SCHEMA_KEYWORDS.intersection(schema))
            waiting.extend(schema.values())
        elif isinstance(schema, list):
            waiting.extend(schema)
    return found
