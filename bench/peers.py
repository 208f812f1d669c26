"""Other gateways, beside ours in one run: ``make bench-peers``.

``python -m bench.peers`` installs each in a folder of its own below ``build/peers``, with pip or
npm, in the version named here; one that cannot be installed is told and left out. Each gets the
same backend, one process, one core, and no more of its features than it has without asking. None
of them may reach for the network: what they would look up there they have with them.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.processes import find
from bench.scenarios import BACKEND_DIALECT, MOCK_MODELS, model_name
from bench.systems import System

FOLDER = Path(__file__).with_name("build") / "peers"
INSTALL_SECONDS = 900

LITELLM, LLMSHIM, PORTKEY = "1.108.7", "0.29.0", "1.15.2"

_PORTKEY = FOLDER / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
_PRELOADED = Path(__file__).with_name("portkey.cjs")


def _litellm(folder: Path, port: int, backend_port: int) -> Sequence[str]:
    config = folder / "litellm.yaml"
    url = f"http://127.0.0.1:{backend_port}"
    lines = ["model_list:"]
    for path, dialect in BACKEND_DIALECT.items():
        if path not in "ad":
            continue
        for model in MOCK_MODELS:
            provider, base = ("hosted_vllm", f"{url}/v1") if dialect == "openai" else (dialect, url)
            lines += [
                f"  - model_name: {model_name(path, model)}",
                "    litellm_params:",
                f"      model: {provider}/{model}",
                f"      api_base: {base}",
                "      api_key: bench",
            ]
    lines += ["litellm_settings:", "  telemetry: false"]
    config.write_text("\n".join(lines) + "\n")
    settings = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        # Ours has no client keys here either.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    command = [str(FOLDER / "litellm/bin/litellm"), "--config", str(config)]
    return _env(folder, settings, [*command, "--host", "127.0.0.1", "--port", str(port)])


def _llmshim(folder: Path, port: int, backend_port: int) -> Sequence[str]:
    settings = {
        "VLLM_BASE_URL": f"http://127.0.0.1:{backend_port}/v1",
        "VLLM_API_KEY": "bench",
        "LLMSHIM_CATALOG_OFFLINE": "1",
    }
    program = str(FOLDER / "llmshim/bin/llmshim")
    return _env(folder, settings, [program, "proxy", "--host", "127.0.0.1", "--port", str(port)])


def _portkey(folder: Path, port: int, backend_port: int) -> Sequence[str]:
    """With ``portkey.cjs``, which keeps it on loopback and mends its streams."""
    node = [find("node") or "node", "--require", str(_PRELOADED), str(_PORTKEY)]
    return _env(folder, {"NODE_ENV": "production"}, [*node, f"--port={port}", "--headless"])


def _portkey_headers(path: str, backend_port: int) -> tuple[str, ...]:
    return (
        f"x-portkey-provider: {BACKEND_DIALECT[path]}",
        f"x-portkey-custom-host: http://127.0.0.1:{backend_port}/v1",
    )


def _env(folder: Path, settings: dict[str, str], command: Sequence[str]) -> list[str]:
    """``command`` with an environment of its own: no configuration of this user, no proxies."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    pairs = [f"{name}={value}" for name, value in {**kept, "HOME": str(folder), **settings}.items()]
    return ["env", "-i", *pairs, *command]


PEERS = (
    System(
        name="litellm",
        paths="abcd",
        command=_litellm,
        needs=(str(FOLDER / "litellm/bin/litellm"),),
    ),
    # Its Anthropic backend has no address that can be set.
    System(
        name="llmshim",
        paths="ab",
        command=_llmshim,
        needs=(str(FOLDER / "llmshim/bin/llmshim"),),
        prefix="vllm/",
        # It answers some of 64 calls at once with 503: "native replay metadata is busy".
        forgiven=0.25,
    ),
    # It has no /v1/messages for an OpenAI backend.
    System(
        name="portkey",
        paths="acd",
        command=_portkey,
        needs=("node",),
        files=(_PORTKEY,),
        headers=_portkey_headers,
    ),
)

VERSIONS = {"litellm": LITELLM, "llmshim": LLMSHIM, "portkey": PORTKEY}


def main() -> int:
    """Install those that are not there yet. The exit code is 0: a peer that cannot be installed
    is one less to compare with."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, package in (
        ("litellm", f"litellm[proxy]=={LITELLM}"),
        ("llmshim", f"llmshim=={LLMSHIM}"),
    ):
        python = FOLDER / name / "bin/python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        make = [sys.executable, "-m", "venv", str(FOLDER / name)]
        _install(name, f"{name} {VERSIONS[name]}", [make, [*pip, package]])
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
    package = f"@portkey-ai/gateway@{PORTKEY}"
    _install("portkey", package, [[*npm, str(FOLDER / "portkey"), package]])
    return 0


def _install(name: str, wanted: str, commands: Sequence[Sequence[str]]) -> None:
    """Run the commands, unless the same was installed before."""
    note = FOLDER / f"{name}.installed"
    if note.exists() and note.read_text() == wanted:
        return
    note.unlink(missing_ok=True)
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"{name} is left out: {type(error).__name__}", file=sys.stderr)
            return
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            print(f"{name} is left out: {' '.join(said)}", file=sys.stderr)
            return
    note.write_text(wanted)
    print(f"installed {wanted}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
