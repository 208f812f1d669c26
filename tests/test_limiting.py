"""Limits on the running broker: every path goes through the one place, and nothing stays reserved
when a call has ended, however it ended."""

import json

import pytest
import pytest_twisted
from rig import A_EVENT, CONFIG, EVENTS, PATHS, ask, chunk, sse_head, unary
from twisted.internet import reactor
from twisted.internet.task import deferLater

from lmbroker.translation.dialects.catalog import ADAPTERS, client_paths
from lmbroker.workflows import model_list

RULES = """
[[limits.rules]]
name = "few"
requests = "REQUESTS"
parallel = 1
tokens = "1k/never"
"""
ANSWER = b'{"id":"c","object":"chat.completion","created":1,"model":"real-o","choices":[{"index":0,\
"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,\
"completion_tokens":5,"total_tokens":12}}'
FALLBACK = """
[[models]]
alias = "f"
type = "openai"
target = { url = "http://127.0.0.1:PORT/v1/", model = "cheap", api_key = "env:KEY" }
"""


def rules(text=RULES, requests="100/never"):
    return CONFIG + text.replace("REQUESTS", requests)


def left(rig, caller="anonymous", alias="o"):
    """What is left of the bounds that meet a call, by what they count."""
    found = rig.broker.limiter.met(caller, alias)
    decision = rig.broker.limits.read(found.bounds)
    return {
        bound.measure: remaining
        for bound, remaining in zip(found.bounds, decision.remaining, strict=True)
    }


def nothing_reserved(rig):
    assert rig.broker.limits.ledger.leases == 0
    assert rig.broker.limits.ledger.reserved() == {}


def limit_headers(head):
    lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
    return {name: value for name, _, value in lines if "ratelimit" in name or "limit" in name}


# Every route.


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("path", list(client_paths()))
async def test_every_route_of_a_call_is_refused_in_its_format(open_rig, path):
    rig = await open_rig(config=rules(requests="1/never"))
    first = await rig.get("/v1/models")
    await first.has(b"\r\n\r\n")
    assert " 200 " in first.head and "x-ratelimit-remaining-requests: 0" in first.head
    client = await rig.post(path, ask("o"))
    await client.has(b"few")
    assert client.head.startswith("http/1.1 429")
    [record] = await rig.ended()
    facts = ADAPTERS[record.dialect].facts
    assert record.end.outcome == "refused" and record.end.code == "insufficient_quota"
    told = json.loads(client.body)["error"]
    assert told["type"] in ("insufficient_quota", "rate_limit_error")
    assert "limit 'few' (1 request for good)" in told["message"]
    assert "x-should-retry: false" in client.head and "retry-after" not in client.head
    assert any(name.startswith(facts.rate_limits.prefixes) for name in limit_headers(client.head))
    assert record.limits == (("few", "refused"),)
    assert rig.backends_seen == []
    nothing_reserved(rig)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("path", [*model_list.list_paths(), "/v1/models/o"])
async def test_lists_of_models_are_requests_as_well(open_rig, path):
    rig = await open_rig(config=rules(requests="2/min"))
    for remaining in (1, 0):
        client = await rig.get(path)
        await client.has(b"\r\n\r\n")
        assert client.head.startswith("http/1.1 200")
        assert f"remaining-requests: {remaining}" in client.head
    client = await rig.get(path)
    await client.has(b"few")
    assert client.head.startswith("http/1.1 429")
    assert "retry-after: 30" in client.head and "x-should-retry: true" in client.head
    nothing_reserved(rig)


# However a call ends.


