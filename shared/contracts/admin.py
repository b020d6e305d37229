"""The admin API: training runs and bundles."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from shared.contracts.common import BundleVersion, Contract, Problem

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
RunTrigger = Literal["api", "schedule", "volume", "retry"]
ScaledBy = Literal["items", "items_to_embed", "users", "interactions"]
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
    """Where a run is: `done` of `total` steps, and the latest figures.

    `started_at` and `seconds` are those of the attempt that got so far, the time until its last
    step; what a killed worker had spent on a stage before is not in them.
    """

    stage: str
    done: int
    total: int
    metrics: dict[str, float] = {}
    started_at: datetime | None = None
    seconds: float | None = None


class Training(Contract):
    run_id: UUID
    state: RunState
    trigger: RunTrigger = Field(description="what it was started by")
    retry_of: UUID | None = Field(description="the run whose stages it went on from")
    stages: list[StageProgress] = Field(description="stages begun so far, in order")
    bundle: BundleVersion | None
    problem: Problem | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Trainings(Contract):
    trainings: list[Training] = Field(description="newest first")
    next_cursor: str | None = Field(
        default=None, description="pass it as `cursor` for the next page; null on the last one"
    )


class StageEstimate(Contract):
    """`seconds` = `measured_seconds` times the growth of what the stage's work grows with."""

    stage: str
    seconds: float
    measured_seconds: float
    scaled_by: ScaledBy


class MeasuredRun(Contract):
    """The run that an estimate is derived from, and what it was trained on."""

    run_id: UUID
    finished_at: datetime
    items: int
    items_embedded: int
    users: int
    interactions: int


class TrainingEstimate(Contract):
    """What a run started now would be trained on, and how long the like of it took.

    Its settings are taken to be those of the measured run: more epochs take longer than this.
    """

    items: int
    users: int
    interactions: int = Field(description="of these users with these items")
    items_to_embed: int | None = Field(description="null while the embedding service is away")
    stages: list[StageEstimate] | None = Field(description="null where no run was measured")
    seconds: float | None = Field(description="of all stages together")
    derived_from: MeasuredRun | None


class TrainingLogLine(Contract):
    id: int
    logged_at: datetime
    level: str
    event: str
    fields: dict[str, Any]


class TrainingLog(Contract):
    lines: list[TrainingLogLine] = Field(description="oldest first")
    next_after: int = Field(description="pass it as `after` for the lines that come later")


class TrainingScheduleSet(Contract):
    """When to train without being asked: by the clock, by new interactions, or both."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"cron": "0 3 * * *", "new_interactions": 10000}}
    )

    cron: str | None = Field(
        default=None,
        max_length=200,
        description="minute, hour, day of the month, month, day of the week; in UTC",
    )
    new_interactions: int | None = Field(
        default=None,
        ge=1,
        le=10**15,
        description="train when this many came after those that the newest bundle learned from",
    )
    request: TrainingCreate = Field(default=TrainingCreate(), description="of the runs it starts")


class TrainingSchedule(TrainingScheduleSet):
    next_run_at: datetime | None = Field(description="by the clock; null without `cron`")
    updated_at: datetime


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
