"""Old bundles are removed: their files, their semantic IDs and the vectors imputed for them."""

import asyncio

import structlog

from services.training.resources import Resources
from shared.artifacts.bundle import bundle_path
from shared.database.bundles import BundleRepository
from shared.database.embeddings import EmbeddingRepository

log = structlog.get_logger()


async def prune_bundles(resources: Resources, catalog_id: str) -> list[str]:
    """Keep the bundles in service and the newest others up to `keep_bundles` in all; returns the
    removed.

    The rows go first: a bundle without a row is never loaded, and its files only take space.
    """
    keep = resources.settings.training.keep_bundles
    async with resources.database.transaction() as session:
        bundles = BundleRepository(session, catalog_id)
        # Removing a million rows takes a while: only who changes what answers has to wait for it.
        await bundles.lock(shared=True)
        in_service = (await bundles.in_service()).all
        others = [row.version for row in await bundles.all() if row.version not in in_service]
        removed = others[max(0, keep - len(in_service)) :]
        for version in removed:
            await bundles.remove(version)
            await EmbeddingRepository(session, catalog_id).remove_revision(version)
    for version in removed:
        await asyncio.to_thread(resources.store.delete_folder, bundle_path(catalog_id, version))
        log.info("bundle removed", catalog_id=catalog_id, version=version)
    return removed
