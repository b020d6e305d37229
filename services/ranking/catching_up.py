"""What Postgres knows that a bundle does not: filters, removed items, later and changed items."""

from collections.abc import Sequence

import structlog

from services.ranking.item_rows import NewItem
from services.ranking.served_bundle import ArrivingItem, ServedBundle
from shared.database.served_items import BundleItem, ItemState, bundle_items, item_states
from shared.database.session import Database
from shared.errors import InvalidInputError

log = structlog.get_logger()


async def catch_up(served: ServedBundle, database: Database) -> None:
    """Bring a freshly opened bundle to the present state of its catalogue's items."""
    manifest, catalogue = served.manifest, served.catalogue
    async for page in item_states(database, manifest.catalog_id):
        await served.remove({state.item_id: state.version for state in page if state.is_deleted})
        present = {state.item_id: state for state in page if not state.is_deleted}
        for state in present.values():
            if catalogue.version_of(state.item_id) >= 0:
                catalogue.describe(state.item_id, state.categories, state.attributes)
        later = [
            state.item_id
            for state in present.values()
            if state.is_ready and state.version > catalogue.version_of(state.item_id)
        ]
        found = await bundle_items(
            database, manifest.catalog_id, manifest.version, manifest.encoders, later
        )
        await _put(served, [_arriving(present[item_id], item) for item_id, item in found.items()])


async def _put(served: ServedBundle, arriving: Sequence[ArrivingItem]) -> None:
    """One item that does not fit must not keep the bundle from being served."""
    try:
        await served.put(arriving)
    except InvalidInputError:
        for one in arriving:
            try:
                await served.put([one])
            except InvalidInputError as error:
                log.warning("item left out", item_id=one.item.item_id, error=str(error))


def _arriving(state: ItemState, found: BundleItem) -> ArrivingItem:
    return ArrivingItem(
        item=NewItem(
            item_id=state.item_id,
            place=f"items.{state.item_id}",
            vectors=found.vectors,
            codes=found.semantic_ids.codes,
            neighbours=found.semantic_ids.neighbours,
        ),
        version=state.version,
        categories=state.categories,
        attributes=state.attributes,
    )
