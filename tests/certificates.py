"""Certificates for tests: an authority of one's own, and servers that it vouches for."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import CertificateOptions

DAY = datetime.timedelta(days=1)


class Authority:
    """``pem`` is what a client must know to trust the ``server``s."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        made = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.pem = made.public_bytes(serialization.Encoding.PEM).decode()

    def server(self, name="localhost", *, expired=False):
        """What a server named ``name`` listens with."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        made = self._signed(subject, key, names, expired=expired)
        return CertificateOptions(privateKey=key, certificate=made)

    def _signed(self, subject, key, extension, *, expired=False):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now - DAY if expired else now + DAY)
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )
