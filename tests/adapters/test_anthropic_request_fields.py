"""Every key of every type that the installed SDK can send has a place or a class.

No list of keys stands here: bodies are made from the SDK's own types, one key and one value at
a time, and the decoder is asked which keys it did not know. What it knew must come back from a
backend of this dialect.
"""

from typing import Any

import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_count_tokens_params as beta_count_tokens_params
from anthropic.types.beta import message_create_params as beta_create_params
from sdk_types import Samples, Unknown

from lmbroker.errors import Refused
from lmbroker.translation.dialects.anthropic_messages import extra_fields
from lmbroker.translation.dialects.anthropic_messages.decode_request import decode_request
from lmbroker.translation.dialects.anthropic_messages.encode_request import encode_request
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.fields import Fields

JSON = dict[str, Any]

BETA = beta_create_params.MessageCreateParamsNonStreaming

REQUESTS = {
    "create": message_create_params.MessageCreateParamsNonStreaming,
    "stream": message_create_params.MessageCreateParamsStreaming,
    "count": message_count_tokens_params.MessageCountTokensParams,
    "beta create": BETA,
    "beta stream": beta_create_params.MessageCreateParamsStreaming,
    "beta count": beta_count_tokens_params.MessageCountTokensParams,
}

# Without content such a message has only ``output_config`` to say.
SAMPLES = Samples(needed={"BetaSystemMessageParam": {"content"}})

NOT_IN_THE_SDK = {
    ("body", "anthropic_beta"),
    ("body", "anthropic_version"),
    ("body", "safeguards"),
}


def misplaced(error: Refused, body: JSON) -> tuple[str, str] | None:
    """(role, type) of the block that is complained about. The SDK's types let every block stand
    in every message, the API does not."""
    param = error.info.param or ""
    if error.info.code != "invalid_value" or not param.endswith(".type"):
        return None
    block: Any = body
    for step in param.removesuffix(".type").replace("]", "").replace("[", ".").split("."):
        block = block[int(step)] if step.isdigit() else block[step]
    return body["messages"][0]["role"], block["type"]


@pytest.mark.parametrize("name", REQUESTS)
def test_every_key_of_the_sdk_is_known_and_comes_back(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Unknown(monkeypatch)
    elsewhere, placed = set(), set()
    samples = SAMPLES.of(REQUESTS[name])
    assert len(samples) > 2000
    for sample in samples:
        body = {"max_tokens": 1, **sample}
        try:
            request = decode_request(body)
        except Refused as error:
            wrong = misplaced(error, body)
            assert wrong is not None, (error.info, body)
            elsewhere.add(wrong)
            continue
        message = body["messages"][0]
        if isinstance(message["content"], list):
            placed |= {(message["role"], block["type"]) for block in message["content"]}
        assert unknown == [], body
        losses = Losses("strict")
        assert encode_request(request, Profile(), losses) == body
    assert not elsewhere & placed
    assert {kind for _, kind in elsewhere} <= {kind for _, kind in placed}


def test_every_class_is_that_of_a_key_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[tuple[str, str]] = set()
    take = extra_fields.take_extras

    def spy(fields: Fields, kind: str, prefix: str = "") -> Any:
        taken.update((kind, name) for name in extra_fields.LOSSES[kind] if name in fields.left)
        return take(fields, kind, prefix)

    for module in ("blocks", "controls", "messages", "request", "tools"):
        name = f"lmbroker.translation.dialects.anthropic_messages.decode_{module}.take_extras"
        monkeypatch.setattr(name, spy)
    for sample in SAMPLES.of(BETA):
        try:
            decode_request(sample)
        except Refused as error:
            assert misplaced(error, sample) is not None
    listed = {(kind, name) for kind, names in extra_fields.LOSSES.items() for name in names}
    assert listed - taken == NOT_IN_THE_SDK


def test_a_key_of_tomorrow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Unknown(monkeypatch)
    hello = {"role": "user", "content": [{"type": "text", "text": "x", "mood": 1}], "mood": 2}
    tool = {"name": "f", "input_schema": {}, "mood": 3}
    body = {"model": "m", "max_tokens": 1, "messages": [hello], "tools": [tool], "mood": 4}
    decode_request({**body, "output_config": {"mood": 5}, "thinking": {"type": "adaptive"}})
    assert sorted(unknown) == [
        "messages[0].content[0].mood",
        "messages[0].mood",
        "mood",
        "output_config.mood",
        "tools[0].mood",
    ]
