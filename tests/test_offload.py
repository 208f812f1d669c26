"""Large bodies go to helper processes, and come back as if they had stayed."""

import json
import os
import signal

import msgspec
import pytest
import pytest_twisted
from rig import PATHS, ask, unary
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from lmbroker import envelope
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import BackendRefused, Broken, ErrorInfo, Refused
from lmbroker.limits import Limits
from lmbroker.offload import (
    LARGE,
    LARGE_ENVELOPE,
    Offload,
    Terms,
    has_large_envelope,
    helper,
    offload,
)
from lmbroker.offload.jobs import encode
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.secret import Secret
from lmbroker.workflows import estimate, workflow_for

pytestmark = [pytest.mark.process, pytest.mark.sockets]

LONG = "word and word, " * (LARGE // 15 + 1)
LIMITS = Limits(helpers=1)


def pids(offload):
    return [each._process.pid for each in offload._helpers]


@pytest.fixture
def new_offload():
    """Makes an Offload with these limits; all of them are closed at the end."""
    made = []

    def make(limits=LIMITS, clock=reactor):
        made.append(Offload(clock, lambda: limits))
        made[-1].results = results = []
        made[-1].ended = results.append
        return made[-1]

    yield make
    for each in made:
        each.close()
    pytest_twisted.blockon(deferLater(reactor, 0.05))


def terms(
    body, *, dialect="openai", backend="anthropic", operation="chat", omit=False, **overrides
):
    head = envelope.read(body)
    call = Call(
        id="call-1",
        operation=operation,
        dialect=dialect,
        asked=head.model,
        body=body,
        fields=head.fields,
        stream=head.stream,
        headers={"anthropic-beta": "x-1"},
    )
    place = Backend(
        name="b",
        url="http://b/v1",
        dialect=backend,
        credential=Secret("sk-hidden-1"),
        omit_attribution=omit,
    )
    return Terms(call, Target(backend=place, model="real"), "default", overrides)


def met(terms):
    return workflow_for(terms.call, terms.target, mode=terms.mode, overrides=terms.overrides)


TOOLS = [
    {"type": "function", "function": {"name": "look.up" * 12, "parameters": {"type": "object"}}}
]
REQUESTS = {
    "translated": terms(
        ask("m", messages=[{"role": "user", "content": LONG}], logit_bias={}, tools=TOOLS)
    ),
    "streamed": terms(
        ask("m", stream=True, messages=[{"role": "user", "content": LONG}], stop="x")
    ),
    "other way": terms(ask("m", system=LONG, top_k=3), dialect="anthropic", backend="openai"),
    "of Responses": terms(
        json.dumps(
            {
                "model": "m",
                "stream": True,
                "input": [{"role": "user", "content": LONG}],
                "tools": [{"type": "custom", "name": "look.up" * 12}],
            }
        ).encode(),
        dialect="responses",
    ),
    "to Responses": terms(
        ask("m", messages=[{"role": "user", "content": LONG}], stop="x"), backend="responses"
    ),
    "cut of Responses": terms(
        json.dumps(
            {
                "model": "m",
                "input": [
                    {"role": "user", "content": LONG},
                    {
                        "type": "reasoning",
                        "id": "rs_1",
                        "summary": [],
                        "encrypted_content": "lmb1.eyJrIjoicmMifQ",
                    },
                ],
            }
        ).encode(),
        dialect="responses",
        backend="responses",
    ),
    "embeddings": terms(
        json.dumps({"model": "m", "input": [LONG, "b"]}).encode(),
        backend="openai",
        operation="embeddings",
    ),
    "passed": terms(
        ask("m", messages=[{"role": "user", "content": "a" * LARGE_ENVELOPE}], n=2, stream=True),
        backend="openai",
        ask_usage=True,
    ),
    "cut": terms(
        ask(
            "m",
            system=[{"type": "text", "text": "x-anthropic-billing-header: cch=a;"}],
            messages=[
                {"role": "user", "content": LONG},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "lmb1.eyJrIjoicmMifQ"},
                        {"type": "text", "text": "a"},
                    ],
                },
            ],
        ),
        dialect="anthropic",
        omit=True,
    ),
}


