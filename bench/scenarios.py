"""What is asked of a system: the paths, the bodies, and the load of each scenario.

Paths: ``a`` = OpenAI client to OpenAI backend, ``b`` = Anthropic client to OpenAI backend,
``c`` = OpenAI client to Anthropic backend, ``d`` = Anthropic client to Anthropic backend,
``e``, ``f``, ``g`` = Responses client to OpenAI, Anthropic and Responses backend,
``h``, ``i`` = OpenAI and Anthropic client to Responses backend.
"""

from typing import Any

import msgspec

_DIALECTS = {
    "a": ("openai", "openai"),
    "b": ("anthropic", "openai"),
    "c": ("openai", "anthropic"),
    "d": ("anthropic", "anthropic"),
    "e": ("responses", "openai"),
    "f": ("responses", "anthropic"),
    "g": ("responses", "responses"),
    "h": ("openai", "responses"),
    "i": ("anthropic", "responses"),
}
PATHS = "".join(_DIALECTS)
USUAL_PATHS = "abcdefg"
CLIENT_DIALECT = {path: client for path, (client, _) in _DIALECTS.items()}
BACKEND_DIALECT = {path: backend for path, (_, backend) in _DIALECTS.items()}
PASSED = "".join(path for path, (client, backend) in _DIALECTS.items() if client == backend)
TRANSLATED = "".join(path for path in PATHS if path not in PASSED)
BASE_PATH = {
    path: next(each for each in PASSED if BACKEND_DIALECT[each] == BACKEND_DIALECT[path])
    for path in PATHS
}
"""Path -> the path on which nginx moves the same backend's bytes."""

URLS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
}
HEADERS = {
    "openai": ("Authorization: Bearer bench",),
    "responses": ("Authorization: Bearer bench",),
    "anthropic": ("x-api-key: bench", "anthropic-version: 2023-06-01"),
}


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """``model`` is the mock's (mockllm.c), ``events`` how many texts each answer must have,
    ``load`` the load generator's arguments (loadgen.c), ``seconds`` about how long it takes. CPU
    time is told per ``unit``."""

    name: str
    model: str
    load: tuple[str, ...]
    seconds: float = 1.8
    events: int = 1
    stream: bool = True
    turns: int = 0
    unit: str = "call"


def _streams(count: int, *, ramp_ms: int) -> tuple[str, ...]:
    """``count`` connections that ask once each."""
    return ("-c", str(count), "-n", str(count), "-r", str(ramp_ms))


NS64 = Scenario(name="ns64", model="mock-n1-d0", stream=False, load=("-c", "64", "-t", "1.5"))
"""64 connections, answers of 1 kB, as fast as possible."""

BIG16 = Scenario(
    name="big16", model="mock-n1-d0", stream=False, turns=190, load=("-c", "16", "-t", "1.5")
)
"""16 connections, requests of 200 kB: a long conversation."""

FAST16 = Scenario(
    name="fast16", model="mock-n100-d0", events=100, load=("-c", "16", "-t", "1.5"), unit="event"
)
"""16 connections, streams of 100 events without pauses: many events per read."""

PACED512 = Scenario(
    name="paced512",
    model="mock-n100-d20",
    events=100,
    load=_streams(512, ramp_ms=500),
    seconds=4.0,
    unit="event",
)
"""512 streams of 100 events, one every 20 ms."""

SCENARIOS = {scenario.name: scenario for scenario in (NS64, PACED512, FAST16, BIG16)}
"""Those that are run in rounds."""


class Standing(Scenario, frozen=True, kw_only=True):
    """Streams that stand for a while: after ``sample_seconds`` all have begun and none has
    ended."""

    streams: int
    sample_seconds: float


def _idle(name: str, streams: int, *, ramp_ms: int, pause_ms: int, sample: float) -> Standing:
    """Streams that have begun and say nothing."""
    return Standing(
        name=name,
        model=f"mock-n1-d{pause_ms}",
        load=_streams(streams, ramp_ms=ramp_ms),
        seconds=(ramp_ms + pause_ms) / 1000,
        streams=streams,
        sample_seconds=sample,
    )


def _live(name: str, streams: int, *, ramp_ms: int, events: int, sample: float) -> Standing:
    """Streams that say something every 400 ms."""
    return Standing(
        name=name,
        model=f"mock-n{events}-d400",
        events=events,
        load=_streams(streams, ramp_ms=ramp_ms),
        seconds=ramp_ms / 1000 + events * 0.4,
        unit="event",
        streams=streams,
        sample_seconds=sample,
    )


STANDING = {
    standing.name: standing
    for standing in (
        _idle("idle", 1000, ramp_ms=1000, pause_ms=6000, sample=4.0),
        _live("live", 1000, ramp_ms=1000, events=20, sample=4.0),
        _idle("idle4000", 4000, ramp_ms=6000, pause_ms=14_000, sample=10.0),
        _live("live4000", 4000, ramp_ms=6000, events=35, sample=10.0),
    )
}
"""Those that tell what a stream takes in memory."""

MOST_STREAMS = 4000

GROWTH_CALLS = 36_000
"""Ten calls a second for an hour."""

GROWTH_STREAMS = Scenario(
    name="growth",
    model="mock-n10-d0",
    events=10,
    load=("-c", "64", "-n", str(GROWTH_CALLS // 6)),
    unit="call",
)
GROWTH_WHOLE = Scenario(
    name="growth",
    model="mock-n1-d0",
    stream=False,
    load=("-c", "64", "-n", str(GROWTH_CALLS // 6)),
)
"""An hour's calls are three of each."""


def held(streams: int) -> Scenario:
    """``streams`` streams of 200 events, one every 20 ms."""
    return Scenario(
        name="held",
        model="mock-n200-d20",
        events=200,
        load=_streams(streams, ramp_ms=1000),
        seconds=5.5,
        unit="event",
    )


MOCK_MODELS = sorted(
    {
        scenario.model
        for scenario in (
            *SCENARIOS.values(),
            *STANDING.values(),
            GROWTH_STREAMS,
            GROWTH_WHOLE,
            held(1),
        )
    }
)

_SYSTEM = "You are a helpful assistant. Answer briefly, in plain text, and cite nothing."
_USER = "What is the capital of France? " + "Please think about geography. " * 12
_TURN = 'Please think about geography, "and" then\nsay why. ' * 20


def model_name(path: str, model: str) -> str:
    """The model a client asks for. nginx passes it on, and the mock finds its own name in it."""
    return f"{BACKEND_DIALECT[path]}/{model}"


def body(path: str, scenario: Scenario, prefix: str = "") -> bytes:
    """The request of a scenario, in the dialect of the path's client; ``prefix`` is what the
    system wants before the model's name."""
    name = prefix + model_name(path, scenario.model)
    dialect = CLIENT_DIALECT[path]
    responses = dialect == "responses"
    request: dict[str, Any] = {"model": name}
    request["max_output_tokens" if responses else "max_tokens"] = 256
    messages = [{"role": "user", "content": _USER}]
    messages += [
        {"role": "user" if turn % 2 else "assistant", "content": _TURN}
        for turn in range(scenario.turns)
    ]
    if dialect == "openai":
        messages.insert(0, {"role": "system", "content": _SYSTEM})
    else:
        request["instructions" if responses else "system"] = _SYSTEM
    request |= {"input" if responses else "messages": messages, "temperature": 0.7}
    if scenario.stream:
        request["stream"] = True
    return msgspec.json.encode(request)
