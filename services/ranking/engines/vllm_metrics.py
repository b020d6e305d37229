"""vLLM's own measurements of its requests, into this service's metrics."""

from typing import Any

from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats

from services.ranking.metrics import BATCH_SIZE, COMPUTE_SECONDS, PROMPT_TOKENS, QUEUE_SECONDS


class RequestTimes(StatLoggerBase):
    """Called by AsyncLLM after each step of its engine."""

    def __init__(self, vllm_config: VllmConfig, engine_index: int = 0) -> None:
        """vLLM makes it; neither argument matters here."""

    def record(
        self,
        scheduler_stats: Any,  # noqa: ARG002
        iteration_stats: IterationStats | None,
        mm_cache_stats: Any = None,  # noqa: ARG002
        engine_idx: int = 0,  # noqa: ARG002
    ) -> None:
        if iteration_stats is None or not iteration_stats.finished_requests:
            return
        BATCH_SIZE.observe(len(iteration_stats.finished_requests))
        for request in iteration_stats.finished_requests:
            QUEUE_SECONDS.observe(request.queued_time)
            COMPUTE_SECONDS.observe(request.prefill_time)
        tokens = iteration_stats.prompt_token_stats
        PROMPT_TOKENS.labels("computed").inc(tokens.computed)
        PROMPT_TOKENS.labels("cached").inc(tokens.cached_tokens)

    def log_engine_initialized(self) -> None:
        pass
