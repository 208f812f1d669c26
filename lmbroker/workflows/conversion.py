"""Whole answers between dialects, and between one JSON body and an event stream.

``client`` and ``backend`` may be the same adapter: a backend that answers in the other way
than asked is converted on the passthrough path too (translation.md 4.3, point 7).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import msgspec

from lmbroker import envelope, json_text
from lmbroker.errors import BackendRefused, Broken, ErrorInfo, Refused
from lmbroker.redaction import redact_error
from lmbroker.secret import Secret
from lmbroker.sse import Reader, SSEError
from lmbroker.translation.dialects.base import Adapter, Reading, Reply
from lmbroker.translation.refusals import stream_errors
from lmbroker.translation.refusals.error_kinds import NOT_LET_IN
from lmbroker.translation.unified.counting import tokens_of_answer
from lmbroker.translation.unified.fold import Folder
from lmbroker.translation.unified.fold import unfold as events_of
from lmbroker.translation.unified.parts import ReasoningPart, TextPart, ToolCallPart
from lmbroker.translation.unified.response import Response
from lmbroker.translation.unified.stream import Error
from lmbroker.usage import Usage
from lmbroker.workflows.contract import Unary

EVENT_STREAM = "text/event-stream; charset=utf-8"
TOO_DEEP = ErrorInfo(
    kind="bad_upstream",
    message="the backend's answer nests too deeply",
    code="bad_upstream_response",
)
P = ParamSpec("P")
_BROKEN = ("truncated", "bad_upstream")
"""Kinds of errors for streams in which the backend reported none."""


def bad_answer(message: str, code: str = "bad_upstream_response") -> Broken:
    """Return the error for a backend's answer that nobody can use."""
    return Broken(ErrorInfo(kind="bad_upstream", message=message, code=code), phase="answer")


def of_an_answer(step: Callable[P, Unary]) -> Callable[P, Unary]:
    """Return ``step`` so wrapped that it raises Broken for an answer that nests too deeply.

    Readers and writers reach different depths before the interpreter gives up.
    """

    @wraps(step)
    def stepped(*args: P.args, **more: P.kwargs) -> Unary:
        try:
            return step(*args, **more)
        except RecursionError:
            raise bad_answer(TOO_DEEP.message) from None

    return stepped


def object_of(
    body: bytes, secrets: Iterable[Secret | None] = (), *, exact: bool = False
) -> dict[str, Any]:
    """Return the JSON object of a backend's answer with status 200.

    ``exact``: with its numbers as they were written. Raises Broken, and BackendRefused for an error
    in the place of an answer, in which ``secrets`` are masked: all such errors are found here.
    """
    try:
        text = body.lstrip()
        answer = envelope.decode_exactly(text)[0] if exact else envelope.decode(text)
    except Refused:
        refused(body)
        raise bad_answer(
            "the backend's answer is not valid JSON", "invalid_json_from_backend"
        ) from None
    error = stream_errors.error_instead(answer)
    if error is not None:
        raise BackendRefused(redact_error(error, secrets), phase="answer")
    return answer


def refused(body: bytes) -> None:
    """Raise BackendRefused where a body reports an overload or a rate limit.

    It is a body that is no JSON object.
    """
    error = stream_errors.error_instead_of_json(body)
    if error is not None:
        raise BackendRefused(error, phase="answer")


def response_of(backend: Adapter, body: bytes, reading: Reading | None = None) -> Response:
    """Return the answer of a unary call.

    Texts with half a character in them are reported as changed. Raises Broken or BackendRefused.
    """
    if reading is not None and json_text.mended(body) is not None:
        for path in envelope.decode_exactly(body.lstrip())[1]:
            reading.losses.change(path)
    return backend.decode_response(object_of(body, exact=True), reading)


