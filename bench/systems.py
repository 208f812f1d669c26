"""The systems under test, and how each is started. All of them are here.

A system listens on one port of 127.0.0.1 and reaches the mock backend on another. Clients name
the models as ``model_name`` says; where that is not the mock's own name, the system must know
it.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bench.processes import find
from bench.scenarios import BACKEND_DIALECT, MOCK_MODELS, model_name


class System(msgspec.Struct, frozen=True, kw_only=True):
    """``command`` writes what the system needs into a folder and tells how to start it, from the
    folder, the port to listen on, and the mock's port. ``paths`` are those it can serve;
    ``needs`` are the programs without which it is left out."""

    name: str
    paths: str
    command: Callable[[Path, int, int], Sequence[str]]
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The needed programs that are not installed."""
        return [program for program in self.needs if find(program) is None]


_NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
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
"""

_MODEL = """
[[models]]
alias = "{alias}"
type = "{dialect}"
target = {{ url = "http://127.0.0.1:{backend_port}/v1", model = "{model}", api_key = "bench" }}
"""


def _lmbroker(folder: Path, port: int, backend_port: int) -> Sequence[str]:
    """The daemon as it is shipped: default log level, access log and metrics on."""
    config = folder / "lmbroker.toml"
    models = [
        _MODEL.format(
            alias=model_name(path, model), dialect=dialect, backend_port=backend_port, model=model
        )
        for path, dialect in BACKEND_DIALECT.items()
        if path in "ad"
        for model in MOCK_MODELS
    ]
    config.write_text(_SERVER.format(port=port) + "".join(models))
    twistd = Path(sys.executable).with_name("twistd")
    return [str(twistd), "-n", "--pidfile=", "lmbroker", "--config", str(config)]


NGINX = System(name="nginx", paths="ad", command=_nginx, needs=("nginx",))
LMBROKER = System(name="lmbroker", paths="abcd", command=_lmbroker)

SYSTEMS = {system.name: system for system in (NGINX, LMBROKER)}
BASE = NGINX
"""What the others are compared with."""
