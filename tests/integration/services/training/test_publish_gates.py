"""What a bundle has to show once the services have loaded it, before it goes live."""

import asyncio

import pytest

from services.training.run import run_training
from services.training.stages import publish
from shared.artifacts.bundle import open_bundle
from shared.database.bundles import BundleRepository
from tests.integration.services.training.test_run import let_the_lease_run_out

CATALOG = "shop"


async def rows(resources):
    async with resources.database.transaction() as session:
        return {row.version: row for row in await BundleRepository(session, CATALOG).all()}


def gates_of(row):
    return {gate["name"]: gate for gate in row.manifest["metrics"]["gates"]}


async def test_real_histories_are_asked_of_the_new_bundle_and_of_the_live_one_in_turns(
    shop, resources, settings, stand_ins
):
    first = await shop.queue_run()
    await run_training(first, settings)
    live = (await shop.training(first)).bundle
    assert {request.bundle for request in stand_ins.ranked} == {live}
    gates = gates_of((await rows(resources))[live])
    assert gates["smoke"]["passed"]
    assert gates["smoke"]["figures"] == {"requests": 32, "failed": 0}
    assert gates["latency"]["passed"]
    assert set(gates["latency"]["figures"]) == {"p95_ms", "limit_ms"}

    stand_ins.ranked.clear()
    second = await shop.queue_run()
    await run_training(second, settings)
    new = (await shop.training(second)).bundle
    assert [request.bundle for request in stand_ins.ranked] == [new, live] * 32
    histories = [request.history for request in stand_ins.ranked]
    assert histories[::2] == histories[1::2]
    bundles = await rows(resources)
    assert bundles[new].state == "live"
    assert "live_p95_ms" in gates_of(bundles[new])["latency"]["figures"]


async def test_a_bundle_that_fails_the_smoke_gate_is_not_live(shop, resources, settings, stand_ins):
    await run_training(await shop.queue_run(), settings)
    (live,) = await rows(resources)
    stand_ins.ranks_by = "sasrec"
    run_id = await shop.queue_run()
    await run_training(run_id, settings)

    training = await shop.training(run_id)
    assert training.state == "failed"
    assert training.problem["type"] == "urn:mmesid:problem:gate-failed"
    assert "smoke: 32 of 32 requests failed: sasrec answered" in training.problem["detail"]
    bundles = await rows(resources)
    assert {version: row.state for version, row in bundles.items()} == {
        live: "live", training.bundle: "published",
    }  # fmt: skip
    assert not gates_of(bundles[training.bundle])["smoke"]["passed"]
    assert {version for _, version in stand_ins.activated} == {live}
    # The bundle's own files were complete before, and stay as they are.
    manifest = open_bundle(resources.store, CATALOG, training.bundle).manifest
    assert "smoke" not in {gate["name"] for gate in manifest.metrics["gates"]}


async def test_a_bundle_that_is_too_slow_is_not_live(shop, resources, settings):
    limits = {"latency_gate_ms": 1e-6}
    training_settings = settings.training.model_copy(update=limits)
    run_id = await shop.queue_run()
    await run_training(run_id, settings.model_copy(update={"training": training_settings}))
    training = await shop.training(run_id)
    assert training.state == "failed"
    assert "latency: 95 % of the requests took at most" in training.problem["detail"]
    (row,) = (await rows(resources)).values()
    assert row.state == "published"


async def test_a_run_killed_after_its_gates_were_measured_does_not_ask_again(
    shop, resources, settings, stand_ins, monkeypatch
):
    async def killed(*_) -> None:
        raise asyncio.CancelledError

    run_id = await shop.queue_run()
    with monkeypatch.context() as patch:
        patch.setattr(publish, "_go_live", killed)
        with pytest.raises(asyncio.CancelledError):
            await run_training(run_id, settings)
    assert len(stand_ins.ranked) == 32
    await let_the_lease_run_out(resources, run_id)

    await run_training(run_id, settings)
    assert len(stand_ins.ranked) == 32
    (row,) = (await rows(resources)).values()
    assert row.state == "live"
    assert list(gates_of(row))[-2:] == ["smoke", "latency"]
