"""The common part of OpenAI's dialects: errors, headers, lists of models, facts of models."""

API = "OpenAI"
"""The name of the API that these dialects speak (``Facts.api``)."""
