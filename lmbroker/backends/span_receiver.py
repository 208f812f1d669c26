"""Sends batches of spans to their receiver, over the same connections as calls to backends."""

from lmbroker.backends.sending import Sender
from lmbroker.call import Backend, Timeouts
from lmbroker.config.tracing import PATH
from lmbroker.errors import AttemptFailed, BrokerError
from lmbroker.headers import USER_AGENT
from lmbroker.observers.span_export import NotTaken
from lmbroker.workflows.contract import Outbound

TIMEOUTS = Timeouts(connect=5.0, headers=10.0, idle=10.0, total=10.0)

LATER = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same batch may be taken later (the specification of OTLP over HTTP)."""

LONGEST_PAUSE = 300.0
"""The maximum of seconds that a receiver may ask us to wait."""

ANSWER_BYTES = 64 * 1024

_HEADERS = (("content-type", "application/x-protobuf"), ("user-agent", USER_AGENT))


class SpanReceiver:
    """The receiver of spans at ``backend``."""

    def __init__(self, sender: Sender, backend: Backend) -> None:
        self._sender = sender
        self._backend = backend

    async def post(self, batch: bytes) -> bytes:
        """Send a batch and return the answer. Raises NotTaken."""
        outbound = Outbound(path=PATH, headers=_HEADERS, body=batch, is_call=False)
        try:
            answer = await self._sender.get(self._backend, outbound, TIMEOUTS)
            body = await answer.body(ANSWER_BYTES)
        except AttemptFailed as error:
            raise NotTaken(f"{self._backend.host}: {error.info.label}", again=True) from None
        except BrokerError as error:
            raise NotTaken(f"{self._backend.host}: {error.info.label}", again=False) from None
        status = answer.status
        if 200 <= status <= 299:
            return body
        raise NotTaken(
            f"{self._backend.host} answers {status}",
            again=status in LATER,
            pause=_seconds(answer.headers.get("retry-after", "")),
        )


def _seconds(retry_after: str) -> float | None:
    """Return the seconds of a ``retry-after`` header, None where it names none."""
    if not retry_after.isascii() or not retry_after.isdigit():
        return None
    return min(float(retry_after[:9]), LONGEST_PAUSE)
