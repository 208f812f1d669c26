"""``lmbroker import litellm``: configurations in the shapes that people publish."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import loaded, routes

from lmbroker.commands.cli import main
from lmbroker.commands.importing import from_yaml
from lmbroker.commands.importing.draft import Draft
from lmbroker.commands.importing.litellm import read

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com/v1"


def entry(name, model, **more):
    """One of ``model_list``."""
    lines = "".join(f"\n      {key}: {value}" for key, value in more.items())
    return f"\n  - model_name: {name}\n    litellm_params:\n      model: {model}{lines}"


def of(*entries, more=""):
    return "model_list:" + "".join(entries) + "\n" + more


SHAPES = {
    "one model with its key in the environment": (
        of(entry("gpt-4o", "openai/gpt-4o", api_key="os.environ/MY_KEY")),
        {"gpt-4o": [("openai", OPENAI, "gpt-4o", "env:MY_KEY")]},
        [],
    ),
    "no provider and no key": (
        of(entry("fast", "gpt-4o-mini"), entry("claude", "claude-3-5-haiku-latest")),
        {
            "fast": [("openai", OPENAI, "gpt-4o-mini", "env:OPENAI_API_KEY")],
            "claude": [
                ("anthropic", ANTHROPIC, "claude-3-5-haiku-latest", "env:ANTHROPIC_API_KEY")
            ],
        },
        [],
    ),
    "a literal key": (
        of(entry("m", "openai/gpt-4", api_key="sk-1234")),
        {"m": [("openai", OPENAI, "gpt-4", "literal")]},
        [],
    ),
    "models of ollama": (
        of(
            entry("llama", "ollama/llama3.2:3b", api_base="http://gpu:11434"),
            entry("qwen", "ollama_chat/qwen3:8b"),
        ),
        {
            "llama": [("openai", "http://gpu:11434/v1", "llama3.2:3b", "")],
            "qwen": [("openai", "http://localhost:11434/v1", "qwen3:8b", "")],
        },
        [],
    ),
    "a server of vLLM, model names with slashes": (
        of(entry("qwen", "hosted_vllm/Qwen/Qwen3-32B", api_base="http://vllm:8000/v1")),
        {"qwen": [("openai", "http://vllm:8000/v1", "Qwen/Qwen3-32B", "")]},
        [],
    ),
    "an OpenAI-compatible server by its whole path": (
        of(entry("m", "openai/x", api_base="http://h:8000/v1/chat/completions", api_key="none")),
        {"m": [("openai", "http://h:8000/v1", "x", "literal")]},
        [],
    ),
    "a deployment of Azure": (
        of(
            entry(
                "gpt-4o",
                "azure/my-gpt",
                api_base="https://r.openai.azure.com/",
                api_key="os.environ/AZURE_API_KEY",
                api_version='"2024-10-21"',
            )
        ),
        {
            "gpt-4o": [
                (
                    "openai",
                    "https://r.openai.azure.com/openai/deployments/my-gpt",
                    "my-gpt",
                    "env:AZURE_API_KEY",
                )
            ]
        },
        [],
    ),
    "Azure's newer API": (
        of(entry("g", "azure/gpt-5", api_base="https://r.openai.azure.com", api_key="k")),
        {"g": [("openai", "https://r.openai.azure.com/openai/v1", "gpt-5", "literal")]},
        [],
    ),
    "load balancing between deployments of one name": (
        of(
            entry("m", "openai/a", api_base="http://one:1", weight=3, rpm=60),
            entry("m", "openai/b", api_base="http://two:1", weight=1, tpm=100000),
            more="router_settings:\n  routing_strategy: least-busy\n",
        ),
        {
            "m": [
                ("openai", "http://one:1/v1", "a", "env:OPENAI_API_KEY"),
                ("openai", "http://two:1/v1", "b", "env:OPENAI_API_KEY"),
            ]
        },
        ["model_list[0].litellm_params.rpm", "model_list[1].litellm_params.tpm"],
    ),
    "fallbacks in litellm_settings": (
        of(
            entry("gpt", "openai/gpt-4o"),
            entry("claude", "anthropic/claude-sonnet-4-5"),
            more="litellm_settings:\n  num_retries: 2\n  request_timeout: 600\n"
            '  fallbacks: [{"gpt": ["claude"]}]\n  drop_params: true\n',
        ),
        {
            "gpt": [
                ("openai", OPENAI, "gpt-4o", "env:OPENAI_API_KEY"),
                ("anthropic", ANTHROPIC, "claude-sonnet-4-5", "env:ANTHROPIC_API_KEY"),
            ],
            "claude": [("anthropic", ANTHROPIC, "claude-sonnet-4-5", "env:ANTHROPIC_API_KEY")],
        },
        [],
    ),
    "fallbacks in router_settings, for long prompts, and of all": (
        of(
            entry("a", "openai/a"),
            entry("b", "openai/b"),
            more="router_settings:\n  context_window_fallbacks:\n    - a: [b]\n"
            "  num_retries: 0\n  allowed_fails: 3\n  cooldown_time: 30\n"
            "litellm_settings:\n  default_fallbacks: [b, c]\n",
        ),
        {
            "a": [
                ("openai", OPENAI, "a", "env:OPENAI_API_KEY"),
                ("openai", OPENAI, "b", "env:OPENAI_API_KEY"),
            ],
            "b": [("openai", OPENAI, "b", "env:OPENAI_API_KEY")],
        },
        [
            "router_settings.allowed_fails",
            "router_settings.cooldown_time",
            "litellm_settings.default_fallbacks",
        ],
    ),
    "the order of deployments": (
        of(entry("m", "openai/second", order=2), entry("m", "openai/first", order=1)),
        {
            "m": [
                ("openai", OPENAI, "first", "env:OPENAI_API_KEY"),
                ("openai", OPENAI, "second", "env:OPENAI_API_KEY"),
            ]
        },
        [],
    ),
    "names for all models": (
        of(entry('"*"', '"openai/*"'), entry('"gpt-*"', '"openai/gpt-*"')),
        {
            "*": [("openai", OPENAI, "*", "env:OPENAI_API_KEY")],
            "gpt-*": [("openai", OPENAI, "*", "env:OPENAI_API_KEY")],
        },
        [],
    ),
    "names whose beginning would be taken off": (
        of(entry('"anthropic/*"', '"anthropic/*"'), entry("x", "openai/x")),
        {"x": [("openai", OPENAI, "x", "env:OPENAI_API_KEY")]},
        ["model_list[0].model_name"],
    ),
    "a gateway with a database, a master key and callbacks": (
        of(
            entry("m", "openai/m"),
            more="general_settings:\n  master_key: os.environ/MASTER\n"
            "  database_url: postgresql://u:p@db/x\n  store_model_in_db: true\n"
            "litellm_settings:\n  callbacks: [langfuse]\n  cache: true\n"
            "  cache_params: {type: redis}\n"
            "environment_variables:\n  REDIS_HOST: redis\n",
        ),
        {"m": [("openai", OPENAI, "m", "env:OPENAI_API_KEY")]},
        [
            "litellm_settings.callbacks",
            "litellm_settings.cache",
            "litellm_settings.cache_params",
            "general_settings.database_url",
            "general_settings.store_model_in_db",
            "environment_variables",
        ],
    ),
    "providers that sign their requests": (
        of(
            entry("b", "bedrock/anthropic.claude-3", aws_region_name="us-east-1"),
            entry("v", "vertex_ai/gemini-2.5-pro", vertex_project="p"),
            entry("m", "groq/llama-3.3-70b"),
        ),
        {"m": [("openai", "https://api.groq.com/openai/v1", "llama-3.3-70b", "env:GROQ_API_KEY")]},
        ["model_list[0].litellm_params.model", "model_list[1].litellm_params.model"],
    ),
    "several providers": (
        of(
            entry("g", "gemini/gemini-2.5-flash", api_key="os.environ/GEMINI"),
            entry("d", "deepseek/deepseek-chat"),
            entry("o", "openrouter/anthropic/claude-sonnet-4"),
        ),
        {
            "g": [
                (
                    "openai",
                    "https://generativelanguage.googleapis.com/v1beta/openai",
                    "gemini-2.5-flash",
                    "env:GEMINI",
                )
            ],
            "d": [
                ("openai", "https://api.deepseek.com/v1", "deepseek-chat", "env:DEEPSEEK_API_KEY")
            ],
            "o": [
                (
                    "openai",
                    "https://openrouter.ai/api/v1",
                    "anthropic/claude-sonnet-4",
                    "env:OPENROUTER_API_KEY",
                )
            ],
        },
        [],
    ),
    "parameters, prices and facts of models": (
        of(
            entry(
                "m",
                "openai/m",
                temperature="0.2",
                max_tokens=4096,
                timeout=30,
                max_parallel_requests=5,
                input_cost_per_token="0.000003",
                output_cost_per_token="0.000015",
                extra_headers='{"x-team": "a"}',
                organization="org-1",
            )
            + "\n    model_info:\n      mode: chat\n      max_input_tokens: 128000\n"
            "      supports_vision: false",
        ),
        {"m": [("openai", OPENAI, "m", "env:OPENAI_API_KEY")]},
        [
            "model_list[0].litellm_params.temperature",
            "model_list[0].litellm_params.max_tokens",
            "model_list[0].model_info.mode",
        ],
    ),
    "aliases of groups": (
        of(
            entry("gpt-4o", "openai/gpt-4o"),
            more="router_settings:\n  model_group_alias: {gpt-4: gpt-4o, x: nobody}\n"
            "  redis_host: os.environ/REDIS_HOST\n",
        ),
        {
            "gpt-4o": [("openai", OPENAI, "gpt-4o", "env:OPENAI_API_KEY")],
            "gpt-4": [("openai", OPENAI, "gpt-4o", "env:OPENAI_API_KEY")],
        },
        ["router_settings.redis_host", "router_settings.model_group_alias.x"],
    ),
    "embeddings, and a provider named apart": (
        of(
            entry("e", "text-embedding-3-small"),
            entry("m", "some/model", custom_llm_provider="openai", api_base="http://h"),
        ),
        {
            "e": [("openai", OPENAI, "text-embedding-3-small", "env:OPENAI_API_KEY")],
            "m": [("openai", "http://h/v1", "some/model", "env:OPENAI_API_KEY")],
        },
        [],
    ),
    "what is missing": (
        of(
            entry("v", "hosted_vllm/x"),
            entry("u", "openai/x", api_base="os.environ/BASE"),
            entry("b", "openai/x", api_base="no-url"),
            entry("m", "openai/m"),
        ),
        {"m": [("openai", OPENAI, "m", "env:OPENAI_API_KEY")]},
        [
            "model_list[0].litellm_params",
            "model_list[1].litellm_params.api_base",
            "model_list[2].litellm_params.api_base",
        ],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_carried_or_named(name):
    text, expected, left = SHAPES[name]
    draft = read(from_yaml(text))
    assert routes(loaded(draft)) == expected
    assert sorted(line.partition(": ")[0] for line in draft.left) == sorted(left)


def test_what_holds_beside_the_targets():
    def config(name):
        return loaded(read(from_yaml(SHAPES[name][0])))

    balanced = config("load balancing between deployments of one name").alias("m")
    assert (balanced.strategy, balanced.weights) == ("least-busy", (3.0, 1.0))
    failing = config("fallbacks in litellm_settings")
    assert (failing.retries.attempts, failing.timeouts.headers) == (3, 600.0)
    assert failing.alias("gpt").strategy == "ordered"
    longer = config("fallbacks in router_settings, for long prompts, and of all").alias("a")
    assert longer.retries.fallback_on == frozenset({"context_length"})
    route = config("parameters, prices and facts of models").alias("m")
    (target,) = route.targets
    assert (target.price.input, target.price.output) == (3.0, 15.0)
    assert target.profile == {"context": 128000, "vision": False}
    assert (target.backend.max_in_flight, target.timeouts.headers) == (5, 30.0)
    assert dict(target.backend.headers) == {"x-team": "a", "openai-organization": "org-1"}
    keyed = config("a gateway with a database, a master key and callbacks")
    assert [key.name for key in keyed.keys] == ["master"]
    azure = config("a deployment of Azure").alias("gpt-4o").targets[0].backend
    assert (azure.exact_root, azure.query) == (True, "api-version=2024-10-21")


def test_the_command(tmp_path, capsys):
    source, goal = tmp_path / "config.yaml", tmp_path / "config.toml"
    source.write_text(SHAPES["a gateway with a database, a master key and callbacks"][0])
    assert main(["import", "litellm", str(source), "--output", str(goal)]) == 0
    told = capsys.readouterr()
    assert told.out == "" and "u:p@db" not in told.err
    assert "not carried: general_settings.database_url: no key of LMBroker" in told.err
    assert goal.stat().st_mode & 0o777 == 0o600
    written = goal.read_text()
    assert main(["import", "litellm", str(source), "--output", str(goal)]) == 1
    assert "File exists" in capsys.readouterr().err and goal.read_text() == written
    assert main(["import", "litellm", str(source)]) == 0
    assert capsys.readouterr().out == written


@pytest.mark.parametrize("text", ["a: [", "\t", "model_list: &a [*b]", "[" * 5000])
def test_no_yaml_is_one_line(tmp_path, text, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert main(["import", "litellm", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: cannot be read: it is not valid YAML")


def test_a_file_without_models(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text("general_settings: {}\n")
    assert main(["import", "litellm", str(path)]) == 1
    assert "it has no model that LMBroker could serve" in capsys.readouterr().err


KEYS = st.sampled_from(
    [
        "model_list", "model_name", "litellm_params", "model", "api_base", "api_key", "weight",
        "order", "router_settings", "fallbacks", "litellm_settings", "general_settings",
        "master_key", "model_info", "model_group_alias", "timeout", "extra_headers",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["openai/x", "m", "*", "os.environ/X", "http://h", "azure/y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)  # fmt: skip
ENTRIES = st.fixed_dictionaries(
    {
        "model_name": st.just("m") | VALUES,
        "litellm_params": st.fixed_dictionaries(
            {"model": st.just("openai/x") | VALUES},
            optional=dict.fromkeys(("api_base", "api_key", "weight", "order", "timeout"), VALUES),
        ),
    }
)


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({"model_list": st.lists(ENTRIES, max_size=3)}) | VALUES)
def test_whatever_stands_there_nothing_breaks(given_value):
    read(given_value).text()


def test_control_characters_of_a_name_become_question_marks():
    draft = Draft()
    draft.top["default"] = "a\x1fb"
    assert draft.text() == 'default = "a?b"\n'
