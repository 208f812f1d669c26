"""Decides which work goes to a helper process, and handles its result."""

import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from twisted.internet.interfaces import IReactorFDSet, IReactorProcess
from twisted.logger import Logger

from lmbroker.backends.interfaces import IReactor
from lmbroker.bounds import has_more_of
from lmbroker.call import Call, Mode, Target
from lmbroker.capture.masking import masked_lines
from lmbroker.envelope import Envelope, is_slow
from lmbroker.errors import BackendRefused, Broken, BrokerError, ErrorInfo, Refused
from lmbroker.limits import Limits
from lmbroker.offload.helper import Helper, Task
from lmbroker.offload.jobs import Done, Job
from lmbroker.offload.work import raised, work
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows.contract import Outbound, Unary, Workflow
from lmbroker.workflows.learned_rejections import Repair

LARGE = 256 * 1024
"""The least length of a body, in bytes, that a helper translates, and of an answer that it reads. A
body made to be slow takes 0.2 s for each MiB, an honest one up to 0.03 s; to hand it over takes 3
ms."""

DENSE = 16 * 1024
"""The least length of a body, in bytes, that goes to a helper for its many small values."""

MANY_OBJECTS = 3000
"""The number of objects that makes it so: each takes up to 6 µs."""

MANY_COMMAS = 10_000
"""The number of commas that makes it so: they separate values, each of which takes up to 4.4 µs."""

LARGE_ENVELOPE = 4 * 1024 * 1024
"""The same for work at the top level of a body only: that takes 2 ms for each MiB at most, also in
an honest body that is long; to hand it over takes half as long."""

LARGE_ERROR = 32 * 1024
"""The same for the body of an error: each byte takes up to 0.3 µs, since it is searched for
credentials in all their spellings."""

MANY_KEYS = 1000
"""The number of keys at the top level beyond which a large body always goes to a helper: 3 µs
each."""

UNABLE_SECONDS = 60.0
"""Seconds for which all work is done here after no helper could be started: the reason may pass."""

STARTS = 3
"""The number of helpers in a row that may end before they are ready, until none is started for a
while."""

LONG_JOB = 2 * 1024 * 1024
"""The length of a body, in bytes, from which on a job may take long. Where there are several
helpers, one is kept free of such jobs."""

WAITING = 64
"""The maximum of jobs that wait for a helper; their bodies count in the bounds of bodies and of
answers."""


class Terms(msgspec.Struct, frozen=True):
    """The arguments of ``workflow_for`` for one call at one target."""

    call: Call
    target: Target
    mode: Mode
    overrides: Mapping[str, Any]