def fold_stream(backend: Adapter, body: bytes, reading: Reading | None = None) -> Response:
    """Return the answer that a whole event stream holds.

    Raises Broken when it is cut or malformed, BackendRefused when the stream holds an error.
    """
    folder, reader, decoder = Folder(), Reader(), backend.decoder(reading)
    try:
        frames = [*reader.feed(body), *reader.close()]
    except SSEError:
        raise bad_answer("the backend sent a stream event above the size limit") from None
    events = [event for frame in frames for event in decoder.feed(frame)] + decoder.close()
    for event in events:
        if isinstance(event, Error) and event.error.kind not in _BROKEN:
            raise BackendRefused(event.error, phase="answer")
        folder.feed(event)
    return folder.result()


def estimated(
    response: Response, estimate_input: Callable[[], int], call_bytes: int = 0
) -> Response:
    """Return ``response`` with estimated usage where the backend sent none (translation.md 3.3).

    ``call_bytes`` is what a tool call counts besides its texts.
    """
    if response.usage is not None:
        return response
    size = 0
    for part in response.parts:
        if isinstance(part, (TextPart, ReasoningPart)):
            size += len(part.text.encode(errors="replace"))
        elif isinstance(part, ToolCallPart):
            size += call_bytes + len(part.name)
            size += len((part.raw_args or "").encode(errors="replace"))
            size += len(json_text.encode(part.args)) if part.raw_args is None and part.args else 0
    usage = Usage(input=estimate_input(), output=tokens_of_answer(size), estimated=True)
    return msgspec.structs.replace(response, usage=usage)


def calls_in(response: Response) -> int:
    """Return how many tools an answer calls."""
    return sum(isinstance(part, ToolCallPart) for part in response.parts)


def encode_unary(client: Adapter, response: Response, reply: Reply) -> Unary:
    """Return one JSON body in the client's dialect."""
    body = json_text.encode(client.encode_response(response, reply))
    return Unary(
        body=body,
        usage=response.usage,
        stop=response.stop.reason,
        tool_calls=calls_in(response),
        dropped=reply.losses.dropped,
        changed=reply.losses.changed,
    )


def encode_stream(client: Adapter, response: Response, reply: Reply) -> Unary:
    """Return a whole event stream in the client's dialect."""
    encoder = client.encoder(reply)
    body = b"".join(encoder.feed(event) for event in events_of(response))
    return Unary(
        body=body,
        content_type=EVENT_STREAM,
        usage=response.usage,
        stop=response.stop.reason,
        tool_calls=calls_in(response),
        dropped=reply.losses.dropped,
        changed=reply.losses.changed,
    )


def fold(client: Adapter, backend: Adapter, body: bytes, reply: Reply) -> Unary:
    """Return an event stream as the answer to a unary call."""
    return encode_unary(client, fold_stream(backend, body), reply)


def unfold(client: Adapter, backend: Adapter, body: bytes, reply: Reply) -> Unary:
    """Return a JSON body as the answer to a streamed call."""
    return encode_stream(client, response_of(backend, body), reply)


def backend_error(
    backend: Adapter,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    clients_key: bool = False,
) -> ErrorInfo:
    """Return the meaning of a backend's HTTP error for the client.

    401 and 403, and whatever else says that a key is wrong, are about the broker's own credential:
    502 in our words (translation.md 5.2), unless it was the client's own (``clients_key``). A
    redirect is never followed. What the headers say about trying again is relayed in every case.
    """
    info = backend.decode_error(status, headers, body)
    ours: ErrorInfo | None = None
    of_the_key = status in (401, 403) or info.kind in ("auth", "permission")
    if of_the_key and not clients_key:
        ours = NOT_LET_IN
    elif not 400 <= status <= 599:
        ours = ErrorInfo(
            kind="bad_upstream",
            message=f"the backend answered with status {status}",
            code="redirect" if 300 <= status <= 399 else "bad_status",
        )
    if ours is None:
        return info
    return msgspec.structs.replace(
        info,
        kind=ours.kind,
        message=ours.message,
        code=ours.code,
        param=None,
        details=None,
        quoted=False,
    )
