"""The OpenAI Chat Completions dialect as one adapter, for the catalog."""

from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.base import Tap
from lmbroker.translation.dialects.openai import errors
from lmbroker.translation.dialects.openai_chat import (
    decode_request,
    encode_request,
    response,
    stream_encode,
)
from lmbroker.translation.dialects.openai_chat.facts import FACTS
from lmbroker.translation.dialects.openai_chat.stream_decode import OpenAIDecoder
from lmbroker.translation.dialects.openai_chat.stream_encode import OpenAIEncoder
from lmbroker.translation.dialects.openai_chat.tap import OpenAITap


class OpenAIChat:
    """The adapter of this dialect (``base.Adapter``).

    Each method is documented in its own module.
    """

    facts = FACTS

    decode_request = staticmethod(decode_request.decode_request)
    encode_request = staticmethod(encode_request.encode_request)
    decode_response = staticmethod(response.decode_response)
    gist = staticmethod(response.gist)
    tool_calls = staticmethod(response.tool_calls)
    encode_response = staticmethod(response.encode_response)
    decode_error = staticmethod(errors.decode_error)
    encode_error = staticmethod(errors.encode_error)
    reworded_overflow = staticmethod(errors.reworded_overflow)
    decoder = OpenAIDecoder
    encoder = OpenAIEncoder
    tap = OpenAITap

    def ping(self, started: bool) -> bytes:
        """Return the bytes of a keep-alive ping inside a stream."""
        return stream_encode.PING

    def stream_error(self, error: ErrorInfo, request_id: str, tap: Tap | None = None) -> bytes:
        """Return the bytes of the error event that ends a broken stream."""
        return stream_encode.stream_error(error)
