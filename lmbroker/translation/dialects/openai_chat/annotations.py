"""Web citations as ``annotations`` of a message (translation.md 3.1)."""

from collections.abc import Iterable
from typing import Any

from lmbroker.translation.dialects.openai.annotations import url_citations
from lmbroker.translation.unified.parts import Citation


def annotations(citations: Iterable[Citation], start: int, end: int) -> list[dict[str, Any]]:
    """Return the ``annotations`` of the text part that is ``content[start:end]``.

    Offsets are counted in code points.
    """
    return [
        {"type": "url_citation", "url_citation": cited}
        for cited in url_citations(citations, start, end)
    ]
