"""Items of an answer, as a backend sends them (translation.md 8.3)."""

from typing import Any, Literal

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.function_calls import function_call, text_of
from lmbroker.translation.dialects.openai_responses.reasoning_items import (
    BETWEEN,
    content_of,
    signature_of,
    summary_of,
)
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.unified.parts import (
    Citation,
    Extra,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    joined_name,
)

ORIGIN = "responses"
OUTPUT = "output[]"
"""The place of an item."""
CALLS: dict[str, Literal["function", "custom"]] = {
    "function_call": "function",
    "custom_tool_call": "custom",
}
"""Types of items that are calls of the client's tools."""
_GIVEN = {"function": "arguments", "custom": "input"}
"""Kind of a call -> the key of its arguments or its input."""

_KNOWN: dict[str, frozenset[str]] = {
    "message": frozenset(("content", "role", "phase")),
    "reasoning": frozenset(("summary", "content", "encrypted_content")),
    "function_call": frozenset(("arguments", "call_id", "name", "namespace", "caller", "async")),
    "custom_tool_call": frozenset(("input", "call_id", "name", "namespace", "caller", "async")),
}
"""Type of an item -> its keys that are translated where they can be."""
_NO_MEANING = frozenset(("id", "type", "status", "created_by", "object", "role"))
_OF_TEXT = frozenset(("type", "text", "annotations", "refusal"))

_CITATIONS: dict[str, Any] = {
    "url_citation": "url",
    "file_citation": "file",
    "container_file_citation": "file",
    "file_path": "file",
}


def decode_item(item: JSON, losses: AnswerLosses) -> list[Part]:
    """Return the parts of a whole item.

    There are none for an empty item, and for a message of anyone but the model.
    """
    kind = type_of(item)
    report_untranslated(item, losses)
    if kind == "message":
        return _message(item, losses) if said_by_the_model(item) else []
    if kind == "reasoning":
        part = _reasoning(item, losses)
        return [] if part is None else [part]
    if kind in CALLS:
        call = _call(item, CALLS[kind])
        return [] if call is None else [call]
    return [opaque(item)] if kind else []


def type_of(item: JSON) -> str:
    """Return the type of an item, "" where it has none."""
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def said_by_the_model(message: JSON) -> bool:
    """Return whether a message is the model's: a compaction repeats those of others."""
    return message.get("role") in (None, "assistant")


def opaque(item: JSON) -> OpaquePart:
    """Return the part that holds an item whole, since only this dialect understands it."""
    return OpaquePart(origin=ORIGIN, type=type_of(item), raw=item, place=OUTPUT)


