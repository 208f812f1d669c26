"""The attribution line that Claude Code puts among its instructions, meant for Anthropic only.

It may change with every request, so no other backend would ever find the prompt in its cache.
"""

MARK = "x-anthropic-billing-header:"
"""The start of the line."""


def without_attribution(text: str) -> str:
    """Return ``text`` without an attribution line at its start."""
    if not text.startswith(MARK):
        return text
    return text.partition("\n")[2].lstrip("\n")
