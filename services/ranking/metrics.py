"""What the engines measure of themselves."""

from prometheus_client import Counter, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
QUEUE_SECONDS = Histogram(
    "mmesid_ranking_queue_seconds",
    "How long a request waited until its computation began.",
    buckets=SECONDS,
)
COMPUTE_SECONDS = Histogram(
    "mmesid_ranking_compute_seconds",
    "How long it took from the beginning of a request's computation to its answer.",
    buckets=SECONDS,
)
BATCH_SIZE = Histogram(
    "mmesid_ranking_batch_size",
    "Requests answered together.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
PROMPT_TOKENS = Counter(
    "mmesid_ranking_prompt_tokens_total",
    "Tokens of prompts, by whether their keys and values were computed or known already.",
    ["source"],
)
ENGINE_STARTS = Counter(
    "mmesid_ranking_engine_starts_total", "How often an engine's process was started."
)
