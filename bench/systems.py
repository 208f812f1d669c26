"""The systems under test, and how each is started. All of ours are here, peers in ``peers.py``.

A system listens on one port of 127.0.0.1 and reaches the mock backend on another. Clients name
the models as ``model_name`` says, after the system's ``prefix``; where that is not the mock's own
name, the system must know it.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from bench.encryption import Identity, nginx
from bench.processes import PROXY_CORE, find
from bench.scenarios import (
    BACKEND_DIALECT,
    MOCK_MODELS,
    MOST_STREAMS,
    PASSED,
    PATHS,
    model_name,
)


def _no_headers(path: str, backend_port: int) -> tuple[str, ...]:
    return ()


class Secured(msgspec.Struct, frozen=True):
    """TLS to the backend, a server called ``localhost`` that shows the certificate of
    ``identity``; and where ``clients`` is set, to the clients, with the same certificate."""

    identity: Identity
    clients: bool


class System(msgspec.Struct, frozen=True, kw_only=True):
    """``command`` writes what the system needs into a folder and tells how to start it, from the
    folder, the port to listen on, and the mock's port; ``secured`` does so for a run with TLS, of
    systems that can take part in one. ``paths`` are those it can serve;
    ``needs`` are the programs and ``files`` the files without which it is left out. ``headers``
    are those that its clients send besides the usual ones, by path and the mock's port.
    ``forgiven`` is the share of its answers that may be errors, which are told and not counted:
    none of ours."""

    name: str
    paths: str
    command: Callable[[Path, int, int], Sequence[str]]
    secured: Callable[[Path, int, int, Secured], Sequence[str]] | None = None
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    cores: tuple[int, ...] = (PROXY_CORE,)
    prefix: str = ""
    headers: Callable[[str, int], tuple[str, ...]] = _no_headers
    forgiven: float = 0.0

    def missing(self) -> list[str]:
        """The needed programs and files that are not installed."""
        files = [str(file) for file in self.files if not file.exists()]
        return [program for program in self.needs if find(program) is None] + files


def _nginx(folder: Path, port: int, backend_port: int) -> Sequence[str]:
    """A plain reverse proxy, one process, as streams need it: it holds no bytes back."""
    return nginx(folder, port, backend_port)


def _secured_nginx(folder: Path, port: int, backend_port: int, tls: Secured) -> Sequence[str]:
    shown = tls.identity if tls.clients else None
    return nginx(folder, port, backend_port, shown=shown, trusted=tls.identity)


_SERVER = """\
[server]
{listen}
engine = "{engine}"
{more}
[limits]
calls = {most}
connections = {most}
"""

_MODEL = """
[[models]]
alias = "{alias}"
type = "{dialect}"
target = {{ url = "{url}/v1", model = "{model}", api_key = "bench"{ca} }}
"""


def _lmbroker(
    python: str,
    engine: str,
    workers: int,
    folder: Path,
    port: int,
    backend_port: int,
    tls: Secured | None = None,
) -> Sequence[str]:
    """The daemon as it is shipped: default log level, access log and metrics on. Its limits of
    calls and connections are raised to what the measures hold at once."""
    url, ca = f"http://127.0.0.1:{backend_port}", ""
    listen = f'host = "127.0.0.1"\nport = {port}'
    if tls is not None:
        url, ca = f"https://localhost:{backend_port}", f', ca = "{tls.identity.certificate}"'
        if tls.clients:
            files = f"privateKey={tls.identity.key}:certKey={tls.identity.certificate}"
            listen = f'listen = ["ssl:{port}:interface=127.0.0.1:{files}"]'
    config = folder / "lmbroker.toml"
    models = [
        _MODEL.format(alias=model_name(path, model), dialect=dialect, url=url, ca=ca, model=model)
        for path, dialect in BACKEND_DIALECT.items()
        if path in PASSED
        for model in MOCK_MODELS
    ]
    more = f"workers = {workers}\n" if workers > 1 else ""
    server = _SERVER.format(listen=listen, engine=engine, more=more, most=2 * MOST_STREAMS)
    config.write_text(server + "".join(models))
    twistd = Path(python).with_name("twistd")
    return [str(twistd), "-n", "--pidfile=", "lmbroker", "--config", str(config)]


ENGINES = ("lean", "stock")


def lmbroker(
    engine: str = "lean",
    python: str = sys.executable,
    *,
    label: str = "",
    workers: int = 1,
    cores: tuple[int, ...] = (PROXY_CORE,),
) -> System:
    """The broker: one of its engines on one interpreter, which ``label`` names."""
    return System(
        name="-".join(filter(None, (engine, label))),
        paths=PATHS,
        command=partial(_lmbroker, python, engine, workers),
        secured=partial(_lmbroker, python, engine, workers),
        needs=(str(Path(python).with_name("twistd")),),
        cores=cores,
    )


def python_version(python: str) -> str:
    """The version of an interpreter that has the project installed, "" where it has not."""
    program = "import sys, lmbroker, twisted; print(sys.version.partition(' ')[0])"
    try:
        done = subprocess.run(
            [python, "-c", program], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


NGINX = System(name="nginx", paths=PASSED, command=_nginx, secured=_secured_nginx, needs=("nginx",))
LMBROKER = lmbroker()

BASE = NGINX
"""What the others are compared with."""
