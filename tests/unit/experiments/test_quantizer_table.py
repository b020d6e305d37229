import math

import numpy as np
import pytest
import torch

from experiments.quantizer_table import modality_figures, quantizer_report, relative_error
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import RQKMeansConfig
from shared.modeling.rq_kmeans import train_rq_kmeans
from shared.modeling.sequences import leave_one_out

C, T = Modality.COLLABORATIVE, Modality.TEXT
ITEMS = 60


def embeddings():
    generator = torch.Generator().manual_seed(0)
    tables = {j: torch.randn(ITEMS, size, generator=generator) for j, size in ((C, 4), (T, 6))}
    tables[T][:6] = tables[T][6]
    return tables


def figures(codebook_size):
    tables = embeddings()
    config = RQKMeansConfig(dimension=8, levels=3, codebook_size=codebook_size)
    quantizer = train_rq_kmeans(tables, config)
    random = np.random.default_rng(0)
    split = leave_one_out([random.permutation(ITEMS)[:6] for _ in range(30)])
    return modality_figures(quantizer, tables, quantizer.codes(tables), split)


def test_more_codes_keep_more_of_the_distances_and_leave_smaller_errors():
    coarse, fine = figures(2), figures(16)
    for j in (C, T):
        assert fine[j]["tau"] > coarse[j]["tau"] > 0
        assert 0 < fine[j]["quantization_error"] < coarse[j]["quantization_error"] < 1
        assert fine[j]["collision_rate"] < coarse[j]["collision_rate"]
        # The decoder undoes an isometry that keeps all directions.
        assert math.isclose(
            fine[j]["quantization_error"], fine[j]["reconstruction_error"], rel_tol=1e-3
        )


def test_items_with_equal_embeddings_are_counted():
    measured = figures(16)
    assert measured[C]["equal_items"] == 0
    assert measured[T]["equal_items"] == pytest.approx(7 / ITEMS)
    assert measured[T]["collision_rate"] >= 7 / ITEMS


def test_the_error_is_relative_to_the_variance():
    table = torch.tensor([[1.0, 3.0], [3.0, 7.0]])
    assert relative_error(table, table) == 0
    assert relative_error(table, table.mean(dim=0)) == 1
    assert relative_error(10 * table + 5, 10 * table.mean(dim=0) + 5) == 1


def test_a_report_has_a_row_a_quantizer_with_figures_over_seeds_and_levels():
    def measured(tau, dead):
        modality = {
            "tau": tau,
            "usage": [1.0, 0.5],
            "dead_codes": [dead, 2],
            "perplexity": [4.0, 2.0],
            "collision_rate": 0.25,
            "quantization_error": 0.5,
            "reconstruction_error": 0.75,
            "equal_items": 0.125,
        }
        return {
            "codebook_size": 4,
            "modalities": {"text": modality},
            "joint_collision_rate": 0.1,
            "seconds": 3.0,
        }

    report = quantizer_report({"A": [measured(0.5, 0), measured(0.7, 2)], "B": [measured(0.9, 1)]})
    assert "### text: 12.5% of the items share their E_j with another" in report
    assert (
        "| A | 0.6000 ± 0.1414 | 0.7500 ± 0.0000 | 3.0 ± 1.4 | 3.0 ± 0.0 | 0.2500 ± 0.0000"
        " | 0.5000 ± 0.0000 | 0.7500 ± 0.0000 |"
    ) in report
    assert "| B | 0.9000 | 0.7500 | 3.0 | 3.0 | 0.2500 | 0.5000 | 0.7500 |" in report
    assert "| B | 0.1000 | 4 | 3.0 |" in report
