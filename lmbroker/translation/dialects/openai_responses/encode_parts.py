"""Parts of another dialect -> content parts of an input message (translation.md 2.8, 8.1)."""

from typing import ClassVar

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai import encode_parts
from lmbroker.translation.dialects.openai.encode_parts import PDF_NAME, Source
from lmbroker.translation.shared.left_out import NO_AUDIO
from lmbroker.translation.shared.media import data_url
from lmbroker.translation.unified.parts import (
    AudioPart,
    Base64,
    DocumentPart,
    FileRef,
    ImagePart,
    Url,
)
from lmbroker.translation.unified.request import Tool

PDF = "application/pdf"

FILE_NAME = "document"
"""The name for a file that has none and is no PDF."""


class Parts(encode_parts.Parts):
    """Encodes the parts of one request as content parts of messages and results."""

    TEXT = "input_text"
    MEDIA: ClassVar = {"input_image": "image", "input_file": "document"}

    def runs(self, tool: Tool) -> bool:
        """Return whether the backend itself runs ``tool``.

        It can run a web search, where that is configured.
        """
        return tool.search is not None and self.profile.server_tools

    def names_allowed(self) -> bool:
        """Return whether the tool choice can list the allowed tools."""
        return self.profile.allowed_tools

    def picture(self, part: ImagePart, source: Source) -> JSON:
        """Return the content part of an image."""
        written: JSON = {"type": "input_image", "detail": part.detail or "auto"}
        if isinstance(source, FileRef):
            written["file_id"] = source.id
        else:
            written["image_url"] = source.url if isinstance(source, Url) else data_url(source)
        return written

    def paper(self, part: DocumentPart, source: Source) -> JSON | None:
        """Return the content part of a file, None where the model takes none of its kind.

        It refers to the file by its id or its address, or holds its bytes and a name.
        """
        kept = isinstance(source, Base64) and source.media_type != PDF
        if not (self.profile.files if kept else self.profile.pdf):
            return None
        if isinstance(source, FileRef):
            return {"type": "input_file", "file_id": source.id}
        if isinstance(source, Url):
            return {"type": "input_file", "file_url": source.url}
        unnamed = PDF_NAME if source.media_type == PDF else FILE_NAME
        name = part.filename or part.title or unnamed
        return {"type": "input_file", "filename": name, "file_data": data_url(source)}

    def sound(self, part: AudioPart) -> JSON:
        """Return the text that stands in for audio, which messages of this dialect cannot hold."""
        return self.left_out("audio", "audio", NO_AUDIO)
