"""The headers of OpenAI's dialects (translation.md section 6)."""

from lmbroker.headers import AZURE, HeaderFacts, Pairs, bearer


def credential(key: str, host: str) -> Pairs:
    """Return the header that carries ``key`` to a backend on ``host``."""
    return (("api-key", key),) if host.endswith(AZURE) else (bearer(key),)


HEADERS = HeaderFacts(
    request_id="x-request-id",
    credential=credential,
    passed=frozenset({"openai-beta", "x-client-request-id", "idempotency-key"}),
)
