from datetime import timedelta

from shared.database.items import ItemRepository, NewItem, content_of
from shared.database.outbox import OutboxRepository
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.ingestion.item_content import item_content
from shared.modeling.modality import Modality

CATALOG = "shop"


async def test_a_new_item_is_pending_at_version_1_and_waits_in_the_outbox(database, rows):
    (row,) = await rows.items("mug")
    assert (row.version, row.status, row.title) == (1, "pending", "A mug")
    async with database.transaction() as session:
        (waiting,) = await OutboxRepository(session).get(CATALOG, ["mug"])
    assert (waiting.item_version, waiting.action, waiting.attempts) == (1, "upsert", 0)


async def test_a_taken_id_is_not_stored_again(database, rows):
    await rows.items("mug", title="first")
    stored = await rows.items("mug", "pot", title="second")
    assert [row.item_id for row in stored] == ["pot"]
    async with database.transaction() as session:
        found = await ItemRepository(session, CATALOG).get_many(["mug", "pot", "pan"])
    assert {item_id: row.title for item_id, row in found.items()} == {
        "mug": "first",
        "pot": "second",
    }


async def test_a_deleted_id_comes_back_with_a_higher_version(database, rows):
    await rows.items("mug")
    assert await rows.delete("mug") == 2
    async with database.transaction() as session:
        assert await ItemRepository(session, CATALOG).get("mug") is None
    (again,) = await rows.items("mug", title="back")
    assert (again.version, again.status, again.deleted_at) == (3, "pending", None)
    async with database.transaction() as session:
        (waiting,) = await OutboxRepository(session).get(CATALOG, ["mug"])
    assert (waiting.item_version, waiting.action) == (3, "upsert")


async def test_a_late_mark_of_an_older_version_changes_nothing(database, rows):
    await rows.items("mug", "pot")
    await rows.change("mug", title="newer")
    async with database.transaction() as session:
        items = ItemRepository(session, CATALOG)
        assert await items.mark_ready({"mug": 1, "pot": 1}) == {"pot"}
        assert not await items.mark_failed("mug", 1, {"detail": "too late"})
    async with database.transaction() as session:
        found = await ItemRepository(session, CATALOG).get_many(["mug", "pot"])
    assert {item_id: row.status for item_id, row in found.items()} == {
        "mug": "pending",
        "pot": "ready",
    }


async def test_pages_go_in_the_order_of_arrival_without_deleted_items(database, rows):
    for item_id in ("zebra", "apple", "mango", "kiwi"):
        await rows.items(item_id)
    await rows.delete("mango")
    async with database.transaction() as session:
        items = ItemRepository(session, CATALOG)
        first = await items.page(limit=2)
        rest = await items.page(after_ordinal=first[-1].ordinal, limit=10)
        assert await items.count() == 3
    assert [row.item_id for row in [*first, *rest]] == ["zebra", "apple", "kiwi"]


async def test_items_of_another_catalogue_are_out_of_sight(database, rows):
    await rows.items("mug", catalog="shop", title="ours")
    await rows.items("mug", catalog="rival", title="theirs")
    async with database.transaction() as session:
        ours = ItemRepository(session, "shop")
        await ours.mark_ready({"mug": 1})
        assert [row.title for row in await ours.page(limit=10)] == ["ours"]
        (theirs,) = await ItemRepository(session, "rival").page(limit=10)
    assert (theirs.title, theirs.status) == ("theirs", "pending")


async def test_content_survives_the_database_unchanged(database):
    content = item_content(
        title="Mug",
        description="Holds 350 ml",
        categories=["Kitchen", "Mugs"],
        brand="Nordlys",
        attributes={"colour": "blue", "price": 14.5, "new": True},
        image_sha256="ab" * 32,
    )
    async with database.transaction() as session:
        await ItemRepository(session, CATALOG).insert(
            NewItem("mug", content), relay_after=timedelta(0)
        )
    async with database.transaction() as session:
        row = await ItemRepository(session, CATALOG).get("mug")
    assert content_of(row) == content


async def test_more_items_than_one_statement_takes_are_stored_and_found(database, rows):
    ids = [f"item-{number}" for number in range(12_000)]
    assert len(await rows.items(*ids)) == 12_000
    async with database.transaction() as session:
        items = ItemRepository(session, CATALOG)
        versions = dict.fromkeys(ids, 1)
        assert len(await items.mark_ready(versions)) == 12_000
        await OutboxRepository(session).remove(CATALOG, versions)
        assert await OutboxRepository(session).depth() == 0


async def test_items_without_semantic_ids_are_found_page_by_page(database, rows):
    await rows.items("a", "b", "c", "d", "e")
    await rows.bundle("v1")
    await rows.change("b", title="newer")
    await rows.delete("e")
    async with database.transaction() as session:
        await SemanticIdRepository(session, CATALOG).put(
            "v1",
            [ItemSemanticIds(item_id, 1, {Modality.TEXT: [1]}) for item_id in ("a", "b")],
        )
        items = ItemRepository(session, CATALOG)
        await items.mark_failed("d", 1, {"detail": "broken"})
        lacking = await items.without_semantic_ids("v1", limit=10)
        assert [row.item_id for row in lacking] == ["b", "c"]
        (last,) = await items.without_semantic_ids("v1", after_item_id="b", limit=10)
        assert last.item_id == "c"
