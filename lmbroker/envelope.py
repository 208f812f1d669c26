"""The top level of a client's body, read and changed without parsing the rest.

``read`` reads the top level only; ``with_model`` swaps the value of the top-level ``model``
and leaves every other byte where it was: key order, spaces, long numbers, texts that look like
a key. A body whose model could be read in two ways (a repeated key, or one that differs only in
case, which some backends take for the same) is refused, so that what we route by is what the
backend sees.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import msgspec

from lmbroker import json_text
from lmbroker.errors import Refused
from lmbroker.json_text import mended

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_EXACT = msgspec.json.Decoder(float_hook=json_text.number)

DEEPEST = 2
"""The maximum of names in the path of a text, behind the first one."""
_KEY = re.compile(rb'[\s,]*"([^"\\]*(?:\\.[^"\\]*)*)"\s*:\s*', re.DOTALL)
_END = re.compile(rb"\s*\}")
_UNSAFE = re.compile(
    # Controls; what is no character of its own: joiners, marks of direction, tags; what takes no
    # room: fillers, variation selectors. With any of them two names look alike, or a line of a
    # log looks like another one (Unicode's Cc, Cf, Zl, Zp and Default_Ignorable_Code_Point).
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

_LOOKALIKES = frozenset(map("".join, product(*zip("model", "MODEL", strict=True)))) - {"model"}

_MODEL = b'"model"'
_TOO_LONG = "\0"

SHORT = 4096
"""Bytes of a body that is searched whole: from there on a walk over the top level is faster."""

REPEATED_KEYS = 100
"""So many keys of a body may stand at its top level a second time, where it has to be known."""

MODEL_LENGTH = 256
"""Longest model name that is looked at, in characters."""

SHORT_VALUE = 64 * 1024
"""Bytes of the longest value that is looked at alone: what routing, caps and the path of a call go
by is shorter, and parsing a longer one may delay all other calls."""

MANY_COLONS = 20_000
"""Each key at the top level has one, and takes half a microsecond."""

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a body that is no JSON, that is no UTF-8, or that nests too deep."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The top level of a body; ``fields`` holds every value as its own JSON text."""

    model: str
    stream: bool
    fields: dict[str, msgspec.Raw]

    def __repr__(self) -> str:
        """Show nothing that the client sent."""
        return f"Envelope({len(self.fields)} fields)"

    def value(self, key: str) -> object:
        """Return the decoded value of one top-level field, None where it is missing or not JSON."""
        return value_of(self.fields, key)


def value_of(fields: Mapping[str, Any], key: str) -> object:
    """Return the decoded value of one of an envelope's fields.

    It is None where it is missing, not JSON, or longer than ``SHORT_VALUE``.
    """
    raw = fields.get(key)
    if raw is None or len(memoryview(raw)) > SHORT_VALUE:
        return None
    try:
        return _ANY.decode(raw)
    except JSON_ERRORS:
        return None


def is_slow(body: bytes) -> bool:
    """Return whether a look at the top level of ``body`` may take long for its length.

    It may have many keys there, or halves of surrogate pairs that have to be mended.
    """
    return body.count(b":") > MANY_COLONS or json_text.may_be_mended(body)


def invalid_json() -> Refused:
    """Return the answer to a body that is not one JSON object (translation.md 5.4)."""
    return Refused(
        "invalid_request", "the request body is not a valid JSON object", code="invalid_json"
    )


def _read(decoder: Any, body: bytes) -> Any:
    """Return what ``decoder`` makes of ``body``, or of what it is mended to. Raises JSON_ERRORS."""
    try:
        return decoder.decode(body)
    except JSON_ERRORS:
        other = mended(body)
        if other is None:
            raise
        return decoder.decode(other)


def nests_too_deeply() -> Refused:
    """Return the error for a JSON body that nests deeper than the interpreter can follow."""
    return Refused("invalid_request", "the request body nests too deeply", code="invalid_json")


def decode(body: bytes) -> dict[str, object]:
    """Return the whole body as a dict; U+FFFD stands for half a surrogate pair.

    Raises Refused when it is not one JSON object in UTF-8.
    """
    try:
        value = _read(_ANY, body)
    except JSON_ERRORS:
        raise invalid_json() from None
    if not isinstance(value, dict):
        raise invalid_json()
    return value


