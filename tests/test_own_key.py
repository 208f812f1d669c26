"""``api_key = "client"``: the client's own key goes to that backend, and to nobody else."""

import json

import msgspec
import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from rig import PATHS, Rig, ask, unary
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from lmbroker.broker.broker import Broker
from lmbroker.call import Call, Caller, End
from lmbroker.config.config import ConfigError, parse
from lmbroker.errors import (
    BackendRefused,
    Broken,
    BrokerError,
    ErrorInfo,
    Refused,
    TimedOut,
    Unreachable,
)
from lmbroker.headers import credential_headers
from lmbroker.observers.metrics import Metrics
from lmbroker.routing.keys import Key, caller_of, digest_of, own_key
from lmbroker.server.error_answers import call_error_answer
from lmbroker.translation.dialects.catalog import ADAPTERS

OWN = "own-key-of-the-client-Zz93"
KEYS = (Key(name="k", digest=digest_of("broker-key")),)
HEADERS = [{"x-api-key": OWN}, {"api-key": OWN}, {"authorization": f"Bearer {OWN}"}]


def config(text):
    return parse(text, name="c", environ={"KEY": "backend-key-1"}, read_file=lambda path: "")


# Whose key is whose.


@pytest.mark.parametrize("given", HEADERS)
def test_the_own_key_stands_where_keys_stand_and_the_brokers_beside_it(given):
    headers = {**given, "x-lmbroker-key": "broker-key"}
    assert caller_of(KEYS, headers).name == "k"
    assert own_key(KEYS, headers).reveal() == OWN
    assert own_key((), given).reveal() == OWN


@pytest.mark.parametrize(
    "headers",
    [
        {"x-lmbroker-key": "wrong", "x-api-key": "broker-key"},
        {"x-lmbroker-key": "", "x-api-key": "broker-key"},
    ],
)
def test_no_other_header_counts_beside_the_brokers_own(headers):
    with pytest.raises(Refused):
        caller_of(KEYS, headers)


def test_two_keys_in_the_brokers_header_are_none():
    with pytest.raises(Refused):
        caller_of(KEYS, {"x-lmbroker-key": "broker-key"}, {"x-lmbroker-key"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-lmbroker-key": "broker-key"},
        {"x-api-key": "broker-key"},
        {"authorization": "Bearer broker-key"},
        {"x-api-key": "broker-key", "x-lmbroker-key": "broker-key"},
        {"x-api-key": "broker-key", "authorization": f"Bearer {OWN}"},
        {"x-api-key": "k\u00e9y"},
        {"authorization": "Basic abc"},
    ],
)
def test_the_brokers_key_is_never_handed_on(headers):
    with pytest.raises(Refused) as refused:
        own_key(KEYS, headers)
    assert refused.value.info.kind == "auth"
    assert "x-lmbroker-key" in refused.value.info.message


def test_the_configuration_has_one_of_them_alone():
    backends = (
        '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "http://b", model = "x", %s }'
    )
    backend = config(backends % 'api_key = "client"').alias("m").targets[0].backend
    assert (backend.clients_key, backend.credential, backend.credential_ref) == (
        True,
        None,
        "client",
    )
    with pytest.raises(ConfigError, match="stands alone"):
        config(backends % 'api_keys = ["client", "env:KEY"]')


# Nobody else gets to see it.


class Answer:
    """A backend's answer."""

    held, queued, sent_at = None, 0.0, None

    def __init__(self, status, body, headers):
        self.status, self._body, self.headers = status, body, headers
        self.content_type = "application/json"

    async def body(self, *limits, **more):
        return self._body

    def abort(self): ...


class Somebody:
    """Backends that answer what they are told to, and repeat whatever key they were given."""

    def __init__(self, outcomes):
        self.outcomes = iter(outcomes)
        self.seen = []

    async def send(self, backend, outbound, timeouts):
        given = dict(
            (
                *outbound.headers,
                *credential_headers(backend, ADAPTERS[backend.dialect].facts.headers),
            )
        )
        self.seen.append(
            (backend.name, repr((given, outbound.query, outbound.path)), outbound.body)
        )
        outcome = next(self.outcomes, 200)
        if isinstance(outcome, BrokerError):
            outcome.info = msgspec.structs.replace(outcome.info, message=f"no {given}")
            raise outcome
        key = "".join(given.get(name, "") for name in ("authorization", "x-api-key", "api-key"))
        told = {"error": {"message": f"not {key}", "type": f"t {key}", "code": key}}
        head = {"retry-after": key, "x-request-id": key, "request-id": key}
        return Answer(outcome, json.dumps(told).encode(), head)


FAILURES = st.one_of(
    st.sampled_from([200, 400, 401, 402, 403, 404, 413, 429, 500, 501, 502, 503, 529]),
    st.builds(
        lambda kind: kind(ErrorInfo(kind="server", message="", code="x")),
        st.sampled_from([Broken, TimedOut, BackendRefused, Unreachable]),
    ),
)
DIALECTS = st.sampled_from(list(ADAPTERS))
TARGETS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.booleans()),
    min_size=1,
    max_size=4,
    unique_by=lambda t: t[0],
)


