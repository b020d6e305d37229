"""vLLM's engine over a tiny Llama with a real PEFT adapter, beside the engine on transformers."""

import asyncio
import os
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY

from services.ranking.engines.engine import ItemRows, Query, Selection
from services.ranking.engines.opening import open_engine
from services.ranking.engines.transformers_engine import TransformersEngine
from services.ranking.engines.vllm_engine import VllmEngine
from shared.artifacts.bundle import Bundle, Manifest, write_manifest
from shared.errors import OverloadedError, UnavailableError
from shared.settings import RankingSettings

pytestmark = pytest.mark.integration
NOTHING = np.zeros(0, dtype=np.int64)
SETTINGS = RankingSettings(threads=1, max_batch=16, queue_size=16)


def query(history, k=10, allowed=None, excluded=NOTHING):
    return Query(np.asarray(history, dtype=np.int64), Selection(k, allowed, np.asarray(excluded)))


def histories(bundle, number, seed=0):
    random = np.random.default_rng(seed)
    items = len(bundle.catalogue.item_ids)
    return [random.integers(items, size=random.integers(1, 40)) for _ in range(number)]


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.rows, theirs.rows)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    np.testing.assert_allclose(ours.parts, theirs.parts, atol=1e-5)


def engine_processes():
    """The children of this process that run vLLM's engine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:  # it ended while we looked
            continue
        state, parent = rest.split()[:2]
        if int(parent) == os.getpid() and "EngineCor" in name and state != "Z":
            found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def make_bundle(tiny_bundle, tmp_path_factory):
    def make(seed):
        folder = tmp_path_factory.mktemp("bundle") / f"b{seed}"
        shutil.copytree(tiny_bundle(seed), folder)
        manifest = Manifest(
            catalog_id="default",
            version=f"b{seed}",
            created_at=datetime.now(UTC),
            parent=None,
            dataset={},
            encoders={},
            config={},
            metrics={},
            libraries={},
            files={},
        )
        write_manifest(folder, manifest)
        return Bundle(folder)

    return make


@pytest.fixture(scope="module")
def bundle(make_bundle):
    return make_bundle(0)


@pytest.fixture(scope="module")
async def vllm(bundle):
    engine = await VllmEngine.start(bundle, SETTINGS)
    await engine.warm_up()
    yield engine
    await engine.close()


@pytest.fixture(scope="module")
async def reference(bundle):
    engine = TransformersEngine.open(bundle, SETTINGS)
    yield engine
    await engine.close()


@pytest.fixture(scope="module")
async def new_item(bundle, vllm, reference):
    """Puts an item like row `like` at the row given into both engines."""
    catalogue = bundle.catalogue

    async def put(row, like, seed=0):
        random = torch.Generator().manual_seed(seed)
        dimension, width = catalogue.input_table.shape[1], catalogue.fused.shape[1]
        items = ItemRows(
            inputs=torch.from_numpy(catalogue.input_table[[like]])
            + torch.randn(1, dimension, generator=random),
            fused=torch.from_numpy(catalogue.fused[[like]])
            + torch.randn(1, width, generator=random),
            sequence=torch.randn(1, width - dimension, generator=random),
            weights=torch.full((1, 1 + len(catalogue.embeddings)), 0.25),
            target=torch.randn(1, dimension, generator=random),
            embeddings={
                j: torch.from_numpy(table[[like]]) for j, table in catalogue.embeddings.items()
            },
        )
        for engine in (vllm, reference):
            await engine.put(np.array([row]), items)

    return put


async def test_hidden_states_are_those_of_transformers(bundle, vllm, reference):
    # With the unit vectors as rows of E*, the scores are the components of o_LLM and SASRec's h.
    dimension, width = bundle.catalogue.input_table.shape[1], bundle.catalogue.fused.shape[1]
    first = 1000
    units = ItemRows(
        inputs=torch.zeros(width, dimension),
        fused=torch.eye(width),
        sequence=torch.zeros(width, width - dimension),
        weights=torch.zeros(width, 1 + len(bundle.catalogue.embeddings)),
        target=torch.zeros(width, dimension),
        embeddings={
            j: torch.zeros(width, table.shape[1])
            for j, table in bundle.catalogue.embeddings.items()
        },
    )
    rows = np.arange(first, first + width)
    allowed = np.zeros(first + width, dtype=bool)
    allowed[rows] = True
    for engine in (vllm, reference):
        await engine.put(rows, units)
    try:
        for history in histories(bundle, 8):
            states = []
            for engine in (vllm, reference):
                best = await engine.rank(query(history, k=width, allowed=allowed))
                states.append(best.scores[np.argsort(best.rows)])
            np.testing.assert_allclose(states[0], states[1], atol=1e-5)
            assert np.abs(states[0]).max() > 0.1
    finally:
        for engine in (vllm, reference):
            await engine.hide(rows)


async def test_requests_in_one_batch_get_the_answers_of_transformers(bundle, vllm, reference):
    random = np.random.default_rng(1)
    queries = [
        query(
            history,
            k=int(random.integers(1, 60)),
            allowed=random.random(60) < 0.6 if number % 2 else None,
            excluded=history if number % 3 else NOTHING,
        )
        for number, history in enumerate(histories(bundle, 30))
    ]

    answers = await asyncio.gather(*(vllm.rank(one) for one in queries))

    for one, answer in zip(queries, answers, strict=True):
        assert_same(answer, await reference.rank(one))


async def test_an_appended_item_is_ranked_and_read_at_once(vllm, reference, new_item):
    await new_item(row=60, like=7)

    for one in (query([3, 4], k=61), query([60], k=20), query([60, 5, 60], k=20)):
        assert_same(await vllm.rank(one), await reference.rank(one))
    assert 60 in (await vllm.rank(query([3, 4], k=61))).rows


async def test_a_changed_item_is_not_read_from_the_prefix_cache(vllm, reference, new_item):
    history = [*range(20), 8, 9]
    before = await vllm.rank(query(history))

    await new_item(row=8, like=9, seed=1)
    after = await vllm.rank(query(history))

    assert_same(after, await reference.rank(query(history)))
    assert not np.allclose(before.scores, after.scores)


async def test_a_hidden_item_is_never_ranked_but_may_be_read(vllm, reference):
    [best] = (await vllm.rank(query([1, 2], k=1))).rows

    for engine in (vllm, reference):
        await engine.hide(np.array([best]))

    one = query([best, 2], k=60)
    answer = await vllm.rank(one)
    assert best not in answer.rows
    assert_same(answer, await reference.rank(one))


async def test_a_grown_history_reuses_what_was_computed_for_it(vllm):
    def cached():
        return REGISTRY.get_sample_value("mmesid_ranking_prompt_tokens_total", {"source": "cached"})

    history = [40, 41, 42, 43] * 6
    await vllm.rank(query(history))
    before = cached()
    await vllm.rank(query([*history, 44]))

    assert cached() - before >= 32


async def test_more_requests_than_the_queue_holds_are_refused(bundle, vllm):
    asked = [query(history) for history in histories(bundle, 100, seed=3)]

    answers = await asyncio.gather(*(vllm.rank(one) for one in asked), return_exceptions=True)

    refused = [answer for answer in answers if isinstance(answer, OverloadedError)]
    assert len(refused) == 100 - 16 - 16
    assert all(error.retry_after_s >= 1 for error in refused)
    assert all(len(answer.rows) == 10 for answer in answers if answer not in refused)


async def test_a_cancelled_request_leaves_its_place(bundle, vllm):
    asked = [query(history) for history in histories(bundle, 32, seed=4)]
    tasks = [asyncio.create_task(vllm.rank(one)) for one in asked]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    answers = await asyncio.gather(*(vllm.rank(one) for one in asked))

    assert all(len(answer.rows) == 10 for answer in answers)


async def test_two_bundles_are_served_side_by_side(bundle, make_bundle, vllm):
    other = make_bundle(1)
    settings = SETTINGS.model_copy(update={"engine": "vllm"})
    second, choice = await open_engine(other, settings)
    reference = TransformersEngine.open(other, SETTINGS)
    try:
        assert choice.name == "vllm"
        asked = [query(history) for history in histories(bundle, 10, seed=5)]
        first_answers, second_answers = await asyncio.gather(
            asyncio.gather(*(vllm.rank(one) for one in asked)),
            asyncio.gather(*(second.rank(one) for one in asked)),
        )
        for one, first, own in zip(asked, first_answers, second_answers, strict=True):
            assert_same(own, await reference.rank(one))
            assert not np.allclose(first.scores, own.scores)
    finally:
        await second.close()
        await reference.close()


async def test_a_killed_process_is_replaced_and_told_what_changed(vllm, reference, new_item):
    await new_item(row=61, like=12, seed=2)
    for engine in (vllm, reference):
        await engine.hide(np.array([12]))
    asked = query([61, 12], k=60)
    [process] = engine_processes()
    pending = [asyncio.create_task(vllm.rank(asked)) for _ in range(20)]
    await asyncio.sleep(0)
    os.kill(process, signal.SIGKILL)

    ended = await asyncio.gather(*pending, return_exceptions=True)
    assert {type(one) for one in ended} == {UnavailableError}
    assert not vllm.is_ready
    with pytest.raises(UnavailableError):
        await vllm.rank(asked)
    # While it is away: the next process hears of this too.
    await new_item(row=62, like=13, seed=3)

    deadline = time.monotonic() + 120
    while not vllm.is_ready and time.monotonic() < deadline:
        await asyncio.sleep(0.1)

    assert_same(await vllm.rank(asked), await reference.rank(asked))
    assert_same(await vllm.rank(query([62], k=60)), await reference.rank(query([62], k=60)))
    assert len(engine_processes()) == 1


async def test_auto_measures_both_once_and_takes_the_faster(make_bundle):
    bundle = make_bundle(1)
    settings = SETTINGS.model_copy(update={"engine": "auto"})

    engine, first = await open_engine(bundle, settings)
    await engine.close()
    engine, again = await open_engine(Bundle(bundle.folder), settings)
    await engine.close()

    assert first.requests_per_s.keys() == {"vllm", "transformers"}
    assert first.name == max(first.requests_per_s, key=first.requests_per_s.get)
    assert engine.name == first.name
    assert again == first
