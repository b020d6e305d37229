"""Where the stages of a run are: written by the training thread, read by the heartbeat."""

import math
from collections.abc import Mapping
from threading import Lock
from typing import Any

from shared.contracts.admin import StageProgress


class ProgressBoard:
    """The stages begun so far, in order."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._stages: dict[str, StageProgress] = {}

    def update(
        self, stage: str, done: int, total: int, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Set where a stage is; metrics it reported before and not now are kept."""
        with self._lock:
            former = self._stages.get(stage)
            known = {} if former is None else former.metrics
            self._stages[stage] = StageProgress(
                stage=stage, done=done, total=total, metrics={**known, **_finite(metrics or {})}
            )

    def complete(self, stage: str) -> StageProgress:
        """A stage that stopped early is done all the same: `total` becomes what was `done`."""
        with self._lock:
            former = self._stages.get(stage) or StageProgress(stage=stage, done=1, total=1)
            total = max(former.done, 1)
            self._stages[stage] = former.model_copy(update={"done": total, "total": total})
            return self._stages[stage]

    def restore(self, progress: StageProgress) -> None:
        """A stage that an earlier owner of the run completed."""
        with self._lock:
            self._stages[progress.stage] = progress

    def rows(self) -> list[dict[str, Any]]:
        """For the database."""
        with self._lock:
            return [progress.model_dump() for progress in self._stages.values()]


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """JSON has no NaN and no infinity."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
