"""Decides when a call goes to a backend in its second dialect (translation.md 8.4).

It does where the first dialect cannot carry it, and only at backends whose configuration says that
calls may be translated so. A client of the second dialect itself is always served in it
(``routing.aliases.for_client``). Pure.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from lmbroker import envelope
from lmbroker.call import Call, Target, in_second_dialect
from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.unified.parts import DocumentPart, ImagePart, Part, ToolResultPart, Url
from lmbroker.translation.unified.request import Reasoning, Request

TOOLS_WITH_REASONING = "it offers tools and asks for reasoning"
DOCUMENT_URL = "it holds a document by its URL"
RESULT_IMAGE = "it holds an image in a tool's result"

REFUSED = "tools_with_reasoning"
"""The field of a profile by which a refusal says that the call needs the second dialect."""

_TOOLS = re.compile(rb'"(?:tools|functions)"\s*:')
_DOCUMENT = re.compile(rb'"type"\s*:\s*"(?:document|file|input_file)"')
_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image|image_url|input_image)"')


def may_go(call: Call, target: Target) -> bool:
    """Return whether ``call`` may go to ``target`` in the second dialect, if it needs that.

    It must be of a kind that is translated, and not go so anyway.
    """
    backend = target.backend
    translated = backend.also_translated and not in_second_dialect(backend)
    return translated and call.operation == "chat"


def may_need(call: Call, target: Target, overrides: Mapping[str, Any]) -> bool:
    """Return whether ``call`` may need the second dialect of ``target``.

    It is a quick look that may say yes by mistake, but not no.
    """
    known = _known(target, overrides)
    body = call.body
    if not known.tools_with_reasoning and _TOOLS.search(body):
        return True
    if not known.tool_result_images and _IMAGE.search(body):
        return True
    return _DOCUMENT.search(body) is not None


def need(call: Call, target: Target, overrides: Mapping[str, Any]) -> str:
    """Return what of ``call`` the first dialect of ``target`` cannot carry, "" for nothing.

    A request that cannot be read counts as nothing: its error is reported elsewhere. ``overrides``
    are what was learned and configured of the model.
    """
    known = _known(target, overrides)
    try:
        request = ADAPTERS[call.dialect].decode_request(envelope.decode(call.body))
    except (Refused, RecursionError):
        return ""
    passes = call.dialect == target.backend.dialect
    if request.tools and not known.tools_with_reasoning and _reasons(request, known, passes):
        return TOOLS_WITH_REASONING
    for turn in request.turns:
        for part in turn.parts:
            found = _in_part(part, known)
            if found:
                return found
    return ""


def _known(target: Target, overrides: Mapping[str, Any]) -> Profile:
    backend = target.backend
    return profile(backend.dialect, target.model, overrides, host=backend.host)


def _reasons(request: Request, known: Profile, passes: bool) -> bool:
    """Return whether the model is to reason.

    Where nothing is said of it, a request that is translated can say that it must not; one that
    ``passes`` through leaves it to the model.
    """
    asked = request.reasoning or Reasoning()
    if request.later_effort is not None:
        asked = msgspec.structs.replace(asked, effort=request.later_effort)
    if asked.mode in ("off", "between_tools") or (asked.mode is None and asked.effort == "none"):
        return False
    if (asked.mode, asked.effort, asked.budget) != (None, None, None):
        return True
    by_default = known.thinking_default != "off" or known.default_effort not in (None, "none")
    return passes and by_default


def _in_part(part: Part, known: Profile) -> str:
    if isinstance(part, DocumentPart):
        return DOCUMENT_URL if isinstance(part.source, Url) else ""
    if not isinstance(part, ToolResultPart):
        return ""
    for inner in part.parts or ():
        if isinstance(inner, ImagePart) and not known.tool_result_images:
            return RESULT_IMAGE
        if isinstance(inner, DocumentPart) and isinstance(inner.source, Url):
            return DOCUMENT_URL
    return ""
