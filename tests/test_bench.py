"""What a benchmark's run is said to have reached; the measuring itself is not tested here."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.encryption import identity
from bench.measures import serving
from bench.results import Load, Machine, Quantiles, Result
from bench.run import Run
from bench.systems import NGINX, Secured, System, lmbroker
from bench.table import markdown, summary, table
from lmbroker.config.file import load

TIMES = Quantiles(p50=1000, p90=2000, p99=3000)
MACHINE = Machine(
    when="2026-11-25T00:00:00+00:00",
    processor="a processor",
    cores=2,
    kernel="6",
    python="3.11.7",
    nginx="1.22.1",
    commit="abc",
    load_average=0.1,
    systems={"peer": "1.0"},
)


def found(measure, system, value, round=0, errors=0, path="a"):
    load = Load(
        seconds=1.5,
        done=100,
        errors=errors,
        events=100,
        dials=1,
        answer=TIMES,
        first=TIMES,
        event=TIMES,
    )
    return Result(
        measure=measure, system=system, path=path, round=round, value=value, busy=1.0, load=load
    )


LINES = [
    MACHINE,
    *(found("ns64", "nginx", value, round) for round, value in enumerate((19.0, 20.0, 90.0))),
    *(found("ns64", "lean", value, round) for round, value in enumerate((99.0, 101.0, 900.0))),
    found("ns64", "peer", 400.0, errors=12),
    found("workers", "lean", 1.85),
    found("growth", "lean", 40.0),
]


def test_the_medians_are_compared_with_those_of_the_base():
    rows = json.loads(summary(LINES))["results"]
    (row,) = [each for each in rows if each["measure"] == "ns64" and each["system"] == "lean"]
    assert (row["found"], row["nginx"], row["compared"]) == (101.0, 20.0, 5.05)
    assert row["reached"] == "aim"
    reached = {each["measure"]: each["reached"] for each in rows if each["system"] == "lean"}
    assert reached == {"ns64": "aim", "workers": "must", "growth": "no"}


def test_all_systems_stand_side_by_side_in_the_markdown():
    told = markdown(LINES).splitlines()
    assert "| measure | path | nginx | lean | peer | must | aim |" in told
    assert (
        "| ns64, CPU µs/call | a | 20.0 | 101 (x5.05, aim) | 400 (x20.0, no) | x12.2 | x5.53 |"
        in told
    )
    assert "| two workers, times one, by CPU | a | - | 1.85 (must) | - | 1.80 | 1.95 |" in told
    assert told[-1] == "- peer a ns64: 12 errors beside 100 good answers"


def test_the_text_has_a_table_for_each_system_but_the_base():
    told = table(LINES)
    assert told.count("measure ") == 2 and "peer: 1.0" in told


def a_run(**options):
    usual = {
        "systems": [NGINX, lmbroker()],
        "paths": "ab",
        "measures": ["ns64"],
        "rounds": 5,
        "folder": Path(),
        "backend_port": 1,
        "file": Path(),
    }
    return Run(**{**usual, **options})


def test_the_estimate_grows_with_what_is_asked_for():
    small = a_run(rounds=1).seconds()
    assert 5 < small < 30
    for more in ({"rounds": 9}, {"paths": "abcd"}, {"measures": ["ns64", "held", "idle4000"]}):
        assert a_run(**{"rounds": 1, **more}).seconds() > small


@pytest.mark.parametrize(("paths", "wanted"), [("a", "a"), ("b", "a"), ("c", "d"), ("bc", "ad")])
def test_nginx_is_measured_where_the_others_are_compared_with_it(paths, wanted):
    assert a_run(paths=paths)._shared(NGINX) == list(wanted)
    assert a_run(paths=paths)._shared(lmbroker()) == list(paths)


@pytest.mark.parametrize(("engine", "workers"), [("lean", 1), ("stock", 2)])
def test_the_broker_takes_the_configuration_that_is_written_for_it(tmp_path, engine, workers):

    command = lmbroker(engine, workers=workers).command(tmp_path, 8080, 9001)
    config = load(command[-1])
    assert (config.server.engine, config.server.workers) == (engine, workers)
    assert config.limits.connections >= 4000
    assert "openai/mock-n1-d0" in config.aliases


def test_a_run_with_tls_has_goals_of_its_own():
    lines = [msgspec.structs.replace(MACHINE, tls="backend"), *LINES[1:]]
    plain, over_tls = (
        next(
            row
            for row in json.loads(summary(each))["results"]
            if (row["measure"], row["system"]) == ("ns64", "lean")
        )
        for each in (LINES, lines)
    )
    assert (plain["compared"], plain["reached"]) == (over_tls["compared"], "aim")
    assert (over_tls["must"], over_tls["aim"]) == (6.5, 5.0)
    assert "TLS to the backend" in table(lines)
    assert "TLS" not in table(LINES)


def test_systems_that_cannot_take_part_in_a_run_with_tls_say_so(tmp_path):
    peer = System(name="peer", paths="a", command=lambda folder, port, backend_port: ["true"])
    with (
        pytest.raises(RuntimeError, match="peer takes no part"),
        serving(peer, tmp_path, 1, Secured(identity(tmp_path), False)),
    ):
        pass


@pytest.mark.parametrize("clients", [False, True])
def test_the_configurations_of_runs_with_tls_are_loaded(tmp_path, clients):
    tls = Secured(identity(tmp_path), clients)
    *_, path = lmbroker().secured(tmp_path, 8443, 9443, tls)
    config = load(Path(path))
    backend = config.alias("openai/mock-n1-d0").targets[0].backend
    assert backend.url == "https://localhost:9443/v1"
    assert "BEGIN CERTIFICATE" in backend.ca
    assert config.server.listen[0].startswith("ssl:" if clients else "tcp:")
    config = (NGINX.secured(tmp_path, 8443, 9443, tls))[2]
    text = Path(config).read_text()
    assert ("listen 127.0.0.1:8443 ssl" in text) is clients
    assert "proxy_pass https://" in text
