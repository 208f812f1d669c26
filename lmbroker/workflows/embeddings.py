"""Embeddings: passed through, once it is sure that request and answer are what they should be."""

import msgspec

from lmbroker import envelope
from lmbroker.adapters import openai_embeddings
from lmbroker.adapters.base import Adapter
from lmbroker.call import Call, Target
from lmbroker.profiles import Profile
from lmbroker.unified import json_text
from lmbroker.workflows import conversion
from lmbroker.workflows.contract import Asked, Outbound, Unary
from lmbroker.workflows.passthrough import Passthrough


class Embeddings(Passthrough):
    """See ``contract.Workflow``. The request is the client's own bytes but for the model; so is
    the answer the backend's, where it fits (translation.md 7.4)."""

    def __init__(self, call: Call, target: Target, adapter: Adapter, profile: Profile) -> None:
        super().__init__(call, target, adapter)
        self._wanted: openai_embeddings.Asked | None = None
        self._matryoshka = profile.matryoshka

    def outbound(self) -> Outbound:
        """Raises Refused for a request that asks for no embeddings, too."""
        self._wanted = self._checked()
        return super().outbound()

    def asked(self) -> Asked:
        return Asked(embeddings=self._checked())

    def recall(self, asked: Asked) -> None:
        self._wanted = asked.embeddings

    def unary(self, body: bytes, *, now: int) -> Unary:
        answer = conversion.object_of(body)
        mended = openai_embeddings.mend_answer(answer, self._checked(), matryoshka=self._matryoshka)
        usage, _ = self._adapter.gist(mended or answer)
        if usage is not None and not openai_embeddings.counted(answer):
            usage = msgspec.structs.replace(usage, estimated=True)
        return Unary(body=body if mended is None else json_text.encode(mended), usage=usage)

    def fold(self, body: bytes, *, now: int) -> Unary:
        raise conversion.bad_answer("the backend answered with an event stream")

    def unfold(self, body: bytes, *, now: int) -> Unary:
        """No embeddings are streamed."""
        return self.unary(body, now=now)

    def _checked(self) -> openai_embeddings.Asked:
        """What was asked for. Raises Refused."""
        if self._wanted is None:
            self._wanted = openai_embeddings.check_request(envelope.decode(self._call.body))
        return self._wanted
