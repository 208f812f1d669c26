"""What OpenAI's dialects share: its errors, its headers, its lists of models, what is known of the
models that are served in its formats."""

API = "OpenAI"
"""The name of the API that these dialects are ways to speak to (``Facts.api``)."""
