"""Importing a data set into a real database and a real image store."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infra.importing import import_dataset
from shared.artifacts.images import ImageStore
from shared.artifacts.store import ArtifactStore
from shared.data.dataset import Progress
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.data.synthetic import SyntheticShop
from shared.database.interactions import InteractionRepository
from shared.database.items import ItemRepository
from shared.database.session import Database

pytestmark = pytest.mark.integration

CATALOG = "default"


class Listed:
    """A data set from lists."""

    kind = "listed"
    name = "listed"

    def __init__(self, items, interactions=()):
        self._items, self._interactions = items, interactions
        self.progress = Progress()

    def items(self):
        return iter(self._items)

    def interactions(self):
        return iter(self._interactions)


@pytest.fixture
async def database(settings):
    database = Database(settings.database)
    yield database
    await database.close()


@pytest.fixture
def run_import(database, settings):
    async def run(dataset, catalog_id=CATALOG):
        return await import_dataset(
            dataset,
            catalog_id=catalog_id,
            database=database,
            settings=settings,
            on_progress=lambda report: None,
        )

    return run


@pytest.fixture
def item():
    return next(SyntheticShop(items=50, users=1).items())


def bought(item_id, user_id="u1"):
    return InteractionRecord(user_id, item_id, datetime(2024, 1, 1, tzinfo=UTC))


async def test_everything_of_a_shop_comes_in_and_a_second_time_nothing(run_import, database):
    shop = SyntheticShop(items=60, users=20)
    first = await run_import(shop)
    assert (first.items, first.new_items, first.images) == (60, 60, 60)
    assert first.new_interactions == first.interactions == len(list(shop.interactions()))
    assert first.row_errors == []
    again = await run_import(shop)
    assert (again.items, again.new_items, again.new_interactions) == (60, 0, 0)
    async with database.transaction() as session:
        assert await ItemRepository(session, CATALOG).count() == 60
        totals = await InteractionRepository(session, CATALOG).totals()
    assert totals.interactions == first.interactions


async def test_the_image_is_stored_under_the_hash_that_the_item_names(
    run_import, database, settings, item
):
    await run_import(Listed([item]))
    async with database.transaction() as session:
        row = await ItemRepository(session, CATALOG).get(item.item_id)
    stored = ImageStore(ArtifactStore(settings.artifacts), CATALOG).get(row.image_sha256)
    assert stored == item.read_image()


async def test_a_broken_image_is_reported_and_its_item_kept_without_it(run_import, database, item):
    report = await run_import(Listed([replace(item, draw_image=lambda: b"no image")]))
    assert report.new_items == 1
    (error,) = report.row_errors
    assert item.item_id in error
    assert "image" in error
    async with database.transaction() as session:
        row = await ItemRepository(session, CATALOG).get(item.item_id)
    assert row.image_sha256 is None


async def test_wrong_rows_are_reported_and_the_others_come_in(run_import, item):
    wrong = RowError(file="items.csv", line=3, field="title", message="is missing")
    untitled = ItemRecord(item_id="untitled", title="")
    report = await run_import(
        Listed(
            [item, wrong, untitled],
            [bought(item.item_id), bought(item.item_id, user_id=" padded ")],
        )
    )
    assert (report.new_items, report.new_interactions) == (1, 1)
    assert report.row_errors[0] is wrong
    assert "'untitled': title" in report.row_errors[1]
    assert "' padded ': user_id" in report.row_errors[2]


async def test_catalogues_do_not_meet(run_import, database, item):
    await run_import(Listed([item]), catalog_id="one")
    report = await run_import(Listed([replace(item, title="Another")]), catalog_id="two")
    assert report.new_items == 1
    async with database.transaction() as session:
        assert (await ItemRepository(session, "one").get(item.item_id)).title == item.title
        assert (await ItemRepository(session, "two").get(item.item_id)).title == "Another"