class Offload:
    """Gives jobs to helper processes, which are started for the first job.

    ``limits`` returns the limits that hold now. Where no process can be started, this process does
    the work. ``ended`` is called with how each job ended: ``ok``, ``problem``, ``memory``,
    ``late``, ``died``, ``left`` or ``full``.
    """

    log = Logger()

    def __init__(self, reactor: IReactor, limits: Callable[[], Limits]) -> None:
        self.ended: Callable[[str], None] = lambda how: None
        self._reactor = reactor
        self._limits = limits
        self._helpers: list[Helper] = []
        self._waiting: deque[Task] = deque()
        self._closed = False
        self._able: bool | None = None
        self._able_at = 0.0
        """When helpers may be started again."""
        self._failed_starts = 0
        """The number of helpers in a row that ended before they were ready."""

    def close(self) -> None:
        """End the helpers; what they work at fails."""
        self._closed = True
        for helper in list(self._helpers):
            helper.kill()

    # The steps.

    async def envelope(
        self, body: bytes, limits: Limits | None = None, messages: str = "messages"
    ) -> Envelope:
        """Return the envelope of ``body`` with its short fields only. Raises Refused.

        It does what ``envelope.read`` does, and ``bounds.check_body`` by ``limits`` and
        ``messages``.
        """
        job = Job(step="envelope", limits=limits, messages_field=messages)
        done, _ = await self._do(job, body)
        fields = {name: msgspec.Raw(value) for name, value in done.fields.items()}
        return Envelope(model=done.model, stream=done.stream, fields=fields)

    async def check(self, request_limits: RequestLimits, call: Call) -> None:
        """Do ``request_limits.check``, maybe in a helper. Raises Refused."""
        await self._do(
            Job(step="request_limits", call=_light(call), request_limits=request_limits), call.body
        )

    async def estimate(self, call: Call) -> int:
        """Do ``workflows.estimate``, maybe in a helper. Raises Refused."""
        done, _ = await self._do(Job(step="estimate", call=_light(call)), call.body)
        return done.tokens

    async def need(self, terms: Terms) -> str:
        """Do ``second_dialect.need``, maybe in a helper."""
        done, _ = await self._do(_job("need", terms), terms.call.body)
        return done.need

    async def outbound(self, terms: Terms, workflow: Workflow) -> Outbound:
        """Do ``workflow.outbound``, maybe in a helper."""
        body = terms.call.body
        if _top_only(terms, workflow, body):
            return workflow.outbound()
        done, out = await self._do(_job("outbound", terms), body)
        assert done.outbound is not None and done.asked is not None
        workflow.recall(done.asked)
        return msgspec.structs.replace(done.outbound, body=out)

    async def repair(self, terms: Terms, workflow: Workflow, error: ErrorInfo) -> Repair | None:
        """Do ``workflow.repair``, maybe in a helper."""
        if _passes(terms, workflow) and not terms.target.backend.also_translated:
            return workflow.repair(error)
        done, _ = await self._do(_job("repair", terms, error=error), terms.call.body)
        return done.repair

    async def answer(
        self,
        step: Literal["unary", "fold", "unfold"],
        terms: Terms,
        workflow: Workflow,
        body: bytes,
        now: int,
    ) -> Unary:
        """Do that step of ``workflow``, maybe in a helper. Raises Broken or BackendRefused."""
        job = _job(step, terms, asked=workflow.asked(), now=now)
        done, out = await self._do(job, body)
        assert done.unary is not None
        return msgspec.structs.replace(done.unary, body=out)

    async def failure(
        self, terms: Terms, workflow: Workflow, status: int, headers: Mapping[str, str], body: bytes
    ) -> BackendRefused:
        """Do ``workflow.failure``, maybe in a helper. Raises Broken."""
        if len(body) < LARGE_ERROR:
            return workflow.failure(status, headers, body)
        job = _job("failure", terms, status=status, headers=dict(headers))
        try:
            await self._do(job, body)
        except BackendRefused as error:
            return error
        raise AssertionError("a failure is none")

    async def masked(self, packed: bytes, words: Sequence[str]) -> list[bytes]:
        """Do ``masking.masked_lines``, maybe in a helper. Raises Refused."""
        if len(packed) < LARGE_ERROR:
            return masked_lines(packed, words)
        _, lines = await self._do(Job(step="masked", secrets=tuple(words)), packed)
        return lines.split(b"\n")

    # The helpers.

    async def _do(self, job: Job, body: bytes) -> tuple[Done, bytes]:
        """Have ``job`` done.

        Raises what the step raises, and besides that Refused, or Broken where the body is an
        answer's, for what takes too much time or memory.
        """
        if not self._can():
            done, out = work(job, body)
        else:
            if len(self._waiting) >= WAITING:
                self.ended("full")
                raise _busy()
            task = Task(job, body, large=len(body) >= LONG_JOB, leave=self._leave)
            self._waiting.append(task)
            self._next()
            done, out = await task.done
        problem = done.problem
        if problem is None:
            self.ended("ok")
            return done, out
        self.ended("memory" if problem.kind == "memory" else "problem")
        if problem.kind == "memory":
            raise _too_complex(job, "memory")
        raise raised(problem, out)

    def _can(self) -> bool:
        """Return whether helper processes can be started."""
        if self._closed or not self._limits().helpers:
            return False
        if self._able is False and self._reactor.seconds() >= self._able_at:
            self._able = None
        if self._able is None:
            self._able = (
                sys.platform == "linux"
                and IReactorProcess.providedBy(self._reactor)
                and IReactorFDSet.providedBy(self._reactor)
            )
            self._failed_starts = 0
            if self._able and not _python():
                self._unable("there is no Python to start")
        return bool(self._able)

    def _unable(self, reason: str) -> None:
        """Do all work in this process for a while."""
        self._able = False
        self._able_at = self._reactor.seconds() + UNABLE_SECONDS
        self.log.warn(
            "No helper process can be had ({reason}): large bodies are worked at here, and hold "
            "other calls up",
            reason=reason,
        )

    def _next(self) -> None:
        """Give waiting jobs to helpers that have none."""
        limits = self._limits()
        while self._waiting and self._able and not self._closed:
            busy = [helper.task for helper in self._helpers if helper.task is not None]
            long = sum(task.large for task in busy)
            room_for_long = limits.helpers == 1 or long < limits.helpers - 1
            task = next((each for each in self._waiting if room_for_long or not each.large), None)
            if task is None:
                return
            helper = next((each for each in self._helpers if each.task is None), None)
            if helper is None:
                if len(self._helpers) >= limits.helpers:
                    return
                helper = Helper(self._reactor, self, limits.helper_memory, limits.helper_seconds)
                self._helpers.append(helper)
                try:
                    helper.start()
                except OSError as error:
                    self._helpers.remove(helper)
                    self._unable(error.strerror or "it was not started")
                    break
                if helper not in self._helpers:
                    continue
            self._waiting.remove(task)
            helper.give(task)
        if not self._able:
            self._here()

    def _here(self) -> None:
        """Do the waiting jobs in this process."""
        while self._waiting:
            task = self._waiting.popleft()
            task.end(work(task.job, task.body))

    def _leave(self, task: Task) -> None:
        task.left = True
        self.ended("left")
        if task in self._waiting:
            self._waiting.remove(task)
        for helper in self._helpers:
            if helper.task is task:
                helper.leave()

    def free(self, helper: Helper) -> None:
        """Note that ``helper`` may get another job."""
        self._next()
        if helper.task is None and helper in self._helpers:
            helper.wait()

    def gone(self, helper: Helper, task: Task | None) -> None:
        """Note that ``helper`` has ended, during ``task`` where it had one."""
        self._helpers.remove(helper)
        if helper.ready:
            self._failed_starts = 0
        elif self._able and not self._closed:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                self._unable("it did not start")
        if task is not None and not task.left:
            self._lost(helper, task)
        self._next()

    def _lost(self, helper: Helper, task: Task) -> None:
        if self._closed:
            task.end(_busy())
        elif helper.late:
            self.ended("late")
            self.log.warn("A helper process took too long at a large body, and was ended")
            task.end(_too_complex(task.job, "time"))
        elif not helper.ready or not task.tried:
            task.tried = helper.ready
            self._waiting.appendleft(task)
        else:
            self.ended("died")
            self.log.error("A large body ended two helper processes")
            task.end(_too_complex(task.job, "memory"))


