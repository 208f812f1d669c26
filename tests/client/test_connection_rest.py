"""A connection rests before it is used again, until its backend is proven: what a backend sends
behind its answer must not reach the next call."""

from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock

from lmbroker.backends import connections
from lmbroker.backends.client.pool import Pool

KEY = (b"http", b"backend", 80, "b", "", "", "")
OTHER = (b"http", b"other", 80, "o", "", "", "")
REST = connections.REST_SECONDS


class Kept(SimpleNamespace):
    """An idle connection."""

    key = KEY
    idle_since = 0.0

    def abort(self):
        pass


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pool(clock, monkeypatch):
    monkeypatch.setattr(Pool, "rest", REST)
    return Pool(clock)


def prove(pool, clock):
    """Use as many connections again as prove the backend."""
    for _ in range(connections.PROOFS):
        pool.keep(Kept())
        clock.advance(2 * REST)
        assert pool.take(KEY) is not None


def test_a_connection_that_has_just_become_idle_is_not_used_again_yet(pool, clock):
    kept = Kept()
    pool.keep(kept)
    assert pool.take(KEY) is None
    clock.advance(REST / 2)
    assert pool.take(KEY) is None
    clock.advance(REST / 2)
    assert pool.take(KEY) is kept
    assert pool.take(KEY) is None


def test_of_several_the_last_that_has_rested_is_used(pool, clock):
    first, second, third = Kept(), Kept(), Kept()
    pool.keep(first)
    pool.keep(second)
    clock.advance(2 * REST)
    pool.keep(third)
    assert [pool.take(KEY) for _ in range(3)] == [second, first, None]


def test_connections_of_a_proven_backend_need_no_rest(pool, clock):
    prove(pool, clock)
    kept = Kept()
    pool.keep(kept)
    assert pool.take(KEY) is kept


def test_a_backend_proves_nothing_for_another(pool, clock):
    prove(pool, clock)
    other = Kept(key=OTHER)
    pool.keep(other)
    assert pool.take(OTHER) is None


def test_a_backend_that_strays_is_proven_no_more(pool, clock, monkeypatch):
    prove(pool, clock)
    monkeypatch.setattr(connections, "DISTRUST_SECONDS", 0.0)
    pool.stray(Kept(), "unasked", b"HTTP/1.1 200 OK")
    pool.keep(Kept())
    assert pool.take(KEY) is None
