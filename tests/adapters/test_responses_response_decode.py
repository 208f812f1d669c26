"""A backend's whole Responses answer -> the Unified Model."""

from typing import Any

import pytest

from lmbroker.errors import Broken, ErrorInfo
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.dialects.openai_responses.response_decode import decode_response, gist
from lmbroker.translation.unified.fold import fold, unfold
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    Part,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response, Stop
from lmbroker.usage import Usage

JSON = dict[str, Any]


def text(said: str = "Hello", **fields: Any) -> JSON:
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": [], **fields}


def message(*content: Any, **fields: Any) -> JSON:
    return {"type": "message", "role": "assistant", "content": list(content), **fields}


def call(**fields: Any) -> JSON:
    item = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'}
    return {**item, **fields}


def body(*output: Any, **fields: Any) -> JSON:
    whole = {"id": "resp_7", "object": "response", "created_at": 1790000000.0, "model": "gpt"}
    return {**whole, "status": "completed", "error": None, "output": list(output), **fields}


def decoded(*output: Any, **fields: Any) -> Response:
    response = decode_response(body(*output, **fields))
    assert fold(unfold(response)) == response
    return response


def parts(*output: Any) -> tuple[Part, ...]:
    return decoded(*output).parts


def losses(*output: Any, **fields: Any) -> tuple[str, ...]:
    reading = Reading()
    decode_response(body(*output, **fields), reading)
    return reading.losses.dropped + reading.losses.changed


def broken(whole: JSON) -> ErrorInfo:
    with pytest.raises(Broken) as caught:
        decode_response(whole)
    return caught.value.info


HELLO = TextPart(text="Hello")
F = ToolCallPart(id="call_1", name="f", args={"a": 1}, raw_args='{"a":1}')


def test_an_answer_is_decoded() -> None:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 14,
    }
    assert decoded(message(text()), call(), usage=usage, service_tier="default") == Response(
        id="resp_7",
        model="gpt",
        created=1790000000,
        parts=(HELLO, F),
        stop=Stop(reason="tool_calls", raw="completed"),
        usage=Usage(input=5, cache_read=2, cache_write=3, output=4, reasoning=1),
        tier="standard",
    )


def test_items_become_parts_in_their_order() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"text": "Hm."}]}
    custom = {"type": "custom_tool_call", "call_id": "call_2", "name": "sh", "input": "ls"}
    assert parts(
        thought, search, message(text(), {"type": "refusal", "refusal": "No."}), custom
    ) == (
        ReasoningPart(text="Hm.", signature=Signature(origin="responses", value='{"id":"rs_1"}')),
        OpaquePart(origin="responses", type="web_search_call", raw=search, place="output[]"),
        HELLO,
        TextPart(text="No.", refusal=True),
        ToolCallPart(id="call_2", name="sh", raw_args="ls", kind="custom"),
    )


