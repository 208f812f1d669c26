"""The keys of clients, known by their SHA-256 only, and the caller whom a key names.

A key comes as ``authorization: Bearer KEY``, ``x-api-key`` or ``api-key``, on either dialect;
Anthropic's SDKs send the first or the second by their version, some clients both
(translation.md, fact 2). ``x-lmbroker-key: KEY`` is for the broker alone: where it is given, the
others are not looked at, and may hold the client's own key for a backend. The answer to a wrong key
and to none is the same.
"""

import fnmatch
import hmac
import re
from collections.abc import Container, Mapping, Sequence
from hashlib import sha256

import msgspec

from lmbroker.call import Caller
from lmbroker.errors import Refused
from lmbroker.secret import Secret

HASH = re.compile(r"sha256:([0-9a-f]{64})")
"""How a configuration writes the hash of a key."""

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_KEY_HEADERS = ("x-api-key", "api-key")
_BROKER_KEY = "x-lmbroker-key"
_OWN_KEY = re.compile(r"[!-~]{1,8192}")
"""The form of a client's own key for a backend: a token without spaces."""
_ANYBODY = Caller()


NO_OWN_KEY = "own_key_needed"
"""The code of the error for a client without a key of its own where a backend takes nothing
else."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key. ``models`` are globs of the aliases that it may use; empty means all of them."""

    name: str
    digest: bytes
    models: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


def digest_of(key: str) -> bytes:
    """Return what is kept of a key."""
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def hash_of(key: str) -> str:
    """Return a key's hash as a configuration writes it."""
    return f"sha256:{digest_of(key).hex()}"


def caller_of(
    keys: Sequence[Key], headers: Mapping[str, str], repeated: Container[str] = ()
) -> Caller:
    """Return who sends these headers.

    Their names are in lower case, each with its first value; ``repeated`` are those that came more
    than once.

    Raises Refused (``auth``) where no configured key is among them, or where one header names two.
    Without configured keys everybody is anonymous. Every key is compared, each in constant time.
    """
    if not keys:
        return _ANYBODY
    given = digest_of(_broker_key(headers, repeated))
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, given):
            found = key
    if found is None:
        raise _unauthorised()
    return Caller(name=found.name, models=found.models)


def own_key(keys: Sequence[Key], headers: Mapping[str, str]) -> Secret:
    """Return the client's own key, for a backend that takes it.

    It is the value of ``x-api-key``, ``api-key`` or ``authorization: Bearer``. Raises Refused where
    there is none, and where it is a key of the broker's, whatever header that came in: no backend
    gets to see one.
    """
    try:
        given = _credential(headers, ())
    except Refused:
        given = ""
    if _OWN_KEY.fullmatch(given):
        digest = digest_of(given)
        ours = [key for key in keys if hmac.compare_digest(key.digest, digest)]
        if not ours:
            return Secret(given)
    how = "send it as x-api-key or authorization: Bearer"
    if keys:
        how += f", and the broker's key as {_BROKER_KEY}"
    raise Refused(
        "auth",
        f"this model takes your own API key for its backend: {how}",
        code=NO_OWN_KEY,
        should_retry="false",
    )


def may_use(caller: Caller, alias: str, asked: str = "") -> bool:
    """Return whether the caller's key is for this alias, or for the name that was asked for.

    The latter counts only where the alias is a pattern that the name fits. Any other alias stands
    for itself, whatever name led to it: by ``default``, a name of the client's own choice does.
    """
    if not caller.models:
        return True
    names = [alias]
    if asked and alias.endswith("*") and asked.startswith(alias[:-1]):
        names.append(asked)
    return any(fnmatch.fnmatchcase(name, glob) for name in names for glob in caller.models)


def _broker_key(headers: Mapping[str, str], repeated: Container[str]) -> str:
    if _BROKER_KEY not in headers:
        return _credential(headers, repeated)
    if _BROKER_KEY in repeated:
        raise _unauthorised()
    return headers[_BROKER_KEY].strip()


def _credential(headers: Mapping[str, str], repeated: Container[str]) -> str:
    for name in _KEY_HEADERS:
        value = headers.get(name)
        if name in repeated:
            raise _unauthorised()
        if value:
            return value
    bearer = _BEARER.fullmatch(headers.get("authorization", "").strip())
    if bearer is None or "authorization" in repeated:
        raise _unauthorised()
    return bearer[1]


def _unauthorised() -> Refused:
    # Claude Code tries a 401 again for over two minutes unless the answer says not to.
    return Refused(
        "auth",
        "the API key is missing or not valid",
        code="invalid_api_key",
        should_retry="false",
    )
