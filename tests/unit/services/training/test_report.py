import json
import re
from datetime import UTC, datetime

import pytest

from services.training.report import write_report
from shared.artifacts.bundle import Manifest
from shared.modeling.modality import Modality

METRICS = dict.fromkeys(("hr@5", "ndcg@5", "hr@10", "ndcg@10", "hr@20", "ndcg@20"), 0.25)
RANKING = {"masked": METRICS, "unmasked": METRICS}
COLD = {"parent": None, "stages": {}, "reason": "there is no live bundle"}
PNG = b"\x89PNG\r\n\x1a\n"


def spectrum(*log10):
    return {"log10": list(log10), "dimensions": len(log10), "collapsed": 0.125}


def codes(tau, fine_tuned):
    return {
        "size": 8,
        "usage": [1.0, 0.5],
        "perplexity": [7.5, 3.25],
        "dead_codes": [0, 4],
        "collision_rate": 0.02,
        "kendall_tau": tau,
        "kendall_tau_fine_tuned": fine_tuned,
    }


def manifest(semantic_ids, start=None, kept=None):
    return Manifest(
        catalog_id="shop",
        version="1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        parent=None,
        dataset={
            "items": 9,
            "users": 9,
            "interactions": 9,
            "unknown_interactions": 0,
            "short_sequences": 0,
            "non_positive": 3,
            "repeated": 2,
            "not_embedded": 0,
            "sha256": "abc",
            "imputed": {"text": 1},
        },
        encoders={Modality.TEXT: "text-1"},
        config={"quantizer": {"kind": "rq_kmeans"}, "start": start or COLD},
        metrics={
            **dict.fromkeys(("popularity", "sasrec", "ranker"), RANKING),
            "semantic_ids": semantic_ids,
            "collapsed": {"collaborative": 0.0, "input": 0.125, "fused": 0.5, "codes_text": 0.75},
            "gates": [{"name": "ranking", "passed": True, "explanation": "good", "figures": {}}],
            **(kept or {}),
        },
        libraries={},
        files={},
    )


@pytest.fixture
def analysis():
    return {
        "spectra": {"collaborative": spectrum(0.0, -1.0), "input": spectrum(0.0, -2.0, -9.0)},
        "codes": {},
        "tau": {"text": {"quantized": 0.4, "fine-tuned": 0.2, "distances": 300}},
    }


def test_a_report_holds_figures_plots_and_a_readme_that_shows_them(tmp_path, analysis):
    write_report(tmp_path, manifest({"text": codes(0.4, 0.2)}), analysis)
    report = tmp_path / "report"
    assert {path.name for path in report.iterdir()} == {
        "metrics.json", "analysis.json", "spectra.png", "tau.png", "README.md",
    }  # fmt: skip
    assert json.loads((report / "analysis.json").read_text()) == analysis
    assert json.loads((report / "metrics.json").read_text())["collapsed"]["input"] == 0.125
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (report / "README.md").read_text())
    assert sorted(shown) == ["spectra.png", "tau.png"]
    for name in shown:
        assert (report / name).read_bytes().startswith(PNG)


def test_the_readme_tells_how_codes_are_used_and_what_is_forgotten(tmp_path, analysis):
    semantic_ids = {"collaborative": codes(None, None), "text": codes(0.4, 0.2)}
    write_report(tmp_path, manifest(semantic_ids), analysis)
    text = (tmp_path / "report" / "README.md").read_text()
    assert "Quantizer: `rq_kmeans`." in text
    assert "| text | 1 | 8 | 100% | 7.5 | 0 | 2.0% |" in text
    assert "|  | 2 | 8 | 50% | 3.2 | 4 |  |" in text
    assert "| text | 0.4000 | 0.2000 |" in text
    assert "| collaborative | too few distances | too few distances |" in text
    assert "| input embeddings | 12.5% |" in text
    assert "| sums of text codes | 75.0% |" in text


def test_without_distances_to_compare_there_is_no_plot_of_them(tmp_path, analysis):
    analysis["tau"]["text"].update({"quantized": None, "fine-tuned": None})
    write_report(tmp_path, manifest({"text": codes(None, None)}), analysis)
    assert not (tmp_path / "report" / "tau.png").exists()
    assert "tau.png" not in (tmp_path / "report" / "README.md").read_text()


def test_the_readme_tells_what_the_weights_started_from_and_what_was_kept(tmp_path, analysis):
    start = {
        "parent": "b1",
        "stages": {"quantize": "kept", "finetune": "warm"},
        "reason": "little of the data is new",
    }
    kept = {
        "sids_kept": {"collaborative": 0.975, "text": 1.0},
        "cosine_kept": {"collaborative": 0.99},
    }
    write_report(tmp_path, manifest({"text": codes(0.4, 0.2)}, start, kept), analysis)
    text = (tmp_path / "report" / "README.md").read_text()
    assert "From the weights of bundle b1, as little of the data is new" in text
    assert "quantize kept, finetune warm" in text
    assert "collaborative 97.5%, text 100.0%" in text
    assert "cosine 0.990" in text


def test_the_readme_says_that_weights_started_from_nothing(tmp_path, analysis):
    write_report(tmp_path, manifest({"text": codes(0.4, 0.2)}), analysis)
    text = (tmp_path / "report" / "README.md").read_text()
    assert "started from nothing: there is no live bundle" in text
    assert "as it was" not in text
