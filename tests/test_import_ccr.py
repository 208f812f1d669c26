"""``lmbroker import ccr``: configurations of claude-code-router in the shapes people publish."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import loaded, routes

from lmbroker.commands.cli import main
from lmbroker.commands.importing import from_json
from lmbroker.commands.importing.claude_code_router import BACKGROUND, CLAUDE, read

OPENROUTER = "https://openrouter.ai/api/v1"


def provider(name, url, models, **more):
    return {"name": name, "api_base_url": url, "api_key": "$KEY", "models": models, **more}


ROUTER = provider("or", f"{OPENROUTER}/chat/completions", ["a/big", "b/small"])
OLLAMA = provider("ollama", "http://localhost:11434/v1/chat/completions", ["qwen3:8b"])


def whole(*providers, router=None, **more):
    given_router = {"default": f"{providers[0]['name']},{providers[0]['models'][0]}"}
    return {"Providers": list(providers), "Router": router or given_router, **more}


SHAPES = {
    "one provider": (whole(ROUTER), {CLAUDE: ["a/big"], "or,b/small": ["b/small"]}, []),
    "a model for small tasks": (
        whole(ROUTER, OLLAMA, router={"default": "or,a/big", "background": "ollama,qwen3:8b"}),
        {CLAUDE: ["a/big"], BACKGROUND[0]: ["qwen3:8b"], BACKGROUND[1]: ["qwen3:8b"]},
        [],
    ),
    "a model for long prompts": (
        whole(
            ROUTER,
            router={
                "default": "or,a/big",
                "longContext": "or,b/small",
                "longContextThreshold": 60000,
            },
        ),
        {CLAUDE: ["a/big", "b/small"]},
        ["Router.longContextThreshold"],
    ),
    "models for what cannot be told apart": (
        whole(
            ROUTER,
            router={
                "default": "or,a/big", "think": "or,a/big", "webSearch": "or,b/small",
                "image": "or,a/big",
            },
        ),
        {CLAUDE: ["a/big"]},
        ["Router.think", "Router.webSearch", "Router.image"],
    ),
    "a goal that nobody has": (
        whole(ROUTER, router={"default": "or,nobody"}),
        {"a/big": ["a/big"]},
        ["Router.default"],
    ),
    "deepseek, whose path has no version": (
        whole(
            provider(
                "deepseek",
                "https://api.deepseek.com/chat/completions",
                ["deepseek-chat"],
                transformer={"use": ["deepseek"], "deepseek-chat": {"use": ["tooluse"]}},
            )
        ),
        {CLAUDE: ["deepseek-chat"]},
        ["Providers[0].transformer.deepseek-chat.use"],
    ),
    "gemini": (
        whole(
            provider(
                "gemini",
                "https://generativelanguage.googleapis.com/v1beta/models/",
                ["gemini-2.5-pro"],
                transformer={"use": ["gemini"]},
            )
        ),
        {CLAUDE: ["gemini-2.5-pro"]},
        ["Providers[0].api_base_url"],
    ),
    "an Anthropic endpoint of another vendor": (
        whole(provider("glm", "https://api.z.ai/api/anthropic/v1/messages", ["glm-4.6"],
                       transformer={"use": ["Anthropic"]})),
        {CLAUDE: ["glm-4.6"]},
        [],
    ),
    "a bound of tokens": (
        whole(provider("m", "https://api-inference.modelscope.cn/v1/chat/completions", ["q"],
                       transformer={"use": [["maxtoken", {"max_tokens": 65536}], "enhancetool"]})),
        {CLAUDE: ["q"]},
        [],
    ),
    "a server for others": (
        whole(ROUTER, HOST="0.0.0.0", PORT=3456, APIKEY="$CCR_KEY", LOG=True, LOG_LEVEL="trace"),
        {CLAUDE: ["a/big"]},
        ["LOG"],
    ),
    "a server for others without a key": (
        whole(ROUTER, HOST="0.0.0.0", PORT=3456), {CLAUDE: ["a/big"]}, ["HOST"]
    ),
    "a server for this machine": (
        whole(ROUTER, HOST="127.0.0.1", PORT="3456", API_TIMEOUT_MS="600000", LOG_LEVEL="info"),
        {CLAUDE: ["a/big"]},
        [],
    ),
    "a proxy": (whole(ROUTER, PROXY_URL="http://127.0.0.1:7890"), {CLAUDE: ["a/big"]}, []),
    "a proxy of another kind": (
        whole(ROUTER, PROXY_URL="socks5://127.0.0.1:7890"), {CLAUDE: ["a/big"]}, ["PROXY_URL"]
    ),
    "names in lower case": (
        {
            "providers": [ROUTER],
            "router": {"default": "or,a/big"},
        },
        {CLAUDE: ["a/big"]},
        [],
    ),
    "fallbacks": (
        whole(ROUTER, OLLAMA, fallback={"default": ["ollama,qwen3:8b"], "think": ["or,a/big"]}),
        {CLAUDE: ["a/big", "qwen3:8b"]},
        ["fallback.think"],
    ),
    "plugins and what a terminal shows": (
        whole(
            ROUTER,
            transformers=[{"name": "own", "path": "own.js"}],
            StatusLine={"enabled": True},
            CUSTOM_ROUTER_PATH="r.js",
            NON_INTERACTIVE_MODE=True,
        ),
        {CLAUDE: ["a/big"]},
        ["transformers", "StatusLine", "CUSTOM_ROUTER_PATH", "NON_INTERACTIVE_MODE"],
    ),
    "a transformer with options": (
        whole(
            provider("or", f"{OPENROUTER}/chat/completions", ["a/big"],
                     transformer={"use": [["openrouter", {"provider": {"only": ["x"]}}], "own"]})
        ),
        {CLAUDE: ["a/big"]},
        ["Providers[0].transformer.use"],
    ),
    "two providers with one model's name": (
        whole(ROUTER, provider("two", "http://h:1/v1/chat/completions", ["a/big"], weight=1)),
        {"or,a/big": ["a/big"], "two,a/big": ["a/big"], "a/big": ["a/big"]},
        ["Providers[1].weight"],
    ),
    "a provider without a URL": (
        whole(ROUTER, {"name": "x", "models": ["y"]}), {CLAUDE: ["a/big"]}, ["Providers[1]"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_carried_or_named(name):
    given_config, expected, left = SHAPES[name]
    draft = read(from_json(json.dumps(given_config)))
    found = routes(loaded(draft))
    models = {alias: [target[2] for target in targets] for alias, targets in found.items()}
    assert {alias: models.get(alias) for alias in expected} == expected
    assert sorted(line.partition(": ")[0] for line in draft.left) == sorted(left)


def test_where_the_backends_are():
    def backend(name, alias=CLAUDE):
        return loaded(read(SHAPES[name][0])).alias(alias).targets[0].backend

    assert backend("one provider").url == OPENROUTER
    assert backend("one provider").credential_ref == "env:KEY"
    deepseek = backend("deepseek, whose path has no version")
    assert (deepseek.url, deepseek.exact_root) == ("https://api.deepseek.com", True)
    assert backend("gemini").url == "https://generativelanguage.googleapis.com/v1beta/openai"
    glm = backend("an Anthropic endpoint of another vendor")
    assert (glm.dialect, glm.url) == ("anthropic", "https://api.z.ai/api/anthropic/v1")
    assert backend("a proxy").proxy.port == 7890
    bounded = loaded(read(SHAPES["a bound of tokens"][0])).alias(CLAUDE)
    assert bounded.targets[0].profile == {"max_output": 65536}


def test_what_claude_code_asks_for_leads_on():
    config = loaded(read(SHAPES["a model for small tasks"][0]))
    for name, model in (
        ("claude-sonnet-4-6", "a/big"),
        ("claude-haiku-4-5-20251001", "qwen3:8b"),
        ("claude-3-5-haiku-20241022", "qwen3:8b"),
        ("or,b/small", "b/small"),
        ("anything", "a/big"),
    ):
        assert config.alias(name).targets[0].model == model


def test_the_server():
    config = loaded(read(SHAPES["a server for others"][0]))
    assert config.server.listen == ("tcp:3456:interface=0.0.0.0",)
    assert ([key.name for key in config.keys], config.log_level) == (["ccr"], "debug")
    config = loaded(read(SHAPES["a server for this machine"][0]))
    assert (config.server.listen, config.timeouts.headers) == (
        ("tcp:3456:interface=127.0.0.1",),
        600.0,
    )


def test_json_with_comments_and_commas_at_the_end(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(
        '{ // the providers\n  "Providers": [{"name": "o", "api_base_url": '
        '"http://h/v1/chat/completions", "models": ["m",],},], /* no more,] */\n}\n'
    )
    assert main(["import", "ccr", str(path)]) == 0
    told = capsys.readouterr()
    assert 'url = "http://h/v1"' in told.out and told.err == ""


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "nonsense"])
def test_no_json_is_one_line(tmp_path, text, capsys):
    path = tmp_path / "c.json"
    path.write_text(text)
    assert main(["import", "ccr", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: cannot be read: it is not valid JSON")


KEYS = ["Providers", "name", "api_base_url", "models", "transformer", "use", "Router", "default"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.sampled_from(["or,a", "or", "a", "http://h/v1", "maxtoken"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)  # fmt: skip
PROVIDERS = st.fixed_dictionaries(
    {"name": st.just("or") | VALUES, "api_base_url": st.just("http://h/v1") | VALUES},
    optional=dict.fromkeys(("models", "transformer", "api_key"), VALUES),
)


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {"Providers": st.lists(PROVIDERS, max_size=3) | VALUES},
        optional=dict.fromkeys(("Router", "fallback", "PORT", "PROXY_URL", "HOST"), VALUES),
    )
    | VALUES
)
def test_whatever_stands_there_nothing_breaks(given_value):
    read(given_value).text()
