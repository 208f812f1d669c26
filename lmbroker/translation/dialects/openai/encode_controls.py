"""Sampling, limits, output format, user and tier -> OpenAI's (translation.md 2.2 and 2.6)."""

from hashlib import sha256

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_parts import Parts
from lmbroker.translation.shared.instructions import JSON_LINE, follow_schema
from lmbroker.translation.shared.schemas import meets_openai_strict
from lmbroker.translation.shared.tool_schemas import completed

FORMAT_NAME = "output"
"""The name for an output format without one: OpenAI requires a name."""

MAX_IDENTIFIER = 128
"""The maximum of characters of a safety identifier (vendor documentation)."""

_TIERS = {"standard": "default"}
_ANY_TIER = ("auto", "standard")


def encode_limit(parts: Parts) -> int | None:
    """Return the limit of the answer's length in tokens, None where there is to be none."""
    asked, most = parts.request.max_tokens, parts.profile.max_output
    if asked is None:
        return None
    if asked == 0:
        parts.refuse("max_tokens", "the backend cannot fill its cache without an answer")
    if most is not None and asked > most:
        parts.change("max_tokens")
        asked = most
    window = parts.profile.context
    if window is not None and asked >= window:
        # The prompt takes a part of the window: what is left of it is the most that the backend can
        # give.
        parts.change("max_tokens")
        return None
    return asked


def encode_sampling(parts: Parts, reasoning: bool) -> JSON:
    """Return ``temperature``, ``top_p`` and ``top_k``, as far as the model takes them.

    To leave out a value that is the default anyway is no loss.
    """
    profile, sampling = parts.profile, parts.request.sampling
    free = profile.sampling == "full" or (profile.sampling == "no_thinking" and not reasoning)
    out: JSON = {}
    for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if value is None:
            continue
        if free:
            out[name] = value
        elif value != 1:
            parts.drop(name)
    if profile.temp_xor_top_p and len(out) == 2 and out.pop("top_p") != 1:
        parts.drop("top_p")
    if sampling.top_k is not None:
        if free and "top_k" in profile.ext:
            out["top_k"] = sampling.top_k
        else:
            parts.drop("top_k")
    return out


def encode_stop(parts: Parts) -> list[str]:
    """Return the stop sequences, the first ones where the backend takes fewer."""
    stop, profile = parts.request.stop, parts.profile
    if not stop:
        return []
    if not profile.stop:
        parts.drop("stop")
        return []
    if profile.stop_max is not None and len(stop) > profile.stop_max:
        parts.change("stop")
        stop = stop[: profile.stop_max]
    return list(stop)


def encode_output(parts: Parts) -> tuple[JSON | None, str]:
    """Return the output format as one flat object, and an instruction for the rest of it."""
    output, profile = parts.request.output, parts.profile
    if output is None:
        return None, ""
    parts.lost(output.extras)
    if output.kind == "json_object" or output.schema is None:
        if profile.json_object:
            return {"type": "json_object"}, ""
        parts.change("output")
        return None, JSON_LINE
    schema, removed = completed(output.schema, profile.omit_schema_keywords)
    if not profile.structured_outputs:
        parts.change("output_schema")
        form = {"type": "json_object"} if profile.json_object else None
        return form, follow_schema(output.schema)
    strict = output.strict is not False and meets_openai_strict(schema)
    if removed or (output.strict is not False and not strict):
        parts.change("output_schema")
    held: JSON = {"type": "json_schema", "name": output.name or FORMAT_NAME}
    if output.description is not None:
        held["description"] = output.description
    held.update(schema=schema, strict=strict)
    return held, ""


def encode_rest(parts: Parts) -> JSON:
    """Return the fields that OpenAI's dialects share: stop sequences, end user, service tier."""
    request = parts.request
    stop = encode_stop(parts) if request.stop else []
    out: JSON = {"stop": stop} if stop else {}
    if request.user_id is not None:
        out.update(encode_user(parts))
    if request.tier is not None:
        out.update(encode_tier(parts))
    return out


def encode_user(parts: Parts) -> JSON:
    """Return the field that identifies the end user to the backend.

    A backend that has no such field loses nothing: it serves tracing only.
    """
    user_id, field = parts.request.user_id, parts.profile.user_field
    if user_id is None or field == "none":
        return {}
    if field == "safety_identifier" and len(user_id) > MAX_IDENTIFIER:
        user_id = sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()
    return {field: user_id}


def encode_tier(parts: Parts) -> JSON:
    """Return the field for the service tier; backends without tiers serve the standard one."""
    tier, profile = parts.request.tier, parts.profile
    if tier is None or (tier in _ANY_TIER and not profile.service_tier):
        return {}
    if profile.map_fast if tier == "fast" else profile.service_tier:
        return {"service_tier": _TIERS.get(tier, tier)}
    parts.drop("tier")
    return {}
