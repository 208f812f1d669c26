"""Sampling, limits and output format -> fields of a chat completion request.

See translation.md 2.2 and 2.6.
"""

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai import encode_controls
from lmbroker.translation.dialects.openai.encode_parts import Parts


def encode_limit(parts: Parts) -> JSON:
    """Return the field that limits the answer's length, under the name that the backend wants."""
    limit = encode_controls.encode_limit(parts)
    return {} if limit is None else {parts.profile.max_tokens_field: limit}


def encode_sampling(parts: Parts, reasoning: bool) -> JSON:
    """Return the sampling parameters that the model takes."""
    out = encode_controls.encode_sampling(parts, reasoning)
    sampling = parts.request.sampling
    if sampling.frequency_penalty is not None:
        out["frequency_penalty"] = sampling.frequency_penalty
    if sampling.presence_penalty is not None:
        out["presence_penalty"] = sampling.presence_penalty
    if sampling.seed is not None:
        out["seed"] = sampling.seed
    if sampling.logit_bias is not None:
        out["logit_bias"] = sampling.logit_bias
    return out


def encode_output(parts: Parts) -> tuple[JSON | None, str]:
    """Return the output format, and an instruction for what it cannot express."""
    form, line = encode_controls.encode_output(parts)
    if form is None or form["type"] != "json_schema":
        return form, line
    held = {key: value for key, value in form.items() if key != "type"}
    return {"type": "json_schema", "json_schema": held}, line


def encode_wishes(parts: Parts) -> JSON:
    """Return the fields for the prompt cache and for verbosity that the backend has.

    Key and lifetime of the cache only hint at speed.
    """
    request, known = parts.request, parts.profile.ext
    if request.cache_key is None and request.cache_retention is None and request.verbosity is None:
        return {}
    wished = {
        "prompt_cache_key": request.cache_key,
        "prompt_cache_retention": request.cache_retention,
        "verbosity": request.verbosity,
    }
    if request.verbosity is not None and "verbosity" not in known:
        parts.drop("verbosity")
    return {name: said for name, said in wished.items() if said is not None and name in known}
