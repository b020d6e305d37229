"""Soft targets: beside the item that came next, what a trained SASRec would rank next.

Few users have met an item, and the one that came next was not the only good answer. A model that
is to give the others the shares that SASRec's softmax gives them overfits the few less
(distillation, arXiv:1503.02531).
"""

from collections.abc import Callable

import torch

from shared.errors import InvalidInputError
from shared.modeling.losses import SoftTargets
from shared.modeling.sasrec import SASRec
from shared.modeling.window_batches import WindowBatch

SoftTargetsOf = Callable[[WindowBatch], SoftTargets]


def soft_targets_of(teacher: SASRec, share: float, max_history: int, device: str) -> SoftTargetsOf:
    """The soft targets of a batch's valid targets, in their order.

    max_history: items that the contexts of batches have at most. The teacher itself stays as it is.

    Raises InvalidInputError when contexts are longer than what the teacher can read.
    """
    if max_history > teacher.config.max_length:
        raise InvalidInputError.of(
            "ranker.max_history", f"is beyond the teacher's {teacher.config.max_length} items"
        )
    model = teacher.to(device).eval()
    table = model.output_embeddings().detach()

    @torch.no_grad()
    def of(batch: WindowBatch) -> SoftTargets:
        hidden = model(batch.context.to(device))
        return SoftTargets(hidden[batch.valid.to(device)], table, share)

    return of
