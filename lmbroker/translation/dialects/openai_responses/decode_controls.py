"""The fields of a Responses request besides its conversation and its tools (translation.md 8.1)."""

from typing import Any, get_args

from lmbroker.translation.dialects.openai.request_fields import json_schema
from lmbroker.translation.shared.fields import Fields
from lmbroker.translation.unified.parts import Extra, LossClass
from lmbroker.translation.unified.request import Effort, OutputFormat, Reasoning

EFFORTS = get_args(Effort)
LOGPROBS = "message.output_text.logprobs"

STATELESS = (
    "this broker keeps no responses; send the whole conversation as input (store: false, "
    'include: ["reasoning.encrypted_content"])'
)
"""The reason why a request cannot refer to an earlier response (translation.md 8.5)."""

_REASONS = {
    "previous_response_id": STATELESS,
    "conversation": STATELESS,
    "prompt": "templates of prompts lie with their vendor; send instructions and input",
    "background": "an answer is sent while the client waits for it; leave background out",
    "prewarm": "the backend cannot fill its cache without an answer",
    "generate": "the backend cannot fill its cache without an answer",
}

_SILENT = ("store", "image", "stream_options", "client_metadata", "stream_id")
_REPORTED = ("context_management", "max_tool_calls", "personality")
_STATE = ("previous_response_id", "conversation", "prompt")
_STANDARD = ("standard", None)


def decode_reasoning_control(fields: Fields, extras: list[Extra]) -> Reasoning | None:
    """Return the reasoning controls of a request. Raises Refused."""
    held = fields.inside("reasoning")
    if held is None:
        return None
    extras.append(fields.extra("reasoning", dict(held.left), "none"))

    def lost(name: str, value: Any) -> None:
        extras.append(held.extra(name, value, "drop", "reasoning."))

    effort = held.text("effort")
    if effort is not None and effort not in EFFORTS:
        lost("effort", effort)
        effort = None
    summaries = (held.any("summary"), held.any("generate_summary"))
    shown = any(each not in (None, "none") for each in summaries)
    mode, context = held.any("mode"), held.any("context")
    if mode not in _STANDARD:
        lost("mode", mode)
    if context not in (None, "auto", "all_turns"):
        lost("context", context)
    for extra in held.rest("reasoning."):
        extras.append(extra)
    every = True if context == "all_turns" else None
    if effort is None and not shown and every is None:
        return None
    return Reasoning(
        effort=effort,  # type: ignore[arg-type]
        display="summarized" if shown else None,
        replay_all=every,
    )


def decode_text(fields: Fields, extras: list[Extra]) -> tuple[OutputFormat | None, str | None]:
    """Return the output format and the verbosity of a request. Raises Refused."""
    held = fields.inside("text")
    if held is None:
        return None, None
    extras.append(fields.extra("text", dict(held.left), "none"))
    verbosity = held.text("verbosity")
    form = held.inside("format")
    output = None if form is None else decode_format(form, extras)
    extras += held.rest("text.")
    return output, verbosity


def decode_format(form: Fields, extras: list[Extra]) -> OutputFormat | None:
    """Return the output format in ``form``, None for plain text. Raises Refused."""
    raw = dict(form.left)
    kind = form.need_text("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return OutputFormat(kind="json_object", extras=form.rest())
    if kind != "json_schema":
        whole = Extra(
            origin=form.origin, name=form.path, path=form.path, value=raw, loss="refuse_soft"
        )
        extras.append(whole)
        return None
    if isinstance(form.left.get("json_schema"), dict):
        return json_schema(form.need_inside("json_schema"), form, "json_schema.")
    return json_schema(form, form, "")


def classed(fields: Fields) -> list[Extra]:
    """Return extras for known fields for which the Unified Model has none. Raises Refused.

    Their class depends on their values.
    """
    found: list[Extra] = []
    if not fields.left:
        return found

    def keep(name: str, value: Any, loss: LossClass) -> None:
        if value is not None:
            extra = fields.extra(name, value, loss)
            reason = _REASONS.get(name, "")
            found.append(_reasoned(extra, reason) if reason and loss == "refuse" else extra)

    include = fields.items("include")
    keep("include", include, "refuse_soft" if LOGPROBS in (include or ()) else "none")
    top = fields.integer("top_logprobs", least=0)
    keep("top_logprobs", top, "refuse_soft" if top else "none")
    background = fields.boolean("background")
    keep("background", background, "refuse" if background else "none")
    keep("background_options", fields.any("background_options"), "none")
    generate = fields.boolean("generate")
    keep("generate", generate, "refuse" if generate is False else "none")
    truncation = fields.text("truncation")
    keep("truncation", truncation, "none" if truncation == "disabled" else "drop")
    for name in _STATE:
        keep(name, fields.any(name), "refuse")
    for name in _SILENT:
        keep(name, fields.any(name), "none")
    for name in _REPORTED:
        value = fields.any(name)
        keep(name, value, "drop" if value != [] else "none")
    for name in ("moderation", "access_programs"):
        keep(name, fields.any(name), "refuse_soft")
    return found


def _reasoned(extra: Extra, reason: str) -> Extra:
    return Extra(
        origin=extra.origin,
        name=extra.name,
        path=extra.path,
        value=extra.value,
        loss=extra.loss,
        reason=reason,
    )
