"""What clients of OpenAI's Responses may ask, by headings, for docs/translation.md.

``translation_page.py`` writes that page.
"""

from typing import Any

JSON = dict[str, Any]
Question = tuple[str, JSON]

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "done"}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
PDF = "data:application/pdf;base64,JVBERi0xLjQK"


def says(*parts: JSON) -> JSON:
    """Return a conversation that ends with a user's message of these parts."""
    return {"input": [{"role": "user", "content": list(parts)}]}


def after(*items: JSON) -> JSON:
    """Return a conversation that goes on with these items."""
    return {"input": [USER, *items]}


QUESTIONS: tuple[tuple[str, tuple[Question, ...]], ...] = (
    (
        "Limits and sampling",
        (
            ("max_output_tokens", {"max_output_tokens": 100}),
            ("neither a limit nor anything else", {}),
            ("temperature", {"temperature": 0.5}),
            ("top_p", {"top_p": 0.9}),
            ("top_logprobs", {"top_logprobs": 2}),
            ("max_tool_calls", {"max_tool_calls": 2}),
            ("truncation auto", {"truncation": "auto"}),
        ),
    ),
    (
        "Reasoning and output",
        (
            ("reasoning.effort", {"reasoning": {"effort": "high"}}),
            ("reasoning.effort none", {"reasoning": {"effort": "none"}}),
            ("reasoning.summary", {"reasoning": {"effort": "low", "summary": "auto"}}),
            ("include reasoning.encrypted_content", {"include": ["reasoning.encrypted_content"]}),
            ("include logprobs", {"include": ["message.output_text.logprobs"]}),
            (
                "text.format json_schema",
                {"text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}}},
            ),
            ("text.format json_object", {"text": {"format": {"type": "json_object"}}}),
            ("text.verbosity", {"text": {"verbosity": "low"}}),
        ),
    ),
    (
        "Input",
        (
            ("instructions", {"instructions": "S"}),
            ("a string", {"input": "Hello"}),
            ("a developer message", {"input": [{"role": "developer", "content": "D"}, USER]}),
            ("a later system message", after({"role": "system", "content": "S"})),
            (
                "a message of the model",
                after(
                    {
                        "type": "message",
                        "id": "msg_1",
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": "A", "annotations": []}],
                    },
                    USER,
                ),
            ),
            ("function_call and its output", {"tools": [TOOL], **after(CALL, RESULT)}),
            (
                "an image in an output",
                {
                    "tools": [TOOL],
                    **after(
                        CALL,
                        {
                            **RESULT,
                            "output": [
                                {
                                    "type": "input_image",
                                    "image_url": f"data:image/png;base64,{PNG}",
                                }
                            ],
                        },
                    ),
                },
            ),
            (
                "reasoning with encrypted content",
                after(
                    {
                        "type": "reasoning",
                        "id": "rs_1",
                        "summary": [{"type": "summary_text", "text": "R"}],
                        "encrypted_content": "gAAA",
                    },
                    CALL,
                    RESULT,
                ),
            ),
            ("item_reference", after({"type": "item_reference", "id": "msg_1"})),
            ("compaction", after({"type": "compaction", "encrypted_content": "gAAA"}, USER)),
            ("compaction_trigger", after({"type": "compaction_trigger"})),
            (
                "input_image, a data URL",
                says({"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}),
            ),
            (
                "input_file, a PDF",
                says({"type": "input_file", "filename": "a.pdf", "file_data": PDF}),
            ),
            (
                "input_file by URL",
                says({"type": "input_file", "file_url": "https://a.example/b.pdf"}),
            ),
            ("input_file by id", says({"type": "input_file", "file_id": "file-1"})),
        ),
    ),
    (
        "Tools",
        (
            ("tools, a function", {"tools": [TOOL]}),
            ("tools, a custom tool", {"tools": [{"type": "custom", "name": "f"}]}),
            (
                "tools, a namespace",
                {
                    "tools": [
                        {"type": "namespace", "name": "n", "description": "N", "tools": [TOOL]}
                    ]
                },
            ),
            ("tools, web_search", {"tools": [{"type": "web_search"}]}),
            ("tools, file_search", {"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}),
            ("tool_choice required", {"tools": [TOOL], "tool_choice": "required"}),
            (
                "tool_choice, a name",
                {"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}},
            ),
            (
                "tool_choice allowed_tools",
                {
                    "tools": [TOOL],
                    "tool_choice": {
                        "type": "allowed_tools",
                        "mode": "auto",
                        "tools": [{"type": "function", "name": "f"}],
                    },
                },
            ),
            ("parallel_tool_calls false", {"tools": [TOOL], "parallel_tool_calls": False}),
        ),
    ),
    (
        "The rest",
        (
            ("stream", {"stream": True}),
            ("store true", {"store": True}),
            ("previous_response_id", {"previous_response_id": "resp_1"}),
            ("conversation", {"conversation": "conv_1"}),
            ("background", {"background": True}),
            ("prompt", {"prompt": {"id": "pmpt_1"}}),
            ("context_management", {"context_management": [{"type": "compaction"}]}),
            ("prompt_cache_key", {"prompt_cache_key": "k"}),
            ("safety_identifier", {"safety_identifier": "u1"}),
            ("metadata", {"metadata": {"a": "b"}}),
            ("service_tier flex", {"service_tier": "flex"}),
            ("an unknown field", {"something_new": 1}),
        ),
    ),
)
