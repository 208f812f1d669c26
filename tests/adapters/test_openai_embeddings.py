"""Embeddings: the request is checked, the answer is what was asked for or none."""

import base64
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker import json_text
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import Broken, Refused
from lmbroker.translation.dialects.base import AskedEmbeddings
from lmbroker.translation.dialects.openai_chat.embeddings import (
    INPUTS,
    LARGEST,
    check_request,
    counted,
    mend_answer,
)
from lmbroker.workflows import workflow_for


def request(**fields):
    return {"model": "m", "input": "some text", **fields}


def refused(body):
    with pytest.raises(Refused) as failure:
        check_request(body)
    return failure.value.info


# What is asked for.


@pytest.mark.parametrize(
    ("given", "count", "tokens"),
    [
        ("twelve bytes", 1, 4),
        (["twelve", " bytes"], 2, 4),
        (["\N{EURO SIGN}"], 1, 1),
        ([1, 2, 3], 1, 3),
        ([[1, 2, 3], [0]], 2, 4),
        (["x"] * INPUTS, INPUTS, 569),
        ([7] * (INPUTS + 1), 1, INPUTS + 1),
    ],
)
def test_inputs_are_counted(given, count, tokens):
    asked = check_request(request(input=given))
    assert (asked.count, asked.tokens) == (count, tokens)


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        (None, "input", "missing_required_parameter"),
        ("", "input", "invalid_value"),
        ([], "input", "invalid_value"),
        ([""], "input[0]", "invalid_value"),
        (["a", ""], "input[1]", "invalid_value"),
        ([[]], "input[0]", "invalid_value"),
        ([[1], []], "input[1]", "invalid_value"),
        (7, "input", "invalid_type"),
        (True, "input", "invalid_type"),
        ({"text": "a"}, "input", "invalid_type"),
        (["a", 1], "input[1]", "invalid_type"),
        (["a", None], "input[1]", "invalid_type"),
        ([1, "a"], "input[1]", "invalid_type"),
        ([1, 2.5], "input[1]", "invalid_type"),
        ([1, -1], "input[1]", "invalid_type"),
        ([1, True], "input[1]", "invalid_type"),
        ([[1], "a"], "input[1]", "invalid_type"),
        ([[1], [1, "a"]], "input[1][1]", "invalid_type"),
        ([None], "input[0]", "invalid_type"),
        ([1.5], "input[0]", "invalid_type"),
        (["x"] * (INPUTS + 1), "input", "invalid_value"),
        ([[1]] * (INPUTS + 1), "input", "invalid_value"),
    ],
)
def test_case_95_an_input_that_cannot_be_is_refused_with_its_path(given, param, code):
    info = refused({"model": "m"} if given is None else request(input=given))
    assert (info.kind, info.param, info.code) == ("invalid_request", param, code)
    assert "'a'" not in info.message


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("encoding_format", "hex", "invalid_value"),
        ("encoding_format", "", "invalid_value"),
        ("encoding_format", 1, "invalid_type"),
        ("dimensions", 0, "invalid_value"),
        ("dimensions", -1, "invalid_value"),
        ("dimensions", 1.5, "invalid_type"),
        ("dimensions", "8", "invalid_type"),
        ("dimensions", True, "invalid_type"),
    ],
)
def test_case_95_other_fields_that_cannot_be_are_refused(field, value, code):
    info = refused(request(**{field: value}))
    assert (info.param, info.code) == (field, code)


def test_what_is_asked_for():
    plain = check_request(request())
    assert (plain.base64, plain.dimensions) == (False, None)
    assert not check_request(request(encoding_format="float")).base64
    asked = check_request(request(encoding_format="base64", dimensions=8, user="u", odd=1))
    assert (asked.base64, asked.dimensions) == (True, 8)
    assert check_request(request(encoding_format=None, dimensions=None)) == plain


# Whether the answer is that.

USAGE = {"prompt_tokens": 3, "total_tokens": 3}


def packed(vector):
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def unpacked(text):
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def answer(*vectors, usage=USAGE, **more):
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": "theirs", "usage": usage, **more}


def vectors_of(answer):
    return [entry["embedding"] for entry in answer["data"]]


def broken(body, asked, **options):
    with pytest.raises(Broken) as failure:
        mend_answer(body, asked, **options)
    assert failure.value.info.kind == "bad_upstream"
    return failure.value.info.message


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (answer([0.5, 0.25]), AskedEmbeddings(count=1)),
        (answer([1, 0], [0, 1], id="x", cost=1), AskedEmbeddings(count=2, dimensions=2)),
        (answer(packed([0.5, 0.25])), AskedEmbeddings(count=1, base64=True)),
        (answer(packed([0.5, 0.25])), AskedEmbeddings(count=1, base64=True, dimensions=2)),
        (answer([0.5], usage={**USAGE, "cost": 1.5}), AskedEmbeddings(count=1)),
    ],
)
def test_case_95_an_answer_that_fits_is_left_alone(body, asked):
    assert mend_answer(body, asked) is None
    assert counted(body)


