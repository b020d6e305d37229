"""A catalogue of five items becomes one of six: two of them gone, three new."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shared.errors import InvalidInputError
from shared.modeling.base_source import BaseSource, TinyLlama
from shared.modeling.imputation import DISTANCE, Content
from shared.modeling.inheritance import (
    NEW,
    Inheritance,
    inherited_ranker,
    inherited_sasrec,
)
from shared.modeling.modality import Modality
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import build_ranker
from shared.modeling.sasrec import SASRec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequences import leave_one_out

FORMER = ["a", "b", "c", "d", "e"]
ITEMS = ["new-like-c", "c", "a", "new", "e", "new-like-nothing"]
DIMENSION = 8


@pytest.fixture
def content():
    """new-like-c has the text of c, new-like-nothing has none."""
    vectors = torch.eye(6)
    vectors[0] = vectors[1]
    present = torch.tensor([True, True, True, True, True, False])
    return Content({Modality.TEXT: vectors}, {Modality.TEXT: present})


@pytest.fixture
def inheritance(content):
    return Inheritance.between(FORMER, ITEMS, content)


def test_rows_go_by_the_items_id(inheritance):
    assert inheritance.rows.tolist() == [NEW, 2, 0, NEW, 4, NEW]
    former = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    table = inheritance.table(former)
    assert torch.equal(table[[1, 2, 4]], former[[2, 0, 4]])


def test_a_new_item_gets_the_row_of_those_it_is_like_and_else_their_mean(inheritance):
    former = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    table = inheritance.table(former)
    mean = former[[2, 0, 4]].mean(dim=0)
    torch.testing.assert_close(table[0], mean + DISTANCE * (former[2] - mean))
    torch.testing.assert_close(table[5], mean)


def test_rows_that_do_not_count_are_estimated_like_new_ones(content):
    among = np.array([True, True, False, True, True])
    inheritance = Inheritance.between(FORMER, ITEMS, content, among=among)
    assert inheritance.kept.tolist() == [False, False, True, False, True, False]


def test_nothing_can_be_inherited_where_no_item_is_left(content):
    with pytest.raises(InvalidInputError):
        Inheritance.between(["x"], ITEMS, content).table(torch.zeros(1, 3))


def test_a_sasrec_reads_kept_items_as_before(inheritance):
    torch.manual_seed(0)
    former = SASRec(5, SASRecConfig(dimension=DIMENSION, feedforward=8, dropout=0.0)).eval()
    model = inherited_sasrec(former, inheritance)
    assert model.number_of_items == 6
    before = former.score([np.array([2, 0])])
    after = model.score([np.array([1, 2])])
    torch.testing.assert_close(after[0, [1, 2, 4]], before[0, [2, 0, 4]])
    assert not model.item_embedding.weight[model.padding].any()


def ranker_of(items, codes, seed, train_base=True):
    generator = torch.Generator().manual_seed(seed)
    split = leave_one_out([np.arange(items)])
    source = BaseSource(
        tiny=TinyLlama(hidden_size=DIMENSION, intermediate_size=8, layers=1, heads=1)
    )
    return build_ranker(
        split,
        items,
        {Modality.TEXT: torch.randn(items, 4, generator=generator)},
        {Modality.TEXT: codes},
        {Modality.TEXT: torch.randn(2, 3, DIMENSION, generator=generator)},
        source,
        RankerConfig(seed=seed, train_base=train_base),
    )


@pytest.mark.parametrize("train_base", [True, False])
def test_a_ranker_begins_with_all_that_the_former_one_learned(inheritance, train_base):
    former = ranker_of(5, torch.zeros(5, 2, dtype=torch.int64), 0, train_base)
    start = inherited_ranker(former, inheritance)
    split = leave_one_out([np.arange(6)])
    source = former.source
    ranker = build_ranker(
        split,
        6,
        {Modality.TEXT: torch.randn(6, 4)},
        {Modality.TEXT: torch.zeros(6, 2, dtype=torch.int64)},
        {Modality.TEXT: torch.zeros(2, 3, DIMENSION)},
        source,
        RankerConfig(seed=1, train_base=train_base),
        start=start,
    )
    before, after = dict(former.named_parameters()), dict(ranker.named_parameters())
    assert before.keys() == after.keys()
    for name in before.keys() - {"fusion_head.target_table"}:
        assert torch.equal(after[name], before[name]), name
    target = ranker.fusion_head.target_table
    assert torch.equal(target[[1, 2, 4]], former.fusion_head.target_table[[2, 0, 4]])
    assert F.cosine_similarity(target[0], former.fusion_head.target_table[2], dim=0) > 0.99


def test_weights_of_another_model_are_refused(inheritance):
    former = ranker_of(5, torch.zeros(5, 2, dtype=torch.int64), 0)
    split = leave_one_out([np.arange(6)])
    inputs = (
        {Modality.TEXT: torch.randn(6, 4)},
        {Modality.TEXT: torch.zeros(6, 2, dtype=torch.int64)},
        {Modality.TEXT: torch.zeros(2, 5, DIMENSION)},
    )
    start = inherited_ranker(former, inheritance)
    with pytest.raises(InvalidInputError, match="code_embeddings"):
        build_ranker(split, 6, *inputs, former.source, RankerConfig(), start=start)
    with pytest.raises(InvalidInputError, match="no_such"):
        build_ranker(
            split, 6, *inputs, former.source, RankerConfig(), start={"no_such": torch.zeros(1)}
        )
