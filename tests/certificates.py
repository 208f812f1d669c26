"""Certificates for tests: an authority of one's own, and servers that it vouches for."""

import datetime
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates

DAY = datetime.timedelta(days=1)


class Authority:
    """``pem`` is what a client must know to trust the ``server``s."""

    def __init__(self, name="test authority"):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.pem = made.public_bytes(serialization.Encoding.PEM).decode()

    def server(self, name="localhost", *, expired=False, **options):
        """What a server named ``name`` listens with; ``options`` are of ``CertificateOptions``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        made = self._signed(subject, key, names, expired=expired)
        return CertificateOptions(privateKey=key, certificate=made, **options)

    def asking(self, name="localhost", *, of=None, **options):
        """A server that wants a certificate of its clients, signed by ``of``, else by itself."""
        trusted = [Certificate.loadPEM((of or self).pem)]
        return self.server(name, trustRoot=trustRootFromCertificates(trusted), **options)

    def files(self, folder, name="client", *, password=None):
        """Paths of a certificate for ``name`` and of its key, both in ``folder``."""
        made = self.server(name)
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        cert.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
        secret = serialization.BestAvailableEncryption(password) if password else None
        key.write_bytes(
            made.privateKey.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                secret or serialization.NoEncryption(),
            )
        )
        return cert, key

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


def pem_files(folder, name="127.0.0.1"):
    """A key and a certificate of ``name`` in ``folder``, and what trusts them."""
    authority = Authority()
    server = authority.server(name)
    (folder / "key.pem").write_bytes(
        server.privateKey.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "cert.pem").write_bytes(server.certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "chain.pem").write_text(authority.pem)
    context = ssl.create_default_context(cadata=authority.pem)
    context.check_hostname = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
