"""After a run: old bundles go, and the files of runs that are over."""

import asyncio

import structlog

from services.training.pruning import prune_bundles
from services.training.resources import Resources, open_resources
from services.training.work_folder import runs_path
from shared.database.training_runs import TrainingRunRepository
from shared.settings import Settings

log = structlog.get_logger()


async def clean_up_after_runs(catalog_id: str, settings: Settings) -> None:
    """May be repeated at any time, also while a run goes on."""
    async with open_resources(settings) as resources:
        await prune_bundles(resources, catalog_id)
        await _remove_files(resources, catalog_id)


async def _remove_files(resources: Resources, catalog_id: str) -> None:
    """Of all runs that are over but the last of them, where that one may be tried again."""
    names = set(resources.store.list_folder(runs_path(catalog_id)))
    async with resources.database.transaction() as session:
        finished = await TrainingRunRepository(session).finished(catalog_id)
    for place, run in enumerate(finished):
        may_be_retried = place == 0 and run.state != "succeeded"
        if str(run.run_id) in names and not may_be_retried:
            folder = f"{runs_path(catalog_id)}/{run.run_id}"
            await asyncio.to_thread(resources.store.delete_folder, folder)
            log.info("files of a run removed", catalog_id=catalog_id, run=str(run.run_id))