@settings(max_examples=150, deadline=None)
@given(
    targets=TARGETS,
    outcomes=st.lists(FAILURES, max_size=6),
    dialects=st.fixed_dictionaries(dict.fromkeys("abcd", DIALECTS)),
    client=DIALECTS,
    where=st.sampled_from(HEADERS),
    strategy=st.sampled_from(["ordered", "weighted", "least-busy"]),
    same=st.integers(0, 2),
)
def test_no_other_backend_log_line_error_header_or_metric_ever_holds_it(
    targets, outcomes, dialects, client, where, strategy, same
):
    text = "[retries]\nattempts = 6\nfirst_pause = 0.01\n"
    text += f"same_target = {same}\n" if same else ""
    for name, owns in targets:
        key = "client" if owns else "env:KEY"
        text += f'[[backends]]\nname = "{name}"\ntype = "{dialects[name]}"\n'
        text += f'url = "https://{name}.test"\napi_key = "{key}"\n'
    listed = ", ".join(f'{{ backend = "{name}", model = "real" }}' for name, _ in targets)
    text += f'[[models]]\nalias = "m"\nstrategy = "{strategy}"\ntargets = [{listed}]\n'
    registry, clock, somebody = CollectorRegistry(), Clock(), Somebody(outcomes)
    lines, told = [], []
    broker = Broker(config(text), somebody, [Metrics(registry)], clock, lambda: 1e9)

    def note(event):
        lines.append(
            formatEvent(event) + repr({k: v for k, v in event.items() if k != "log_logger"})
        )

    globalLogPublisher.addObserver(note)
    try:
        body = b'{"model":"m","input":"hi"}' if client == "responses" else ask("m")
        call = Call(
            id="r", operation="chat", dialect=client, asked="m", body=body, headers=where,
            caller=Caller(),
        )  # fmt: skip
        record = broker.open("r", "chat", client)
        calling = Deferred.fromCoroutine(broker.chat(call, record))
        calling.addCallbacks(lambda answer: told.append(repr(answer.headers)), told.append)
        for _ in range(200):
            clock.advance(1)
        broker.close(record, End())
    finally:
        globalLogPublisher.removeObserver(note)
    [outcome] = told
    if not isinstance(outcome, str):
        error = outcome.value
        assert isinstance(error, BrokerError), outcome
        told = [str(error), repr(error.info), repr(error.__dict__)]
        answer = call_error_answer(client, error.info, "r", native=getattr(error, "native", None))
        told.append(repr(answer))
        told.append(repr(getattr(error, "headers", ())))
    owners = {name for name, owns in targets if owns}
    for name, given_headers, given_body in somebody.seen:
        assert (OWN in given_headers) == (name in owners)
        assert OWN.encode() not in given_body
    for text in (*told, *lines, generate_latest(registry).decode(), repr(record)):
        assert OWN not in text


# What it may not do says nothing to others.


RIG = """
[[models]]
alias = "own"
type = "TYPE"
target = { url = "http://127.0.0.1:PORT", model = "real", api_key = "client" }
"""


@pytest.fixture
def open_rig():
    houses = []

    async def open_(dialect, keys=""):
        rig = await Rig().open(config=RIG.replace("TYPE", dialect) + keys)
        houses.append(rig)
        return rig

    yield open_
    for rig in houses:
        pytest_twisted.blockon(Deferred.fromCoroutine(rig.close()))


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("client", ADAPTERS)
@pytest.mark.parametrize("dialect", ADAPTERS)
@pytest.mark.parametrize(
    "status", [b"401 Unauthorized", b"403 Forbidden", b"429 Too Many Requests"]
)
async def test_a_bad_key_is_told_as_it_is_and_stops_nobody_else(open_rig, client, dialect, status):
    rig = await open_rig(dialect)
    backend = None
    for number in range(1, 8):
        line = await rig.post(PATHS[client], ask("own"), [f"x-api-key: {OWN}"])
        backend = backend or await rig.backend()
        await backend.has(b"POST ", times=number)
        await backend.has(OWN.encode(), times=number)
        told = {"type": "error", "error": {"type": "x", "message": f"bad key {OWN}"}}
        backend.transport.write(unary(json.dumps(told).encode(), status, b"retry-after: 600\r\n"))
        await line.has(b"bad key ***")
        assert f" {status[:3].decode()} " in line.head.split("\r\n")[0]
        assert OWN not in line.received.decode()
    health = rig.broker._failovers.health
    assert {(each.state, each.reason) for each in health.snapshot(1e9)} == {("closed", "")}
    target = rig.broker.config.alias("own").targets[0]
    assert health.target(target).free(["client"], rig.broker.clock.seconds())


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("client", ADAPTERS)
async def test_without_a_key_the_client_is_told_so_in_its_format(open_rig, client):
    rig = await open_rig("openai")
    line = await rig.post(PATHS[client], ask("own"))
    await line.has(b"your own API key")
    assert " 401 " in line.head.split("\r\n")[0]
    assert "x-should-retry: false" in line.head.lower()
    assert not rig.backends_seen
