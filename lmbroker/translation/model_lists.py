"""How the broker lists models to clients, and how it reads the lists of backends.

See translation.md 7.1. Dialects whose clients ask for models on one path share one answer there,
which has the fields of all of them: ``/v1/models`` is read by the official SDKs of several vendors.
"""

from collections.abc import Callable, Sequence

import msgspec

from lmbroker.envelope import JSON_ERRORS
from lmbroker.json_text import JSON


class ShownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a client may see it, in no dialect's form.

    ``created`` is in unix seconds; ``context`` and ``max_output`` are tokens, None where they are
    not known.
    """

    name: str
    created: int
    context: int | None
    max_output: int | None


class ModelListFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The form in which a dialect lists models."""

    entry: Callable[[ShownModel], JSON]
    """Makes the object of one model, for a client."""
    page: Callable[[Sequence[ShownModel], bool], JSON]
    """Makes the fields of a page besides its models, for a client: (models, whether more follow) ->
    fields."""
    key: str = "data"
    """The field of a page that holds its models."""
    client_path: str = "/v1/models"
    """The path on which clients ask for models; one model lives below it."""
    query: str = ""
    """The query with which a backend is asked."""
    after: str = ""
    """The parameter of that query which asks for the page after a model; "" where lists have no
    pages."""
    read: Callable[[bytes], tuple[Sequence[str], str]] | None = None
    """Reads the models that a backend lists and, where a further page follows, the last of them.
    Raises ValueError for a body that is no list. None for ``read_list``."""


class _Model(msgspec.Struct):
    id: str = ""


class _Page(msgspec.Struct):
    data: list[_Model]
    has_more: bool | None = False
    last_id: str | None = None


_PAGE = msgspec.json.Decoder(_Page | list[_Model])


def read_list(body: bytes) -> tuple[Sequence[str], str]:
    """Return the models in a list, and the last of them where a further page follows.

    The list has the usual form, ``{"data": [{"id": ...}]}`` or the array alone. Raises ValueError
    for a body that is no list.
    """
    try:
        page = _PAGE.decode(body)
    except JSON_ERRORS:
        raise ValueError("no list of models") from None
    if isinstance(page, list):
        page = _Page(data=page)
    return [each.id for each in page.data], (page.last_id or "") if page.has_more else ""
