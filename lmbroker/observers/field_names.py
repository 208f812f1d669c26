"""The names of fields that may stand in metrics: those of the known APIs.

A client may write any other field, and a backend may refuse any: such a name is ``other``, so that
neither can make up labels.
"""

from functools import lru_cache

OTHER = "other"

_NAMES = """
access_programs acknowledged_safety_checks action actions allowed_callers allowed_domains
allowed_tools always annotations anthropic_beta anthropic_version approval_request_id approve
approximate arguments async attributes audio authorization background background_options best_of
betas billing blocked_domains budget_tokens bytes cache_control cached_content call_id caller
caller_id categories chat_template_kwargs choices citations city client_tool_results code
code_execution_tool_result command commands compact_threshold comparison_response_id
completed_at completion_window complexity configs connector_id container container_id content
context context_compression context_management continuation_id conversation country created
custom cyber data data_sources defer_loading deferred definition delta description detail
diagnostics diff dimensions disable_parallel_tool_use display display_height display_width
document documents eager_input_streaming echo effort embedding_weight enable_thinking enabled
encoding_format encrypted_content encrypted_stdout end_index enhancements env environment error
error_code error_message execution exit_code external_web_access extra_body file file_citation
file_data file_id file_ids file_type file_upload file_url filename files filters fingerprint
finish_reason first_assistant format frame_count frame_duration_ms frequency_penalty function
function_call functions generate_summary grammar guided_choice guided_json guided_regex headers
hybrid_search id ignore_eos image image_url images include include_obfuscation include_usage
incomplete_details index inference_geo input input_audio input_examples input_fidelity
input_image_mask input_schema input_tokens instructions is_error is_file_update item_reference
json_schema keep_alive key keys lines logit_bias logprob logprobs logs max_characters
max_completion_tokens max_content_tokens max_num_results max_output_length max_output_tokens
max_tokens max_tool_calls max_uses mcp_servers media_type memory_limit message messages metadata
mid_system min_p mirostat modalities mode model models moderation moderation_details
moderation_stage n name namespace network_policy never num_ctx num_lines operation options
outcome output output_compression output_config output_format output_schema output_text
output_tokens outputs oversized_image parallel_function_calling parallel_tool_calls param
parameters part partial partial_images path pattern pending_safety_checks phase plugins policy
prediction prefill prefix presence_penalty previous_message_id previous_response_id prewarm
prompt prompt_cache_breakpoint prompt_cache_key prompt_cache_options prompt_cache_retention
properties provider quality queries query random_seed ranker ranking_options read_only reason
reasoning reasoning_content reasoning_details reasoning_effort reasoning_part reasoning_text
reasoning_tokens redacted_thinking refusal region repetition_penalty require_approval required
response_format response_inclusion result results retrieved_at return_code revised_prompt role
route safe_prompt safety_identifier schema score score_threshold search_content_types
search_context_size search_result seed server_description server_label server_tool_results
server_tool_use server_url service_tier signature size skill_id skills source sources speed
start_index start_line status stderr stdout stop stop_reason stop_sequence stop_sequences store
stream stream_options strict suffix summary svg svg_usage syntax system system_fingerprint
temperature text text_weight tfs_z think thinking thinking_blocks thinking_budget tier
timeout_ms timezone title token tool tool_call_id tool_calls tool_choice tool_id tool_names
tool_references tool_result tool_use tool_use_id tools toolset_name top_a top_k top_logprobs
top_p total_lines total_tokens transformations transforms truncation ttl tunnel_id type
typical_p url url_sources usage use_cache user user_id user_input user_location user_profile_id
value variables vector_store_ids verbosity version voice web_search_options
web_search_tool_result working_directory workspace_id
"""

FIELDS = frozenset(_NAMES.split())
"""Fields of requests and answers of the APIs whose dialects the broker speaks, of common additions
to them, and the broker's own words for what it could not carry."""


@lru_cache(maxsize=1024)
def field_of(path: str) -> str:
    """Return the label of a path such as ``messages[].content[].cache_control``: its last name."""
    name = path.rpartition(".")[2].partition("[")[0]
    return name if name in FIELDS else OTHER


@lru_cache(maxsize=1024)
def parameter_of(parameter: str) -> str:
    """Return the label of a refused parameter: itself, where all its names are known."""
    names = [each.partition("[")[0] for each in parameter.split(".")]
    return parameter if len(names) <= 2 and FIELDS.issuperset(names) else OTHER
