"""Finds the targets of an alias that suit a request. Pure.

Only aliases with several targets ask. A target that would lose something of a request, or refuse
it, is tried after those that suit it; where none does, the order stays as it is.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from lmbroker import envelope
from lmbroker.call import Call, Target
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.lookup import profile

MARGIN = 1.15
"""How much larger than a target's window our estimate must be before the target is passed over:
estimates of honest requests are within 15 % (translation.md 7.3)."""

BYTES_PER_TOKEN = 2
"""The least bytes per token of a request, except in rare scripts; a shorter request needs no
estimate."""

_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image|image_url|input_image)"')
_PDF = re.compile(rb'"type"\s*:\s*"(?:document|file|input_file)"')
_SERVER_TOOL = re.compile(
    rb'"type"\s*:\s*"(?:(?:web_search|web_fetch|code_execution|computer|text_editor|memory)_20\d{6}'
    rb"|web_search(?:_preview)?(?:_20\d\d_\d\d_\d\d)?"
    rb"|file_search|code_interpreter|mcp|image_generation|computer(?:_use_preview)?"
    rb'|(?:local_)?shell|apply_patch)"'
)


class Needs:
    """The features of a request that a target may lack.

    Each is looked for when a target does lack it.

    ``tokens`` estimates its input tokens, 0 where nobody has to know.
    """

    def __init__(self, call: Call, tokens: int = 0) -> None:
        self.dialect = call.dialect
        self.length = len(call.body)
        self.tokens = tokens
        self._call = call

    @cached_property
    def images(self) -> bool:
        """Whether the request seems to hold images."""
        return _IMAGE.search(self._call.body) is not None

    @cached_property
    def pdfs(self) -> bool:
        """Whether the request seems to hold documents."""
        return _PDF.search(self._call.body) is not None

    @cached_property
    def own_only(self) -> bool:
        """Whether the request holds what only backends of its own dialect can read or run."""
        pattern = ADAPTERS[self.dialect].facts.own_only
        return pattern is not None and pattern.search(self._call.body) is not None

    @cached_property
    def server_tools(self) -> bool:
        """Whether the request asks for tools that the provider runs."""
        fields = self._call.fields
        if fields is None:
            fields = envelope.read(self._call.body).fields
        tools = bytes(fields.get("tools", b""))
        return _SERVER_TOOL.search(tools) is not None or "web_search_options" in fields


def lacking(needs: Needs, target: Target, overrides: Mapping[str, Any]) -> str:
    """Return what of a request ``target`` cannot take, "" where it suits.

    ``overrides`` are what was learned and configured of its model.
    """
    known = profile(target.backend.dialect, target.model, overrides, host=target.backend.host)
    if not known.vision and needs.images:
        return "it takes no images"
    if not known.pdf and needs.pdfs:
        return "it takes no PDFs"
    foreign = needs.dialect != target.backend.dialect
    if foreign and not known.server_tools and needs.server_tools:
        return "its vendor does not run the tools that are asked for"
    if foreign and needs.own_only:
        return "only backends of the client's format can read or run some of it"
    if known.context is not None and needs.tokens > known.context * MARGIN:
        return f"its context is {known.context} tokens, and the request has about {needs.tokens}"
    return ""


def may_be_too_long(needs: Needs, target: Target, overrides: Mapping[str, Any]) -> bool:
    """Return whether a request may have more tokens than ``target`` takes.

    Then an estimate is worth its cost.
    """
    known = profile(target.backend.dialect, target.model, overrides, host=target.backend.host)
    return known.context is not None and needs.length > known.context * BYTES_PER_TOKEN