@pytest.mark.parametrize("terms", REQUESTS.values(), ids=REQUESTS)
@pytest_twisted.ensureDeferred
async def test_a_request_becomes_what_it_becomes_here(new_offload, terms):
    offload = new_offload()
    here, there = met(terms), met(terms)
    expected = here.outbound()
    outbound = await offload.outbound(terms, there)
    assert bytes(memoryview(outbound.body)) == expected.body
    assert msgspec.structs.replace(outbound, body=expected.body) == expected
    assert encode(there.asked()) == encode(here.asked())
    assert (there.dropped, there.changed) == (here.dropped, here.changed)
    assert offload.results == ["ok"]
    assert len(offload._helpers) == 1


def answer(dialect, **more):
    if dialect == "openai":
        message = {"role": "assistant", "content": LONG}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        value = {"id": "c", "object": "chat.completion", "created": 1, "choices": [choice]}
    else:
        value = {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "real",
            "content": [{"type": "text", "text": LONG}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 4},
        }
    return json.dumps(value | more).encode()


@pytest.mark.parametrize("step", ["unary", "unfold"])
@pytest.mark.parametrize("name", ["translated", "other way", "streamed"])
@pytest_twisted.ensureDeferred
async def test_an_answer_becomes_what_it_becomes_here(new_offload, name, step):
    terms = REQUESTS[name]
    here, there = met(terms), met(terms)
    here.outbound(), there.outbound()
    body = answer(terms.target.backend.dialect)
    expected = getattr(here, step)(body, now=7)
    assert await new_offload().answer(step, terms, there, body, 7) == expected


@pytest_twisted.ensureDeferred
async def test_an_event_stream_is_folded_as_here(new_offload):
    terms = REQUESTS["translated"]
    workflow = met(terms)
    workflow.outbound()
    whole = workflow.unfold(answer("anthropic"), now=7).body
    other = REQUESTS["other way"]
    workflow = met(other)
    workflow.outbound()
    expected = workflow.fold(whole, now=7)
    assert await new_offload().answer("fold", other, workflow, whole, 7) == expected


@pytest_twisted.ensureDeferred
async def test_an_envelope_is_read_as_here_with_its_short_fields(new_offload):
    body = ask("m", stream=True, n=2, messages=[{"role": "user", "content": "a" * LARGE_ENVELOPE}])
    offload = new_offload()
    there, here = await offload.envelope(body), envelope.read(body)
    assert (there.model, there.stream, there.value("n")) == (here.model, True, 2)
    assert "messages" not in there.fields
    with pytest.raises(Refused) as refused:
        await offload.envelope(b"[" + body + b"]")
    assert refused.value.info == envelope.invalid_json().info
    assert offload.results == ["ok", "problem"]


@pytest_twisted.ensureDeferred
async def test_many_keys_are_work_although_they_are_passed(new_offload):
    many = {f"k{number}": 1 for number in range(30_000)}
    asked = terms(ask("m", **many), backend="openai")
    pool = new_offload()
    assert (await pool.outbound(asked, met(asked))) == met(asked).outbound()
    assert pool.results == ["ok"]


def test_a_top_level_that_takes_long_is_for_a_helper_although_it_is_shorter():
    keys = ask("m", **{f"k{number}": 1 for number in range(30_000)})
    halves = ask("m", x=LONG, y="\ud83d")
    assert all(LARGE < len(body) < LARGE_ENVELOPE for body in (keys, halves))
    assert has_large_envelope(keys) and has_large_envelope(halves)
    assert not has_large_envelope(ask("m", x=LONG, y="\n\u4e2d" * 9))
    assert not has_large_envelope(ask("m", y="\ud83d"))


@pytest_twisted.ensureDeferred
async def test_what_a_helper_has_read_is_passed_as_here(rig):
    """With many keys, of which the short fields of the envelope hold the first few."""
    more = {f"k{number}": [number, 0] for number in range(900)} | {"x": LONG, "y": "\ud83d"}
    body = ask("o", **more)
    await rig.post(PATHS["openai"], body)
    line = await rig.backend()
    assert line.body == body.replace(b'"model": "o"', b'"model": "real-o"')
    assert rig.broker.offload._helpers
    rig.broker.offload.close()


