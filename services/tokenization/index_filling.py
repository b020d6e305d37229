"""Bring a bundle's index to what Postgres says: built anew, or caught up after a restart.

the bundle's items          as the bundle was made from them
deleted since               not in the index
new or changed since        with the semantic IDs that they got under this bundle
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from services.tokenization.bundle_index import IndexedItem
from services.tokenization.served_bundle import ServedBundle
from shared.artifacts.bundle import Bundle, Catalogue
from shared.database.served_items import BundleItem, ItemState, bundle_items, item_states
from shared.database.session import Database
from shared.modeling.modality import Modality

BATCH = 2048


@dataclass(frozen=True)
class _Trained:
    """The bundle's catalogue, by item."""

    catalogue: Catalogue
    codes: Mapping[Modality, Sequence[Sequence[int]]]
    rows: Mapping[str, int]

    def version(self, item_id: str) -> int:
        """The version that the bundle was made from; -1 for an item it does not have."""
        row = self.rows.get(item_id)
        return -1 if row is None else int(self.catalogue.item_versions[row])

    def item(self, item_id: str, state: ItemState | None) -> IndexedItem:
        row = self.rows[item_id]
        catalogue = self.catalogue
        return IndexedItem(
            item_id=item_id,
            version=self.version(item_id),
            vectors={modality: table[row] for modality, table in catalogue.embeddings.items()},
            codes={modality: list(table[row]) for modality, table in self.codes.items()},
            categories=state.categories if state else (),
            attributes=state.attributes if state else {},
            learned=[modality for modality, rows in catalogue.imputed.items() if not rows[row]],
        )


async def fill_index(served: ServedBundle, bundle: Bundle, database: Database) -> None:
    """Build the index where it is not complete, and bring it up to date where it is."""
    index = served.index
    is_new = not await index.is_complete()
    if is_new:
        await index.begin(served.dimensions)
    else:
        await index.read_versions()
    catalogue = bundle.catalogue
    trained = _Trained(
        catalogue=catalogue,
        codes={modality: table.tolist() for modality, table in bundle.sids().items()},
        rows={item_id: row for row, item_id in enumerate(catalogue.item_ids)},
    )
    seen: set[str] = set()
    async for page in item_states(database, served.manifest.catalog_id):
        seen.update(state.item_id for state in page)
        await _fill_page(served, trained, page, database)
    unseen = (item_id for item_id in trained.rows if item_id not in seen)
    missing = (item_id for item_id in unseen if index.version_of(item_id) is None)
    for batch in _batches(missing):
        await index.put([trained.item(item_id, None) for item_id in batch])
    if is_new:
        await index.complete()


async def _fill_page(
    served: ServedBundle, trained: _Trained, page: Sequence[ItemState], database: Database
) -> None:
    index, manifest = served.index, served.manifest
    deleted = {state.item_id: state.version for state in page if state.is_deleted}
    await index.remove(deleted)
    states = {state.item_id: state for state in page if not state.is_deleted}
    changed = [
        item_id
        for item_id, state in states.items()
        if state.is_ready
        and state.version > max(trained.version(item_id), index.version_of(item_id) or -1)
    ]
    later = await bundle_items(
        database, manifest.catalog_id, manifest.version, manifest.encoders, changed
    )
    await index.put([later_item(served, states[i], found) for i, found in later.items()])
    missing = (
        item_id
        for item_id in states
        if item_id in trained.rows and index.version_of(item_id) is None
    )
    for batch in _batches(missing):
        await index.put([trained.item(item_id, states[item_id]) for item_id in batch])


def later_item(served: ServedBundle, state: ItemState, found: BundleItem) -> IndexedItem:
    """An item that came or changed after the bundle was made, as Postgres has it."""
    learned = served.learned.get(state.item_id)
    vectors = dict(found.vectors)
    if learned is not None:
        vectors[Modality.COLLABORATIVE] = learned
    return IndexedItem(
        item_id=state.item_id,
        version=state.version,
        vectors={m: vector for m, vector in vectors.items() if m in served.dimensions},
        codes=found.semantic_ids.codes,
        categories=state.categories,
        attributes=state.attributes,
        learned=[Modality.COLLABORATIVE] if learned is not None else [],
    )


def _batches(item_ids: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(item_ids, BATCH)):
        yield batch
