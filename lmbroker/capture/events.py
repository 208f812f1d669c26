"""The events of a captured call, one line of JSON each.

``at`` is in seconds since the call began. A body stands in ``text`` where it is UTF-8, and in
``base64`` otherwise. docs/capture.md describes the file for those who read it.
"""

from binascii import Error as NotBase64
from typing import Any

import msgspec

from lmbroker.call import Dialect, Mode, Operation, WorkflowName
from lmbroker.errors import ErrorInfo
from lmbroker.usage import Usage

FORMAT = 1
"""The version of the format; others are not read."""

Headers = dict[str, str]
"""The first value of each header, by its name in lower case."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """Something that happened, ``at`` seconds after the call began."""

    at: float

    def __repr__(self) -> str:
        """Show nothing that anybody sent."""
        return f"{type(self).__name__}(at={self.at!r})"


class Began(Event, frozen=True, kw_only=True, tag="call"):
    """The request, as it was received. ``asked`` is the model's name as the client wrote it."""

    format: int
    version: str
    """The broker's."""
    time: str
    """The time of day in UTC (RFC 3339)."""
    id: str
    operation: Operation
    dialect: Dialect
    asked: str
    alias: str
    caller: str
    stream: bool
    mode: Mode | None = None
    path: str = ""
    query: str = ""
    headers: Headers = {}
    data: bytes = b""


class Tried(Event, frozen=True, kw_only=True, tag="attempt"):
    """An attempt, and on which terms: what decides what is sent besides the request itself.

    ``without`` are headers of the client that this attempt does not see, ``overrides`` is the
    configured and learned profile, ``ratio`` what the backend counts for each estimated token.
    """

    backend: str
    url: str
    model: str
    dialect: Dialect
    also: Dialect = ""
    also_translated: bool = False
    omit_attribution: bool = False
    exact_root: bool = False
    clients_key: bool = False
    passthrough_errors: Any = "known-words"
    workflow: WorkflowName
    asked: str
    long_context: bool = False
    without: tuple[str, ...] = ()
    mode: Mode = "default"
    overrides: dict[str, Any] = {}
    ratio: float = 1.0


class Sent(Event, frozen=True, kw_only=True, tag="sent"):
    """The request, as a backend gets it. ``own`` are the headers that the configuration brings."""

    method: str
    url: str
    headers: Headers
    own: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    data: bytes = b""


class Answered(Event, frozen=True, kw_only=True, tag="answer"):
    """The head of a backend's answer.

    ``now``: unix seconds, for what the client gets of it; ``longest``: the most bytes of an event.
    """

    status: int
    headers: Headers
    now: int
    longest: int


class Chunk(Event, frozen=True, kw_only=True, tag="chunk"):
    """A piece of the backend's answer, as it came."""

    data: bytes


class BodyEnded(Event, frozen=True, kw_only=True, tag="body_end"):
    """The body of the backend's answer has ended, whole or not."""

    whole: bool


class Closed(Event, frozen=True, kw_only=True, tag="close"):
    """The broker took the backend's stream for ended."""


class Broke(Event, frozen=True, kw_only=True, tag="fail"):
    """The broker ended a stream with an error of its own: a timeout, mostly."""

    error: ErrorInfo


class Pinged(Event, frozen=True, kw_only=True, tag="ping"):
    """The broker gave a keep-alive ping into a stream that had begun."""


class Failed(Event, frozen=True, kw_only=True, tag="failed"):
    """The attempt failed."""

    error: ErrorInfo
    phase: str = ""


class Head(Event, frozen=True, kw_only=True, tag="head"):
    """Status and headers of the client's answer."""

    status: int
    headers: tuple[tuple[str, str], ...]


class Out(Event, frozen=True, kw_only=True, tag="out"):
    """What was written to the client. ``early``: before there was an answer, to keep it alive."""

    data: bytes
    early: bool = False


class Refusal(Event, frozen=True, kw_only=True, tag="error"):
    """The error that the client got in the place of an answer."""

    error: ErrorInfo
    native: int | None = None
    """The status of the backend's own words, where they are passed on."""


class Ended(Event, frozen=True, kw_only=True, tag="end"):
    """How the call ended, in the words of the access log."""

    outcome: str | None
    status: int
    code: str = ""
    bytes_out: int = 0
    usage: Usage | None = None
    cost: int | None = None
    stop: str = ""
    dropped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    repairs: int = 0


AnyEvent = (
    Began
    | Tried
    | Sent
    | Answered
    | Chunk
    | BodyEnded
    | Closed
    | Broke
    | Pinged
    | Failed
    | Head
    | Out
    | Refusal
    | Ended
)

_encode = msgspec.json.Encoder().encode
_binary = msgspec.msgpack.Encoder().encode
_from_binary = msgspec.msgpack.Decoder(list[AnyEvent]).decode
_plain = msgspec.json.Decoder(dict[str, Any]).decode


class NotCaptured(ValueError):
    """A line is none of a captured call."""


def line(event: Event) -> bytes:
    """Return ``event`` as a line of JSON, without the line's end."""
    fields = msgspec.to_builtins(event, builtin_types=(bytes,))
    error = fields.get("error")
    if error is not None:
        fields["error"] = {name: each for name, each in error.items() if each not in (None, False)}
    data = fields.pop("data", None)
    if data is not None:
        try:
            fields["text"] = data.decode("utf-8")
        except UnicodeDecodeError:
            fields["base64"] = data
    return _encode(fields)


def event_of(line: bytes) -> AnyEvent:
    """Return the event of a line. Raises NotCaptured."""
    try:
        fields = _plain(line)
        text, coded = fields.pop("text", None), fields.pop("base64", None)
        if text is not None:
            fields["data"] = text.encode("utf-8")
        elif coded is not None:
            fields["data"] = msgspec.convert(coded, bytes)
        event: AnyEvent = msgspec.convert(fields, AnyEvent, builtin_types=(bytes,))
    except (msgspec.MsgspecError, ValueError, AttributeError, NotBase64, RecursionError) as error:
        raise NotCaptured("this is no line of a captured call") from error
    return event


def packed(events: list[Event]) -> bytes:
    """Return ``events`` as bytes, for ``unpacked``."""
    return _binary(events)


def unpacked(data: bytes) -> list[AnyEvent]:
    """Return the events that ``packed`` has encoded."""
    return _from_binary(data)
