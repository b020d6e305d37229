import asyncio

import pytest
from sqlalchemy import text

from shared.database.traffic import TrafficRepository
from shared.errors import BrokenImageError, UnavailableError
from shared.ingestion.change import Change, Result
from shared.modeling.modality import Modality

CATALOG = "shop"
BUNDLE = "20260101T000000-test"
NEXT = "20260102T000000-next"

pytestmark = pytest.mark.integration


async def test_a_new_item_gets_codes_vectors_an_index_entry_and_leaves_the_outbox(
    workshop, stand_ins
):
    await workshop.add_bundle(BUNDLE, live=True)
    change = await workshop.add_item(
        "mug", image=b"bytes of a picture", categories=["Kitchen"], attributes={"price": 14.5}
    )

    (outcome,) = await workshop.pipeline.process(CATALOG, [change])

    assert outcome.result is Result.READY
    assert (await workshop.item("mug")).status == "ready"
    assert await workshop.waiting("mug") == set()
    stored = await workshop.semantic_ids(BUNDLE, "mug")
    assert {modality: len(codes) for modality, codes in stored.codes.items()} == dict.fromkeys(
        Modality, 4
    )
    assert stored.imputed == [Modality.COLLABORATIVE]
    for entry in (
        stand_ins.tokenization.index[CATALOG]["mug"],
        stand_ins.ranking.items[CATALOG]["mug"],
    ):
        assert set(entry.vectors) == set(Modality)
        assert (entry.version, entry.categories, entry.attributes) == (
            1,
            ["Kitchen"],
            {"price": 14.5},
        )
    async with workshop.database.transaction() as session:
        rows = await session.execute(text("SELECT modality, revision FROM item_embeddings"))
        assert dict(rows.all()) == {
            "text": "text-encoder@1",
            "visual": "image-encoder@1",
            "collaborative": BUNDLE,
        }


async def test_an_item_without_an_image_has_its_visual_vector_imputed(workshop):
    await workshop.add_bundle(BUNDLE, live=True)
    change = await workshop.add_item("mug")

    await workshop.pipeline.process(CATALOG, [change])

    stored = await workshop.semantic_ids(BUNDLE, "mug")
    assert set(stored.imputed) == {Modality.COLLABORATIVE, Modality.VISUAL}


