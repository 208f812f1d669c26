"""A real llama.cpp server, the broker in front of it, and the official SDKs at both."""

import sys
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest
from llama_server import llama_server
from server_process import ServerProcess, free_port
from tiny_model import write_model

CONFIG = """
log_level = "info"
[server]
host = "127.0.0.1"
port = {port}
[[models]]
alias = "real-openai"
type = "openai"
target = {{ url = "{backend}", model = "tiny" }}
[models.profile]
reasoning_control = "template_kwargs"
[[models]]
alias = "real-anthropic"
type = "anthropic"
target = {{ url = "{backend}", model = "tiny" }}
[[models]]
alias = "real-responses"
type = "responses"
target = {{ url = "{backend}", model = "tiny" }}
[[backends]]
name = "native"
type = "openai"
url = "{backend}"
responses = "native"
[[models]]
alias = "real-native"
targets = [{{ backend = "native", model = "tiny" }}]
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="session")
def backend(folder: Path) -> Iterator[ServerProcess]:
    write_model(folder / "tiny.gguf")
    with llama_server(folder / "tiny.gguf", folder / "llama.log") as server:
        yield server


@pytest.fixture(scope="session")
def broker(folder: Path, backend: ServerProcess) -> Iterator[ServerProcess]:
    port = free_port()
    config = folder / "config.toml"
    config.write_text(CONFIG.format(port=port, backend=backend.url))
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    command = [*twistd, "-n", "--pidfile=", "lmbroker", "--config", str(config)]
    with ServerProcess(command, port, folder / "broker.log") as server:
        yield server
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="session")
def o_direct(backend: ServerProcess) -> Iterator[openai.OpenAI]:
    with _openai(backend) as client:
        yield client


@pytest.fixture(scope="session")
def a_direct(backend: ServerProcess) -> Iterator[anthropic.Anthropic]:
    with _anthropic(backend) as client:
        yield client


@pytest.fixture(scope="session")
def o(broker: ServerProcess) -> Iterator[openai.OpenAI]:
    with _openai(broker) as client:
        yield client


@pytest.fixture(scope="session")
def a(broker: ServerProcess) -> Iterator[anthropic.Anthropic]:
    with _anthropic(broker) as client:
        yield client


def _openai(server: ServerProcess) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="client-key", max_retries=0, timeout=20
    )


def _anthropic(server: ServerProcess) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="client-key", max_retries=0, timeout=20)
