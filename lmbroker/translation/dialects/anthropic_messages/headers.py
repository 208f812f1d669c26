"""The headers of the Anthropic Messages dialect (translation.md section 6)."""

from lmbroker.headers import AZURE, HeaderFacts, LongContext, Pairs, bearer

_OWN_HOST = "api.anthropic.com"
_OWN_KEY = "sk-ant-"
"""The prefix of keys of Anthropic's own API."""


def credential(key: str, host: str) -> Pairs:
    """Return the headers that carry ``key`` to a backend on ``host``.

    Some servers of other vendors take a bearer token, and some take ``x-api-key``: they get both.
    """
    if host.endswith(AZURE):
        return (("api-key", key), ("x-api-key", key))
    if key.startswith(_OWN_KEY) or host == _OWN_HOST:
        return (("x-api-key", key),)
    return (("x-api-key", key), bearer(key))


HEADERS = HeaderFacts(
    request_id="request-id",
    credential=credential,
    version=("anthropic-version", "2023-06-01"),
    passed=frozenset({"idempotency-key"}),
    passed_prefix="anthropic-",
    # The version is sent apart from these.
    kept_back=frozenset(
        {"anthropic-version", "anthropic-workspace-id", "anthropic-user-profile-id"}
    ),
    # Anthropic's documentation of the context window of one million tokens.
    long_context=LongContext(
        header="anthropic-beta", value="context-1m-2025-08-07", models="claude"
    ),
)
