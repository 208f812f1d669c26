"""What the broker must know of a client's body, without taking it apart.

``read`` looks at the top level only; ``with_model`` swaps the value of the top-level ``model``
and leaves every other byte where it was: key order, spaces, long numbers, texts that look like
a key. A body whose model could be read in two ways (a repeated key, or one that differs only in
case, which some backends take for the same) is refused, so that what we route by is what the
backend sees.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import msgspec

from lmbroker.errors import Refused

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_AFTER_KEY = re.compile(rb"\s*:\s*")
_KEY = re.compile(rb'[\s,]*"([^"\\]*)"\s*:\s*')
_END = re.compile(rb"\s*\}")
_UNSAFE = re.compile("[\x00-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")

_LOOKALIKES = frozenset(map("".join, product(*zip("model", "MODEL", strict=True)))) - {"model"}

_MODEL = b'"model"'

SHORT = 4096
"""Bytes of a body that is searched whole: from there on a walk over the top level is faster."""

MODEL_LENGTH = 256
"""Longest model name that is looked at, in characters."""

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a body that is no JSON, that is no UTF-8, or that nests too deep."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The top level of a body; ``fields`` holds every value as its own JSON text."""

    model: str
    stream: bool
    fields: dict[str, msgspec.Raw]

    def __repr__(self) -> str:
        """Nothing that the client sent."""
        return f"Envelope({len(self.fields)} fields)"

    def value(self, key: str) -> object:
        """The decoded value of one top-level field, None where it is missing or not JSON."""
        return value_of(self.fields, key)


def value_of(fields: Mapping[str, Any], key: str) -> object:
    """The decoded value of one of an envelope's fields, None where it is missing or not JSON."""
    raw = fields.get(key)
    try:
        return None if raw is None else _ANY.decode(raw)
    except JSON_ERRORS:
        return None


def invalid_json() -> Refused:
    """The answer to a body that is not one JSON object (translation.md 5.4)."""
    return Refused(
        "invalid_request", "the request body is not a valid JSON object", code="invalid_json"
    )


def decode(body: bytes) -> dict[str, object]:
    """The whole body as a dict. Raises Refused when it is not one JSON object in UTF-8."""
    try:
        value = _ANY.decode(body)
    except JSON_ERRORS:
        raise invalid_json() from None
    if not isinstance(value, dict):
        raise invalid_json()
    return value


def read(body: bytes) -> Envelope:
    """The envelope of a client's body.

    Raises Refused: not a JSON object; ``model`` missing, not a string, empty, too long, with
    control or invisible characters, or present twice; ``stream`` not a boolean.
    """
    try:
        fields = _TOP_LEVEL.decode(body)
    except JSON_ERRORS:
        raise invalid_json() from None
    raw = fields.get("model")
    if raw is None:
        raise Refused(
            "invalid_request",
            "you must provide a model: the body has no 'model'",
            param="model",
            code="missing_model",
        )
    try:
        model = _ANY.decode(raw)
    except JSON_ERRORS:
        # Not UTF-8: a value is not looked into before it is asked for.
        raise invalid_json() from None
    if not isinstance(model, str) or not model:
        raise Refused(
            "invalid_request",
            "'model' must be a non-empty string",
            param="model",
            code="missing_model",
        )
    if not can_be_asked_for(model):
        raise Refused(
            "invalid_request",
            f"'model' must be at most {MODEL_LENGTH} characters, none of them control "
            "characters or invisible",
            param="model",
            code="invalid_value",
        )
    if not _LOOKALIKES.isdisjoint(fields):
        raise _ambiguous()
    stream = fields.get("stream")
    streaming = b"false" if stream is None else bytes(stream)
    if streaming not in (b"true", b"false", b"null"):
        raise Refused(
            "invalid_request", "'stream' must be a boolean", param="stream", code="invalid_type"
        )
    return Envelope(model=model, stream=streaming == b"true", fields=fields)


def can_be_asked_for(model: str) -> bool:
    """Whether a body may have this name as its model."""
    # Nothing that is unsafe is printable.
    safe = model.isprintable() or _UNSAFE.search(model) is None
    return safe and 0 < len(model) <= MODEL_LENGTH


