import pytest
import torch

from services.training.gates import (
    FEWEST_DISTANCES,
    code_usage_gate,
    failure_of,
    latency_gate,
    ranking_gate,
    smoke_gate,
    spectrum_gate,
    tau_gate,
)
from services.training.live_comparison import Comparison
from services.training.smoke import Trial
from shared.modeling.analysis import KeptDistances
from shared.modeling.modality import Modality
from shared.modeling.spectrum import Spectrum, spectrum_of


def test_a_ranker_may_be_a_little_worse_than_the_live_one_and_no_more():
    assert ranking_gate(0.5, Comparison(0.096, 0.1, 50)).passed
    gate = ranking_gate(0.5, Comparison(0.094, 0.1, 50))
    assert not gate.passed
    assert "0.0940" in gate.explanation
    assert gate.figures == {"ndcg@10": 0.094, "live": 0.1, "lowest": 0.095, "users": 50}


def test_without_a_live_bundle_there_is_nothing_to_fall_below():
    gate = ranking_gate(0.0, None)
    assert gate.passed
    assert gate.explanation == "there is no live bundle to compare with"


def trial(latency=10.0, live=None, problem=None, **scores):
    return Trial(problem, scores, latency, live)


def test_one_request_that_fails_fails_the_smoke_gate_and_is_quoted():
    assert smoke_gate([trial(a=1.0), trial(a=2.0)]).passed
    gate = smoke_gate([trial(a=1.0), trial(problem="a score is not finite")])
    assert not gate.passed
    assert gate.explanation == "1 of 2 requests failed: a score is not finite"
    assert gate.figures == {"requests": 2, "failed": 1}


def test_the_same_scores_for_everyone_fail_the_smoke_gate():
    gate = smoke_gate([trial(a=1.0, b=2.0), trial(a=1.0, c=3.0)])
    assert not gate.passed
    assert "same scores" in gate.explanation


@pytest.mark.parametrize(
    ("own", "live", "passed"),
    [
        (90.0, None, True),  # good enough
        (110.0, None, False),
        (90.0, 1.0, True),  # much slower, and good enough all the same
        (190.0, 100.0, True),  # not much slower
        (210.0, 100.0, False),
    ],
)
def test_a_bundle_may_be_slow_where_the_live_one_is(own, live, passed):
    trials = [trial(own, live) for _ in range(20)]
    gate = latency_gate(trials, enough_ms=100.0, factor=2.0)
    assert gate.passed is passed
    assert gate.figures["p95_ms"] == own
    assert gate.figures.get("live_p95_ms") == live


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


@pytest.mark.parametrize(
    ("tau", "passed"), [(0.3, True), (0.001, True), (0.0, False), (-0.2, False)]
)
def test_quantization_must_keep_some_of_the_order_of_distances(tau, passed):
    gate = tau_gate(Modality.TEXT, KeptDistances(tau, 0.0, FEWEST_DISTANCES))
    assert gate.name == "tau-text"
    assert gate.passed is passed
    assert gate.figures["tau"] == tau


@pytest.mark.parametrize(
    "kept", [KeptDistances(-0.5, 0.0, FEWEST_DISTANCES - 1), KeptDistances(None, None, 5000)]
)
def test_too_few_distances_say_nothing_about_tau(kept):
    assert tau_gate(Modality.TEXT, kept).passed


def test_what_fine_tuning_forgets_is_reported_and_no_gate():
    assert tau_gate(Modality.TEXT, KeptDistances(0.3, -0.1, FEWEST_DISTANCES)).passed


def with_healthy(healthy, reachable, dimensions):
    return Spectrum((0.0,) * healthy + (-6.0,) * (reachable - healthy), dimensions)


@pytest.mark.parametrize(
    ("healthy", "reachable", "dimensions", "passed"),
    [
        (64, 4096, 4096, False),  # E_c alone in the space of an LLM of 8B
        (205, 4096, 4096, True),
        (40, 40, 4096, True),  # an honest catalogue of 40 items
        (2, 16, 16, True),
        (1, 16, 16, False),  # items differ by their length alone
        (1, 1, 16, True),
    ],
)
def test_a_table_must_fill_some_of_the_dimensions_that_it_can(
    healthy, reachable, dimensions, passed
):
    gate = spectrum_gate("input", with_healthy(healthy, reachable, dimensions))
    assert gate.name == "spectrum-input"
    assert gate.passed is passed
    assert gate.figures["healthy"] == healthy


def test_nearly_equal_rows_fail_the_gate_and_random_ones_pass():
    rows = torch.randn(30, 12, generator=torch.Generator().manual_seed(0))
    assert spectrum_gate("input", spectrum_of(rows)).passed
    assert not spectrum_gate("input", spectrum_of(1 + 1e-5 * rows)).passed


def test_gates_that_hold_are_no_failure():
    assert failure_of([ranking_gate(0.1, Comparison(0.1, 0.1, 9))]) is None
