"""What backends' own lists say of their models."""

import json

import pytest

from lmbroker.call import Backend, Target
from lmbroker.workflows.learned_rejections import LearnedRejections, Repair, Repairs
from lmbroker.workflows.listed_limits import MODELS, ListedLimits, limits

TARGET = Target(backend=Backend(name="b", url="http://b", dialect="openai"), model="m")


def listed(**entry):
    return dict(limits(json.dumps({"object": "list", "data": [{"id": "m", **entry}]}).encode()))


@pytest.mark.parametrize(
    ("entry", "known"),
    [
        # vLLM, SGLang
        ({"owned_by": "vllm", "max_model_len": 4096}, {"context": 4096, "counts_tokens": True}),
        ({"owned_by": "sglang", "max_model_len": 4096}, {"context": 4096}),
        # llama.cpp: the window that was trained is not the one that is served
        ({"owned_by": "llamacpp", "meta": {"n_ctx_train": 9}}, {"counts_tokens": True}),
        # OpenRouter: the provider's own numbers count
        (
            {
                "context_length": 200000,
                "top_provider": {"context_length": 100000, "max_completion_tokens": 8192},
            },
            {"context": 100000, "max_output": 8192},
        ),
        # Groq
        (
            {"context_window": 131072, "max_completion_tokens": 32768},
            {"context": 131072, "max_output": 32768},
        ),
        # Cerebras, GitHub
        (
            {"limits": {"max_context_length": 65536, "max_completion_tokens": 32768}},
            {"context": 65536, "max_output": 32768},
        ),
        (
            {"capabilities": {"limits": {"max_context_window_tokens": 9, "max_output_tokens": 4}}},
            {"context": 9, "max_output": 4},
        ),
        # Anthropic
        (
            {"max_input_tokens": 200000, "max_tokens": 64000},
            {"context": 200000, "max_output": 64000},
        ),
        # An answer cannot be longer than the window.
        ({"max_model_len": 4096, "max_completion_tokens": 4096}, {"context": 4096}),
    ],
)
def test_windows_and_limits_are_read_by_the_names_that_servers_give_them(entry, known):
    assert listed(**entry) == {"m": known}


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"context_length": None, "max_model_len": "many", "n_ctx": True},
        {"context_length": 0, "max_tokens": -1},
        {"top_provider": [], "limits": "none", "capabilities": {"limits": 3}},
    ],
)
def test_what_is_no_number_of_tokens_says_nothing(entry):
    assert listed(**entry) == {}


@pytest.mark.parametrize("body", [b"", b"[", b"3", b'{"data": 3}', b'{"data": [3, {"id": 4}]}'])
def test_a_body_that_is_no_list_says_nothing(body):
    assert dict(limits(body)) == {}


def test_a_list_without_end_is_read_as_far_as_it_is_kept():
    data = [{"id": f"m{n}", "max_model_len": 9} for n in range(MODELS * 3)]
    known = ListedLimits()
    for _ in range(3):
        known.learn("b", json.dumps(data).encode(), more=True)
    assert len(known._known["b"]) == MODELS


def test_pages_add_up_and_a_new_list_replaces_the_old_one():
    known = ListedLimits()
    page = json.dumps({"data": [{"id": "m", "max_model_len": 9}]}).encode()
    other = json.dumps({"data": [{"id": "n", "max_model_len": 8}]}).encode()
    known.learn("b", page)
    known.learn("b", other, more=True)
    assert known.overrides(TARGET) == {"context": 9}
    known.learn("b", other)
    assert known.overrides(TARGET) == {}


def test_what_calls_taught_and_what_was_configured_count_for_more():
    learned = LearnedRejections()
    learned.learn(
        TARGET, Repair(parameters=("m",), kinds=frozenset("l"), overrides={"max_output": 5}), 0
    )
    found = {"context": 9, "max_output": 7}
    assert Repairs(learned, TARGET, {}, 1, found).overrides == {"context": 9, "max_output": 5}
    assert Repairs(learned, TARGET, {"context": 3}, 1, found).overrides["context"] == 3