def takes_long(body: bytes) -> bool:
    """Return whether reading all of ``body`` is work for a helper.

    It is where the body is long, or has so many small values that it takes as long.
    """
    if len(body) < DENSE:
        return False
    if len(body) >= LARGE:
        return True
    return has_more_of(body, b"{", MANY_OBJECTS) or has_more_of(body, b",", MANY_COMMAS)


def is_large(body: bytes, workflow: Workflow) -> bool:
    """Return whether the work of ``workflow`` at a request, or at an answer, is for a helper.

    Where a body is passed through, only its length counts.
    """
    return takes_long(body) if workflow.name == "translation" else len(body) >= LARGE


def has_large_envelope(body: bytes) -> bool:
    """Return whether reading the top level of ``body`` is work for a helper."""
    return len(body) >= LARGE_ENVELOPE or (len(body) >= LARGE and is_slow(body))


def _python() -> bool:
    """Return whether ``sys.executable`` is a Python that can import this."""
    frozen = getattr(sys, "frozen", False)
    return bool(sys.executable) and os.access(sys.executable, os.X_OK) and not frozen


def _passes(terms: Terms, workflow: Workflow) -> bool:
    """Return whether only the top level of a request is read, since it is passed through."""
    return workflow.name == "passthrough" and terms.call.operation != "embeddings"


def _top_only(terms: Terms, workflow: Workflow, body: bytes) -> bool:
    """Return whether a request needs only a short look at its top level."""
    few = len(terms.call.fields or ()) <= MANY_KEYS
    short = len(body) < LARGE_ENVELOPE and not terms.call.short_fields
    return few and short and _passes(terms, workflow) and not _cut(terms, body)


def _cut(terms: Terms, body: bytes) -> bool:
    """Return whether something may have to be cut out of a request that is passed through."""
    cuts = ADAPTERS[terms.call.dialect].facts.cuts
    return cuts is not None and cuts.may_concern(body, terms.target.backend.omit_attribution)


def _light(call: Call) -> Call:
    return msgspec.structs.replace(call, body=b"", fields=None)


def _job(step: Any, terms: Terms, **more: Any) -> Job:
    backend = terms.target.backend
    return Job(
        step=step,
        call=_light(terms.call),
        backend=backend.name,
        url=backend.url,
        dialect=backend.dialect,
        also=backend.also,
        also_translated=backend.also_translated,
        omit_attribution=backend.omit_attribution,
        passthrough_errors=backend.passthrough_errors,
        model=terms.target.model,
        secrets=tuple(word for secret in backend.secrets for word in secret.words),
        mode=terms.mode,
        overrides=dict(terms.overrides),
        **more,
    )


def _busy() -> Refused:
    return Refused(
        "overloaded",
        "the broker is working at as many large bodies as it may",
        code="server_is_overloaded",
        retry_after="1",
    )


def _too_complex(job: Job, what: str) -> BrokerError:
    if job.step in ("unary", "fold", "unfold", "failure"):
        message = f"reading the backend's answer takes more {what} than it may"
        info = ErrorInfo(kind="bad_upstream", message=message, code="answer_too_complex")
        return Broken(info, phase="answer")
    message = f"reading the request body takes more {what} than it may"
    return Refused("invalid_request", message, code="request_too_complex")
