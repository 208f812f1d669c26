"""Configurations of LiteLLM's proxy: its ``config.yaml``."""

from collections.abc import Mapping
from typing import Any

from lmbroker.commands.importing.draft import Draft, place
from lmbroker.commands.importing.providers import CHAT, MESSAGES, PROVIDERS
from lmbroker.config.backends import as_reference

STRATEGIES = {
    "simple-shuffle": "weighted",
    "least-busy": "least-busy",
    "latency-based-routing": "fastest",
}
"""How LiteLLM chooses among deployments, and what is like it here."""

MILLION = 1_000_000

_ELSEWHERE = {
    "bedrock": "AWS signs each request",
    "sagemaker": "AWS signs each request",
    "vertex_ai": "Google's tokens expire within the hour",
    "vertex_ai_beta": "Google's tokens expire within the hour",
}
"""Providers whose API cannot be called with a key that stays."""

_OF_PARAMS = (
    "model", "api_base", "base_url", "api_key", "api_version", "organization", "extra_headers",
    "timeout", "weight", "order", "max_parallel_requests", "custom_llm_provider", "drop_params",
    "input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
)  # fmt: skip
_OF_INFO = (
    "max_input_tokens", "max_output_tokens", "supports_vision", "input_cost_per_token",
    "output_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost",
)  # fmt: skip


def read(given: Any) -> Draft:
    """Return what a configuration amounts to here."""
    draft = Draft()
    whole = given if isinstance(given, dict) else {}
    for number, entry in enumerate(_list(whole.get("model_list"))):
        _deployment(draft, f"model_list[{number}]", entry if isinstance(entry, dict) else {})
    _sort(draft)
    router = _dict(whole.get("router_settings"))
    settings = _dict(whole.get("litellm_settings"))
    _strategy(draft, router)
    for path, table in (("router_settings", router), ("litellm_settings", settings)):
        _fallbacks(draft, path, table)
        _rules(draft, path, table)
    _aliases(draft, router)
    general = _dict(whole.get("general_settings"))
    _master_key(draft, general)
    draft.leave_others("general_settings", general, ("master_key",))
    known = ("model_list", "router_settings", "litellm_settings", "general_settings")
    draft.leave_others("", whole, known)
    return draft


def _deployment(draft: Draft, path: str, entry: Mapping[str, Any]) -> None:
    params, info = _dict(entry.get("litellm_params")), _dict(entry.get("model_info"))
    alias, written = str(entry.get("model_name") or ""), str(params.get("model") or "")
    provider, _, model = written.partition("/")
    if params.get("custom_llm_provider"):
        provider, model = str(params["custom_llm_provider"]), written
    elif not model:
        # Names without a provider are known by LiteLLM's own tables.
        provider, model = (MESSAGES if written.startswith("claude") else CHAT), written
    if not alias or not written:
        draft.leave(path, "it has no model_name, or no litellm_params.model")
        return
    target = _named(draft, path, alias, model)
    table = _backend(draft, path, provider, model, params)
    if not target or not table:
        return
    name = draft.backend(provider, table)
    target = {"backend": name, **target, **_of_target(draft, path, params, info)}
    draft.model(alias)["targets"].append(target)
    draft.leave_others(f"{path}.litellm_params", params, _OF_PARAMS)
    draft.leave_others(f"{path}.model_info", info, _OF_INFO)
    draft.leave_others(path, entry, ("model_name", "litellm_params", "model_info"))


def _named(draft: Draft, path: str, alias: str, model: str) -> dict[str, Any]:
    """Return the model's name at the backend; nothing where patterns cannot be carried."""
    if "*" not in alias:
        if "*" in model:
            draft.leave(path, f"{model!r} needs a model_name with a * as well")
            return {}
        return {"model": model}
    if "*" in alias[:-1]:
        draft.leave(f"{path}.model_name", "a * may stand at the end only")
        return {}
    if alias != model:
        draft.leave(
            f"{path}.model_name", f"{alias!r} leads to {model!r}: nothing is taken from names here"
        )
        return {}
    return {"model": "*"}


