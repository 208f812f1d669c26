"""OpenTelemetry's metrics of clients of generative AI, in Prometheus' form.

Names, buckets and attributes are those of its semantic conventions for generative AI, version 0.1.0
(github.com/open-telemetry/semantic-conventions-genai): points become underscores, the unit and
``_total`` are put behind. The client is the broker, and the operation is one attempt at a target.
What the conventions call a chunk is what was received at once. The conventions are still in
development; these names change with them.
"""

from collections.abc import Sequence
from functools import cache
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Histogram

from lmbroker.call import CHUNK_BOUNDS, Attempt, Backend, Record
from lmbroker.observers.call_groups import Group, model_of
from lmbroker.observers.histograms import add_counts, observe_all
from lmbroker.translation.dialects.catalog import ADAPTERS

INFERENCE = {"chat": "chat", "completions": "text_completion", "compact": "compact"}
"""Our operations that are inference, and their names in ``gen_ai.operation.name``."""

EMBEDDINGS = "embeddings"

TOKEN_BOUNDS = tuple(4**power for power in range(14))

PROVIDERS = (
    ("openai.azure.com", "azure.ai.openai"),
    ("cognitiveservices.azure.com", "azure.ai.openai"),
    ("services.ai.azure.com", "azure.ai.inference"),
    ("amazonaws.com", "aws.bedrock"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("groq.com", "groq"),
    ("deepseek.com", "deepseek"),
    ("mistral.ai", "mistral_ai"),
    ("moonshot.ai", "moonshot_ai"),
    ("moonshot.cn", "moonshot_ai"),
    ("perplexity.ai", "perplexity"),
    ("cohere.com", "cohere"),
    ("cohere.ai", "cohere"),
    ("x.ai", "x_ai"),
    ("ml.cloud.ibm.com", "ibm.watsonx.ai"),
)
"""The ends of hosts' names, and what ``gen_ai.provider.name`` is there."""

LABELS = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "server_address",
    "server_port",
)


def provider_of(backend: Backend) -> str:
    """Return ``gen_ai.provider.name`` of a backend: by its host, else by the API it speaks."""
    host = "." + backend.host
    for end, name in PROVIDERS:
        if host.endswith("." + end):
            return name
    facts = ADAPTERS[backend.dialect].facts
    return (facts.api or facts.name).lower()


