"""What a bundle must fulfil before it goes live."""

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

from services.training.live_comparison import Comparison
from services.training.smoke import Trial, all_score_alike, percentile_95
from shared.contracts.admin import Gate
from shared.errors import GateFailedError
from shared.modeling.analysis import KeptDistances
from shared.modeling.modality import Modality
from shared.modeling.spectrum import Spectrum

SMOKE, LATENCY = "smoke", "latency"

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


def ranking_gate(ndcg: float, comparison: Comparison | None) -> Gate:
    """The ranker must not be worse than the live bundle's for the same users.

    ndcg: of all users. comparison: None where there is no live bundle with an item of today's.
    """
    name = "ranking"
    if comparison is None:
        return Gate(
            name=name,
            passed=True,
            explanation="there is no live bundle to compare with",
            figures={GATED_METRIC: ndcg},
        )
    lowest = comparison.live * (1 - NDCG_TOLERANCE)
    return Gate(
        name=name,
        passed=comparison.new >= lowest,
        explanation=f"nDCG@10 is {comparison.new:.4f} for {comparison.users} users, the live"
        f" bundle's {comparison.live:.4f}; at least {lowest:.4f} is needed",
        figures={
            GATED_METRIC: comparison.new,
            "live": comparison.live,
            "lowest": lowest,
            "users": comparison.users,
        },
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


def smoke_gate(trials: Sequence[Trial]) -> Gate:
    """Every request must get a whole list from the ranker, and not everyone the same one."""
    failed = [trial for trial in trials if trial.problem is not None]
    alike = len(trials) > 1 and not failed and all_score_alike([t.scores for t in trials])
    if failed:
        explanation = f"{len(failed)} of {len(trials)} requests failed: {failed[0].problem}"
    elif alike:
        explanation = f"{len(trials)} requests with different histories got the same scores"
    else:
        explanation = f"{len(trials)} requests got whole lists from the ranker"
    return Gate(
        name=SMOKE,
        passed=not failed and not alike,
        explanation=explanation,
        figures={"requests": len(trials), "failed": len(failed)},
    )


def latency_gate(trials: Sequence[Trial], *, enough_ms: float, factor: float) -> Gate:
    """The 95th percentile must be good enough, or not much worse than the live bundle's."""
    own = percentile_95([trial.latency_ms for trial in trials])
    live_times = [t.live_latency_ms for t in trials if t.live_latency_ms is not None]
    figures = {"p95_ms": own}
    limit = enough_ms
    explanation = f"95 % of the requests took at most {own:.0f} ms"
    if live_times:
        figures["live_p95_ms"] = percentile_95(live_times)
        limit = max(limit, factor * figures["live_p95_ms"])
        explanation += f", the live bundle's {figures['live_p95_ms']:.0f} ms"
    figures["limit_ms"] = limit
    return Gate(
        name=LATENCY,
        passed=own <= limit,
        explanation=f"{explanation}; at most {limit:.0f} ms are allowed",
        figures=figures,
    )


def failure_of(gates: Sequence[Gate]) -> GateFailedError | None:
    """The error that names every gate which does not hold."""
    failed = [gate for gate in gates if not gate.passed]
    if not failed:
        return None
    return GateFailedError("; ".join(f"{gate.name}: {gate.explanation}" for gate in failed))
