"""Translation: client dialect -> Unified Model -> backend dialect, and back.

Losses are decided while the request is encoded, so that ``outbound`` refuses before any
backend is called, and the headers ``x-lmbroker-dropped`` and ``x-lmbroker-changed`` are known
before the first byte.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lmbroker import envelope, headers, json_text
from lmbroker.call import Call, Mode, Target, WorkflowName
from lmbroker.errors import BackendRefused, ErrorInfo, Refused
from lmbroker.json_text import JSON
from lmbroker.redaction import redact
from lmbroker.sse import EVENT_LIMIT
from lmbroker.translation.dialects.base import Adapter, Reading, Reply
from lmbroker.translation.losses import AnswerLosses, Losses, located
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.shared.names import renamed, wire_name
from lmbroker.translation.unified.counting import call_bytes, estimate_input
from lmbroker.translation.unified.parts import ToolCallPart
from lmbroker.translation.unified.request import Request
from lmbroker.workflows import continuation, conversion
from lmbroker.workflows.beginnings import LEAST, Beginning, Beginnings, Way
from lmbroker.workflows.contract import Asked, Outbound, Transform, Unary
from lmbroker.workflows.fitting import fit
from lmbroker.workflows.learned_rejections import Repair
from lmbroker.workflows.repairs import repair_of
from lmbroker.workflows.repairs.case import LIMIT_FIELDS
from lmbroker.workflows.repairs.limits import LEAST_ROOM
from lmbroker.workflows.transforms import TranslatedStream

SPARE = 64
"""Tokens of a window that stay free, since a prompt's tokens are only estimated."""

KEPT = 16 * 1024
"""The largest request, in bytes, whose decoded parts are kept until its answer is here: they take
many times as much memory. Those of others are decoded again when they are needed."""