class GenAIMetrics:
    """Counts the attempts of groups of calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, meaning: str, bounds: Sequence[float], *more: str) -> Histogram:
            labels = (*LABELS, *more)
            return Histogram(name, meaning, labels, buckets=bounds, registry=registry)

        def counter(name: str, meaning: str) -> Counter:
            labels = (*LABELS, "gen_ai_token_modality")
            return Counter(f"{prefix}_usage_{name}_total", meaning, labels, registry=registry)

        prefix = "gen_ai_client_inference"
        error = "error_type"
        self.durations = histogram(
            f"{prefix}_duration_seconds",
            "From an attempt's start to the end of its answer, or to its failure.",
            CHUNK_BOUNDS,
            error,
        )
        self.first_chunks = histogram(
            f"{prefix}_time_to_first_chunk_seconds",
            "From an attempt's start to the first event of a streamed answer.",
            CHUNK_BOUNDS,
        )
        self.chunks = histogram(
            f"{prefix}_time_per_output_chunk_seconds",
            "From one chunk of a streamed answer to the next, for each but the first. A chunk is "
            "what was received at once. Time in which the broker did not read, since the client "
            "did not, does not count.",
            CHUNK_BOUNDS,
        )
        self.usage = (
            counter("input_tokens", "Input tokens, those of caches included."),
            counter("output_tokens", "Output tokens, reasoning included."),
            counter("cache_read_input_tokens", "Input tokens that the backend's cache held."),
            counter("cache_write_input_tokens", "Input tokens written to the backend's cache."),
            counter("reasoning_output_tokens", "Output tokens of reasoning."),
        )
        self.inputs = histogram(
            f"{prefix}_operation_input_tokens", "Input tokens of an attempt.", TOKEN_BOUNDS, error
        )
        self.outputs = histogram(
            f"{prefix}_operation_output_tokens", "Output tokens of an attempt.", TOKEN_BOUNDS, error
        )
        prefix = "gen_ai_client_embeddings"
        self.embeddings = histogram(
            f"{prefix}_duration_seconds",
            "From the start of an attempt to get embeddings to its end.",
            CHUNK_BOUNDS,
            error,
        )
        self.embedded = histogram(
            f"{prefix}_operation_input_tokens",
            "Input tokens of an attempt to get embeddings.",
            TOKEN_BOUNDS,
            error,
        )
        self._places: dict[tuple[str, str, str], _Inference | _Embeddings] = {}

    def _labels_of(self, operation: str, backend: Backend, model: str) -> tuple[str, ...]:
        url = urlsplit(backend.url)
        port = url.port or (80 if url.scheme == "http" else 443)
        return operation, provider_of(backend), model, backend.host, str(port)

    def known(self, operation: str, backend: Backend, model: str) -> "_Inference | _Embeddings":
        """Return the series of a target, whose counters exist from now on.

        A reload may have brought another URL: labels are those of the first backend of a name that
        was seen, until ``forget``.
        """
        place = operation, backend.name, model
        found = self._places.get(place)
        if found is None:
            name = INFERENCE.get(operation, EMBEDDINGS)
            made = _Embeddings if name == EMBEDDINGS else _Inference
            found = self._places[place] = made(self, self._labels_of(name, backend, model))
        return found

    def forget(self) -> None:
        """Look up the labels of all backends anew: the configuration has changed."""
        self._places.clear()

    def take(self, group: Group, records: list[Record]) -> None:
        """Count the attempts of the ended calls of a group."""
        operation = group.operation
        if operation not in INFERENCE and operation != EMBEDDINGS:
            return
        if not records[0].attempts:
            return
        backend = records[0].attempts[-1].target.backend
        self.known(operation, backend, group.model).take(group, records)
        for record in records:
            for attempt in record.attempts[:-1]:
                target = attempt.target
                model = model_of(target, record.alias)
                self.known(operation, target.backend, model).failed(attempt)


class _Embeddings:
    """The series of one target for embeddings."""

    def __init__(self, metrics: GenAIMetrics, labels: tuple[str, ...]) -> None:
        self._duration = cache(lambda error: metrics.embeddings.labels(*labels, error))
        self._inputs = cache(lambda error: metrics.embedded.labels(*labels, error))

    def take(self, group: Group, records: list[Record]) -> None:
        """Count the last attempts of ended calls."""
        for error, members in _by_error(records):
            observe_all(self._duration(error), _durations(members))
            observe_all(self._inputs(error), [_prompt(record) for record in members])

    def failed(self, attempt: Attempt) -> None:
        """Count an attempt after which another one was made."""
        self._duration(attempt.error).observe(_seconds(attempt))
        self._inputs(attempt.error).observe(0)


class _Inference:
    """The series of one target for inference."""

    def __init__(self, metrics: GenAIMetrics, labels: tuple[str, ...]) -> None:
        self._duration = cache(lambda error: metrics.durations.labels(*labels, error))
        self._inputs = cache(lambda error: metrics.inputs.labels(*labels, error))
        self._outputs = cache(lambda error: metrics.outputs.labels(*labels, error))
        self._first_chunk = cache(lambda: metrics.first_chunks.labels(*labels))
        self._chunk = cache(lambda: metrics.chunks.labels(*labels))
        # Backends hardly ever say of which modality the tokens were.
        self._usage = [counter.labels(*labels, "unknown") for counter in metrics.usage]

    def take(self, group: Group, records: list[Record]) -> None:
        """Count the last attempts of ended calls."""
        for error, members in _by_error(records):
            observe_all(self._duration(error), _durations(members))
            prompts, outputs, read, written, reasoning = [], [], 0, 0, 0
            for record in members:
                usage = record.usage
                prompts.append(_prompt(record))
                outputs.append(0 if usage is None else usage.output)
                if usage is not None:
                    read += usage.cache_read
                    written += usage.cache_write
                    reasoning += usage.reasoning or 0
            observe_all(self._inputs(error), prompts)
            observe_all(self._outputs(error), outputs)
            counts = sum(prompts), sum(outputs), read, written, reasoning
            for counter, count in zip(self._usage, counts, strict=True):
                if count:
                    counter.inc(count)
        if group.stream:
            self._take_chunks(records)

    def _take_chunks(self, records: list[Record]) -> None:
        first = [
            record.first_event_at - record.attempts[-1].started
            for record in records
            if record.first_event_at is not None
        ]
        observe_all(self._first_chunk(), first)
        gaps = [record.chunk_gaps for record in records if record.chunk_gaps]
        if gaps:
            seconds = sum(record.chunk_seconds for record in records)
            add_counts(self._chunk(), map(sum, zip(*gaps, strict=True)), seconds)

    def failed(self, attempt: Attempt) -> None:
        """Count an attempt after which another one was made."""
        self._duration(attempt.error).observe(_seconds(attempt))
        self._inputs(attempt.error).observe(0)
        self._outputs(attempt.error).observe(0)


def _by_error(records: list[Record]) -> list[tuple[str, list[Record]]]:
    """Return ``records`` by ``error.type`` of their last attempts, "" where all went well."""
    well = [record for record in records if record.end.outcome == "complete"]
    found: dict[str, list[Record]] = {"": well} if well else {}
    if len(well) < len(records):
        for record in records:
            end = record.end
            if end.outcome != "complete":
                error = record.attempts[-1].error or end.code or end.outcome or "_OTHER"
                found.setdefault(error, []).append(record)
    return list(found.items())


def _durations(records: list[Record]) -> list[float]:
    durations = []
    for record in records:
        attempt = record.attempts[-1]
        ended = attempt.ended if attempt.error else record.closed_at
        durations.append((ended or attempt.started) - attempt.started)
    return durations


def _seconds(attempt: Attempt) -> float:
    return (attempt.ended or attempt.started) - attempt.started


def _prompt(record: Record) -> int:
    usage = record.usage
    return 0 if usage is None else usage.input + usage.cache_read + usage.cache_write
