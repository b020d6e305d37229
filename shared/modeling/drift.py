"""How far items have moved from one bundle to the next: of tables whose rows are the same items."""

import torch.nn.functional as F
from torch import Tensor


def share_of_kept_codes(before: Tensor, now: Tensor) -> float:
    """The share of n items whose codes [n, L] are all as they were; 1 for none."""
    return float((before == now).all(dim=1).double().mean()) if len(before) else 1.0


def mean_cosine(before: Tensor, now: Tensor) -> float:
    """Of n items' vectors [n, D] before and after, n >= 1."""
    return float(F.cosine_similarity(before, now).mean())
