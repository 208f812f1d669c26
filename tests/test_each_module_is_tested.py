"""Each module has a test file of its name, or is named here with the tests that hold it instead."""

from markers import TESTS
from test_layers import PACKAGE, SOURCES

WIDER = "The test is of what several modules do together, and has the name of that."
OUTSIDE = "Its work shows only in what a client, a backend or a shell sees."
TYPES = "It holds types, constants or tables, and does nothing by itself."
DIALECT = "A dialect is tested by what it reads and writes: requests, answers, streams, errors."

ELSEWHERE = {
    WIDER: {
        "backends.client.failures": "test_client_connection",
        "backends.client.pool": "test_client_connection test_stray_answers",
        "backends.client.response": "test_client_connection test_client_h11",
        "backends.connections": "test_backends test_loopback_tls",
        "backends.peer": "test_site_loopback test_loopback_tls",
        "backends.pieces": "test_whole_bodies",
        "backends.sending": "test_backends test_key_files",
        "broker.practice": "test_daemon test_embedded",
        "broker.health_checks": "test_checks",
        "broker.recorded": "test_captures test_replayed_captures",
        "capture": "test_captures test_replayed_captures",
        "commands.capture": "test_capture_daemon",
        "commands.captured_files": "test_capture_daemon",
        "daemon.capture_command": "test_control test_capture_daemon",
        "broker.model_listing": "test_listing test_loopback_listing",
        "broker.target_attempt": "test_loopback test_loopback_repairs test_own_key",
        "commands.importing": "test_import_litellm test_import_ccr",
        "config.client_certificate": "test_config_proxies_and_mtls",
        "config.cipher_suites": "test_config test_loopback_tls",
        "daemon.service": "test_daemon test_operations",
        "daemon.workers": "test_workers test_workers_parts test_workers_parent test_workers_start",
        "observers.access_log": "test_operations test_loopback_access",
        "backends.client.response_parser": "test_client_h11 test_response_framings",
        "observers.batching": "test_operations",
        "observers.call_groups": "test_metrics",
        "observers.call_metrics": "test_metrics test_operations",
        "observers.daemon_metrics": "test_metrics test_workers",
        "observers.exposition": "test_metrics",
        "observers.field_names": "test_metrics",
        "observers.gen_ai_metrics": "test_metrics",
        "observers.histograms": "test_metrics",
        "observers.level_metrics": "test_metrics test_operations",
        "observers.overhead_metrics": "test_metrics test_overhead",
        "observers.usage_metrics": "test_metrics",
        "daemon.reactor_lag": "test_overhead",
        "observers.json_log": "test_log_writer test_operations",
        "commands.limits": "test_limits_kept",
        "limiting.reports": "test_limits_kept",
        "limiting.redis_connection": "test_redis_store",
        "limiting.limiter": "test_limiting",
        "limiting.needs": "test_limit_needs",
        "limiting.store": "test_limits_simulation test_limiting",
        "routing.limit_windows": "test_limit_ledger",
        "offload.channel": "test_workers_parts",
        "offload.helper": "test_offload",
        "offload.jobs": "test_offload",
        "offload.work": "test_offload",
        "routing.aliases": "test_routing",
        "routing.breaker": "test_health",
        "routing.target_health": "test_health",
        "secret": "test_redaction",
        "server.recorded_incoming": "test_captures",
        "server.http": "test_site test_site_lean test_site_loopback test_site_smuggling",
        "testing": "test_testing test_practice_responses",
        "translation.losses": "test_answer_losses test_silent_losses",
        "translation.profiles.lookup": "test_profiles",
        "translation.profiles.profile": "test_profiles",
        "translation.refusals.error_kinds": "test_errors test_error_bodies",
        "translation.refusals.sentences": "test_wordings",
        "translation.refusals.stream_errors": "test_errors test_errors_with_200",
        "translation.shared.answer_ids": "test_laws",
        "translation.shared.attribution": "test_taken_out",
        "translation.shared.call_ids": "test_clients_side",
        "translation.shared.cuts": "test_taken_out",
        "translation.shared.custom_tools": "test_request_openai_to_anthropic "
        "test_responses_request_encode",
        "translation.shared.instructions": "test_request_anthropic_to_openai",
        "translation.shared.left_out": "test_request_anthropic_to_openai",
        "translation.shared.part_queue": "test_openai_stream_decode test_odd_calls",
        "translation.shared.waiting_part": "test_openai_stream_decode test_odd_calls",
        "translation.shared.pairing": "test_message_order test_request_anthropic_to_openai",
        "translation.shared.readable": "test_request_anthropic_to_openai",
        "translation.shared.reasoning": "test_reasoning_replay test_thinking_off",
        "translation.shared.reasoning_places": "test_reasoning_replay",
        "translation.unified.image_size": "test_counting",
        "workflows.embeddings": "test_openai_embeddings",
        "workflows.fitting": "test_fitting_reports",
        "translation.model_lists": "test_models",
        "workflows.model_list": "test_models",
        "workflows.passthrough": "test_transforms",
        "workflows.repairs": "test_repairs test_wordings",
        "workflows.translation": "test_conversion test_replay test_continuation",
    },
    OUTSIDE: {
        "backends.proxy_tunnel": "test_loopback_proxies_and_mtls",
        "broker.answer_headers": "test_loopback",
        "broker.answers": "test_loopback",
        "broker.receiving": "test_loopback test_loopback_chaos_answers",
        "broker.broker": "test_loopback test_loopback_routing",
        "commands.check": "test_cli",
        "commands.completion": "test_parser",
        "commands.explain": "test_cli",
        "commands.genkey": "test_cli",
        "commands.manual": "test_parser",
        "commands.output": "test_cli",
        "commands.translate": "test_cli",
        "daemon.listening": "test_daemon",
        "daemon.listening_service": "test_daemon test_workers_parent",
        "daemon.reloads": "test_daemon",
        "server.callers": "test_embedded",
        "server.call_reading": "test_loopback test_loopback_compressed test_bounds",
        "server.error_answers": "test_loopback",
        "server.resource": "test_loopback test_embedding",
        "server.routes": "test_loopback test_loopback_access",
        "server.served_call": "test_loopback test_loopback_cancellation",
    },
    TYPES: {
        "backends.interfaces": "test_reactor",
        "backends.turn_end": "test_reactor",
        "call": "test_loopback",
        "config.fields": "test_config",
        "config.settings": "test_config test_configuration_page",
        "constraints": "test_config",
        "limits": "test_config test_bounds",
        "translation.dialects.base": "test_laws",
        "translation.dialects.catalog": "test_laws",
        "translation.shared.fields": "test_anthropic_request_fields",
        "translation.unified.parts": "test_fold",
        "translation.unified.request": "test_counting",
        "translation.unified.response": "test_fold",
        "translation.unified.stream": "test_fold",
        "workflows.contract": "test_transforms",
    },
    DIALECT: {
        "translation.dialects.anthropic_messages": "test_anthropic_request_decode "
        "test_request_openai_to_anthropic test_anthropic_response test_anthropic_stream_decode "
        "test_anthropic_stream_encode test_errors",
        "translation.dialects.openai": "test_openai_request_decode test_responses_request_decode "
        "test_errors test_key_files test_models test_profiles "
        "test_rate_limit_headers test_openai_response",
        "translation.dialects.openai_chat": "test_openai_request_decode test_openai_embeddings "
        "test_request_anthropic_to_openai test_openai_response test_openai_stream_decode "
        "test_openai_stream_encode test_errors test_openai_tap",
        "translation.dialects.openai_responses": "test_responses_request_decode "
        "test_responses_request_fields test_responses_stream_decode "
        "test_responses_response_decode test_responses_tap test_responses_stream_encode "
        "test_responses_response_encode",
    },
}
"""Reason -> module, or package of which that is so for all -> the tests instead."""

LISTED = {name: tests.split() for group in ELSEWHERE.values() for name, tests in group.items()}
TEST_FILES = {path.stem for path in TESTS.rglob("test_*.py")}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in SOURCES
    if not path.stem.startswith("__")
}


def own_test(module: str) -> bool:
    """Whether a test file has the name of ``module``, or of its package and it."""
    steps = module.split(".")
    return bool({f"test_{'_'.join(steps[-count:])}" for count in (1, 2)} & TEST_FILES)


def listed(module: str) -> bool:
    steps = module.split(".")
    return any(".".join(steps[:count]) in LISTED for count in range(1, len(steps) + 1))


def test_each_module_has_its_test():
    assert [each for each in MODULES if not own_test(each) and not listed(each)] == []


def test_the_list_is_true():
    assert {name for tests in LISTED.values() for name in tests} - TEST_FILES == set()
    packages = {name.rpartition(".")[0] for name in MODULES}
    assert set(LISTED) - set(MODULES) - packages == set(), "is there no more"
    assert [name for name in LISTED if name in MODULES and own_test(name)] == [], "has its own"