def value_exactly(raw: Any) -> Any:
    """Return the value of a JSON text with its numbers as they were written.

    Raises JSON_ERRORS.
    """
    return _EXACT.decode(raw)


def decode_exactly(body: bytes) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the whole body as a dict with its numbers as they were written.

    The second value has the paths of texts in which U+FFFD stands for half a surrogate pair. Raises
    Refused as ``decode``.
    """
    paths: tuple[str, ...] = ()
    try:
        value = _EXACT.decode(body)
    except JSON_ERRORS:
        other = mended(body)
        try:
            if other is None:
                raise
            value = _EXACT.decode(other)
        except JSON_ERRORS:
            raise invalid_json() from None
        try:
            paths = tuple(dict.fromkeys(_halves(json.loads(body))))
        except RecursionError:
            paths = ("messages",)
    if not isinstance(value, dict):
        raise invalid_json()
    return value, paths


def _halves(value: Any) -> Iterator[str]:
    """Return the paths of texts with half a surrogate pair in them; indices as ``[]``.

    For what lies deeper, the path ends early: the names in it are the client's own.
    """
    waiting = [("", value)]
    while waiting:
        path, held = waiting.pop()
        if isinstance(held, dict):
            deep = path.count(".") >= DEEPEST
            inside = [
                (path if deep else f"{path}.{key}" if path else key, each)
                for key, each in held.items()
            ]
            waiting += reversed(inside)
            if any(_is_broken(key) for key in held):
                yield path
        elif isinstance(held, list):
            waiting += [(f"{path}[]", each) for each in reversed(held)]
        elif isinstance(held, str) and _is_broken(held):
            yield path


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def read(body: bytes) -> Envelope:
    """Return the envelope of a client's body.

    Raises Refused: not a JSON object; ``model`` missing, not a string, empty, too long, with
    control or invisible characters, or present twice; ``stream`` not a boolean.
    """
    try:
        fields = _read(_TOP_LEVEL, body)
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
        # A long one is no name, whatever it holds; each character takes 12 bytes at most.
        model = _ANY.decode(raw) if len(memoryview(raw)) <= SHORT_VALUE else _TOO_LONG
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
    """Return whether a body may have this name as its model."""
    # Nothing that is unsafe is printable ASCII.
    plain = model.isascii() and model.isprintable()
    return 0 < len(model) <= MODEL_LENGTH and (plain or _UNSAFE.search(model) is None)


def with_model(body: bytes, model: str, fields: Mapping[str, Any] | None = None) -> bytes:
    """Return ``body`` with the value of its top-level ``model`` replaced by ``model``.

    ``body`` must have passed ``read``; ``fields`` are those of its envelope, where they are at
    hand. Raises Refused when the key stands there twice.
    """
    value = msgspec.json.encode(model)
    fields = _read(_TOP_LEVEL, body) if fields is None else fields
    place = _only_model(body, fields) or _place_in_mended(body, fields, "model")
    if place is None:
        raise _ambiguous()
    start, end = place
    rest = memoryview(body)[end:] if len(body) > SHORT else body[end:]
    return b"".join((body[:start], value, rest))


def repeats(body: bytes, fields: Mapping[str, Any], key: str) -> bool:
    """Return whether ``key`` stands at the top level of ``body`` more than once.

    Readers differ in which they take. ``fields`` are those of its envelope. Raises Refused for too
    many repeated keys.
    """
    if _places(body, fields.items(), key, plain=True) is not None:
        return False
    return sum(each.name == key for each in _all_keys(mended(body) or body, fields)) > 1


def _only_model(body: bytes, fields: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the span of the top-level model's value, found by a search instead of a walk.

    It serves short bodies in which one key alone can be the model: ``"model"`` stands there once,
    and none of its letters is written as an escape. None for any other body, which ``_place`` then
    walks.
    """
    at = body.find(_MODEL) if len(body) < SHORT else -1
    if at < 0 or body.rfind(_MODEL) != at or (b"\\" in body and b"\\u006" in body):
        return None
    value = fields["model"]
    # Between a key and its value is no quote.
    start = body.find(value, at + len(_MODEL))
    return start, start + len(memoryview(value))


def _place_in_mended(body: bytes, fields: Mapping[str, Any], key: str) -> tuple[int, int] | None:
    """Do what ``_place`` does, for a client's body whose keys may have to be mended first."""
    try:
        return _place(body, fields, key)
    except JSON_ERRORS:
        return _place(mended(body) or body, fields, key)