async def test_many_items_take_one_request_of_each_service(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    changes = [await workshop.add_item(f"item-{number}") for number in range(20)]

    outcomes = await workshop.pipeline.process(CATALOG, changes)

    assert [outcome.change for outcome in outcomes] == changes
    assert {outcome.result for outcome in outcomes} == {Result.READY}
    assert len(stand_ins.embedding.requests) == 1
    assert len(stand_ins.tokenization.requests) == 2  # tokenize, index
    assert len(stand_ins.ranking.requests) == 1


async def test_one_bad_item_fails_alone_and_says_why(workshop):
    await workshop.add_bundle(BUNDLE, live=True)
    good = await workshop.add_item("good")
    unembeddable = await workshop.add_item("bad", title="This cannot be embedded")
    untokenizable = await workshop.add_item("untokenizable")
    blank = await workshop.add_item("blank", title=" ")

    outcomes = await workshop.pipeline.process(CATALOG, [unembeddable, good, untokenizable, blank])

    assert [outcome.result for outcome in outcomes] == [
        Result.FAILED,
        Result.READY,
        Result.FAILED,
        Result.FAILED,
    ]
    assert isinstance(outcomes[0].error, BrokenImageError)
    failed = await workshop.item("bad")
    assert failed.status == "failed"
    assert failed.problem["detail"] == "image: broken"
    assert (await workshop.item("good")).status == "ready"
    assert await workshop.waiting("good", "bad", "untokenizable", "blank") == set()


@pytest.mark.parametrize("service", ["embedding", "tokenization", "ranking"])
async def test_a_service_that_is_down_postpones_and_the_next_attempt_finishes(
    workshop, stand_ins, service
):
    await workshop.add_bundle(BUNDLE, live=True)
    change = await workshop.add_item("mug")
    stand_ins.all[service].is_down = True

    (postponed,) = await workshop.pipeline.process(CATALOG, [change])

    assert postponed.result is Result.POSTPONED
    assert isinstance(postponed.error, UnavailableError)
    assert await workshop.waiting("mug") == {"mug"}
    stand_ins.all[service].is_down = False
    (finished,) = await workshop.pipeline.process(CATALOG, [change])
    assert finished.result is Result.READY
    assert await workshop.waiting("mug") == set()
    assert "mug" in stand_ins.ranking.items[CATALOG]


async def test_an_attempt_after_the_first_does_not_embed_again(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    change = await workshop.add_item("mug", image=b"bytes")
    stand_ins.ranking.is_down = True
    await workshop.pipeline.process(CATALOG, [change])
    stand_ins.ranking.is_down = False

    (outcome,) = await workshop.pipeline.process(CATALOG, [change])

    assert outcome.result is Result.READY
    assert len(stand_ins.embedding.requests) == 1
    tokenized = [r for r in stand_ins.tokenization.requests if hasattr(r, "bundle")]
    assert tokenized[0].items[0].vectors == tokenized[2].items[0].vectors


async def test_without_a_live_bundle_the_item_stays_pending(workshop, stand_ins):
    change = await workshop.add_item("mug")

    (outcome,) = await workshop.pipeline.process(CATALOG, [change])

    assert outcome.result is Result.POSTPONED
    assert (await workshop.item("mug")).status == "pending"
    assert await workshop.waiting("mug") == {"mug"}
    assert stand_ins.embedding.requests == []


async def test_encoders_other_than_the_bundles_are_refused(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    stand_ins.embedding.text_revision = "text-encoder@2"
    change = await workshop.add_item("mug")

    (outcome,) = await workshop.pipeline.process(CATALOG, [change])

    assert outcome.result is Result.POSTPONED
    assert "text-encoder@1" in outcome.error.detail
    assert "text-encoder@2" in outcome.error.detail
    assert await workshop.semantic_ids(BUNDLE, "mug") is None


async def test_a_stale_change_does_nothing(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    old = await workshop.add_item("mug")
    await workshop.change_item("mug", "Another title")

    (outcome,) = await workshop.pipeline.process(CATALOG, [old])

    assert outcome.result is Result.STALE
    assert (await workshop.item("mug")).status == "pending"
    assert await workshop.waiting("mug") == {"mug"}
    assert stand_ins.embedding.requests == []


async def test_an_item_changed_while_it_is_embedded_is_not_overwritten(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    old = await workshop.add_item("mug")
    stand_ins.embedding.delay_s = 0.5
    slow = asyncio.create_task(workshop.pipeline.process(CATALOG, [old]))
    while not stand_ins.embedding.requests:
        await asyncio.sleep(0.01)
    new = await workshop.change_item("mug", "Another title")
    stand_ins.embedding.delay_s = 0.0
    (finished,) = await workshop.pipeline.process(CATALOG, [new])

    (overtaken,) = await slow

    assert (finished.result, overtaken.result) == (Result.READY, Result.STALE)
    assert (await workshop.semantic_ids(BUNDLE, "mug")).item_version == 2
    assert stand_ins.ranking.items[CATALOG]["mug"].version == 2
    async with workshop.database.transaction() as session:
        versions = await session.execute(text("SELECT item_version FROM item_embeddings"))
        assert set(versions.scalars()) == {2}


async def test_a_deleted_item_leaves_the_index_and_the_ranking(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    await workshop.pipeline.process(CATALOG, [await workshop.add_item("mug")])
    change = await workshop.delete_item("mug")

    (outcome,) = await workshop.pipeline.process(CATALOG, [change])

    assert outcome.result is Result.REMOVED
    assert stand_ins.tokenization.index[CATALOG] == {}
    assert stand_ins.ranking.items[CATALOG] == {}
    assert await workshop.waiting("mug") == set()


async def test_a_late_delete_spares_the_item_posted_again(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    await workshop.pipeline.process(CATALOG, [await workshop.add_item("mug")])
    delete = await workshop.delete_item("mug")
    again = await workshop.add_item("mug")
    await workshop.pipeline.process(CATALOG, [again])

    await workshop.pipeline.process(CATALOG, [delete])

    assert again.version == 3
    assert stand_ins.ranking.items[CATALOG]["mug"].version == 3
    assert stand_ins.tokenization.index[CATALOG]["mug"].version == 3


async def test_a_bundle_ahead_of_its_going_live_leaves_status_and_outbox_alone(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    await workshop.add_bundle(NEXT, live=False)
    change = await workshop.add_item("mug")

    (outcome,) = await workshop.pipeline.process(CATALOG, [change], bundle=NEXT)

    assert outcome.result is Result.READY
    assert await workshop.semantic_ids(NEXT, "mug") is not None
    assert await workshop.semantic_ids(BUNDLE, "mug") is None
    assert (await workshop.item("mug")).status == "pending"
    assert await workshop.waiting("mug") == {"mug"}
    assert stand_ins.ranking.requests[-1].bundle == NEXT


async def test_a_bundle_that_goes_live_meanwhile_gets_the_item_too(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    change = await workshop.add_item("mug")
    stand_ins.ranking.delay_s = 0.5
    processing = asyncio.create_task(workshop.pipeline.process(CATALOG, [change]))
    while not stand_ins.ranking.requests:
        await asyncio.sleep(0.01)
    stand_ins.ranking.delay_s = 0.0
    await workshop.add_bundle(NEXT, live=True)

    (outcome,) = await processing

    assert outcome.result is Result.READY
    assert await workshop.semantic_ids(NEXT, "mug") is not None
    assert [request.bundle for request in stand_ins.ranking.requests] == [BUNDLE, NEXT]
    assert await workshop.waiting("mug") == set()


async def test_catalogues_with_the_same_item_id_stay_apart(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    await workshop.add_bundle(BUNDLE, live=True, catalog_id="other")
    mine = await workshop.add_item("mug", title="Mine")
    await workshop.add_item("mug", title="Theirs", catalog_id="other")

    await workshop.pipeline.process(CATALOG, [mine])

    assert (await workshop.item("mug", catalog_id="other")).status == "pending"
    assert await workshop.waiting("mug", catalog_id="other") == {"mug"}
    assert list(stand_ins.ranking.items) == [CATALOG]
    assert await workshop.semantic_ids(BUNDLE, "mug", catalog_id="other") is None


async def test_an_unknown_bundle_postpones_and_names_it(workshop):
    (outcome,) = await workshop.pipeline.process(
        CATALOG, [Change("mug", 1)], bundle="no-such-bundle"
    )

    assert outcome.result is Result.POSTPONED
    assert "no-such-bundle" in outcome.error.detail


async def share(workshop, **shares):
    async with workshop.database.transaction() as session:
        await TrafficRepository(session, CATALOG).replace(shares)


async def test_bundles_with_traffic_get_a_new_item_too(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    await workshop.add_bundle("tried", live=False)
    await workshop.add_bundle("idle", live=False)
    await share(workshop, tried=10)
    change = await workshop.add_item("mug")

    (outcome,) = await workshop.pipeline.process(CATALOG, [change])

    assert outcome.result is Result.READY
    assert (await workshop.item("mug")).status == "ready"
    assert await workshop.waiting("mug") == set()
    assert [request.bundle for request in stand_ins.ranking.requests] == [BUNDLE, "tried"]
    assert await workshop.semantic_ids("tried", "mug") is not None
    assert await workshop.semantic_ids("idle", "mug") is None
    assert len(stand_ins.embedding.requests) == 1


async def test_what_a_bundle_with_traffic_cannot_take_now_is_ready_and_stays_in_the_outbox(
    workshop, stand_ins
):
    await workshop.add_bundle(BUNDLE, live=True)
    await workshop.add_bundle("tried", live=False, encoders={"text": "text-encoder@2"})
    await share(workshop, tried=10)
    change = await workshop.add_item("mug")

    (postponed,) = await workshop.pipeline.process(CATALOG, [change])

    assert postponed.result is Result.POSTPONED
    assert (await workshop.item("mug")).status == "ready"
    assert await workshop.waiting("mug") == {"mug"}
    await share(workshop)
    (finished,) = await workshop.pipeline.process(CATALOG, [change])
    assert finished.result is Result.READY
    assert await workshop.waiting("mug") == set()


async def test_a_bundle_that_gets_traffic_meanwhile_gets_the_item_too(workshop, stand_ins):
    await workshop.add_bundle(BUNDLE, live=True)
    await workshop.add_bundle("tried", live=False)
    change = await workshop.add_item("mug")
    stand_ins.ranking.gate.clear()
    processing = asyncio.create_task(workshop.pipeline.process(CATALOG, [change]))
    while not stand_ins.ranking.requests:
        await asyncio.sleep(0.01)
    await share(workshop, tried=10)
    stand_ins.ranking.gate.set()

    (outcome,) = await processing

    assert outcome.result is Result.READY
    assert await workshop.semantic_ids("tried", "mug") is not None
    assert await workshop.waiting("mug") == set()
