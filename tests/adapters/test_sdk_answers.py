"""What the newest SDKs say that answers may hold is known here: their words, events and blocks."""

from typing import Any

import pytest
import typing_extensions
from anthropic.types import ErrorObject, RawMessageStreamEvent
from anthropic.types import StopReason as AnthropicStopReason
from anthropic.types.beta import BetaRawMessageStreamEvent, BetaStopReason
from anthropic.types.beta_error import BetaError
from openai.types.chat import ChatCompletionMessage, chat_completion, chat_completion_chunk
from openai.types.responses import (
    ResponseCustomToolCall,
    ResponseError,
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseStreamEvent,
)
from openai.types.responses.response import IncompleteDetails

from lmbroker.translation.dialects.anthropic_messages.stream_decode import _HANDLERS
from lmbroker.translation.dialects.openai_chat import content
from lmbroker.translation.dialects.openai_responses import answer_items, stream_output
from lmbroker.translation.dialects.openai_responses import ending as responses_ending
from lmbroker.translation.refusals import error_kinds
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
    assert word in error_kinds._WORD_KINDS | error_kinds._TYPE_KINDS


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


CALLED_TO_WORK = {
    "code_interpreter_call",
    "code_interpreter_call_code",
    "compaction",
    "file_search_call",
    "image_generation_call",
    "mcp_call",
    "mcp_call_arguments",
    "mcp_list_tools",
    "shell_call_command",
    "shell_call_output_content",
    "web_search_call",
}
"""What a server of Responses does itself: its events are signs of life, its items tell it all."""
FIRST = {"response.created", "response.in_progress", "response.queued"}
LOST = {"response.audio", "response.audio.transcript"}


@pytest.mark.parametrize("kind", sorted(types(ResponseStreamEvent)))
def test_each_event_of_responses_is_handled(kind):
    assert (
        stream_output.takes(kind)
        or kind in {*responses_ending.EVENTS, *FIRST, "error"}
        or kind.rpartition(".")[0] in LOST
        or kind.removeprefix("response.").rpartition(".")[0] in CALLED_TO_WORK
    )


OPAQUE = """additional_tools apply_patch_call apply_patch_call_output code_interpreter_call
compaction computer_call computer_call_output custom_tool_call_output file_search_call
function_call_output
image_generation_call local_shell_call local_shell_call_output mcp_approval_request
mcp_approval_response mcp_call mcp_list_tools program program_output shell_call shell_call_output
tool_search_call tool_search_output web_search_call"""
"""Items that only Responses knows: they stay as they are."""


def test_each_item_of_responses_is_known():
    assert types(ResponseOutputItem) == {*answer_items._KNOWN, *OPAQUE.split()}


@pytest.mark.parametrize(
    "item",
    [
        ResponseOutputMessage,
        ResponseReasoningItem,
        ResponseFunctionToolCall,
        ResponseCustomToolCall,
    ],
)
def test_each_field_of_an_item_is_heard_or_known_to_mean_nothing(item):
    (kind,) = literals(item.model_fields["type"].annotation)
    fields = {field.alias or name for name, field in item.model_fields.items()}
    assert fields <= answer_items._KNOWN[kind] | answer_items._NO_MEANING


def test_each_field_of_a_text_of_responses_is_heard_or_known_to_be_lost():
    fields = {*ResponseOutputText.model_fields, *ResponseOutputRefusal.model_fields}
    assert fields - answer_items._OF_TEXT == {"logprobs"}
    notes = ResponseOutputText.model_fields["annotations"].annotation
    assert types(notes) == set(answer_items._CITATIONS)


@pytest.mark.parametrize(
    "reason", sorted(literals(IncompleteDetails.model_fields["reason"].annotation))
)
def test_each_reason_for_an_incomplete_answer_is_listed(reason):
    assert reason in stop_words._REASONS


@pytest.mark.parametrize("code", sorted(literals(ResponseError.model_fields["code"].annotation)))
def test_each_code_of_an_error_is_known(code):
    kind = error_kinds.stream_error({"error": {"code": code, "message": "No."}}).kind
    assert kind == {"server_error": "server"}.get(code, kind)
    assert code == "server_error" or kind != "server"
