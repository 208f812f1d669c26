"""Web searches that another dialect's provider ran, as blocks of this dialect (translation.md 8.3).

Clients get what they know from Anthropic's own search: the query, the pages, and where the text
cites them. Anthropic encrypts what it read; in its place stands a token of the broker's own, which
marks these blocks when they come back: Anthropic refuses such a token, so they are cut out of what
goes there (``taken_out``).
"""

from hashlib import sha256
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.shared.signature import seal
from lmbroker.translation.unified.parts import Citation, OpaquePart

SEAL = seal({"k": "ws"})
"""The token in the place of the content of a page, which Anthropic encrypts."""
OUR_IDS = "srvtoolu_lmb1"
"""The prefix of the id of a search that Anthropic did not run."""

_IDS = {"server_tool_use": "id", "web_search_tool_result": "tool_use_id"}
"""Type of a block -> the key of the search's id."""
_SEARCH = "web_search_call"
_NAME = "web_search"


def blocks_of(part: OpaquePart, losses: AnswerLosses) -> list[JSON]:
    """Return the blocks for a part that only its own dialect understands.

    They are the part itself where it is of this dialect; the call and the results of a search that
    says what it looked for and found; else none, which is reported.
    """
    if part.origin == "anthropic":
        return [part.raw]
    found = _search(part.raw) if part.type == _SEARCH else None
    if found is None:
        losses.drop(part.path)
        return []
    query, pages = found
    id = f"{OUR_IDS}{sha256(str(part.raw.get('id')).encode('utf-8', 'replace')).hexdigest()[:20]}"
    use = {"type": "server_tool_use", "id": id, "name": _NAME, "input": {"query": query}}
    return [use, {"type": "web_search_tool_result", "tool_use_id": id, "content": pages}]


def citation_of(citation: Citation, losses: AnswerLosses) -> JSON | None:
    """Return a citation in this dialect: Anthropic's own as it came, or a web page.

    It is None for any other one, which has no form here and is reported.
    """
    if citation.origin == "anthropic":
        raw: JSON = citation.raw
        return raw
    if citation.kind != "url" or not citation.url:
        losses.drop(citation.place)
        return None
    return {
        "type": "web_search_result_location",
        "cited_text": citation.cited_text or "",
        "encrypted_index": SEAL,
        "title": citation.title,
        "url": citation.url,
    }


def _search(call: JSON) -> tuple[str, list[JSON]] | None:
    """Return the query of a search and the pages that it found.

    It is None where the call has neither.
    """
    action = call.get("action")
    if not isinstance(action, dict) or action.get("type") != "search":
        return None
    queries = action.get("queries")
    asked = [action.get("query"), *(queries if isinstance(queries, list) else ())]
    query = next((each for each in asked if each and isinstance(each, str)), "")
    sources = action.get("sources")
    urls = dict.fromkeys(map(_url, sources if isinstance(sources, list) else ()))
    pages = [
        {
            "type": "web_search_result",
            "url": url,
            "title": url,
            "encrypted_content": SEAL,
            "page_age": None,
        }
        for url in urls
        if url
    ]
    return (query, pages) if query and pages else None


def _url(source: Any) -> str:
    url = source.get("url") if isinstance(source, dict) else None
    return url if isinstance(url, str) else ""


def is_ours(block: JSON) -> bool:
    """Return whether a block from a client belongs to a search that Anthropic did not run."""
    id = block.get(_IDS.get(str(block.get("type")), ""))
    return isinstance(id, str) and id.startswith(OUR_IDS)
