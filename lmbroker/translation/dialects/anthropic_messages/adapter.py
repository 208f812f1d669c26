"""The Anthropic Messages dialect as one adapter, for the catalog."""

from lmbroker.errors import ErrorInfo
from lmbroker.translation.dialects.anthropic_messages import (
    decode_request,
    encode_request,
    errors,
    response,
    stream_encode,
)
from lmbroker.translation.dialects.anthropic_messages.facts import FACTS
from lmbroker.translation.dialects.anthropic_messages.stream_decode import AnthropicDecoder
from lmbroker.translation.dialects.anthropic_messages.stream_encode import AnthropicEncoder
from lmbroker.translation.dialects.anthropic_messages.tap import AnthropicTap
from lmbroker.translation.dialects.base import Tap


class AnthropicMessages:
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
    decoder = AnthropicDecoder
    encoder = AnthropicEncoder
    tap = AnthropicTap

    def ping(self, started: bool) -> bytes:
        """Return the bytes of a keep-alive ping: a ``ping`` event.

        Before ``message_start`` it is a comment.
        """
        return stream_encode.PING if started else stream_encode.COMMENT

    def stream_error(self, error: ErrorInfo, request_id: str, tap: Tap | None = None) -> bytes:
        """Return the bytes of the error event that ends a broken stream."""
        return stream_encode.stream_error(error, request_id)
