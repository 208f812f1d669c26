"""Which TLS a factory of the clients' side gets, and that factories within it start and stop."""

import pytest
from certificates import Authority
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol, ServerFactory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from lmbroker.config.cipher_suites import CIPHERS
from lmbroker.tls.factory import SecureFactory, is_secured, secured

AUTHORITY = Authority()


class Counting(ServerFactory):
    protocol = Protocol
    noisy = False
    running = 0

    def startFactory(self):
        self.running += 1

    def stopFactory(self):
        self.running -= 1


class Choosing(CertificateOptions):
    """Contexts that a plugin makes."""


def plugins_own():
    options = AUTHORITY.server()
    return Choosing(privateKey=options.privateKey, certificate=options.certificate)


def test_a_certificate_with_its_key_is_served_by_ours():
    made = secured(Counting(), AUTHORITY.server())
    assert isinstance(made, SecureFactory) and is_secured(made)
    connection = made.buildProtocol(None)
    assert ISSLTransport.providedBy(connection)
    connection.makeConnection(StringTransport())
    assert connection.protocol.transport is connection


@pytest.mark.parametrize("contexts", [plugins_own(), AUTHORITY.asking()])
def test_what_is_more_than_that_is_served_by_twisteds(contexts):
    made = secured(Counting(), contexts)
    assert isinstance(made, TLSMemoryBIOFactory) and is_secured(made)


def test_a_factory_without_tls():
    assert not is_secured(Counting())


def test_the_factory_within_starts_and_stops_with_it():
    within = Counting()
    made = secured(within, AUTHORITY.server())
    made.doStart()
    assert within.running == 1
    made.doStop()
    assert within.running == 0


def test_a_factory_that_wants_no_connection():
    within = Factory()
    within.buildProtocol = lambda addr: None
    assert secured(within, AUTHORITY.server()).buildProtocol(None) is None


def test_the_suites_of_twisteds_are_strong_too():
    class Context:
        def set_cipher_list(self, ciphers):
            self.ciphers = ciphers

    context = Context()
    options = AUTHORITY.asking()
    options.getContext = lambda: context
    secured(Counting(), options)
    assert context.ciphers == CIPHERS.encode()
