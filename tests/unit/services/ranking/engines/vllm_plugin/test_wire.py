"""What crosses the boundary of vLLM's process arrives as it was sent."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.ranking.engines.engine import ItemRows, Query, Selection, TopK
from services.ranking.engines.vllm_plugin.wire import (
    pack_best,
    pack_items,
    pack_query,
    unpack_best,
    unpack_items,
    unpack_query,
)
from shared.modeling.modality import Modality

ROWS = st.lists(st.integers(0, 2**40), max_size=20).map(lambda v: np.asarray(v, dtype=np.int64))
MASKS = st.none() | st.lists(st.booleans(), max_size=70).map(lambda v: np.asarray(v, dtype=bool))


@given(history=ROWS, k=st.integers(1, 1000), allowed=MASKS, excluded=ROWS, explain=st.booleans())
def test_a_query(history, k, allowed, excluded, explain):
    packed = pack_query(Query(history, Selection(k, allowed, excluded, explain)))
    query = unpack_query(packed)
    selection = query.selection

    # What msgpack carries as it is.
    assert {type(value) for value in packed.values()} <= {int, bytes, bool}
    np.testing.assert_array_equal(query.history, history)
    assert selection.k == k
    assert selection.explain is explain
    np.testing.assert_array_equal(selection.excluded, excluded)
    if allowed is None:
        assert selection.allowed is None
    else:
        assert selection.allowed.dtype == np.bool_
        np.testing.assert_array_equal(selection.allowed, allowed)


def test_a_filter_takes_one_bit_a_row():
    nothing = np.zeros(0, dtype=np.int64)
    packed = pack_query(Query(nothing, Selection(1, np.ones(8_000, dtype=bool), nothing)))

    assert len(packed["allowed"]) == 1_000


@pytest.mark.parametrize("n", [0, 1, 7])
def test_the_best_items(n):
    random = np.random.default_rng(0)
    sent = TopK(
        rows=random.integers(2**50, size=n), scores=random.normal(size=n),
        parts=random.normal(size=(n, 4)),
    )  # fmt: skip
    came = unpack_best(pack_best(sent))

    np.testing.assert_array_equal(came.rows, sent.rows)
    np.testing.assert_array_equal(came.scores, sent.scores)
    np.testing.assert_array_equal(came.parts, sent.parts)


def test_rows_of_items():
    items = ItemRows(
        inputs=torch.randn(3, 8),
        fused=torch.randn(3, 10),
        sequence=torch.randn(3, 2),
        weights=torch.rand(3, 3),
        target=torch.randn(3, 8),
        embeddings={Modality.COLLABORATIVE: torch.randn(3, 4), Modality.TEXT: torch.randn(3, 5)},
    )
    rows, came = unpack_items(pack_items(torch.tensor([5, 0, 9]), items))

    assert rows.tolist() == [5, 0, 9]
    for name in ("inputs", "fused", "sequence", "weights", "target"):
        assert torch.equal(getattr(came, name), getattr(items, name))
    assert came.embeddings.keys() == items.embeddings.keys()
    for modality, table in items.embeddings.items():
        assert torch.equal(came.embeddings[modality], table)
