import numpy as np
import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.distillation import soft_targets_of
from shared.modeling.sasrec import SASRec, SASRecConfig
from shared.modeling.window_batches import batches_of

ITEMS = 12
TEACHER = SASRec(ITEMS, SASRecConfig(dimension=8, feedforward=16, max_length=5, dropout=0.5))
WINDOWS = [np.array([0, 1, 2, 3]), np.array([4, 5]), np.array([6, 7, 8])]


def test_every_target_has_the_scores_that_the_teacher_gives_its_prefix():
    (batch,) = batches_of(WINDOWS, 3, np.random.default_rng(0))
    soft = soft_targets_of(TEACHER, 0.25, 5, "cpu")(batch)
    prefixes = [
        context[: place + 1].numpy()
        for context, valid in zip(batch.context, batch.valid, strict=True)
        for place in range(int(valid.sum()))
    ]
    assert soft.share == 0.25
    torch.testing.assert_close(soft.states @ soft.table.T, TEACHER.score(prefixes))
    assert not soft.states.requires_grad
    assert not soft.table.requires_grad


def test_a_teacher_that_reads_less_than_the_ranker_is_refused():
    with pytest.raises(InvalidInputError, match="max_history"):
        soft_targets_of(TEACHER, 0.25, 6, "cpu")
