"""One interface for the requests of both engines and of anybody's ``twisted.web`` site."""

import pytest
from site_in_memory import Connection, post
from twisted.internet.task import Clock
from twisted.web import server
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from lmbroker.server.http import Limits, Site
from lmbroker.server.http.lean_request import LeanRequest
from lmbroker.server.incoming import StockRequest, TwistedRequest

KINDS = ("lean", "stock", "twisted")
BODY = b"hello"


class Wait(Resource):
    """Keeps its requests, and answers none."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requests = []

    def render(self, request):
        self.requests.append(request)
        return NOT_DONE_YET


class Scene:
    def __init__(self, kind, *headers):
        self.clock = Clock()
        resource = Wait()
        if kind == "twisted":
            self.site = server.Site(resource, reactor=self.clock)
        else:
            self.site = Site(resource, self.clock, Limits(bodies=100), kind)
        self.client = Connection(self).send(post(BODY, b"/a?b=c", *headers))
        [self.request] = resource.requests
        wrapper = {"stock": StockRequest, "twisted": TwistedRequest}.get(kind)
        self.incoming = wrapper(self.request) if wrapper else self.request
        assert isinstance(self.incoming, LeanRequest) == (kind == "lean")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_what_a_request_says(kind):
    scene = Scene(kind, b"X-A: 1")
    headers, repeated = scene.incoming.received_headers()
    assert (headers["x-a"], headers["content-length"], list(repeated)) == ("1", "5", [])
    assert scene.incoming.uri == b"/a?b=c"
    assert scene.incoming.client_host == "203.0.113.7"


def test_headers_that_come_repeatedly_are_named(kind):
    headers, repeated = Scene(kind, b"X-A: 1", b"X-a: 2").incoming.received_headers()
    assert (headers["x-a"], set(repeated)) == ("1", {"x-a"})


def test_the_body_is_taken_once(kind):
    incoming = Scene(kind).incoming
    assert [incoming.take_body(), incoming.take_body()] == [BODY, b""]


def test_our_own_site_counts_bodies(kind):
    scene = Scene(kind)
    assert scene.incoming.grow_body(90)
    assert scene.incoming.grow_body(90) == (kind == "twisted")
    if kind != "twisted":
        assert scene.site.body_bytes == 95
    scene.incoming.release_body()
    assert kind == "twisted" or scene.site.body_bytes == 0


def test_a_client_that_leaves_is_noticed_before_the_end_of_its_answer(kind):
    left = []
    for leaves in (True, False):
        scene = Scene(kind)
        scene.incoming.when_left(lambda leaves=leaves: left.append(leaves))
        if not leaves:
            scene.request.finish()
        scene.client.hang_up()
    assert left == [True]


def test_an_answer_is_a_head_and_what_is_written(kind):
    scene = Scene(kind)
    assert not scene.incoming.started
    scene.incoming.set_head(202, b"Taken", (("content-length", "2"), ("x-a", "b")))
    scene.incoming.consumer.write(b"ok")
    assert scene.incoming.started
    head, _, body = scene.client.wire.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 202 Taken\r\n")
    assert b"x-a: b" in head.lower()
    assert body == b"ok"


def test_an_answer_that_is_not_whole_is_cut(kind):
    scene = Scene(kind)
    scene.incoming.abort()
    assert scene.client.wire.aborted
