"""From one vector a token to one vector a text."""

import torch.nn.functional as F
from torch import Tensor


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """[n, D]: the mean over the tokens where mask [n, T] is 1, of states [n, T, D]."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def unit(vectors: Tensor) -> Tensor:
    """[n, D] in float32, each row of L2 norm 1 (a row of zeros stays)."""
    return F.normalize(vectors.float(), dim=-1)
