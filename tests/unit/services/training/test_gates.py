import torch

from services.training.gates import code_usage_gate, failure_of, live_ndcg_of, ranking_gate
from shared.modeling.modality import Modality


def test_a_ranker_may_be_a_little_worse_than_the_live_one_and_no_more():
    assert ranking_gate(0.096, 0.1).passed
    gate = ranking_gate(0.094, 0.1)
    assert not gate.passed
    assert "0.0940" in gate.explanation
    assert gate.figures == {"ndcg@10": 0.094, "live": 0.1, "lowest": 0.095}


def test_without_a_live_bundle_on_the_same_data_there_is_nothing_to_fall_below():
    assert ranking_gate(0.0, None).passed


def test_the_live_figure_counts_only_for_the_same_data():
    manifest = {
        "dataset": {"sha256": "same"},
        "metrics": {"ranker": {"masked": {"ndcg@10": 0.2}}},
    }
    assert live_ndcg_of(manifest, "same") == 0.2
    assert live_ndcg_of(manifest, "other") is None


def test_a_collapsed_level_fails_the_gate_and_is_named():
    healthy = torch.arange(64) % 8
    codes = torch.stack([healthy, torch.zeros(64, dtype=torch.int64)], dim=1)
    embeddings = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    gate = code_usage_gate(Modality.TEXT, codes, embeddings, 8)
    assert not gate.passed
    assert gate.figures == {"level_1": 1.0, "level_2": 0.125}
    error = failure_of([ranking_gate(0.1, None), gate])
    assert "code-usage-text" in error.detail
    assert error.problem()["status"] == 409


def test_items_that_are_all_alike_can_have_no_more_codes_than_that():
    codes = torch.zeros(64, 4, dtype=torch.int64)
    assert code_usage_gate(Modality.VISUAL, codes, torch.ones(64, 4), 256).passed


def test_gates_that_hold_are_no_failure():
    assert failure_of([ranking_gate(0.1, 0.1)]) is None
