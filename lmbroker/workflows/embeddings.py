"""Embeddings: passed through, once it is sure that request and answer are what they should be."""

import msgspec

from lmbroker import envelope, json_text
from lmbroker.call import Call, Mode, Target
from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.base import Adapter, AskedEmbeddings, EmbeddingsRules
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.workflows import conversion
from lmbroker.workflows.contract import Asked, Outbound, Unary
from lmbroker.workflows.learned_rejections import Repair
from lmbroker.workflows.passthrough import Passthrough
from lmbroker.workflows.repairs import repair_of

NEEDED = frozenset({"model", "input"})
"""The fields without which a request asks for no embeddings."""


class Embeddings(Passthrough):
    """See ``contract.Workflow``.

    The request is the client's own bytes but for the model, and for what the backend does not take;
    so is the answer the backend's, where it fits (translation.md 7.4).
    """

    def __init__(
        self, call: Call, target: Target, adapter: Adapter, profile: Profile, mode: Mode
    ) -> None:
        super().__init__(call, target, adapter)
        assert adapter.facts.embeddings is not None
        self._rules: EmbeddingsRules = adapter.facts.embeddings
        self._wanted: AskedEmbeddings | None = None
        self._profile = profile
        self._matryoshka = profile.matryoshka
        self._losses = Losses(mode, model=call.asked, dialect=adapter.facts.name)

    @property
    def dropped(self) -> tuple[str, ...]:  # type: ignore[override]
        """Paths of the fields that the backend did not get."""
        return self._losses.dropped

    def outbound(self) -> Outbound:
        """Return the request for the backend. Raises Refused.

        That also happens where it asks for no embeddings, and in mode strict for a field that the
        backend does not take.
        """
        self._wanted = self._checked()
        outbound = super().outbound()
        if not self._profile.omit:
            return outbound
        body = envelope.decode(outbound.body)
        for name in self._profile.omit:
            if name not in NEEDED and body.pop(name, None) is not None:
                self._losses.drop(name)
        if not self._losses.dropped:
            return outbound
        return msgspec.structs.replace(outbound, body=json_text.encode(body))

    def asked(self) -> Asked:
        """Return what the answer needs of the request. Raises Refused."""
        return Asked(embeddings=self._checked(), dropped=self.dropped)

    def recall(self, asked: Asked) -> None:
        """Take over what another workflow found in the request."""
        self._wanted = asked.embeddings
        self._losses.recall(asked.dropped, asked.changed)

    def repair(self, error: ErrorInfo) -> Repair | None:
        """Return the repair that leaves a field out.

        The length of the vectors stays: without it they would be others, unless they may be cut
        here.
        """
        body = envelope.decode(self._call.body)
        repair = repair_of(error, {**body, "input": ""}, self._profile, lambda: 0)
        if repair is None or not repair.overrides.keys() <= {"omit"} or repair.once:
            return None
        new = set(repair.overrides["omit"]) - set(self._profile.omit)
        if "dimensions" in new and not self._matryoshka:
            return None
        return repair if new <= body.keys() - NEEDED else None

    def opaque(self, content_type: str) -> bool:
        """Return whether the client asked for vectors in a format that is not JSON."""
        return "json" not in content_type and self._checked().opaque

    def unary(self, body: bytes, *, now: int) -> Unary:
        """Return the answer with vectors in the form and length that was asked for.

        Raises Broken or BackendRefused.
        """
        if self._checked().opaque:
            return Unary(body=body)
        answer = conversion.object_of(body)
        mended = self._rules.mend_answer(answer, self._checked(), matryoshka=self._matryoshka)
        usage, _ = self._adapter.gist(mended or answer)
        if usage is not None and not self._rules.counted(answer):
            usage = msgspec.structs.replace(usage, estimated=True)
        return Unary(body=body if mended is None else json_text.encode(mended), usage=usage)

    def fold(self, body: bytes, *, now: int) -> Unary:
        """Raise Broken: no embeddings are streamed."""
        raise conversion.bad_answer("the backend answered with an event stream")

    def unfold(self, body: bytes, *, now: int) -> Unary:
        """Return what ``unary`` does: no embeddings are streamed."""
        return self.unary(body, now=now)

    def _checked(self) -> AskedEmbeddings:
        """Return what was asked for. Raises Refused."""
        if self._wanted is None:
            self._wanted = self._rules.check_request(envelope.decode(self._call.body))
        return self._wanted
