"""Parts of another dialect -> content parts of a message (translation.md 2.4, 2.8)."""

from typing import ClassVar

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai import encode_parts
from lmbroker.translation.dialects.openai.encode_parts import PDF_NAME, Source
from lmbroker.translation.shared.media import data_url
from lmbroker.translation.unified.parts import (
    AudioPart,
    DocumentPart,
    FileRef,
    ImagePart,
    Url,
)

ORIGIN = "openai"


class Parts(encode_parts.Parts):
    """Encodes the parts of one request as content parts of messages."""

    TEXT = "text"
    MEDIA: ClassVar = {"image_url": "image", "file": "document"}

    def picture(self, part: ImagePart, source: Source) -> JSON | None:
        """Return the content part of an image, None for one that has an id only."""
        if isinstance(source, FileRef):
            return None
        image: JSON = {"url": source.url if isinstance(source, Url) else data_url(source)}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}

    def paper(self, part: DocumentPart, source: Source) -> JSON | None:
        """Return the content part of a file, None for one that has an address only.

        It is None for a file that is no PDF, too.
        """
        if isinstance(source, FileRef):
            return {"type": "file", "file": {"file_id": source.id}}
        if isinstance(source, Url) or source.media_type != "application/pdf":
            return None
        name = part.filename or part.title or PDF_NAME
        return {"type": "file", "file": {"filename": name, "file_data": data_url(source)}}

    def sound(self, part: AudioPart) -> JSON:
        """Return the content part of audio."""
        held = {"data": part.data, "format": part.format}
        return {"type": "input_audio", "input_audio": held}


def text(words: str) -> JSON:
    """Return the content part of a text."""
    return {"type": "text", "text": words}
