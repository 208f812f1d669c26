"""What the newest SDKs say that answers may hold is known here: their words, events and blocks."""

from typing import Any

import pytest
import typing_extensions
from anthropic.types import ErrorObject, RawMessageStreamEvent
from anthropic.types import StopReason as AnthropicStopReason
from anthropic.types.beta import BetaRawMessageStreamEvent, BetaStopReason
from anthropic.types.beta_error import BetaError
from openai.types.chat import ChatCompletionMessage, chat_completion, chat_completion_chunk

from lmbroker.translation.dialects.anthropic_messages.stream_decode import _HANDLERS
from lmbroker.translation.dialects.openai_chat import content
from lmbroker.translation.refusals import error_bodies
from lmbroker.translation.shared import stop_words


def literals(hint: Any) -> set[str]:
    """The texts that a Literal allows, also inside of an Optional."""
    found = set()
    for each in typing_extensions.get_args(hint):
        found |= {each} if isinstance(each, str) else literals(each)
    return found


def types(hint: Any) -> set[str]:
    """The ``type`` of each object of a union."""
    if hasattr(hint, "model_fields"):
        return literals(hint.model_fields["type"].annotation)
    return set().union(*map(types, typing_extensions.get_args(hint)))


ANTHROPIC_STOPS = literals(AnthropicStopReason) | literals(BetaStopReason)
OPENAI_STOPS = literals(chat_completion.Choice.model_fields["finish_reason"].annotation) | literals(
    chat_completion_chunk.Choice.model_fields["finish_reason"].annotation
)
ERRORS = types(ErrorObject) | types(BetaError)


@pytest.mark.parametrize("word", sorted(ANTHROPIC_STOPS | OPENAI_STOPS))
def test_each_stop_reason_is_listed(word):
    assert word in stop_words._REASONS


@pytest.mark.parametrize("word", sorted(ERRORS))
def test_each_type_of_error_is_known_inside_a_stream(word):
    assert word in error_bodies._WORD_KINDS | error_bodies._TYPE_KINDS


def test_each_event_of_a_stream_is_handled():
    """Deltas and the start have handlers of their own, since they are the most and the first."""
    assert types(RawMessageStreamEvent) | types(BetaRawMessageStreamEvent) == {
        *_HANDLERS,
        "content_block_delta",
        "message_start",
    }


def test_each_field_of_a_message_is_heard_or_known_to_be_lost():
    """What is lost is reported: Anthropic's clients have no place for these."""
    said = set(ChatCompletionMessage.model_fields)
    assert said - content._KNOWN == {"annotations", "audio"}
