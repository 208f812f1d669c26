"""The OpenAI Chat Completions dialect, as the rest of the house sees it."""

from collections.abc import Mapping

from lmbroker.adapters.base import JSON, Decoder, Encoder, Reply, Tap
from lmbroker.adapters.openai_chat import errors, response, stream_encode
from lmbroker.adapters.openai_chat.decode_request import decode_request
from lmbroker.adapters.openai_chat.encode_request import encode_request
from lmbroker.adapters.openai_chat.stream_decode import OpenAIDecoder
from lmbroker.adapters.openai_chat.stream_encode import OpenAIEncoder
from lmbroker.adapters.openai_chat.tap import OpenAITap
from lmbroker.errors import ErrorInfo
from lmbroker.losses import Losses
from lmbroker.profiles import Profile
from lmbroker.unified.request import Request
from lmbroker.unified.response import Response, Usage


class OpenAIChat:
    """See ``base.Adapter``; each method's rules stand in the module that it calls."""

    dialect = "openai"

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
        return OpenAIDecoder()

    def encoder(self, reply: Reply) -> Encoder:
        return OpenAIEncoder(reply)

    def tap(self, choices: int = 1) -> Tap:
        return OpenAITap(choices)

    def ping(self, started: bool) -> bytes:
        return stream_encode.PING

    def stream_error(self, error: ErrorInfo, request_id: str) -> bytes:
        return stream_encode.stream_error(error)
