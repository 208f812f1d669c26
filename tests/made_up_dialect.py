"""A dialect that nobody speaks, as small as one can be: the folder of a new dialect, in one module.

A request is ``{"model", "say": [{"by": "me" | "it", "words"}], "most", "stream"}``, an answer is
``{"words", "why": "done" | "cut", "spent": [in, out]}``. A stream has ``{"words"}`` for each piece
and ends with ``{"why", "spent"}``. An error is ``{"oops": {"what", "words"}}``.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lmbroker import json_text
from lmbroker.errors import Broken, ErrorInfo, Refused
from lmbroker.headers import HeaderFacts, Pairs
from lmbroker.json_text import JSON
from lmbroker.sse import Frame, encode_data, split
from lmbroker.translation.dialects.base import Facts, Reading, Reply
from lmbroker.translation.losses import Losses
from lmbroker.translation.model_lists import ModelListFacts, ShownModel
from lmbroker.translation.profiles.profile import Profile, ProfileTable
from lmbroker.translation.rate_limit_headers import RateLimit, RateLimitFacts
from lmbroker.translation.unified.parts import TextPart
from lmbroker.translation.unified.request import Request, Turn
from lmbroker.translation.unified.response import Response, Stop
from lmbroker.translation.unified.stream import (
    Error,
    Finish,
    PartDelta,
    PartStart,
    PartStop,
    Start,
    StreamEvent,
)
from lmbroker.usage import Usage

NAME = "made-up"

TRUNCATED = ErrorInfo(kind="truncated", message="the backend's answer was cut off")
ROLES = {"me": "user", "it": "assistant"}
WHY = {"end": "done", "max_tokens": "cut"}
REASONS: dict[str, Any] = {why: reason for reason, why in WHY.items()}


# Facts.


def credential(key: str, host: str) -> Pairs:
    return (("made-up-key", key),)


def read_limits(headers: Mapping[str, str], now: float) -> Sequence[RateLimit]:
    return [RateLimit(of="requests", remaining=headers.get("made-up-left"))]


def write_limits(limits: Any, now: float) -> Pairs:
    return tuple(
        ("made-up-left", each.remaining)
        for each in limits
        if each.of == "requests" and each.remaining is not None
    )


def entry(model: ShownModel) -> JSON:
    return {"called": model.name}


def page(models: Sequence[ShownModel], more: bool) -> JSON:
    return {"how_many": len(models)}


def read_list(body: bytes) -> tuple[Sequence[str], str]:
    names = json.loads(body)["names"]
    return names, names[-1] if len(names) == 2 else ""


NOTHING_KEPT = ErrorInfo(kind="invalid_request", message="nothing is kept here; ask again")

FACTS = Facts(
    name=NAME,
    client_paths={
        "/made-up/ask": "chat",
        "/made-up/count": "count_tokens",
        "/made-up/compact": "compact",
    },
    own_paths=("/made-up/",),
    unserved={"/made-up/kept/": NOTHING_KEPT},
    own_headers=("made-up-version",),
    paths={
        "chat": "/ask",
        "count_tokens": "/count",
        "compact": "/compact",
        "models": "/list",
    },
    headers=HeaderFacts(
        request_id="made-up-id",
        credential=credential,
        version=("made-up-version", "7"),
        passed=frozenset({"made-up-mood"}),
    ),
    models=ModelListFacts(
        entry=entry,
        page=page,
        key="catalogue",
        query="of=all",
        after="behind",
        read=read_list,
    ),
    counted=lambda tokens: {"how_long": tokens},
    rate_limits=RateLimitFacts(prefixes=("made-up-left",), read=read_limits, write=write_limits),
    profiles=ProfileTable(unknown=Profile(max_output=77), families=(("tiny", {"max_output": 7}),)),
)


# Adapter.


def usage_of(value: JSON) -> Usage | None:
    spent = value.get("spent")
    return Usage(input=spent[0], output=spent[1]) if spent else None


def ending(stop: Stop, usage: Usage | None) -> JSON:
    spent = [usage.input, usage.output] if usage is not None else None
    return {"why": WHY.get(stop.reason, stop.reason), "spent": spent}


def error_of(value: JSON, status: int = 0) -> ErrorInfo:
    oops = value.get("oops") or {}
    return ErrorInfo(
        kind=oops.get("what", "server"),
        message=oops.get("words", "?"),
        status=status,
        quoted=True,
    )


def oops(error: ErrorInfo) -> JSON:
    return {"oops": {"what": error.kind, "words": error.message}}


class Decoder:
    def __init__(self) -> None:
        self.stopped = False
        self._open = self._ended = False

    def feed(self, frame: Frame) -> list[StreamEvent]:
        if self._ended:
            return []
        value = json.loads(frame.data)
        events: list[StreamEvent] = []
        if "oops" in value:
            self._ended = True
            return [Error(error_of(value))]
        if not self._open:
            self._open = True
            events += [Start("", ""), PartStart(0, TextPart(text=""))]
        if "words" in value:
            events.append(PartDelta(0, "text", value["words"]))
        if "why" in value:
            self.stopped = self._ended = True
            stop = Stop(reason=REASONS[value["why"]], raw=value["why"])
            events += [PartStop(0), Finish(stop, usage_of(value))]
        return events

    def close(self) -> list[StreamEvent]:
        if self._ended:
            return []
        self._ended = True
        return [Error(TRUNCATED)]


class Encoder:
    def feed(self, event: StreamEvent) -> bytes:
        if isinstance(event, PartDelta) and event.kind == "text":
            return data({"words": event.value})
        if isinstance(event, Finish):
            return data(ending(event.stop, event.usage))
        return data(oops(event.error)) if isinstance(event, Error) else b""


class Tap:
    def __init__(self) -> None:
        self.started = self.stopped = self.complete = self.recognised = self.waits = False
        self.error: ErrorInfo | None = None
        self.stop = ""
        self.tool_calls = 0
        self.text_bytes = 0
        self.usage: Usage | None = None

    def see(self, block: bytes) -> int:
        for each in split(block):
            value = json.loads(each.removeprefix(b"data: "))
            if "oops" in value:
                self.error, self.recognised = error_of(value), True
                continue
            self.started = True
            self.text_bytes += len(value.get("words", ""))
            if "why" in value:
                self.stop, self.usage = REASONS[value["why"]], usage_of(value)
                self.stopped = self.complete = True
        return len(block)

    def without_usage(self, block: bytes) -> bytes:
        return block

    def close(self) -> ErrorInfo | bytes:
        return TRUNCATED


class MadeUp:
    facts = FACTS

    def decode_request(self, body: JSON) -> Request:
        if not isinstance(body.get("say"), list):
            raise Refused("invalid_request", "'say' must be a list", param="say")
        turns = tuple(
            Turn(role=ROLES[each["by"]], parts=(TextPart(text=each["words"]),))  # type: ignore[arg-type]
            for each in body["say"]
        )
        return Request(
            dialect=NAME,
            model=body["model"],
            turns=turns,
            max_tokens=body.get("most"),
            stream=body.get("stream", False),
            stream_usage=True,
            paths={"max_tokens": "most"},
        )

    def encode_request(self, request: Request, profile: Profile, losses: Losses) -> JSON:
        roles = {role: name for name, role in ROLES.items()}
        say = [
            {"by": roles[turn.role], "words": part.text}
            for turn in request.turns
            for part in turn.parts
            if isinstance(part, TextPart)
        ]
        if request.tools:
            losses.drop("tools")
        most = request.max_tokens or profile.max_output
        stream = {"stream": True} if request.stream else {}
        return {"model": request.model, "say": say, "most": most, **stream}

    def decode_response(self, body: JSON, reading: Reading | None = None) -> Response:
        if "words" not in body:
            raise Broken(ErrorInfo(kind="bad_upstream", message="no words"))
        return Response(
            id="",
            model="",
            parts=(TextPart(text=body["words"]),),
            stop=Stop(reason=REASONS[body["why"]]),
            usage=usage_of(body),
        )

    def gist(self, body: JSON) -> tuple[Usage | None, str]:
        return usage_of(body), REASONS.get(body.get("why", ""), "")

    def tool_calls(self, body: JSON) -> int:
        return 0

    def encode_response(self, response: Response, reply: Reply) -> JSON:
        words = "".join(part.text for part in response.parts if isinstance(part, TextPart))
        return {"words": words, **ending(response.stop, response.usage)}

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ErrorInfo:
        return error_of(json.loads(body), status)

    def encode_error(self, error: ErrorInfo, request_id: str) -> tuple[int, JSON]:
        return (460 if error.kind in ("invalid_request", "not_found") else 560), oops(error)

    def reworded_overflow(self, value: JSON, error: ErrorInfo, request_id: str) -> JSON | None:
        return None

    def decoder(self, reading: Reading | None = None) -> Decoder:
        return Decoder()

    def encoder(self, reply: Reply) -> Encoder:
        return Encoder()

    def tap(self, choices: int = 1) -> Tap:
        return Tap()

    def ping(self, started: bool) -> bytes:
        return b": ping\n\n"

    def stream_error(self, error: ErrorInfo, request_id: str, tap: Tap | None = None) -> bytes:
        return data(oops(error))


def data(value: JSON) -> bytes:
    """One event of a stream."""
    return encode_data(json_text.encode(value))
