"""A call at one target: what each step of an attempt there needs to know."""

import msgspec
from twisted.internet.interfaces import IReactorTime

from lmbroker.backends.sending import BackendAnswer
from lmbroker.broker.answer_headers import answer_headers, limit_headers
from lmbroker.call import Call, Mode, Record, Target
from lmbroker.errors import BackendRefused
from lmbroker.headers import Pairs
from lmbroker.offload import LARGE, Offload, Terms, is_large
from lmbroker.routing.aliases import Route
from lmbroker.routing.keys import Key, own_key
from lmbroker.workflows import second_dialect, workflow_for
from lmbroker.workflows.beginnings import LEAST, Beginnings
from lmbroker.workflows.contract import Workflow
from lmbroker.workflows.learned_rejections import REPAIRS, Repair, Repairs
from lmbroker.workflows.translation import Translation


class TargetAttempt:
    """One call at one target, with the repairs that its requests get there.

    ``workflow`` belongs to the request that is sent next: ``prepare`` makes it, and makes another
    one after each repair. ``mode`` is the call's own, or else that of its alias.
    """

    __slots__ = ("call", "mode", "record", "repairs", "route", "target", "workflow")

    workflow: Workflow

    def __init__(
        self, call: Call, record: Record, route: Route, target: Target, repairs: Repairs
    ) -> None:
        self.call = call
        self.record = record
        self.route = route
        self.target = target
        self.repairs = repairs
        self.mode: Mode = call.mode or route.mode

    def prepare(self, ratio: float, beginnings: Beginnings | None = None) -> None:
        """Make the workflow of the next request, with what the repairs change so far.

        ``ratio`` is how many tokens the target counts for each that we estimate; ``beginnings``
        are those of long conversations. Raises Refused.
        """
        workflow = workflow_for(
            self.call, self.target, mode=self.mode, overrides=self.repairs.overrides
        )
        workflow.ratio = ratio
        if len(self.call.body) > LEAST and isinstance(workflow, Translation):
            workflow.beginnings = beginnings
        self.workflow = workflow

    @property
    def is_large(self) -> bool:
        """Whether a helper process builds and repairs the request."""
        body, workflow = self.call.body, self.workflow
        if len(body) > LEAST and isinstance(workflow, Translation):
            body = workflow.unknown_part()
        return is_large(body, workflow)

    @property
    def terms(self) -> Terms:
        """What a helper process needs to make the same workflow."""
        return Terms(self.call, self.target, self.mode, self.repairs.overrides)

    async def repair(self, error: BackendRefused, offload: Offload, clock: IReactorTime) -> Repair:
        """Note what the next request does otherwise, and return it.

        Raises ``error`` where nothing is known that would help.
        """
        record, repairs = self.record, self.repairs
        repair = None
        if not record.client_left:
            if not self.is_large:
                repair = self.workflow.repair(error.info)
            else:
                repair = await offload.repair(self.terms, self.workflow, error.info)
        words, moment = error.info.message, clock.seconds()
        if record.repairs == REPAIRS:
            if repairs.would_help(repair, words, moment) and self.mode != "strict":
                # The next call of the client begins where this one ends: with its own retry.
                error.info = msgspec.structs.replace(error.info, should_retry="true")
            raise error
        repair = repairs.add(repair, words, moment)
        if repair is None or record.client_left:
            raise error
        record.repairs += 1
        record.learned = (*record.learned, *repair.parameters)
        return repair

    def answer_headers(self, answer: BackendAnswer, now: float) -> Pairs:
        """Return the client's headers of this answer but content type and length.

        ``now`` is in unix seconds.
        """
        return answer_headers(self.call, self.record, self.route, self.target, answer, now)

    def limit_headers(self, answer: BackendAnswer, now: float) -> Pairs:
        """Return the client's headers for the backend's rate limits; ``now`` is in unix seconds."""
        return limit_headers(self.call, self.route, self.target, answer, now)


async def needs_second_dialect(
    attempt: TargetAttempt, refusal: BackendRefused | None, offload: Offload
) -> bool:
    """Return whether the call of ``attempt`` goes on in the second dialect of its backend.

    It may do so before anything was sent, or after ``refusal`` in the first one.
    """
    call, target, overrides = attempt.call, attempt.target, attempt.repairs.overrides
    if refusal is not None:
        return attempt.repairs.changes(second_dialect.REFUSED)
    if not second_dialect.may_need(call, target, overrides):
        return False
    if len(call.body) >= LARGE:
        return bool(await offload.need(attempt.terms))
    return bool(second_dialect.need(call, target, overrides))


def with_own_key(target: Target, call: Call, keys: tuple[Key, ...]) -> Target:
    """Return ``target`` with the client's own API key, for this call alone. Raises Refused."""
    credential = own_key(keys, call.headers)
    backend = msgspec.structs.replace(target.backend, credential=credential)
    return msgspec.structs.replace(target, backend=backend)
