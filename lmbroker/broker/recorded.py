"""A broker for one call that is captured: what the call asks and gets goes onto a tape as well.

Nothing of this is there for calls that are not captured.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from lmbroker.backends.client.response import BackendResponse
from lmbroker.backends.sending import BackendAnswer, Sender, sent_headers, url_of
from lmbroker.broker.answers import Answer
from lmbroker.broker.broker import Broker
from lmbroker.broker.target_attempt import TargetAttempt
from lmbroker.call import Backend, Call, End, Record, Timeouts
from lmbroker.capture.events import (
    Answered,
    BodyEnded,
    Broke,
    Chunk,
    Closed,
    Ended,
    Failed,
    Pinged,
    Refusal,
    Sent,
    Tried,
)
from lmbroker.capture.tape import Tape
from lmbroker.errors import BackendRefused, BrokerError, ErrorInfo
from lmbroker.workflows.contract import Outbound

Operation = Callable[[Broker, Call, Record], Coroutine[Any, Any, Answer]]


class RecordedBroker(Broker):
    """The broker ``broker`` for one call, which goes onto ``tape``.

    ``ended`` is called once, when the call has ended and its record is complete.
    """

    def __init__(self, broker: Broker, tape: Tape, ended: Callable[[Record], None]) -> None:
        # What calls share stays shared: health, learned rejections, counts.
        self.__dict__.update(broker.__dict__)
        self._tape = tape
        self._ended = ended
        self._received: frozenset[str] | None = None
        self._moment: float | None = None
        self.attempt: TargetAttempt | None = None
        """The attempt that is under way."""
        self.delivers = False
        """Whether what is written to the client is its answer, or an error in the place of it."""
        self._backends = _Recorder(self, tape, broker._backends)
        self._receiver = broker._receiver.timed_by(self._now)

    def _now(self) -> float:
        """Return the time of day, the same one for all that is made of an answer."""
        if self._moment is None:
            self._moment = self.wall()
        return self._moment

    async def chat(self, call: Call, record: Record) -> Answer:
        """Do what ``Broker.chat`` does, and record it."""
        return await self._operate(Broker.chat, call, record)

    embeddings = chat

    async def count_tokens(self, call: Call, record: Record) -> Answer:
        """Do what ``Broker.count_tokens`` does, and record it."""
        return await self._operate(Broker.count_tokens, call, record)

    async def _operate(self, operation: Operation, call: Call, record: Record) -> Answer:
        self._received = frozenset(call.headers)
        try:
            return _RecordedAnswer(await operation(self, call, record), self)
        except BrokerError as error:
            native = error.native if isinstance(error, BackendRefused) else None
            self._tape.note(Refusal, error=_plain(error.info), native=native and native[0])
            self.delivers = True
            raise

    async def _send(self, attempt: TargetAttempt) -> Answer:
        self.attempt, self._moment = attempt, None
        tape, call, target = self._tape, attempt.call, attempt.target
        backend, workflow = target.backend, attempt.workflow
        tape.secrets += [word for secret in backend.secrets for word in secret.words]
        tape.note(
            Tried,
            backend=backend.name,
            url=backend.url,
            model=target.model,
            dialect=backend.dialect,
            also=backend.also,
            also_translated=backend.also_translated,
            omit_attribution=backend.omit_attribution,
            exact_root=backend.exact_root,
            clients_key=backend.clients_key,
            passthrough_errors=backend.passthrough_errors,
            workflow=workflow.name,
            asked=call.asked,
            long_context=call.long_context,
            without=tuple(sorted((self._received or frozenset()) - call.headers.keys())),
            mode=attempt.mode,
            overrides=dict(attempt.repairs.overrides),
            ratio=workflow.ratio,
        )
        recorded: Any = _RecordedWorkflow(workflow, tape)
        attempt.workflow = recorded
        try:
            return await super()._send(attempt)
        except BrokerError as error:
            phase = getattr(error, "phase", "")
            tape.note(Failed, error=_plain(error.info), phase=phase)
            raise

    def sends(self, backend: Backend, outbound: Outbound) -> None:
        """Note what goes to ``backend``."""
        workflow = self.attempt.workflow if self.attempt is not None else None
        headers, own = sent_headers(backend, outbound)
        self._tape.note(
            Sent,
            method=outbound.method,
            url=url_of(backend, outbound),
            headers=dict(headers),
            own=own,
            dropped=workflow.dropped if workflow is not None else (),
            changed=workflow.changed if workflow is not None else (),
            data=outbound.body,
        )

    def answered(self, answer: BackendAnswer) -> None:
        """Note the head of a backend's answer, and its body as it comes."""
        tape = self._tape
        tape.note(
            Answered,
            status=answer.status,
            headers=dict(answer.headers),
            now=int(self._now()),
            longest=self._receiver.limits.stream_event,
        )
        answer.watch(lambda response: _RecordedResponse(response, tape))

    def close(self, record: Record, end: End) -> None:
        """End a call as ``Broker.close`` does, and its tape."""
        if record.closed_at is not None:
            return
        super().close(record, end)
        ended = record.end
        self._tape.note(
            Ended,
            outcome=ended.outcome,
            status=ended.status,
            code=ended.code,
            bytes_out=ended.bytes_out,
            usage=record.usage,
            cost=record.cost,
            stop=record.stop,
            dropped=record.dropped,
            changed=record.changed,
            learned=record.learned,
            repairs=record.repairs,
        )
        self.attempt = None
        self._ended(record)


