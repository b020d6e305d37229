"""Training in epochs until validation gets no better: SASRec's, and that of the other models that
learn from windows of sequences alone."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from shared.modeling.evaluation import Scorer, evaluate
from shared.modeling.progress import OnProgress, Progress
from shared.modeling.sequences import NOT_EVALUATED, ItemRows, Split
from shared.modeling.window_batches import WindowBatch, batches_of, training_windows

# What was there before stays only where training loses more than this share of its validation
# nDCG@10. It was the best of many epochs on nearly these targets: epochs that know what came since
# would seldom beat its figure.
WARM_MARGIN = 0.05


class EpochSettings(Protocol):
    """What a config says of its epochs. patience: validations without a better nDCG@10 before the
    end. validation_users: at most this many, drawn by the seed, are ranked after each epoch."""

    @property
    def epochs(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def validation_users(self) -> int: ...
    @property
    def seed(self) -> int: ...


def train_epochs(
    model: nn.Module,
    score: Scorer,
    loss_of: Callable[[WindowBatch], Tensor],
    split: Split,
    settings: EpochSettings,
    on_progress: OnProgress,
    *,
    window: int,
    stage: str,
    warm: bool = False,
) -> None:
    """Train `model` on every target of the training parts; it ends with the weights of the epoch
    that has the best validation nDCG@10 (masked), in eval mode.

    score: the model's scores as they are now. loss_of: the mean loss over a batch's targets.
    window: inputs that a window has at most. warm: what is there is validated first, as epoch 0,
    and stays if every epoch is worse by more than WARM_MARGIN.
    `on_progress` is called after every step and after every epoch's validation; `done` counts
    epochs.
    """
    generator = np.random.default_rng(settings.seed)
    users = _validation_users(split, settings, generator)
    histories = [split.validation_history(int(user)) for user in users]
    optimizer = torch.optim.AdamW(
        [weights for weights in model.parameters() if weights.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    best_ndcg, best_epoch, best_weights = -1.0, 0, _copy_of_weights(model)

    def validate(epoch: int) -> float:
        model.eval()
        ndcg = evaluate(score, histories, split.validation_target[users]).masked["ndcg@10"]
        on_progress(Progress(stage, epoch, settings.epochs, {"validation_ndcg@10": ndcg}))
        return ndcg

    if warm:
        best_ndcg = validate(0) * (1 - WARM_MARGIN)
    for epoch in range(1, settings.epochs + 1):
        model.train()
        windows = training_windows(split.train, window, generator)
        for batch in batches_of(windows, settings.batch_size, generator):
            loss = loss_of(batch)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss * batch.weight)
            optimizer.step()
            on_progress(Progress(stage, epoch - 1, settings.epochs, {"loss": loss.item()}))
        ndcg = validate(epoch)
        if ndcg > best_ndcg:
            best_ndcg, best_epoch, best_weights = ndcg, epoch, _copy_of_weights(model)
        elif epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(best_weights)
    model.eval()


def _validation_users(
    split: Split, settings: EpochSettings, generator: np.random.Generator
) -> ItemRows:
    users = np.flatnonzero(split.validation_target != NOT_EVALUATED)
    if len(users) > settings.validation_users:
        users = np.sort(generator.choice(users, settings.validation_users, replace=False))
    return users


def _copy_of_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