@pytest_twisted.ensureDeferred
async def test_a_whole_answer_is_charged_by_its_usage(open_rig):
    rig = await open_rig(config=rules())
    client = await rig.post(PATHS["openai"], ask("o"))
    backend = await rig.backend()
    assert left(rig)["parallel"] == 0
    assert left(rig)["tokens"] < 1000 - 9
    backend.transport.write(unary(ANSWER, extra=b"x-ratelimit-limit-requests: 5000\r\n"))
    await client.has(b'"hi"')
    await rig.ended()
    assert left(rig) == {"requests": 99, "tokens": 988, "parallel": 1}
    nothing_reserved(rig)
    told = limit_headers(client.head)
    assert told["x-ratelimit-limit-requests"] == "100"
    assert told["x-ratelimit-limit-tokens"] == "1000"
    # By its own limits the backend may say what it likes.
    assert "5000" not in client.head
    assert rig.registry.get_sample_value(
        "lmbroker_limit_calls_total", {"rule": "few", "result": "allowed"}
    )
    assert (
        rig.registry.get_sample_value(
            "lmbroker_limit_taken_total", {"rule": "few", "measure": "tokens"}
        )
        == 12
    )


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("model", ["o", "a", "r"])
@pytest.mark.parametrize("dialect", list(PATHS))
async def test_a_stream_is_charged_when_it_ends(open_rig, dialect, model):
    rig = await open_rig(config=rules())
    client = await rig.post(PATHS[dialect], ask(model, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(EVENTS[model][0]))
    await client.has(b"h\xc3\xa9")
    assert left(rig)["parallel"] == 0
    assert limit_headers(client.head)
    backend.transport.write(chunk(EVENTS[model][1]) + b"0\r\n\r\n")
    [record] = await rig.ended()
    assert record.end.outcome == "complete"
    _, taken, _ = record.reservation.taken
    if record.usage is None:
        assert taken >= 20
    else:
        assert taken == record.usage.input + record.usage.output
    assert left(rig) == {"requests": 99, "tokens": 1000 - taken, "parallel": 1}
    nothing_reserved(rig)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("model", ["o", "a", "r"])
async def test_a_stream_that_its_client_leaves_is_charged_by_what_is_known(open_rig, model):
    rig = await open_rig(config=rules())
    client = await rig.post(PATHS["openai"], ask(model, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(EVENTS[model][0]))
    await client.has(b"h\xc3\xa9")
    client.transport.abortConnection()
    [record] = await rig.ended()
    assert record.end.outcome == "client_left"
    assert record.usage.estimated or model == "a"
    taken = record.usage.input + record.usage.output
    assert taken >= 2
    assert left(rig) == {"requests": 99, "tokens": 1000 - taken, "parallel": 1}
    nothing_reserved(rig)


@pytest_twisted.ensureDeferred
async def test_a_call_that_its_client_leaves_before_the_answer_is_charged_its_input(open_rig):
    rig = await open_rig(config=rules())
    client = await rig.post(PATHS["openai"], ask("o"))
    await rig.backend()
    client.transport.abortConnection()
    await rig.ended()
    found = left(rig)
    assert (found["requests"], found["parallel"]) == (99, 1)
    assert 1000 - 40 < found["tokens"] < 1000
    nothing_reserved(rig)


@pytest_twisted.ensureDeferred
async def test_a_broken_stream_is_charged_by_what_came(open_rig):
    rig = await open_rig(config=rules())
    client = await rig.post(PATHS["anthropic"], ask("a", stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(A_EVENT))
    await client.has(b"h\xc3\xa9")
    backend.transport.abortConnection()
    [record] = await rig.ended()
    assert record.end.outcome == "stream_error"
    taken = record.usage.input + record.usage.output
    assert left(rig) == {"requests": 99, "tokens": 1000 - taken, "parallel": 1}
    nothing_reserved(rig)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("status", [b"400 Bad Request", b"401 No", b"429 Too Many", b"200 OK"])
async def test_a_call_that_its_backend_refuses_costs_a_request_only(open_rig, status):
    rig = await open_rig(config=rules())
    client = await rig.post(PATHS["openai"], ask("o"))
    backend = await rig.backend()
    backend.transport.write(unary(b'{"error":{"message":"no","type":"x"}}', status))
    await client.has(b"error")
    await rig.ended()
    assert left(rig) == {"requests": 99, "tokens": 1000, "parallel": 1}
    assert "x-ratelimit-remaining-requests: 99" in client.head
    nothing_reserved(rig)


@pytest_twisted.ensureDeferred
async def test_estimated_counts_of_tokens_cost_a_request_only(open_rig):
    rig = await open_rig(config=rules())
    client = await rig.post("/v1/messages/count_tokens", ask("o"))
    await client.has(b"input_tokens")
    await rig.ended()
    assert left(rig) == {"requests": 99, "tokens": 1000, "parallel": 1}
    assert "anthropic-ratelimit-requests-remaining: 99" in client.head


@pytest_twisted.ensureDeferred
async def test_embeddings_are_charged(open_rig):
    rig = await open_rig(config=rules())
    client = await rig.post("/v1/embeddings", b'{"model":"o","input":"hi"}')
    backend = await rig.backend()
    backend.transport.write(
        unary(
            b'{"object":"list","model":"real-o","data":[{"object":"embedding","index":0,'
            b'"embedding":[0.5]}],"usage":{"prompt_tokens":4,"total_tokens":4}}'
        )
    )
    await client.has(b"0.5")
    await rig.ended()
    assert left(rig) == {"requests": 99, "tokens": 996, "parallel": 1}
    nothing_reserved(rig)


# What rules do.


@pytest_twisted.ensureDeferred
async def test_only_one_call_at_a_time_or_one_after_the_other(open_rig):
    rig = await open_rig(config=rules())
    first = await rig.post(PATHS["openai"], ask("o"))
    backend = await rig.backend()
    second = await rig.post(PATHS["openai"], ask("o"))
    await second.has(b"1 calls at once")
    assert "retry-after: 1" in second.head and "x-should-retry: true" in second.head
    backend.transport.write(unary(ANSWER))
    await first.has(b'"hi"')
    await rig.ended(2)
    third = await rig.post(PATHS["openai"], ask("o"))
    await deferLater(reactor, 0.05)
    backend.transport.write(unary(ANSWER))
    await third.has(b'"hi"')
    nothing_reserved(rig)


@pytest_twisted.ensureDeferred
async def test_calls_wait_in_the_order_in_which_they_came(open_rig):
    text = '[[limits.rules]]\nname = "slow"\nparallel = 1\nwait = 5\n'
    rig = await open_rig(config=CONFIG + text)
    clients = []
    for number in range(4):
        clients.append(await rig.post(PATHS["openai"], ask("o", user=f"user {number}")))
        await deferLater(reactor, 0.02)
    clients[2].transport.abortConnection()
    backend = await rig.backend()
    for number in (0, 1, 3):
        await backend.has(b"user %d" % number)
        assert b"user %d" % (number + 1) not in backend.received
        backend.transport.write(unary(ANSWER))
        await clients[number].has(b'"hi"')
    await rig.ended(4)
    assert b"user 2" not in backend.received
    assert rig.broker.limits.waiting == 0
    nothing_reserved(rig)


@pytest_twisted.ensureDeferred
async def test_a_rule_sends_calls_to_another_alias(open_rig):
    text = (
        '[[limits.rules]]\nname = "dear"\nfor = { alias = "o" }\nrequests = "1/never"\nthen = "f"\n'
    )
    rig = await open_rig(config=CONFIG + FALLBACK + text)
    for number, model in ((1, b"real-o"), (2, b"cheap")):
        client = await rig.post(PATHS["openai"], ask("o"))
        backend = await rig.backend(1)
        await backend.has(b"POST", number)
        assert backend.received.count(model) == 1
        backend.transport.write(unary(ANSWER))
        await client.has(b'"hi"')
    records = await rig.ended(2)
    assert "x-lmbroker-limit-then: f" in client.head
    assert records[1].alias == "f"
    assert records[1].limits == (("dear", "then"),)


@pytest_twisted.ensureDeferred
async def test_names_that_no_header_may_hold_are_made_to_fit(open_rig):
    models = FALLBACK.replace('"f"', '"günstig"')
    text = (
        '[[limits.rules]]\nname = "dear"\nfor = { alias = "o" }\nrequests = "1/never"\n'
        'then = "günstig"\n'
        '[[limits.rules]]\nfor = { alias = "gü*" }\nrequests = "1/day"\nsoft = true\n'
    )
    rig = await open_rig(config=CONFIG + models + text)
    for number in (1, 2, 3):
        client = await rig.post(PATHS["openai"], ask("o"))
        backend = await rig.backend()
        await backend.has(b"POST", number)
        backend.transport.write(unary(ANSWER))
        await client.has(b'"hi"')
    assert "x-lmbroker-limit-then: g?nstig" in client.head
    assert "x-lmbroker-limit-exceeded: alias=g?*" in client.head


@pytest_twisted.ensureDeferred
async def test_a_soft_rule_tells_and_lets_through(open_rig):
    text = '[[limits.rules]]\nname = "polite"\nrequests = "1/day"\nsoft = true\n'
    rig = await open_rig(config=CONFIG + text)
    for number in (1, 2):
        client = await rig.post(PATHS["openai"], ask("o"))
        backend = await rig.backend()
        await backend.has(b"POST", number)
        backend.transport.write(unary(ANSWER))
        await client.has(b'"hi"')
        assert ("x-lmbroker-limit-exceeded: polite" in client.head) == (number == 2)
    records = await rig.ended(2)
    assert records[1].limits == (("polite", "exceeded"),)


@pytest_twisted.ensureDeferred
async def test_without_rules_nobody_asks_for_any(open_rig):
    rig = await open_rig()
    assert rig.broker.limiter is None
    client = await rig.post(PATHS["openai"], ask("o"))
    (await rig.backend()).transport.write(unary(ANSWER))
    await client.has(b'"hi"')
    [record] = await rig.ended()
    assert record.reservation is None and limit_headers(client.head) == {}


@pytest_twisted.ensureDeferred
async def test_a_reload_keeps_what_was_used_and_what_is_reserved(open_rig):
    from lmbroker.config.config import parse

    rig = await open_rig(config=rules())
    client = await rig.post(PATHS["openai"], ask("o"))
    backend = await rig.backend()
    text = rules(requests="200/never").replace("PORT", "1")
    config = parse(text, name="t", environ={"KEY": "k"}, read_file=str)
    rig.broker.config = config
    assert left(rig)["requests"] == 199 and left(rig)["parallel"] == 0
    rig.broker.config = parse(
        CONFIG.replace("PORT", "1"), name="t", environ={"KEY": "k"}, read_file=str
    )
    assert rig.broker.limiter is None
    backend.transport.write(unary(ANSWER))
    await client.has(b'"hi"')
    await rig.ended()
    nothing_reserved(rig)
    rig.broker.config = config
    assert left(rig) == {"requests": 199, "tokens": 988, "parallel": 1}
