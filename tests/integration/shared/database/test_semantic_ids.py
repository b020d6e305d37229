from sqlalchemy import text

from shared.database.items import ItemRepository
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.modeling.modality import Modality

CATALOG = "shop"


def codes(item_id: str, version: int, *values: int) -> ItemSemanticIds:
    return ItemSemanticIds(
        item_id,
        version,
        {Modality.TEXT: list(values)},
        imputed=[Modality.COLLABORATIVE],
        neighbours=[("pot", 0.75), ("pan", 0.25)],
    )


async def test_semantic_ids_come_back_as_they_were_put(database, rows):
    await rows.items("mug")
    await rows.bundle("v1")
    async with database.transaction() as session:
        repository = SemanticIdRepository(session, CATALOG)
        await repository.put("v1", [codes("mug", 1, 3, 1, 4, 1)])
        assert await repository.of_items("v1", ["mug", "pot"]) == {
            "mug": codes("mug", 1, 3, 1, 4, 1)
        }


async def test_those_of_an_older_version_neither_replace_newer_ones_nor_are_read(database, rows):
    await rows.items("mug", "pot")
    await rows.bundle("v1")
    async with database.transaction() as session:
        await SemanticIdRepository(session, CATALOG).put("v1", [codes("pot", 1, 9)])
    await rows.change("mug", title="newer")
    await rows.change("pot", title="newer")
    async with database.transaction() as session:
        repository = SemanticIdRepository(session, CATALOG)
        await repository.put("v1", [codes("mug", 2, 2)])
        await repository.put("v1", [codes("mug", 1, 1)])
        found = await repository.of_items("v1", ["mug", "pot"])
    assert {item_id: row.codes[Modality.TEXT] for item_id, row in found.items()} == {"mug": [2]}


async def test_pages_hold_ready_items_of_one_bundle_and_catalogue_in_the_order_of_ids(
    database, rows
):
    await rows.items("c", "a", "b", "pending", "deleted")
    await rows.items("a", catalog="rival")
    await rows.bundle("v1")
    await rows.bundle("v2")
    await rows.bundle("v1", catalog="rival")
    names = ["c", "a", "b", "pending", "deleted"]
    async with database.transaction() as session:
        repository = SemanticIdRepository(session, CATALOG)
        await repository.put("v1", [codes(name, 1, 1) for name in names])
        await repository.put("v2", [codes("a", 1, 2)])
        rival = SemanticIdRepository(session, "rival")
        await rival.put("v1", [codes("a", 1, 7)])
        await ItemRepository(session, CATALOG).mark_ready(
            dict.fromkeys(["a", "b", "c", "deleted"], 1)
        )
        await ItemRepository(session, "rival").mark_ready({"a": 1})
    await rows.delete("deleted")
    async with database.transaction() as session:
        repository = SemanticIdRepository(session, CATALOG)
        first = await repository.of_ready_items("v1", limit=2)
        rest = await repository.of_ready_items("v1", after_item_id="b", limit=2)
    assert [item.item_id for item, _ in [*first, *rest]] == ["a", "b", "c"]
    assert {tuple(row.codes[Modality.TEXT]) for _, row in [*first, *rest]} == {(1,)}


async def test_a_whole_catalogue_fits_through_one_call(database, rows):
    ids = [f"item-{number}" for number in range(12_000)]
    await rows.items(*ids)
    await rows.bundle("v1")
    async with database.transaction() as session:
        repository = SemanticIdRepository(session, CATALOG)
        await repository.put("v1", [codes(item_id, 1, 1) for item_id in ids])
        assert len(await repository.of_items("v1", ids)) == 12_000


async def test_queries_are_planned_for_as_many_rows_as_came(database, rows):
    ids = [f"item-{number}" for number in range(500)]
    await rows.items(*ids)
    await rows.bundle("v1")
    expected = text("EXPLAIN (FORMAT JSON) SELECT 1 FROM semantic_ids WHERE bundle = 'v1'")
    async with database.transaction() as session:
        repository = SemanticIdRepository(session, CATALOG)
        await repository.put("v1", (codes(item_id, 1, 1) for item_id in ids))
        await repository.refresh_statistics()
    async with database.transaction() as session:
        [plan] = (await session.execute(expected)).scalar_one()
    assert plan["Plan"]["Plan Rows"] == 500


async def test_items_without_and_with_imputed_modalities_are_stored_together(database, rows):
    await rows.items("mug", "pot")
    await rows.bundle("v1")
    two = {
        "mug": ItemSemanticIds("mug", 1, {Modality.TEXT: [1], Modality.VISUAL: [2]}),
        "pot": ItemSemanticIds(
            "pot", 1, {Modality.TEXT: [3]}, imputed=[Modality.COLLABORATIVE, Modality.VISUAL]
        ),
    }
    async with database.transaction() as session:
        repository = SemanticIdRepository(session, CATALOG)
        await repository.put("v1", list(two.values()))
        found = await repository.of_items("v1", list(two))
    assert {i: list(row.imputed) for i, row in found.items()} == {
        i: list(row.imputed) for i, row in two.items()
    }
    assert found["mug"].codes == two["mug"].codes
