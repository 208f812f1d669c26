"""Lists of models in OpenAI's dialects (translation.md 7.1)."""

from collections.abc import Sequence

from lmbroker.json_text import JSON
from lmbroker.translation.model_lists import ModelListFacts, ShownModel


def entry(model: ShownModel) -> JSON:
    """Return the object of one model in a list."""
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "lmbroker",
    }


def page(models: Sequence[ShownModel], more: bool) -> JSON:
    """Return the fields of a list besides its models; these lists have no pages."""
    return {"object": "list"}


MODELS = ModelListFacts(entry=entry, page=page)
