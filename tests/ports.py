"""Ports for tests."""

import random
import socket

PORTS = range(15_000, 32_000)
"""Below those that the system gives to clients: such a one would soon belong to another process of
the tests."""

_random = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    while True:
        port = _random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