@pytest_twisted.ensureDeferred
async def test_caps_and_estimates_are_as_here(new_offload):
    offload, call = new_offload(), REQUESTS["translated"].call
    assert await offload.estimate(call) == estimate(call)
    await offload.check(RequestLimits(max_tokens=9), call)
    with pytest.raises(Refused) as refused:
        await offload.check(RequestLimits(max_tokens=8), call)
    assert refused.value.info.param == "max_tokens"


@pytest_twisted.ensureDeferred
async def test_a_repair_is_found_as_here(new_offload):
    terms = REQUESTS["translated"]
    error = ErrorInfo(
        kind="invalid_request", status=400, message="max_tokens: Extra inputs are not permitted"
    )
    offload, here, there = new_offload(), met(terms), met(terms)
    here.outbound()
    await offload.outbound(terms, there)
    expected = here.repair(error)
    repair = await offload.repair(terms, there, error)
    assert msgspec.to_builtins(repair) == msgspec.to_builtins(expected)


@pytest.mark.parametrize("way", ["passed", "translated", "other way"])
@pytest.mark.parametrize("as_is", ["known-words", "as-is"])
@pytest_twisted.ensureDeferred
async def test_a_failure_is_told_as_here(new_offload, way, as_is):
    asked = REQUESTS[way]
    place = msgspec.structs.replace(asked.target.backend, passthrough_errors=as_is)
    msgspec.structs.force_setattr(place, "secrets", asked.target.backend.secrets)
    asked = msgspec.structs.replace(
        asked, target=msgspec.structs.replace(asked.target, backend=place)
    )
    pool, head = new_offload(), {"retry-after": "7"}
    for words in ("no sk-hidden-1", "maximum context length is 8 tokens, you requested 9 tokens"):
        for body in (
            json.dumps({"error": {"message": words}, "x": "a" * offload.LARGE_ERROR}).encode(),
            words.encode() + b"<" * offload.LARGE_ERROR,
        ):
            here = met(asked).failure(400, head, body)
            there = await pool.failure(asked, met(asked), 400, head, body)
            assert (there.info, there.native, there.phase) == (here.info, here.native, here.phase)
            assert b"hidden" not in (there.native or (0, b""))[1]
    assert pool.results == ["problem"] * 4
    small = await pool.failure(asked, met(asked), 400, head, b"{}")
    assert (small.info, pool.results) == (
        met(asked).failure(400, head, b"{}").info,
        ["problem"] * 4,
    )


@pytest_twisted.ensureDeferred
async def test_what_is_refused_or_broken_is_so_in_the_same_words(new_offload):
    offload = new_offload()
    bad = terms(ask("m", messages=[{"role": "user", "content": LONG}, {"role": 7}]))
    with pytest.raises(Refused) as here:
        met(bad).outbound()
    with pytest.raises(Refused) as there:
        await offload.outbound(bad, met(bad))
    assert there.value.info == here.value.info
    passed = REQUESTS["passed"]
    for body in (b'{"error": {"message": "no sk-hidden-1"}, "x": "' + LONG.encode() + b'"}', b"{"):
        with pytest.raises((Broken, BackendRefused)) as here:
            met(passed).unary(body, now=1)
        with pytest.raises(type(here.value)) as there:
            await offload.answer("unary", passed, met(passed), body, 1)
        assert there.value.info == here.value.info


# The processes.


@pytest_twisted.ensureDeferred
async def test_a_helper_that_dies_is_followed_by_another(new_offload):
    offload, terms = new_offload(), REQUESTS["translated"]
    await offload.outbound(terms, met(terms))
    (first,) = pids(offload)
    os.kill(first, signal.SIGSTOP)
    asked = Deferred.fromCoroutine(offload.outbound(terms, met(terms)))
    os.kill(first, signal.SIGKILL)
    assert (await asked) == met(terms).outbound()
    assert pids(offload) != [first]


