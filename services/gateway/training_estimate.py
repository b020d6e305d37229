"""What a training run would be trained on now, and how long it would take."""

from collections.abc import Mapping

from shared.clients.embedding import EmbeddingClient
from shared.contracts.admin import (
    MeasuredRun,
    ScaledBy,
    StageEstimate,
    StageProgress,
    TrainingEstimate,
)
from shared.database.embeddings import EmbeddingRepository
from shared.database.interactions import InteractionRepository, Totals
from shared.database.session import Database
from shared.database.tables import TrainingRunRow
from shared.database.training_runs import TrainingRunRepository
from shared.errors import MmesidError
from shared.modeling.modality import Modality
from shared.settings import EventSettings

# What the work of a stage grows with; of one not named here, with the interactions.
SCALED_BY: Mapping[str, ScaledBy] = {
    "embed": "items_to_embed",
    "quantize": "items",
    "evaluate": "users",
    "publish": "items",
}
# Runs of before stages were measured are passed over, this many of them.
LOOKED_AT = 20


class TrainingEstimator:
    def __init__(
        self, database: Database, embedding: EmbeddingClient, positives: EventSettings
    ) -> None:
        self._database = database
        self._embedding = embedding
        self._positives = positives

    async def estimate(self, catalog_id: str) -> TrainingEstimate:
        """By the seconds of the newest succeeded run, scaled by how the data has grown since."""
        revisions = await self._revisions()
        async with self._database.transaction() as session:
            interactions = InteractionRepository(session, catalog_id)
            totals = await interactions.to_learn_from(self._positives)
            to_embed = None
            if revisions is not None:
                embeddings = EmbeddingRepository(session, catalog_id)
                to_embed = await embeddings.count_missing(revisions)
            rows = await TrainingRunRepository(session).newest(
                catalog_id, limit=LOOKED_AT, state="succeeded"
            )
        return _estimate(totals, to_embed, rows)

    async def _revisions(self) -> dict[Modality, str] | None:
        try:
            return await self._embedding.revisions()
        except MmesidError:
            return None


def _estimate(totals: Totals, to_embed: int | None, rows: list[TrainingRunRow]) -> TrainingEstimate:
    for row in rows:
        stages = [StageProgress.model_validate(stage) for stage in row.stages]
        measured = _measured(row, stages)
        if measured is not None:
            scaled = [_scaled(stage, totals, to_embed, measured) for stage in stages]
            return TrainingEstimate(
                items=totals.items,
                users=totals.users,
                interactions=totals.interactions,
                items_to_embed=to_embed,
                stages=scaled,
                seconds=sum(stage.seconds for stage in scaled),
                derived_from=measured,
            )
    return TrainingEstimate(
        items=totals.items,
        users=totals.users,
        interactions=totals.interactions,
        items_to_embed=to_embed,
        stages=None,
        seconds=None,
        derived_from=None,
    )


def _measured(row: TrainingRunRow, stages: list[StageProgress]) -> MeasuredRun | None:
    """What a run was trained on, by the figures of its stages; None where one was not timed."""
    if row.finished_at is None or any(stage.seconds is None for stage in stages):
        return None
    figures = {stage.stage: stage.metrics for stage in stages}
    try:
        data = figures["snapshot"]
        items = int(data["items"])
        return MeasuredRun(
            run_id=row.run_id,
            finished_at=row.finished_at,
            items=items,
            items_embedded=items - int(figures["embed"]["already_stored"]),
            users=int(data["users"]),
            interactions=int(data["interactions"]),
        )
    except KeyError:
        return None


def _scaled(
    stage: StageProgress, totals: Totals, to_embed: int | None, measured: MeasuredRun
) -> StageEstimate:
    scaled_by = SCALED_BY.get(stage.stage, "interactions")
    if scaled_by == "items_to_embed" and not (measured.items_embedded and to_embed is not None):
        scaled_by = "items"  # nothing says how long an item takes, or how many there are
    now, then = {
        "items": (totals.items, measured.items),
        "items_to_embed": (to_embed or 0, measured.items_embedded),
        "users": (totals.users, measured.users),
        "interactions": (totals.interactions, measured.interactions),
    }[scaled_by]
    seconds = stage.seconds or 0.0
    return StageEstimate(
        stage=stage.stage,
        seconds=round(seconds * now / max(then, 1), 3),
        measured_seconds=seconds,
        scaled_by=scaled_by,
    )
