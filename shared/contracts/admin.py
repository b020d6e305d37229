"""The admin API: training runs and bundles."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from shared.contracts.common import BundleVersion, Contract, Problem

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
BundleState = Literal["published", "live", "retired"]


class TrainingCreate(Contract):
    """A training run. What is left out comes from the settings."""

    model_config = ConfigDict(json_schema_extra={"example": {"go_live": True}})

    go_live: bool = Field(default=True, description="serve from the bundle when its gates pass")
    seed: int | None = Field(default=None, ge=0)
    collaborative: dict[str, Any] = Field(default={}, description="settings of SASRec")
    quantizer: dict[str, Any] = Field(
        default={}, description="settings of the quantizer; kind: mm_rq_vae or rq_kmeans"
    )
    ranker: dict[str, Any] = Field(default={}, description="settings of the fine-tuning")


class StageProgress(Contract):
    """Where a run is: `done` of `total` steps, and the latest figures."""

    stage: str
    done: int
    total: int
    metrics: dict[str, float] = {}


class Training(Contract):
    run_id: UUID
    state: RunState
    stages: list[StageProgress] = Field(description="stages begun so far, in order")
    bundle: BundleVersion | None
    problem: Problem | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Trainings(Contract):
    trainings: list[Training] = Field(description="newest first")


class Bundle(Contract):
    version: BundleVersion
    state: BundleState
    run_id: UUID | None
    items: int
    metrics: dict[str, Any]
    created_at: datetime
    activated_at: datetime | None


class Bundles(Contract):
    bundles: list[Bundle] = Field(description="newest first")
