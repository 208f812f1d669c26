"""The headers of an answer that a client sees: what the backend said, and who answered."""

from lmbroker import headers
from lmbroker.backends.sending import BackendAnswer
from lmbroker.call import Call, Record, Target, in_second_dialect
from lmbroker.headers import Pairs
from lmbroker.redaction import redact_header, redact_headers
from lmbroker.routing.aliases import Route
from lmbroker.translation import rate_limit_headers
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import listed


def answer_headers(
    call: Call, record: Record, route: Route, target: Target, answer: BackendAnswer, now: float
) -> Pairs:
    """Return all but content type and length; ``now`` is in unix seconds."""
    secrets = target.backend.secrets
    backend_facts = ADAPTERS[target.backend.dialect].facts
    backend_id = headers.backend_request_id(answer.headers, backend_facts.headers)
    if backend_id is not None:
        backend_id = record.backend_id = redact_header(backend_id, secrets)
    return (
        *redact_headers(headers.from_backend(answer.headers), secrets),
        *(limit_headers(call, route, target, answer, now) if route.expose_limits else ()),
        *headers.identity(
            ADAPTERS[call.dialect].facts.headers,
            call.id,
            backend_id=backend_id,
            backend=target.backend.name,
            model=target.model,
            second_dialect=target.backend.also if in_second_dialect(target.backend) else "",
            dropped=listed(record.dropped) if record.dropped else "",
            changed=listed(record.changed) if record.changed else "",
            attempts=len(record.attempts),
        ),
    )


def limit_headers(
    call: Call, route: Route, target: Target, answer: BackendAnswer, now: float
) -> Pairs:
    """Return the backend's rate limits, as far as clients of ``route`` may see them."""
    limits = rate_limit_headers.for_client(
        answer.headers,
        ADAPTERS[target.backend.dialect].facts.rate_limits,
        ADAPTERS[call.dialect].facts.rate_limits,
        expose_limits=route.expose_limits,
        now=now,
    )
    return redact_headers(limits, target.backend.secrets)
