from dataclasses import replace

import numpy as np
import pytest
import torch

from services.ranking.engines.engine import Selection
from services.ranking.scoring.candidates import CoarseSearch
from services.ranking.scoring.coarse import Float16Matrix, Int8Matrix
from services.ranking.scoring.scorer import CatalogueScorer
from shared.modeling.sasrec import SASRec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequence_part import SequencePart
from tests.unit.services.ranking.conftest import (
    ITEMS,
    NOTHING,
    full_look,
    made_up_rows,
    selections,
)

CPU = torch.device("cpu")
MATRICES = {"exact": None, "float16": Float16Matrix, "int8": Int8Matrix}


@pytest.fixture(params=MATRICES)
def scorer(request, shop):
    matrix = MATRICES[request.param]
    search = None if matrix is None else CoarseSearch(matrix(shop.items.fused, CPU), CPU)
    return CatalogueScorer(shop.encoder, shop.items, search)


def rows_of(best):
    return [own.rows.tolist() for own in best]


def test_the_best_items_are_those_of_a_full_look(scorer, shop):
    wanted = selections(8)
    expected = [
        full_look(shop.items.fused, state, selection)
        for state, selection in zip(shop.states, wanted, strict=True)
    ]
    assert rows_of(scorer.best(shop.states, wanted)) == expected


def test_more_requests_than_are_scored_at_once_keep_their_order(scorer, shop):
    wanted = selections(8)
    once = rows_of(scorer.best(shop.states, wanted))
    assert rows_of(scorer.best(shop.states.repeat(9, 1), wanted * 9)) == once * 9


def test_the_parts_of_a_score_sum_to_it(scorer, shop):
    for best in scorer.best(shop.states, selections(8)):
        assert best.parts.shape == (len(best.rows), 1 + len(scorer.modalities))
        np.testing.assert_allclose(best.parts.sum(axis=1), best.scores, atol=1e-4)


def test_later_and_changed_and_hidden_items_count_at_once(scorer, shop):
    later = torch.arange(ITEMS, ITEMS + 200)
    changed = torch.arange(0, ITEMS, 9)
    made, again = made_up_rows(shop.encoder, 200, 5), made_up_rows(shop.encoder, len(changed), 6)
    again.fused[0] *= 30
    scorer.put(later, made)
    scorer.put(changed, again)
    hidden = torch.arange(4, ITEMS + 200, 7)
    scorer.hide(hidden)
    shown = hidden[::3]
    fused = torch.cat([shop.items.fused, made.fused])
    fused[changed] = again.fused
    back = made_up_rows(shop.encoder, len(shown), 7)
    scorer.put(shown, back)
    fused[shown] = back.fused
    still_hidden = sorted(set(hidden.tolist()) - set(shown.tolist()))
    for items in (ITEMS, ITEMS + 200):
        wanted = selections(8, items)
        expected = [
            full_look(fused, state, selection, still_hidden)
            for state, selection in zip(shop.states, wanted, strict=True)
        ]
        assert rows_of(scorer.best(shop.states, wanted)) == expected


def test_rows_that_nobody_put_are_never_returned(scorer, shop):
    scorer.put(torch.tensor([ITEMS + 5]), made_up_rows(shop.encoder, 1, 3))
    [best] = scorer.best(shop.states[:1], [Selection(2 * ITEMS, None, NOTHING)])
    assert not {ITEMS + skipped for skipped in range(5)} & set(best.rows.tolist())
    assert ITEMS + 5 in scorer.best(shop.states[:1], [_only([ITEMS + 5])])[0].rows


def test_only_a_changed_input_of_a_known_row_is_told(scorer, shop):
    rows, made = torch.tensor([3, ITEMS]), made_up_rows(shop.encoder, 2, 8)
    assert scorer.put(rows, made)
    assert not scorer.put(rows, made)
    assert not scorer.put(torch.tensor([ITEMS + 1]), made_up_rows(shop.encoder, 1, 9))
    assert torch.equal(scorer.inputs[rows], made.inputs)


def test_equal_scores_come_in_the_order_of_the_rows(shop):
    shop.items.fused[:] = torch.randint(-2, 3, shop.items.fused.shape).float()
    states = torch.randint(-2, 3, shop.states.shape).float()
    scorer = CatalogueScorer(shop.encoder, shop.items)
    wanted = selections(8)
    expected = [
        full_look(shop.items.fused, state, selection)
        for state, selection in zip(states, wanted, strict=True)
    ]
    assert rows_of(scorer.best(states, wanted)) == expected


def _only(rows):
    allowed = np.zeros(ITEMS + 10, dtype=bool)
    allowed[rows] = True
    return Selection(5, allowed, NOTHING)


def test_sasrecs_state_keeps_its_precision_beside_a_state_of_half_of_it(shop):
    torch.manual_seed(0)
    sasrec = SASRec(ITEMS, SASRecConfig(dimension=4, feedforward=8)).eval()
    part = SequencePart.of(sasrec, sasrec.collaborative_embeddings(), 0.5)
    items = replace(
        shop.items,
        fused=torch.cat([shop.items.fused, part.scoring_rows()], dim=1),
        sequence=part.items,
    )
    scorer = CatalogueScorer(shop.encoder, items, sequence_part=part)
    history = np.array([3, 1, 4])
    states = scorer.with_sequence(shop.states[:1].bfloat16(), [history])
    beside = sasrec.score([history])
    torch.testing.assert_close(0.5 * beside, states[:, -4:] @ part.scoring_rows().T)
    [best] = scorer.best(states, [Selection(10, None, NOTHING)])
    np.testing.assert_allclose(best.parts.sum(axis=1), best.scores, atol=1e-4)
    np.testing.assert_allclose(best.parts[:, -1], 0.5 * beside[0][best.rows], atol=1e-5)