TWO = [{"text": "a"}, {"text": "bc"}]
SEALED = {"id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}


@pytest.mark.parametrize(
    ("item", "value", "said"),
    [
        (SEALED, '{"id":"rs_1","enc":"gAAAA"}', ""),
        ({"id": "rs_1", "summary": TWO}, '{"id":"rs_1","n":[1,2]}', "a\n\nbc"),
        ({"summary": [], "content": [{"text": "a"}]}, '{"c":1}', "a"),
        ({"id": "rs_1", "content": TWO}, '{"id":"rs_1","n":[1,2],"c":1}', "a\n\nbc"),
        ({"content": "a"}, '{"c":1}', "a"),
    ],
)
def test_reasoning_can_be_brought_back(item: JSON, value: str, said: str) -> None:
    signature = Signature(origin="responses", value=value)
    assert parts({"type": "reasoning", **item}) == (ReasoningPart(text=said, signature=signature),)


def test_reasoning_of_which_nobody_could_make_use_is_left_out() -> None:
    assert parts({"type": "reasoning", "id": "rs_1", "summary": []}) == ()


@pytest.mark.parametrize(
    ("annotation", "kind", "title"),
    [
        ({"type": "url_citation", "url": "https://a.example/", "title": "A"}, "url", "A"),
        (
            {"type": "file_citation", "file_id": "f", "filename": "a.pdf", "index": 3},
            "file",
            "a.pdf",
        ),
        (
            {"type": "container_file_citation", "filename": "a.pdf", "start_index": 1},
            "file",
            "a.pdf",
        ),
        ({"type": "file_path", "file_id": "f"}, "file", None),
        ({"type": "new"}, "other", None),
    ],
)
def test_annotations_are_sources(annotation: JSON, kind: Any, title: str | None) -> None:
    (part,) = parts(message(text(annotations=[annotation])))
    assert isinstance(part, TextPart)
    (found,) = part.citations
    assert (found.kind, found.title, found.raw) == (kind, title, annotation)
    assert isinstance(found, Citation)
    assert (found.start, found.end) == (annotation.get("start_index"), annotation.get("end_index"))


def test_what_is_lost_is_told() -> None:
    assert losses(message(text(logprobs=[{"token": "a"}]), mood="good"), call(new=1)) == (
        "output[].mood",
        "output[].content[].logprobs",
        "output[].new",
    )
    assert losses({"type": "new", "what": "ever"}, message(text())) == ()
    assert losses(status="incomplete", incomplete_details={"reason": "mood"}) == (
        "incomplete_details.reason",
    )


@pytest.mark.parametrize(
    ("fields", "reason", "raw"),
    [
        ({}, "end", "completed"),
        ({"status": "complete"}, "end", "complete"),
        ({"status": None}, "end", None),
        ({"status": "in_progress"}, "end", "completed"),
        ({"status": "incomplete"}, "max_tokens", "incomplete"),
        *(
            ({"status": "incomplete", "incomplete_details": {"reason": word}}, reason, word)
            for word, reason in (
                ("max_output_tokens", "max_tokens"),
                ("max_messages", "max_tokens"),
                ("content_filter", "refusal"),
                ("steered", "paused"),
                ("mood", "other"),
            )
        ),
    ],
)
def test_case_46_stop_reasons(fields: JSON, reason: str, raw: str | None) -> None:
    stop = decoded(message(text()), **fields).stop
    assert (stop.reason, stop.raw) == (reason, raw)
    passed = gist(body(message(text()), **fields))[1]
    assert passed == ("" if fields.get("status", "") is None else reason)


def test_a_refusal_explains_the_stop() -> None:
    refused = message({"type": "refusal", "refusal": "No."})
    details = {"type": "refusal", "category": None, "explanation": "No."}
    assert decoded(refused).stop == Stop(reason="refusal", details=details, raw="completed")
    cut = decoded(refused, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert cut.stop.reason == "max_tokens"


def test_gist_of_a_passed_answer() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}
    assert gist(body(call(), usage=usage)) == (Usage(input=3, output=4), "tool_calls")
    assert gist({"object": "response.input_tokens", "input_tokens": 3}) == (None, "")
    assert gist(body(status="queued")) == (None, "")


@pytest.mark.parametrize(
    ("whole", "kind"),
    [
        ({"error": {"message": "No.", "code": "server_is_overloaded"}}, "overloaded"),
        (
            body(status="failed", error={"code": "rate_limit_exceeded", "message": "a"}),
            "rate_limit",
        ),
        (body(message(text()), status="failed"), "server"),
        (body(status="cancelled"), "server"),
        (body(status="queued"), "bad_upstream"),
        (body(status="in_progress"), "bad_upstream"),
        (body(output=None), "bad_upstream"),
        ({}, "bad_upstream"),
        ({"detail": "context window exceeded"}, "context_length"),
        ({"choices": [{"message": {"content": "Hi"}}]}, "bad_upstream"),
    ],
)
def test_what_is_no_answer_is_an_error(whole: JSON, kind: str) -> None:
    assert broken(whole).kind == kind


def test_servers_that_only_nearly_speak_the_dialect_are_understood() -> None:
    assert parts({"type": "message", "content": "Hello"}) == (HELLO,)
    assert parts(message({"type": "text", "text": "Hello"})) == (HELLO,)
    assert parts(call(arguments={"a": 1})) == (F,)
    assert parts(call(call_id=None, id="call_1")) == (F,)
    assert parts(call(name=None)) == ()
    assert parts(None, 7, "x", {}, message(None, 7), message(text())) == (HELLO,)
    assert [part.id for part in parts(call(), call())] == ["call_1", ""]  # type: ignore[union-attr]
