"""The systems under test, and how each is started. All of ours are here, peers in ``peers.py``.

A system listens on one port of 127.0.0.1 and reaches the mock backend on another. Clients name
the models as ``model_name`` says, after the system's ``prefix``; where that is not the mock's own
name, the system must know it.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bench.processes import PROXY_CORE, find
from bench.scenarios import BACKEND_DIALECT, MOCK_MODELS, MOST_STREAMS, model_name


def _no_headers(path: str, backend_port: int) -> tuple[str, ...]:
    return ()


class System(msgspec.Struct, frozen=True, kw_only=True):
    """``command`` writes what the system needs into a folder and tells how to start it, from the
    folder, the port to listen on, and the mock's port. ``paths`` are those it can serve;
    ``needs`` are the programs and ``files`` the files without which it is left out. ``headers``
    are those that its clients send besides the usual ones, by path and the mock's port.
    ``forgiven`` is the share of its answers that may be errors, which are told and not counted:
    none of ours."""

    name: str
    paths: str
    command: Callable[[Path, int, int], Sequence[str]]
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


_NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 16384;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 32m;
    keepalive_requests 1000000;
    upstream mock {{
        server 127.0.0.1:{backend_port};
        keepalive 2048;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


def _nginx(folder: Path, port: int, backend_port: int) -> Sequence[str]:
    """A plain reverse proxy, one process, as streams need it: it holds no bytes back."""
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, backend_port=backend_port))
    return [find("nginx") or "nginx", "-c", str(config), "-e", "stderr"]


_SERVER = """\
[server]
host = "127.0.0.1"
port = {port}
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
target = {{ url = "http://127.0.0.1:{backend_port}/v1", model = "{model}", api_key = "bench" }}
"""


def _lmbroker(python: str, engine: str, workers: int) -> Callable[[Path, int, int], Sequence[str]]:
    """The daemon as it is shipped: default log level, access log and metrics on. Its limits of
    calls and connections are raised to what the measures hold at once."""

    def command(folder: Path, port: int, backend_port: int) -> Sequence[str]:
        config = folder / "lmbroker.toml"
        models = [
            _MODEL.format(
                alias=model_name(path, model),
                dialect=dialect,
                backend_port=backend_port,
                model=model,
            )
            for path, dialect in BACKEND_DIALECT.items()
            if path in "ad"
            for model in MOCK_MODELS
        ]
        more = f"workers = {workers}\n" if workers > 1 else ""
        server = _SERVER.format(port=port, engine=engine, more=more, most=2 * MOST_STREAMS)
        config.write_text(server + "".join(models))
        twistd = Path(python).with_name("twistd")
        return [str(twistd), "-n", "--pidfile=", "lmbroker", "--config", str(config)]

    return command


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
        paths="abcd",
        command=_lmbroker(python, engine, workers),
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


NGINX = System(name="nginx", paths="ad", command=_nginx, needs=("nginx",))
LMBROKER = lmbroker()

BASE = NGINX
"""What the others are compared with."""
