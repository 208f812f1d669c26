"""Parts of another dialect -> content parts of OpenAI's dialects (translation.md 2.4, 2.8, 8.1).

All of these dialects decide alike what becomes of a part, but write content parts differently.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.content_parts import FILES
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
from lmbroker.translation.shared.media import is_pdf, is_text, text_of
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
    ToolResultPart,
    Url,
)
from lmbroker.translation.unified.request import Request, Tool

_SILENT = ("compaction", "fallback", "mcp_tool_use", "server_tool_use")
"""Blocks that write nothing in their place: a summary goes elsewhere, a result follows its call."""

_APPLIED = ("tool_addition", "tool_removal")
"""Blocks that change the set of tools."""

_TEXT = {"type", "text"}
"""Keys of a content part that is text without other fields."""

MAX_CACHE_MARKS = 4
"""The maximum of cache marks in one request (vendor documentation)."""

LONG_TTLS = ("1h", "12h")
"""Cache lifetimes that become the backend's longest one; all others become its default."""

PDF_NAME = "document.pdf"
"""The name for a file without one: OpenAI requires a name."""


Source = Base64 | Url | FileRef
"""Where a file or an image is."""


class Parts:
    """Encodes the parts of one request of another dialect as content parts.

    ``marked``: cache marks were written, and there may be too many of them. A dialect says how it
    writes a text, an image, a file and audio.
    """

    TEXT: ClassVar[str]
    """The type of a content part that is a text of the client."""
    MEDIA: ClassVar[Mapping[str, str]]
    """The types of content parts that are images and documents, and which of the two."""
    picture: Callable[[ImagePart, Source], JSON | None]
    """The content part of an image; None where the dialect has none for such a source."""
    paper: Callable[[DocumentPart, Source], JSON | None]
    """The content part of a file; None where the dialect has none for such a source."""
    sound: Callable[[AudioPart], JSON]
    """The content part of audio."""

    def __init__(self, request: Request, profile: Profile, losses: Losses) -> None:
        self.request = request
        self.profile = profile
        self.losses = losses
        self.marked = False

    def runs(self, tool: Tool) -> bool:
        """Return whether the backend itself runs ``tool``, a tool that a provider has to run."""
        return False

    def names_allowed(self) -> bool:
        """Return whether the tool choice can list the allowed tools.

        All tools are offered then.
        """
        return False

    def drop(self, field: str) -> None:
        """Report that ``field`` of the Unified Model does not reach the backend.

        Raises Refused in mode strict.
        """
        self.losses.drop(self.request.path(field))

    def change(self, field: str) -> None:
        """Report that the backend gets something else for ``field``.

        Raises Refused in mode strict.
        """
        self.losses.change(self.request.path(field))

    def left_out(
        self, field: str, what: str, reason: str, name: str | None = None, said: str = ""
    ) -> JSON:
        """Return the text that stands in for what the backend cannot take, and report that."""
        self.losses.drop(
            self.request.path(field), reason, said=said or (what if field == "part" else field)
        )
        return self.text(left_out(what, reason, name))

    def text(self, words: str) -> JSON:
        """Return the content part of the text ``words``."""
        return {"type": self.TEXT, "text": words}

    def refuse(self, field: str, reason: str) -> None:
        """Refuse the request for ``field``, whatever the mode. Raises Refused."""
        self.losses.refuse(self.request.path(field), reason)

    def lost(self, extras: Iterable[Extra]) -> None:
        """Report ``extras``, which have a meaning in the client's dialect only, as losses."""
        self.losses.extras(extras)

    def content(self, parts: Iterable[Part]) -> list[JSON]:
        """Return the content parts of ``parts``, in their order."""
        return [written for part in parts for written in self.part(part)]

    def part(self, part: Part) -> list[JSON]:
        """Return the content parts for ``part``: none for an empty one, maybe several.

        A document with images becomes several. Calls, results and reasoning have fields or items of
        their own and are not written here.
        """
        extras, cache = getattr(part, "extras", ()), getattr(part, "cache", None)
        if extras:
            self.lost(extras)
        written = self._written(part)
        if written and cache is not None:
            self.mark(written[-1], cache)
        return written

    def mark(self, written: JSON, cache: Cache) -> None:
        """Put a cache mark on a content part.

        ``limit_marks`` later removes those beyond the limit.
        """
        if not self.profile.cache_breakpoints:
            return
        long = cache.ttl in LONG_TTLS
        if self.profile.cache_marks == "cache_control":
            mark = {"type": "ephemeral", "ttl": "1h"} if long else {"type": "ephemeral"}
        else:
            mark = {"mode": "explicit", "ttl": "12h"} if long else {"mode": "explicit"}
        written[self.profile.cache_marks] = mark
        self.marked = True

    def result(self, part: ToolResultPart, id: str, shown: list[JSON]) -> list[JSON]:
        """Return the content parts of the result of the call ``id``.

        What a result cannot hold at this backend is added to ``shown``, for the user's message
        after it.
        """
        self.lost(part.extras)
        content: list[JSON] = []
        counts: dict[str, int] = {}
        for written in self.content(part.parts or ()):
            kind = self.MEDIA.get(written["type"])
            if kind is None or self.profile.tool_result_images:
                content.append(written)
                continue
            self.change("tool_result")
            counts[kind] = number = counts.get(kind, 0) + 1
            follows = f"[{kind} {number} of this tool result follows in the next user message]"
            content.append(self.text(follows))
            shown += [self.text(f"[{kind} {number} of tool result {id}]"), written]
        if part.is_error:
            self.change("is_error")
            content = self._as_error(content)
        if content and part.cache is not None:
            self.mark(content[-1], part.cache)
        return content

    def _as_error(self, content: list[JSON]) -> list[JSON]:
        first = content[0] if content and content[0]["type"] == self.TEXT else None
        if first is None:
            return [self.text("ERROR:"), *content]
        if first["text"].lower().startswith("error"):
            return content
        return [{**first, "text": f"ERROR: {first['text']}"}, *content[1:]]

    def limit_marks(self, contents: Iterable[str | list[JSON] | None]) -> None:
        """Remove all cache marks from ``contents`` but the last four."""
        mark = self.profile.cache_marks
        marked = [
            part
            for content in contents
            if isinstance(content, list)
            for part in content
            if mark in part
        ]
        for part in marked[: max(0, len(marked) - MAX_CACHE_MARKS)]:
            del part[mark]

    def _written(self, part: Part) -> list[JSON]:
        if isinstance(part, TextPart):
            if part.citations:
                self.drop("citations")
            return [self.text(part.text)] if part.text else []
        if isinstance(part, ImagePart):
            return [self._image(part)]
        if isinstance(part, DocumentPart):
            return self._document(part)
        if isinstance(part, AudioPart):
            return [self.sound(part)]
        return self._opaque(part) if isinstance(part, OpaquePart) else []

    def _image(self, part: ImagePart) -> JSON:
        source = part.source
        if not self.profile.vision:
            return self.left_out("image", "image", NO_IMAGES)
        if isinstance(source, Url) and not source.url:
            return self.left_out("image", "image", UNKNOWN_SOURCE)
        known = not isinstance(source, FileRef) or source.origin == FILES
        written = self.picture(part, source) if known else None
        return self.left_out("image", "image", ELSEWHERE) if written is None else written

    def _document(self, part: DocumentPart) -> list[JSON]:
        if part.citations_on:
            self.drop("citations")
        source = part.source
        if isinstance(source, Url):
            written = self.paper(part, source) if source.url else None
            reason = BY_ADDRESS if source.url else UNKNOWN_SOURCE
            return [self._without(part, "document", reason) if written is None else written]
        if isinstance(source, FileRef):
            written = self.paper(part, source) if source.origin == FILES else None
            return [self._without(part, "document", ELSEWHERE) if written is None else written]
        if isinstance(source, Base64):
            return self._file(part, source)
        if isinstance(source, PlainText):
            return self._document_text(part, (TextPart(text=source.text),))
        return self._document_text(part, source)

    def _without(self, part: DocumentPart, what: str, reason: str) -> JSON:
        return self.left_out("document", what, reason, part.title or part.filename)

    def _file(self, part: DocumentPart, source: Base64) -> list[JSON]:
        if is_pdf(source.data, source.media_type, part.filename):
            if not self.profile.pdf:
                return [self._without(part, "PDF", NO_PDF)]
            source = Base64(media_type="application/pdf", data=source.data)
        elif is_text(source.media_type, part.filename):
            content = text_of(source.data)
            if content is not None:
                return self._document_text(part, (TextPart(text=content),))
        written = self.paper(part, source)
        if written is None:
            return [self._without(part, "document", NO_FORMAT)]
        if part.context is not None:
            self.drop("document")
        return [written]

    def _document_text(
        self, part: DocumentPart, pieces: Iterable[TextPart | ImagePart]
    ) -> list[JSON]:
        """Return the content parts of a document as text between tags, with its images."""
        self.change("document")
        title = part.title or part.filename
        named = "" if title is None else f' title="{title.replace(chr(34), "&quot;")}"'
        lines = [f"<document{named}>"]
        if part.context is not None:
            lines.append(part.context)
        out: list[JSON] = []
        for piece in pieces:
            for written in self.part(piece):
                if written["type"] == self.TEXT:
                    lines.append(written["text"])
                    continue
                if lines:
                    out.append(self.text("\n".join(lines)))
                out.append(written)
                lines = []
        return [*out, self.text("\n".join([*lines, "</document>"]))]

    def _opaque(self, part: OpaquePart) -> list[JSON]:
        """Return the text that stands in for a block that only its own vendor understands.

        Where nothing of the block is readable, the text says that it was left out. The summary of a
        conversation is not written here.
        """
        if part.type == "container_upload":
            return [self.left_out("part", "file", NO_CONTAINER, said=part.type)]
        if part.text == "":
            self.drop("part")
            return []
        said = part.text or readable(part)
        if said:
            self.change("part")
            return [self.text(said)]
        if part.type in _APPLIED:
            return []
        if part.type in _SILENT:
            self.change("part")
            return []
        return [self.left_out("part", part.type, UNKNOWN_PART)]


def joined(content: list[JSON], separator: str) -> str | list[JSON]:
    """Return ``content`` as one string where all of it is plain text, else ``content`` itself."""
    for part in content:
        if part.keys() != _TEXT:
            return content
    return separator.join([part["text"] for part in content])
