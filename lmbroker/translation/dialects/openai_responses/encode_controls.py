"""Reasoning, output format, sampling and cache -> fields of a Responses request.

See translation.md 8.1.
"""

from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai import encode_controls
from lmbroker.translation.dialects.openai.encode_parts import LONG_TTLS
from lmbroker.translation.dialects.openai.reasoning_control import EFFORT, Control
from lmbroker.translation.dialects.openai_responses.encode_parts import Parts
from lmbroker.translation.unified.request import Reasoning

SUMMARY = "auto"
"""The most detailed summary that the model has."""

_NOT_HERE = ("frequency_penalty", "presence_penalty", "seed")
"""Sampling parameters for which this dialect has no fields."""

_LIFETIMES = ("30m", "12h")


def encode_sampling(parts: Parts, reasoning: bool) -> JSON:
    """Return the sampling parameters that the model takes.

    Those for which the dialect has no field are sent where the backend takes them nevertheless.
    """
    out = encode_controls.encode_sampling(parts, reasoning)
    sampling, ext = parts.request.sampling, parts.profile.ext
    for name in _NOT_HERE:
        value = getattr(sampling, name)
        if value is not None and name in ext:
            out[name] = value
        elif value is not None and (value or name == "seed"):
            parts.drop(name)
    if sampling.logit_bias:
        if "logit_bias" in ext:
            out["logit_bias"] = sampling.logit_bias
        else:
            reason = "the Responses format has no such field"
            parts.losses.refuse(parts.request.path("logit_bias"), reason, soft=True)
    return out


def encode_reasoning(parts: Parts, control: Control) -> JSON:
    """Return the fields for the reasoning, with a summary for the client."""
    wire = dict(control.wire)
    effort, held = wire.pop(EFFORT, None), wire.pop("reasoning", {})
    if effort is not None:
        held = {"effort": effort, **held}
    if _shown(parts):
        held = {**held, "summary": SUMMARY}
    return {"reasoning": held, **wire} if held else wire


def _shown(parts: Parts) -> bool:
    """Return whether the client gets the text of reasoning.

    It does where it asked for reasoning, or where the configuration says so.
    """
    asked = parts.request.reasoning or Reasoning()
    effort = parts.request.later_effort or asked.effort
    off = asked.mode in ("off", "between_tools") or (asked.mode is None and effort == "none")
    if off or asked.display == "omitted" or parts.profile.never_think:
        return False
    wanted = (asked.mode, effort, asked.budget) != (None, None, None)
    return wanted or parts.profile.show_reasoning


def encode_text(parts: Parts) -> tuple[JSON, str]:
    """Return the field for format and verbosity, and the instruction for what it cannot express."""
    held: JSON = {}
    form, line = None, ""
    if parts.request.output is not None:
        form, line = encode_controls.encode_output(parts)
    if form is not None:
        held["format"] = form
    if parts.request.verbosity is not None:
        held["verbosity"] = parts.request.verbosity
    return ({"text": held} if held else {}), line


def encode_cache(parts: Parts) -> JSON:
    """Return the fields that say which prompts share a cache, and for how long."""
    request = parts.request
    out: JSON = {}
    if request.cache_key is not None:
        out["prompt_cache_key"] = request.cache_key
    if request.cache_retention is not None:
        out["prompt_cache_retention"] = request.cache_retention
    policy = request.cache
    if policy is None or not parts.profile.cache_breakpoints:
        return out
    options: JSON = {"mode": "explicit"} if policy.mode == "explicit" else {}
    ttl: Any = "12h" if policy.ttl in LONG_TTLS else policy.ttl
    if ttl in _LIFETIMES:
        options["ttl"] = ttl
    if options:
        out["prompt_cache_options"] = options
    return out
