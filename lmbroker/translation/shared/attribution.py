"""The attribution line of Claude Code: a text among its instructions that is meant for Anthropic
only. It may change with every request, and would keep other backends from ever finding a prompt in
their caches."""

MARK = "x-anthropic-billing-header:"
"""Begins the line."""


def without_attribution(text: str) -> str:
    """``text`` without the line at its head; a text that does not begin with it stays as it is."""
    if not text.startswith(MARK):
        return text
    return text.partition("\n")[2].lstrip("\n")
