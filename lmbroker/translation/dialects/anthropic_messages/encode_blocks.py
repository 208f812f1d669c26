"""Parts -> content blocks (translation.md 2.3, 2.8, 4.6)."""

from collections.abc import Iterable, Sequence
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.left_out import (
    ELSEWHERE,
    NO_AUDIO,
    NO_FORMAT,
    NO_IMAGES,
    NO_PDF,
    UNKNOWN_PART,
    UNKNOWN_SOURCE,
    left_out,
)
from lmbroker.translation.shared.media import IMAGE_TYPES, image_type, is_pdf, is_text, text_of
from lmbroker.translation.shared.names import wire_id, wire_name
from lmbroker.translation.shared.reasoning_places import in_place
from lmbroker.translation.shared.signature import PREFIX
from lmbroker.translation.unified.parts import (
    AudioPart,
    Base64,
    Cache,
    DocumentPart,
    Extra,
    FileRef,
    ImagePart,
    Part,
    PlainText,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Url,
)
from lmbroker.translation.unified.request import Request

ORIGIN = "anthropic"

LONG_TTLS = ("1h", "12h")
"""Cache lifetimes that become an hour; all others are the default, five minutes."""


class Blocks:
    """Encodes the parts of one request as content blocks.

    ``native``: the request came in this dialect; its parts go back as they came, whatever the
    model can do. ``marked``: there are cache marks that may be too many.
    """

    def __init__(self, request: Request, profile: Profile, losses: Losses) -> None:
        self.request = request
        self.profile = profile
        self.losses = losses
        self.native = request.dialect == ORIGIN
        self.marked = False

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

    def left_out(self, field: str, what: str, reason: str, name: str | None = None) -> JSON:
        """Return the text block that stands in for what the model cannot take, and report that."""
        said = what if field == "part" else field
        self.losses.drop(self.request.path(field), reason, said=said)
        return {"type": "text", "text": left_out(what, reason, name)}

    def refuse(self, field: str, reason: str) -> None:
        """Refuse the request for ``field``, whatever the mode. Raises Refused."""
        self.losses.refuse(self.request.path(field), reason)

    def turn(self, parts: Sequence[Part]) -> list[JSON]:
        """Return the blocks of one turn, without parts that this dialect would refuse as empty."""
        return list(filter(None, map(self.part, in_place(parts))))

    def part(self, part: Part) -> JSON | None:
        """Return the block of ``part``, None for a part that this dialect would refuse as empty."""
        block: JSON | None
        if isinstance(part, TextPart):
            block = self.text(part)
        elif isinstance(part, ToolCallPart):
            block = self._call(part)
        elif isinstance(part, ToolResultPart):
            block = self._result(part)
        elif isinstance(part, ReasoningPart):
            block = self._reasoning(part)
        elif isinstance(part, ImagePart):
            block = self._image(part)
        elif isinstance(part, DocumentPart):
            block = self._document(part)
        elif isinstance(part, AudioPart):
            block = self.left_out("audio", "audio", NO_AUDIO)
        elif part.origin == ORIGIN:
            return part.raw
        elif part.text is not None:
            block = self._stand_in(part.text)
        else:
            block = self.left_out("part", part.type, UNKNOWN_PART)
        if block is not None:
            cache = getattr(part, "cache", None)
            if cache is not None:
                self.mark(block, cache)
            extras = getattr(part, "extras", ())
            if extras:
                self.extras(block, extras)
        return block

    def _stand_in(self, words: str) -> JSON | None:
        """Return the text block that stands in for a foreign part, None where there is no text."""
        if not words:
            self.drop("part")
            return None
        self.change("part")
        return {"type": "text", "text": words}

    def text(self, part: TextPart) -> JSON | None:
        """Return the text block of ``part``, None for blank text from another dialect."""
        if part.refusal and not self.native:
            self.change("refusal")
        if not part.text.strip() and not self.native:
            self.extras({}, part.extras)
            return None
        block: JSON = {"type": "text", "text": part.text}
        if part.citations:
            cited = [each.raw for each in part.citations if each.origin == ORIGIN]
            if cited:
                block["citations"] = cited
            else:
                self.drop("citations")
        return block

    def _call(self, part: ToolCallPart) -> JSON:
        arguments: Any = part.args
        if part.kind == "custom" and arguments is None:
            arguments = {"input": part.raw_args or ""}
        elif arguments is None:
            arguments = {"INVALID_JSON": part.raw_args or ""}
        if self.native:
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
        return {
            "type": "tool_use",
            "id": wire_id(part.id, self.profile.tool_id),
            "name": wire_name(part.name),
            "input": arguments,
        }

    def _result(self, part: ToolResultPart) -> JSON:
        id = part.call_id if self.native else wire_id(part.call_id, self.profile.tool_id)
        block: JSON = {"type": "tool_result", "tool_use_id": id}
        content = self._result_content(part)
        if content is not None:
            block["content"] = content
        if part.is_error is not None:
            block["is_error"] = part.is_error
        return block

    def _result_content(self, part: ToolResultPart) -> str | list[JSON] | None:
        if part.parts is None:
            return None
        if part.as_text and (self.native or all(_is_only_text(each) for each in part.parts)):
            whole = "".join(each.text for each in part.parts if isinstance(each, TextPart))
            return whole if whole.strip() or self.native else None
        return self.turn(part.parts) or ([] if self.native else None)

    def _reasoning(self, part: ReasoningPart) -> JSON | None:
        """Return the thinking block of ``part``, None where it is not sent back.

        Anthropic takes what it signed itself and answers 400 to any other reasoning, which goes to
        other servers of the dialect only.
        """
        signature = part.signature
        if not (self.profile.replay_signed or self.native):
            pass
        elif part.redacted is not None:
            if not part.redacted.startswith(PREFIX):
                return {"type": "redacted_thinking", "data": part.redacted}
        elif signature is not None and signature.origin == "signable" and signature.value:
            return {"type": "thinking", "thinking": part.text, "signature": signature.value}
        elif part.text and self._replays_unsigned(signature):
            return {"type": "thinking", "thinking": part.text}
        self.drop("reasoning_part")
        return None

    def _replays_unsigned(self, signature: Signature | None) -> bool:
        """Return whether reasoning without a signature is sent back.

        Servers that speak the dialect and sign nothing take it, and some require it.
        """
        way = self.profile.reasoning_replay
        if signature is None or signature.origin == "signable":
            return way in ("origin", "thinking")
        return way == "thinking" and signature.origin == "text"

    def _image(self, part: ImagePart) -> JSON:
        source = part.source
        if self.native:
            return {"type": "image", "source": _native_source(source)}
        if not self.profile.vision:
            return self.left_out("image", "image", NO_IMAGES)
        if isinstance(source, FileRef):
            if source.origin != ORIGIN:
                return self.left_out("image", "image", ELSEWHERE)
            return {"type": "image", "source": _native_source(source)}
        if isinstance(source, Url):
            if not source.url.startswith(("https://", "http://")):
                return self.left_out("image", "image", UNKNOWN_SOURCE)
            return {"type": "image", "source": _native_source(source)}
        kind = image_type(source.data) or source.media_type
        if kind not in IMAGE_TYPES:
            return self.left_out("image", "image", NO_FORMAT)
        data = {"type": "base64", "media_type": kind, "data": source.data}
        return {"type": "image", "source": data}

    def _document(self, part: DocumentPart) -> JSON:
        source = self._document_source(part)
        if isinstance(source, str):
            what = "PDF" if source == NO_PDF else "document"
            return self.left_out("document", what, source, part.title or part.filename)
        block: JSON = {"type": "document", "source": source}
        title = part.title
        if title is None and not self.native:
            title = part.filename
        if title is not None:
            block["title"] = title
        if part.context is not None:
            block["context"] = part.context
        if part.citations_on:
            block["citations"] = {"enabled": True}
        return block

    def _document_source(self, part: DocumentPart) -> JSON | str:
        """Return the source of a document, or the reason why the document is left out."""
        source = part.source
        if isinstance(source, tuple):
            return {"type": "content", "content": self.turn(source)}
        if isinstance(source, PlainText):
            return {"type": "text", "media_type": source.media_type, "data": source.text}
        if isinstance(source, FileRef) and source.origin != ORIGIN:
            return ELSEWHERE
        if isinstance(source, Url | FileRef) or self.native:
            return _native_source(source)
        if is_pdf(source.data, source.media_type, part.filename):
            if not self.profile.pdf:
                return NO_PDF
            return {"type": "base64", "media_type": "application/pdf", "data": source.data}
        text = text_of(source.data) if is_text(source.media_type, part.filename) else None
        if text is None:
            return NO_FORMAT
        return {"type": "text", "media_type": "text/plain", "data": text}

    def mark(self, block: JSON, cache: Cache) -> None:
        """Put a cache mark on ``block``.

        ``limit_cache_marks`` later removes those beyond the limit.
        """
        if self.native:
            if isinstance(cache.raw, dict):
                block["cache_control"] = cache.raw.get("cache_control", cache.raw)
            else:
                block["cache_control"] = ephemeral(cache.ttl)
        elif self.profile.cache_breakpoints and block.get("type") not in _UNMARKED:
            block["cache_control"] = ephemeral(cache.ttl)
            self.marked = True

    def extras(self, target: JSON, extras: Iterable[Extra]) -> None:
        """Write the extras of this dialect back into ``target``, and report all others as losses.

        A dotted name goes into the object inside ``target``.
        """
        for extra in extras:
            if extra.origin != ORIGIN:
                if extra.loss != "none":
                    self.losses.extras((extra,))
                continue
            held = target
            *steps, name = extra.name.split(".")
            for step in steps:
                held = held.setdefault(step, {})
            held[name] = extra.value


def _native_source(source: Base64 | Url | FileRef) -> JSON:
    if isinstance(source, Url):
        return {"type": "url", "url": source.url}
    if isinstance(source, FileRef):
        return {"type": "file", "file_id": source.id}
    return {"type": "base64", "media_type": source.media_type, "data": source.data}


_UNMARKED = ("thinking", "redacted_thinking")


def ephemeral(ttl: str | None) -> JSON:
    """Return the ``cache_control`` object for the lifetime ``ttl``; None is five minutes."""
    return {"type": "ephemeral", "ttl": "1h"} if ttl in LONG_TTLS else {"type": "ephemeral"}


def _is_only_text(part: Part) -> bool:
    return isinstance(part, TextPart) and part.cache is None and not part.extras
