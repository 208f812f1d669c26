"""What is cut out of a Responses request that is passed through, and that nothing else changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.dialects.openai_responses.taken_out import REASONING, cut, may_concern
from lmbroker.translation.shared.signature import seal

OURS = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "hm, ["}],
    "encrypted_content": seal({"k": "at", "s": "EqQB"}),
}
THEIRS = {**OURS, "encrypted_content": "gAAAA"}
LOCAL = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "lmb1.x"}]}
MESSAGE = {"role": "user", "content": 'she said "lmb1." ], }'}
CALL = {
    "type": "function_call",
    "call_id": "c",
    "name": "f",
    "arguments": '{"encrypted_content":"lmb1.x"}',
}
COMPACTED = {"type": "compaction", "encrypted_content": "lmb1.x"}

items = st.lists(st.sampled_from([OURS, THEIRS, LOCAL, MESSAGE, CALL, COMPACTED]), max_size=6)
layout = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}])


@given(items, layout)
def test_only_our_own_reasoning_goes(told, written):
    body = json.dumps({"model": "m", "x": 1.50, "input": told, "user": "lmb1."}, **written).encode()
    out, dropped = cut(body, attribution=False)
    kept = [each for each in told if each is not OURS]
    assert json.loads(out) == json.loads(body) | {"input": kept}
    assert dropped == ((REASONING,) if len(kept) < len(told) else ())
    if kept == told:
        assert out == body


def test_every_other_byte_stays_where_it_was():
    head, tail = b'{"model":"m" , "n":1.0,"input" :[ {"content": "\\ud83d"} ,  ', b'{"x" :1} ]\n}'
    out, _ = cut(head + json.dumps(OURS).encode() + b" ,\t" + tail, attribution=False)
    assert out == head + tail or out == head.rstrip(b" ,") + b" ,\t" + tail


@pytest.mark.parametrize(
    "body",
    [b"{", b"lmb1.", b'{"input":"lmb1."}', b'{"input":[1,null,"lmb1.",{"type":"reasoning"}]}'],
)
def test_what_cannot_be_read_stays(body):
    assert cut(body, attribution=True) == (body, ())


def test_one_search_tells_that_there_is_nothing():
    assert may_concern(b'"lmb1.', attribution=False)
    assert not may_concern(b"x-anthropic-billing-header:", attribution=True)
