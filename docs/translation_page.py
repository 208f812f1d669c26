"""Writes docs/translation.md: what becomes of each field, asked of the code itself.

Each row of its tables is a question: a small request with one field more is translated, and the
row says what came out. ``python docs/translation_page.py`` writes the page; a test holds that
it is as the code behaves.
"""

import json
import runpy
from pathlib import Path
from typing import Any

from lmbroker.call import Backend, Call, Mode, Target
from lmbroker.errors import Refused
from lmbroker.translation.dialects.anthropic_messages.errors import KINDS as ANTHROPIC_KINDS
from lmbroker.translation.dialects.openai.errors import KINDS as OPENAI_KINDS
from lmbroker.workflows import workflow_for

PAGE = Path(__file__).with_name("translation.md")
SHOWN = 110
"""Characters of an example that a table shows."""

JSON = dict[str, Any]
Question = tuple[str, JSON]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
PDF = "JVBERi0xLjQK"
USER = {"role": "user", "content": "Hi"}
TOOL_O = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
TOOL_A = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
CALL_O = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALL_A = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def says(*parts: JSON) -> JSON:
    """Return a conversation that ends with a user's message of these parts."""
    return {"messages": [{"role": "user", "content": list(parts)}]}


def after(*messages: JSON) -> JSON:
    """Return a conversation that goes on with these messages."""
    return {"messages": [USER, *messages]}