def contents_of(message: JSON) -> list[JSON]:
    """Return the pieces of a message's content; a text alone counts as one."""
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "output_text", "text": content}]
    return [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []


def text_at(held: JSON, *keys: str) -> str:
    """Return the text under the first of ``keys`` that holds one, "" where none does."""
    for key in keys:
        value = held.get(key)
        if value and isinstance(value, str):
            return value
    return ""


def is_refusal(piece: JSON) -> bool:
    """Return whether a piece of a message's content is a refusal."""
    return piece.get("type") == "refusal"


def said_in(piece: JSON) -> str:
    """Return the text of a piece of a message's content."""
    return text_at(piece, "refusal", "text") if is_refusal(piece) else text_at(piece, "text")


def citations_of(piece: JSON) -> list[Citation]:
    """Return the citations of a piece of text."""
    found = piece.get("annotations")
    if not found or not isinstance(found, list):
        return []
    return [citation(each) for each in found if isinstance(each, dict)]


def citation(annotation: JSON) -> Citation:
    """Return the citation in an annotation; its offsets are code points of the text."""
    start, end = annotation.get("start_index"), annotation.get("end_index")
    return Citation(
        kind=_CITATIONS.get(str(annotation.get("type")), "other"),
        url=text_at(annotation, "url") or None,
        title=text_at(annotation, "title", "filename") or None,
        start=start if type(start) is int and start >= 0 else None,
        end=end if type(end) is int and end >= 0 else None,
        origin=ORIGIN,
        raw=annotation,
        place=f"{OUTPUT}.content[].annotations",
    )


def extras_of_message(message: JSON) -> tuple[Extra, ...]:
    """Return the extras for the fields of a message besides its content.

    They go to its first text. That it is the final answer says no more than that it is an answer,
    which is what clients of other dialects take it for.
    """
    held = {key: message[key] for key in ("id", "phase") if isinstance(message.get(key), str)}
    if not held:
        return ()
    says_more = held.get("phase") not in (None, "final_answer")
    return (_extra("message", "phase", held, "drop" if says_more else "none"),)


def extras_of_call(call: JSON) -> tuple[Extra, ...]:
    """Return the extras for the fields of a call besides its name and arguments.

    They say who makes the call, if not the model itself, and whether the model goes on without its
    result.
    """
    caller, later = call.get("caller"), call.get("async")
    extras = []
    if caller and isinstance(caller, dict) and caller.get("type") != "direct":
        extras.append(_extra("caller", "caller", caller, "drop"))
    if later:
        extras.append(_extra("async", "async", later, "drop"))
    return tuple(extras)


def _extra(name: str, key: str, value: Any, loss: Literal["drop", "none"]) -> Extra:
    return Extra(origin=ORIGIN, name=name, path=f"{OUTPUT}.{key}", value=value, loss=loss)


def name_of(call: JSON) -> str:
    """Return the name by which dialects without namespaces call the tool of a call."""
    name = text_at(call, "name")
    return joined_name(namespace_of(call), name) if name else ""


def namespace_of(call: JSON) -> str | None:
    """Return the namespace of the tool that is called, None where it has none."""
    return text_at(call, "namespace") or None


def id_of(call: JSON) -> str:
    """Return the id by which a result refers to the call."""
    return text_at(call, "call_id", "id")


def given_to(call: JSON, kind: str) -> str:
    """Return the arguments or the input of a call of ``kind``, as text."""
    return text_of(call.get(_GIVEN[kind]))


def report_untranslated(item: JSON, losses: AnswerLosses) -> None:
    """Report the fields of an item that are not translated, as losses.

    Items that only this dialect understands are kept whole, so nothing of them is reported.
    """
    known = _KNOWN.get(type_of(item))
    if known is None:
        return
    for key, value in item.items():
        if value and key not in known and key not in _NO_MEANING:
            losses.drop(f"{OUTPUT}.{key}")


def report_untranslated_text(piece: JSON, losses: AnswerLosses) -> None:
    """Report the fields of a piece of text that are not translated, as losses."""
    for key, value in piece.items():
        if value and key not in _OF_TEXT:
            losses.drop(f"{OUTPUT}.content[].{key}")


def _message(item: JSON, losses: AnswerLosses) -> list[Part]:
    parts: list[Part] = []
    for piece in contents_of(item):
        report_untranslated_text(piece, losses)
        text = said_in(piece)
        if text:
            part = TextPart(
                text=text,
                citations=tuple(citations_of(piece)),
                refusal=is_refusal(piece),
                extras=() if parts else extras_of_message(item),
            )
            parts.append(part)
    return parts


def _reasoning(item: JSON, losses: AnswerLosses) -> ReasoningPart | None:
    """Return the part of a reasoning item, None for an empty one that need not be sent back."""
    texts, content = summary_of(item), content_of(item)
    if texts and content:
        losses.drop(f"{OUTPUT}.content")
    signature = signature_of(item, content=bool(content and not texts))
    text = BETWEEN.join(texts or content)
    if not text and not item.get("encrypted_content"):
        return None
    return ReasoningPart(text=text, signature=signature)


def _call(item: JSON, kind: Literal["function", "custom"]) -> ToolCallPart | None:
    """Return the part of a call, None for one without a name, which nobody could run."""
    name = name_of(item)
    if not name:
        return None
    text = given_to(item, kind)
    made = function_call(id_of(item), name, text)
    custom = kind == "custom"
    return ToolCallPart(
        id=made.id,
        name=name,
        args=None if custom else made.args,
        raw_args=text if custom else made.raw_args,
        kind=kind,
        namespace=namespace_of(item),
        extras=extras_of_call(item),
    )
