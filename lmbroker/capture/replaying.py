"""A captured call through the code of today, offline: each request and answer made anew.

The backend's answers are the captured ones, in the same chunks. Timeouts, a client who left and
backends that could not be reached are taken as they were.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from lmbroker import envelope, json_text
from lmbroker.call import Backend, Call, Caller, Target
from lmbroker.capture.captured import CapturedAttempt, CapturedCall
from lmbroker.capture.events import Broke, Chunk, Closed
from lmbroker.capture.masking import masked_headers
from lmbroker.config.endpoints import operation_url
from lmbroker.errors import BrokerError, ErrorInfo, Refused
from lmbroker.redaction import redact_error
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import in_answer
from lmbroker.translation.refusals.error_kinds import NOT_LET_IN
from lmbroker.workflows import conversion, workflow_for
from lmbroker.workflows.contract import Outbound, Unary, Workflow

_BY_BOUNDS = ("oversized", "too_many_answers", "answer_too_complex", "request_too_complex")
"""Codes of errors by which a running broker bounds its memory and its time: that is no part of a
replay."""

_CHANGING = ("user-agent",)
"""Headers that name the broker's version."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not as it was. ``place`` says of what, in words."""

    place: str
    before: bytes
    now: bytes


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What an attempt leads to: an answer, or ``error``.

    ``native``: a status with the body of a backend that is passed on.
    """

    body: bytes = b""
    content_type: str = ""
    error: ErrorInfo | None = None
    native: tuple[int, bytes] | None = None
    lost: Any = None
    """Has the answer's usage, stop reason and losses."""


def call_of(captured: CapturedCall, attempt: CapturedAttempt | None = None) -> Call:
    """Return the captured request, as ``attempt`` saw it; as it was received for None.

    Raises Refused for a body that is no longer read.
    """
    began = captured.began
    asked, long_context, without = began.asked, False, frozenset[str]()
    if attempt is not None:
        asked, long_context = attempt.tried.asked, attempt.tried.long_context
        without = frozenset(attempt.tried.without)
    return Call(
        id=began.id,
        operation=began.operation,
        dialect=began.dialect,
        asked=asked,
        body=began.data,
        fields=envelope.read(began.data).fields,
        stream=began.stream,
        query=began.query.encode(),
        headers={name: value for name, value in began.headers.items() if name not in without},
        caller=Caller(name=began.caller),
        mode=began.mode,
        long_context=long_context,
    )


def target_of(attempt: CapturedAttempt) -> Target:
    """Return where an attempt was made, without credentials."""
    tried = attempt.tried
    backend = Backend(
        name=tried.backend,
        url=tried.url,
        dialect=tried.dialect,
        also=tried.also,
        also_translated=tried.also_translated,
        omit_attribution=tried.omit_attribution,
        exact_root=tried.exact_root,
        clients_key=tried.clients_key,
        passthrough_errors=tried.passthrough_errors,
    )
    return Target(backend=backend, model=tried.model)


def workflow_of(captured: CapturedCall, attempt: CapturedAttempt) -> Workflow:
    """Return the workflow of an attempt, on the terms that it had. Raises Refused."""
    tried = attempt.tried
    workflow = workflow_for(
        call_of(captured, attempt), target_of(attempt), mode=tried.mode, overrides=tried.overrides
    )
    workflow.ratio = tried.ratio
    return workflow


def replay(captured: CapturedCall) -> list[Difference]:
    """Return what differs where the call is made again; never raises."""
    found: list[Difference] = []
    outcomes: list[_Outcome | None] = []
    for number, attempt in enumerate(captured.attempts, 1):
        place = f"attempt {number} at {attempt.tried.backend}"
        try:
            outcomes.append(_attempt(captured, attempt, place, found))
        except Exception as error:
            # Any exception: a running broker would fail in the same way.
            found.append(
                _difference(f"{place}: a fault", "none", f"{type(error).__name__}: {error}")
            )
            outcomes.append(None)
    if captured.refusal is not None:
        _compare_error(captured, outcomes, found)
    elif outcomes and outcomes[-1] is not None and outcomes[-1].error is None:
        _compare_answer(captured, outcomes[-1], found)
    return found


