"""Estimates of prompts against what Anthropic and OpenAI counted of the same requests."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from beside import RECORDINGS

from lmbroker.sse import Reader
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.unified.counting import estimate_input
from lmbroker.translation.unified.parts import (
    AudioPart,
    DocumentPart,
    ImagePart,
    OpaquePart,
    ToolCallPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import Request

_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
LEAST = 20
"""Tokens of a prompt that is worth a comparison."""


@dataclass
class Counted:
    vendor: str
    request: Request
    tokens: int
    estimate: int

    def has(self, *kinds: type) -> bool:
        parts = [part for turn in self.request.turns for part in turn.parts]
        inside = [p for part in parts if isinstance(part, ToolResultPart) for p in part.parts or ()]
        return any(isinstance(part, kinds) for part in (*parts, *inside))

    @property
    def forced(self) -> bool:
        choice = self.request.tool_choice
        return choice is not None and choice.mode in ("required", "named")

    @property
    def schema(self) -> bool:
        return self.request.output is not None and self.request.output.schema is not None


def prompt_of(folder: Path) -> int:
    """The prompt's tokens, as the last usage of the answer tells them, 0 where none does."""
    tokens = 0
    for name in ("response.json", "response.sse"):
        path = folder / name
        if not path.exists():
            continue
        data = path.read_bytes()
        bodies = [f.data for f in Reader().feed(data) if f.data] if name.endswith("sse") else [data]
        for body in bodies:
            for found in _USAGE.finditer(body):
                usage: Any = json.loads(found[1])
                keys = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
                told = usage.get("prompt_tokens") or sum(usage.get(key) or 0 for key in keys)
                tokens = told or tokens
    return tokens


def counted() -> Iterator[Counted]:
    seen: set[Any] = set()
    for folder in sorted(RECORDINGS.glob("*")):
        vendor, _, rest = folder.name.partition(".")
        dialect = {"anthropic": "anthropic", "openai": "openai"}.get(vendor)
        endpoint = rest.split(".", 1)[0]
        if dialect is None or endpoint not in ("chat", "messages"):
            continue
        path = folder / "request.json"
        tokens = prompt_of(folder) if path.exists() else 0
        if tokens < LEAST:
            continue
        body = json.loads(path.read_bytes())
        body.setdefault("max_tokens", 1)
        model = str(body.get("model"))
        try:
            request = ADAPTERS[dialect].decode_request(body)
        except Exception:
            continue
        served = any(tool.raw is not None for tool in request.tools)
        estimate = estimate_input(request, model)
        each = Counted(vendor, request, tokens, estimate)
        key = (model, tokens, estimate)
        # Tools that a vendor runs itself have prompts of their own; what repeats tells nothing
        # new; a prompt of tens of thousands that counts a few hundred was cut by its recorder.
        odd = served or each.has(OpaquePart) or estimate > 20 * tokens
        if not odd and key not in seen and (vendor == "openai" or "claude" in model):
            seen.add(key)
            yield each


@cache
def all_counted() -> tuple[Counted, ...]:
    found = tuple(counted())
    if not found:
        pytest.skip("there are no recordings")
    return found


def plain(each: Counted) -> bool:
    return not each.has(ImagePart, DocumentPart, AudioPart) and not each.schema


GROUPS: dict[str, Callable[[Counted], bool]] = {
    "text": lambda c: plain(c) and not c.request.tools and c.tokens >= 100,
    "short text": lambda c: plain(c) and not c.request.tools and c.tokens < 100,
    "one tool": lambda c: plain(c) and len(c.request.tools) == 1 and not c.forced,
    "tools": lambda c: plain(c) and len(c.request.tools) > 1 and not c.forced,
    "forced": lambda c: plain(c) and bool(c.request.tools) and c.forced,
    "calls": lambda c: plain(c) and bool(c.request.tools) and c.has(ToolCallPart),
    "schema": lambda c: c.schema and not c.has(ImagePart, DocumentPart, AudioPart),
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("vendor", ["anthropic", "openai"])
def test_estimates_are_near_what_vendors_count(vendor: str, group: str) -> None:
    found = [
        c.estimate / c.tokens for c in all_counted() if c.vendor == vendor and GROUPS[group](c)
    ]
    assert len(found) >= 3
    assert abs(median(found) - 1) <= 0.15, (median(found), len(found))


@pytest.mark.parametrize("vendor", ["anthropic", "openai"])
def test_half_of_the_estimates_are_near(vendor: str) -> None:
    errors = [
        abs(c.estimate / c.tokens - 1) for c in all_counted() if c.vendor == vendor and plain(c)
    ]
    assert len(errors) > 80
    assert median(errors) <= 0.15