OPENAI: tuple[tuple[str, tuple[Question, ...]], ...] = (
    (
        "Limits and sampling",
        (
            ("max_completion_tokens", {"max_completion_tokens": 100}),
            ("max_tokens", {"max_tokens": 100}),
            ("neither of them", {}),
            ("stop", {"stop": ["END"]}),
            ("stop of white space only", {"stop": ["\n"]}),
            ("temperature", {"temperature": 0.5}),
            ("temperature above 1", {"temperature": 1.7}),
            ("top_p", {"top_p": 0.9}),
            ("temperature and top_p", {"temperature": 0.5, "top_p": 0.9}),
            ("top_k", {"top_k": 5}),
            ("frequency_penalty", {"frequency_penalty": 0.5}),
            ("presence_penalty", {"presence_penalty": 0.5}),
            ("seed", {"seed": 7}),
            ("logit_bias", {"logit_bias": {"1": 5}}),
            ("logprobs", {"logprobs": True}),
            ("n = 1", {"n": 1}),
            ("n = 2", {"n": 2}),
        ),
    ),
    (
        "Reasoning and output",
        (
            ("reasoning_effort", {"reasoning_effort": "high"}),
            ("reasoning_effort none", {"reasoning_effort": "none"}),
            ("reasoning (OpenRouter's)", {"reasoning": {"max_tokens": 4000}}),
            ("thinking (Anthropic's)", {"thinking": {"type": "disabled"}}),
            ("response_format json_object", {"response_format": {"type": "json_object"}}),
            (
                "response_format json_schema",
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "s", "schema": SCHEMA, "strict": True},
                    }
                },
            ),
            (
                "… with a keyword that Anthropic refuses",
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {
                            "name": "s",
                            "schema": {
                                **SCHEMA,
                                "properties": {"a": {"type": "string", "minLength": 2}},
                            },
                        },
                    }
                },
            ),
            ("verbosity", {"verbosity": "low"}),
            ("modalities with audio", {"modalities": ["text", "audio"]}),
        ),
    ),
    (
        "Messages",
        (
            ("system", {"messages": [{"role": "system", "content": "S"}, USER]}),
            ("developer", {"messages": [{"role": "developer", "content": "D"}, USER]}),
            ("a later system message", after({"role": "system", "content": "S"})),
            ("name", {"messages": [{**USER, "name": "ann"}]}),
            ("a last assistant message", after({"role": "assistant", "content": "Once"})),
            (
                "tool_calls and their result",
                {
                    "tools": [TOOL_O],
                    **after(
                        {"role": "assistant", "content": None, "tool_calls": [CALL_O]},
                        {"role": "tool", "tool_call_id": "c1", "content": "done"},
                    ),
                },
            ),
            (
                "reasoning_content of an earlier turn",
                after({"role": "assistant", "content": "A", "reasoning_content": "R"}, USER),
            ),
            (
                "image_url, a data URL",
                says({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
            ),
            (
                "image_url, a web address",
                says({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}),
            ),
            (
                "file, a PDF",
                says({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}),
            ),
            ("file by id", says({"type": "file", "file": {"file_id": "file-1"}})),
            (
                "input_audio",
                says({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
            ),
        ),
    ),
    (
        "Tools",
        (
            ("tools, a function", {"tools": [TOOL_O]}),
            (
                "tools, a strict function",
                {
                    "tools": [
                        {
                            "type": "function",
                            "function": {"name": "f", "strict": True, "parameters": SCHEMA},
                        }
                    ]
                },
            ),
            ("tools, a custom tool", {"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
            ("functions (legacy)", {"functions": [{"name": "f"}]}),
            ("tool_choice required", {"tools": [TOOL_O], "tool_choice": "required"}),
            (
                "tool_choice, a name",
                {
                    "tools": [TOOL_O],
                    "tool_choice": {"type": "function", "function": {"name": "f"}},
                },
            ),
            ("tool_choice none", {"tools": [TOOL_O], "tool_choice": "none"}),
            ("parallel_tool_calls false", {"tools": [TOOL_O], "parallel_tool_calls": False}),
            ("web_search_options", {"web_search_options": {}}),
        ),
    ),
    (
        "The rest",
        (
            ("stream", {"stream": True}),
            (
                "stream_options.include_usage",
                {"stream": True, "stream_options": {"include_usage": True}},
            ),
            ("user", {"user": "u1"}),
            ("safety_identifier", {"safety_identifier": "u1"}),
            ("metadata", {"metadata": {"a": "b"}}),
            ("store false", {"store": False}),
            ("store true", {"store": True}),
            ("service_tier auto", {"service_tier": "auto"}),
            ("service_tier flex", {"service_tier": "flex"}),
            ("prompt_cache_key", {"prompt_cache_key": "k"}),
            ("prediction", {"prediction": {"type": "content", "content": "x"}}),
            ("moderation", {"moderation": {}}),
            ("an unknown field", {"something_new": 1}),
        ),
    ),
)
"""What OpenAI clients may ask, by headings."""

ANTHROPIC: tuple[tuple[str, tuple[Question, ...]], ...] = (
    (
        "Limits and sampling",
        (
            ("max_tokens", {}),
            ("max_tokens 0", {"max_tokens": 0}),
            ("stop_sequences", {"stop_sequences": ["END"]}),
            ("more than four of them", {"stop_sequences": list("abcde")}),
            ("temperature", {"temperature": 0.5}),
            ("top_p", {"top_p": 0.9}),
            ("top_k", {"top_k": 5}),
        ),
    ),
    (
        "Reasoning and output",
        (
            ("thinking adaptive", {"thinking": {"type": "adaptive"}}),
            ("thinking disabled", {"thinking": {"type": "disabled"}}),
            ("thinking enabled", {"thinking": {"type": "enabled", "budget_tokens": 8000}}),
            ("output_config.effort", {"output_config": {"effort": "high"}}),
            ("output_config.effort xhigh", {"output_config": {"effort": "xhigh"}}),
            (
                "output_config.format",
                {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            ),
            (
                "output_config.task_budget",
                {"output_config": {"task_budget": {"type": "tokens", "total": 9000}}},
            ),
        ),
    ),
    (
        "Messages",
        (
            ("system", {"system": "S"}),
            (
                "system, blocks with a cache mark",
                {
                    "system": [
                        {"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}},
                        {"type": "text", "text": "T"},
                    ]
                },
            ),
            ("a system message", after({"role": "system", "content": "S"})),
            ("a last assistant message", after({"role": "assistant", "content": "Once"})),
            (
                "tool_use and its result",
                {
                    "tools": [TOOL_A],
                    **after(
                        {"role": "assistant", "content": [CALL_A]},
                        {
                            "role": "user",
                            "content": [
                                {"type": "tool_result", "tool_use_id": "c1", "content": "done"}
                            ],
                        },
                    ),
                },
            ),
            (
                "tool_result.is_error",
                {
                    "tools": [TOOL_A],
                    **after(
                        {"role": "assistant", "content": [CALL_A]},
                        {
                            "role": "user",
                            "content": [
                                {
                                    "type": "tool_result",
                                    "tool_use_id": "c1",
                                    "content": "no such file",
                                    "is_error": True,
                                }
                            ],
                        },
                    ),
                },
            ),
            (
                "thinking of an earlier turn",
                after(
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "R", "signature": "sig"},
                            {"type": "text", "text": "A"},
                        ],
                    },
                    USER,
                ),
            ),
            (
                "image, base64",
                says(
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    }
                ),
            ),
            (
                "image, a web address",
                says(
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
                ),
            ),
            (
                "image, a file of the vendor",
                says({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
            ),
            (
                "document, a PDF",
                says(
                    {
                        "type": "document",
                        "source": {
                            "type": "base64",
                            "media_type": "application/pdf",
                            "data": PDF,
                        },
                    }
                ),
            ),
            (
                "document, text",
                says(
                    {
                        "type": "document",
                        "title": "T",
                        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                    }
                ),
            ),
            (
                "search_result",
                says(
                    {
                        "type": "search_result",
                        "source": "https://a.example",
                        "title": "T",
                        "content": [{"type": "text", "text": "x"}],
                    }
                ),
            ),
        ),
    ),
    (
        "Tools",
        (
            ("tools", {"tools": [TOOL_A]}),
            ("tools[].defer_loading", {"tools": [{**TOOL_A, "defer_loading": True}]}),
            ("tools[].input_examples", {"tools": [{**TOOL_A, "input_examples": [{"a": 1}]}]}),
            (
                "tools[].cache_control",
                {"tools": [{**TOOL_A, "cache_control": {"type": "ephemeral"}}]},
            ),
            (
                "tools, web search",
                {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            ),
            ("tools, bash", {"tools": [{"type": "bash_20250124", "name": "bash"}]}),
            (
                "tools, tool search",
                {
                    "tools": [
                        TOOL_A,
                        {
                            "type": "tool_search_tool_regex_20251119",
                            "name": "tool_search_tool_regex",
                        },
                    ]
                },
            ),
            ("tool_choice any", {"tools": [TOOL_A], "tool_choice": {"type": "any"}}),
            (
                "tool_choice, a name",
                {"tools": [TOOL_A], "tool_choice": {"type": "tool", "name": "f"}},
            ),
            (
                "disable_parallel_tool_use",
                {
                    "tools": [TOOL_A],
                    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
                },
            ),
        ),
    ),
    (
        "The rest",
        (
            ("stream", {"stream": True}),
            ("metadata.user_id", {"metadata": {"user_id": "u1"}}),
            ("service_tier", {"service_tier": "auto"}),
            ("speed fast", {"speed": "fast"}),
            ("cache_control", {"cache_control": {"type": "ephemeral"}}),
            ("container", {"container": "c"}),
            (
                "mcp_servers",
                {"mcp_servers": [{"type": "url", "name": "m", "url": "https://m.example"}]},
            ),
            ("context_management", {"context_management": {"edits": []}}),
            ("inference_geo", {"inference_geo": "us"}),
            ("an unknown field", {"something_new": 1}),
        ),
    ),
)
"""What Anthropic clients may ask, by headings."""

RESPONSES = runpy.run_path(str(Path(__file__).with_name("responses_questions.py")))["QUESTIONS"]
"""What clients of Responses may ask, by headings."""

BASES: dict[str, JSON] = {
    "openai": {"model": "alias", "messages": [USER]},
    "anthropic": {"model": "alias", "max_tokens": 100, "messages": [USER]},
    "responses": {"model": "alias", "input": [USER]},
}
MODELS = {
    "openai": "some-model",
    "anthropic": "claude-sonnet-4-6",
    "responses": "some-model",
}
"""The backends' models that the tables are asked with: OpenAI-compatible servers of no known
kind, and a Claude that takes sampling parameters and adaptive thinking."""


Lost = tuple[tuple[str, ...], tuple[str, ...]]


def translated(client: str, other: str, body: JSON, mode: Mode) -> tuple[JSON, Lost]:
    """Return what a backend of the dialect ``other`` gets, and what was changed and dropped.

    Raises Refused.
    """
    backend = Backend(name="b", url="http://b", dialect=other)
    call = Call(
        id="req",
        operation="chat",
        dialect=client,
        asked="alias",
        body=json.dumps(body).encode(),
        stream=bool(body.get("stream")),
    )
    workflow = workflow_for(call, Target(backend=backend, model=MODELS[other]), mode=mode)
    sent = json.loads(workflow.outbound().body)
    return sent, (workflow.changed, workflow.dropped)


def row(client: str, other: str, question: Question) -> str:
    """Return one line of a table."""
    name, patch = question
    base, body = BASES[client], {**BASES[client], **patch}
    try:
        sent, lost = translated(client, other, body, "default")
    except Refused as refusal:
        outcome = f"refused: 400, `{refusal.info.param}`"
        try:
            translated(client, other, body, "lenient")
            outcome += "; dropped in mode lenient"
        except Refused:
            pass
        return f"| {name} | | {outcome} |"
    plain, _ = translated(client, other, base, "default")
    became = {key: value for key, value in sent.items() if plain.get(key) != value}
    for field in ("messages", "input"):
        if field in became:
            became[field] = [each for each in sent[field] if each not in plain[field]]
    if len(patch) > 1:
        became.pop("tools", None)
    if patch in ({}, {"stream": True}):
        became = {key: sent[key] for key in sent if key not in ("model", "messages", "input")}
    words = [
        f"{word}: " + ", ".join(f"`{path}`" for path in paths)
        for word, paths in zip(("changed", "dropped"), lost, strict=True)
        if paths
    ]
    outcome = "; ".join(words)
    if not words:
        outcome = "carried" if became else "no effect"
    return f"| {name} | {_example(became)} | {outcome} |"


def _example(became: JSON) -> str:
    if not became:
        return ""
    text = json.dumps(became, ensure_ascii=False)[1:-1].replace(PNG, "…").replace(PDF, "…")
    text = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    return "`" + text.replace("|", "\\|") + "`"


def tables(client: str, other: str, headings: tuple[tuple[str, tuple[Question, ...]], ...]) -> str:
    """Return the tables of what becomes of the fields that this client sends to that backend."""
    out = []
    for heading, questions in headings:
        out.append(f"### {heading}\n")
        out.append("| the client says | the backend gets | outcome |\n|---|---|---|")
        out += [row(client, other, question) for question in questions]
        out.append("")
    return "\n".join(out)


def errors() -> str:
    """Return the table of what clients get for each kind of error."""
    rows = [
        "| what happened | an Anthropic client gets | a client of OpenAI's formats gets |",
        "|---|---|---|",
    ]
    for kind, (status, type_) in ANTHROPIC_KINDS.items():
        if kind == "cancelled":
            continue
        o_status, o_type, code = OPENAI_KINDS[kind]
        rows.append(
            f"| {kind} | {status} `{type_}` | {o_status} `{o_type}`, code `{code or 'null'}` |"
        )
    return "\n".join(rows)


def page() -> str:
    """Return the whole page."""
    return TEMPLATE.format(
        openai=tables("openai", "anthropic", OPENAI),
        anthropic=tables("anthropic", "openai", ANTHROPIC),
        responses_openai=tables("responses", "openai", RESPONSES),
        responses_anthropic=tables("responses", "anthropic", RESPONSES),
        openai_responses=tables("openai", "responses", OPENAI),
        anthropic_responses=tables("anthropic", "responses", ANTHROPIC),
        errors=errors(),
    )


TEMPLATE = """\
# What is translated, and how

Where client and backend speak the same format nothing on this page applies: the request goes
through byte for byte but for the model's name.

Where they differ, each field has one of five outcomes:

- **carried**: the backend gets the same thing in its own words;
- **no effect**: it has no meaning for the answer (a cache hint, a tracing label, a default);
- **changed**: the backend gets something that comes near to it. The response has a header
  `x-lmbroker-changed` with the names of the fields, the log line and the metric
  `lmbroker_fields_changed_total` say it too;
- **dropped**: the backend does not get it, and the answer is still an answer to what was asked. The
  same is said in `x-lmbroker-dropped` and `lmbroker_fields_dropped_total`;
- **refused**: without it, it would be another question. The client gets a 400 in its own format
  that names the field, and no backend is called.

Three modes decide how strict that is, per model in the configuration (`mode = "strict"`) or per
call in the header `x-lmbroker-mode`:

| mode | changed or dropped | refused |
|---|---|---|
| `default` | reported | 400 |
| `strict` | 400 | 400 |
| `lenient` | reported | some are dropped and reported instead, see the tables; the others 400 |

What an *answer* loses on its way to the client is told with the same words: the names then begin
with `answer.`, and stand in the headers, or in a comment at the end of a stream
(`: x-lmbroker-dropped: answer.content[].web_search_tool_result`).

Nothing that stands in the conversation is refused: an image, a file, audio or a block that the
backend cannot take becomes a short text that says what was left out (`[image left out: this model
cannot see images]`), the same on each turn, and is reported. In mode `strict` it is a 400.

How a backend's model is spoken to is its profile: built in for the well-known families and hosts,
and every value can be set in the configuration (`[models.profile]`); `lmbroker explain` prints it.
What is built in takes nothing away from a model: the broker asks, and should the backend refuse
what the broker placed or may change, it asks again without it, reports that, and remembers it for
an hour: a limit becomes the number that the refusal names, an effort one that it lists, keywords
are taken out of schemas, turns put into another order, images and files replaced by a text, single
parameters left out. That happens up to twice per call, in whatever shape and with whatever status
the refusal comes; it shows in the headers, in the log line (`learned`) and in the metric
`lmbroker_learned_total`. What you set in a profile yourself is never changed. The tables are asked
with `claude-sonnet-4-6` and with OpenAI-compatible servers of no known kind; others may be told
in other words.

To see what becomes of a request of yours:

```
lmbroker translate --from anthropic --to openai < request.json
```

`openai` is OpenAI Chat Completions here, `responses` OpenAI Responses.

This page is written by `python docs/translation_page.py` from what the code does.

## Clients of OpenAI Chat Completions at Anthropic backends

{openai}
## Clients of Anthropic Messages at Chat Completions backends

{anthropic}
## Clients of OpenAI Responses at Chat Completions backends

{responses_openai}
## Clients of OpenAI Responses at Anthropic backends

{responses_anthropic}
## Clients of OpenAI Chat Completions at Responses backends

{openai_responses}
## Clients of Anthropic Messages at Responses backends

{anthropic_responses}
## Answers

- Text, tool calls, reasoning, refusals, stop reasons and usage are carried both ways, streamed or
  not, event by event. A backend that answers a streamed call with JSON, or the reverse, is
  converted.
- Reasoning reaches clients of Chat Completions as `reasoning_content`, and as `reasoning_details`
  to be sent back; Anthropic clients get `thinking` blocks, with a signature of ours where the
  backend has none; clients of Responses get reasoning items, whose `encrypted_content` is a token
  of ours unless the backend encrypted it itself. Sent back, reasoning goes to the vendor that made
  it and to no other.
- An answer to a client of Responses says `"store": false`, whatever was asked: the broker keeps
  none. It repeats what the request said, and numbers its events without gaps.
- `model` in the answer is the name that the client asked for; `x-lmbroker-model` is the backend's.
- Web citations become `annotations`; what only one vendor's clients understand (server tools'
  blocks, log probabilities) stays with that vendor.
- What only nearly is of the dialect is read for what it is: several choices of one message,
  missing or repeated ids of calls, arguments that are `null`, an object, or JSON text of JSON
  text. Text between `<think>` and `</think>` at the head of an answer is reasoning, for models
  known to write it so and where `profile.think_tags` says so.
- An answer that was cut off is never told as finished: a stop reason that nobody knows counts as
  cut off, and is reported. A call whose arguments are not whole is never closed.
- What an answer loses or changes on its way is reported, by paths in the backend's naming
  (`choices[].message.images`, `content[].web_search_tool_result`).
- No usage from the backend: the broker estimates; also what came of an answer that broke off or
  whose client left. `message_start` carries the estimated input until the backend has counted.
- A stream that has told why it stopped ends for the client after `timeouts.after_stop`, 2 s, if
  its backend keeps it open.

## Errors

{errors}

`retry-after`, `retry-after-ms` and `x-should-retry` go through. A stream that breaks ends with
one error event in the client's format, never with a proper end.
"""

if __name__ == "__main__":
    PAGE.write_text(page())
