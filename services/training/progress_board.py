"""Where the stages of a run are: written by the training thread, read by the heartbeat."""

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from shared.contracts.admin import StageProgress


class ProgressBoard:
    """The stages begun so far, in order, and how long they take."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._stages: dict[str, StageProgress] = {}
        self._begun: dict[str, float] = {}

    def begin(self, stage: str) -> None:
        """Time runs from here on."""
        with self._lock:
            self._begun[stage] = time.monotonic()
            self._stages[stage] = StageProgress(
                stage=stage, done=0, total=1, started_at=datetime.now(UTC), seconds=0.0
            )

    def update(
        self, stage: str, done: int, total: int, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Set where a stage that has begun is; metrics it reported before and not now are kept."""
        with self._lock:
            former = self._stages[stage]
            self._stages[stage] = former.model_copy(
                update={
                    "done": done,
                    "total": total,
                    "metrics": {**former.metrics, **_finite(metrics or {})},
                    "seconds": self._seconds(stage),
                }
            )

    def complete(self, stage: str) -> StageProgress:
        """A stage that stopped early is done all the same: `total` becomes what was `done`."""
        with self._lock:
            former = self._stages[stage]
            total = max(former.done, 1)
            self._stages[stage] = former.model_copy(
                update={"done": total, "total": total, "seconds": self._seconds(stage)}
            )
            return self._stages[stage]

    def restore(self, progress: StageProgress) -> None:
        """A stage that an earlier owner of the run completed."""
        with self._lock:
            self._stages[progress.stage] = progress

    def rows(self) -> list[dict[str, Any]]:
        """For the database."""
        with self._lock:
            return [progress.model_dump(mode="json") for progress in self._stages.values()]

    def _seconds(self, stage: str) -> float:
        return round(time.monotonic() - self._begun[stage], 3)


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """JSON has no NaN and no infinity."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
