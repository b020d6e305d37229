from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.modeling import losses
from shared.modeling.losses import (
    full_softmax_loss,
    info_nce,
    mean_distance_bandwidth,
    mmd2,
    rq_vae_loss,
    sampled_bce_loss,
    sampled_softmax_loss,
)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def kernel_sum(left, right, sigma):
    return sum(exp(-float(((a - b) ** 2).sum()) / (2 * sigma**2)) for a in left for b in right) / (
        len(left) * len(right)
    )


def test_mmd_equals_the_direct_double_sum():
    x, y = normal(7, 3), normal(5, 3, seed=1) + 0.5
    for sigma in (0.7, 2.0):
        direct = kernel_sum(x, x, sigma) + kernel_sum(y, y, sigma) - 2 * kernel_sum(x, y, sigma)
        assert mmd2(x, y, sigma).item() == pytest.approx(direct, abs=1e-12)


def test_the_default_bandwidth_is_that_of_the_pooled_mean_distance():
    x, y = normal(4, 3), normal(6, 3, seed=1)
    pooled = torch.cat([x, y])
    distances = [
        float(((pooled[i] - pooled[j]) ** 2).sum()) for i in range(10) for j in range(10) if i != j
    ]
    sigma = (sum(distances) / len(distances) / 2) ** 0.5
    assert mean_distance_bandwidth(x, y).item() == pytest.approx(sigma)
    assert mmd2(x, y).item() == pytest.approx(mmd2(x, y, sigma).item())


def test_the_bandwidth_carries_no_gradient():
    x, y = normal(4, 3).requires_grad_(), normal(4, 3, seed=1)
    mmd2(x, y).backward()
    from_default = x.grad.clone()
    x.grad = None
    mmd2(x, y, float(mean_distance_bandwidth(x.detach(), y))).backward()
    torch.testing.assert_close(from_default, x.grad)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 100))
def test_mmd_is_symmetric_and_never_negative(n, m, seed):
    x, y = normal(n, 4, seed=seed), normal(m, 4, seed=seed + 1)
    assert mmd2(x, y).item() >= -1e-12
    assert mmd2(x, y).item() == pytest.approx(mmd2(y, x).item(), abs=1e-12)
    assert mmd2(x, x).item() == pytest.approx(0, abs=1e-12)


def test_mmd_of_equal_vectors_has_a_finite_gradient():
    x = torch.ones(3, 2, requires_grad=True)
    mmd2(x, torch.ones(3, 2)).backward()
    assert torch.isfinite(x.grad).all()


def test_info_nce_equals_the_direct_double_sum():
    a, b = normal(6, 4), normal(6, 4, seed=1)
    temperature = 0.3

    def similarity(i, k):
        return float(a[i] @ b[k] / (a[i].norm() * b[k].norm())) / temperature

    direct = 0.0
    for i in range(6):
        others = sum(exp(similarity(i, k)) for k in range(6) if k != i)
        direct -= log(exp(similarity(i, i)) / (exp(similarity(i, i)) + others)) / 6
    assert info_nce(a, b, temperature).item() == pytest.approx(direct)


@settings(deadline=None)
@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_info_nce_does_not_depend_on_lengths(scale_a, scale_b):
    a, b = normal(5, 4), normal(5, 4, seed=1)
    assert info_nce(scale_a * a, scale_b * b, 0.2).item() == pytest.approx(
        info_nce(a, b, 0.2).item()
    )


def test_rq_vae_loss_equals_its_sum_and_pulls_each_side_with_its_weight():
    residuals = normal(3, 2, 4).requires_grad_()
    codes = normal(3, 2, 4, seed=1).requires_grad_()
    loss = rq_vae_loss(residuals, codes, alpha=0.25)
    direct = sum(
        float(((residuals[i, level] - codes[i, level]).detach() ** 2).sum()) * 1.25 / 3
        for i in range(3)
        for level in range(2)
    )
    assert loss.item() == pytest.approx(direct)
    loss.backward()
    torch.testing.assert_close(codes.grad, 2 * (codes - residuals).detach() / 3)
    torch.testing.assert_close(residuals.grad, 0.25 * 2 * (residuals - codes).detach() / 3)


@pytest.mark.parametrize("scores_at_once", [1, 9 * 16, 2**20])
def test_the_full_softmax_equals_cross_entropy_in_value_and_gradient(scores_at_once, monkeypatch):
    monkeypatch.setattr(losses, "SCORES_IN_CACHE", scores_at_once)
    states, table = normal(37, 4).requires_grad_(), normal(9, 4, seed=1).requires_grad_()
    targets = torch.arange(37) % 9
    loss, expected = (
        full_softmax_loss(states, table, targets),
        F.cross_entropy(states @ table.T, targets),
    )
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(loss, expected, **close)
    # Twice the loss: the gradient that arrives from above counts.
    found = torch.autograd.grad(2 * loss, (states, table))
    wanted = torch.autograd.grad(2 * expected, (states, table))
    torch.testing.assert_close(found, wanted, **close)


def test_the_full_softmax_of_a_hopeless_target_is_finite():
    states, table = torch.tensor([[1.0]]), torch.tensor([[500.0], [0.0], [-500.0]])
    assert full_softmax_loss(states, table, torch.tensor([2])).item() == 1000


def test_sampling_every_item_once_equals_the_full_softmax():
    scores, targets = normal(4, 9), torch.tensor([0, 3, 8, 3])
    hits = torch.arange(9).unsqueeze(0) == targets.unsqueeze(1)
    positive = scores.gather(1, targets.unsqueeze(1)).squeeze(1)
    sampled = sampled_softmax_loss(positive, scores, hits=hits)
    torch.testing.assert_close(sampled, F.cross_entropy(scores, targets))


def test_the_log_q_correction_makes_a_skewed_sample_agree_with_the_full_softmax():
    scores, targets = normal(4, 9), torch.tensor([0, 3, 8, 3])
    q = torch.tensor([0.3, 0.2, 0.1, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02], dtype=torch.float64)
    drawn = torch.multinomial(
        q, 200_000, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    hits = drawn.unsqueeze(0) == targets.unsqueeze(1)
    positive = scores.gather(1, targets.unsqueeze(1)).squeeze(1)
    full = F.cross_entropy(scores, targets).item()
    corrected = sampled_softmax_loss(
        positive, scores[:, drawn], log_expected_count=(len(drawn) * q[drawn]).log(), hits=hits
    )
    uniform = torch.full((len(drawn),), log(len(drawn) / 9), dtype=torch.float64)
    wrong = sampled_softmax_loss(positive, scores[:, drawn], log_expected_count=uniform, hits=hits)
    assert corrected.item() == pytest.approx(full, abs=0.01)
    assert abs(wrong.item() - full) > 0.03


def test_bce_equals_its_sum_and_leaves_the_target_out_of_the_negatives():
    positive, negative = normal(2), normal(2, 3, seed=1)
    hits = torch.tensor([[False, True, False], [False, False, False]])

    def softplus(x):
        return log(1 + exp(float(x)))

    direct = (
        softplus(-positive[0])
        + (softplus(negative[0, 0]) + softplus(negative[0, 2])) / 2
        + softplus(-positive[1])
        + sum(softplus(x) for x in negative[1]) / 3
    ) / 2
    assert sampled_bce_loss(positive, negative, hits=hits).item() == pytest.approx(direct)
    assert sampled_bce_loss(positive[1:], negative[1:]).item() == pytest.approx(
        sampled_bce_loss(positive[1:], negative[1:], hits=hits[1:]).item()
    )
