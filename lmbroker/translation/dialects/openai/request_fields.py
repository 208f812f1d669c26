"""Top-level fields of requests that mean the same in both of OpenAI's formats."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lmbroker.translation.shared.fields import Fields
from lmbroker.translation.unified.parts import Extra
from lmbroker.translation.unified.request import CachePolicy, OutputFormat, Sampling, Tool

_SAMPLING: Mapping[str, Callable[[Fields, str], Any]] = {
    "temperature": partial(Fields.number, least=0, most=2),
    "top_p": partial(Fields.number, least=0, most=1),
    "top_k": Fields.integer,
    "frequency_penalty": partial(Fields.number, least=-2, most=2),
    "presence_penalty": partial(Fields.number, least=-2, most=2),
    "seed": Fields.integer,
    "logit_bias": Fields.mapping,
}
"""Some of these belong to one of the formats only, but servers take them in both."""

_TIERS = {
    "auto": "auto",
    "default": "standard",
    "flex": "flex",
    "priority": "priority",
    "fast": "fast",
    "scale": "scale",
}


def sampling(fields: Fields) -> Sampling:
    """Return the sampling parameters of a request. Raises Refused."""
    given = {name: read(fields, name) for name, read in _SAMPLING.items() if name in fields.left}
    return Sampling(**given)


def json_schema(held: Fields, form: Fields, prefix: str) -> OutputFormat:
    """Return the JSON output format that ``held`` describes. Raises Refused.

    ``held`` is ``form`` itself, or stands in it under ``prefix``.
    """
    return OutputFormat(
        kind="json_schema",
        name=held.text("name"),
        description=held.text("description"),
        schema=held.mapping("schema"),
        strict=held.boolean("strict"),
        extras=(*held.rest(prefix), *form.rest()),
    )


def user_id(fields: Fields, paths: dict[str, str], extras: list[Extra]) -> str | None:
    """Return the end user's id: the safety identifier, else ``user``, else the one in the metadata.

    ``paths`` gets the field from which it came, ``extras`` the other fields.
    """
    metadata = fields.mapping("metadata")
    if metadata is not None:
        extras.append(fields.extra("metadata", metadata, "none"))
    chosen = None
    for name in ("safety_identifier", "user"):
        value = fields.text(name)
        if value is not None and chosen is None:
            chosen, paths["user_id"] = value, name
        elif value is not None:
            extras.append(fields.extra(name, value, "none"))
    held = (metadata or {}).get("user_id")
    if chosen is None and isinstance(held, str):
        chosen, paths["user_id"] = held, "metadata.user_id"
    return chosen


def tier(fields: Fields, extras: list[Extra]) -> str | None:
    """Return the service tier; an unknown one goes to ``extras``."""
    value = fields.text("service_tier")
    if value is not None and value not in _TIERS:
        extras.append(fields.extra("service_tier", value, "drop"))
    return None if value is None else _TIERS.get(value)


def cache_policy(fields: Fields, extras: list[Extra]) -> CachePolicy | None:
    """Return the cache policy of the prompt.

    What other vendors have no field for goes to ``extras``.
    """
    options = fields.inside("prompt_cache_options")
    if options is None:
        return None
    raw = dict(options.left)
    mode, ttl = options.text("mode") or "implicit", options.text("ttl")
    if mode not in ("implicit", "explicit"):
        extras.append(fields.extra("prompt_cache_options", raw, "refuse"))
        return None
    prefix = "prompt_cache_options."
    compared, prewarm = options.any("comparison_response_id"), options.boolean("prewarm")
    if compared is not None:
        extras.append(options.extra("comparison_response_id", compared, "none", prefix))
    if prewarm is not None:
        loss = options.extra("prewarm", prewarm, "refuse" if prewarm else "none", prefix)
        extras.append(loss)
    extras += options.rest(prefix)
    return CachePolicy(mode="auto" if mode == "implicit" else "explicit", ttl=ttl, raw=raw)


def call_kept(held: Fields) -> list[Extra]:
    """Return the fields of a call or a tool that say who calls it and whether the caller waits.

    They are extras, since other vendors have no fields for them; nothing is lost where the value is
    what those do anyway.
    """
    kept = []
    caller: Any = held.any("caller")
    if caller is not None:
        direct = isinstance(caller, dict) and caller.get("type") == "direct"
        kept.append(held.extra("caller", caller, "none" if direct else "drop"))
    callers: Any = held.any("allowed_callers")
    if callers is not None:
        direct = isinstance(callers, list) and (not callers or "direct" in callers)
        kept.append(held.extra("allowed_callers", callers, "none" if direct else "drop"))
    waits = held.any("async")
    if waits is not None:
        kept.append(held.extra("async", waits, "drop" if waits else "none"))
    return kept


def named_apart(tools: tuple[Tool, ...], later: list[Tool]) -> tuple[Tool, ...]:
    """Return ``tools`` and those of ``later`` whose names are new.

    Of several with one name, the last one counts, at the place of the first.
    """
    known = {tool.name for tool in tools}
    new: dict[str, Tool] = {}
    for tool in later:
        if tool.name not in known:
            new[tool.name] = tool
    return (*tools, *new.values()) if new else tools
