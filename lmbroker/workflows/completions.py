"""Completions of a prompt, OpenAI's older operation: passed through, and translated to nothing."""

from lmbroker import envelope
from lmbroker.workflows import conversion
from lmbroker.workflows.contract import Unary
from lmbroker.workflows.passthrough import Passthrough


class Completions(Passthrough):
    """See ``contract.Workflow``. A stream and a whole answer are not made into each other."""

    def fold(self, body: bytes, *, now: int) -> Unary:
        """Raise Broken: a stream is not made into a whole answer."""
        raise conversion.bad_answer("the backend answered with an event stream")

    @conversion.of_an_answer
    def unfold(self, body: bytes, *, now: int) -> Unary:
        """Raise Broken, or BackendRefused for an error in the body.

        A whole answer is not made into a stream.
        """
        conversion.object_of(body)
        raise conversion.bad_answer("the backend answered without a stream")

    def _choices(self) -> int:
        """Return how many answers the client asked for: ``n`` to each of its prompts."""
        choices = super()._choices()
        if self._asked is not None:
            return choices
        fields = self._call.fields
        if fields is None:
            fields = envelope.read(self._call.body).fields
        prompts = envelope.value_of(fields, "prompt")
        if isinstance(prompts, list) and prompts and isinstance(prompts[0], str | list):
            choices *= len(prompts)
        return choices