def _plain(error: ErrorInfo) -> ErrorInfo:
    """Return ``error`` without what it was read from, which the backend's answer shows."""
    return ErrorInfo(
        **{name: getattr(error, name) for name in ErrorInfo.__struct_fields__ if name != "raw"}
    )


class _Recorder:
    """See ``Sender``."""

    def __init__(self, recorded: RecordedBroker, tape: Tape, sender: Sender) -> None:
        self._recorded = recorded
        self._tape = tape
        self._sender = sender

    async def send(self, backend: Backend, outbound: Outbound, timeouts: Timeouts) -> BackendAnswer:
        self._recorded.sends(backend, outbound)
        answer = await self._sender.send(backend, outbound, timeouts)
        self._recorded.answered(answer)
        return answer

    async def get(self, backend: Backend, outbound: Outbound, timeouts: Timeouts) -> BackendAnswer:
        return await self._sender.get(backend, outbound, timeouts)


class _RecordedResponse:
    """See ``BackendResponse``."""

    def __init__(self, response: BackendResponse, tape: Tape) -> None:
        self._response = response
        self._tape = tape
        self.code = response.code
        self.fields = response.fields

    def whole(self) -> bytes | None:
        body = self._response.whole()
        if body is not None:
            self._tape.note(Chunk, data=body)
            self._tape.note(BodyEnded, whole=True)
        return body

    def deliverBody(self, protocol: Any) -> None:
        self._response.deliverBody(_RecordedBody(protocol, self._tape))


class _RecordedBody(Protocol):
    """Hands a body on to ``protocol``."""

    def __init__(self, protocol: Any, tape: Tape) -> None:
        self._protocol = protocol
        self._tape = tape

    def makeConnection(self, transport: Any) -> None:
        self._protocol.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        self._tape.note(Chunk, data=data)
        self._protocol.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        whole = reason.check(ResponseDone, PotentialDataLoss) is not None
        self._tape.note(BodyEnded, whole=whole)
        self._protocol.connectionLost(reason)


class _RecordedWorkflow:
    """See ``Workflow``: its transforms are recorded."""

    def __init__(self, workflow: Any, tape: Tape) -> None:
        self._workflow = workflow
        self._tape = tape

    def __getattr__(self, name: str) -> Any:
        return getattr(self._workflow, name)

    def transform(self, **how: Any) -> "_RecordedTransform":
        return _RecordedTransform(self._workflow.transform(**how), self._tape)


class _RecordedTransform:
    """See ``Transform``: what the broker itself does to a stream goes onto the tape."""

    def __init__(self, transform: Any, tape: Tape) -> None:
        self._transform = transform
        self._tape = tape
        self.feed: Callable[[bytes], bytes] = transform.feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transform, name)

    def close(self) -> bytes:
        self._tape.note(Closed)
        out: bytes = self._transform.close()
        return out

    def fail(self, error: ErrorInfo) -> bytes:
        self._tape.note(Broke, error=_plain(error))
        out: bytes = self._transform.fail(error)
        return out

    def ping(self) -> bytes:
        self._tape.note(Pinged)
        out: bytes = self._transform.ping()
        return out


class _RecordedAnswer:
    """See ``Answer``."""

    def __init__(self, answer: Answer, recorded: RecordedBroker) -> None:
        self._answer = answer
        self._recorded = recorded
        self.status = answer.status
        self.headers = answer.headers

    @property
    def bytes_out(self) -> int:
        return self._answer.bytes_out

    async def deliver(self, consumer: IConsumer) -> End:
        self._recorded.delivers = True
        return await self._answer.deliver(consumer)

    def fail(self, error: ErrorInfo) -> None:
        self._answer.fail(error)
