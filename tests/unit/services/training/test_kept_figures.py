from types import SimpleNamespace

import numpy as np
import pytest
import torch

from services.training.kept_figures import kept_figures
from services.training.warm_start import Start
from shared.modeling.item_tables import ItemTables
from shared.modeling.modality import Modality

C, T = Modality.COLLABORATIVE, Modality.TEXT
TREATMENTS = {"collaborative": "warm", "sequence": "warm", "quantize": "kept", "finetune": "warm"}


@pytest.fixture
def parent():
    """Items a, b, c and gone; nobody had met c."""
    return SimpleNamespace(
        catalogue=SimpleNamespace(
            item_ids=["a", "gone", "b", "c"],
            embeddings={C: np.eye(4, dtype=np.float32)},
            imputed={C: np.array([False, False, False, True])},
        ),
        sids=lambda: {
            C: np.array([[0, 1], [9, 9], [2, 3], [4, 5]]),
            T: np.array([[0, 0], [9, 9], [1, 1], [2, 2]]),
        },
    )


@pytest.fixture
def figures(parent):
    """Of a run over new, c, b and a: b's first collaborative code is another one now."""

    def of(**changes):
        start = Start(parent="b1", stages={**TREATMENTS, **changes}, reason="a test")
        codes = {
            C: torch.tensor([[7, 7], [4, 5], [8, 3], [0, 1]]),
            T: torch.tensor([[7, 7], [2, 2], [1, 1], [0, 0]]),
        }
        table = np.eye(4, dtype=np.float32)[[1, 0, 2, 0]]
        table[2, 0] = 1.0
        tables = ItemTables({C: table}, {C: np.zeros(4, dtype=bool)})
        return kept_figures(start, parent, ["new", "c", "b", "a"], codes, tables)

    return of


def test_of_the_items_of_both_bundles_those_with_all_codes_as_before_are_counted(figures):
    assert figures()["sids_kept"] == {"collaborative": pytest.approx(2 / 3), "text": 1.0}


def test_the_drift_is_measured_on_vectors_that_were_learned_in_both(figures):
    """Those of a stayed, those of b turned by 45 degrees; c's was an estimate."""
    assert figures()["cosine_kept"]["collaborative"] == pytest.approx((1 + 0.5**0.5) / 2)


def test_codes_and_vectors_that_were_made_anew_are_not_compared(figures):
    assert set(figures(quantize="cold")) == {"cosine_kept"}
    assert set(figures(collaborative="cold")) == {"sids_kept"}
