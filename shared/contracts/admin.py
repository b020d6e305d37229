"""The admin API: training runs and bundles."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from shared.contracts.common import BundleVersion, Contract, Problem
from shared.modeling.modality import Modality

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
UNFINISHED: tuple[RunState, ...] = ("queued", "running")
RunTrigger = Literal["api", "schedule", "volume", "retry"]
ScaledBy = Literal["items", "items_to_embed", "users", "interactions"]
BackfillState = Literal["running", "succeeded", "cancelled"]
BundleState = Literal["published", "live", "retired"]
StartKind = Literal["auto", "warm", "cold"]
TrainedStage = Literal["collaborative", "sequence", "quantize", "finetune"]


class TrainingCreate(Contract):
    """A training run. What is left out comes from the settings."""

    model_config = ConfigDict(json_schema_extra={"example": {"go_live": True}})

    go_live: bool = Field(default=True, description="serve from the bundle when its gates pass")
    start: StartKind = Field(
        default="auto",
        description="warm: from the live bundle's weights, under its tokenizer; cold: from "
        "nothing; auto: warm where that is possible and little of the data is new",
    )
    stages: list[TrainedStage] | None = Field(
        default=None,
        description="what is made anew; the rest is the live bundle's. All if absent",
    )
    seed: int | None = Field(default=None, ge=0)
    collaborative: dict[str, Any] = Field(default={}, description="settings of SASRec")
    quantizer: dict[str, Any] = Field(
        default={}, description="settings of the quantizer; kind: mm_rq_vae or rq_kmeans"
    )
    ranker: dict[str, Any] = Field(default={}, description="settings of the fine-tuning")

    @field_validator("stages")
    @classmethod
    def _agree(
        cls, stages: list[TrainedStage] | None, info: ValidationInfo
    ) -> list[TrainedStage] | None:
        """Whatever is made anew needs what is made from it to be made anew as well."""
        start = info.data.get("start")
        if stages is None:
            return stages
        if len(set(stages)) < len(stages):
            raise ValueError("names a stage twice")
        if "finetune" not in stages:
            raise ValueError("must name finetune: the ranker is made from all the others give")
        if "quantize" in stages and start == "warm":
            raise ValueError("names quantize, but a warm start keeps the tokenizer")
        if "collaborative" in stages and "quantize" not in stages and start == "cold":
            raise ValueError(
                "must name quantize: the live bundle's tokenizer cannot read the vectors of a "
                "SASRec that starts from nothing"
            )
        return stages


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


class BackfillChunks(Contract):
    """How many chunks wait for a worker, are worked on, and are done."""

    waiting: int
    running: int
    done: int


class EmbeddingBackfill(Contract):
    """The vectors of a whole catalogue by the encoders of `revisions`, made chunk by chunk."""

    backfill_id: UUID
    state: BackfillState
    revisions: dict[Modality, str] = Field(description="of the encoders, by what they embed")
    items: int = Field(description="that there were when it began")
    done: int = Field(description="of them, those in finished chunks")
    embedded: int = Field(description="those that lacked a vector and got it")
    failed: int = Field(description="those whose text or image cannot be embedded")
    chunks: BackfillChunks
    items_per_second: float | None = Field(description="over the last finished chunks")
    eta_s: float | None = Field(description="until the end at this speed; null once it is over")
    created_at: datetime
    finished_at: datetime | None


class EmbeddingBackfills(Contract):
    backfills: list[EmbeddingBackfill] = Field(description="newest first")


class Gate(Contract):
    """One condition for going live, whether it holds, and the figures that decided it."""

    name: str
    passed: bool
    explanation: str
    figures: dict[str, float]


class Bundle(Contract):
    version: BundleVersion
    state: BundleState
    run_id: UUID | None
    items: int
    gates: list[Gate] = Field(
        description="what it must fulfil to go live; smoke and latency are measured once the "
        "services have loaded it"
    )
    metrics: dict[str, Any]
    created_at: datetime
    activated_at: datetime | None


class Bundles(Contract):
    bundles: list[Bundle] = Field(description="newest first")


class BundleActivate(Contract):
    force: bool = Field(default=False, description="go live although a gate failed")


class TrafficShare(Contract):
    version: BundleVersion
    percent: float = Field(gt=0, lt=100, description="of the users")


class TrafficUpdate(Contract):
    """The bundles that get a share of the users; an empty list gives all to the live one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"shares": [{"version": "20261126T091500-4b1f", "percent": 10}]}
        }
    )

    shares: list[TrafficShare] = Field(max_length=5)
    force: bool = Field(default=False, description="take bundles of which a gate failed, too")

    @model_validator(mode="after")
    def shares_fit_together(self) -> "TrafficUpdate":
        if len({share.version for share in self.shares}) < len(self.shares):
            raise ValueError("shares: a bundle can have only one")
        if sum(share.percent for share in self.shares) > 100:
            raise ValueError("shares: they are more than 100 percent together")
        return self


class Traffic(Contract):
    """Who is served by what. A user gets the same bundle as long as the shares do not change."""

    live: BundleVersion | None
    live_percent: float = Field(description="what the shares leave")
    shares: list[TrafficShare] = Field(description="in the order of the versions")


class Rate(Contract):
    """A share of all trials, with its 95 % confidence interval by Wilson."""

    value: float
    low: float
    high: float


class BundleMetrics(Contract):
    """What came of the lists that a bundle gave from `since` to `until`."""

    version: BundleVersion
    since: datetime | None
    until: datetime | None
    recommendations: int = Field(description="lists given")
    users: int = Field(description="different users among those that were named")
    impressions: int = Field(description="items shown")
    clicks: int = Field(
        description="items shown with a click, cart, purchase, rating or interaction of them "
        "that echoes the list's recommendation_id"
    )
    conversions: int = Field(description="items shown with such a purchase")
    click_through_rate: Rate | None = Field(description="clicks / impressions")
    conversion_rate: Rate | None = Field(description="conversions / impressions")
    coverage: float | None = Field(description="of the catalogue's items, the share shown")
    latency_p50_ms: float | None = Field(description="from the request to its answer, median")
    latency_p95_ms: float | None
    fallback_share: float | None = Field(
        description="of the lists, made by something simpler than the ranker as it was away"
    )
