"""The manifests of etc/kubernetes and the files of etc/compose, and what they promise."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from lmbroker import __version__
from lmbroker.config.config import parse
from lmbroker.config.endpoints import parse_endpoint
from lmbroker.daemon.service import LAST_WORDS_SECONDS

ROOT = Path(__file__).resolve().parents[1]
KUBERNETES = ROOT / "etc" / "kubernetes"
COMPOSE = ROOT / "etc" / "compose"
VERSION = "1.30"
"""The oldest Kubernetes whose schemas the manifests must fit, beside the latest."""


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def manifest(name):
    [found] = documents(KUBERNETES / f"{name}.yaml")
    return found


def load(path):
    text = path.read_text()
    environ = dict.fromkeys(re.findall(r"env:(\w+)", text), "key")
    return parse(text, name=path.name, environ=environ, read_file=lambda path: "")


CONTAINER = manifest("deployment")["spec"]["template"]["spec"]["containers"][0]
POD = manifest("deployment")["spec"]["template"]


@pytest.mark.parametrize("name", ["deployment", "service", "secret", "disruption-budget"])
@pytest.mark.parametrize("version", [VERSION, kubernetes_validate.latest_version()])
def test_the_manifests_fit_the_schemas_of_kubernetes(name, version):
    kubernetes_validate.validate(manifest(name), version, strict=True)


def test_the_manifests_belong_together():
    kustomization = manifest("kustomization")
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    # Whether there is a Prometheus Operator is not ours to say.
    assert set(kustomization["resources"]) == files - {"pod-monitor.yaml"}
    [generated] = kustomization["configMapGenerator"]
    [volume] = POD["spec"]["volumes"]
    assert volume["configMap"]["name"] == generated["name"]
    assert all((KUBERNETES / name).exists() for name in generated["files"])
    [image] = kustomization["images"]
    assert (image["name"], image["newTag"]) == (CONTAINER["image"], __version__)
    labels = POD["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    service, monitor = manifest("service")["spec"], manifest("pod-monitor")["spec"]
    selectors = [
        manifest("deployment")["spec"]["selector"]["matchLabels"],
        manifest("disruption-budget")["spec"]["selector"]["matchLabels"],
        service["selector"],
        monitor["selector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    assert service["ports"][0]["targetPort"] in ports
    assert monitor["podMetricsEndpoints"][0]["port"] == "metrics"


def test_the_pods_are_as_the_configuration_says():
    path = KUBERNETES / "config.toml"
    config = load(path)
    ports = {port["name"]: str(port["containerPort"]) for port in CONTAINER["ports"]}
    assert [parse_endpoint(each)[0]["port"] for each in config.server.listen] == [ports["http"]]
    aside = [parse_endpoint(each)[0]["port"] for each in config.server.metrics_listen]
    assert aside == [ports["metrics"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"]["port"] == "metrics"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/ready"
    grace = POD["spec"]["terminationGracePeriodSeconds"]
    server = config.server
    assert grace > server.drain_delay + server.drain_timeout + LAST_WORDS_SECONDS + 5
    # Two probes may fail before the Service notices that a pod is not ready.
    assert server.drain_delay >= 2 * CONTAINER["readinessProbe"]["periodSeconds"]
    wanted = set(re.findall(r"env:(\w+)", path.read_text()))
    assert set(manifest("secret")["stringData"]) == wanted
    assert CONTAINER["envFrom"] == [{"secretRef": {"name": "lmbroker-keys"}}]
    assert manifest("secret")["metadata"]["name"] == "lmbroker-keys"
    assert set(manifest("secret")["stringData"].values()) == {"replace-me"}
    assert config.keys and not config.holds_a_key


def test_the_pods_may_do_little():
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.M).groups()
    context = POD["spec"]["securityContext"]
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user
    assert context["runAsNonRoot"] and context["seccompProfile"] == {"type": "RuntimeDefault"}
    own = CONTAINER["securityContext"]
    assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert POD["spec"]["automountServiceAccountToken"] is False


@pytest.mark.process
def test_kubectl_takes_the_kustomization():
    """Where kubectl is installed; the tests above read the files themselves."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return
    done = subprocess.run([kubectl, "kustomize", KUBERNETES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    assert set(made) == {"ConfigMap", "Deployment", "PodDisruptionBudget", "Secret", "Service"}
    name = made["ConfigMap"]["metadata"]["name"]
    [volume] = made["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == name and name.startswith("lmbroker-")
    assert made["ConfigMap"]["data"]["config.toml"] == (KUBERNETES / "config.toml").read_text()
    for each in made.values():
        kubernetes_validate.validate(each, VERSION, strict=True)


# Compose.

FILE = documents(COMPOSE / "compose.yaml")[0]
SERVICES = FILE["services"]


def mounts(service):
    """Pairs of a path here and a path there."""
    for each in SERVICES[service]["volumes"]:
        source, goal, *_ = each.split(":")
        if source.startswith("."):
            yield (COMPOSE / source).resolve(), goal


def test_the_services_of_compose_belong_together():
    for name, service in SERVICES.items():
        assert service["image"], name
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        assert all(path.is_file() for path, _ in mounts(name)), name
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:"), "other machines do not reach it"
    named = {each.split(":")[0] for each in SERVICES["prometheus"]["volumes"] if each[0] != "."}
    assert named == set(FILE["volumes"])
    assert (COMPOSE / SERVICES["lmbroker"]["build"] / "Dockerfile").resolve().is_file()
    assert SERVICES["lmbroker"]["image"] == f"lmbroker:{__version__}"


def test_the_broker_of_compose():
    config = load(COMPOSE / "config.toml")
    [endpoint] = config.server.metrics_listen
    port = parse_endpoint(endpoint)[0]["port"]
    [scrape] = documents(COMPOSE / "prometheus.yml")[0]["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"lmbroker:{port}"]}]
    grace = int(SERVICES["lmbroker"]["stop_grace_period"].removesuffix("s"))
    assert grace > config.server.drain_delay + config.server.drain_timeout + LAST_WORDS_SECONDS
    told = re.findall(r"^# (\w.*|\[.*\])$", (COMPOSE / "config.toml").read_text(), re.M)
    assert any("env:ANTHROPIC_API_KEY" in line for line in told)
    assert "ANTHROPIC_API_KEY" in SERVICES["lmbroker"]["environment"]


def test_prometheus_and_grafana_find_their_files():
    inside = {goal: path for path, goal in (*mounts("prometheus"), *mounts("grafana"))}
    [rules] = documents(COMPOSE / "prometheus.yml")[0]["rule_files"]
    assert f"/etc/prometheus/{rules}" in inside
    [provider] = documents(COMPOSE / "grafana" / "dashboards.yaml")[0]["providers"]
    dashboards = [
        path for goal, path in inside.items() if goal.startswith(provider["options"]["path"])
    ]
    assert [json.loads(path.read_text())["title"] for path in dashboards] == ["LMBroker"]
    [source] = documents(COMPOSE / "grafana" / "datasources.yaml")[0]["datasources"]
    assert source["type"] == "prometheus" and "prometheus:9090" in source["url"]


def test_the_page_on_scaling_tells_the_same_times():
    page = (ROOT / "docs" / "scaling.md").read_text().partition("### Kubernetes")[2]
    assert "kubectl apply -k etc/kubernetes" in page
    server = load(KUBERNETES / "config.toml").server
    assert f"`server.drain_delay = {server.drain_delay:g}`" in page
    assert f"`server.drain_timeout` ({server.drain_timeout:g} s)" in page
