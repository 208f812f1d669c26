"""Finds the conversation of a call, and the target that answers a conversation. Pure.

A provider's prompt cache is hit only where the turns of a conversation come to the same account
and model. Where nothing is configured the broker knows a conversation by what clients send to
identify it: a session header, a cache key, a user's metadata; else by how it begins. Nothing of
that is kept: the target of a conversation is remembered by a hash.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import ceil
from typing import Any

import msgspec

from lmbroker import envelope
from lmbroker.call import Call
from lmbroker.translation.dialects.catalog import ADAPTERS

SESSION_HEADERS = (
    "x-claude-code-session-id",
    "session_id",
    "session-id",
    "thread-id",
    "x-session-id",
    "x-session-affinity",
    "conversation_id",
    "x-conversation-id",
    "x-opencode-session",
    "x-litellm-session-id",
    "helicone-session-id",
)
"""Headers by which clients name a conversation, the most reliable first: Claude Code, Codex
(``session-id``, in older versions ``session_id`` and ``conversation_id``), opencode, and what other
gateways' clients send."""

REMEMBERED = 20_000
"""The maximum of conversations that are remembered, of all aliases; the least recent one is
forgotten first."""

SPARE = 1.05
"""How many times its share of the remembered conversations a target takes at most, where hashing
alone would give it more."""

LONGEST_HEAD = 1024 * 1024
"""The bytes of a request's messages in which its first turn is looked for."""

_INSTRUCTIONS = ("system", "instructions")

_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


class _Role(msgspec.Struct):
    role: str = ""


_ROLE = msgspec.json.Decoder(_Role)


def conversation_of(call: Call) -> str:
    """Return what identifies the conversation of ``call``, "" where nothing does.

    It may hold contents: hash it, and keep nothing of it.
    """
    for name in SESSION_HEADERS:
        value = call.headers.get(name)
        if value:
            return f"{name}={value}"
    fields = call.fields
    if fields is None:
        fields = envelope.read(call.body).fields
    key = envelope.value_of(fields, "prompt_cache_key")
    if isinstance(key, str) and key:
        return f"prompt_cache_key={key}"
    metadata = envelope.value_of(fields, "metadata")
    if isinstance(metadata, dict):
        user = metadata.get("user_id")
        if isinstance(user, str) and user:
            return f"metadata.user_id={user}"
    return _beginning(fields, ADAPTERS[call.dialect].facts.messages_field)


def _beginning(fields: Mapping[str, Any], name: str) -> str:
    """Return the instructions and all messages to the first one of the user, hashed.

    ``name`` is that of the messages. A text in their place is a message of the user.
    """
    raw = fields.get(name, b"")
    if not 0 < memoryview(raw).nbytes <= LONGEST_HEAD:
        return ""
    digest = blake2b(digest_size=16)
    for each in _INSTRUCTIONS:
        digest.update(bytes(fields.get(each, b"")))
    if bytes(memoryview(raw)[:1]) == b'"':
        digest.update(raw)
        return f"begins={digest.hexdigest()}"
    try:
        for message in _RAWS.decode(raw):
            digest.update(message)
            if _ROLE.decode(message).role == "user":
                return f"begins={digest.hexdigest()}"
    except envelope.JSON_ERRORS:
        pass
    return ""


def hashed(alias: str, conversation: str) -> bytes:
    """Return what is remembered of a conversation at an alias."""
    text = f"{len(alias)}:{alias}{conversation}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class ConversationTargets:
    """Remembers which target answers each conversation, by its hash; bounded."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._targets: OrderedDict[bytes, tuple[str, str]] = OrderedDict()
        self._counts: Counter[tuple[str, str]] = Counter()

    def target_of(self, conversation: bytes) -> str:
        """Return the name of the target that answers a conversation, "" for a new one."""
        found = self._targets.get(conversation)
        if found is None:
            return ""
        self._targets.move_to_end(conversation)
        return found[1]

    def remember(self, conversation: bytes, alias: str, target: str) -> None:
        """Remember ``target`` for a conversation that it has answered."""
        before = self._targets.pop(conversation, None)
        if before is not None:
            self._leave(before)
        self._targets[conversation] = (alias, target)
        self._counts[alias, target] += 1
        if len(self._targets) > self._most:
            self._leave(self._targets.popitem(last=False)[1])

    def full(self, alias: str, names: Sequence[str], weights: Sequence[float]) -> list[bool]:
        """Return for each of an alias's targets whether it has its share of conversations."""
        counts = [self._counts[alias, name] for name in names]
        total = sum(weights) or 1.0
        whole = SPARE * (sum(counts) + 1)
        return [
            count >= ceil(whole * weight / total)
            for count, weight in zip(counts, weights, strict=True)
        ]

    def _leave(self, counted: tuple[str, str]) -> None:
        self._counts[counted] -= 1
        if not self._counts[counted]:
            del self._counts[counted]
