import asyncio

import numpy as np
import pytest
import torch

from services.ranking.engines.engine import Selection
from services.ranking.scoring.graph_search import KEPT, PREFIX, GraphSearch
from services.ranking.scoring.scorer import CatalogueScorer
from shared.errors import UnavailableError
from shared.settings import VectorSettings
from shared.vectors.edge import EdgeVectorStore
from tests.unit.services.ranking.conftest import (
    ITEMS,
    NOTHING,
    full_look,
    made_up_rows,
    selections,
)


@pytest.fixture
def settings(tmp_path):
    return VectorSettings(folder=tmp_path / "candidates")


@pytest.fixture
def search(shop, settings):
    search = GraphSearch.open(shop.items.fused, settings, "shop", "v1")
    yield search
    search.close()


@pytest.fixture
def scorer(shop, search):
    return CatalogueScorer(shop.encoder, shop.items, search)


def recall(found, expected):
    shares = [
        len(set(own.rows.tolist()) & set(rows)) / len(rows)
        for own, rows in zip(found, expected, strict=True)
        if rows
    ]
    return float(np.mean(shares))


def test_nearly_all_of_the_best_are_found_and_scored_exactly(scorer, shop):
    wanted = [Selection(100, None, NOTHING)] * len(shop.states)
    found = scorer.best(shop.states, wanted)
    expected = [full_look(shop.items.fused, state, wanted[0]) for state in shop.states]
    assert recall(found, expected) > 0.9
    for own, state in zip(found, shop.states, strict=True):
        exact = shop.items.fused[own.rows].double().numpy() @ state.double().numpy()
        np.testing.assert_allclose(own.scores, exact, rtol=1e-5)
        assert np.all(np.diff(own.scores) <= 0)


def test_filters_seen_and_hidden_items_are_exact(scorer, shop):
    hidden = torch.arange(0, ITEMS, 3)
    scorer.hide(hidden)
    wanted = selections(8)
    found = scorer.best(shop.states, wanted)
    expected = [
        full_look(shop.items.fused, state, selection, hidden.tolist())
        for state, selection in zip(shop.states, wanted, strict=True)
    ]
    assert recall(found, expected) > 0.9
    for own, selection, rows in zip(found, wanted, expected, strict=True):
        assert len(own.rows) == len(rows)
        assert not set(own.rows.tolist()) & {*hidden.tolist(), *selection.excluded.tolist()}
        if selection.allowed is not None:
            assert selection.allowed[own.rows].all()


def test_changed_and_later_rows_are_exact_however_long_they_are(scorer, shop):
    rows = torch.cat([torch.arange(0, ITEMS, 50), torch.arange(ITEMS, ITEMS + 40)])
    made = made_up_rows(shop.encoder, len(rows), 5)
    made.fused[::2] *= 20
    scorer.put(rows, made)
    fused = torch.cat([shop.items.fused[:ITEMS], torch.zeros(40, shop.items.fused.shape[1])])
    fused[rows] = made.fused
    wanted = [Selection(15, None, NOTHING)] * len(shop.states)
    found = scorer.best(shop.states, wanted)
    for own, state in zip(found, shop.states, strict=True):
        expected = full_look(fused, state, wanted[0])
        changed = set(rows.tolist())
        assert changed & set(expected) <= set(own.rows.tolist())
        exact = fused[own.rows].double().numpy() @ state.double().numpy()
        np.testing.assert_allclose(own.scores, exact, rtol=1e-5)


def test_a_request_for_everything_gets_everything(scorer, shop):
    [best] = scorer.best(shop.states[:1], [Selection(2 * ITEMS, None, NOTHING)])
    assert sorted(best.rows.tolist()) == list(range(ITEMS))


def test_a_search_that_fails_is_answered_exactly(scorer, search, shop):
    search._loop.run(search._store.drop(search._collection))
    wanted = selections(8)
    expected = [
        full_look(shop.items.fused, state, selection)
        for state, selection in zip(shop.states, wanted, strict=True)
    ]
    assert [own.rows.tolist() for own in scorer.best(shop.states, wanted)] == expected


def test_a_collection_that_is_complete_is_left_as_it_is(shop, settings):
    GraphSearch.open(shop.items.fused, settings, "shop", "v1").close()
    others = made_up_rows(shop.encoder, ITEMS, 9).fused
    # Of the same bundle by its name, with other rows: only a build would look at them.
    others *= shop.items.fused.norm(dim=1, keepdim=True) / others.norm(dim=1, keepdim=True)
    again = GraphSearch.open(others, settings, "shop", "v1")
    scorer = CatalogueScorer(shop.encoder, shop.items, again)
    wanted = [Selection(50, None, NOTHING)] * len(shop.states)
    expected = [full_look(shop.items.fused, state, wanted[0]) for state in shop.states]
    assert recall(scorer.best(shop.states, wanted), expected) > 0.9
    again.close()


def test_a_collection_that_was_cut_off_is_completed(shop, settings):
    first = GraphSearch.open(shop.items.fused, settings, "shop", "v1")
    points = first._loop.run(first._store.count(first._collection))
    first._loop.run(first._store.delete(first._collection, ["1", "2"]))
    first.close()
    again = GraphSearch.open(shop.items.fused, settings, "shop", "v1")
    assert again._loop.run(again._store.count(again._collection)) == points
    again.close()


def test_one_process_holds_an_embedded_collection(shop, settings, search):
    with pytest.raises(UnavailableError, match="another process"):
        GraphSearch.open(shop.items.fused, settings, "shop", "v1")


def test_the_collections_of_old_bundles_are_dropped(shop, settings):
    for version in ("v1", "v2", "v3", "v4"):
        GraphSearch.open(shop.items.fused[:64], settings, "shop", version).close()
    GraphSearch.open(shop.items.fused[:64], settings, "other", "v1").close()
    left = asyncio.run(EdgeVectorStore(settings.folder).collections())
    kept = [f"{PREFIX}shop-v{number}" for number in range(5 - KEPT, 5)]
    assert left == [f"{PREFIX}other-v1", *kept]
