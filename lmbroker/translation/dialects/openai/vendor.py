"""The vendor's own name."""

VENDOR = "openai"
"""Where a file lies whose id only OpenAI knows (``FileRef.origin``): it means the same file in all
of OpenAI's dialects."""
