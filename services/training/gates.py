"""What a bundle must fulfil before it goes live."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from shared.errors import GateFailedError
from shared.modeling.analysis import KeptDistances
from shared.modeling.modality import Modality
from shared.modeling.spectrum import Spectrum

# Two trainings on the same data differ by a few percent through their seeds alone.
NDCG_TOLERANCE = 0.05
GATED_METRIC = "ndcg@10"

# A healthy codebook uses nearly all codes that the vectors allow; below this it has collapsed.
LOWEST_CODE_USAGE = 0.25

# Quantization must keep some of the order of distances: noise keeps none. Between fewer pairs of
# items than these, chance alone may turn a small tau negative.
LOWEST_TAU = 0.0
FEWEST_DISTANCES = 100

# Of the dimensions that a table can fill, its rows or its width, this share must not have
# collapsed, and never fewer than two: in one dimension items differ by their length alone. A
# healthy table fills most of them; E_c alone, projected into 4096 dimensions, fills 1.6 %.
LOWEST_HEALTHY_SHARE = 0.05
LOWEST_HEALTHY = 2


class Gate(BaseModel):
    """One condition, whether it holds, and the figures that decided it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    passed: bool
    explanation: str
    figures: dict[str, float]


def ranking_gate(ndcg: float, live_ndcg: float | None) -> Gate:
    """The ranker must not be worse than the live bundle's on the same data.

    live_ndcg: None where no live bundle was measured on this data.
    """
    name = "ranking"
    if live_ndcg is None:
        return Gate(
            name=name,
            passed=True,
            explanation="no live bundle was evaluated on the same data",
            figures={GATED_METRIC: ndcg},
        )
    lowest = live_ndcg * (1 - NDCG_TOLERANCE)
    return Gate(
        name=name,
        passed=ndcg >= lowest,
        explanation=f"nDCG@10 is {ndcg:.4f}, the live bundle's {live_ndcg:.4f};"
        f" at least {lowest:.4f} is needed",
        figures={GATED_METRIC: ndcg, "live": live_ndcg, "lowest": lowest},
    )


def code_usage_gate(
    modality: Modality, codes: Tensor, embeddings: Tensor, codebook_size: int
) -> Gate:
    """Every level must use its codes. codes: [I, L]; embeddings: [I, D_j], what was quantized.

    Items with equal vectors have equal codes, so usage is counted against what can be reached.
    """
    distinct = len(torch.unique(embeddings, dim=0))
    reachable = min(codebook_size, distinct)
    used = [len(torch.unique(level)) / reachable for level in codes.T]
    return Gate(
        name=f"code-usage-{modality.value}",
        passed=min(used) >= LOWEST_CODE_USAGE,
        explanation=f"the level used least uses {min(used):.0%} of {reachable} codes;"
        f" at least {LOWEST_CODE_USAGE:.0%} are needed",
        figures={f"level_{level}": share for level, share in enumerate(used, start=1)},
    )


def tau_gate(modality: Modality, kept: KeptDistances) -> Gate:
    """The quantized embeddings must keep some of the order of distances (Eq. 9)."""
    name = f"tau-{modality.value}"
    if kept.quantized is None or kept.distances < FEWEST_DISTANCES:
        return Gate(
            name=name,
            passed=True,
            explanation="there are too few different distances to tell",
            figures={"distances": kept.distances},
        )
    return Gate(
        name=name,
        passed=kept.quantized > LOWEST_TAU,
        explanation=f"Kendall's tau after quantization is {kept.quantized:.4f};"
        f" more than {LOWEST_TAU:g} is needed",
        figures={"tau": kept.quantized, "distances": kept.distances},
    )


def spectrum_gate(table: str, spectrum: Spectrum) -> Gate:
    """A table that the ranker reads or scores with must not have collapsed (Sec. 3.1)."""
    reachable = len(spectrum.log10)
    lowest = max(ceil(LOWEST_HEALTHY_SHARE * reachable), min(LOWEST_HEALTHY, reachable))
    return Gate(
        name=f"spectrum-{table}",
        passed=spectrum.healthy >= lowest,
        explanation=f"{spectrum.healthy} of {reachable} dimensions have not collapsed;"
        f" at least {lowest} are needed",
        figures={"healthy": spectrum.healthy, "reachable": reachable, "lowest": lowest},
    )


def live_ndcg_of(manifest: Mapping[str, Any], dataset_sha256: str) -> float | None:
    """The live bundle's test nDCG@10, if it was measured on the same data."""
    if manifest["dataset"].get("sha256") != dataset_sha256:
        return None
    return float(manifest["metrics"]["ranker"]["masked"][GATED_METRIC])


def failure_of(gates: Sequence[Gate]) -> GateFailedError | None:
    """The error that names every gate which does not hold."""
    failed = [gate for gate in gates if not gate.passed]
    if not failed:
        return None
    return GateFailedError("; ".join(f"{gate.name}: {gate.explanation}" for gate in failed))