def test_case_95_floats_asked_and_base64_came():
    body = answer(packed([0.1, -2.5]), packed([3e-8, 1]), id="x")
    mended = mend_answer(body, AskedEmbeddings(count=2))
    told = [[unpacked(packed([0.1]))[0], -2.5], [unpacked(packed([3e-8]))[0], 1.0]]
    assert mended == {**answer(*told), "id": "x"}
    assert all(isinstance(number, float) for number in vectors_of(mended)[0])


def test_case_95_base64_asked_and_floats_came():
    mended = mend_answer(answer([0.1, -2.5], [1, 0]), AskedEmbeddings(count=2, base64=True))
    assert mended == answer(packed([0.1, -2.5]), packed([1, 0]))


FLOATS = st.lists(st.floats(-1e8, 1e8, width=32, allow_subnormal=True), min_size=1, max_size=20)


@given(st.lists(FLOATS, min_size=1, max_size=4))
def test_case_95_no_number_changes_on_the_way(vectors):
    """There and back."""
    count = len(vectors)
    coded = mend_answer(answer(*vectors), AskedEmbeddings(count=count, base64=True))
    for text, vector in zip(vectors_of(coded), vectors, strict=True):
        assert unpacked(text) == vector
    back = mend_answer(coded, AskedEmbeddings(count=count))
    assert json.loads(json_text.encode(back)) == answer(*vectors)


@given(FLOATS)
def test_case_95_base64_passes_through_floats_unharmed(vector):
    body = answer(packed(vector))
    floats = mend_answer(body, AskedEmbeddings(count=1))
    assert mend_answer(floats, AskedEmbeddings(count=1, base64=True)) == body


def test_case_95_data_is_put_in_order():
    body = answer([0.0], [1.0], [2.0])
    shuffled = {**body, "data": [body["data"][place] for place in (2, 0, 1)]}
    assert mend_answer(shuffled, AskedEmbeddings(count=3)) == body


@pytest.mark.parametrize("places", [[None, None], [None, 1], [0, 0], [5, 6], [1, "0"]])
def test_indices_that_say_nothing_follow_the_order(places):
    body = answer([0.0], [1.0])
    for entry, place in zip(body["data"], places, strict=True):
        entry["index"] = place
        if place is None:
            del entry["index"]
    assert mend_answer(body, AskedEmbeddings(count=2)) == answer([0.0], [1.0])


@pytest.mark.parametrize("coded", [False, True])
def test_case_95_dimensions_ignored_by_the_backend_is_an_error(coded):
    vector = [0.5] * 4
    body = answer(packed(vector) if coded else vector)
    message = broken(body, AskedEmbeddings(count=1, dimensions=3, base64=coded))
    assert message == "the backend's vectors have 4 dimensions, 3 were asked for"


@pytest.mark.parametrize("came_coded", [False, True])
@pytest.mark.parametrize("coded", [False, True])
def test_case_95_a_matryoshka_models_vectors_are_cut_and_of_length_one(coded, came_coded):
    vector = [3.0, 4.0, 12.0]
    body = answer(packed(vector) if came_coded else vector)
    asked = AskedEmbeddings(count=1, dimensions=2, base64=coded)
    mended = mend_answer(body, asked, matryoshka=True)
    assert mended == answer(packed([0.6, 0.8]) if coded else [0.6, 0.8])


@given(FLOATS.filter(lambda vector: len(vector) > 1))
def test_case_95_cut_vectors_keep_their_direction(vector):
    size = len(vector) - 1
    mended = mend_answer(answer(vector), AskedEmbeddings(count=1, dimensions=size), matryoshka=True)
    [short] = vectors_of(mended)
    assert len(short) == size
    length = math.hypot(*vector[:size])
    if length > 1e-30:
        assert math.hypot(*short) == pytest.approx(1)
        for ours, theirs in zip(short, vector, strict=False):
            assert ours * length == pytest.approx(theirs, abs=1e-9 * length)


def test_a_vector_of_nothing_stays_nothing():
    body = answer([0.0, 0.0, 1.0])
    mended = mend_answer(body, AskedEmbeddings(count=1, dimensions=2), matryoshka=True)
    assert vectors_of(mended) == [[0.0, 0.0]]


def test_case_95_a_vector_too_short_is_an_error_also_of_a_matryoshka_model():
    asked = AskedEmbeddings(count=1, dimensions=3)
    message = broken(answer([1.0, 0.0]), asked, matryoshka=True)
    assert message == "the backend's vectors have 2 dimensions, 3 were asked for"


@pytest.mark.parametrize(
    ("usage", "told", "known"),
    [
        (None, {"prompt_tokens": 9, "total_tokens": 9}, False),
        ({}, {"prompt_tokens": 9, "total_tokens": 9}, False),
        ("much", {"prompt_tokens": 9, "total_tokens": 9}, False),
        ({"total_tokens": 3}, USAGE, True),
        ({"prompt_tokens": 3}, USAGE, True),
        ({"prompt_tokens": 3, "total_tokens": None, "cost": 1}, {**USAGE, "cost": 1}, True),
    ],
)
def test_case_95_missing_usage_is_filled_in(usage, told, known):
    body = answer([0.5], usage=usage)
    assert mend_answer(body, AskedEmbeddings(count=1, tokens=9)) == answer([0.5], usage=told)
    assert counted(body) is known


