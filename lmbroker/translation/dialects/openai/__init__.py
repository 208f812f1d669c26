"""What OpenAI's dialects share: errors, headers, lists of models, and built-in facts of models."""

API = "OpenAI"
"""The name of the API that these dialects speak (``Facts.api``)."""
