"""Repairs for numbers that are too large: the limit of the answer's length, and the sampling."""

import re
from collections.abc import Iterator
from typing import Any

from lmbroker.translation.refusals import context_overflow
from lmbroker.translation.refusals.wordings import LIMIT_WORDS, LIMITS, WINDOW
from lmbroker.workflows.repairs.case import SAMPLING, Case, Found
from lmbroker.workflows.repairs.named_fields import Named

LEAST_ROOM = 256
"""The fewest tokens of an answer that are worth another try: where less is left, the prompt is too
long."""

_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = re.compile(
    rf"(?P<open>[\[(])\s*(?P<low>{_NUMBER})\s*,\s*(?P<high>{_NUMBER})\s*(?P<shut>[\])])"
    rf"|between (?P<low2>{_NUMBER}) and (?P<high2>{_NUMBER})"
    rf"|from (?P<low3>{_NUMBER}) to (?P<high3>{_NUMBER})"
    rf"|(?P<low4>{_NUMBER}) ?<=? ?\w+ ?<=? ?(?P<high4>{_NUMBER})"
    rf"|>=? ?(?P<low5>{_NUMBER}) and <=? ?(?P<high5>{_NUMBER})"
)
_ONLY = re.compile(
    rf"(?:\bonly|\b(?:must|should|can only|may only) be(?: set to| equal to| exactly)?)"
    rf" (?P<only>{_NUMBER})(?![\w.]*\d|,? ?(?:-|to|and|or|if|<|>|when thinking|while thinking))"
)
_AT_LEAST = re.compile(rf"(?:greater than or equal to|>=|at least) (?P<low>{_NUMBER})")
_AT_MOST = re.compile(
    rf"(?:less than or equal to|<=|at most|not exceed|maximum (?:of|is)|not be greater than) "
    rf"(?P<high>{_NUMBER})"
)
_BELOW = re.compile(
    r"(?:below (?:the )?minimum(?: value)?[^\n]{0,60}?|expected a value |must be |should be |be )"
    r"(?:>=|≥|at least|greater than or equal to|(?:of|is)) ?(?P<n>\d{1,3})(?!\d)",
    re.IGNORECASE,
)
_SMALL = 256
"""The largest number that is read as the least length of an answer: a larger one is a limit."""

MOST = 1_000_000_000
"""The upper end of a range that names none."""

_REQUESTED = re.compile(r"requested|you (?:asked|provided)", re.IGNORECASE)
_STOPS = re.compile(r"\bstop(?:_sequences| sequences)?\b", re.IGNORECASE)
_FEWER = re.compile(
    r"(?:at most|maximum(?: length| number of \w+)?(?: of| is)?|up to|more than|max(?: of)?"
    r"|only supports?) (\d{1,3})\b",
    re.I,
)


def limits(case: Case, fields: list[Named]) -> Iterator[Found]:
    """Yield the repairs that bring the answer's limit and sampling numbers below a named bound."""
    field = case.limit_field
    at_fault = any(each.key == field for each in fields) or LIMIT_WORDS.search(case.text)
    if field and at_fault:
        asked = case.body[field]
        least = _least(case.text, asked)
        if least is not None:
            yield "limit", field, {"ranges": ((field, least, MOST),)}, {}
            return
        most = _largest(case.text, asked)
        if most is not None:
            if WINDOW.search(case.text) and _is_window(case.text, most):
                yield "limit", field, {"context": most}, _in_window(case, most)
            else:
                yield "limit", field, {"max_output": most}, {}
            return
    for each in fields:
        bounds = SAMPLING.get(each.path)
        value = case.body.get(each.path)
        if bounds is None or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if not bounds[0] <= value <= bounds[1]:
            continue
        taken = stated_range(each.sentence)
        if taken is not None and not taken[0] <= value <= taken[1]:
            yield f"range {each.path}", each.path, {"ranges": ((each.path, *taken),)}, {}


