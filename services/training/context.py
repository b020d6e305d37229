"""What every stage of a run is given."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar
from uuid import UUID

from services.training.configs import RunConfigs
from services.training.lease import Lease
from services.training.resources import Resources
from services.training.work_folder import WorkFolder
from shared.contracts.admin import TrainingCreate
from shared.modeling.progress import OnProgress

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class StageContext:
    """One stage of one run.

    version: of the bundle that the run will publish.
    report: says how far the stage is; raises RunStoppedError where the run must stop.
    """

    catalog_id: str
    run_id: UUID
    version: str
    request: TrainingCreate
    configs: RunConfigs
    resources: Resources
    lease: Lease
    work: WorkFolder
    report: OnProgress


async def compute(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Run model code in a thread, so that the heartbeat goes on."""
    return await asyncio.to_thread(function, *args, **kwargs)
