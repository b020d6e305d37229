"""The report of a bundle: its figures as JSON, as plots, and as the README that shows them.

report/   metrics.json    what the gates and the README quote
          analysis.json   `Analysis`: the singular values too
          spectra.png     of the tables in `PLOTTED_TABLES`
          tau.png         where there are distances to compare
          README.md
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from services.training.model_card import SPECTRA_PLOT, TABLES, TAU_PLOT, model_card
from shared.artifacts.bundle import Manifest
from shared.modeling.analysis import FUSED, INPUT, TARGET
from shared.plots import Curve, bars_figure, spectra_figure, write_figure

PLOTTED_TABLES = ("collaborative", "text", "visual", INPUT, TARGET, FUSED)
TAU_STAGES = {"quantized": "after quantization", "fine-tuned": "after fine-tuning"}


def write_report(folder: Path, manifest: Manifest, analysis: Mapping[str, Any]) -> None:
    """Into `report/` of a bundle's folder. analysis: as `Analysis.as_dict` gives it."""
    report = folder / "report"
    report.mkdir()
    (report / "metrics.json").write_text(json.dumps(manifest.metrics, indent=2))
    (report / "analysis.json").write_text(json.dumps(analysis))
    write_figure(_spectra(analysis["spectra"]), report / SPECTRA_PLOT)
    tau = _tau(analysis["tau"])
    if tau is not None:
        write_figure(tau, report / TAU_PLOT)
    (report / "README.md").write_text(model_card(manifest))


def _spectra(spectra: Mapping[str, Any]) -> Figure:
    return spectra_figure(
        [
            Curve(TABLES[table], [spectra[table]["log10"]], group=table)
            for table in PLOTTED_TABLES
            if table in spectra
        ],
        log_dimensions=True,
    )


def _tau(kept: Mapping[str, Any]) -> Figure | None:
    """None where no modality has a tau."""
    measured = {j: taus for j, taus in kept.items() if taus["quantized"] is not None}
    if not measured:
        return None
    series = {
        label: [[taus[stage]] for taus in measured.values()] for stage, label in TAU_STAGES.items()
    }
    return bars_figure(list(measured), series, "Kendall's tau against E_j")
