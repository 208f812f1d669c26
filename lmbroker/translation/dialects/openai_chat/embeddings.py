"""Checks requests for embeddings in OpenAI's form, and the answers to them.

See translation.md 7.4. An answer that fits is left alone. Many backends know neither
``encoding_format`` nor ``dimensions``; OpenAI's Python SDK asks for base64 on its own and cannot
read it when it asked for floats. So an answer that does not fit is mended where nothing is guessed,
and refused where its vectors are not those that were asked for: a client that stores them would
find out much later.

base64 is of little-endian float32.
"""

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from typing import Any

from lmbroker.errors import Broken, ErrorInfo
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.base import AskedEmbeddings
from lmbroker.translation.refusals import error_kinds
from lmbroker.translation.shared.fields import Fields, bad_value, missing, wrong_type
from lmbroker.translation.unified.counting import tokens_of_bytes

INPUTS = 2048
"""The maximum of inputs of one request (OpenAI's own limit)."""

LARGEST = 1e9
"""The numbers of an embedding are far smaller. Some backends send base64 of other types, such as
int8: read as float32, its numbers are larger at once, and would be stored as a vector."""

_OPAQUE = frozenset({"bytes", "bytes_only"})
"""Encodings of vLLM that send the vectors as they lie in memory."""

_FLOAT = 4
"""Bytes of a float32."""


def check_request(body: JSON) -> AskedEmbeddings:
    """Return what ``body`` asks for. Raises Refused for what no backend could answer."""
    fields = Fields(body, "", "openai")
    encoding = fields.text("encoding_format")
    if encoding not in (None, "float", "base64", *_OPAQUE):
        raise bad_value("encoding_format", "it must be 'float', 'base64' or 'bytes'")
    dimensions = fields.integer("dimensions", least=1)
    count, tokens = _input(fields.any("input"))
    return AskedEmbeddings(
        count=count,
        base64=encoding == "base64",
        dimensions=dimensions,
        tokens=tokens,
        opaque=encoding in _OPAQUE,
    )


def mend_answer(answer: JSON, asked: AskedEmbeddings, *, matryoshka: bool = False) -> JSON | None:
    """Return ``answer`` in the form that was asked for, None where it has that already.

    ``matryoshka``: the model's vectors may be cut to a shorter length. Raises Broken for an answer
    that holds no embeddings, or others than those that were asked for.
    """
    data = answer.get("data")
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        if answer.get("error"):
            raise Broken(error_kinds.stream_error(answer), phase="reading")
        raise _broken("the backend's answer holds no embeddings")
    if len(data) != asked.count:
        raise _broken(f"the backend gave {len(data)} embeddings for {asked.count} inputs")
    mended = {
        **answer,
        "object": "list",
        "data": _ordered([_entry(entry, asked, matryoshka) for entry in data]),
        "usage": _usage(answer.get("usage"), asked),
    }
    return None if mended == answer else mended


def counted(answer: JSON) -> bool:
    """Return whether the answer says how many tokens the backend read."""
    usage = answer.get("usage")
    return isinstance(usage, dict) and (
        _is_count(usage.get("prompt_tokens")) or _is_count(usage.get("total_tokens"))
    )


def _input(value: Any) -> tuple[int, int]:
    """Return the number of inputs and the number of their tokens."""
    if value is None:
        raise missing("input")
    if isinstance(value, str):
        value = [value] if value else []
    if not isinstance(value, list):
        raise wrong_type("input", "a string or an array", value)
    if not value:
        raise bad_value("input", "it must not be empty")
    if _is_count(value[0]):
        return 1, _tokens(value, "input")
    if len(value) > INPUTS:
        raise bad_value("input", f"it may hold at most {INPUTS} inputs")
    if isinstance(value[0], list):
        return len(value), sum(_tokens(each, f"input[{place}]") for place, each in enumerate(value))
    size = 0
    for place, text in enumerate(value):
        if not isinstance(text, str):
            raise wrong_type(f"input[{place}]", "a string", text)
        if not text:
            raise bad_value(f"input[{place}]", "it must not be empty")
        size += len(text.encode("utf-8", "replace"))
    return len(value), tokens_of_bytes(size)


def _tokens(value: Any, path: str) -> int:
    """Return the number of tokens in an array of token ids."""
    if not isinstance(value, list):
        raise wrong_type(path, "an array of tokens", value)
    if not value:
        raise bad_value(path, "it must not be empty")
    for place, token in enumerate(value):
        if not _is_count(token):
            raise wrong_type(f"{path}[{place}]", "a token", token)
    return len(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _ordered(entries: list[JSON]) -> list[JSON]:
    """Return the entries in the order of their indices.

    Where these are not 0, 1, 2 ..., the order in which the entries came counts.
    """
    places = [entry.get("index") for entry in entries]
    if all(map(_is_count, places)) and set(places) == set(range(len(entries))):
        return sorted(entries, key=lambda entry: int(entry["index"]))
    return [{**entry, "index": place} for place, entry in enumerate(entries)]


def _entry(entry: JSON, asked: AskedEmbeddings, matryoshka: bool) -> JSON:
    """Return one vector, in the form and of the length that was asked for."""
    given = entry.get("embedding")
    vector = _vector(given)
    if asked.dimensions is not None and len(vector) != asked.dimensions:
        if len(vector) < asked.dimensions or not matryoshka:
            raise _broken(
                f"the backend's vectors have {len(vector)} dimensions, "
                f"{asked.dimensions} were asked for"
            )
        vector = given = _shortened(_believed(vector), asked.dimensions)
    if asked.base64 != isinstance(given, str):
        given = _packed(vector) if asked.base64 else list(_believed(vector))
    return {**entry, "object": "embedding", "embedding": given}


def _vector(given: Any) -> Sequence[float]:
    if isinstance(given, str):
        try:
            data = base64.b64decode(given, validate=True)
            vector: Sequence[float] = struct.unpack(f"<{len(data) // _FLOAT}f", data)
        except (binascii.Error, ValueError, struct.error):
            raise _broken("the backend's vectors are no base64 of float32") from None
    else:
        vector = given if isinstance(given, list) else ()
    if not vector or not isinstance(vector[0], int | float):
        raise _broken("the backend's answer holds an embedding that is no vector")
    return vector


def _shortened(vector: Sequence[float], size: int) -> list[float]:
    """Return the first ``size`` numbers, scaled to length one."""
    short = vector[:size]
    length = math.sqrt(math.fsum(number * number for number in short))
    return [number / length for number in short] if length else list(short)


def _packed(vector: Sequence[float]) -> str:
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError):
        raise _broken("the backend's vectors hold what is no float32") from None


def _believed(vector: Sequence[float]) -> Sequence[float]:
    """Return ``vector`` where its numbers can be those of an embedding. Raises Broken."""
    try:
        if all(abs(number) < LARGEST for number in vector):
            return vector
    except TypeError:
        pass
    raise _broken("the backend's vectors are none of float32")


def _usage(usage: Any, asked: AskedEmbeddings) -> JSON:
    """Return the usage object; embeddings have no output, so the total is the input."""
    counts: JSON = usage if isinstance(usage, dict) else {}
    prompt, total = counts.get("prompt_tokens"), counts.get("total_tokens")
    if not _is_count(prompt):
        prompt = total if _is_count(total) else asked.tokens
    if not _is_count(total):
        total = prompt
    return {**counts, "prompt_tokens": prompt, "total_tokens": total}


def _broken(message: str) -> Broken:
    return Broken(
        ErrorInfo(kind="bad_upstream", message=message, code="bad_upstream_response"),
        phase="reading",
    )
