"""One step of a beam search over the semantic IDs that exist.

The W beams of a history run as one block of W tokens behind the keys and values of the steps
before. A mask lets a beam see its own ancestors alone, so nothing is copied or reordered when
beams change places.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Beams:
    """nodes of the trie, and log probabilities, -inf where fewer beams exist: [B, W].

    parents: places among the beams before. codes: the last code of each.
    """

    nodes: Tensor
    scores: Tensor
    parents: Tensor
    codes: Tensor


def first_beams(number: int, device: torch.device) -> Beams:
    """A beam at the root for each of `number` histories."""
    zeros = torch.zeros(number, 1, dtype=torch.int64, device=device)
    return Beams(zeros, torch.zeros(number, 1, device=device), zeros, zeros)


def continued(beams: Beams, steps: Tensor, children: Tensor, width: int) -> Beams:
    """The best `width` continuations by one code.

    steps: [B, W, S], the log probabilities of the codes. children: [B, W * S], the nodes that the
    codes lead to, -1 where none may.
    """
    scores = (beams.scores.unsqueeze(2) + steps).flatten(1)
    scores = scores.masked_fill(children < 0, -torch.inf)
    best, places = scores.topk(min(width, scores.shape[1]), dim=1)
    size = steps.shape[2]
    return Beams(
        nodes=children.gather(1, places).clamp(min=0),
        scores=best,
        parents=places // size,
        codes=places % size,
    )


def ancestry(sees: Tensor, beams: Beams) -> Tensor:
    """Which tokens the beams see: those that their parents saw, and their own.

    sees: [B, W', K] bool, of the beams before -> [B, W, K + W].
    """
    number, width = beams.parents.shape
    inherited = sees.gather(1, beams.parents.unsqueeze(2).expand(-1, -1, sees.shape[2]))
    itself = torch.eye(width, dtype=torch.bool, device=sees.device)
    return torch.cat([inherited, itself.expand(number, -1, -1)], dim=2)
