"""The Anthropic Messages dialect, as the rest of the house sees it."""

from collections.abc import Mapping

from lmbroker.adapters.anthropic_messages import errors, response, stream_encode
from lmbroker.adapters.anthropic_messages.decode_request import decode_request
from lmbroker.adapters.anthropic_messages.encode_request import encode_request
from lmbroker.adapters.anthropic_messages.stream_decode import AnthropicDecoder
from lmbroker.adapters.anthropic_messages.stream_encode import AnthropicEncoder
from lmbroker.adapters.anthropic_messages.tap import AnthropicTap
from lmbroker.adapters.base import JSON, Decoder, Encoder, Reply, Tap
from lmbroker.errors import ErrorInfo
from lmbroker.losses import Losses
from lmbroker.profiles import Profile
from lmbroker.unified.request import Request
from lmbroker.unified.response import Response, Usage


class AnthropicMessages:
    """See ``base.Adapter``; each method's rules stand in the module that it calls."""

    dialect = "anthropic"

    def decode_request(self, body: JSON) -> Request:
        return decode_request(body)

    def encode_request(self, request: Request, profile: Profile, losses: Losses) -> JSON:
        return encode_request(request, profile, losses)

    def decode_response(self, body: JSON) -> Response:
        return response.decode_response(body)

    def gist(self, body: JSON) -> tuple[Usage | None, str]:
        return response.gist(body)

    def encode_response(self, answer: Response, reply: Reply) -> JSON:
        return response.encode_response(answer, reply)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ErrorInfo:
        return errors.decode_error(status, headers, body)

    def encode_error(self, error: ErrorInfo, request_id: str) -> tuple[int, JSON]:
        return errors.encode_error(error, request_id)

    def decoder(self) -> Decoder:
        return AnthropicDecoder()

    def encoder(self, reply: Reply) -> Encoder:
        return AnthropicEncoder(reply)

    def tap(self, choices: int = 1) -> Tap:
        return AnthropicTap()

    def ping(self, started: bool) -> bytes:
        return stream_encode.PING if started else stream_encode.COMMENT

    def stream_error(self, error: ErrorInfo, request_id: str) -> bytes:
        return stream_encode.stream_error(error, request_id)
