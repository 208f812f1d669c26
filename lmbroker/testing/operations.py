"""The operations of the practice backend, by the path of a request."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from lmbroker.json_text import JSON
from lmbroker.testing import faults
from lmbroker.testing import fields_responses as fields
from lmbroker.testing.ask import Ask, Refused, read_anthropic, read_completion, read_openai
from lmbroker.testing.ask_responses import Memory, read_responses
from lmbroker.testing.faults import Scene, Speaker
from lmbroker.testing.prompt_cache import (
    MODEL,
    PromptCache,
    chat_words,
    keeps_whole,
    messages_words,
    responses_words,
)
from lmbroker.testing.script import Said, answer
from lmbroker.testing.wire_anthropic import Anthropic
from lmbroker.testing.wire_openai import OpenAI, embeddings
from lmbroker.testing.wire_responses import Responses

RESPONSES = "/v1/responses"


def speaker_for(path: str, versioned: bool, identity: str, now: int) -> Speaker:
    """Return the speaker of the dialect that a path belongs to.

    ``versioned`` where the request has a version of Anthropic's.
    """
    if path.startswith("/v1/messages") or (path.startswith("/v1/models") and versioned):
        return Anthropic(identity, now)
    if path == RESPONSES or path.startswith(RESPONSES + "/"):
        return Responses(identity, now)
    return OpenAI(identity, now)


class Operations:
    """All operations, with what the backend remembers between requests.

    Each raises KeyError, TypeError, ValueError or AttributeError where a request is malformed.
    """

    def __init__(self) -> None:
        self._memory = Memory()
        self._cache = PromptCache()
        self.posted: dict[str, Callable[..., Scene]] = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completions,
            "/v1/messages": self._messages,
            "/v1/messages/count_tokens": self._count_messages,
            "/v1/embeddings": self._embeddings,
            RESPONSES: self._responses,
            RESPONSES + "/input_tokens": self._count_responses,
            RESPONSES + "/compact": self._compact,
        }
        """Path -> the operation that is posted there."""

    def stored(self, method: str, path: str, speaker: Speaker) -> Scene | None:
        """Return what is answered to a request for a stored response; None for any other request.

        Raises Refused where there is no such response.
        """
        begins = RESPONSES + "/resp_"
        if not path.startswith(begins) or method not in ("GET", "DELETE"):
            return None
        id = path.removeprefix(RESPONSES + "/")
        kept = self._memory.responses.get(id)
        if kept is None:
            raise Refused(f"Response with id '{id}' not found.", "id", status=404)
        if method == "GET":
            return faults.unary("", speaker, kept.response)
        del self._memory.responses[id]
        return faults.unary("", speaker, {"id": id, "object": "response", "deleted": True})

    def _chat(self, speaker: OpenAI, body: JSON) -> Scene:
        ask = self._cached(read_openai(body), chat_words(body), keeps_whole(body))
        return _played(speaker, ask, answer(ask))

    def _messages(self, speaker: Anthropic, body: JSON) -> Scene:
        ask = self._cached(
            read_anthropic(body), messages_words(body), bool(body.get("cache_control"))
        )
        return _played(speaker, ask, answer(ask))

    def _responses(self, speaker: Responses, body: JSON) -> Scene:
        ask, items = read_responses(body, self._memory)
        words = responses_words(body, items)
        ask = self._cached(ask, words, keeps_whole(body))
        said = answer(ask)
        if items and items[-1].get("type") == "compaction_trigger":
            said = replace(said, compacts=True, calls=(), pieces=(), stop="end")
        self._memory.note(items, speaker.whole(ask, said))
        return _played(speaker, ask, said)

    def _completions(self, speaker: OpenAI, body: JSON) -> Scene:
        ask = read_completion(body)
        said = answer(ask)
        if ask.stream:
            return faults.streamed(ask.model, speaker, speaker.completion_events(ask, said))
        return faults.unary(ask.model, speaker, speaker.completion(ask, said))

    def _count_messages(self, speaker: Anthropic, body: JSON) -> Scene:
        ask = read_anthropic(body, counting=True)
        return faults.unary(ask.model, speaker, {"input_tokens": ask.prompt})

    def _count_responses(self, speaker: Responses, body: JSON) -> Scene:
        ask, _ = read_responses(body, self._memory, fields.COUNT)
        counted = {"object": "response.input_tokens", "input_tokens": ask.prompt}
        return faults.unary(ask.model, speaker, counted)

    def _compact(self, speaker: Responses, body: JSON) -> Scene:
        ask, items = read_responses(body, self._memory, fields.COMPACT)
        kept = [
            {"type": "message", "role": item["role"], "content": _as_parts(item["content"])}
            for item in items
            if item.get("role") == "user"
        ]
        return faults.unary(ask.model, speaker, speaker.compaction(ask, answer(ask), kept))

    def _embeddings(self, speaker: OpenAI, body: JSON) -> Scene:
        return faults.unary(body["model"], speaker, embeddings(body))

    def _cached(self, ask: Ask, words: Iterator[str], whole: bool) -> Ask:
        """Return ``ask``, counted by the prompt cache where the model's name asks for one."""
        if MODEL not in ask.model:
            return ask
        count, had, written = self._cache.read(ask.model, words, whole=whole)
        return replace(ask, prompt=count, cached=had, written=written)


def _as_parts(content: object) -> object:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _played(speaker: Speaker, ask: Ask, said: Said) -> Scene:
    model = ask.model
    if model == "stream-for-json" or (ask.stream and model != "json-for-stream"):
        return faults.streamed(model, speaker, speaker.events(ask, said))
    return faults.unary(model, speaker, speaker.whole(ask, said))
