"""Web citations as annotations of a text (translation.md 3.1)."""

from collections.abc import Iterable
from typing import Any

from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.unified.parts import Citation


def url_citations(citations: Iterable[Citation], start: int, end: int) -> list[dict[str, Any]]:
    """Return the ``url_citation`` annotations of the text part that is ``content[start:end]``.

    Offsets are counted in code points. A citation that knows its own span within the part says so;
    others mean the whole part, which is how Anthropic cuts its text. A citation without a URL has
    no form here.
    """
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for citation in citations:
        if citation.kind != "url" or not citation.url:
            continue
        first = start if citation.start is None else start + citation.start
        last = end if citation.end is None else min(end, start + citation.end)
        cited = {
            "end_index": last,
            "start_index": first,
            "title": citation.title or "",
            "url": citation.url,
        }
        found.setdefault((citation.url, first, last), cited)
    return list(found.values())


def report_uncited(citations: Iterable[Citation], losses: AnswerLosses) -> None:
    """Report the citations that have no form here as losses."""
    for citation in citations:
        if citation.kind != "url" or not citation.url:
            losses.drop(citation.place)