def _difference(place: str, before: Any, now: Any) -> Difference:
    return Difference(place=place, before=_bytes(before), now=_bytes(now))


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode(errors="replace") if isinstance(value, str) else msgspec.json.encode(value)


# One attempt.


def _attempt(
    captured: CapturedCall, attempt: CapturedAttempt, place: str, found: list[Difference]
) -> _Outcome | None:
    sent, failed = attempt.sent, attempt.failed
    try:
        workflow = workflow_of(captured, attempt)
        outbound = workflow.outbound()
    except Refused as refusal:
        if sent is not None:
            before, now = "sent", f"refused: {refusal.info.message}"
            found.append(_difference(f"{place}: the request", before, now))
            return None
        return _failed(attempt, _Outcome(error=refusal.info), place, found)
    if sent is None:
        if failed is not None and failed.error.code not in _BY_BOUNDS:
            before = f"refused: {failed.error.message}"
            found.append(_difference(f"{place}: the request", before, "sent"))
        return None if failed is None else _Outcome(error=failed.error)
    found += _requests(attempt, outbound, workflow, place)
    if attempt.answered is None or (failed is not None and failed.error.code in _BY_BOUNDS):
        return None if failed is None else _Outcome(error=failed.error)
    streamed = captured.began.stream and _type(attempt) == "text/event-stream"
    if not attempt.whole and not (streamed and attempt.answered.status in range(200, 300)):
        return None if failed is None else _Outcome(error=failed.error)
    outcome = _answer(captured, attempt, workflow)
    if outcome.error is not None and failed is None and not captured.out:
        # The attempt was cancelled before its error was known.
        return None
    return _failed(attempt, outcome, place, found)


def _failed(
    attempt: CapturedAttempt, outcome: _Outcome, place: str, found: list[Difference]
) -> _Outcome:
    """Return ``outcome``, which is compared with how the attempt ended."""
    before = None if attempt.failed is None else attempt.failed.error
    now = None if outcome.error is None else redact_error(outcome.error)
    if before is not None and attempt.tried.clients_key and now is not None:
        # The broker words this anew, since the key was the client's.
        now = before if now.code == NOT_LET_IN.code else now
    if _plain(before) != _plain(now):
        found.append(_difference(f"{place}: how it failed", _plain(before), _plain(now)))
    return _Outcome(error=now, native=outcome.native) if now is not None else outcome


def _plain(error: ErrorInfo | None) -> Any:
    return None if error is None else msgspec.to_builtins(error) | {"raw": None}


def _type(attempt: CapturedAttempt) -> str:
    """Return the media type of the backend's answer."""
    assert attempt.answered is not None
    return attempt.answered.headers.get("content-type", "").partition(";")[0].strip().lower()


def _requests(
    attempt: CapturedAttempt, outbound: Outbound, workflow: Workflow, place: str
) -> Iterator[Difference]:
    """Yield how the request differs from the one that was sent."""
    sent, tried = attempt.sent, attempt.tried
    assert sent is not None
    url = operation_url(tried.url, outbound.path, "", exact=tried.exact_root)
    headers = {
        name: value
        for name, value in masked_headers(dict(outbound.headers)).items()
        if name not in sent.own and name not in _CHANGING
    }
    before = {name: sent.headers.get(name, "") for name in headers}
    for what, old, new in (
        ("the URL", sent.url.partition("?")[0], url.partition("?")[0]),
        ("the headers", before, headers),
        ("what is dropped", sent.dropped, workflow.dropped),
        ("what is changed", sent.changed, workflow.changed),
        ("the request", sent.data, outbound.body),
    ):
        if old != new:
            yield _difference(f"{place}: {what}", old, new)


def _answer(captured: CapturedCall, attempt: CapturedAttempt, workflow: Workflow) -> _Outcome:
    """Return what the client gets of the backend's answer, as ``broker.receiving`` does live."""
    answered = attempt.answered
    assert answered is not None
    body, kind = attempt.body, _type(attempt)
    if not 200 <= answered.status <= 299:
        refusal = workflow.failure(answered.status, answered.headers, body)
        return _Outcome(error=refusal.info, native=refusal.native)
    streamed = kind == "text/event-stream"
    if streamed and captured.began.stream:
        return _stream(attempt, workflow)
    if kind and not streamed and workflow.opaque(kind):
        return _Outcome(body=body, content_type=kind, lost=None)
    try:
        return _whole(captured, workflow, body, kind, answered.now)
    except BrokerError as error:
        return _Outcome(error=error.info)


