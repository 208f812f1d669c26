"""TLS around a system under test: nginx on the load's core, before the mock and before the system.

The mock and the load generator speak in plain. With TLS to the backend, nginx takes the system's
TLS connections and passes their requests to the mock. With TLS on both sides, another nginx passes
the load generator's requests to the system over TLS. Their work is not the system's.
"""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench.processes import LOAD_CORE, Process, find, free_port, running

Encryption = Literal["none", "backend", "both"]
"""Where TLS is: nowhere, to the backend, or to the backend and to the clients."""

NGINX = """\
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
    client_body_buffer_size 1m;
    keepalive_requests 1000000;
    upstream next {{
        server 127.0.0.1:{to};
        keepalive 2048;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port}{listen_tls} backlog=4096;
        {certificate}
        location / {{
            proxy_pass {scheme}://next;
            {checked}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


class Identity(msgspec.Struct, frozen=True):
    """A certificate for ``localhost``, signed by itself, and its key, as PEM files."""

    certificate: Path
    key: Path


def identity(folder: Path) -> Identity:
    """A new certificate for ``localhost``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    found = Identity(folder / "certificate.pem", folder / "key.pem")
    found.certificate.write_bytes(made.public_bytes(Encoding.PEM))
    found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return found


def nginx(
    folder: Path,
    port: int,
    to: int,
    *,
    shown: Identity | None = None,
    trusted: Identity | None = None,
) -> list[str]:
    """The command of a reverse proxy that holds no bytes back.

    It listens with TLS where it has a certificate that is ``shown``, and passes on over TLS where
    it has one that is ``trusted``.
    """
    certificate = checked = ""
    if shown is not None:
        certificate = f"ssl_certificate {shown.certificate}; ssl_certificate_key {shown.key};"
        certificate += " ssl_protocols TLSv1.3; ssl_session_cache shared:s:10m;"
    if trusted is not None:
        checked = f"proxy_ssl_trusted_certificate {trusted.certificate}; proxy_ssl_verify on;"
        checked += " proxy_ssl_name localhost; proxy_ssl_server_name on;"
        checked += " proxy_ssl_protocols TLSv1.3;"
    text = NGINX.format(
        folder=folder,
        port=port,
        to=to,
        listen_tls=" ssl" if shown else "",
        certificate=certificate,
        scheme="https" if trusted else "http",
        checked=checked,
    )
    config = folder / f"nginx-{port}.conf"
    config.write_text(text)
    return [find("nginx") or "nginx", "-c", str(config), "-e", "stderr"]


@contextlib.contextmanager
def terminator(folder: Path, to: int, shown: Identity) -> Iterator[int]:
    """An nginx that takes TLS connections for the port ``to``; gives its own port."""
    port = free_port()
    folder = folder / f"terminator-{port}"
    folder.mkdir()
    with _nginx(folder, nginx(folder, port, to, shown=shown)):
        yield port


@contextlib.contextmanager
def encrypting(folder: Path, to: int, trusted: Identity) -> Iterator[int]:
    """An nginx that passes plain requests on to the port ``to`` over TLS; gives its own port."""
    port = free_port()
    folder = folder / f"encrypting-{port}"
    folder.mkdir()
    with _nginx(folder, nginx(folder, port, to, trusted=trusted)):
        yield port


def _nginx(folder: Path, command: list[str]) -> contextlib.AbstractContextManager[Process]:
    return running(command, cores=(LOAD_CORE,), output=folder / "nginx.log")