def with_model(body: bytes, model: str, fields: Mapping[str, Any] | None = None) -> bytes:
    """``body`` with the value of its top-level ``model`` replaced by ``model``.

    ``body`` must have passed ``read``; ``fields`` are those of its envelope, where they are at
    hand. Raises Refused when the key stands there twice.
    """
    value = msgspec.json.encode(model)
    fields = _TOP_LEVEL.decode(body) if fields is None else fields
    place = _only_model(body, fields) or _model_place(body, fields)
    start, end = _model_span(body) if place is None else place
    return b"".join((body[:start], value, body[end:]))


def repeats(body: bytes, fields: Mapping[str, Any], key: str) -> bool:
    """Whether ``key`` stands at the top level of ``body`` more than once: readers differ in which
    they take. ``fields`` are those of its envelope."""
    if _model_place(body, fields) is not None:
        return False
    return sum(found == key for found, _ in _keys(body)) > 1


def _only_model(body: bytes, fields: Mapping[str, Any]) -> tuple[int, int] | None:
    """Where the top-level model's value stands, in a short body in which one key alone can be
    it: ``"model"`` stands there once, and none of its letters is written as an escape."""
    at = body.find(_MODEL) if len(body) < SHORT else -1
    if at < 0 or body.rfind(_MODEL) != at or (b"\\" in body and b"\\u006" in body):
        return None
    value = fields["model"]
    # Between a key and its value is no quote.
    start = body.find(value, at + len(_MODEL))
    return start, start + len(memoryview(value))


def _model_place(body: bytes, fields: Mapping[str, Any]) -> tuple[int, int] | None:
    """Where the top-level model's value stands. The lengths of the values say where the next key
    is; None where the body does not fit (a key that stands there twice or is written with
    escapes). Each value must be the one that was read: with the length of another, the walk would
    come out inside one, where anything may look like a key."""
    place = None
    at = body.index(b"{") + 1
    for key, raw in fields.items():
        found = _KEY.match(body, at)
        if found is None or found[1] != key.encode():
            return None
        start = found.end()
        if not body.startswith(raw, start):
            return None
        at = start + len(memoryview(raw))
        if key == "model":
            place = start, at
    return place if _END.match(body, at) else None


def with_usage(body: bytes) -> bytes | None:
    """``body`` with ``stream_options.include_usage`` spliced in, every other byte where it was;
    None where the client asks for it already, or where it cannot be done.

    ``body`` must have passed ``read``.
    """
    raw = _TOP_LEVEL.decode(body).get("stream_options")
    if raw is None:
        close = body.rindex(b"}")
        return b"".join((body[:close], b',"stream_options":{"include_usage":true}', body[close:]))
    try:
        options = _ANY.decode(raw)
    except JSON_ERRORS:
        return None
    if options is not None and not isinstance(options, dict):
        return None
    if options and options.get("include_usage"):
        return None
    value = msgspec.json.encode({**(options or {}), "include_usage": True})
    for found in re.finditer(rb'"stream_options"\s*:\s*(' + re.escape(bytes(raw)) + rb")", body):
        spliced = b"".join((body[: found.start(1)], value, body[found.end(1) :]))
        if bytes(_TOP_LEVEL.decode(spliced)["stream_options"]) == value:
            return spliced
    return None


def _model_span(body: bytes) -> tuple[int, int]:
    """Where the top-level model's value stands."""
    values = [_STRING.match(body, at) for key, at in _keys(body) if key == "model"]
    spans = [value.span() for value in values if value is not None]
    if len(spans) != 1:
        raise _ambiguous()
    return spans[0]


def _keys(body: bytes) -> Iterator[tuple[str, int]]:
    """The top-level keys, each with where its value begins: walks the brackets, so that no text
    inside the body is taken for a key."""
    depth = 0
    skip_to = 0
    for token in _TOKEN.finditer(body):
        if token.start() < skip_to:
            continue
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1:
            colon = _AFTER_KEY.match(body, token.end())
            if colon is None:
                continue
            value = _STRING.match(body, colon.end())
            yield _ANY.decode(text), colon.end()
            skip_to = value.end() if value is not None else colon.end()


def _ambiguous() -> Refused:
    return Refused(
        "invalid_request",
        "the body names 'model' more than once",
        param="model",
        code="invalid_value",
    )
