"""Configurations of claude-code-router (``ccr``): its ``config.json``."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lmbroker.commands.importing.draft import Draft, place
from lmbroker.commands.importing.providers import CHAT, MESSAGES, PROVIDERS

CLAUDE = "claude-*"
"""What Claude Code asks for by itself."""

BACKGROUND = ("claude-haiku-*", "claude-3-5-haiku-*")
"""What it asks for small tasks in the background."""

LEVELS = {"fatal": "critical", "trace": "debug"}
"""Its log levels that have another name here."""

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
_GEMINI = "generativelanguage.googleapis.com"
_CARRIED = ("default", "background", "longContext")
_HARMLESS = {
    "deepseek", "openrouter", "groq", "gemini", "cleancache", "streamoptions", "enhancetool",
    "reasoning", "sampling", "maxcompletiontokens", "extrathinktag",
}  # fmt: skip
"""Transformers that do what the translation does by itself."""


def read(given: Any) -> Draft:
    """Return what a configuration amounts to here."""
    draft = Draft()
    whole = given if isinstance(given, dict) else {}
    _server(draft, whole)
    providers = "Providers" if "Providers" in whole else "providers"
    for number, provider in enumerate(_list(whole.get(providers))):
        _provider(draft, f"{providers}[{number}]", _dict(provider), whole)
    router = "Router" if "Router" in whole else "router"
    _router(draft, router, _dict(whole.get(router)))
    for where, names in _dict(whole.get("fallback")).items():
        if where in ("default", "background"):
            for alias in _aliases_of(where):
                _behind(draft, f"fallback.{where}", alias, _list(names))
        else:
            draft.leave(f"fallback.{where}", "calls are not distinguished by what they are for")
    known = (providers, router, "fallback", "HOST", "PORT", "APIKEY", "API_TIMEOUT_MS",
             "PROXY_URL", "LOG_LEVEL")  # fmt: skip
    draft.leave_others("", whole, known)
    return draft


def _provider(draft: Draft, path: str, provider: Mapping[str, Any], whole: Any) -> None:
    name, url = str(provider.get("name") or ""), str(provider.get("api_base_url") or "")
    transformer = _dict(provider.get("transformer"))
    used = tuple(_names(transformer.get("use")))
    speaks_messages = any(each.lower() == MESSAGES for each in used) or url.endswith("/v1/messages")
    if _GEMINI in url and "/openai" not in url:
        draft.leave(f"{path}.api_base_url", "Gemini's API for Chat Completions is in its place")
        url = PROVIDERS["gemini"].url
    found, problem = place(url)
    if not name or problem:
        draft.leave(path, problem or "it has no name")
        return
    table: dict[str, Any] = {"type": MESSAGES if speaks_messages else CHAT, **found}
    key = provider.get("api_key")
    if isinstance(key, str) and key:
        table["api_key"] = _reference(key)
    proxy = whole.get("PROXY_URL")
    if isinstance(proxy, str) and proxy.startswith("http://") and "localhost" not in url:
        table["proxy"] = proxy.rstrip("/")
    backend = draft.backend(name, table)
    limit = _most_tokens(transformer.get("use"))
    for model in filter(None, map(str, _list(provider.get("models")))):
        of_model = _dict(transformer.get(model)).get("use")
        target: dict[str, Any] = {"backend": backend, "model": model}
        most = _most_tokens(of_model) or limit
        if most:
            target["profile"] = {"max_output": most}
        for alias in (f"{name},{model}", model):
            if not draft.has(alias) and "*" not in alias:
                draft.model(alias)["targets"].append(target)
        _transformers(draft, f"{path}.transformer.{model}", of_model)
    _transformers(draft, f"{path}.transformer", transformer.get("use"))
    known = ("name", "api_base_url", "api_key", "models", "transformer")
    draft.leave_others(path, provider, known)


def _transformers(draft: Draft, path: str, use: Any) -> None:
    """Note the transformers that have nothing like them here."""
    for name in _names(use):
        if name.lower() not in _HARMLESS | {"maxtoken", MESSAGES, CHAT}:
            draft.leave(f"{path}.use", f"the transformer {name!r} has nothing like it here")


def _names(use: Any) -> Iterator[str]:
    """Yield the names of transformers, each by itself or with options."""
    for each in _list(use):
        name = each[0] if isinstance(each, list) and each else each
        if isinstance(name, str):
            yield name


def _most_tokens(use: Any) -> int:
    """Return the most tokens that a ``maxtoken`` transformer lets through, 0 for no bound."""
    for each in _list(use):
        if isinstance(each, list) and len(each) == 2 and each[0] == "maxtoken":
            most = _dict(each[1]).get("max_tokens")
            return most if isinstance(most, int) and most > 0 else 0
    return 0


def _router(draft: Draft, path: str, router: Mapping[str, Any]) -> None:
    for where in ("default", "background"):
        goal = router.get(where)
        if not isinstance(goal, str) or not goal:
            continue
        if not draft.has(goal):
            draft.leave(f"{path}.{where}", f"no provider has {goal!r}")
            continue
        for alias in _aliases_of(where):
            draft.model(alias)["targets"] = list(draft.targets(goal))
        if where == "default":
            draft.top["default"] = goal
    longer = router.get("longContext")
    if isinstance(longer, str) and draft.has(CLAUDE) and longer != router.get("default"):
        _behind(draft, f"{path}.longContext", CLAUDE, [longer])
        draft.model(CLAUDE)["fallback_on"] = ["context_length"]
    if "longContextThreshold" in router:
        draft.leave(
            f"{path}.longContextThreshold",
            "the model for long prompts is asked once the first one refuses a prompt as too long",
        )
    for where in router:
        if where not in (*_CARRIED, "longContextThreshold"):
            draft.leave(f"{path}.{where}", "calls are not distinguished by what they are for")


def _aliases_of(where: str) -> tuple[str, ...]:
    return (CLAUDE,) if where == "default" else BACKGROUND


def _behind(draft: Draft, path: str, alias: str, names: list[Any]) -> None:
    """Give an alias more targets, behind its own."""
    for name in names:
        if not isinstance(name, str) or not draft.has(name) or not draft.has(alias):
            draft.leave(path, f"no provider has {name!r}")
            continue
        targets = draft.targets(alias)
        targets += [target for target in draft.targets(name) if target not in targets]


def _server(draft: Draft, whole: Mapping[str, Any]) -> None:
    server: dict[str, Any] = {}
    key = whole.get("APIKEY")
    if isinstance(key, str) and key:
        draft.top["keys"] = [{"name": "ccr", "key": _reference(key)}]
    host, port = whole.get("HOST"), whole.get("PORT")
    if isinstance(host, str) and host:
        if host in ("127.0.0.1", "localhost", "::1") or "keys" in draft.top:
            server["host"] = host
        else:
            draft.leave("HOST", "other machines would reach the broker without a key (APIKEY)")
    if isinstance(port, int | str) and str(port).isdecimal() and 0 < int(port) < 65536:
        server["port"] = int(port)
    if server:
        draft.top["server"] = server
    level = whole.get("LOG_LEVEL")
    if isinstance(level, str):
        level = LEVELS.get(level, level)
        if level in ("debug", "info", "warn", "error", "critical"):
            draft.top["log_level"] = level
    milliseconds = str(whole.get("API_TIMEOUT_MS") or "")
    if milliseconds.isdecimal() and 0 < int(milliseconds) <= 86_400_000:
        seconds = int(milliseconds) / 1000
        draft.top["timeouts"] = {"headers": seconds, "first_event": seconds}
    proxy = whole.get("PROXY_URL")
    if proxy and not (isinstance(proxy, str) and proxy.startswith("http://")):
        draft.leave("PROXY_URL", "expected http://host:port")


def _reference(key: str) -> str:
    """Return a key, or the reference to the variable that holds it."""
    found = _VARIABLE.fullmatch(key)
    return f"env:{found[1]}" if found else key


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
