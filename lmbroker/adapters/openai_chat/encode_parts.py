"""Parts of another dialect -> content parts of a message (translation.md 2.4, 2.8)."""

from collections.abc import Iterable, Sequence

from lmbroker.adapters.base import JSON
from lmbroker.adapters.media import data_url, is_pdf, is_text, text_of
from lmbroker.adapters.readable import readable
from lmbroker.losses import Losses
from lmbroker.profiles import Profile
from lmbroker.unified.parts import (
    AudioPart,
    Base64,
    Cache,
    DocumentPart,
    Extra,
    FileRef,
    ImagePart,
    OpaquePart,
    Part,
    PlainText,
    TextPart,
    Url,
)
from lmbroker.unified.request import Request

ORIGIN = "openai"

MARK = "prompt_cache_breakpoint"

_TEXT = {"type", "text"}
"""Keys of a content part that is text and nothing more."""

LONG_TTLS = ("1h", "12h")
"""Cache lifetimes that become twelve hours; all others are the backend's default."""

PDF_NAME = "document.pdf"
"""Name of a file that has none: OpenAI wants one."""


class Parts:
    """Writes the parts of one request that came in another dialect. ``marked``: there are cache
    marks that may be too many."""

    def __init__(self, request: Request, profile: Profile, losses: Losses) -> None:
        self.request = request
        self.profile = profile
        self.losses = losses
        self.marked = False

    def drop(self, field: str) -> None:
        self.losses.drop(self.request.path(field))

    def change(self, field: str) -> None:
        self.losses.change(self.request.path(field))

    def refuse(self, field: str, reason: str) -> None:
        self.losses.refuse(self.request.path(field), reason)

    def lost(self, extras: Iterable[Extra]) -> None:
        """What only the client's dialect understands."""
        self.losses.extras(extras)

    def content(self, parts: Iterable[Part]) -> list[JSON]:
        return [written for part in parts for written in self.part(part)]

    def part(self, part: Part) -> list[JSON]:
        """The content parts that say what ``part`` says: none where there is nothing to say,
        several for a document with images. Calls, results and reasoning have their own places
        in a message and are not written here."""
        extras, cache = getattr(part, "extras", ()), getattr(part, "cache", None)
        if extras:
            self.lost(extras)
        written = self._written(part)
        if written and cache is not None:
            self.mark(written[-1], cache)
        return written

    def mark(self, written: JSON, cache: Cache) -> None:
        """A cache mark after a content part; how many there may be is seen to at the end."""
        if self.profile.cache_breakpoints:
            lifetime = {"ttl": "12h"} if cache.ttl in LONG_TTLS else {}
            written[MARK] = {"mode": "explicit", **lifetime}
            self.marked = True

    def _written(self, part: Part) -> list[JSON]:
        if isinstance(part, TextPart):
            if part.citations:
                self.drop("citations")
            return [text(part.text)] if part.text else []
        if isinstance(part, ImagePart):
            return [self._image(part)]
        if isinstance(part, DocumentPart):
            return self._document(part)
        if isinstance(part, AudioPart):
            held = {"data": part.data, "format": part.format}
            return [{"type": "input_audio", "input_audio": held}]
        return self._opaque(part) if isinstance(part, OpaquePart) else []

    def _image(self, part: ImagePart) -> JSON:
        if not self.profile.vision:
            self.refuse("image", "the model does not accept images")
        source, url = part.source, ""
        if isinstance(source, FileRef):
            self.refuse("image", "the file lies with another vendor")
        elif isinstance(source, Url):
            url = source.url
        else:
            url = data_url(source)
        image: JSON = {"url": url}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}

    def _document(self, part: DocumentPart) -> list[JSON]:
        if part.citations_on:
            self.drop("citations")
        source = part.source
        if isinstance(source, Url):
            self.refuse("document", "documents can only be sent by their content")
        elif isinstance(source, FileRef):
            if source.origin != ORIGIN:
                self.refuse("document", "the file lies with another vendor")
            return [{"type": "file", "file": {"file_id": source.id}}]
        elif isinstance(source, Base64):
            return self._file(part, source)
        elif isinstance(source, PlainText):
            return self._told(part, (TextPart(text=source.text),))
        else:
            return self._told(part, source)
        return []

    def _file(self, part: DocumentPart, source: Base64) -> list[JSON]:
        if is_pdf(source.data, source.media_type, part.filename):
            if not self.profile.pdf:
                self.refuse("document", "the model does not accept PDF files")
            if part.context is not None:
                self.drop("document")
            held = Base64(media_type="application/pdf", data=source.data)
            name = part.filename or part.title or PDF_NAME
            return [{"type": "file", "file": {"filename": name, "file_data": data_url(held)}}]
        content = text_of(source.data) if is_text(source.media_type, part.filename) else None
        if content is None:
            self.refuse("document", "files must be PDF or text")
        return self._told(part, (TextPart(text=content or ""),))

    def _told(self, part: DocumentPart, pieces: Iterable[TextPart | ImagePart]) -> list[JSON]:
        """A document as text between tags, its images in place."""
        self.drop("document")
        title = part.title or part.filename
        named = "" if title is None else f' title="{title.replace(chr(34), "&quot;")}"'
        lines = [f"<document{named}>"]
        if part.context is not None:
            lines.append(part.context)
        out: list[JSON] = []
        for piece in pieces:
            for written in self.part(piece):
                if written["type"] == "text":
                    lines.append(written["text"])
                    continue
                if lines:
                    out.append(text("\n".join(lines)))
                out.append(written)
                lines = []
        return [*out, text("\n".join([*lines, "</document>"]))]

    def _opaque(self, part: OpaquePart) -> list[JSON]:
        if part.type == "container_upload":
            self.refuse("part", "there is no container that could hold the file")
        self.drop("part")
        said = readable(part)
        return [text(said)] if said else []


def plain(parts: Sequence[Part]) -> str | None:
    """The words of what is one text and nothing besides, None for all else."""
    if len(parts) != 1:
        return None
    part = parts[0]
    if type(part) is not TextPart or part.citations or part.refusal or part.extras or part.cache:
        return None
    return part.text


def text(words: str) -> JSON:
    return {"type": "text", "text": words}


def joined(content: list[JSON], separator: str) -> str | list[JSON]:
    """Texts as one string; the content parts themselves where one of them is more than text."""
    for part in content:
        if part.keys() != _TEXT:
            return content
    return separator.join([part["text"] for part in content])
