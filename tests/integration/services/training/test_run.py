import asyncio
import json
import re
from datetime import timedelta

import numpy as np
import pytest
import torch

from services.training import run as run_module
from services.training.cleaning import clean_up_after_runs
from services.training.lease import LeaseLostError
from services.training.run import STAGES, Stage, run_training
from shared.artifacts.bundle import open_bundle
from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository
from shared.database.outbox import OutboxRepository
from shared.database.semantic_ids import SemanticIdRepository
from shared.database.traffic import TrafficRepository
from shared.database.training_runs import TrainingRunRepository
from shared.errors import NotFoundError, UnavailableError
from shared.ingestion.item_content import item_content
from shared.modeling.mm_rq_vae import MMRQVAE
from shared.modeling.modality import Modality
from shared.modeling.quantizer_kinds import load_quantizer
from shared.modeling.ranker import load_for_serving
from shared.modeling.rq_kmeans import RQKMeans
from shared.modeling.sasrec import SASRec
from tests.integration.services.training.conftest import TINY

CATALOG = "shop"
NAMES = [stage.name for stage in STAGES]


class CountedStages:
    """The real stages, counted; one of them may be made to fail before or after its work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self.before: dict[str, object] = {}
        self.after: dict[str, object] = {}
        monkeypatch.setattr(
            run_module, "STAGES", tuple(Stage(s.name, self._counted(s)) for s in STAGES)
        )

    def _counted(self, stage: Stage):
        async def counted(context, folder) -> None:
            self.begun.append(stage.name)
            if stage.name in self.before:
                await self.before[stage.name](context)
            await stage.run(context, folder)
            if stage.name in self.after:
                await self.after[stage.name](context)

        return counted


@pytest.fixture
def stages(monkeypatch) -> CountedStages:
    return CountedStages(monkeypatch)


async def test_a_run_publishes_a_bundle_that_opens_and_goes_live(
    shop, resources, settings, stand_ins
):
    run_id = await shop.queue_run()
    await run_training(run_id, settings)

    training = await shop.training(run_id)
    assert training.problem is None
    assert training.state == "succeeded"
    assert re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{4}", training.bundle)
    assert [stage["stage"] for stage in training.stages] == NAMES
    assert all(stage["done"] == stage["total"] for stage in training.stages)
    assert all(stage["seconds"] > 0 for stage in training.stages)
    begun = [stage["started_at"] for stage in training.stages]
    assert begun == sorted(begun)

    bundle = open_bundle(resources.store, CATALOG, training.bundle)
    manifest, catalogue = bundle.manifest, bundle.catalogue
    assert manifest.dataset["items"] == len(catalogue.item_ids) == 40
    assert manifest.dataset["unknown_interactions"] == 1
    assert manifest.dataset["short_sequences"] == 1
    assert manifest.encoders == {Modality.TEXT: "text-1", Modality.VISUAL: "image-1"}
    assert set(manifest.metrics) == {
        "popularity", "sasrec", "ranker", "semantic_ids", "collapsed", "gates",
    }  # fmt: skip
    assert [gate["name"] for gate in manifest.metrics["gates"]] == [
        "ranking",
        *(f"{of}-{j.value}" for of in ("code-usage", "tau") for j in Modality),
        "spectrum-input",
        "spectrum-fused",
    ]
    assert catalogue.item_ids[:2] == ["item-0", "item-1"]
    cold = catalogue.frequency == 0
    assert cold[38]
    assert cold[39]
    assert np.array_equal(catalogue.imputed[Modality.COLLABORATIVE], cold)
    assert np.flatnonzero(catalogue.imputed[Modality.VISUAL]).tolist() == [1, 2]
    assert not catalogue.imputed[Modality.TEXT].any()

    sasrec = SASRec.load(bundle.collaborative)
    warm_rows = catalogue.embeddings[Modality.COLLABORATIVE][~cold]
    assert np.array_equal(warm_rows, sasrec.collaborative_embeddings().numpy()[~cold])
    ranker = load_for_serving(bundle.ranker)
    assert np.allclose(ranker.fused_matrix().numpy(), catalogue.fused, atol=1e-5)
    assert MMRQVAE.load(bundle.tokenizer).modalities == tuple(Modality)
    assert bundle.sids()[Modality.TEXT].shape == (40, 4)
    report = bundle.folder / "report"
    analysis = json.loads((report / "analysis.json").read_text())
    assert len(analysis["spectra"]["fused"]["log10"]) == catalogue.input_table.shape[1]
    assert analysis["tau"]["text"]["distances"] == 60 * 5
    assert "ndcg@10" in (report / "README.md").read_text()
    for plot in ("spectra.png", "tau.png"):
        assert f"({plot})" in (report / "README.md").read_text()
        assert (report / plot).read_bytes().startswith(b"\x89PNG")
    files = {path.name for path in report.iterdir()}
    assert {"ranker/ranker.json", "sids.parquet"} <= set(manifest.files)
    assert {f"report/{name}" for name in files} <= set(manifest.files)

    assert [call for call in stand_ins.loaded if call[1] != training.bundle] == []
    assert {name for name, _ in stand_ins.loaded} == {"tokenization", "ranking"}
    assert {name for name, _ in stand_ins.activated} == {"tokenization", "ranking"}
    async with resources.database.transaction() as session:
        live = await BundleRepository(session, CATALOG).live()
        assert live.version == training.bundle
        assert live.run_id == run_id
        ready = await ItemRepository(session, CATALOG).page(limit=100, status="ready")
        assert len(ready) == 40
        assert await OutboxRepository(session).depth() == 0
        sids = await SemanticIdRepository(session, CATALOG).of_items(live.version, ["item-39"])
        assert Modality.COLLABORATIVE in sids["item-39"].imputed


async def test_a_run_may_choose_the_kind_of_quantizer(shop, resources, settings):
    run_id = await shop.queue_run(quantizer={"kind": "rq_kmeans", "codebook_size": 4})
    await run_training(run_id, settings)

    training = await shop.training(run_id)
    assert training.problem is None
    bundle = open_bundle(resources.store, CATALOG, training.bundle)
    assert bundle.manifest.config["quantizer"]["kind"] == "rq_kmeans"
    quantizer = load_quantizer(bundle.tokenizer)
    assert isinstance(quantizer, RQKMeans)
    vectors = {j: torch.from_numpy(table) for j, table in bundle.catalogue.embeddings.items()}
    for j, codes in quantizer.codes(vectors).items():
        assert np.array_equal(codes.numpy(), bundle.sids()[j])


async def test_a_killed_run_goes_on_at_the_first_stage_without_a_mark(
    shop, resources, settings, stages, stand_ins
):
    run_id = await shop.queue_run()

    async def killed(_context) -> None:
        raise asyncio.CancelledError

    stages.before["finetune"] = killed
    with pytest.raises(asyncio.CancelledError):
        await run_training(run_id, settings)
    assert stages.begun == [
        "snapshot",
        "embed",
        "collaborative",
        "sequence",
        "quantize",
        "finetune",
    ]
    assert (await shop.training(run_id)).state == "running"
    await let_the_lease_run_out(resources, run_id)

    stages.begun.clear()
    stages.before.clear()
    await run_training(run_id, settings)
    assert stages.begun == ["finetune", "evaluate", "publish"]
    training = await shop.training(run_id)
    assert (training.state, training.lease_token) == ("succeeded", 2)
    assert [stage["stage"] for stage in training.stages] == NAMES
    assert len(stand_ins.embedded) == len(set(stand_ins.embedded)) + 1  # item-2 without its image


async def test_a_run_killed_while_publishing_publishes_once(shop, resources, settings, stages):
    run_id = await shop.queue_run()

    async def killed(_context) -> None:
        raise asyncio.CancelledError

    stages.after["publish"] = killed
    with pytest.raises(asyncio.CancelledError):
        await run_training(run_id, settings)
    await let_the_lease_run_out(resources, run_id)
    stages.after.clear()
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert training.state == "succeeded"
    async with resources.database.transaction() as session:
        bundles = await BundleRepository(session, CATALOG).all()
    assert [(row.version, row.state) for row in bundles] == [(training.bundle, "live")]


async def test_a_second_delivery_of_a_task_does_nothing(shop, settings, stages):
    run_id = await shop.queue_run()

    async def delivered_again(_context) -> None:
        await run_training(run_id, settings)

    stages.before["collaborative"] = delivered_again
    await run_training(run_id, settings)
    assert stages.begun == NAMES
    before = await shop.training(run_id)
    await run_training(run_id, settings)
    assert stages.begun == NAMES
    after = await shop.training(run_id)
    assert (after.lease_token, after.finished_at) == (1, before.finished_at)


async def test_cancelling_stops_the_run_and_publishes_nothing(
    shop, resources, settings, stages, stand_ins
):
    run_id = await shop.queue_run()

    async def cancel(_context) -> None:
        async with resources.database.transaction() as session:
            runs = TrainingRunRepository(session)
            await runs.request_cancel(await runs.get(run_id))

    stages.before["embed"] = cancel
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert (training.state, training.bundle) == ("cancelled", None)
    assert training.finished_at is not None
    assert stages.begun[-1] in ("embed", "quantize")
    assert stand_ins.loaded == []


async def test_an_owner_that_lost_its_lease_writes_nothing_more(shop, resources, settings, stages):
    run_id = await shop.queue_run()

    async def another_owner(context) -> None:
        await let_the_lease_run_out(resources, run_id)
        async with resources.database.transaction() as session:
            row = await TrainingRunRepository(session).acquire(run_id, lease=timedelta(minutes=1))
        assert row.lease_token == 2
        with pytest.raises(LeaseLostError):
            await context.lease.confirm()

    stages.before["collaborative"] = another_owner
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert (training.state, training.lease_token, training.problem) == ("running", 2, None)
    assert stages.begun == ["snapshot", "embed", "collaborative"]


async def test_a_setting_that_does_not_exist_fails_the_run_and_is_named(shop, settings):
    run_id = await shop.queue_run(ranker={"epoch": 3})
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert training.state == "failed"
    assert training.problem["errors"][0]["field"] == "ranker.epoch"


async def test_a_catalogue_without_interactions_fails_with_the_reason(resources, shop, settings):
    async with resources.database.transaction() as session:
        run_id = (await TrainingRunRepository(session).add("empty-shop", {})).run_id
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert training.state == "failed"
    assert training.problem["errors"][0]["field"] == "items"


# SASRec finds the topics, and adds its scores to the ranker's.
WELL_TRAINED = {
    **TINY["collaborative"],
    "epochs": 150,
    "patience": 150,
    "learning_rate": 0.01,
    "dropout": 0.1,
}
UNTRAINED = {
    "start": "cold",
    "collaborative": {**TINY["collaborative"], "epochs": 1, "learning_rate": 1e-9},
    "ranker": {
        **TINY["ranker"],
        "epochs": 1,
        "learning_rate_base": 1e-9,
        "learning_rate_new": 1e-9,
        "sequence_weights": [],
    },
}


async def test_a_bundle_that_ranks_worse_than_the_live_one_is_published_but_not_live(
    shop, resources, settings, stand_ins
):
    """On new data: the live bundle is measured on it too."""
    first = await shop.queue_run(collaborative=WELL_TRAINED)
    await run_training(first, settings)
    live_version = (await shop.training(first)).bundle
    stand_ins.loaded.clear()
    await shop.add_item("newcomer", "Arrived later")

    second = await shop.queue_run(**UNTRAINED)
    await run_training(second, settings)
    training = await shop.training(second)
    assert training.state == "failed"
    assert training.problem["type"] == "urn:mmesid:problem:gate-failed"
    assert "ranking: nDCG@10 is" in training.problem["detail"]
    assert stand_ins.loaded == []
    async with resources.database.transaction() as session:
        bundles = {row.version: row.state for row in await BundleRepository(session, CATALOG).all()}
    assert bundles == {live_version: "live", training.bundle: "published"}
    gates = open_bundle(resources.store, CATALOG, training.bundle).manifest.metrics["gates"]
    ranking = next(gate for gate in gates if gate["name"] == "ranking")
    assert ranking["figures"]["users"] == 60
    assert ranking["figures"]["ndcg@10"] < ranking["figures"]["lowest"] < ranking["figures"]["live"]


async def test_without_go_live_the_bundle_is_only_published(shop, resources, settings, stand_ins):
    run_id = await shop.queue_run(go_live=False)
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert training.state == "succeeded"
    assert stand_ins.loaded == []
    async with resources.database.transaction() as session:
        assert await BundleRepository(session, CATALOG).live() is None


async def test_items_that_change_during_the_run_are_caught_up_before_the_bundle_is_live(
    shop, resources, settings, stages, stand_ins
):
    run_id = await shop.queue_run()

    async def meanwhile(_context) -> None:
        await shop.add_item("newcomer", "Arrived late")
        async with resources.database.transaction() as session:
            items = ItemRepository(session, CATALOG)
            row = await items.get("item-7", for_update=True)
            await items.change(row, item_content(title="New words"), relay_after=timedelta(0))

    stages.before["quantize"] = meanwhile
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert training.state == "succeeded"
    assert sorted(stand_ins.indexed) == ["item-7", "newcomer"]
    assert sorted(stand_ins.rankable) == ["item-7", "newcomer"]
    async with resources.database.transaction() as session:
        sids = SemanticIdRepository(session, CATALOG)
        assert set(await sids.of_items(training.bundle, ["item-7", "newcomer"])) == {
            "item-7",
            "newcomer",
        }
        waiting = await OutboxRepository(session).get(CATALOG, ["item-7", "newcomer", "item-8"])
    assert {row.item_id for row in waiting} == {"item-7", "newcomer"}


async def test_a_catalogue_without_images_is_trained_on_what_it_has(
    shop_without_images, resources, settings
):
    shop = shop_without_images
    run_id = await shop.queue_run()
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert (training.state, training.problem) == ("succeeded", None)
    bundle = open_bundle(resources.store, CATALOG, training.bundle)
    assert set(bundle.catalogue.embeddings) == {Modality.COLLABORATIVE, Modality.TEXT}
    assert bundle.manifest.encoders == {Modality.TEXT: "text-1"}
    assert set(bundle.sids()) == {Modality.COLLABORATIVE, Modality.TEXT}


async def test_a_run_waits_for_a_service_that_is_away_for_a_while(
    shop, settings, stages, stand_ins
):
    run_id = await shop.queue_run()

    async def away(_context) -> None:
        stand_ins.down.add("embedding")
        asyncio.get_running_loop().call_later(0.5, stand_ins.down.clear)

    stages.before["embed"] = away
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert (training.state, training.problem) == ("succeeded", None)


async def test_items_embedded_before_are_not_embedded_again(shop, settings, stand_ins):
    await run_training(await shop.queue_run(), settings)
    stand_ins.embedded.clear()
    await shop.add_item("newcomer", "Arrived later")
    await run_training(await shop.queue_run(), settings)
    # item-2's image is broken: it is tried again, with every training.
    assert stand_ins.embedded == [None, "Arrived later"]


async def test_a_retry_goes_on_from_the_completed_stages_of_the_run_that_failed(
    shop, resources, settings, stages, stand_ins
):
    first = await shop.queue_run()

    async def broken(_context) -> None:
        raise UnavailableError("no disk is left")

    stages.before["quantize"] = broken
    await run_training(first, settings)
    former = await shop.training(first)
    assert (former.state, former.problem["detail"]) == ("failed", "no disk is left")
    await clean_up_after_runs(CATALOG, settings)
    await shop.add_item("newcomer", "Arrived after the snapshot")
    stages.before.clear()
    stages.begun.clear()
    stand_ins.embedded.clear()

    async with resources.database.transaction() as session:
        retry = await TrainingRunRepository(session).add(
            CATALOG, former.request, trigger="retry", retry_of=former
        )
    await run_training(retry.run_id, settings)

    training = await shop.training(retry.run_id)
    assert (training.state, training.problem, training.trigger) == ("succeeded", None, "retry")
    assert training.retry_of == first
    assert stages.begun == ["quantize", "finetune", "evaluate", "publish"]
    assert [stage["stage"] for stage in training.stages] == NAMES
    assert training.stages[:4] == former.stages[:4]
    assert stand_ins.embedded == ["Arrived after the snapshot"]  # caught up with when publishing
    assert open_bundle(resources.store, CATALOG, training.bundle).manifest.dataset["items"] == 40


async def test_a_retry_of_a_bundle_that_failed_a_gate_is_judged_again(
    shop, resources, settings, stages
):
    first = await shop.queue_run()

    async def failed_gate(context) -> None:
        path = context.work.open("evaluate") / "gates.json"
        gates = [{**gate, "passed": False} for gate in json.loads(path.read_text())]
        path.write_text(json.dumps(gates))

    stages.before["publish"] = failed_gate
    await run_training(first, settings)
    former = await shop.training(first)
    assert former.problem["type"] == "urn:mmesid:problem:gate-failed"
    stages.before.clear()
    stages.begun.clear()

    async with resources.database.transaction() as session:
        retry = await TrainingRunRepository(session).add(
            CATALOG, former.request, trigger="retry", retry_of=former
        )
    await run_training(retry.run_id, settings)
    assert stages.begun == ["evaluate", "publish"]
    training = await shop.training(retry.run_id)
    assert (training.state, training.problem) == ("succeeded", None)
    assert training.bundle != former.bundle


async def test_the_files_of_a_run_are_kept_while_it_may_be_retried(
    shop, resources, settings, stages
):
    def folders() -> list[str]:
        return resources.store.list_folder(f"{CATALOG}/runs")

    async def broken(_context) -> None:
        raise UnavailableError("no disk is left")

    stages.before["embed"] = broken
    failed = [await shop.queue_run()]
    await run_training(failed[0], settings)
    await clean_up_after_runs(CATALOG, settings)
    assert folders() == [str(failed[0])]
    failed.append(await shop.queue_run())
    await clean_up_after_runs(CATALOG, settings)
    assert folders() == [str(failed[0])]
    await run_training(failed[1], settings)
    await clean_up_after_runs(CATALOG, settings)
    assert folders() == [str(failed[1])]


async def test_old_bundles_are_removed_once_there_are_enough(shop, resources, settings):
    training = settings.training.model_copy(update={"keep_bundles": 2})
    settings = settings.model_copy(update={"training": training})
    versions = []
    for _ in range(3):
        run_id = await shop.queue_run()
        await run_training(run_id, settings)
        versions.append((await shop.training(run_id)).bundle)
        await clean_up_after_runs(CATALOG, settings)
    async with resources.database.transaction() as session:
        kept = [row.version for row in await BundleRepository(session, CATALOG).all()]
    assert set(kept) == set(versions[1:])
    with pytest.raises(NotFoundError):
        open_bundle(resources.store, CATALOG, versions[0])
    assert resources.store.list_folder(f"{CATALOG}/runs") == []
    await clean_up_after_runs(CATALOG, settings)


async def test_bundles_in_service_are_never_too_old(shop, resources, settings):
    training = settings.training.model_copy(update={"keep_bundles": 2})
    settings = settings.model_copy(update={"training": training})
    first = await shop.queue_run()
    await run_training(first, settings)
    async with resources.database.transaction() as session:
        bundles = BundleRepository(session, CATALOG)
        manifest = (await bundles.live()).manifest
        for version in ("0-tried", "1-idle"):
            await bundles.add(version, manifest, run_id=None)
        await TrafficRepository(session, CATALOG).replace({"0-tried": 10.0})
    second = await shop.queue_run()
    await run_training(second, settings)
    await clean_up_after_runs(CATALOG, settings)

    live, former = [(await shop.training(run)).bundle for run in (second, first)]
    async with resources.database.transaction() as session:
        kept = {row.version: row.state for row in await BundleRepository(session, CATALOG).all()}
    assert kept == {live: "live", former: "retired", "0-tried": "published"}


async def test_a_restarted_run_does_not_bring_back_a_bundle_that_was_rolled_back(
    shop, resources, settings, stages
):
    await run_training(await shop.queue_run(), settings)
    async with resources.database.transaction() as session:
        before = (await BundleRepository(session, CATALOG).live()).version
    run_id = await shop.queue_run()

    async def rolled_back_and_killed(context) -> None:
        async with resources.database.transaction() as session:
            await BundleRepository(session, CATALOG).make_live(before)
        raise asyncio.CancelledError

    stages.after["publish"] = rolled_back_and_killed
    with pytest.raises(asyncio.CancelledError):
        await run_training(run_id, settings)
    await let_the_lease_run_out(resources, run_id)
    stages.after.clear()
    await run_training(run_id, settings)

    assert (await shop.training(run_id)).state == "succeeded"
    async with resources.database.transaction() as session:
        assert (await BundleRepository(session, CATALOG).live()).version == before


async def let_the_lease_run_out(resources, run_id) -> None:
    async with resources.database.transaction() as session:
        row = await TrainingRunRepository(session).get(run_id)
        row.lease_expires_at = row.lease_expires_at - timedelta(hours=1)
