"""Lists of models in the Anthropic dialect (translation.md 7.1)."""

import time
from collections.abc import Sequence

from lmbroker.json_text import JSON
from lmbroker.translation.model_lists import ModelListFacts, ShownModel


def entry(model: ShownModel) -> JSON:
    """Return the object of one model in a list."""
    return {
        "id": model.name,
        "type": "model",
        "display_name": model.name,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(model.created)),
        "lifecycle": "active",
        "max_input_tokens": model.context,
        "max_tokens": model.max_output,
        "capabilities": None,
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
    }


def page(models: Sequence[ShownModel], more: bool) -> JSON:
    """Return the fields of a page besides its models."""
    return {
        "has_more": more,
        "first_id": models[0].name if models else None,
        "last_id": models[-1].name if models else None,
    }


MODELS = ModelListFacts(entry=entry, page=page, query="limit=1000", after="after_id")
