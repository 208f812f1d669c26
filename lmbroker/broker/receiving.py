"""Receives a backend's answer and turns it into the client's."""

from collections.abc import Callable
from copy import copy
from typing import Literal

from twisted.internet.interfaces import IReactorTime

from lmbroker import headers
from lmbroker.backends.sending import BackendAnswer
from lmbroker.backends.turn_end import turns_of
from lmbroker.backends.whole_bodies import AnswerMemory
from lmbroker.broker.answers import STREAM_HEADERS, Answer, StreamAnswer, WholeAnswer, note_losses
from lmbroker.broker.relay import Relay
from lmbroker.broker.target_attempt import TargetAttempt
from lmbroker.call import Record, Timeouts
from lmbroker.errors import BackendRefused
from lmbroker.limits import Limits
from lmbroker.offload import Offload, is_large
from lmbroker.workflows.contract import Unary, Workflow
from lmbroker.workflows.conversion import bad_answer, refused

ERROR_BODY_LIMIT = 1024 * 1024


class Receiver:
    """Receives answers within ``limits``, which may be replaced at any time.

    ``charge`` puts what a whole answer has cost into the record.
    """

    def __init__(
        self,
        limits: Limits,
        clock: IReactorTime,
        wall: Callable[[], float],
        offload: Offload,
        charge: Callable[[Record], None],
    ) -> None:
        self._limits = limits
        self.memory = AnswerMemory(limits.answers)
        self._clock = clock
        self._wall = wall
        self._offload = offload
        self._charge = charge
        self._turns = turns_of(clock)

    @property
    def limits(self) -> Limits:
        """The limits of answers from now on."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self.memory.limit = limits.answers

    def timed_by(self, wall: Callable[[], float]) -> "Receiver":
        """Return the same receiver by another clock."""
        other = copy(self)
        other._wall = wall
        return other

    async def receive(self, attempt: TargetAttempt, answer: BackendAnswer) -> Answer:
        """Return the client's answer for a backend's. Raises AttemptFailed.

        It does where the backend's answer is an error, or no answer at all.
        """
        call, record, workflow = attempt.call, attempt.record, attempt.workflow
        if not 200 <= answer.status <= 299:
            body = await answer.body(ERROR_BODY_LIMIT)
            refusal = await self._offload.failure(
                attempt.terms, workflow, answer.status, answer.headers, body
            )
            refusal.headers = attempt.limit_headers(answer, self._wall())
            raise refusal
        now = int(self._wall())
        streamed = answer.content_type == "text/event-stream"
        if streamed and call.stream:
            relay = await self._begin(workflow, answer, attempt.target.timeouts, now)
            record.came_at = self._turns.since
            record.estimated = workflow.estimated
            head = (
                *STREAM_HEADERS,
                *attempt.answer_headers(answer, self._wall()),
            )
            return StreamAnswer(200, head, relay, record)
        if answer.content_type and not streamed and workflow.opaque(answer.content_type):
            body = await answer.body()
            record.came_at = self._turns.since
            head = (
                ("content-type", answer.content_type),
                *headers.about_bytes(answer.headers),
                *attempt.answer_headers(answer, self._wall()),
            )
            return WholeAnswer(200, head, body)
        if not streamed and "json" not in answer.content_type and answer.content_type:
            if answer.content_type == "text/plain":
                refused(await answer.body(ERROR_BODY_LIMIT))
            answer.abort()
            raise bad_answer(
                "the backend answered with neither JSON nor an event stream", "wrong_content_type"
            )
        body = await answer.body(memory=self.memory)
        record.came_at = self._turns.since
        whole: Unary
        if is_large(body, workflow):
            step: Literal["unary", "fold", "unfold"]
            step = "unfold" if call.stream else "fold" if streamed else "unary"
            whole = await self._offload.answer(step, attempt.terms, workflow, body, now)
        elif call.stream:
            whole = workflow.unfold(body, now=now)
        elif streamed:
            whole = workflow.fold(body, now=now)
        else:
            whole = workflow.unary(body, now=now)
        record.usage, record.stop = whole.usage, whole.stop
        record.tool_calls = whole.tool_calls
        note_losses(record, whole)
        if record.usage is None and record.reservation is not None:
            record.reservation.text_bytes = len(whole.body)
        self._charge(record)
        record.first_event_at = self._clock.seconds()
        head = (
            ("content-type", whole.content_type),
            *attempt.answer_headers(answer, self._wall()),
            *headers.cost(record.cost),
        )
        return WholeAnswer(200, head, whole.body, answer.memory)

    async def _begin(
        self, workflow: Workflow, answer: BackendAnswer, timeouts: Timeouts, now: int
    ) -> Relay:
        """Await the first real event. Raises BackendRefused or Broken while nothing was sent."""
        transform = workflow.transform(now=now, longest=self._limits.stream_event)
        relay = Relay(answer, transform, self._clock, timeouts)
        answer.deliver(relay)
        await relay.begun
        if transform.phase == "failed" and transform.error is not None and relay.silent:
            raise BackendRefused(transform.error, phase="first_event")
        return relay