@pytest_twisted.ensureDeferred
async def test_a_helper_that_dies_before_it_is_ready_is_followed_by_another(new_offload):
    pool, terms = new_offload(), REQUESTS["translated"]
    asked = Deferred.fromCoroutine(pool.outbound(terms, met(terms)))
    os.kill(pids(pool)[0], signal.SIGKILL)
    assert (await asked) == met(terms).outbound()
    assert pids(pool), "it was not done here"


@pytest_twisted.ensureDeferred
async def test_that_no_helper_was_to_be_had_is_not_for_ever(new_offload, monkeypatch):
    pool, terms = new_offload(), REQUESTS["translated"]
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/bin/true")
        await pool.outbound(terms, met(terms))
        assert not pool._helpers
    await pool.outbound(terms, met(terms))
    assert not pool._helpers, "the next body does not wait for it again"
    monkeypatch.setattr(pool, "_able_at", reactor.seconds())
    await pool.outbound(terms, met(terms))
    assert pool._helpers


@pytest_twisted.ensureDeferred
async def test_a_body_that_ends_its_helpers_is_refused(new_offload):
    offload, short = new_offload(), REQUESTS["translated"]
    await offload.outbound(short, met(short))
    # Long enough for the helper to be at it when it is killed.
    long = terms(ask("m", messages=[{"role": "user", "content": "a"}] * 60_000))
    asked = Deferred.fromCoroutine(offload.outbound(long, met(long)))
    for _ in range(2):
        while not offload._helpers or not offload._helpers[0].ready:
            await deferLater(reactor, 0.001)
        os.kill(pids(offload)[0], signal.SIGKILL)
        while offload._helpers and offload._helpers[0].ready:
            await deferLater(reactor, 0.001)
    with pytest.raises(Refused) as refused:
        await asked
    assert refused.value.info.code == "request_too_complex"
    assert offload.results == ["ok", "died"]
    assert (await offload.outbound(short, met(short))).path == "/messages"


@pytest_twisted.ensureDeferred
async def test_a_job_that_takes_too_long_is_ended_and_refused(new_offload):
    offload, terms = new_offload(), REQUESTS["translated"]
    await offload.outbound(terms, met(terms))
    os.kill(pids(offload)[0], signal.SIGSTOP)
    offload._helpers[0]._seconds = 0.05
    with pytest.raises(Refused) as refused:
        await offload.outbound(terms, met(terms))
    assert refused.value.info.code == "request_too_complex"
    assert "time" in refused.value.info.message
    assert offload.results == ["ok", "late"]
    with pytest.raises(Broken) as broken:
        workflow = met(terms)
        workflow.outbound()
        await offload.outbound(terms, met(terms))
        os.kill(pids(offload)[0], signal.SIGSTOP)
        offload._helpers[0]._seconds = 0.05
        await offload.answer("unary", terms, workflow, answer("anthropic"), 1)
    assert broken.value.info.code == "answer_too_complex"


@pytest_twisted.ensureDeferred
async def test_memory_is_bounded(new_offload):
    offload = new_offload(Limits(helpers=1, helper_memory=400 << 20))
    tiny = terms(
        ask("m", messages=[{"role": "user", "content": "a"}], metadata={"a": [[]] * 9_000_000})
    )
    with pytest.raises(Refused) as refused:
        await offload.outbound(tiny, met(tiny))
    assert (refused.value.info.code, offload.results) == ("request_too_complex", ["memory"])
    good = REQUESTS["translated"]
    assert (await offload.outbound(good, met(good))).path == "/messages"


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_ends_what_waits_and_long_work(new_offload, monkeypatch):
    monkeypatch.setattr(helper, "LEFT_SECONDS", 0.05)
    offload, terms = new_offload(), REQUESTS["translated"]
    await offload.outbound(terms, met(terms))
    (first,) = pids(offload)
    os.kill(first, signal.SIGSTOP)
    working = Deferred.fromCoroutine(offload.outbound(terms, met(terms)))
    waiting = Deferred.fromCoroutine(offload.outbound(terms, met(terms)))
    third = Deferred.fromCoroutine(offload.outbound(terms, met(terms)))
    for left in (waiting, working):
        left.cancel()
        with pytest.raises(CancelledError):
            await left
    assert len(offload._waiting) == 1
    assert (await third) == met(terms).outbound()
    assert pids(offload) != [first]
    assert offload.results == ["ok", "left", "left", "ok"]