def text_of(body: bytes, fields: Mapping[str, Any], key: str) -> bytes:
    """Return the text of the value of ``key`` in ``body``, whose envelope has ``fields``.

    It is b"" where it does not stand there once, where any key repeats or has escapes, and where
    the envelope was read of a mended body.
    """
    places = _places(body, fields.items(), key, plain=True)
    return body[slice(*places[0])] if places and len(places) == 1 else b""


def place_of(body: bytes, key: str) -> tuple[int, int] | None:
    """Return the span of the value of ``key`` in ``body``, None where it does not stand there once.

    It serves objects inside a body, of which no envelope was read. Raises JSON_ERRORS.
    """
    try:
        return _place(body, _TOP_LEVEL.decode(body), key)
    except Refused:
        return None


def _place(body: bytes, fields: Mapping[str, Any], key: str) -> tuple[int, int] | None:
    """Return the span (start, end) of the value of the top-level ``key``, in bytes of ``body``.

    It is None where the key does not stand there once. ``fields`` are those of the envelope of
    ``body``. The other ways to a span end here: ``_only_model`` is a shortcut for short bodies,
    ``_place_in_mended`` takes bodies that have to be mended, ``place_of`` reads ``fields`` itself.
    """
    places = _places(body, fields.items(), key, plain=True)
    if places is None:
        every = _all_keys(body, fields)
        places = _places(body, [(k.name, raw) for k, raw in every.items()], key, plain=False)
    return places[0] if places is not None and len(places) == 1 else None


def _places(
    body: bytes, fields: Iterable[tuple[str, Any]], key: str, *, plain: bool
) -> list[tuple[int, int]] | None:
    """Return where the values of the top-level ``key`` stand.

    ``fields`` are all keys of ``body`` in their order, each with its value's text. The lengths of
    the values say where the next key is: none is looked into, so that nothing inside one is taken
    for a key.

    ``plain``: each key stands there once and without escapes, or None is returned. Each value must
    be the one that was read: with the length of another, the walk would come out inside one, where
    anything may look like a key.
    """
    places = []
    at = body.index(b"{") + 1
    for name, raw in fields:
        found = _KEY.match(body, at)
        if found is None or (plain and found[1] != name.encode()):
            return None
        start = found.end()
        if not body.startswith(raw, start):
            return None
        at = start + len(memoryview(raw))
        if name == key:
            places.append((start, at))
    return places if _END.match(body, at) else None


class _Key:
    """One of the keys of a body: equal to no other, so that a dict holds a repeated one twice."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def _all_keys(body: bytes, fields: Mapping[str, Any]) -> dict[_Key, msgspec.Raw]:
    """Return the top level of ``body``, repeated keys included.

    ``fields`` are those of its envelope.

    Raises Refused for more than REPEATED_KEYS repeated ones, which no honest body has.
    """
    room = len(fields) + REPEATED_KEYS

    def take(_: type, name: str) -> _Key:
        nonlocal room
        room -= 1
        if room < 0:
            raise Refused(
                "invalid_request",
                f"the request body repeats more than {REPEATED_KEYS} keys at its top level",
                code="invalid_json",
            )
        return _Key(name)

    return msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=take).decode(body)


def with_usage(body: bytes) -> bytes | None:
    """Return ``body`` with ``stream_options.include_usage`` spliced in.

    Every other byte stays where it was. None where the client asks for it already, or where it
    cannot be done.

    ``body`` must have passed ``read``.
    """
    fields = _read(_TOP_LEVEL, body)
    raw = fields.get("stream_options")
    if raw is None:
        close = body.rindex(b"}")
        return b"".join((body[:close], b',"stream_options":{"include_usage":true}', body[close:]))
    if len(memoryview(raw)) > SHORT_VALUE:
        return None
    try:
        options = _ANY.decode(raw)
    except JSON_ERRORS:
        return None
    if options is not None and not isinstance(options, dict):
        return None
    if options and options.get("include_usage"):
        return None
    value = msgspec.json.encode({**(options or {}), "include_usage": True})
    place = _place_in_mended(body, fields, "stream_options")
    if place is None:
        return None
    return b"".join((body[: place[0]], value, body[place[1] :]))


def _ambiguous() -> Refused:
    return Refused(
        "invalid_request",
        "the body names 'model' more than once",
        param="model",
        code="invalid_value",
    )
