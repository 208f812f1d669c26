"""The built wheel, as it would be installed: the plugin is found, nothing of Twisted's is hit."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lmbroker.commands.init import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
RUN_TWISTD = "from twisted.scripts.twistd import run; run()"


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    [built] = folder.glob("lmbroker-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Runs an interpreter of its own that sees the wheel's contents and our dependencies, but
    not the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    # A folder on PYTHONPATH is searched, but its .pth files (the editable install) are not read.
    path = os.pathsep.join([str(folder / "site"), sysconfig.get_path("purelib")])
    environ = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def call(*arguments):
        return run(folder / "venv" / "bin" / "python", *arguments, cwd="/", env=environ)

    call.site = folder / "site"
    return call


@pytest.mark.process
def test_the_wheel_holds_the_package_and_the_plugin_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    outside = {name for name in names if not name.startswith("lmbroker")}
    assert outside == {"twisted/plugins/lmbroker_plugin.py"}
    shipped = {
        "lmbroker/py.typed",
        "lmbroker/limiting/redis_step.lua",
        *(f"lmbroker/etc/{name}" for name in SHIPPED),
    }
    held = {name for name in names if ".dist-info/" not in name and not name.endswith(".py")}
    assert held == shipped
    assert not [name for name in names if name.endswith(("dropin.cache", ".pyc"))]


@pytest.mark.process
def test_twistd_of_an_installed_wheel_knows_lmbroker(python):
    where = python("-c", "import lmbroker; print(lmbroker.__file__)").strip()
    assert where.startswith(str(python.site))
    help_text = python("-c", RUN_TWISTD, "--help")
    assert "lmbroker" in help_text
    assert "A broker between programs and their LLM providers." in help_text
    assert "config" in python("-c", RUN_TWISTD, "lmbroker", "--help")


@pytest.mark.process
def test_twistd_of_the_checkout_knows_lmbroker():
    assert "lmbroker" in run(sys.executable, "-c", RUN_TWISTD, "--help", cwd="/")


@pytest.mark.process
def test_the_sdist_holds_every_file_that_a_test_reads(tmp_path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    [built] = tmp_path.glob("lmbroker-*.tar.gz")
    with tarfile.open(built) as archive:
        held = {name.split("/")[1] for name in archive.getnames()}
    read = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'\b(?:ROOT|parents\[1\]\)?) / "([^"/]+)', path.read_text())
    }
    assert {"CONTRIBUTING.md", "docs"} <= read
    assert {name for name in read if (ROOT / name).exists()} - {"build"} <= held


# The lock files.

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    "requirements.lock": PROJECT["project"]["dependencies"],
    "requirements-build.lock": PROJECT["build-system"]["requires"],
}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(name):
    """(requirement, its hashes) of each line of a lock file."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            yield Requirement(line.partition("--hash")[0]), HASH.findall(line)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_pins_what_the_project_asks_for_with_hashes(name):
    pinned = {}
    for requirement, hashes in locked(name):
        (clause,) = requirement.specifier
        assert clause.operator == "==" and hashes, requirement.name
        assert requirement.url is None
        pinned[requirement.name.lower()] = clause.version
    for wanted in map(Requirement, LOCKS[name]):
        assert wanted.specifier.contains(pinned[wanted.name.lower()]), wanted
    assert "h2" not in pinned, "with it, every TLS listener would speak HTTP/2"


def test_a_lock_file_names_no_registry():
    for name in (*LOCKS, "requirements-supply.txt"):
        assert "://" not in (ROOT / name).read_text()


def test_the_image_installs_nothing_without_its_hash():
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip (?:install|wheel) [^&\n]+", text)
    assert len(installs) == 4
    for install in installs:
        assert "--require-hashes" in install or "--no-index --no-deps" in install, install
