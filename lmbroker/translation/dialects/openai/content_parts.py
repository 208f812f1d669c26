"""Content parts of OpenAI's two formats for conversations, read by both dialects.

Chat Completions has ``text``, ``image_url``, ``file`` and ``input_audio``; Responses has
``input_text``, ``output_text``, ``input_image`` and ``input_file``. Some clients send one format's
parts on the other's path, so each dialect reads both.
"""

from collections.abc import Callable
from typing import Any

from lmbroker.translation.shared.fields import Fields, missing
from lmbroker.translation.shared.media import data_url, is_pdf, is_text, parse_data_url
from lmbroker.translation.unified.parts import (
    AudioPart,
    Base64,
    Cache,
    DocumentPart,
    Extra,
    FileRef,
    ImagePart,
    Part,
    TextPart,
    Url,
)

FILES = "openai"
"""``FileRef.origin`` of files that are stored at the vendor, whichever format names them."""

_TTLS = ("5m", "30m", "1h", "12h")
_CACHE_MARKS = ("prompt_cache_breakpoint", "cache_control")


def read_part(part: Fields, kind: str, role: str) -> Part | None:
    """Return the part of type ``kind`` in a message of ``role`` (``tool``: in a result).

    It is None for a type of another vendor, and where the type is not allowed in such a message.
    The keys are taken out of ``part``. Raises Refused.
    """
    roles, reader = _READERS.get(kind, _NONE)
    return reader(part) if role in roles else None


def cache_mark(held: Fields) -> Cache | None:
    """Take the cache mark of a part, in either spelling, and return it.

    ``raw`` is what to write back. Raises Refused.
    """
    raw: dict[str, Any] = {}
    ttl = None
    for name in _CACHE_MARKS:
        mark = held.mapping(name) if name in held.left else None
        if mark is not None:
            raw[name] = mark
            ttl = mark.get("ttl") if ttl is None else ttl
    if not raw:
        return None
    return Cache(ttl=ttl if ttl in _TTLS else None, raw=raw)


def without_place(held: Fields, cache: Cache | None) -> list[Extra]:
    """Return the extras for a cache mark on something that cannot carry one."""
    raw = cache.raw if cache is not None else {}
    return [held.extra(name, value, "none") for name, value in raw.items()]


def _text(part: Fields) -> TextPart:
    text = part.need_text("text")
    return TextPart(text=text, cache=cache_mark(part), extras=part.rest())


def _output_text(part: Fields) -> TextPart:
    """Return a text of an answer without its sources and log probabilities.

    No model reads those.
    """
    text, cache = part.need_text("text"), cache_mark(part)
    reported = [
        part.extra(name, part.any(name), "none")
        for name in ("annotations", "logprobs")
        if name in part.left
    ]
    return TextPart(text=text, cache=cache, extras=(*reported, *part.rest()))


def _image_url(part: Fields) -> ImagePart:
    extras = []
    bare = part.left.get("image_url")
    if isinstance(bare, str):
        part.left["image_url"] = {"url": bare}
        extras.append(part.extra("image_url", bare, "none"))
    image = part.need_inside("image_url")
    url, detail = image.need_text("url"), image.text("detail")
    source, cache = parse_data_url(url), cache_mark(part)
    if bare != url and source is not None and data_url(source) != url:
        extras.append(image.extra("url", url, "none", "image_url."))
    return ImagePart(
        source=source or Url(url=url),
        detail=detail,
        cache=cache,
        extras=(*extras, *part.rest(), *image.rest("image_url.")),
    )


def _input_image(part: Fields) -> ImagePart:
    if isinstance(part.left.get("image_url"), dict):
        return _image_url(part)
    url, id, detail = part.text("image_url"), part.text("file_id"), part.text("detail")
    cache, extras = cache_mark(part), list[Extra]()
    source: Base64 | Url | FileRef
    if url is None and id is None:
        raise missing(part.at("image_url"))
    if url is None:
        source = FileRef(id=id or "", origin=FILES)
    else:
        found = parse_data_url(url)
        source = found or Url(url=url)
        if found is not None and data_url(found) != url:
            extras.append(part.extra("image_url", url, "none"))
        if id is not None:
            extras.append(part.extra("file_id", id, "drop"))
    return ImagePart(source=source, detail=detail, cache=cache, extras=(*extras, *part.rest()))


def _file(part: Fields) -> DocumentPart:
    return _document(part.need_inside("file"), "file.", part)


def _input_file(part: Fields) -> DocumentPart:
    return _document(part, "", None)


def _document(file: Fields, prefix: str, part: Fields | None) -> DocumentPart:
    """Return the document in ``file``, which stands inside ``part`` where that is given."""
    id, data, url = file.text("file_id"), file.text("file_data"), file.text("file_url")
    name, extras = file.text("filename"), list[Extra]()
    cache = cache_mark(file if part is None else part)
    source: FileRef | Base64 | Url
    if id is not None:
        source = FileRef(id=id, origin=FILES)
        if data is not None:
            extras.append(file.extra("file_data", data, "drop", prefix))
    elif data is not None:
        source = parse_data_url(data) or _unlabelled(data, name)
        if data_url(source) != data:
            extras.append(file.extra("file_data", data, "none", prefix))
    elif url is not None:
        source = Url(url=url)
    else:
        raise missing(file.at("file_data"))
    if url is not None and not isinstance(source, Url):
        extras.append(file.extra("file_url", url, "drop", prefix))
    detail = file.any("detail")
    if detail is not None:
        extras.append(file.extra("detail", detail, "none", prefix))
    around = () if part is None else part.rest()
    return DocumentPart(
        source=source, filename=name, cache=cache, extras=(*extras, *around, *file.rest(prefix))
    )


def _unlabelled(data: str, name: str | None) -> Base64:
    """Return base64 data without a label as a PDF, as a text, or as data of an unknown type."""
    if is_pdf(data, filename=name):
        return Base64(media_type="application/pdf", data=data)
    known = "text/plain" if is_text("", name) else "application/octet-stream"
    return Base64(media_type=known, data=data)


def _input_audio(part: Fields) -> AudioPart:
    audio = part.need_inside("input_audio")
    return AudioPart(
        format=audio.need_text("format"),
        data=audio.need_text("data"),
        extras=(
            *without_place(part, cache_mark(part)),
            *part.rest(),
            *audio.rest("input_audio."),
        ),
    )


_ALL = ("user", "tool", "assistant")
_GIVEN = ("user", "tool")
_NONE: tuple[tuple[str, ...], Callable[[Fields], Part]] = ((), _text)
_READERS: dict[str, tuple[tuple[str, ...], Callable[[Fields], Part]]] = {
    "text": (_ALL, _text),
    "image_url": (_GIVEN, _image_url),
    "file": (_GIVEN, _file),
    "input_audio": (("user",), _input_audio),
    "input_text": (_ALL, _text),
    "output_text": (_ALL, _output_text),
    "input_image": (_GIVEN, _input_image),
    "input_file": (_GIVEN, _input_file),
}
"""Type of a part -> the roles of the messages in which it is allowed, and its reader."""