def test_the_names_of_the_form_are_filled_in():
    body = {"data": [{"embedding": [0.5]}], "model": "theirs", "usage": USAGE}
    assert mend_answer(body, AskedEmbeddings(count=1)) == answer([0.5])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": None},
        {"data": {}},
        {"data": [[0.5]]},
        {"data": ["x"]},
        {"embeddings": [[0.5]]},
        answer(None),
        answer([]),
        answer(""),
        answer({"float": [0.5]}),
        answer([[0.5]]),
        answer(["0.5"]),
        answer("not base64!"),
        answer(base64.b64encode(b"12345").decode()),
        answer([0.5], [0.5]),
        answer(),
    ],
)
@pytest.mark.parametrize("coded", [False, True])
def test_what_is_no_embedding_is_an_error(body, coded):
    assert broken(body, AskedEmbeddings(count=1, base64=coded))


def test_the_number_of_vectors_must_be_that_of_the_inputs():
    assert (
        broken(answer([0.5]), AskedEmbeddings(count=2))
        == "the backend gave 1 embeddings for 2 inputs"
    )


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, LARGEST])
def test_numbers_that_no_embedding_holds_are_not_passed_on_as_one(number):
    body = answer(packed([number, 0.5]))
    assert broken(body, AskedEmbeddings(count=1)) == "the backend's vectors are none of float32"
    assert broken(body, AskedEmbeddings(count=1, dimensions=1), matryoshka=True)


def test_int8_in_base64_is_not_taken_for_floats():
    quantised = base64.b64encode(struct.pack("64b", *range(-32, 32))).decode()
    assert (
        broken(answer(quantised), AskedEmbeddings(count=1))
        == "the backend's vectors are none of float32"
    )


@pytest.mark.parametrize("odd", [None, "x", 1e40, [0.5]])
def test_what_is_no_float32_cannot_be_coded(odd):
    assert broken(answer([0.5, odd]), AskedEmbeddings(count=1, base64=True))


def test_an_error_with_status_200_says_what_the_backend_said():
    body = {"error": {"message": "no such model", "code": 404}}
    with pytest.raises(Broken) as failure:
        mend_answer(body, AskedEmbeddings(count=1))
    assert (failure.value.info.kind, failure.value.info.message) == ("not_found", "no such model")


# As a workflow.


def workflow(body, dialect="openai", **profile):
    target = Target(backend=Backend(name="b", url="http://b", dialect=dialect), model="real")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    call = Call(id="r", operation="embeddings", dialect="openai", asked="m", body=raw)
    return workflow_for(call, target, overrides=profile)


def test_only_the_model_of_a_request_changes():
    asked = workflow(b' {"input" : [1, 2],"model":"m" ,"user":"u", "big":12345678901234567890123}')
    outbound = asked.outbound()
    assert outbound.body == (
        b' {"input" : [1, 2],"model":"real" ,"user":"u", "big":12345678901234567890123}'
    )
    assert outbound.path == "/embeddings"
    assert asked.name == "passthrough"


def test_case_95_an_answer_that_fits_is_the_backends_own_bytes():
    raw = b'{ "object":"list","data":[{"object":"embedding","index":0,"embedding":[0.50]}],\n'
    raw += b'"usage":{"prompt_tokens":3,"total_tokens":3}}'
    told = workflow(request()).unary(raw, now=0)
    assert told.body is raw
    assert (told.usage.input, told.usage.output, told.usage.estimated) == (3, 0, False)


def test_an_estimate_is_marked_as_one():
    told = workflow(request()).unary(json.dumps(answer([0.5], usage=None)).encode(), now=0)
    assert json.loads(told.body)["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert (told.usage.input, told.usage.estimated) == (3, True)


def test_case_95_the_profile_says_what_may_be_cut():
    raw = json.dumps(answer([3.0, 4.0, 5.0])).encode()
    with pytest.raises(Broken):
        workflow(request(dimensions=2)).unary(raw, now=0)
    told = workflow(request(dimensions=2), matryoshka=True).unary(raw, now=0)
    assert vectors_of(json.loads(told.body)) == [[0.6, 0.8]]


def test_a_malformed_request_reaches_no_backend():
    with pytest.raises(Refused):
        workflow(request(input=[])).outbound()


def test_an_anthropic_backend_has_no_embeddings():
    with pytest.raises(Refused) as failure:
        workflow(request(), dialect="anthropic")
    assert (failure.value.info.kind, failure.value.info.code) == ("not_found", "model_not_found")


def test_an_event_stream_is_no_answer():
    with pytest.raises(Broken):
        workflow(request()).fold(b"data: {}\n\n", now=0)
