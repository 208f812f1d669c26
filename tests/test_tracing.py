"""The table ``[tracing]``."""

import re
from pathlib import Path

import pytest
import yaml

from lmbroker.broker.trace_context import REQUEST_ID_TEXT, STATE_TEXT
from lmbroker.config.changes import changes
from lmbroker.config.config import ConfigError, parse
from lmbroker.observers import span_export, spans
from lmbroker.observers.spans import span_problems
from lmbroker.secret import Secret

MODEL = """
[[models]]
alias = "m"
type = "openai"
target = { url = "practice:", model = "echo" }
"""


def config_of(table=""):
    return parse(
        table + MODEL,
        name="c.toml",
        environ={"KEY": "sk-secret"},
        read_file=lambda path: "",
    )


def test_there_are_no_spans_unless_somebody_takes_them():
    assert config_of().tracing is None
    assert config_of("[tracing]\n").tracing is None


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318"),
        ("https://otlp.example.com/otlp", "https://otlp.example.com/otlp"),
        ("https://otlp.example.com/otlp/v1/traces", "https://otlp.example.com/otlp"),
    ],
)
def test_the_endpoint_may_be_written_with_its_path_or_without(endpoint, url):
    rules = config_of(f'[tracing]\nendpoint = "{endpoint}"\n').tracing
    assert rules.receiver.url == url and rules.receiver.exact_root
    assert (rules.ratio, rules.service_name) == (1.0, "lmbroker")


def test_all_keys():
    table = (
        '[tracing]\nendpoint = "https://c"\nratio = 0.1\nservice_name = "s"\n'
        'headers = { authorization = "env:KEY", x-team = "a" }\n'
    )
    config = config_of(table)
    rules = config.tracing
    assert (rules.ratio, rules.service_name) == (0.1, "s")
    (name, key), other = rules.receiver.headers
    assert name == "authorization" and isinstance(key, Secret) and key.reveal() == "sk-secret"
    assert other == ("x-team", "a")
    assert "sk-secret" not in repr(rules) and not config.warnings


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('endpoint = "c:4318"', "tracing.endpoint: found"),
        ('endpoint = "grpc://c:4317"', "tracing.endpoint: found"),
        ('endpoint = "http://c"\nratio = 2', "tracing.ratio: "),
        ('endpoint = "http://c"\nratios = 1', "tracing.ratios: "),
        ('endpoint = "http://c"\nheaders = { host = "x" }', "tracing.headers.host: no header"),
        (
            'endpoint = "http://c"\nheaders = { a = "env:NOT" }',
            "tracing.headers.a: the environment",
        ),
        ('headers = { a = "b" }', "tracing.endpoint: found nothing"),
    ],
)
def test_mistakes(table, problem):
    with pytest.raises(ConfigError) as raised:
        config_of(f"[tracing]\n{table}\n")
    [line] = raised.value.problems
    assert problem in line


def test_the_example_is_right():
    text = (Path(__file__).parents[1] / "etc" / "tracing.toml").read_text()
    config = parse(
        text,
        name="etc/tracing.toml",
        environ={"OTLP_AUTHORIZATION": "Bearer k"},
        read_file=lambda path: "",
    )
    assert config.tracing.ratio == 0.1 and not config.warnings


def test_the_collector_of_the_example_listens_where_the_page_says():
    etc = Path(__file__).parents[1] / "etc"
    collector = yaml.safe_load((etc / "otel-collector.yaml").read_text())
    where = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert f'endpoint = "http://{where}"' in (etc.parent / "docs" / "tracing.md").read_text()
    for kind, names in collector["service"]["pipelines"]["traces"].items():
        assert set(names) <= set(collector[kind])


def test_the_page_tells_every_attribute_and_number():
    page = (Path(__file__).parents[1] / "docs" / "tracing.md").read_text()
    written = Path(spans.__file__).read_text()
    for name in re.findall(r'yield "lmbroker\.([\w.]+)"', written):
        assert f"`{name}`" in page, name
    for number in (span_export.SECONDS, span_export.LONGEST_PAUSE, STATE_TEXT, REQUEST_ID_TEXT):
        assert f"{number:g}" in page
    assert f"`{spans.FIRST_CHUNK}`" in page


def test_a_reload_names_the_table():
    before = config_of()
    after = config_of('[tracing]\nendpoint = "http://c"\nheaders = { a = "env:KEY" }\n')
    again = config_of('[tracing]\nendpoint = "http://c"\nheaders = { a = "env:KEY" }\n')
    assert changes(before, after) == "changed setting tracing"
    assert changes(after, again) == "no changes"


def test_without_its_package_the_start_says_what_to_install(monkeypatch):
    traced = config_of('[tracing]\nendpoint = "http://c"\n')
    assert span_problems(traced) == ()
    monkeypatch.setattr(spans, "PACKAGE", "opentelemetry.not_installed")
    [problem] = span_problems(traced)
    assert "pip install 'lmbroker[otel]'" in problem
    assert span_problems(config_of()) == ()
    monkeypatch.setattr(spans, "PACKAGE", "not_installed.at_all")
    assert span_problems(traced) == (problem,)