@pytest_twisted.ensureDeferred
async def test_only_so_many_jobs_wait(new_offload, monkeypatch):
    monkeypatch.setattr(offload, "WAITING", 1)
    pool, terms = new_offload(), REQUESTS["translated"]
    asked = [Deferred.fromCoroutine(pool.outbound(terms, met(terms))) for _ in range(2)]
    with pytest.raises(Refused) as refused:
        await pool.outbound(terms, met(terms))
    assert (refused.value.info.kind, refused.value.info.retry_after) == ("overloaded", "1")
    for each in asked:
        await each
    assert pool.results == ["full", "ok", "ok"]


@pytest_twisted.ensureDeferred
async def test_one_of_several_helpers_is_kept_free_of_long_work(new_offload, monkeypatch):
    monkeypatch.setattr(offload, "LONG_JOB", 2 * LARGE)
    pool, terms = new_offload(Limits(helpers=2)), REQUESTS["translated"]
    long = REQUESTS["passed"]
    asked = [Deferred.fromCoroutine(pool.outbound(each, met(each))) for each in (long, long, terms)]
    assert [helper.task.large for helper in pool._helpers] == [True, False]
    for each in asked:
        await each


@pytest_twisted.ensureDeferred
async def test_a_helper_without_work_is_ended(new_offload, monkeypatch):
    monkeypatch.setattr(helper, "IDLE_SECONDS", 0.01)
    pool, terms = new_offload(), REQUESTS["translated"]
    await pool.outbound(terms, met(terms))
    (pid,) = pids(pool)
    os.kill(pid, signal.SIGSTOP)
    await deferLater(reactor, 0.3)
    assert not pool._helpers
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("reason", ["clock", "none", "executable"])
@pytest_twisted.ensureDeferred
async def test_where_no_process_can_be_had_all_is_done_here(new_offload, reason, monkeypatch):
    clock, limits = reactor, LIMITS
    if reason == "clock":
        clock = Clock()
    elif reason == "none":
        limits = Limits(helpers=0)
    else:
        monkeypatch.setattr("sys.executable", "")
    pool, terms = new_offload(limits, clock), REQUESTS["translated"]
    assert (await pool.outbound(terms, met(terms))) == met(terms).outbound()
    assert not pool._helpers


@pytest_twisted.ensureDeferred
async def test_a_program_that_is_no_python_is_not_waited_for(new_offload, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/true")
    pool, terms = new_offload(), REQUESTS["translated"]
    assert (await pool.outbound(terms, met(terms))) == met(terms).outbound()
    assert not pool._helpers


@pytest_twisted.ensureDeferred
async def test_a_call_goes_through_with_a_large_request_and_a_large_answer(rig):
    text = [{"role": "user", "content": LONG * 40}]
    client = await rig.post(PATHS["openai"], ask("a", messages=text))
    line = await rig.backend()
    sent = json.loads(line.body)
    assert sent["model"] == "real-a"
    assert sent["messages"][0]["content"] == [{"type": "text", "text": LONG * 40}]
    line.transport.write(unary(answer("anthropic", model="real-a")))
    (record,) = await rig.ended()
    assert (record.end.status, record.end.outcome) == (200, "complete")
    await client.until(lambda: len(client.received) > len(LONG))
    got = json.loads(client.body)
    assert got["choices"][0]["message"]["content"] == LONG
    rig.broker.offload.close()


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_meanwhile_is_forgotten(rig):
    client = await rig.post(PATHS["openai"], ask("a", messages=[{"role": "user", "content": LONG}]))
    while not rig.broker.offload._helpers:
        await deferLater(reactor, 0.001)
    client.transport.abortConnection()
    (record,) = await rig.ended()
    assert record.end.outcome == "client_left"
    assert not rig.backends_seen
    rig.broker.offload.close()
