"""A database of the test's own, and short ways to put rows into it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository, NewItem
from shared.database.session import Database
from shared.database.tables import ItemRow
from shared.ingestion.item_content import item_content
from shared.settings import DatabaseSettings

CATALOG = "shop"


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(DatabaseSettings(url=database_url, pool_size=5))
    yield database
    await database.close()


class Rows:
    """Puts rows into a database, a transaction a call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def items(
        self, *item_ids: str, catalog: str = CATALOG, title: str = "A mug"
    ) -> list[ItemRow]:
        async with self._database.transaction() as session:
            return await ItemRepository(session, catalog).insert_many(
                [NewItem(item_id, item_content(title=title)) for item_id in item_ids],
                relay_after=timedelta(0),
            )

    async def change(self, item_id: str, *, title: str, catalog: str = CATALOG) -> int:
        async with self._database.transaction() as session:
            items = ItemRepository(session, catalog)
            row = await items.get(item_id, for_update=True)
            await items.change(row, item_content(title=title), relay_after=timedelta(0))
            return row.version

    async def delete(self, item_id: str, *, catalog: str = CATALOG) -> int:
        async with self._database.transaction() as session:
            items = ItemRepository(session, catalog)
            row = await items.get(item_id, for_update=True)
            await items.delete(row, relay_after=timedelta(0))
            return row.version

    async def bundle(self, version: str, *, live: bool = False, catalog: str = CATALOG) -> None:
        async with self._database.transaction() as session:
            bundles = BundleRepository(session, catalog)
            await bundles.add(version, {"made": "for a test"}, run_id=None)
            if live:
                await bundles.make_live(version)


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database)
