"""The headers of the Responses dialect: OpenAI's, and those by which Codex names its session.

See translation.md section 6.
"""

import msgspec

from lmbroker.translation.dialects.openai.headers import HEADERS as SHARED

HEADERS = msgspec.structs.replace(
    SHARED,
    passed=SHARED.passed
    | {
        "conversation_id",
        "originator",
        "session-id",
        "session_id",
        "thread-id",
        "x-openai-subagent",
    },
    passed_prefix="x-codex-",
)