class Translation:
    """See ``contract.Workflow``."""

    name: WorkflowName = "translation"
    ratio = 1.0
    beginnings: Beginnings | None = None
    """Remembers beginnings of conversations; None: each request is translated as a whole."""

    def __init__(
        self,
        call: Call,
        target: Target,
        client: Adapter,
        backend: Adapter,
        *,
        mode: Mode,
        overrides: Mapping[str, Any] | None,
    ) -> None:
        self._call = call
        self._target = target
        self._client = client
        self._backend = backend
        self._losses = Losses(mode, model=call.asked, dialect=target.backend.dialect)
        self._request: Request | None = None
        self._body: JSON | None = None
        self._asked_reply: Reply | None = None
        self._tokens: int | None = None
        self._before: Beginning | None = None
        """What stood before the turns of ``_request``."""
        self._continued: continuation.Continued | None = None
        self._messages = b""
        """The text of the client's messages, where these may have a known beginning."""
        self._window: int | None = (overrides or {}).get("context")
        self._overrides = overrides
        host = target.backend.host
        self._profile = profile(target.backend.dialect, target.model, overrides, host=host)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Paths of what the backend did not get."""
        return self._losses.dropped

    @property
    def changed(self) -> tuple[str, ...]:
        """Paths of what the backend got in another form."""
        return self._losses.changed

    def outbound(self) -> Outbound:
        """Return the request in the backend's dialect. Raises Refused."""
        if self.beginnings is None:
            outbound = self._whole()
        else:
            self._look_up()
            continued = None if self._continued is None else self._behind(self._continued)
            outbound = continued or self._whole()
            if self._messages:
                self._learn(self.beginnings, outbound)
        if len(self._call.body) > KEPT:
            self._asked_reply = self._reply(0, AnswerLosses())
            if self._call.stream:
                self._unscaled()
            self._let_go()
        return outbound

    def _let_go(self) -> None:
        """Keep nothing of the request; what must be known of it later is read anew."""
        self._request = self._body = self._before = self._continued = self.beginnings = None
        self._messages = b""

    def _whole(self) -> Outbound:
        """Return the request, all of it translated. Raises Refused."""
        request = self._asked()
        try:
            body = self._backend.encode_request(request, self._profile, self._losses)
        except Refused as refusal:
            refused = self._losses.refused
            if refused is None:
                raise
            raise located(refusal, refused, envelope.decode(self._call.body)) from None
        except RecursionError:
            raise envelope.nests_too_deeply() from None
        self._finish(body, request)
        self._body = body
        return self._made(json_text.encode(body), body)

    def _finish(self, body: JSON, request: Request) -> None:
        """Put into ``body`` what the profile and the window say of it."""
        body["model"] = self._target.model
        fit(body, request, self._profile, self._losses)
        if self._window is not None:
            self._leave_room(body, request, self._window)
        must_stream = self._backend.facts.must_stream
        if not self._call.stream and must_stream is not None and must_stream(body):
            body["stream"] = True

    def _made(self, text: bytes, body: JSON) -> Outbound:
        call = self._call
        return Outbound(
            path=self._backend.facts.paths[call.operation],
            headers=headers.to_backend(
                call,
                self._backend.facts.headers,
                native=False,
                stream=call.stream or body.get("stream") is True,
                model=self._target.model,
            ),
            body=text,
        )

    # Requests with a known beginning.

    def unknown_part(self) -> bytes:
        """Return what of the body must be read: all but a known beginning of the conversation."""
        self._look_up()
        continued, fields = self._continued, self._call.fields
        if continued is None or fields is None:
            return self._call.body
        others = [bytes(raw) for name, raw in fields.items() if name != continuation.MESSAGES]
        return b"".join((self._messages[len(continued.beginning.came) :], *others))

    def _look_up(self) -> None:
        """Look for a known beginning of the conversation, once."""
        beginnings, call = self.beginnings, self._call
        if beginnings is None or call.fields is None or self._messages:
            return
        messages = b""
        if self._losses.mode != "strict" and continuation.is_possible(
            self._client, self._backend, self._profile
        ):
            messages = envelope.text_of(call.body, call.fields, continuation.MESSAGES)
        if len(messages) < LEAST or not messages:
            self.beginnings = None
            return
        self._messages = messages
        found = beginnings.find(self._way(), self._messages)
        if found is not None:
            self._continued = continuation.after(found, self._messages, call, self._client)

    def _way(self) -> Way:
        return Way(
            self._call.caller.name,
            self._call.dialect,
            self._target.backend.dialect,
            self._target.model,
            self._losses.mode,
            self._profile,
        )

    def _behind(self, continued: continuation.Continued) -> Outbound | None:
        """Return the request, of which only what stands behind a beginning is translated.

        It is None where all of it must be.
        """
        before, losses = self._losses, Losses(self._losses.mode, model=self._call.asked)
        self._request, self._before, self._losses = continued.request, continued.beginning, losses
        body = continuation.encode(continued, self._backend, losses)
        if body is not None:
            try:
                self._finish(body, continued.request)
                return self._made(json_text.encode_text(body), body)
            except (Refused, UnicodeEncodeError):
                pass
        self._request, self._before, self._losses, self._tokens = None, None, before, None
        return None

    def _learn(self, beginnings: Beginnings, outbound: Outbound) -> None:
        """Remember a longer beginning by which the request becomes the same, byte for byte."""
        messages, before, way = self._messages, self._before, self._way()
        more = len(messages) - (0 if before is None else len(before.came))
        if more < 2 * continuation.LEAST_MORE or not beginnings.wants(way, messages):
            return
        client, backend = self._client, self._backend
        longer = continuation.learned(way, messages, before, client, backend)
        proven = longer is not None and self._proves(longer, outbound)
        if not (proven and longer and beginnings.keep(longer, before, messages)):
            beginnings.vain(way, messages)

    def _proves(self, beginning: Beginning, outbound: Outbound) -> bool:
        """Return whether the request behind ``beginning`` becomes the same as without it."""
        continued = continuation.after(beginning, self._messages, self._call, self._client)
        if continued is None:
            return False
        other = Translation(
            self._call,
            self._target,
            self._client,
            self._backend,
            mode=self._losses.mode,
            overrides=self._overrides,
        )
        made = other._behind(continued)
        losses = AnswerLosses()
        return made == outbound and (
            (other.dropped, other.changed, other._unscaled(), other._reply(0, losses))
            == (self.dropped, self.changed, self._unscaled(), self._reply(0, losses))
        )

    def asked(self) -> Asked:
        """Return what the answer needs of the request. Raises Refused."""
        return Asked(
            dropped=self._losses.dropped,
            changed=self._losses.changed,
            reply=self._reply(0, AnswerLosses()),
            tokens=self._unscaled(),
        )

    def recall(self, asked: Asked) -> None:
        """Take over what another workflow found in the request."""
        self._losses.recall(asked.dropped, asked.changed)
        self._asked_reply = asked.reply
        self._tokens = asked.tokens

    def opaque(self, content_type: str) -> bool:
        """Return False: the answer is JSON or a stream."""
        return False

    @conversion.of_an_answer
    def unary(self, body: bytes, *, now: int) -> Unary:
        """Return the answer in the client's dialect. Raises Broken or BackendRefused."""
        reading = self._reading()
        response = conversion.response_of(self._backend, body, reading)
        if response.usage is None:
            response = conversion.estimated(
                response, self._estimate_input, call_bytes(self._target.model)
            )
        return conversion.encode_unary(self._client, response, self._reply(now, reading.losses))

    @conversion.of_an_answer
    def fold(self, body: bytes, *, now: int) -> Unary:
        """Return a backend's stream as one answer. Raises Broken or BackendRefused."""
        reading = self._reading()
        response = conversion.fold_stream(self._backend, body, reading)
        response = conversion.estimated(
            response, self._estimate_input, call_bytes(self._target.model)
        )
        return conversion.encode_unary(self._client, response, self._reply(now, reading.losses))

    @conversion.of_an_answer
    def unfold(self, body: bytes, *, now: int) -> Unary:
        """Return a backend's one answer as a stream. Raises Broken or BackendRefused."""
        reading = self._reading()
        response = conversion.response_of(self._backend, body, reading)
        response = conversion.estimated(
            response, self._estimate_input, call_bytes(self._target.model)
        )
        return conversion.encode_stream(self._client, response, self._reply(now, reading.losses))

    def transform(self, *, now: int, longest: int = EVENT_LIMIT) -> Transform:
        """Return the transform from the backend's stream to the client's.

        ``longest`` is the most bytes of an event.
        """
        # Counted now, though it is rarely needed: a stream may last for minutes, and must not keep
        # the request in memory.
        estimated = self._estimate_input()
        reading = self._reading()
        return TranslatedStream(
            self._backend.decoder(reading),
            self._client.encoder(self._reply(now, reading.losses)),
            self._client,
            lambda: estimated,
            self._target.backend.secrets,
            reading.losses,
            longest,
            call_bytes(self._target.model),
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendRefused:
        """Return what an HTTP error of the backend means, in the client's dialect."""
        backend = self._target.backend
        clean = redact(body, backend.secrets)
        info = conversion.backend_error(
            self._backend, status, headers, clean, clients_key=backend.clients_key
        )
        return BackendRefused(info, phase="answer")

    def repair(self, error: ErrorInfo) -> Repair | None:
        """Return what would make the backend take the request, None for nothing known."""
        body = self._body
        if body is None:
            request = self._asked()
            body = self._backend.encode_request(request, self._profile, Losses("lenient"))
            fit(body, request, self._profile, Losses("lenient"))
        return repair_of(error, body, self._profile, self._estimate_input)

    def _asked(self) -> Request:
        """Return what the client asked for. Raises Refused."""
        if self._request is None:
            body, halves = envelope.decode_exactly(self._call.body)
            for path in halves:
                self._losses.change(path, "it holds half a character")
            self._request = self._client.decode_request(body)
        return self._request

    def _leave_room(self, body: JSON, request: Request, window: int) -> None:
        """Limit the answer so that the prompt has its place in a window of known size.

        The size was named by the backend or by the user. Where nothing worth having is left the
        backend says so itself.
        """
        field = next((name for name in LIMIT_FIELDS if name in body), "")
        asked = body.get(field, 0)
        if asked + len(self._call.body) // 2 <= window:
            return
        room = window - self._estimate_input() * 11 // 10 - SPARE
        if LEAST_ROOM <= room < asked:
            body[field] = room
            if request.max_tokens is not None:
                self._losses.change(request.path("max_tokens"))

    @property
    def estimated(self) -> int:
        """The input tokens of the request by our own estimate, 0 where there is none."""
        return self._tokens or 0

    def _estimate_input(self) -> int:
        return round(self._unscaled() * self.ratio)

    def _unscaled(self) -> int:
        if self._tokens is None:
            before = (0, 0) if self._before is None else self._before.tokens
            self._tokens = estimate_input(self._asked(), self._target.model, before)
        return self._tokens

    def _reading(self) -> Reading:
        return Reading(think_tags=self._profile.think_tags)

    def _reply(self, now: int, losses: AnswerLosses) -> Reply:
        asked = self._asked_reply
        if asked is not None:
            return msgspec.structs.replace(asked, created=now, losses=losses)
        request = self._asked()
        names = {
            part.name
            for turn in request.turns
            for part in turn.parts
            if isinstance(part, ToolCallPart)
        }
        custom = frozenset[str]()
        namespaces: dict[str, str] = {}
        if request.tools:
            names.update(tool.name for tool in request.tools)
            custom = frozenset(
                wire_name(tool.name) for tool in request.tools if tool.kind == "custom"
            )
            namespaces = {
                tool.name: tool.namespace.name for tool in request.tools if tool.namespace
            }
        return Reply(
            model=self._call.asked,
            created=now,
            request_id=self._call.id,
            stream_usage=request.stream_usage,
            legacy_functions=request.legacy_functions,
            wants_tier=request.tier is not None,
            tool_names=renamed(names) if names else {},
            custom_tools=custom,
            namespaces=namespaces,
            echo=request.echo,
            stop=request.stop,
            tool_id=self._profile.tool_id,
            hide_reasoning=request.reasoning is not None and request.reasoning.display == "omitted",
            losses=losses,
        )
