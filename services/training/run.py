"""Owning a training run: from its lease to its end."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
import torch

from services.training.configs import configs_of
from services.training.context import StageContext
from services.training.gates import failure_of
from services.training.lease import CancelledRunError, LeaseLostError, lease_of_run
from services.training.progress_board import ProgressBoard
from services.training.publish_gates import recorded_gates
from services.training.resources import Resources, open_resources
from services.training.run_log import RunLog
from services.training.stages import (
    collaborative,
    embed,
    evaluate,
    finetune,
    publish,
    quantize,
    sequence,
    snapshot,
)
from services.training.work_folder import WorkFolder
from shared.computing import compute
from shared.contracts.admin import Gate, TrainingCreate
from shared.database.tables import TrainingRunRow
from shared.database.training_runs import TrainingRunRepository
from shared.errors import MmesidError
from shared.modeling.progress import Progress
from shared.settings import Settings

# What a retry goes on from. Evaluation and publishing have to do with what is live now.
KEPT_FOR_A_RETRY = (
    snapshot.NAME, embed.NAME, collaborative.NAME, sequence.NAME, quantize.NAME, finetune.NAME,
)  # fmt: skip

# A run whose owners keep dying (out of memory, say) would otherwise be taken up for ever.
MOST_OWNERS = 10

log = structlog.get_logger()


@dataclass(frozen=True)
class Stage:
    name: str
    run: Callable[[StageContext, Path], Awaitable[None]]


STAGES = (
    Stage(snapshot.NAME, snapshot.run),
    Stage(embed.NAME, embed.run),
    Stage(collaborative.NAME, collaborative.run),
    Stage(sequence.NAME, sequence.run),
    Stage(quantize.NAME, quantize.run),
    Stage(finetune.NAME, finetune.run),
    Stage(evaluate.NAME, evaluate.run),
    Stage(publish.NAME, publish.run),
)


async def run_training(run_id: UUID, settings: Settings) -> str | None:
    """Take up a run and see it to its end; one that is owned or over is left alone.

    Returns its catalogue, or None where it was left alone.
    """
    structlog.contextvars.bind_contextvars(run_id=str(run_id))
    if settings.training.threads is not None:
        torch.set_num_threads(settings.training.threads)
    async with open_resources(settings) as resources:
        async with resources.database.transaction() as session:
            row = await TrainingRunRepository(session).acquire(
                run_id, lease=timedelta(seconds=settings.training.lease_s)
            )
        if row is None:
            log.info("run not taken up: it is over, or has an owner")
            return None
        async with RunLog(resources.database, run_id):
            await _Ownership(row, resources).conclude()
        return row.catalog_id


class _Ownership:
    """One process's time with one run."""

    def __init__(self, row: TrainingRunRow, resources: Resources) -> None:
        self._row = row
        self._resources = resources
        self._board = ProgressBoard()
        self._lease = lease_of_run(
            resources.database,
            row.run_id,
            row.lease_token,
            resources.settings.training.lease_s,
            self._board,
        )
        self._work = WorkFolder(resources.store, row.catalog_id, row.run_id)
        # By the run's own time: an owner after a restart publishes under the same name.
        self._version = f"{row.created_at:%Y%m%dT%H%M%S}-{row.run_id.hex[:4]}"

    async def conclude(self) -> None:
        """Run the stages that are left and write how it ended; nothing, if the lease was lost."""
        log.info("run taken up", owner=self._row.lease_token, catalog_id=self._row.catalog_id)
        async with self._lease.kept():
            await self._try()

    async def _try(self) -> None:
        try:
            await self._stages()
            failure = failure_of(await self._gates())
            if failure is None:
                await self._finish("succeeded", bundle=self._version)
            else:
                await self._finish("failed", bundle=self._version, problem=failure.problem())
        except LeaseLostError:
            log.warning("lease lost: another process goes on with the run")
        except CancelledRunError:
            await self._finish("cancelled")
        except MmesidError as error:
            log.warning("run failed", error=error.detail)
            await self._finish("failed", problem=error.problem())
        except Exception as error:
            log.exception("run failed unexpectedly")
            problem = MmesidError(f"{type(error).__name__}: the worker's log says more").problem()
            await self._finish("failed", problem=problem)

    async def _stages(self) -> None:
        if self._row.lease_token > MOST_OWNERS:
            raise MmesidError(f"{MOST_OWNERS} worker processes died during this run")
        request = TrainingCreate.model_validate(self._row.request)
        configs = await compute(configs_of, request, self._resources.settings.training)
        if self._row.retry_of is not None:
            adopted = await compute(self._work.adopt, self._row.retry_of, KEPT_FOR_A_RETRY)
            log.info("stages taken over", stages=adopted, former_run=str(self._row.retry_of))
        for stage in STAGES:
            done = self._work.completed(stage.name)
            if done is not None:
                self._board.restore(done)
                continue
            self._board.begin(stage.name)
            await self._lease.confirm()
            log.info("stage begins", stage=stage.name)
            context = StageContext(
                catalog_id=self._row.catalog_id,
                run_id=self._row.run_id,
                version=self._version,
                request=request,
                configs=configs,
                resources=self._resources,
                lease=self._lease,
                work=self._work,
                report=self._reporter(stage),
            )
            await stage.run(context, self._work.begin(stage.name))
            await self._lease.confirm()
            completed = self._board.complete(stage.name)
            await compute(self._work.complete, stage.name, completed)
            log.info("stage done", stage=stage.name, seconds=completed.seconds)

    async def _gates(self) -> list[Gate]:
        async with self._resources.database.transaction() as session:
            return await recorded_gates(session, self._row.catalog_id, self._version)

    def _reporter(self, stage: Stage) -> Callable[[Progress], None]:
        def report(progress: Progress) -> None:
            self._lease.check()
            self._board.update(stage.name, progress.done, progress.total, progress.metrics)

        return report

    async def _finish(
        self, state: str, *, bundle: str | None = None, problem: dict[str, Any] | None = None
    ) -> None:
        async with self._resources.database.transaction() as session:
            written = await TrainingRunRepository(session).finish(
                self._row.run_id,
                self._lease.token,
                state=state,
                stages=self._board.rows(),
                bundle=bundle,
                problem=problem,
            )
        log.info("run over" if written else "run was over already", state=state)
