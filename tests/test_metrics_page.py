"""The page of the metrics, the dashboard and the rules name what there is."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from lmbroker.call import Attempt, Backend, End, Record, Target
from lmbroker.observers.daemon_metrics import DaemonMetrics
from lmbroker.observers.exposition import exposition
from lmbroker.observers.metrics import Metrics, Refusals
from lmbroker.usage import Usage

ROOT = Path(__file__).resolve().parents[1]
WRITER = runpy.run_path(str(ROOT / "docs" / "metrics_page.py"))
TEXT = (ROOT / "docs" / "metrics.md").read_text()


def test_the_page_is_as_the_code_says():
    assert WRITER["page"]() == TEXT, "run: make docs"


def test_every_metric_has_one_row_a_meaning_and_a_full_stop():
    for metric in WRITER["registered"]():
        assert TEXT.count(f"| `{WRITER['name_of'](metric)}` |") == 1, metric
        assert metric._documentation.endswith("."), metric


# The rules and the dashboard.

RULES = ROOT / "etc" / "prometheus-rules.yml"
DASHBOARD = ROOT / "etc" / "grafana-dashboard.json"

ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""


def labels_by_series():
    """Each series that a daemon has, with its labels."""
    found = {
        metric._name + ending: {*metric._labelnames, *(["le"] if ending == "_bucket" else [])}
        for metric in WRITER["registered"]()
        for ending in ENDINGS[metric._type]
    }
    processes = {family.name: set() for family in ProcessCollector(registry=None).collect()}
    return {**processes, **found}


def queries_of_rules():
    """Each expression of the rules, and the names that they record."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return [rule["expr"] for rule in rules], {rule["record"] for rule in rules if "record" in rule}


def queries_of_dashboard():
    """Each expression of the dashboard, those of its variables included."""
    told = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in told["panels"] for target in panel.get("targets", ())]
    variables = told["templating"]["list"]
    return panels + [each["definition"] for each in variables if "definition" in each]


def unknown(query, recorded=()):
    """The names in a query that no series or label has."""
    known = labels_by_series()
    text = re.sub(r'"[^"]*"', '""', query)
    found = []
    for name, labels in re.findall(r"\b([a-z_][\w:]*)\{([^}]*)\}", text):
        allowed = known.get(name, set()) | SCRAPED
        found += [label for label in re.findall(r"(\w+)\s*[=!]", labels) if label not in allowed]
    everywhere = set().union(SCRAPED, *known.values())
    for labels in re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", text):
        found += [label for label in re.findall(r"\w+", labels) if label not in everywhere]
    names = re.findall(r"\b(?:lmbroker|gen_ai|process|python)[_:][\w:]+", text)
    return found + [name for name in names if name not in {*known, *everywhere, *recorded}]


def test_the_rules_ask_for_what_there_is():
    queries, recorded = queries_of_rules()
    assert len(queries) > 10
    assert {query: bad for query in queries if (bad := unknown(query, recorded))} == {}


def test_the_dashboard_asks_for_what_there_is():
    queries = queries_of_dashboard()
    assert len(queries) > 30
    assert {query: bad for query in queries if (bad := unknown(query))} == {}


def test_what_there_is_not_is_found():
    assert unknown("rate(lmbroker_gone_total[5m])") == ["lmbroker_gone_total"]
    assert unknown('lmbroker_attempts_total{alias="a"}') == ["alias"]
    assert unknown("sum by (colour) (lmbroker_in_flight)") == ["colour"]
    assert unknown("lmbroker_overhead_seconds") == ["lmbroker_overhead_seconds"]


def test_the_panels_of_the_dashboard_do_not_overlap():
    cells = [
        (column, line)
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for place in [panel["gridPos"]]
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))


PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (it comes with Debian's prometheus)"
)


def promtool(*arguments, text=""):
    """The exit code of promtool and what it says."""
    done = subprocess.run(
        [PROMTOOL, "check", *arguments], input=text.encode(), capture_output=True, timeout=60
    )
    return done.returncode, (done.stdout + done.stderr).decode()


@with_promtool
@pytest.mark.process
def test_prometheus_takes_the_rules():
    code, said = promtool("rules", str(RULES))
    assert code == 0, said


@with_promtool
@pytest.mark.process
def test_prometheus_has_nothing_to_say_against_the_metrics():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    Refusals(registry)[400] += 1
    DaemonMetrics(registry, 1.0)
    backend = Backend(name="b", url="http://b", dialect="openai", max_in_flight=1)
    attempt = Attempt(
        target=Target(backend=backend, model="m"), workflow="passthrough", started=1.0
    )
    record = Record(
        id="r",
        operation="chat",
        dialect="openai",
        opened_at=1.0,
        attempts=[attempt],
        stream=True,
        end=End(outcome="complete", status=200),
        closed_at=2.0,
        usage=Usage(input=1, output=1),
        dropped=("tools",),
    )
    metrics.ended((attempt,), (record, msgspec.structs.replace(record, operation="embeddings")))
    code, said = promtool("metrics", text=exposition(registry)[0].decode())
    assert (code, said) == (0, "")
