"""The OpenAI Responses dialect as one adapter, for the catalog."""

from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.base import Tap
from lmbroker.translation.dialects.openai import errors as shared_errors
from lmbroker.translation.dialects.openai_responses import (
    decode_request,
    encode_request,
    errors,
    response_decode,
    response_encode,
    stream_encode,
)
from lmbroker.translation.dialects.openai_responses.facts import FACTS
from lmbroker.translation.dialects.openai_responses.stream_decode import ResponsesDecoder
from lmbroker.translation.dialects.openai_responses.stream_encode import ResponsesEncoder
from lmbroker.translation.dialects.openai_responses.tap import ResponsesTap


class OpenAIResponses:
    """The adapter of this dialect (``base.Adapter``).

    Each method is documented in its own module.
    """

    facts = FACTS

    decode_request = staticmethod(decode_request.decode_request)
    encode_request = staticmethod(encode_request.encode_request)
    decode_response = staticmethod(response_decode.decode_response)
    gist = staticmethod(response_decode.gist)
    tool_calls = staticmethod(response_decode.tool_calls)
    encode_response = staticmethod(response_encode.encode_response)
    decode_error = staticmethod(shared_errors.decode_error)
    encode_error = staticmethod(errors.encode_error)
    reworded_overflow = staticmethod(shared_errors.reworded_overflow)
    decoder = ResponsesDecoder
    encoder = ResponsesEncoder
    tap = ResponsesTap

    def ping(self, started: bool) -> bytes:
        """Return the bytes of a keep-alive ping inside a stream."""
        return stream_encode.PING

    def stream_error(self, error: ErrorInfo, request_id: str, tap: Tap | None = None) -> bytes:
        """Return the bytes of the events that end a broken stream."""
        return stream_encode.stream_error(error, request_id, tap)
