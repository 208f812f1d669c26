"""Web searches that a provider runs, as clients ask for them in several formats.

See translation.md 2.1, 2.5 and 8.1.
"""

from collections.abc import Mapping
from typing import Any

from lmbroker.translation.unified.request import WebSearch

OPTIONS = "web_search_options"
"""The field by which a request asks for a web search that is no tool."""

_PLACE = ("city", "region", "country", "timezone")


def asked_of(tool: Mapping[str, Any]) -> WebSearch:
    """Return what a tool asks of the search: its domains stand in it, or in its ``filters``."""
    filters = tool.get("filters")
    held = filters if isinstance(filters, dict) else tool
    size, most = tool.get("search_context_size"), tool.get("max_uses")
    return WebSearch(
        allowed_domains=_domains(held.get("allowed_domains")),
        blocked_domains=_domains(held.get("blocked_domains")),
        location=_location(tool.get("user_location")),
        context_size=size if isinstance(size, str) else None,
        max_uses=most if type(most) is int else None,
    )


def asked_by(options: Any) -> WebSearch:
    """Return what the field ``OPTIONS`` asks of the search.

    Its location is an object of its own.
    """
    held = options if isinstance(options, dict) else {}
    size, place = held.get("search_context_size"), held.get("user_location")
    near = place.get("approximate") if isinstance(place, dict) else None
    return WebSearch(location=_location(near), context_size=size if isinstance(size, str) else None)


def _location(place: Any) -> dict[str, str] | None:
    if not isinstance(place, dict):
        return None
    return {key: place[key] for key in _PLACE if isinstance(place.get(key), str)}


def _domains(value: Any) -> tuple[str, ...]:
    held = value if isinstance(value, list) else []
    return tuple(each for each in held if isinstance(each, str))
