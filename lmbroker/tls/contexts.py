"""Makes the ``ssl.SSLContext`` of each side, and proves who a server is.

Both sides speak TLS 1.3, or 1.2 with the suites of ``config.cipher_suites``. A context holds the
sessions that its connections can resume.
"""

import os
import ssl
import tempfile
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_der_x509_certificate
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from lmbroker.config.cipher_suites import CIPHERS
from lmbroker.config.client_certificate import ClientCertificate

Verify = Callable[[ssl.SSLObject], None]


def client_context(trusted: str = "", own: ClientCertificate | None = None) -> ssl.SSLContext:
    """Return the context of connections to servers.

    ``trusted`` are the authorities that may have signed a server's certificate, as PEM; "" for the
    system's. ``own`` is the certificate to show to servers that ask for one.

    Raises ssl.SSLError for what OpenSSL cannot use.
    """
    context = _strong(ssl.PROTOCOL_TLS_CLIENT)
    # ``identity`` compares the names.
    context.check_hostname = False
    if trusted:
        context.load_verify_locations(cadata=trusted)
    else:
        context.set_default_verify_paths()
    if own is not None:
        _show(context, own.certificate, own.key, own.chain)
    return context


def server_context(certificate: Any, key: Any, chain: Iterable[Any] = ()) -> ssl.SSLContext:
    """Return the context of connections of clients, who are shown ``certificate``.

    Certificate, private key and chain are objects of ``cryptography``. Clients are not asked for a
    certificate. Raises ssl.SSLError for what OpenSSL cannot use.
    """
    context = _strong(ssl.PROTOCOL_TLS_SERVER)
    _show(context, certificate, key, chain)
    context.set_alpn_protocols(["http/1.1"])
    return context


def identity(host: str) -> Verify:
    """Return the check that a certificate is ``host``'s, a name or an IP address (RFC 9525).

    The check raises ``service_identity.VerificationError``.
    """
    try:
        ip_address(host)
    except ValueError:
        compare: Callable[[Any, str], None] = verify_certificate_hostname
    else:
        compare = verify_certificate_ip_address

    def verify(engine: ssl.SSLObject) -> None:
        if engine.session_reused:
            # It was verified on the connection from which this session comes.
            return
        shown = engine.getpeercert(binary_form=True)
        compare(load_der_x509_certificate(shown or b""), host)

    return verify


def _strong(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _show(context: ssl.SSLContext, certificate: Any, key: Any, chain: Iterable[Any]) -> None:
    text = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, *chain))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with _as_file(secret + text) as path:
        context.load_cert_chain(path)


@contextmanager
def _as_file(content: bytes) -> Any:
    """Return a path at which ``content`` can be read.

    It is on no disk where the system can do so: ``ssl`` reads certificates from files only.
    """
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("certificate")
        try:
            with open(handle, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
    else:
        with tempfile.NamedTemporaryFile() as kept:
            kept.write(content)
            kept.flush()
            yield kept.name
