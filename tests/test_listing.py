"""Which models clients are told, as backends list theirs: over a clock, backends that wait."""

import json

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from lmbroker.broker.model_listing import (
    AGAIN_SECONDS,
    FRESH_SECONDS,
    LIST_BYTES,
    PAGES,
    SECONDS,
    Listing,
)
from lmbroker.call import Backend, Caller, Target
from lmbroker.errors import Broken, ErrorInfo
from lmbroker.routing.aliases import Aliases, Route
from lmbroker.workflows.model_list import MODELS_OF_A_BACKEND


class Answer:
    """What a backend answers, whole."""

    def __init__(self, names=(), status=200, *, body=None, after=None):
        page = {"data": [{"id": name} for name in names]}
        if after:
            page |= {"has_more": True, "last_id": after}
        self.status = status
        self.headers = {}
        self._body = json.dumps(page).encode() if body is None else body

    async def body(self, limit):
        assert limit == LIST_BYTES
        return self._body


class Asked:
    """Backends that are asked for their models, and wait for the test."""

    def __init__(self):
        self.requests = []
        self.left = 0

    async def get(self, backend, outbound, timeouts):
        answer = Deferred()
        self.requests.append((backend.name, outbound.query.decode(), answer))
        try:
            return await answer
        except BaseException:
            self.left += 1
            raise

    def tell(self, *names, number=-1, **more):
        self.requests[number][2].callback(Answer(names, **more))


def route(name, backend="b", dialect="openai", model="*"):
    target = Target(
        backend=Backend(name=backend, url=f"http://{backend}", dialect=dialect), model=model
    )
    return Route(name=name, targets=(target,))


class Told:
    """A listing, and what its clients were told."""

    def __init__(self, *routes):
        self.clock = Clock()
        self.backends = Asked()
        self.listing = Listing(Aliases(routes), self.backends, self.clock)

    def ask(self):
        """A client's question: the list that its answer will fill, and what cancels it."""
        told = []
        asking = Deferred.fromCoroutine(self.listing.all(Caller()))
        asking.addCallbacks(told.extend, told.append)
        return told, asking

    def now(self):
        """What a client is told at once."""
        told, _ = self.ask()
        return told

    @property
    def count(self):
        return len(self.backends.requests)


@pytest.fixture
def told():
    return Told(route("own", model="m"), route("*"))


def test_without_a_pattern_nobody_is_asked():
    told = Told(route("own"), route("fixed-*", model="m"))
    assert told.now() == ["own"]
    assert told.count == 0


def test_a_list_is_used_while_it_is_fresh_and_then_asked_for_anew(told):
    first, _ = told.ask()
    assert first == []
    told.backends.tell("x", "y")
    assert first == ["own", "x", "y"]
    told.clock.advance(FRESH_SECONDS - 1)
    assert told.now() == ["own", "x", "y"]
    assert told.count == 1
    told.clock.advance(1)
    later, _ = told.ask()
    told.backends.tell("z")
    assert later == ["own", "z"]
    assert told.clock.getDelayedCalls() == []


def test_who_asks_at_once_shares_one_question_and_may_leave(told):
    (_, leaving), (second, _) = told.ask(), told.ask()
    assert told.count == 1
    leaving.cancel()
    third, _ = told.ask()
    told.backends.tell("x")
    assert (second, third) == (["own", "x"], ["own", "x"])
    assert told.count == 1
    assert told.backends.left == 0


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=500),
        Answer(status=404),
        Answer(status=302),
        Answer(body=b"<html>"),
        Broken(ErrorInfo(kind="bad_upstream", message="", code="oversized")),
    ],
)
def test_a_backend_that_fails_is_no_error_and_is_asked_again_later(told, answer):
    def fail():
        waiting = told.backends.requests[-1][2]
        waiting.errback(answer) if isinstance(answer, Exception) else waiting.callback(answer)

    first, _ = told.ask()
    fail()
    assert first == ["own"]
    told.clock.advance(AGAIN_SECONDS - 1)
    assert told.now() == ["own"]
    assert told.count == 1
    told.clock.advance(1)
    second, _ = told.ask()
    told.backends.tell("x")
    assert second == ["own", "x"]
    told.clock.advance(FRESH_SECONDS)
    third, _ = told.ask()
    fail()
    assert third == ["own", "x"], "the last list stands"


def test_nobody_waits_longer_than_a_few_seconds(told):
    first, _ = told.ask()
    told.clock.advance(SECONDS - 0.1)
    assert first == []
    told.clock.advance(0.1)
    assert first == ["own"]
    assert told.backends.left == 1
    assert told.clock.getDelayedCalls() == []


def test_backends_are_asked_side_by_side():
    told = Told(route("a-*", "a"), route("b-*", "b"), route("also-b-*", "b"))
    names, _ = told.ask()
    assert [name for name, _, _ in told.backends.requests] == ["a", "b"]
    told.backends.tell("b-1", "also-b-2", number=1)
    told.backends.tell("a-1", number=0)
    assert names == ["a-1", "b-1", "also-b-2"]


def test_the_pages_of_an_anthropic_backend():
    told = Told(route("*", dialect="anthropic"))
    names, _ = told.ask()
    told.backends.tell("x", "y", after="y")
    told.backends.tell("z")
    assert names == ["x", "y", "z"]
    queries = [query for _, query, _ in told.backends.requests]
    assert queries == ["limit=1000", "limit=1000&after_id=y"]


def test_a_list_without_an_end_has_one():
    told = Told(route("*", dialect="anthropic"))
    names, _ = told.ask()
    for _ in range(PAGES):
        told.backends.tell("x", after="x")
    assert names == ["x"]
    assert told.count == PAGES


def test_a_very_long_list_is_cut():
    told = Told(route("*"))
    names, _ = told.ask()
    told.backends.tell(*(f"m{number}" for number in range(MODELS_OF_A_BACKEND + 1)))
    assert len(names) == MODELS_OF_A_BACKEND


def test_one_model_agrees_with_the_list(told):
    def one(name, caller=Caller()):
        found = []
        Deferred.fromCoroutine(told.listing.one(caller, name)).addCallback(found.append)
        return found

    assert one("own")[0].name == "own"
    assert one("own", Caller(models=("else",))) == [None]
    assert told.count == 0, "an alias is known without its backend"
    waiting = one("x")
    told.backends.tell("x")
    assert waiting[0].name == "x"
    assert waiting[0].targets[0].model == "x"
    assert (one("y"), one("*")) == ([None], [None])
