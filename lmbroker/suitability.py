"""Which targets of an alias suit a request: what it needs, and what each target lacks. Pure.

Only aliases with several targets ask. A target that would lose something of a request, or refuse
it, is tried after those that suit it; where none does, the order stays as it is.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from lmbroker.call import Call, Target
from lmbroker.profiles import profile

MARGIN = 1.15
"""How much more than a target's window our estimate must be before the target is passed over:
estimates of honest requests are within 15 % (translation.md 7.3)."""

BYTES_PER_TOKEN = 2
"""No request has more tokens than its bytes divided by this, but for rare scripts; a shorter one
needs no estimate."""

_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image|image_url|input_image)"')
_PDF = re.compile(rb'"type"\s*:\s*"(?:document|file|input_file)"')
_SERVER_TOOL = re.compile(
    rb'"type"\s*:\s*"(?:web_search|web_fetch|code_execution|computer|text_editor|memory)_20\d{6}"'
)


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a request holds. ``bytes`` is its length; ``tokens`` estimates its input tokens, 0
    where nobody has to know."""

    dialect: str
    images: bool = False
    pdfs: bool = False
    server_tools: bool = False
    bytes: int = 0
    tokens: int = 0


def needs_of(call: Call) -> Needs:
    """What ``call`` needs, by what shows in its bytes: a look at each of them, and no more."""
    body = call.body
    return Needs(
        dialect=call.dialect,
        images=_IMAGE.search(body) is not None,
        pdfs=_PDF.search(body) is not None,
        server_tools=_SERVER_TOOL.search(body) is not None or b'"web_search_options"' in body,
        bytes=len(body),
    )


def lacking(needs: Needs, target: Target, overrides: Mapping[str, Any]) -> str:
    """What of a request ``target`` cannot take, "" where it suits. ``overrides`` are what was
    learned and configured of its model."""
    known = profile(target.backend.dialect, target.model, overrides, host=target.backend.host)
    if needs.images and not known.vision:
        return "it takes no images"
    if needs.pdfs and not known.pdf:
        return "it takes no PDFs"
    if needs.server_tools and needs.dialect != target.backend.dialect and not known.server_tools:
        return "its vendor does not run the tools that are asked for"
    if known.context is not None and needs.tokens > known.context * MARGIN:
        return f"its context is {known.context} tokens, and the request has about {needs.tokens}"
    return ""


def may_be_too_long(needs: Needs, target: Target, overrides: Mapping[str, Any]) -> bool:
    """Whether a request may have more tokens than ``target`` takes, so that an estimate is worth
    its cost."""
    known = profile(target.backend.dialect, target.model, overrides, host=target.backend.host)
    return known.context is not None and needs.bytes > known.context * BYTES_PER_TOKEN