def _backend(
    draft: Draft, path: str, provider: str, model: str, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keys of a deployment's backend; nothing where it cannot be carried."""
    where = f"{path}.litellm_params"
    known = PROVIDERS.get(provider)
    url = str(params.get("api_base") or params.get("base_url") or "")
    if url.startswith("os.environ/"):
        draft.leave(f"{where}.api_base", "a URL stands in the configuration itself: write it there")
        return {}
    if provider in ("azure", "azure_ai"):
        return _azure(draft, where, provider, model, url, params)
    if known is None:
        why = _ELSEWHERE.get(provider, "no provider that LMBroker knows by this name")
        draft.leave(f"{where}.model", f"{provider}: {why}")
        return {}
    url = url or known.url
    if not url:
        draft.leave(where, f"{provider} needs an api_base")
        return {}
    found, problem = place(url)
    if problem:
        draft.leave(f"{where}.api_base", problem)
        return {}
    more = known.more if url == known.url else {}
    key = params.get("api_key") or (known.key and f"env:{known.key}")
    return {"type": known.type, **found, **more, **_access(draft, where, key, params)}


def _azure(
    draft: Draft, where: str, provider: str, model: str, url: str, params: Mapping[str, Any]
) -> dict[str, Any]:
    found, problem = place(url) if url else ({}, "azure needs an api_base")
    if problem:
        draft.leave(f"{where}.api_base", problem)
        return {}
    key = params.get("api_key") or f"env:{provider.upper()}_API_KEY"
    access = _access(draft, where, key, params)
    base = str(found.get("url") or found.get("root"))
    version = params.get("api_version")
    if provider == "azure" and version and not base.endswith("/v1"):
        root = base if "/deployments/" in base else f"{base}/openai/deployments/{model}"
        return {"type": CHAT, "root": root, "query": {"api-version": str(version)}, **access}
    if provider == "azure" and not base.endswith("/v1"):
        base = f"{base}/openai/v1"
    return {"type": CHAT, "url": base, **access}


def _access(draft: Draft, where: str, key: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the credentials and bounds of a backend."""
    table: dict[str, Any] = {}
    if isinstance(key, str) and key:
        table["api_key"] = as_reference(key)
    headers = {
        str(name): as_reference(str(value))
        for name, value in _dict(params.get("extra_headers")).items()
    }
    if isinstance(params.get("organization"), str):
        headers["openai-organization"] = as_reference(params["organization"])
    if headers:
        table["headers"] = headers
    most = params.get("max_parallel_requests")
    if isinstance(most, int) and most > 0:
        table["max_in_flight"] = most
    seconds = _number(params.get("timeout"))
    if seconds:
        table["timeouts"] = {"headers": seconds, "first_event": seconds}
    elif params.get("timeout") is not None:
        draft.leave(f"{where}.timeout", "it is no number of seconds")
    return table


def _of_target(
    draft: Draft, path: str, params: Mapping[str, Any], info: Mapping[str, Any]
) -> dict[str, Any]:
    """Return weight, price and profile of a deployment."""
    table: dict[str, Any] = {}
    weight, order = _number(params.get("weight")), _number(params.get("order"))
    if weight is not None:
        table["weight"] = weight
    if order is not None:
        # Taken out again once all deployments are sorted by it.
        table["order"] = order
    costs = {**info, **params}
    price = {
        ours: round(cost * MILLION, 9)
        for ours, theirs in (
            ("input", "input_cost_per_token"),
            ("output", "output_cost_per_token"),
            ("cache_read", "cache_read_input_token_cost"),
            ("cache_write", "cache_creation_input_token_cost"),
        )
        if (cost := _number(costs.get(theirs))) is not None
    }
    if {"input", "output"} <= set(price):
        table["price"] = price
    elif price:
        draft.leave(path, "a price needs both input_cost_per_token and output_cost_per_token")
    profile = {
        ours: info[theirs]
        for ours, theirs, kind in (
            ("context", "max_input_tokens", int),
            ("max_output", "max_output_tokens", int),
            ("vision", "supports_vision", bool),
        )
        if type(info.get(theirs)) is kind and (kind is bool or info[theirs] > 0)
    }
    if profile:
        table["profile"] = profile
    return table


def _sort(draft: Draft) -> None:
    """Sort the targets of each alias by LiteLLM's ``order``."""
    for alias in draft.aliases():
        targets = draft.targets(alias)
        if any("order" in target for target in targets):
            targets.sort(key=lambda target: target.get("order", float("inf")))
            draft.model(alias)["strategy"] = "ordered"
        for target in targets:
            target.pop("order", None)


def _strategy(draft: Draft, router: Mapping[str, Any]) -> None:
    written = router.get("routing_strategy", "simple-shuffle")
    if written not in STRATEGIES:
        draft.leave("router_settings.routing_strategy", f"{written!r} is 'weighted' here")
    for alias in draft.aliases():
        if len(draft.targets(alias)) > 1:
            draft.model(alias).setdefault("strategy", STRATEGIES.get(str(written), "weighted"))


def _fallbacks(draft: Draft, path: str, table: Mapping[str, Any]) -> None:
    """Give aliases the targets of those that they fall back to, behind their own."""
    # As they were before: what is added to one must not reach a third by way of it.
    before = {alias: tuple(draft.targets(alias)) for alias in draft.aliases()}
    for key in ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks"):
        for entry in _list(table.get(key)):
            for alias, others in _dict(entry).items():
                if not draft.has(str(alias)):
                    draft.leave(f"{path}.{key}", f"no model has the name {alias!r}")
                    continue
                _behind(draft, f"{path}.{key}", str(alias), _list(others), before)
                if key == "context_window_fallbacks":
                    draft.model(str(alias))["fallback_on"] = ["context_length"]
                elif key == "content_policy_fallbacks":
                    draft.leave(f"{path}.{key}", "they are taken for every failure")
    for alias in draft.aliases() if table.get("default_fallbacks") else ():
        others = [each for each in _list(table["default_fallbacks"]) if each != alias]
        _behind(draft, f"{path}.default_fallbacks", alias, others, before)


def _behind(
    draft: Draft,
    path: str,
    alias: str,
    others: list[Any],
    before: Mapping[str, tuple[dict[str, Any], ...]],
) -> None:
    model, targets = draft.model(alias), draft.targets(alias)
    for other in others:
        if not isinstance(other, str) or other not in before:
            draft.leave(path, f"no model has the name {other!r}")
            continue
        for target in before[other]:
            # A weight of 0: when no other is left.
            behind = {**target, "weight": 0.0}
            if behind not in targets and target not in targets:
                targets.append(behind)
    if model.get("strategy", "ordered") in ("ordered", "fastest") or len(before[alias]) == 1:
        model["strategy"] = "ordered"


def _rules(draft: Draft, path: str, table: Mapping[str, Any]) -> None:
    """Carry what holds for all models: retries and timeouts."""
    retries = table.get("num_retries")
    if isinstance(retries, int) and retries >= 0:
        draft.top.setdefault("retries", {})["attempts"] = retries + 1
    seconds = _number(table.get("request_timeout")) or _number(table.get("timeout"))
    if seconds:
        draft.top["timeouts"] = {"headers": seconds, "first_event": seconds}
    known = (
        "fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks",
        "num_retries", "request_timeout", "timeout", "drop_params", "routing_strategy",
        "model_group_alias",
    )  # fmt: skip
    draft.leave_others(path, table, known)


def _aliases(draft: Draft, router: Mapping[str, Any]) -> None:
    for alias, other in _dict(router.get("model_group_alias")).items():
        goal = _dict(other).get("model") if isinstance(other, dict) else other
        if not isinstance(goal, str) or not draft.has(goal) or draft.has(str(alias)):
            draft.leave(f"router_settings.model_group_alias.{alias}", "it leads to no model")
            continue
        draft.model(str(alias)).update({**draft.model(goal), "alias": str(alias)})


def _master_key(draft: Draft, general: Mapping[str, Any]) -> None:
    key = general.get("master_key")
    if isinstance(key, str) and key:
        draft.top["keys"] = [{"name": "master", "key": as_reference(key)}]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    """Return a number that is not negative, also where it is a text; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < float("inf") else None
