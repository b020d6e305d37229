import numpy as np
import pytest
import torch

from benchmarks.shared_prefix import made_up_ranker, separate_prompts, shared_passes
from shared.modeling.base_source import BaseSource, TinyLlama
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.sequences import leave_one_out

ITEMS = 30


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(0)
    windows = [rng.integers(ITEMS, size=length) for length in (2, 9, 5, 3, 7)]
    tiny = TinyLlama(hidden_size=16, intermediate_size=16, layers=2)
    split = leave_one_out([rng.integers(ITEMS, size=8) for _ in range(4)])
    ranker = made_up_ranker(split, ITEMS, BaseSource(tiny=tiny), RankerConfig(max_history=10))
    return ranker, windows


@pytest.mark.parametrize(("shared", "separate"), [(1, 100), (2, 3), (5, 1)])
def test_both_ways_have_the_same_loss_and_gradients_however_they_are_batched(
    measured, shared, separate
):
    ranker, windows = measured

    def gradients(way, together):
        ranker.zero_grad(set_to_none=True)
        loss = way(ranker, windows, together)
        return loss, {name: p.grad for name, p in ranker.named_parameters() if p.grad is not None}

    one_pass, from_one_pass = gradients(shared_passes, shared)
    prompts, from_prompts = gradients(separate_prompts, separate)
    assert one_pass == pytest.approx(prompts, rel=1e-5)
    assert from_one_pass.keys() == from_prompts.keys()
    for name, gradient in from_one_pass.items():
        torch.testing.assert_close(gradient, from_prompts[name], rtol=1e-3, atol=1e-6)
