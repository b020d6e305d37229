"""The losses of the paper and of its baselines; every one returns a scalar."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores held at once: on a CPU, what its caches hold (4 MB); elsewhere, what fits beside a model.
SCORES_IN_CACHE, SCORES_ON_DEVICE = 2**20, 2**26


def mmd2(x: Tensor, y: Tensor, bandwidth: float | Tensor | None = None) -> Tensor:
    """Squared maximum mean discrepancy of two samples under a Gaussian kernel (Eq. 10, 12).

    x: [n, D], y: [m, D]. The biased estimate, mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over
    all pairs, those of a vector with itself included: never negative, 0 for equal samples, defined
    for a single vector. k(e, e') = exp(-||e - e'||^2 / (2 bandwidth^2)) (Sec. 5.1.4).
    bandwidth: by default that of `mean_distance_bandwidth`.
    """
    within_x, within_y = _squared_distances(x, x), _squared_distances(y, y)
    between = _squared_distances(x, y)
    if bandwidth is None:
        bandwidth = _bandwidth_of(within_x, within_y, between)
    scale = 2 * bandwidth**2
    return (
        torch.exp(-within_x / scale).mean()
        + torch.exp(-within_y / scale).mean()
        - 2 * torch.exp(-between / scale).mean()
    )


def mean_distance_bandwidth(x: Tensor, y: Tensor) -> Tensor:
    """The sigma at which 2 sigma^2 is the mean squared distance of the pooled sample's pairs.

    A scalar without gradient; 1 when all vectors are equal.
    """
    return _bandwidth_of(
        _squared_distances(x, x), _squared_distances(y, y), _squared_distances(x, y)
    )


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Contrast a[i] with its partner b[i] against the other b of the batch (Eq. 14, 15).

    a, b: [n, D]; the similarity is the cosine.
    """
    similarity = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    partners = torch.arange(len(a), device=a.device)
    return F.cross_entropy(similarity / temperature, partners)


def rq_vae_loss(residuals: Tensor, code_embeddings: Tensor, alpha: float) -> Tensor:
    """Pull codes to residuals and, weighted by alpha, residuals to codes (Eq. 5).

    residuals: [n, L, D], r_0 .. r_{L-1}. code_embeddings: [n, L, D], the codes chosen for them.
    The squared norms are summed over levels and dimensions and averaged over the n items.
    """
    codebook = (residuals.detach() - code_embeddings).square().sum(dim=(1, 2))
    commitment = (residuals - code_embeddings.detach()).square().sum(dim=(1, 2))
    return (codebook + alpha * commitment).mean()


def full_softmax_loss(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the whole catalogue, whose scores are states table^T.

    states: [n, D], table: [I, D], of one dtype; targets: [n] item rows. The scores [n, I] are never
    held whole, and the loss can be differentiated once.
    """
    loss: Tensor = _FullSoftmax.apply(states, table, targets)  # type: ignore[no-untyped-call]
    return loss


def sampled_softmax_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    log_expected_count: Tensor | None = None,
    hits: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the target against sampled items, corrected for how they were drawn.

    positive: [n], the target's score. negative: [n, N], scores of the sampled items.
    log_expected_count: [N] or [n, N], log(N q) of items drawn N times with probability q: taken
    from the negative scores it makes the sum of exponentials an unbiased estimate of the full
    one. The target is there for certain and gets no correction.
    hits: [n, N] bool, True where a sampled item is the target itself; such negatives are left out.
    """
    if log_expected_count is not None:
        negative = negative - log_expected_count
    if hits is not None:
        negative = negative.masked_fill(hits, -torch.inf)
    scores = torch.cat([positive.unsqueeze(1), negative], dim=1)
    return (torch.logsumexp(scores, dim=1) - positive).mean()


def sampled_bce_loss(positive: Tensor, negative: Tensor, *, hits: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of the target (label 1) and its sampled negatives (label 0) (Eq. 1).

    positive: [n]. negative: [n, N], averaged over the N negatives, so that both labels weigh the
    same. hits: [n, N] bool, negatives that are the target itself; they are left out.
    """
    losses = F.softplus(negative)
    if hits is None:
        return (F.softplus(-positive) + losses.mean(dim=1)).mean()
    kept = (~hits).to(losses.dtype)
    mean_of_kept = (losses * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
    return (F.softplus(-positive) + mean_of_kept).mean()


class _FullSoftmax(torch.autograd.Function):
    """Loss and gradients in one pass over the scores, some rows at a time.

    With s_i = E h_i, p_i = softmax(s_i) and one-hot y_i, the loss is the mean of
    log sum exp(s_i) - s_i . y_i, and its gradients are dh_i = E^T (p_i - y_i) / n and
    dE = sum_i (p_i - y_i) h_i^T / n. Both need the scores when the loss does and are computed with
    it: no [n, I] is kept, and what is written stays in the cache until it is read.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        total = states.new_zeros(())
        grad_states, grad_table = torch.empty_like(states), torch.zeros_like(table)
        number, items = len(states), len(table)
        together = _rows_at_once(items, states.device)
        buffer = states.new_empty(min(together, number), items)
        for start in range(0, number, together):
            some, rows = states[start : start + together], targets[start : start + together]
            places = torch.arange(len(some), device=states.device)
            scores = torch.mm(some, table.T, out=buffer[: len(some)])
            highest, of_targets = scores.amax(dim=1), scores[places, rows]
            share = torch.softmax(scores, dim=1, out=scores)
            # The highest share is at least 1 / I: its log is finite where a target's may not be.
            total += (highest - share.amax(dim=1).log() - of_targets).sum()
            share[places, rows] -= 1
            torch.mm(share, table, out=grad_states[start : start + together])
            grad_table.addmm_(share.T, some)
        ctx.save_for_backward(grad_states.div_(number), grad_table.div_(number))
        return total / number

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_states, grad_table = ctx.saved_tensors
        return gradient * grad_states, gradient * grad_table, None


def _rows_at_once(items: int, device: torch.device) -> int:
    """At least 16, and multiples of it: fewer rows make poor matrix products."""
    scores = SCORES_IN_CACHE if device.type == "cpu" else SCORES_ON_DEVICE
    return max(1, scores // items // 16) * 16


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    norms = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1)
    distances = (norms - 2 * x @ y.T).clamp(min=0)
    if x is y:
        distances = distances * (1 - torch.eye(len(x), dtype=x.dtype, device=x.device))
    return distances


def _bandwidth_of(within_x: Tensor, within_y: Tensor, between: Tensor) -> Tensor:
    number = sum(between.shape)
    total = within_x.detach().sum() + within_y.detach().sum() + 2 * between.detach().sum()
    mean = total / (number * (number - 1))
    return torch.where(mean > 0, mean / 2, torch.ones_like(mean)).sqrt()
