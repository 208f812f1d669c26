"""Parts of another dialect -> content parts of a message (translation.md 2.4, 2.8)."""

from collections.abc import Iterable, Sequence

from lmbroker.json_text import JSON
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.left_out import (
    BY_ADDRESS,
    ELSEWHERE,
    NO_CONTAINER,
    NO_FORMAT,
    NO_IMAGES,
    NO_PDF,
    UNKNOWN_PART,
    UNKNOWN_SOURCE,
    left_out,
)
from lmbroker.translation.shared.media import data_url, is_pdf, is_text, text_of
from lmbroker.translation.shared.readable import readable
from lmbroker.translation.unified.parts import (
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
from lmbroker.translation.unified.request import Request

ORIGIN = "openai"

_SILENT = ("compaction", "fallback", "mcp_tool_use", "server_tool_use")
"""Blocks that say nothing where they stand: a summary goes elsewhere, a result follows its call."""

_APPLIED = ("tool_addition", "tool_removal")
"""Blocks that change which tools there are, as they then are."""

_TEXT = {"type", "text"}
"""Keys of a content part that is text and nothing more."""

LONG_TTLS = ("1h", "12h")
"""Cache lifetimes that become the longest that the backend has; all others are its default."""

PDF_NAME = "document.pdf"
"""Name of a file that has none: OpenAI wants one."""


class Parts:
    """Encodes the parts of one request of another dialect as content parts.

    ``marked``: cache marks were written, and there may be too many of them.
    """

    def __init__(self, request: Request, profile: Profile, losses: Losses) -> None:
        self.request = request
        self.profile = profile
        self.losses = losses
        self.marked = False

    def drop(self, field: str) -> None:
        """Report that ``field`` of the Unified Model does not reach the backend.

        Raises Refused in mode strict.
        """
        self.losses.drop(self.request.path(field))

    def change(self, field: str) -> None:
        """Report that the backend gets something else for ``field``. Raises Refused in mode
        strict."""
        self.losses.change(self.request.path(field))

    def left_out(
        self, field: str, what: str, reason: str, name: str | None = None, said: str = ""
    ) -> JSON:
        """The text that stands for something that the backend cannot take, which is reported."""
        self.losses.drop(
            self.request.path(field), reason, said=said or (what if field == "part" else field)
        )
        return text(left_out(what, reason, name))

    def refuse(self, field: str, reason: str) -> None:
        """Refuse the request for ``field``, whatever the mode. Raises Refused."""
        self.losses.refuse(self.request.path(field), reason)

    def lost(self, extras: Iterable[Extra]) -> None:
        """Report ``extras``, which only the client's dialect understands, as losses."""
        self.losses.extras(extras)

    def content(self, parts: Iterable[Part]) -> list[JSON]:
        """The content parts of ``parts``, in their order."""
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
        if not self.profile.cache_breakpoints:
            return
        long = cache.ttl in LONG_TTLS
        if self.profile.cache_marks == "cache_control":
            mark = {"type": "ephemeral", "ttl": "1h"} if long else {"type": "ephemeral"}
        else:
            mark = {"mode": "explicit", "ttl": "12h"} if long else {"mode": "explicit"}
        written[self.profile.cache_marks] = mark
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
        source = part.source
        if not self.profile.vision:
            return self.left_out("image", "image", NO_IMAGES)
        if isinstance(source, FileRef):
            return self.left_out("image", "image", ELSEWHERE)
        if isinstance(source, Url) and not source.url:
            return self.left_out("image", "image", UNKNOWN_SOURCE)
        image: JSON = {"url": source.url if isinstance(source, Url) else data_url(source)}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}

    def _document(self, part: DocumentPart) -> list[JSON]:
        if part.citations_on:
            self.drop("citations")
        source = part.source
        if isinstance(source, Url):
            reason = BY_ADDRESS if source.url else UNKNOWN_SOURCE
            return [self._without(part, "document", reason)]
        if isinstance(source, FileRef):
            if source.origin != ORIGIN:
                return [self._without(part, "document", ELSEWHERE)]
            return [{"type": "file", "file": {"file_id": source.id}}]
        if isinstance(source, Base64):
            return self._file(part, source)
        if isinstance(source, PlainText):
            return self._told(part, (TextPart(text=source.text),))
        return self._told(part, source)

    def _without(self, part: DocumentPart, what: str, reason: str) -> JSON:
        return self.left_out("document", what, reason, part.title or part.filename)

    def _file(self, part: DocumentPart, source: Base64) -> list[JSON]:
        if is_pdf(source.data, source.media_type, part.filename):
            if not self.profile.pdf:
                return [self._without(part, "PDF", NO_PDF)]
            if part.context is not None:
                self.drop("document")
            held = Base64(media_type="application/pdf", data=source.data)
            name = part.filename or part.title or PDF_NAME
            return [{"type": "file", "file": {"filename": name, "file_data": data_url(held)}}]
        content = text_of(source.data) if is_text(source.media_type, part.filename) else None
        if content is None:
            return [self._without(part, "document", NO_FORMAT)]
        return self._told(part, (TextPart(text=content),))

    def _told(self, part: DocumentPart, pieces: Iterable[TextPart | ImagePart]) -> list[JSON]:
        """The content parts of a document that is sent as text between tags, with its images in
        their places."""
        self.change("document")
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
        """The text of a block that only its own vendor understands.

        Where nothing of it can be read, a text says that it was left out. The summary of a
        conversation is not written here.
        """
        if part.type == "container_upload":
            return [self.left_out("part", "file", NO_CONTAINER, said=part.type)]
        said = readable(part)
        if said:
            self.change("part")
            return [text(said)]
        if part.type in _APPLIED:
            return []
        if part.type in _SILENT:
            self.change("part")
            return []
        return [self.left_out("part", part.type, UNKNOWN_PART)]


def plain(parts: Sequence[Part]) -> str | None:
    """The text of ``parts`` where they are one text and nothing else, None otherwise."""
    if len(parts) != 1:
        return None
    part = parts[0]
    if type(part) is not TextPart or part.citations or part.refusal or part.extras or part.cache:
        return None
    return part.text


def text(words: str) -> JSON:
    """The content part of a text."""
    return {"type": "text", "text": words}


def joined(content: list[JSON], separator: str) -> str | list[JSON]:
    """``content`` as one string where all of it is plain text, else ``content`` itself."""
    for part in content:
        if part.keys() != _TEXT:
            return content
    return separator.join([part["text"] for part in content])