def _least(text: str, asked: Any) -> int | None:
    """Return the smallest limit that the words name, where ``asked`` is below it."""
    if isinstance(asked, bool) or not isinstance(asked, int):
        return None
    found = [int(match["n"]) for match in _BELOW.finditer(text)]
    return max((number for number in found if asked < number <= _SMALL), default=None)


def _largest(text: str, asked: Any) -> int | None:
    """Return the largest limit below ``asked`` that the words name."""
    if isinstance(asked, bool) or not isinstance(asked, int):
        return None
    found = [
        int(re.sub("[,_]", "", match["n"])) - text.startswith(_NOT_ITSELF, match.end())
        for pattern in LIMITS
        for match in pattern.finditer(text)
    ]
    return max((number for number in found if 0 < number < asked), default=None)


_NOT_ITSELF = " (exclusive)"
"""The words after a limit that is not itself accepted."""


def _is_window(text: str, most: int) -> bool:
    """Return whether the number is the size of the window that prompt and answer share."""
    number = re.escape(str(most))
    return (
        re.search(
            rf"(?:max_model_len|max_total_tokens|max_seq_len|session_len|n_ctx"
            rf"|context[_ ](?:window|length|size)[^\d]{{0,30}})\s*[=:(]?\s*{number}",
            text,
            re.IGNORECASE,
        )
        is not None
    )


def _in_window(case: Case, window: int) -> dict[str, Any]:
    """Return the limit of this call, beside a prompt whose length is estimated."""
    room = window - case.prompt() * 5 // 4 - 64
    return {"max_output": room} if room >= LEAST_ROOM else {"max_output": max(1, window // 2)}


def shared_window(case: Case) -> Iterator[Found]:
    """Yield the repair for a prompt that fits, beside a limit that is too large for the window.

    A prompt that is too long by itself is not to be repaired.
    """
    field = case.limit_field
    numbers = context_overflow.numbers(case.text)
    if not field or numbers is None:
        return
    asked = case.body[field]
    if isinstance(asked, bool) or not isinstance(asked, int):
        return
    prompt = numbers.prompt
    if numbers.output is None and prompt == asked:
        # The refusal names the window and the requested output, but not the size of the prompt.
        yield "limit", field, {"context": numbers.limit}, _in_window(case, numbers.limit)
        return
    if numbers.output is None:
        summed = _REQUESTED.search(case.text) and not context_overflow.counts_separately(case.text)
        if not summed or prompt <= asked:
            return
        prompt -= asked
    room = numbers.limit - prompt
    if room >= min(asked, LEAST_ROOM) and room < asked:
        yield "limit", field, {"context": numbers.limit}, {"max_output": room}


def stated_range(sentence: str) -> tuple[float, float] | None:
    """Return the numbers that a sentence says are taken, both ends included."""
    found = _RANGE.search(sentence)
    if found is None:
        return _one_bound(sentence)
    lows = [found[name] for name in ("low", "low2", "low3", "low4", "low5") if found[name]]
    highs = [found[name] for name in ("high", "high2", "high3", "high4", "high5") if found[name]]
    low, high = float(lows[0]), float(highs[0])
    step = (high - low) / 100
    if found["open"] == "(":
        low += step
    if found["shut"] == ")":
        high -= step
    return low, high


def _one_bound(sentence: str) -> tuple[float, float] | None:
    """Return a range of which a sentence names one end, or one value that is the only one."""
    only = _ONLY.search(sentence)
    if only is not None:
        return float(only["only"]), float(only["only"])
    most = _AT_MOST.search(sentence)
    if most is not None:
        return 0.0, float(most["high"])
    least = _AT_LEAST.search(sentence)
    return None if least is None else (float(least["low"]), 2.0)


def stops(case: Case) -> Iterator[Found]:
    """Yield the repair that sends fewer stop sequences."""
    field = next((name for name in ("stop", "stop_sequences") if name in case.body), "")
    listed = case.body.get(field)
    found = _FEWER.search(case.text) if _STOPS.search(case.text) else None
    if isinstance(listed, list) and found is not None and 0 < int(found[1]) < len(listed):
        yield "stop", field, {"stop_max": int(found[1])}, {}
