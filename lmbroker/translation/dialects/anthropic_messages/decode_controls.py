"""Reads reasoning, output format, tier and the other controls of a Messages request.

See translation.md 2.2, 2.6 and 2.7. Each function takes its fields out of the body, writes into
``paths`` what the client called them, and appends to ``extras`` the fields for which the Unified
Model has none. All raise Refused.
"""

from typing import Any, get_args

import msgspec

from lmbroker.translation.dialects.anthropic_messages.extra_fields import take_extras
from lmbroker.translation.shared.fields import Fields, missing, wrong_type
from lmbroker.translation.unified.parts import Extra, LossClass
from lmbroker.translation.unified.request import (
    CachePolicy,
    Effort,
    OutputFormat,
    Reasoning,
    Sampling,
)

_EFFORTS = get_args(Effort)
_MODES = {
    "disabled": "off",
    "between_tools": "between_tools",
    "adaptive": "adaptive",
    "enabled": "budget",
}
_TIERS = {"auto": "auto", "standard_only": "standard"}

RESEND = {"error_code": "thread_unsupported_request"}
"""Error details that make a client send the whole conversation again, without a thread."""


def decode_controls(
    body: Fields, paths: dict[str, str], extras: list[Extra]
) -> tuple[Reasoning | None, OutputFormat | None]:
    """Return the reasoning controls and the output format of a request.

    They stand in ``thinking`` and ``output_config``.
    """
    mode, budget, display = _thinking(body, extras)
    config = body.inside("output_config")
    effort = output = None
    if config is not None:
        if not config.left:
            extras.append(body.extra("output_config", {}, "none"))
        level = config.text("effort")
        effort = level if level in _EFFORTS else None
        if level is not None and effort is None:
            extras.append(config.extra("effort", level, "drop", "output_config."))
        output = _format(config, "format", "output_config.", extras)
        extras += take_extras(config, "output_config", "output_config.")
        extras += config.rest("output_config.")
    output = _old_format(body, paths, extras, output)
    if mode is None:
        paths["reasoning"] = "output_config.effort"
    elif effort is None:
        paths["effort"] = "thinking"
    if mode is None and effort is None:
        return None, output
    return Reasoning(mode=mode, effort=effort, budget=budget, display=display), output  # type: ignore[arg-type]


def _thinking(body: Fields, extras: list[Extra]) -> tuple[Any, int | None, Any]:
    """Return the mode, the budget and the display of ``thinking``."""
    thinking = body.inside("thinking")
    if thinking is None:
        return None, None, None
    raw = dict(thinking.left)
    kind = thinking.need_text("type")
    if kind not in _MODES:
        path = thinking.extra("type", kind, "drop").path
        extras.append(msgspec.structs.replace(body.extra("thinking", raw, "drop"), path=path))
        return None, None, None
    budget = None
    if kind == "enabled":
        budget = thinking.integer("budget_tokens", least=1)
        if budget is None:
            raise missing(thinking.at("budget_tokens"))
    shown = thinking.text("display")
    display = shown if shown in ("summarized", "omitted") else None
    if shown is not None and display is None:
        extras.append(thinking.extra("display", shown, "drop", "thinking."))
    extras += take_extras(thinking, "thinking", "thinking.")
    extras += thinking.rest("thinking.")
    return _MODES[kind], budget, display


def _format(held: Fields, name: str, prefix: str, extras: list[Extra]) -> OutputFormat | None:
    form = held.inside(name)
    if form is None:
        return None
    raw = dict(form.left)
    if form.need_text("type") != "json_schema":
        extras.append(held.extra(name, raw, "refuse_soft", prefix))
        return None
    schema = form.mapping("schema")
    if schema is None:
        raise missing(form.at("schema"))
    return OutputFormat(kind="json_schema", schema=schema, extras=form.rest())


def _old_format(
    body: Fields, paths: dict[str, str], extras: list[Extra], output: OutputFormat | None
) -> OutputFormat | None:
    """Return the format in the beta's ``output_format``, where the request has no newer one."""
    value = body.left.get("output_format")
    old = _format(body, "output_format", "", extras)
    if old is None or output is not None:
        if old is not None:
            extras.append(body.extra("output_format", value, "drop"))
        return output
    paths["output"], paths["output_schema"] = "output_format", "output_format.schema"
    return old


def decode_sampling(body: Fields) -> Sampling:
    """Return the sampling parameters of a request. Raises Refused."""
    left = body.left
    return Sampling(
        temperature=body.number("temperature", 0, 1) if "temperature" in left else None,
        top_p=body.number("top_p", 0, 1) if "top_p" in left else None,
        top_k=body.integer("top_k", least=0) if "top_k" in left else None,
    )


def decode_stop(body: Fields, extras: list[Extra]) -> tuple[str, ...]:
    """Return the stop sequences of a request in their order. Raises Refused."""
    value = body.items("stop_sequences") if "stop_sequences" in body.left else None
    if value is None:
        return ()
    if not value:
        extras.append(body.extra("stop_sequences", value, "none"))
    for number, each in enumerate(value):
        if not isinstance(each, str):
            raise wrong_type(f"stop_sequences[{number}]", "a string", each)
    return tuple(value)


def decode_user_id(body: Fields, extras: list[Extra]) -> str | None:
    """Return the end user's id in ``metadata``, None where there is none. Raises Refused."""
    metadata = body.inside("metadata")
    if metadata is None:
        return None
    if not metadata.left:
        extras.append(body.extra("metadata", {}, "none"))
    user_id = metadata.text("user_id")
    extras += metadata.rest("metadata.")
    return user_id


def decode_tier(body: Fields, paths: dict[str, str], extras: list[Extra]) -> str | None:
    """Return ``service_tier``, else ``speed``, None where that is the default speed."""
    tier, speed = body.text("service_tier"), body.text("speed")
    if tier is not None and tier not in _TIERS:
        extras.append(body.extra("service_tier", tier, "drop"))
    if speed == "fast" and tier is None:
        paths["tier"] = "speed"
        return "fast"
    if speed is not None:
        known: dict[str, LossClass] = {"fast": "drop", "standard": "none"}
        extras.append(body.extra("speed", speed, known.get(speed, "drop")))
    return None if tier is None else _TIERS.get(tier)


def decode_cache(body: Fields) -> CachePolicy | None:
    """Return the cache policy of a ``cache_control`` beside the messages, None where there is none.

    Raises Refused.
    """
    mark = body.mapping("cache_control")
    if mark is None:
        return None
    ttl = mark.get("ttl")
    return CachePolicy(mode="auto", ttl=ttl if isinstance(ttl, str) else None, raw=mark)


def decode_thread(body: Fields, extras: list[Extra]) -> bool:
    """Return whether the request continues a conversation that the vendor stores.

    Its messages are then only the new ones, perhaps none. A request that starts such a conversation
    is whole.
    """
    thread = body.inside("thread")
    if thread is None:
        return False
    raw, continues = dict(thread.left), thread.need_text("type") != "create"
    extra = body.extra("thread", raw, "refuse" if continues else "drop")
    extras.append(msgspec.structs.replace(extra, details=RESEND))
    return continues
