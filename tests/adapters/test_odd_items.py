"""History is never poison, in the words of Responses: what stands before the last item is read for
what it means, whatever it looks like, for backends of each dialect; and all that is reported of it
stands in the client's own body."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.shared.odd_messages import MOST

JSON = dict[str, Any]

HELLO: JSON = {"role": "user", "content": "Hello"}
LAST: JSON = {"role": "user", "content": "And now?"}
CALL: JSON = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OTHERS = [name for name in ADAPTERS if name != "responses"]


def sent(backend: str, *items: Any, mode: Any = "default") -> tuple[JSON, Losses]:
    body = {"model": "m", "input": list(items)}
    request, losses = ADAPTERS["responses"].decode_request(body), Losses(mode)
    return ADAPTERS[backend].encode_request(request, profile(backend, "m"), losses), losses


def there(body: Any, path: str) -> bool:
    """Whether ``path`` leads to something in ``body``; ``[]`` is any element."""
    held = [body]
    for step in re.findall(r"[^.\[\]]+|\[\]", path):
        if step == "[]":
            held = [each for value in held if isinstance(value, list) for each in value]
        else:
            held = [v[step] for v in held if isinstance(v, dict) and step in v]
    return bool(held)


TYPES = [
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "item_reference",
    "additional_tools",
    "configuration_update",
    "compaction",
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_call",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "program",
    "program_output",
    "tool_search_call",
    "tool_search_output",
    "shell_call",
    "shell_call_output",
    "local_shell_call",
    "local_shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
    "computer_call",
    "computer_call_output",
    "input_text",
    "output_text",
    "function",
    "tool_use",
    "tool_result",
    "dream_call",
    "dream_call_output",
]
KEYS = [
    "id",
    "call_id",
    "name",
    "namespace",
    "arguments",
    "input",
    "output",
    "content",
    "summary",
    "encrypted_content",
    "status",
    "phase",
    "role",
    "action",
    "operation",
    "actions",
    "tools",
    "reasoning",
    "text",
    "execution",
    "results",
    "outputs",
    "result",
    "caller",
    "async",
    "tool_calls",
    "tool_call_id",
    "annotations",
    "image_url",
    "file_id",
    "file_data",
    "detail",
    "refusal",
]
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "x", "c", "user", "assistant", "tool", "client", "lmb1.", "lmb1.e30"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "text", "format", "name", *KEYS]), inner, max_size=3
        )
        | st.fixed_dictionaries({"type": st.sampled_from(TYPES), "text": inner})
    ),
    max_leaves=6,
)
_ODD = (
    st.builds(
        lambda kind, more: {**more, "type": kind},
        st.sampled_from(TYPES),
        st.dictionaries(st.sampled_from(KEYS), _VALUES, max_size=4),
    )
    | st.dictionaries(st.sampled_from(["type", *KEYS]), _VALUES, max_size=4)
    | _VALUES
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_ODD, max_size=4))
def test_no_history_is_refused_and_what_is_reported_was_sent(odd: list[Any]) -> None:
    body = {"input": [HELLO, CALL, *odd, LAST]}
    before = json.dumps(body)
    for backend in ADAPTERS:
        out, losses = sent(backend, *body["input"], mode="lenient")
        assert json.dumps(out)
        if backend != "responses":
            assert out["messages"][-1]["role"] == "user"
            assert [path for path in losses.paths if not there(body, path)] == []
    assert json.dumps(body) == before


@settings(max_examples=200, deadline=None)
@given(st.lists(_ODD, max_size=4), st.lists(_ODD, max_size=3))
def test_a_conversation_with_odd_items_keeps_its_beginning(
    odd: list[Any], later: list[Any]
) -> None:
    first = [HELLO, *odd, LAST]
    second = [*first, {"role": "assistant", "content": "Yes."}, *later, LAST]
    for backend in OTHERS:
        short, _ = sent(backend, *first, mode="lenient")
        long, _ = sent(backend, *second, mode="lenient")
        assert long["messages"][: len(short["messages"])] == short["messages"]
        assert long.get("system") == short.get("system")


@settings(max_examples=200, deadline=None)
@given(_ODD)
def test_a_mistake_in_the_last_item_is_the_client_s(odd: Any) -> None:
    try:
        sent("openai", HELLO, odd)
    except Refused as error:
        assert error.info.kind in ("invalid_request", "unsupported")
        assert (error.info.param or "").startswith(("input[1]", "tools[", "input[]"))


@pytest.mark.parametrize("backend", OTHERS)
def test_only_so_many_items_are_mended(backend: str) -> None:
    odd = {"role": "boss", "content": "x"}
    sent(backend, *[odd] * 30, LAST)
    with pytest.raises(Refused):
        sent(backend, *[odd] * (MOST + 1), LAST)


def test_a_mistake_is_reported_and_refused_in_mode_strict() -> None:
    odd = {"type": "function_call", "name": "f", "arguments": 3}
    _, losses = sent("openai", HELLO, odd, LAST)
    assert losses.changed
    with pytest.raises(Refused):
        sent("openai", HELLO, odd, LAST, mode="strict")
