import asyncio

import numpy as np
import pytest
import torch

from services.ranking.engines.engine import Query, Selection
from services.ranking.fallback import SASRecFallback
from shared.errors import UnavailableError
from shared.modeling.sasrec import SASRec
from shared.modeling.sasrec_config import SASRecConfig
from shared.settings import RankingSettings

ITEMS = 40
NOTHING = np.zeros(0, dtype=np.int64)
TRAINED = np.arange(ITEMS) % 5 != 0
HISTORY = np.array([3, 7, 11])


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SASRec(ITEMS, SASRecConfig(dimension=8, feedforward=16)).eval()


@pytest.fixture
async def fallback(model):
    fallback = SASRecFallback(model, TRAINED, RankingSettings())
    yield fallback
    await fallback.close()


def query(history=HISTORY, *, k=ITEMS, allowed=None, excluded=NOTHING):
    return Query(np.asarray(history), Selection(k, allowed, np.asarray(excluded)))


def expected(model, history, may_return):
    scores = model.score([np.asarray(history)])[0].double().numpy()
    rows = np.flatnonzero(may_return)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return rows, scores[rows]


async def test_the_order_is_that_of_sasrecs_own_scores_with_seen_items_masked(fallback, model):
    rows, scores = await fallback.rank(query(excluded=HISTORY))

    unseen = TRAINED.copy()
    unseen[HISTORY] = False
    wanted_rows, wanted_scores = expected(model, HISTORY, unseen)
    assert rows.tolist() == wanted_rows.tolist()
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-6)


async def test_rows_that_are_not_allowed_are_left_out(fallback, model):
    allowed = np.arange(ITEMS) % 2 == 0
    rows, _ = await fallback.rank(query(k=6, allowed=allowed))
    assert rows.tolist() == expected(model, HISTORY, TRAINED & allowed)[0][:6].tolist()


@pytest.mark.parametrize("size", [ITEMS - 15, ITEMS + 15])
async def test_the_mask_may_be_of_fewer_or_more_rows_than_were_trained(fallback, model, size):
    rows, _ = await fallback.rank(
        query(allowed=np.ones(size, dtype=bool), excluded=[ITEMS + 3, 20, 21])
    )
    may_return = TRAINED & (np.arange(ITEMS) < size)
    may_return[21] = False
    assert rows.tolist() == expected(model, HISTORY, may_return)[0].tolist()


async def test_rows_it_was_not_trained_on_say_nothing_in_a_history(fallback, model):
    rows, _ = await fallback.rank(query([3, 5, 7, ITEMS + 9, 11]))
    assert rows.tolist() == expected(model, HISTORY, TRAINED)[0].tolist()


@pytest.mark.parametrize("history", [[0, 5], [ITEMS, ITEMS + 1]])
async def test_a_history_it_knows_nothing_of_gives_nothing(fallback, history):
    rows, scores = await fallback.rank(query(history))
    assert (len(rows), len(scores)) == (0, 0)


async def test_requests_that_come_together_do_not_mix(fallback, model):
    histories = [np.flatnonzero(TRAINED)[n : n + 1 + n % 4] for n in range(24)]
    answers = await asyncio.gather(
        *(fallback.rank(query(h, k=1 + n % 7, excluded=h)) for n, h in enumerate(histories))
    )
    for n, (history, (rows, _)) in enumerate(zip(histories, answers, strict=True)):
        unseen = TRAINED.copy()
        unseen[history] = False
        assert rows.tolist() == expected(model, history, unseen)[0][: 1 + n % 7].tolist()


async def test_after_its_close_it_is_not_there(model):
    fallback = SASRecFallback(model, TRAINED, RankingSettings())
    await fallback.close()
    with pytest.raises(UnavailableError):
        await fallback.rank(query())
