"""What Postgres holds of what was accepted, read from its tables without the product's queries."""

from collections.abc import Sequence

from sqlalchemy import select

from benchmarks.soak_parts.ledger import AcceptedEvent
from shared.database.arrays import in_chunks, is_one_of
from shared.database.session import Database
from shared.database.tables import InteractionRow, ItemRow, RecommendationRow


class Stored:
    """The rows of one catalogue."""

    def __init__(self, database: Database, catalog_id: str) -> None:
        self._database = database
        self._catalog_id = catalog_id

    async def item_statuses(self, item_ids: Sequence[str]) -> dict[str, str]:
        """Item id -> status; of deleted items too: `deleted`."""
        columns = (ItemRow.item_id, ItemRow.status, ItemRow.deleted_at)
        found: dict[str, str] = {}
        for ids in in_chunks(item_ids):
            statement = select(*columns).where(
                ItemRow.catalog_id == self._catalog_id, is_one_of(ItemRow.item_id, ids)
            )
            async with self._database.transaction() as session:
                for item_id, status, deleted_at in await session.execute(statement):
                    found[item_id] = status if deleted_at is None else "deleted"
        return found

    async def events(self, event_ids: Sequence[str]) -> set[AcceptedEvent]:
        found: set[AcceptedEvent] = set()
        for ids in in_chunks(event_ids):
            statement = select(
                InteractionRow.event_id,
                InteractionRow.user_id,
                InteractionRow.item_id,
                InteractionRow.event_type,
            ).where(
                InteractionRow.catalog_id == self._catalog_id,
                is_one_of(InteractionRow.event_id, ids),
            )
            async with self._database.transaction() as session:
                found |= {AcceptedEvent(*row) for row in await session.execute(statement)}
        return found

    async def lists(self, recommendation_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are in the log of recommendations."""
        found: set[str] = set()
        for ids in in_chunks(recommendation_ids):
            statement = select(RecommendationRow.recommendation_id).where(
                RecommendationRow.catalog_id == self._catalog_id,
                is_one_of(RecommendationRow.recommendation_id, ids),
            )
            async with self._database.transaction() as session:
                found |= set((await session.execute(statement)).scalars())
        return found