def _whole(
    captured: CapturedCall, workflow: Workflow, body: bytes, kind: str, now: int
) -> _Outcome:
    """Return what the client gets of a whole answer. Raises Broken or BackendRefused."""
    streamed = kind == "text/event-stream"
    if not streamed and "json" not in kind and kind:
        if kind == "text/plain":
            conversion.refused(body)
        raise conversion.bad_answer(
            "the backend answered with neither JSON nor an event stream", "wrong_content_type"
        )
    step: Callable[..., Unary] = workflow.unary
    if captured.began.stream:
        step = workflow.unfold
    elif streamed:
        step = workflow.fold
    whole = step(body, now=now)
    return _Outcome(body=whole.body, content_type=whole.content_type, lost=whole)


def _stream(attempt: CapturedAttempt, workflow: Workflow) -> _Outcome:
    answered = attempt.answered
    assert answered is not None
    transform = workflow.transform(now=answered.now, longest=answered.longest)
    out = []
    for step in attempt.steps:
        if isinstance(step, Chunk):
            out.append(transform.feed(step.data))
        elif isinstance(step, Closed):
            out.append(transform.close())
        elif isinstance(step, Broke):
            out.append(transform.fail(step.error))
        else:
            out.append(transform.ping())
    body = b"".join(out)
    if transform.phase == "failed" and transform.error is not None and not body:
        return _Outcome(error=transform.error)
    return _Outcome(body=body, content_type=conversion.EVENT_STREAM, lost=transform)


# What the client gets.


def _compare_answer(captured: CapturedCall, outcome: _Outcome, found: list[Difference]) -> None:
    head, ended, out = captured.head, captured.ended, captured.out
    left = ended is None or ended.outcome in ("client_left", None)
    now = outcome.body[: len(out)] if left else outcome.body
    if head is None or (head.status != 200 and not out):
        return
    kind = dict(head.headers).get("content-type", "")
    if outcome.content_type and kind != outcome.content_type:
        found.append(_difference("the answer's content type", kind, outcome.content_type))
    if out != now:
        found.append(_difference("the answer", out, now))
    if left or ended is None or outcome.lost is None:
        return
    lost = outcome.lost
    dropped = ended.dropped[: len(ended.dropped) - len(_of_answer(ended.dropped))]
    changed = ended.changed[: len(ended.changed) - len(_of_answer(ended.changed))]
    for what, before, after in (
        ("the usage", ended.usage, lost.usage),
        ("the stop reason", ended.stop, lost.stop),
        ("what is dropped", ended.dropped, (*dropped, *in_answer(lost.dropped))),
        ("what is changed", ended.changed, (*changed, *in_answer(lost.changed))),
    ):
        if before != after:
            found.append(_difference(f"the answer: {what}", before, after))


def _of_answer(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of ``paths`` that the answer lost, which stand last."""
    return tuple(path for path in paths if path.startswith("answer."))


def _compare_error(
    captured: CapturedCall, outcomes: list[_Outcome | None], found: list[Difference]
) -> None:
    refusal, began = captured.refusal, captured.began
    assert refusal is not None
    if captured.head is None:
        return  # nobody was there any more
    error, native = refusal.error, None
    for attempt, now in zip(captured.attempts, outcomes, strict=True):
        failed = attempt.failed
        if failed is not None and failed.error == error and now is not None and now.error:
            error, native = now.error, now.native
    adapter = ADAPTERS[began.dialect]
    if captured.early:
        body = adapter.stream_error(error, began.id)
        if captured.out != body:
            found.append(_difference("the error in the stream", captured.out, body))
        return
    if native is None:
        if refusal.native is not None:
            return  # the backend's own words, of which there is no more than what was kept
        status, value = adapter.encode_error(error, began.id)
        native = status, json_text.encode(value)
    if native[0] != captured.head.status:
        place = "the status of the error"
        found.append(_difference(place, str(captured.head.status), str(native[0])))
    if native[1] != captured.out:
        found.append(_difference("the error", captured.out, native[1]))
