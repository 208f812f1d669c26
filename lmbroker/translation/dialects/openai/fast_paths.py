"""The fast path for what most turns of another dialect are."""

from collections.abc import Sequence

from lmbroker.translation.unified.parts import Part, TextPart


def plain_words(parts: Sequence[Part]) -> str | None:
    """Return the text of ``parts`` where they are one text and nothing else, None otherwise."""
    if len(parts) != 1:
        return None
    part = parts[0]
    if type(part) is not TextPart or part.citations or part.refusal or part.extras or part.cache:
        return None
    return part.text
