"""A second run on a shop that has a live bundle, and what is made of its weights."""

import numpy as np
import pytest

from services.training.run import run_training
from shared.artifacts.bundle import open_bundle
from shared.database.bundles import BundleRepository
from shared.modeling.modality import Modality
from shared.modeling.sasrec import SASRec
from tests.integration.services.training.conftest import TINY
from tests.integration.services.training.test_run import CountedStages

CATALOG = "shop"
C, T, V = Modality


@pytest.fixture
def trained(shop, resources, settings):
    """Runs a training that ends well, and opens its bundle.

    must_go_live: False where how good so small a model is may be left to chance.
    """

    async def train(*, must_go_live=True, **request):
        run_id = await shop.queue_run(**request)
        await run_training(run_id, settings)
        training = await shop.training(run_id)
        if must_go_live:
            assert (training.state, training.problem) == ("succeeded", None)
        return training, open_bundle(resources.store, CATALOG, training.bundle)

    return train


def figures(training, stage):
    return next(row["metrics"] for row in training.stages if row["stage"] == stage)


async def test_after_a_few_new_items_a_run_is_warm_and_keeps_the_tokenizer(shop, trained):
    _, first = await trained()
    for name in ("late-1", "late-2"):
        await shop.add_item(name, f"{name} of topic 1")
    training, second = await trained()

    start = second.manifest.config["start"]
    assert start["parent"] == first.manifest.version
    assert start["stages"] == {
        "collaborative": "warm", "sequence": "warm", "quantize": "kept", "finetune": "warm",
    }  # fmt: skip
    assert start["new_items"] == pytest.approx(2 / 42)
    assert figures(training, "embed")["warm_start"] == 1.0

    for file in first.tokenizer.iterdir():
        assert (second.tokenizer / file.name).read_bytes() == file.read_bytes()
    assert second.catalogue.item_ids[:40] == first.catalogue.item_ids
    before, after = first.sids(), second.sids()
    for j in (T, V):
        own = ~(first.catalogue.imputed[j] | second.catalogue.imputed[j][:40])
        assert own.sum() >= 38
        assert np.array_equal(after[j][:40][own], before[j][own])
    kept = second.manifest.metrics["sids_kept"]
    assert kept["text"] == 1.0
    assert kept["collaborative"] == (after[C][:40] == before[C]).all(axis=1).mean()
    assert second.manifest.metrics["cosine_kept"]["collaborative"] > 0.9
    assert figures(training, "evaluate")["sids_kept_text"] == 1.0
    readme = (second.folder / "report" / "README.md").read_text()
    assert f"From the weights of bundle {first.manifest.version}" in readme


async def test_a_warm_run_that_learns_nothing_ends_where_the_live_bundle_is(trained):
    _, first = await trained()
    nothing_to_learn = {**TINY["collaborative"], "learning_rate": 1e-12}
    _, second = await trained(collaborative=nothing_to_learn)
    met = first.catalogue.frequency > 0
    assert second.manifest.config["start"]["stages"]["collaborative"] == "warm"
    before, after = (
        SASRec.load(bundle.collaborative).collaborative_embeddings()[met]
        for bundle in (first, second)
    )
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert second.manifest.metrics["sids_kept"]["collaborative"] == 1.0


async def test_after_many_new_items_a_run_is_cold(shop, trained):
    await trained()
    for n in range(15):
        await shop.add_item(f"late-{n}", f"Late item {n}")
    training, second = await trained()
    start = second.manifest.config["start"]
    assert start["parent"] is None
    assert "27.3% of the items are new" in start["reason"]
    assert figures(training, "embed")["warm_start"] == 0.0
    assert "sids_kept" not in second.manifest.metrics
    gates = {gate["name"]: gate for gate in second.manifest.metrics["gates"]}
    assert gates["ranking"]["figures"]["users"] == 60


async def test_stages_that_are_not_named_are_those_of_the_live_bundle(trained):
    _, first = await trained()
    training, second = await trained(stages=["finetune"])
    assert second.manifest.config["start"]["stages"] == {
        "collaborative": "kept", "sequence": "kept", "quantize": "kept", "finetune": "warm",
    }  # fmt: skip
    met = first.catalogue.frequency > 0
    for part in ("collaborative", "sequence"):
        before, after = (
            SASRec.load(bundle.folder / part).collaborative_embeddings()[met]
            for bundle in (first, second)
        )
        assert np.array_equal(before, after)
    assert second.manifest.metrics["sids_kept"]["collaborative"] == 1.0
    assert second.manifest.metrics["cosine_kept"]["collaborative"] == pytest.approx(1.0)
    assert [row["stage"] for row in training.stages][2:5] == [
        "collaborative", "sequence", "quantize",
    ]  # fmt: skip


async def test_a_new_tokenizer_over_the_sasrec_of_the_live_bundle(trained):
    _, first = await trained()
    _, second = await trained(
        must_go_live=False,
        stages=["quantize", "finetune"],
        quantizer={"kind": "rq_kmeans", "codebook_size": 4},
    )
    assert second.manifest.config["start"]["stages"] == {
        "collaborative": "kept", "sequence": "kept", "quantize": "cold", "finetune": "cold",
    }  # fmt: skip
    assert {file.name for file in second.tokenizer.iterdir()} == {
        "rq_kmeans.json", "rq_kmeans.safetensors",
    }  # fmt: skip
    assert first.manifest.config["quantizer"]["kind"] == "mm_rq_vae"


async def test_a_warm_start_without_a_live_bundle_fails_and_says_why(shop, settings):
    run_id = await shop.queue_run(start="warm")
    await run_training(run_id, settings)
    training = await shop.training(run_id)
    assert training.state == "failed"
    assert training.problem["errors"] == [
        {"field": "start", "message": "cannot be warm: there is no live bundle with its files"}
    ]


async def test_a_run_keeps_to_its_start_when_another_bundle_goes_live_meanwhile(
    trained, resources, monkeypatch
):
    _, first = await trained()
    _, second = await trained(start="cold", seed=5)
    tokenizer = "mm_rq_vae.safetensors"
    assert (first.tokenizer / tokenizer).read_bytes() != (second.tokenizer / tokenizer).read_bytes()

    async def roll_back(_context) -> None:
        async with resources.database.transaction() as session:
            await BundleRepository(session, CATALOG).make_live(first.manifest.version)

    CountedStages(monkeypatch).before["quantize"] = roll_back
    _, third = await trained()
    assert third.manifest.config["start"]["parent"] == second.manifest.version
    assert (third.tokenizer / tokenizer).read_bytes() == (second.tokenizer / tokenizer).read_bytes()
