"""Of what the broker placed itself, nothing is lost."""

from typing import Any

import pytest

from lmbroker.translation.dialects.openai_chat.decode_request import decode_request
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.workflows.fitting import fit


@pytest.mark.parametrize(
    ("omitted", "asked", "expected"),
    [
        ("max_tokens", {}, ()),
        ("max_tokens", {"max_tokens": 5}, ("max_tokens",)),
        ("temperature", {"temperature": 0.5}, ("temperature",)),
        ("thinking", {}, ()),
        ("thinking", {"reasoning_effort": "low"}, ("reasoning_effort",)),
        ("stream_options", {"stream": True}, ()),
        ("metadata", {"user": "u"}, ("user",)),
    ],
)
def test_what_is_left_out_is_reported_where_the_client_asked_for_it(
    omitted: str, asked: dict[str, Any], expected: tuple[str, ...]
) -> None:
    request = decode_request(
        {"model": "m", "messages": [{"role": "user", "content": "a"}], **asked}
    )
    body: dict[str, Any] = {"messages": [], omitted: {"x": 1}}
    losses = Losses()
    fit(body, request, profile("anthropic", "m", {"omit": [omitted]}), losses)
    assert omitted not in body
    assert losses.dropped == expected
