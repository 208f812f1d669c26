"""The fields of OpenAI's Responses: of a request, and of each kind of item, part and tool.

Written after OpenAI's API reference (responses/create, input_tokens, compact). A field that is not
here is refused, as OpenAI refuses it.
"""


def _fields(text: str) -> frozenset[str]:
    return frozenset(text.split())


CREATE = _fields(
    "access_programs background background_options client_metadata context_management conversation"
    " image include input instructions max_output_tokens max_tool_calls metadata model moderation"
    " parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options"
    " prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options"
    " temperature text tool_choice tools top_logprobs top_p truncation user"
)
"""``client_metadata`` is not in the reference: Codex sends it, and OpenAI takes it."""

COUNT = _fields(
    "conversation input instructions model parallel_tool_calls personality previous_response_id"
    " reasoning text tool_choice tools truncation"
)

COMPACT = _fields(
    "image input instructions model previous_response_id prompt_cache_key prompt_cache_options"
    " prompt_cache_retention service_tier"
)

ITEMS = {
    "message": _fields("type content id phase role status"),
    "file_search_call": _fields("type id queries results status"),
    "computer_call": _fields("type action actions call_id id pending_safety_checks status"),
    "computer_call_output": _fields("type acknowledged_safety_checks call_id id output status"),
    "web_search_call": _fields("type action id status"),
    "function_call": _fields("type arguments async call_id caller id name namespace status"),
    "function_call_output": _fields("type call_id caller id name namespace output status"),
    "tool_search_call": _fields("type arguments call_id execution id status"),
    "tool_search_output": _fields("type call_id execution id status tools"),
    "additional_tools": _fields("type id role tools"),
    "configuration_update": _fields("type id reasoning text"),
    "reasoning": _fields("type content encrypted_content id status summary"),
    "compaction": _fields("type encrypted_content id"),
    "image_generation_call": _fields(
        "type action background error id output_format quality result revised_prompt size status"
        " svg_usage"
    ),
    "code_interpreter_call": _fields("type code container_id id outputs status"),
    "local_shell_call": _fields("type action call_id id status"),
    "local_shell_call_output": _fields("type id output status"),
    "shell_call": _fields("type action call_id caller environment id status"),
    "shell_call_output": _fields("type call_id caller id max_output_length output status"),
    "apply_patch_call": _fields("type call_id caller id operation status"),
    "apply_patch_call_output": _fields("type call_id caller id output status"),
    "mcp_list_tools": _fields("type error id server_label tools"),
    "mcp_approval_request": _fields("type arguments id name server_label"),
    "mcp_approval_response": _fields("type approval_request_id approve id reason"),
    "mcp_call": _fields(
        "type approval_request_id arguments error id name output server_label status"
    ),
    "custom_tool_call_output": _fields("type call_id caller id output status"),
    "custom_tool_call": _fields("type async call_id caller id input name namespace status"),
    "compaction_trigger": _fields("type id"),
    "item_reference": _fields("type id"),
    "program": _fields("type call_id code fingerprint id"),
    "program_output": _fields("type call_id id result status"),
}
"""Fields of an item, by its type."""

PARTS = {
    "input_text": _fields("type text prompt_cache_breakpoint"),
    "input_image": _fields("type detail file_id image_url prompt_cache_breakpoint"),
    "input_file": _fields(
        "type detail file_data file_id file_url filename prompt_cache_breakpoint"
    ),
    "output_text": _fields("type text annotations logprobs"),
    "refusal": _fields("type refusal"),
}
"""Fields of a part of a message, by its type."""

TOOLS = {
    "function": _fields(
        "type allowed_callers async defer_loading description name output_schema parameters strict"
    ),
    "file_search": _fields("type filters max_num_results ranking_options vector_store_ids"),
    "computer": _fields("type"),
    "computer_use_preview": _fields("type display_height display_width environment"),
    "web_search": _fields(
        "type external_web_access filters search_content_types search_context_size user_location"
    ),
    "mcp": _fields(
        "type allowed_callers allowed_tools authorization connector_id defer_loading headers"
        " require_approval server_description server_label server_url tunnel_id"
    ),
    "code_interpreter": _fields("type allowed_callers container"),
    "programmatic_tool_calling": _fields("type"),
    "image_generation": _fields(
        "type action background complexity frame_count frame_duration_ms input_fidelity"
        " input_image_mask model moderation output_compression output_format partial_images"
        " quality size svg"
    ),
    "local_shell": _fields("type"),
    "shell": _fields("type allowed_callers environment"),
    "custom": _fields("type allowed_callers async defer_loading description format name"),
    "namespace": _fields("type description name tools"),
    "tool_search": _fields("type description execution parameters"),
    "web_search_preview": _fields("type search_content_types search_context_size user_location"),
    "apply_patch": _fields("type allowed_callers"),
}
"""Fields of a tool, by its type; a dated type has the fields of the one without a date."""

INCLUDABLE = _fields(
    "file_search_call.results web_search_call.results web_search_call.action.sources"
    " message.input_image.image_url computer_call_output.output.image_url"
    " code_interpreter_call.outputs reasoning.encrypted_content message.output_text.logprobs"
)
"""What ``include`` may name."""

ID_BEGINS = {
    "message": "msg",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "reasoning": "rs",
    "compaction": "cmp",
}
"""How the id of an item begins, by its type."""

ANSWERED = {
    "function_call_output": "function call",
    "custom_tool_call_output": "custom tool call",
}
"""What an output answers, in the words of OpenAI's errors."""
