"""Passthrough: both ends speak the same dialect, so nothing is translated.

The request is the client's own bytes but for the value of ``model``; the answer is the
backend's own bytes. The adapter is asked only where a backend answered in the other way than
asked (a stream for a unary call or the reverse), and for the errors that are our own.
"""

from collections.abc import Mapping
from typing import Any

from lmbroker import envelope, headers, json_text
from lmbroker.call import Call, Target, WorkflowName
from lmbroker.errors import BackendRefused, ErrorInfo, Refused
from lmbroker.redaction import redact
from lmbroker.sse import EVENT_LIMIT
from lmbroker.translation.dialects.base import Adapter, Reply
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.unified.counting import estimate_body
from lmbroker.workflows import conversion, second_dialect
from lmbroker.workflows.contract import Asked, Outbound, Transform, Unary
from lmbroker.workflows.learned_rejections import Repair
from lmbroker.workflows.repairs import repair_of
from lmbroker.workflows.transforms import PassedStream

OVERFLOW_STATUS = 400
"""Status of a context overflow in both dialects, whatever the backend's was."""


class Passthrough:
    """See ``contract.Workflow``."""

    name: WorkflowName = "passthrough"
    dropped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    ratio = 1.0
    estimated = 0

    def __init__(
        self,
        call: Call,
        target: Target,
        adapter: Adapter,
        *,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the call for ``target``; ``overrides`` are the configured profile.

        Where they say ``ask_usage``, the backend of a stream counts tokens although the client does
        not want to know; its count is taken out of the stream again.
        """
        self._call = call
        self._target = target
        self._adapter = adapter
        self._overrides = overrides or {}
        ask_usage = bool(self._overrides.get("ask_usage")) and call.stream
        self._with_usage = adapter.facts.with_usage if ask_usage else None
        self._hide_usage = False
        self._asked: Asked | None = None

    def outbound(self) -> Outbound:
        """Return the client's own request with the backend's model name. Raises Refused."""
        call = self._call
        # Also where the name stays the same: a body that names two models is refused here.
        body = envelope.with_model(call.body, self._target.model, call.fields)
        # Backends that speak another dialect, too, and count tokens do so for requests of this one.
        facts = self._adapter.facts
        if facts.cuts is not None:
            body, self.dropped = facts.cuts.cut(body, self._target.backend.omit_attribution)
        asking = self._with_usage(body) if self._with_usage is not None else None
        if asking is not None:
            body, self._hide_usage = asking, True
        return Outbound(
            path=facts.paths[call.operation],
            query=call.query,
            headers=headers.to_backend(
                call, facts.headers, native=True, stream=call.stream, model=self._target.model
            ),
            body=body,
        )

    def asked(self) -> Asked:
        """Return what the answer needs of the request."""
        return Asked(hide_usage=self._hide_usage, choices=self._choices(), dropped=self.dropped)

    def recall(self, asked: Asked) -> None:
        """Take over what another workflow found in the request."""
        self._asked = asked
        self.dropped = asked.dropped
        self._hide_usage = asked.hide_usage

    def opaque(self, content_type: str) -> bool:
        """Return False: the answer is JSON or a stream."""
        return False

    @conversion.of_an_answer
    def unary(self, body: bytes, *, now: int) -> Unary:
        """Return the backend's own answer. Raises Broken or BackendRefused."""
        answer = conversion.object_of(body, self._target.backend.secrets)
        usage, stop = self._adapter.gist(answer)
        if answer.get("error"):
            # An error beside the answer: it may repeat our credential.
            body = redact(body, self._target.backend.secrets)
        return Unary(body=body, usage=usage, stop=stop, tool_calls=self._adapter.tool_calls(answer))

    @conversion.of_an_answer
    def fold(self, body: bytes, *, now: int) -> Unary:
        """Return a backend's stream as one answer. Raises Broken or BackendRefused."""
        return conversion.fold(self._adapter, self._adapter, body, self._reply(now))

    @conversion.of_an_answer
    def unfold(self, body: bytes, *, now: int) -> Unary:
        """Return a backend's one answer as a stream. Raises Broken or BackendRefused."""
        return conversion.unfold(self._adapter, self._adapter, body, self._reply(now))

    def transform(self, *, now: int, longest: int = EVENT_LIMIT) -> Transform:
        """Return the transform that passes the backend's stream on.

        ``longest`` is the most bytes of an event.
        """
        tap = self._adapter.tap(self._choices())
        return PassedStream(
            tap,
            self._adapter,
            self._call.id,
            hide_usage=self._hide_usage,
            secrets=self._target.backend.secrets,
            estimated_input=estimate_body(self._call.body),
            longest=longest,
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendRefused:
        """Return the error for the client: the backend's own body, where that is JSON.

        An error about our credential is put in our words, and a context overflow in those on which
        the clients of this dialect act.
        """
        clean = redact(body, self._target.backend.secrets)
        info = conversion.backend_error(
            self._adapter,
            status,
            headers,
            clean,
            clients_key=self._target.backend.clients_key,
        )
        value = None if info.kind == "bad_upstream" else _object(clean)
        native = None if value is None else (status, clean)
        if value is not None and info.kind == "context_length" and not self._as_it_is:
            answer = self._adapter.reworded_overflow(value, info, self._call.id)
            if answer is not None:
                native = (OVERFLOW_STATUS, json_text.encode(answer))
        return BackendRefused(info, phase="answer", native=native)

    @property
    def _as_it_is(self) -> bool:
        return self._target.backend.passthrough_errors == "as-is"

    def repair(self, error: ErrorInfo) -> Repair | None:
        """Return None: the client wrote the request itself, and gets the backend's own error.

        Where the call may go to the same backend in its second dialect, it is the repair that says
        so.
        """
        target = self._target
        if not second_dialect.may_go(self._call, target):
            return None
        backend = target.backend
        known = profile(backend.dialect, target.model, self._overrides, host=backend.host)
        repair = repair_of(error, envelope.decode(self._call.body), known, lambda: 0)
        return None if repair is None else repair.only(second_dialect.REFUSED)

    def _choices(self) -> int:
        """Return how many answers the client asked for at once; each has its own end."""
        if self._asked is not None:
            return self._asked.choices
        fields = self._call.fields
        if fields is None:
            fields = envelope.read(self._call.body).fields
        n = envelope.value_of(fields, "n")
        return n if isinstance(n, int) and n > 1 else 1

    def _reply(self, now: int) -> Reply:
        return Reply(model=self._target.model, created=now, request_id=self._call.id)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        return envelope.decode(body)
    except Refused:
        return None
