"""The loop of epochs, with a model of one weight: its loss draws the weight to 1."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from shared.modeling.early_stopping import train_epochs
from shared.modeling.sequences import leave_one_out

ITEMS = 12


@dataclass(frozen=True)
class Settings:
    epochs: int = 6
    patience: int = 2
    batch_size: int = 4
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    validation_users: int = 100
    seed: int = 0


class OneWeight(nn.Module):
    """The targets are on top as long as the weight is below `good_below`."""

    def __init__(self, good_below: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.good_below = good_below

    def score(self, histories):
        scores = torch.zeros(len(histories), ITEMS)
        last = torch.tensor([int(history[-1]) for history in histories])
        best = last + 1 if float(self.weight) < self.good_below else last
        scores[torch.arange(len(histories)), best.clamp(max=ITEMS - 1)] = 1
        return scores


def _split():
    return leave_one_out([np.arange(start, start + length) for start, length in LENGTHS])


LENGTHS = [(0, 4), (1, 4), (2, 4), (0, 9), (1, 9), (2, 9), (3, 9), (4, 4)]


def _train(model, loss_of, settings=Settings(), *, warm=False):
    seen = []
    train_epochs(
        model,
        model.score,
        loss_of,
        _split(),
        settings,
        seen.append,
        window=20,
        stage="epochs",
        warm=warm,
    )
    return seen


def test_it_ends_with_the_weights_of_the_best_epoch_and_stops_after_patience():
    model = OneWeight(good_below=0.3)
    seen = _train(model, lambda _batch: (model.weight - 1) ** 2)
    ndcg = [p.metrics["validation_ndcg@10"] for p in seen if "validation_ndcg@10" in p.metrics]
    best = ndcg.index(max(ndcg))
    assert len(ndcg) == best + 1 + Settings().patience < Settings().epochs + 1
    assert 0 < float(model.weight.detach()) < 0.3
    assert not model.training


def test_new_epochs_take_the_place_of_what_was_there_where_they_are_as_good():
    """Its figure was chosen as the best of many: it need not be beaten."""
    model = OneWeight(good_below=2)
    seen = _train(model, lambda _batch: (model.weight - 1) ** 2, Settings(epochs=1), warm=True)
    figures = [p.metrics["validation_ndcg@10"] for p in (seen[0], seen[-1])]
    assert figures[0] == figures[1]
    assert float(model.weight.detach()) > 0


def test_what_was_there_stays_where_training_makes_it_much_worse():
    model = OneWeight(good_below=0.01)
    seen = _train(model, lambda _batch: (model.weight - 1) ** 2, warm=True)
    assert seen[0].done == 0
    assert float(model.weight.detach()) == 0


def test_a_target_moves_the_weights_alike_in_short_and_in_long_windows():
    """Summed over an epoch, each target's gradient is the same, whatever batch it came in."""
    gradients = []
    model = OneWeight(good_below=2)
    model.weight.register_hook(lambda gradient: gradients.append(float(gradient)))
    targets = []

    def loss(batch):
        targets.append(int(batch.valid.sum()))
        return model.weight * 1.0

    _train(model, loss, Settings(epochs=1))
    assert len(set(targets)) > 1
    each = [gradient / number for gradient, number in zip(gradients, targets, strict=True)]
    assert each == pytest.approx([each[0]] * len(each))


def test_the_watcher_may_stop_it():
    model = OneWeight(good_below=2)

    def stop(_progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_epochs(
            model,
            model.score,
            lambda _batch: model.weight * 1.0,
            _split(),
            Settings(),
            stop,
            window=20,
            stage="t",
        )
