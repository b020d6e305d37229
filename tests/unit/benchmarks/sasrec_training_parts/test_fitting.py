import numpy as np
import torch

from benchmarks.sasrec_training_parts.fitting import scorer_of
from shared.modeling.evaluation import evaluate
from shared.modeling.sequences import leave_one_out


def test_a_state_a_user_and_a_table_rank_the_users_own_targets():
    split = leave_one_out([np.array([0, 1, 2, 3]), np.array([3, 2, 1, 0, 4])])
    table = torch.eye(5)
    score = scorer_of(split, table[torch.from_numpy(split.test_target)], table)
    found = evaluate(score, split.test_histories(), split.test_target)
    assert found.unmasked["hr@5"] == 1
    assert found.unmasked_ranks.tolist() == [1, 1]
    swapped = scorer_of(split, table[torch.tensor([4, 3])], table)
    ranks = evaluate(swapped, split.test_histories(), split.test_target).unmasked_ranks
    assert (ranks > 1).all()
