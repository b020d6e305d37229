import asyncio

import numpy as np
import pytest
import torch

from benchmarks.ranking_parts.floor import Floor
from benchmarks.ranking_parts.made_up_bundle import popularity
from benchmarks.ranking_parts.ways import K, open_way
from benchmarks.ranking_parts.workloads import NewUsers
from shared.errors import UnavailableError
from shared.modeling.ranker import load_for_serving
from shared.settings import RankingSettings

SETTINGS = RankingSettings(device="cpu", threads=1)
DIFFERENT_LENGTHS = (1, 20, 7, 60)


@pytest.fixture(scope="module")
def histories(bundle):
    items = len(bundle.catalogue.item_ids)
    found = []
    for seed, length in enumerate(DIFFERENT_LENGTHS):
        with NewUsers(popularity(items), length, seed=seed).asking() as history:
            found.append(history)
    return found


@pytest.fixture(scope="module")
@torch.inference_mode()
def scores(bundle, histories):
    """Of the ranker itself, -inf for seen items."""
    found = load_for_serving(bundle.ranker).score(histories).numpy()
    for own, history in zip(found, histories, strict=True):
        own[history] = -np.inf
    return found


@pytest.mark.parametrize("name", ["transformers", "a", "b"])
async def test_a_way_finds_the_best_unseen_items(name, bundle, histories, scores):
    async with open_way(name, bundle, SETTINGS) as rank:
        found = await asyncio.gather(*(rank(history) for history in histories))
    for rows, history, own in zip(found, histories, scores, strict=True):
        assert len(set(rows.tolist())) == len(rows)
        assert not set(rows.tolist()) & set(history.tolist())
        wanted = np.sort(own)[::-1][:K]
        np.testing.assert_allclose(own[rows], wanted[wanted > -np.inf][: len(rows)], atol=1e-4)


async def test_semantic_ids_give_unseen_items(bundle, histories):
    async with open_way("c", bundle, SETTINGS) as rank:
        found = await asyncio.gather(*(rank(history) for history in histories))
    for rows, history in zip(found, histories, strict=True):
        assert len(set(rows.tolist())) == len(rows) == 20
        assert not set(rows.tolist()) & set(history.tolist())


async def test_an_engine_that_is_not_to_be_had_says_so(bundle, monkeypatch):
    monkeypatch.setattr("services.ranking.engines.opening._vllm_is_installed", lambda: False)
    with pytest.raises(UnavailableError):
        async with open_way("vllm", bundle, SETTINGS):
            pass


@torch.inference_mode()
def test_the_floor_computes_the_scores_of_the_ranker(bundle):
    with NewUsers(popularity(len(bundle.catalogue.item_ids)), 20, seed=9).asking() as history:
        floor = Floor(bundle, torch.device("cpu"))
        found = floor.scores(floor.fresh([history, history]))
        expected = load_for_serving(bundle.ranker).score([history, history])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
