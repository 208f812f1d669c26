"""The contexts of TLS: what they take, and which certificates are a host's."""

import datetime
import ipaddress
import ssl
from types import SimpleNamespace

import pytest
from certificates import Authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from service_identity import VerificationError

from lmbroker.config.client_certificate import ClientCertificate
from lmbroker.tls.contexts import client_context, identity, server_context

OPTIONS = Authority().server()


def engine_of(*names, resumed=False):
    """An engine whose peer has shown a certificate of ``names``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .sign(key, hashes.SHA256())
    )
    data = made.public_bytes(Encoding.DER)
    return SimpleNamespace(session_reused=resumed, getpeercert=lambda binary_form: data)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.example", x509.DNSName("api.example")),
        ("api.some.example", x509.DNSName("*.some.example")),
        ("127.0.0.1", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
        ("::1", x509.IPAddress(ipaddress.ip_address("::1"))),
    ],
)
def test_a_certificate_of_the_host(host, name):
    identity(host)(engine_of(x509.DNSName("first.example"), name))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.example", x509.DNSName("example")),
        ("a.b.some.example", x509.DNSName("*.some.example")),
        ("127.0.0.1", x509.IPAddress(ipaddress.ip_address("127.0.0.2"))),
    ],
)
def test_a_certificate_of_somebody_else(host, name):
    with pytest.raises(VerificationError):
        identity(host)(engine_of(name))


def test_a_resumed_session_was_verified_before():
    identity("api.example")(engine_of(x509.DNSName("elsewhere.example"), resumed=True))


def test_both_sides_speak_nothing_old_or_weak():
    server = server_context(OPTIONS.certificate, OPTIONS.privateKey)
    for context in (client_context(), server):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        old = [each for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"]
        assert old
        assert all(each["kea"] == "kx-ecdhe" and each["aead"] for each in old)
    assert client_context().verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize("text", ["no certificate", "-----BEGIN CERTIFICATE-----\nAA\n"])
def test_authorities_that_cannot_be_read(text):
    with pytest.raises(ssl.SSLError):
        client_context(text)


def test_a_key_of_another_certificate_is_refused():
    with pytest.raises(ssl.SSLError):
        server_context(OPTIONS.certificate, Authority().server().privateKey)


def test_a_client_certificate_with_its_chain():
    other = Authority().server()
    own = ClientCertificate(
        certificate=OPTIONS.certificate, key=OPTIONS.privateKey, chain=(other.certificate,)
    )
    client_context("", own)


def test_a_system_without_files_in_memory(monkeypatch):
    monkeypatch.delattr("os.memfd_create", raising=False)
    server_context(OPTIONS.certificate, OPTIONS.privateKey)
