"""A certificate that the broker shows to a backend, and what may be wrong with it."""

from typing import Any

import msgspec


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A client's certificate, as objects of ``cryptography``.

    They are the certificate, the private key to it, and the certificates between it and its
    authority.
    """

    certificate: Any
    key: Any
    chain: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return "ClientCertificate(***)"


class Unusable(Exception):
    """The PEM texts cannot be used as a client's certificate.

    ``field`` is ``client_cert`` or ``client_key``; the words hold nothing of either.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field
        self.problem = problem


def read_client_certificate(certificates: str, key: str) -> ClientCertificate:
    """Return what two PEM texts hold: our certificate with its chain, and its private key.

    Behind the certificate stand those that signed it. Raises Unusable.
    """
    # Not above: it takes 40 ms, and few configurations need it.
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    if "-----BEGIN CERTIFICATE-----" not in certificates:
        raise Unusable("client_cert", "the file holds no certificate")
    try:
        own, *chain = load_pem_x509_certificates(certificates.encode())
    except ValueError:
        raise Unusable("client_cert", "the certificate cannot be read") from None
    if "PRIVATE KEY-----" not in key:
        raise Unusable("client_key", "there is no private key, neither here nor in client_cert")
    try:
        private = load_pem_private_key(key.encode(), None)
    except TypeError:
        raise Unusable("client_key", "the key is encrypted: store it without a password") from None
    except Exception:
        # Besides ValueError it raises other errors for kinds of keys that it does not know.
        raise Unusable("client_key", "the key cannot be read") from None
    if _public(private.public_key()) != _public(own.public_key()):
        raise Unusable("client_key", "it is not the key of the certificate in client_cert")
    return ClientCertificate(certificate=own, key=private, chain=tuple(chain))


def _public(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    data: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return data
