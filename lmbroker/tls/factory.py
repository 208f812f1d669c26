"""Puts TLS under the protocols of a factory, for clients that connect to us."""

import ssl
from typing import Any

from twisted.internet.protocol import ServerFactory
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory

from lmbroker.config.cipher_suites import CIPHERS
from lmbroker.tls.connection import SecureConnection
from lmbroker.tls.contexts import server_context


class SecureFactory(ServerFactory):
    """Makes the connections of ``factory``, each under TLS with ``context``."""

    noisy = False

    def __init__(self, context: ssl.SSLContext, factory: Any) -> None:
        self._context = context
        self._factory = factory

    def doStart(self) -> None:
        """Start the factory within."""
        self._factory.doStart()
        super().doStart()

    def doStop(self) -> None:
        """Stop the factory within."""
        self._factory.doStop()
        super().doStop()

    def buildProtocol(self, addr: Any) -> Any:
        """Return a TLS connection over a protocol of the factory, None where that wants none."""
        protocol = self._factory.buildProtocol(addr)
        return None if protocol is None else SecureConnection(self._context, protocol)


def secured(factory: Any, contexts: Any) -> Any:
    """Return ``factory`` under TLS, as an endpoint of Twisted's has ``contexts`` for it.

    Twisted's own TLS serves what is more than a certificate with its key and chain: contexts of
    plugins, which may choose the certificate by the name that the client asks for.
    """
    if _is_plain(contexts):
        certificate, key = _as_cryptography(contexts.certificate, contexts.privateKey)
        chain = [_as_cryptography(each, None)[0] for each in contexts.extraCertChain]
        return SecureFactory(server_context(certificate, key, chain), factory)
    contexts.getContext().set_cipher_list(CIPHERS.encode())
    return TLSMemoryBIOFactory(contexts, False, factory)


def is_secured(factory: Any) -> bool:
    """Return whether the connections of ``factory`` are under TLS."""
    return isinstance(factory, SecureFactory | TLSMemoryBIOFactory)


def _is_plain(contexts: Any) -> bool:
    return (
        type(contexts) is CertificateOptions
        and None not in (contexts.certificate, contexts.privateKey)
        and not contexts.verify
        and contexts.dhParameters is None
    )


def _as_cryptography(certificate: Any, key: Any) -> tuple[Any, Any]:
    """Return a certificate and its key as objects of ``cryptography``.

    Twisted may hold them as pyOpenSSL's.
    """
    if hasattr(certificate, "to_cryptography"):
        certificate = certificate.to_cryptography()
    if hasattr(key, "to_cryptography_key"):
        key = key.to_cryptography_key()
    return certificate, key
