"""One call of a client, from its request to the end of its answer."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from lmbroker.broker.answers import STREAM_HEADERS, Answer
from lmbroker.broker.broker import Broker
from lmbroker.broker.new_ids import new_request_id
from lmbroker.broker.recorded import RecordedBroker
from lmbroker.call import Call, Dialect, End, Operation, Outcome, Record, in_second_dialect
from lmbroker.errors import BackendRefused, BrokerError, ErrorInfo, Refused
from lmbroker.headers import Pairs, failed_at, identity
from lmbroker.server.call_reading import note_request, read_call, refused
from lmbroker.server.callers import CallerHook
from lmbroker.server.error_answers import REASONS, call_error_answer
from lmbroker.server.incoming import Incoming
from lmbroker.server.keep_alive_pings import NO_PINGS, KeepAlivePings, Pings, late_headers
from lmbroker.server.recorded_incoming import RecordedIncoming
from lmbroker.translation.dialects.catalog import ADAPTERS

Operate = Callable[[Call, Record], Coroutine[Any, Any, Answer]]
"""The method of the broker that does one operation."""

FAULT = ErrorInfo(kind="server", message="the broker failed to serve this call")
"""The error of a call in which the broker made a mistake."""

_TOO_MANY_CALLS = ErrorInfo(
    kind="overloaded",
    message="the broker is serving as many calls as it may",
    code="server_is_overloaded",
    retry_after="1",
)


class ServedCall:
    """A call that is being served. ``calls`` holds all that are, this one until its end.

    ``caller_hook`` says who calls, None leaves that to the configured keys.
    """

    log = Logger()

    __slots__ = (
        "_answer",
        "_broker",
        "_caller_hook",
        "_calls",
        "_ended",
        "_incoming",
        "_pings",
        "_serving",
        "_status",
    )

    def __init__(
        self,
        broker: Broker,
        calls: "set[ServedCall]",
        incoming: Incoming,
        caller_hook: CallerHook | None = None,
    ) -> None:
        self._broker = broker
        self._caller_hook = caller_hook
        self._calls = calls
        self._incoming = incoming
        self._serving: Deferred[None] | None = None
        self._answer: Answer | None = None
        self._ended: Refused | None = None
        """Why the broker ended the call before its answer began."""
        self._pings: Pings = NO_PINGS
        self._status = 0
        """The HTTP status that the client got; 0 where it got none yet."""
        calls.add(self)

    def serve(self, operation: Operation, dialect: Dialect, operate: Operate) -> "Deferred[None]":
        """Read the request, have it answered and write the answer; fires at the end.

        The Deferred never fails: once bytes were written, an exception would make Klein append an
        HTML page to the stream.
        """
        self._serving = serving = Deferred.fromCoroutine(self._serve(operation, dialect, operate))
        return serving

    def end(self, error: ErrorInfo) -> None:
        """End the call now: a stream with ``error`` in band, any other with it as its answer."""
        if self._answer is not None:
            self._answer.fail(error)
        elif self._serving is not None and not self._serving.called:
            self._ended = refused(error)
            self._serving.cancel()

    async def _serve(self, operation: Operation, dialect: Dialect, operate: Operate) -> None:
        record = self._broker.open(new_request_id(), operation, dialect)

        def left() -> None:
            record.client_left = True
            if self._serving is not None:
                self._serving.cancel()

        self._incoming.when_left(left)
        end = End()
        try:
            end = await self._answered(record, operate)
        except CancelledError:
            if self._ended is None:
                record.client_left = True
            end = self._failed(record, self._ended)
        except BrokerError as error:
            end = self._failed(record, error)
        except Exception:
            self.log.failure("A call failed")
            end = self._fault(record)
        finally:
            if self._pings.bytes_out:
                sent = end.bytes_out + self._pings.bytes_out
                end = msgspec.structs.replace(end, bytes_out=sent)
            # The pings hold this call: the cycle would wait for the garbage collector.
            self._pings = NO_PINGS
            self._calls.discard(self)
            self._broker.close(record, end)

    async def _answered(self, record: Record, operate: Operate) -> End:
        """Read the call, have it answered and write the answer; return how that ended."""
        incoming = self._incoming
        config = self._broker.config
        received = note_request(incoming, record, self._broker.trace_ratio)
        if len(self._calls) > config.limits.calls:
            raise refused(_TOO_MANY_CALLS)
        broker = self._broker
        call = await read_call(
            incoming, received, record, config, broker.offload, self._caller_hook
        )
        record.read_at = broker.clock.seconds()
        if self._broker.captures is not None:
            operate = self._recorded(call, record, operate)
            incoming = self._incoming
        if call.stream:
            self._pings = self._pings_for(call, record)
        try:
            answer = await operate(call, record)
        finally:
            self._pings.stop()
        # No further attempt follows, and a stream may last for minutes: what holds the request's
        # body is released.
        del call
        incoming.release_body()
        self._answer = answer
        if self._pings.begun:
            self._pings.send(late_headers(answer.headers))
        else:
            self._set_head(record, answer.status, answer.headers)
        record.answered = self._broker.turns.turn
        return await answer.deliver(incoming.consumer)

    def _recorded(self, call: Call, record: Record, operate: Any) -> Operate:
        """Return ``operate`` for a call that goes onto a tape where a capture wants it."""
        captures = self._broker.captures
        wanted = None if captures is None else captures.of_call(call, record)
        if wanted is None:
            return operate  # type: ignore[no-any-return]
        tape, ended = wanted
        recorded = RecordedBroker(self._broker, tape, ended)
        self._incoming = RecordedIncoming(self._incoming, recorded, tape)
        self._broker = recorded
        return getattr(recorded, operate.__name__)  # type: ignore[no-any-return]

    def _pings_for(self, call: Call, record: Record) -> Pings:
        """Return the pings for the client of a stream, timed by the first target of its alias."""
        route = self._broker.config.alias(call.asked)
        if route is None or not route.targets:
            return NO_PINGS

        def set_head() -> None:
            # This function lives as long as the answer, so it holds nothing of the call.
            facts = ADAPTERS[record.dialect].facts.headers
            self._set_head(record, 200, (*STREAM_HEADERS, *identity(facts, record.id)))

        return KeepAlivePings(
            self._broker.clock,
            route.targets[0].timeouts,
            ADAPTERS[call.dialect].ping(started=False),
            head=set_head,
            write=self._incoming.consumer.write,
        )

    def _failed(self, record: Record, error: BrokerError | None) -> End:
        """Return the end of a call that has no answer.

        It is ``error`` where the client is still there.
        """
        if record.client_left or error is None:
            return self._cut_off("client_left")
        return self._send_error(record, error)

    def _fault(self, record: Record) -> End:
        """Return the end of a call in which the broker made a mistake."""
        if record.client_left:
            return self._cut_off("failed", "internal_error")
        if self._incoming.started and self._answer is not None:
            # Not loseConnection: Klein finishes the request, which would look whole.
            self._incoming.abort()
            return self._cut_off("failed", "internal_error")
        end = self._send_error(record, BrokerError(FAULT))
        return msgspec.structs.replace(end, outcome="failed")

    def _cut_off(self, outcome: Outcome, code: str = "") -> End:
        """Return the end of a call whose client gets nothing more."""
        sent = 0 if self._answer is None else self._answer.bytes_out
        return End(outcome=outcome, status=self._status, code=code, bytes_out=sent)

    def _send_error(self, record: Record, error: BrokerError) -> End:
        """Send the error that ends a call before its answer began.

        It goes as an HTTP answer, or as an event of the stream where the client has the head of
        that already.
        """
        info = error.info
        if self._pings.begun:
            out = ADAPTERS[record.dialect].stream_error(info, record.id)
            self._incoming.consumer.write(out)
            return End(
                outcome="stream_error", status=self._status, code=info.label, bytes_out=len(out)
            )
        native, more = None, Pairs()
        if isinstance(error, BackendRefused):
            native, more = error.native, error.headers
        if record.attempts:
            target = record.attempts[-1].target
            second = target.backend.also if in_second_dialect(target.backend) else ""
            tries = len(record.attempts)
            more = (*more, *failed_at(target.backend.name, target.model, tries, second))
        log_refused_key(self.log, self._incoming, error)
        answer = call_error_answer(record.dialect, info, record.id, native=native, more=more)
        self._set_head(record, answer.status, answer.headers)
        self._incoming.consumer.write(answer.body)
        return End(
            outcome="refused" if isinstance(error, Refused) else "backend_error",
            status=answer.status,
            code=info.label,
            bytes_out=len(answer.body),
        )

    def _set_head(self, record: Record, status: int, headers: Pairs) -> None:
        self._status = status
        if record.limit_headers:
            headers = (*headers, *record.limit_headers)
        incoming = self._incoming
        headers = (*headers, *incoming.cors) if incoming.cors else headers
        incoming.set_head(status, REASONS.get(status, b"Unknown Status"), headers)


def log_refused_key(log: Logger, incoming: Incoming, error: BrokerError) -> None:
    """Log from which address a key came that was refused; nothing for any other error."""
    if isinstance(error, Refused) and error.info.kind == "auth":
        log.info("Refused a client's key", fields={"client": incoming.client_host})
